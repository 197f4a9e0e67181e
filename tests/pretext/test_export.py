"""Tests of pretext.export and pretext.networks.formats."""

import json
import logging
from contextlib import chdir
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data.config import resolve_data_config

from data_prep.errors import UserError
from data_prep.pictures.fit import PADDING, Fit, fit_square
from data_prep.run_folders.runs import Run
from pretext.export import main
from pretext.networks import formats
from pretext.networks.backbones import build_backbone, save_weights
from pretext.networks.formats import timm_configuration
from pretext.onnx_lines import input_of, onnx_lines
from tests.drilled import in_drills

SIDE = 32
STAGE = "pretext.jigsaw"
EXPORT, PROGRAMS = torch.onnx.export, list[Any]()
# The blue channel hardly varies: it counts as deviating by one grey level.
MEAN, STD = (150.0, 120.0, 10.0), (60.0, 40.0, 0.25)
ABOUT = {"stage": STAGE, "side_px": SIDE, "mean": MEAN, "std": STD, "epochs": 3}


def make_run(
    folder: Path, *stages: str, backbone: str = "test_resnet", **about: Any
) -> Run:
    """Write finished pretext stages with random weights."""
    run = Run(folder / "run")
    run.folder.mkdir(parents=True)
    for seed, stage in enumerate(stages or (STAGE,)):
        torch.manual_seed(seed)
        network = build_backbone(backbone, SIDE)
        network.train()(torch.randn(8, 3, SIDE, SIDE))  # moves the running means
        with run.stage(stage, {}) as open_stage:
            path = open_stage.folder / "backbone.safetensors"
            described = ABOUT | {"backbone": backbone, "stage": stage} | about
            save_weights(path, network.state_dict(), described)
    return run


def weights_of(run: Run, stage: str = STAGE) -> Path:
    return run.folder / stage / "backbone.safetensors"


def expected_features(
    run: Run, images: NDArray[Any], backbone: str = "test_resnet"
) -> NDArray[np.float32]:
    """Compute the features of (N, 3, S, S) grey levels by hand."""
    from safetensors.torch import load_file

    network = build_backbone(backbone, SIDE).eval()
    network.load_state_dict(load_file(weights_of(run)))
    normal = [
        (images[:, 0] - 150.0) / 60.0,
        (images[:, 1] - 120.0) / 40.0,
        (images[:, 2] - 10.0) / 1.0,
    ]
    with torch.inference_mode():
        features = network(torch.from_numpy(np.stack(normal, 1).astype(np.float32)))
    answer: NDArray[np.float32] = features.numpy()
    return answer


def close(found: Any, expected: NDArray[np.float32]) -> bool:
    """Tell whether features are equal but for rounding."""
    assert found.shape == expected.shape
    return bool(np.abs(np.asarray(found) - expected).max() < 1e-4 * expected.max())


def grey_levels(n: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(n)
    return rng.uniform(0, 255, (n, 3, SIDE, SIDE)).astype(np.float32)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".")


def snippet(caplog: pytest.LogCaptureFixture) -> str:
    """Give what the command prints for copying."""
    (text,) = [m for m in caplog.messages if m.startswith("\nto use it:")]
    return text.partition(":\n\n")[2]


# --- ONNX -------------------------------------------------------------------------


@pytest.fixture
def export_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch translate the usual network, which takes seconds, for the first test.

    The others get the same program; ``make_run`` gives all the same weights.
    """

    def export(*arguments: Any, **options: Any) -> Any:
        if not PROGRAMS:
            PROGRAMS.append(EXPORT(*arguments, **options))
        return PROGRAMS[0]

    monkeypatch.setattr("torch.onnx.export", export)


@pytest.mark.parametrize("backbone", ["test_resnet", in_drills("test_vit")])
def test_onnx_takes_grey_levels_in_batches_of_any_size(
    tmp_path: Path, request: pytest.FixtureRequest, backbone: str
) -> None:
    if backbone == "test_resnet":
        request.getfixturevalue("export_once")
    run = make_run(tmp_path, backbone=backbone)
    out = tmp_path / "deep" / "x.onnx"
    assert main([f"--run={run.folder}", f"--out={out}"]) == out
    assert left_in(out.parent) == ["x.onnx"]  # the weights are in it
    session = onnxruntime.InferenceSession(out)
    (source,), (target,) = session.get_inputs(), session.get_outputs()
    assert (source.name, source.type) == ("images", "tensor(float)")
    assert source.shape == ["batch", 3, SIDE, SIDE]
    assert target.name == "features"
    for n in (1, 4):
        images = grey_levels(n)
        (features,) = session.run(None, {"images": images})
        assert close(features, expected_features(run, images, backbone))
    notes = session.get_modelmeta().custom_metadata_map
    assert json.loads(notes["stage"]) == STAGE
    assert json.loads(notes["mean"]) == list(MEAN)


@pytest.mark.usefixtures("export_once")
@pytest.mark.parametrize("fit", get_args(Fit))
def test_the_printed_lines_for_onnx_run_as_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fit: Any
) -> None:
    run = make_run(tmp_path, fit=fit)
    noise = np.random.default_rng(0).integers(0, 256, (160, 250, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "picture.jpg", quality=100)
    with chdir(tmp_path), caplog.at_level(logging.INFO):
        main(["--run=run", "--out=x.onnx"])
        names: dict[str, Any] = {}
        exec(snippet(caplog), names)
    pixels = fit_square(Image.open(tmp_path / "picture.jpg"), SIDE, fit)
    images = pixels.transpose(2, 0, 1)[None]
    assert close(names["features"], expected_features(run, images))
    assert f"(1, {names['features'].shape[1]})" in snippet(caplog)
    assert any("onnxruntime differs by at most" in m for m in caplog.messages)


@pytest.mark.parametrize(
    ("about", "text"),
    [
        ({}, f"side = {SIDE}  # px, of the views that {STAGE} trained it on"),
        (
            {"form": "places", "grid": 3, "side_px": 57},
            "side = 57  # px, of the puzzles that pretext.jigsaw trained it on: 3 x 3"
            " tiles of 19",
        ),
        (
            {"form": "orders", "grid": 3, "side_px": 37},
            "side = 37  # px, of the tiles that pretext.jigsaw trained it on",
        ),
    ],
)
def test_an_odd_side_is_explained(about: dict[str, Any], text: str) -> None:
    metadata = {"stage": STAGE, "side_px": SIDE} | about
    lines = onnx_lines(Path("x.onnx"), metadata, input_of(metadata)).splitlines()
    assert text in lines


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    run = make_run(tmp_path)
    monkeypatch.setattr(
        formats, "find_spec", lambda name: None if name == package else 1
    )
    message = "pip install onnx onnxscript onnxruntime$"
    with pytest.raises(UserError, match=message):
        main([f"--run={run.folder}"])
    assert left_in(run.folder) == [STAGE]


@pytest.mark.usefixtures("export_once")
def test_without_a_runtime_it_says_that_nothing_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(tmp_path)
    monkeypatch.setattr(
        formats, "find_spec", lambda name: None if name == "onnxruntime" else 1
    )
    with caplog.at_level(logging.INFO):
        main([f"--run={run.folder}"])
    assert any("not checked, for want of" in m for m in caplog.messages)


def test_a_network_that_torch_cannot_export_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise torch.onnx.OnnxExporterError("no such operator\nand a page more")

    run = make_run(tmp_path)
    monkeypatch.setattr("torch.onnx.export", refuse)
    message = (
        r"'test_resnet': torch cannot .* \(no such operator\); choose another .* --to$"
    )
    with pytest.raises(UserError, match=message):
        main([f"--run={run.folder}"])


# --- timm -------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "test_efficientnet"])
def test_timm_loads_the_weights_in_both_its_ways(tmp_path: Path, backbone: str) -> None:
    run = make_run(tmp_path, backbone=backbone)
    out = tmp_path / "x.safetensors"
    main([f"--run={run.folder}", "--to=timm", f"--out={out}"])
    cfg = json.loads((tmp_path / "x.json").read_text())
    images = grey_levels(4)
    expected = expected_features(run, images, backbone)
    ways: list[dict[str, Any]] = [
        {"pretrained": True, "pretrained_cfg_overlay": cfg | {"file": str(out)}},
        {"checkpoint_path": str(out), "pretrained_cfg_overlay": cfg},
    ]
    for way in ways:
        network = timm.create_model(backbone, num_classes=0, **way).eval()
        config = resolve_data_config({}, model=network)  # type: ignore[no-untyped-call]
        assert config["input_size"] == [3, SIDE, SIDE]
        mean, std = (np.reshape(config[k], (1, 3, 1, 1)) for k in ("mean", "std"))
        normal = ((images / 255 - mean) / std).astype(np.float32)
        with torch.inference_mode():
            assert close(network(torch.from_numpy(normal)), expected)


@pytest.mark.parametrize("fit", get_args(Fit))
def test_the_printed_lines_for_timm_run_as_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fit: Any
) -> None:
    run = make_run(tmp_path, fit=fit)
    # stretched to the same; else a square: margins differ, and what edges are mixed of
    size = (160, 96) if fit == "squash" else (96, 96)
    blocks = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    picture = Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC)
    picture.save(tmp_path / "picture.jpg", quality=100)
    with chdir(tmp_path), caplog.at_level(logging.INFO):
        main(["--run=run", "--to=timm", "--out=x.safetensors"])
        names: dict[str, Any] = {}
        exec(snippet(caplog), names)
    pixels = fit_square(Image.open(tmp_path / "picture.jpg"), SIDE, fit)
    expected = expected_features(run, pixels.transpose(2, 0, 1)[None])
    assert close(names["features"].detach(), expected)
    assert f"(1, {names['features'].shape[1]})" in snippet(caplog)


def test_pictures_that_were_padded_are_not_cropped() -> None:
    modes = {
        fit: timm_configuration(ABOUT | {"backbone": "resnet18", "fit": fit})
        for fit in get_args(Fit)
    }
    assert {fit: cfg["crop_mode"] for fit, cfg in modes.items()} == {
        **dict.fromkeys(PADDING, "border"),
        "squash": "squash",
        "crop": "center",
    }
    assert modes["pad"]["crop_pct"] == 1


def test_without_its_file_timm_loads_nothing_instead() -> None:
    cfg = timm_configuration(ABOUT | {"backbone": "resnet18"})
    with pytest.raises(RuntimeError, match="No pretrained weights exist"):
        timm.create_model("resnet18", pretrained=True, pretrained_cfg_overlay=cfg)


def test_a_network_that_timm_builds_otherwise_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(about: dict[str, Any]) -> dict[str, Any]:
        return timm_configuration(about | {"side_px": 2 * SIDE})

    run = make_run(tmp_path, backbone="test_vit3")
    monkeypatch.setattr(formats, "timm_configuration", wrong)
    message = r"^backbone = 'test_vit3': timm does not load it back \(.*64"
    with pytest.raises(UserError, match=message):
        main([f"--run={run.folder}", "--to=timm"])
    assert left_in(run.folder) == [STAGE]


# --- what is exported, and where it goes ------------------------------------------


def test_the_only_finished_stage_is_taken_and_gives_its_name(tmp_path: Path) -> None:
    run = make_run(tmp_path, "pretext.simsiam")
    out = main([f"--run={run.folder}", "--to=timm"])
    assert out == run.folder / "pretext.simsiam.timm.safetensors"
    assert left_in(run.folder) == [
        "pretext.simsiam",
        "pretext.simsiam.timm.json",
        "pretext.simsiam.timm.safetensors",
    ]


def test_of_several_stages_one_must_be_chosen(tmp_path: Path) -> None:
    run = make_run(tmp_path, STAGE, "pretext.simsiam")
    flags = [f"--run={run.folder}", "--to=timm", f"--out={tmp_path}/x.safetensors"]
    message = "has pretext.jigsaw and pretext.simsiam; choose one with --weights"
    with pytest.raises(UserError, match=message):
        main(flags)
    main([*flags, "--weights=pretext.simsiam"])
    cfg = json.loads((tmp_path / "x.json").read_text())
    assert cfg["description"] == "trained by pretext.simsiam"


def test_any_file_of_a_backbone_can_be_given_without_a_run(tmp_path: Path) -> None:
    kept = tmp_path / "kept.safetensors"
    for path in (weights_of(make_run(tmp_path)),):
        path.replace(kept)
        path.with_suffix(".json").replace(kept.with_suffix(".json"))
    with chdir(tmp_path):
        out = main([f"--weights={kept}", "--to=timm"])
    assert out == tmp_path / "kept.timm.safetensors"
    assert out.with_suffix(".json").exists()


def test_the_run_last_worked_on_is_the_default(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_run(tmp_path)
    with chdir(tmp_path):
        with pytest.raises(UserError, match="there is no run yet, here or in a folder"):
            main([])
        (tmp_path / "runs").mkdir()
        (tmp_path / "runs" / ".last").write_text("run\n")
        with caplog.at_level(logging.INFO):
            assert main(["--to=timm"]) == Path("run/pretext.jigsaw.timm.safetensors")
    assert f"run: {tmp_path}/run (the one last worked on)" in caplog.messages


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--run={}/gone"], "/gone: there is no such run; give --run FOLDER"),
        (["--run={}/empty"], "no finished pretext stage; first: python -m pretext"),
        (
            ["--run={}/run", "--weights=pretext.jigsa"],
            r"^weights = 'pretext.jigsa' is no pretext .*did you mean 'pretext.jigsaw'",
        ),
        (
            ["--run={}/run", "--weights=pretext.export"],
            r"^weights = 'pretext.export' is no pretext stage",
        ),
        (
            ["--run={}/run", "--weights=pretext.simsiam"],
            "pretext.simsiam is not finished; first: python -m pretext.simsiam",
        ),
        (["--weights={}/no.safetensors"], "no.safetensors: there are no such weights"),
        (["--run={}/run", "--out={}/x.pt"], "x.pt': --to onnx writes a file NAME.onnx"),
        (
            ["--run={}/run", "--to=timm", "--out={}/x.onnx"],
            "--to timm writes a file NAME.safetensors",
        ),
        (
            ["--run={}/run", "--out={}/run/pretext.jigsaw/x.onnx"],
            "x.onnx' is the place of trained weights; give another",
        ),
        (
            [
                *("--weights={}/lone.safetensors", "--out={}/lone.safetensors"),
                *("--to=timm", "--overwrite"),
            ],
            "lone.safetensors' is the place of trained weights",
        ),
        (["--run={}/run", "--out={}/taken.onnx"], "taken.onnx is there already; --ove"),
        (
            ["--run={}/run", "--to=timm", "--out={}/note.safetensors"],
            "note.json is there already; --overwrite replaces it",
        ),
        (
            ["--weights={}/plain.safetensors"],
            "plain.json: does not say mean, side_px, std; give backbone.safetensors of",
        ),
        (["--weights={}/net.safetensors"], "not the weights of a backbone alone"),
    ],
)
def test_a_mistake_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)  # where no run is that could be meant
    make_run(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("taken.onnx", "note.json", "lone.safetensors"):
        (tmp_path / name).write_text("{}")
    some = {"x": torch.zeros(1)}
    save_weights(tmp_path / "plain.safetensors", some, {"backbone": "resnet18"})
    save_weights(tmp_path / "net.safetensors", some, ABOUT | {"tasks": []})
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match=message):
        main([flag.format(tmp_path) for flag in flags])
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.usefixtures("export_once")
@pytest.mark.parametrize("to", ["onnx", "timm"])
def test_an_export_that_is_not_the_backbone_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    run = make_run(tmp_path)
    out = tmp_path / "out" / ("x.onnx" if to == "onnx" else "x.safetensors")
    flags = [f"--run={run.folder}", f"--to={to}", f"--out={out}", "--overwrite"]
    out.parent.mkdir()
    out.write_bytes(b"exported before")
    if to == "timm":
        out.with_suffix(".json").write_bytes(b"{}")
    before = {p: p.read_bytes() for p in out.parent.iterdir()}
    message = r"gives other values than torch: .*; nothing was written"
    with monkeypatch.context() as patch:
        patch.setattr(formats, "TOLERANCE", -1.0)
        with pytest.raises(UserError, match=message):
            main(flags)
    assert {p: p.read_bytes() for p in out.parent.iterdir()} == before
    main(flags)
    assert left_in(out.parent) == sorted(p.name for p in before)
    assert out.read_bytes() != before[out]
