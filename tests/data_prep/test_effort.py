"""Tests of data_prep.effort: what a network costs, before torch is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from data_prep import effort
from data_prep.effort import (
    NETWORKS,
    NetworkSpeed,
    Rates,
    Workload,
    count_gpus,
    estimate_rates,
    gain_of,
    measure_speed,
    share_of_time,
)


@pytest.fixture(autouse=True)
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the processor, whatever this machine has."""
    monkeypatch.setattr(effort, "GPU_DEVICES", ())


def rates(name: str = "resnet18", side: int = 128, **options: float) -> Rates:
    known = estimate_rates(name, side, **({"gmac_per_s": 40.0} | options))  # type: ignore[arg-type]
    assert known
    return known


@pytest.mark.parametrize(
    ("name", "side_px", "training_ms", "forward_ms"),
    [  # as measured with batches of 16 on one thread of 38 GMAC/s
        ("resnet18", 128, 91.5, 20.3),
        ("resnet34", 128, 177.7, 41.5),
        ("resnet50", 128, 229.8, 57.9),
        ("vit_tiny_patch16_224", 128, 53.7, 21.1),
        ("efficientnet_b0", 128, 56.6, 13.5),
        ("convnext_atto", 128, 46.0, 11.8),
        ("regnety_004", 128, 41.8, 11.1),
    ],
)
def test_estimates_are_near_what_was_measured(
    name: str, side_px: int, training_ms: float, forward_ms: float
) -> None:
    estimated = rates(name, side_px, gmac_per_s=38.0, batch_size=16)
    assert 1e3 / estimated.training == pytest.approx(training_ms, rel=0.25)
    assert 1e3 / estimated.inference == pytest.approx(forward_ms, rel=0.25)


def test_a_cost_by_hand() -> None:
    estimated = rates("resnet18", 112, gmac_per_s=50.0, batch_size=10)
    gmac = 1.814 / 4  # a quarter of the area of 224 px
    per_picture = 3 * gmac / (0.56 * 50) + 1.5e-8 * 112**2
    step = (0.04 + 0.013 * 11.18) / 10
    assert 1 / estimated.training == pytest.approx(per_picture + step)
    seconds = estimated.seconds(trained=100, inferred=50)
    assert seconds == pytest.approx(100 / estimated.training + 50 / estimated.inference)


@pytest.mark.parametrize("name", NETWORKS)
def test_costs_grow_with_the_side_and_fall_with_speed_and_batch(name: str) -> None:
    usual = rates(name, 96)
    assert rates(name, 128).training < usual.training
    assert rates(name, 128).inference < usual.inference
    assert rates(name, 96, gmac_per_s=80.0).training > usual.training
    assert rates(name, 96, batch_size=64).training > usual.training


def test_a_tag_and_a_source_of_weights_change_nothing_and_strangers_are_unknown() -> (
    None
):
    assert rates("timm:resnet18.a1_in1k") == rates("resnet18")
    assert estimate_rates("resnet_of_mine", 64, gmac_per_s=40.0) is None


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give a machine a GPU; it has the devices of this folder."""
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(effort, "GPU_DEVICES", (tmp_path / "nvidia0",))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("network", "side_px", "views", "images_per_s"),
    [  # of an H200, batches of 64 pictures, docs/results.md
        ("resnet18", 111, 1, 5007),  # jigsaw
        ("resnet18", 128, 2, 2788),  # SimSiam
        ("resnet18", 128, 1, 3593),  # fine-tuning
        ("resnet34", 192, 1, 2392),
    ],
)
def test_trainings_on_a_gpu_are_near_what_was_measured(
    network: str, side_px: int, views: int, images_per_s: float
) -> None:
    estimated = rates(network, side_px, batch_size=64 * views).training / views
    assert estimated == pytest.approx(images_per_s, rel=0.35)
    forward = rates("resnet18", 128).inference
    assert forward == pytest.approx(69_520, rel=0.05)  # views of an extraction


def test_gpus_are_counted_without_torch(
    gpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert count_gpus() == 1
    (gpus / "nvidia1").touch()
    (gpus / "nvidiactl").touch()
    assert count_gpus() == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert count_gpus() == 1
    monkeypatch.setattr(effort, "GPU_DEVICES", ())
    assert count_gpus() == 0


def test_what_is_gained_side_by_side_is_what_was_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(effort, "n_cores", lambda: 4)
    assert gain_of(1) == gain_of(1, n_gpus=2) == gain_of(1, threads=2) == 1
    assert gain_of(2) == pytest.approx(1.24)
    assert gain_of(4, n_gpus=1) == pytest.approx(1.6, rel=0.01)
    assert gain_of(2, n_gpus=2) == 2
    assert gain_of(4, n_gpus=2) == pytest.approx(2 * 1.26)
    assert gain_of(2, threads=1) == 2  # the one leaves three cores idle
    assert gain_of(8, threads=2) == 2
    assert share_of_time(4, 2) == pytest.approx(1 / 1.24)
    assert share_of_time(3, 2) == pytest.approx((2 / 1.24 + 1) / 3)  # the last is alone
    assert share_of_time(5, 1) == 1


def test_the_memory_of_a_training_by_hand() -> None:
    speed = NetworkSpeed(
        picture_s=1, step_s=1, view_s=1, n_weights=10**7, kept_bytes=1e6
    )
    trained = Workload(batch_size=32, trained=100)
    assert speed.bytes_of(trained) == 0.7e9 + 0.16e9 + 0.032e9
    assert speed.bytes_of(Workload(inferred=10)) == 0.7e9 + 0.16e9


def test_the_speed_is_measured_and_more_threads_are_quicker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    processor = tmp_path / "cpuinfo"
    monkeypatch.setattr(effort, "CPU_INFO", processor)  # of one without such units
    first = measure_speed(1, seconds=0.05)
    assert 0.1 < first < 1e4
    assert measure_speed(4, seconds=0.05) > 1.5 * first
    processor.write_text("flags : avx512f avx512_bf16")
    assert measure_speed(1, seconds=0.05) > 1.2 * first


def test_no_heavy_library_is_loaded() -> None:
    code = (
        "import sys; from data_prep.effort import *;"
        "print(estimate_rates('resnet18', 64, gmac_per_s=measure_speed()) is not None,"
        " sorted({'torch', 'pandas', 'sklearn'} & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "True []"
