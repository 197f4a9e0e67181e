"""Tests of data_prep.effort: what a network costs, before torch is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from data_prep import effort
from data_prep.effort import NETWORKS, Rates, estimate_rates, measure_speed


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


def test_a_gpu_is_quicker_and_a_step_is_launched_in_no_less_than_its_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = rates("resnet50", 128)
    device = tmp_path / "gpu"
    device.touch()
    monkeypatch.setattr(effort, "GPU_DEVICES", (device,))
    assert rates("resnet50", 128).training > 5 * before.training
    assert rates("test_resnet", 64).training == pytest.approx(32 / 0.012)


def test_the_speed_is_measured_and_more_threads_are_quicker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = measure_speed(1, seconds=0.05)
    assert 0.1 < first < 1e4
    assert measure_speed(4, seconds=0.05) > 1.5 * first
    processor = tmp_path / "cpuinfo"
    processor.write_text("flags : avx512f avx512_bf16")
    monkeypatch.setattr(effort, "CPU_INFO", processor)
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
