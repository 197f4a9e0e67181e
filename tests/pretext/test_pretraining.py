"""Tests of pretext.pretraining and of the commands built on it."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from data_prep.errors import UserError
from data_prep.run_folders.runs import Run, UnfinishedStageError
from pretext import jigsaw, simsiam, view_settings
from pretext.data.keyed_rng import keys_of
from pretext.engine import callbacks, training
from pretext.engine.learner import Batch, Learner
from pretext.engine.module import Module
from pretext.jigsaw import JigsawSettings, tile_side
from pretext.methods.classification import JigsawLearner
from pretext.networks import backbones
from pretext.networks.backbones import build_backbone, load_backbone
from pretext.preflight import log_ignored_tag
from pretext.simsiam import SimSiamSettings

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

TINY = (
    *("--backbone", "test_resnet", "--epochs", "2", "--batch-size", "8"),
    *("--precision", "fp32", "--threads", "1", "--health-every", "0"),
)
MORE: dict[str, tuple[str, ...]] = {
    "jigsaw": ("--held-out", "0.2"),
    "simsiam": ("--width", "16"),
}
COMMANDS = [jigsaw, simsiam]
MakeRun = Callable[..., Run]


def name_of(command: ModuleType) -> str:
    return command.__name__.rpartition(".")[2]


each_command = pytest.mark.parametrize("command", COMMANDS, ids=name_of)


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(training, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """Note every batch that is trained on."""
    batches: list[Batch] = []
    batch_of = Module.batch_of

    def note(module: Any, step: int, part: int = 0) -> Batch:
        batches.append(batch_of(module, step, part))
        return batches[-1]

    monkeypatch.setattr(Module, "batch_of", note)
    return batches


def pretrain(command: ModuleType, run: Run, *flags: str) -> Path:
    folder: Path = command.main(
        ["--run", str(run.folder), *TINY, *MORE[name_of(command)], *flags]
    )
    return folder


@each_command
def test_a_pretraining_leaves_a_backbone_and_a_record(
    command: ModuleType,
    prepared_run: MakeRun,
    watched: list[Batch],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    run = prepared_run(n=40)
    folder = pretrain(command, run)
    assert folder == run.folder / command.STAGE
    finished = run.finished(command.STAGE)
    n_held_out = 8 if command is jigsaw else 0
    assert finished.metadata["pictures"] == 40 - n_held_out
    assert finished.metadata["steps"] == len(watched) == 2 * ((40 - n_held_out) // 8)
    assert finished.metadata["backbone"] == "test_resnet"
    assert finished.record["device"] == "cpu"
    assert [*finished.record["reads"]] == ["data_prep.prepare"]
    assert finished.record["settings"]["epochs"] == 2
    assert "threads" not in finished.record["settings"]
    files = {"backbone.safetensors", "backbone.json"}
    assert set(finished.record["files"]) == files
    assert (folder / "logs" / "metrics.csv").exists()
    if command is jigsaw:
        assert 0 <= finished.metadata["held_out"] <= 1
        assert (
            "of the tiles placed right on held-out pictures (chance 11.1%)"
            in caplog.text
        )
        side_px = 3 * 9  # 32 px: cells of 10.7, of which 7/8 is 9
    else:
        assert 0 < finished.metadata["spread"] <= 1.1
        assert "spread of the outputs" in caplog.text
        side_px = 32
    about = json.loads((folder / "backbone.json").read_text())
    assert about["side_px"] == side_px
    assert (about["stage"], about["label_free"]) == (command.STAGE, True)
    assert about["mean"] == run.finished("data_prep.prepare").metadata["mean"]
    _, report = load_backbone(folder / "backbone.safetensors", "test_resnet", 32)
    assert report.endswith(f"tensors of test_resnet from {command.STAGE}")


@each_command
def test_the_backbone_kept_is_the_trained_one(
    command: ModuleType, prepared_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    learners: list[Learner] = []
    train = training.train

    def noted(learner: Learner, *given: Any, **named: Any) -> training.Outcome:
        learners.append(learner)
        return train(learner, *given, **named)

    monkeypatch.setattr(training, "train", noted)
    folder = pretrain(command, prepared_run())
    kept, _ = load_backbone(folder / "backbone.safetensors", "test_resnet", 32)
    trained = learners[0].get_submodule("backbone").state_dict()
    torch.manual_seed(0)
    untrained = build_backbone("test_resnet", 32).state_dict()["conv1.0.weight"]
    for name, tensor in kept.state_dict().items():
        assert torch.equal(tensor, trained[name])
    assert not torch.equal(kept.state_dict()["conv1.0.weight"], untrained)


def test_held_out_pictures_are_never_trained_on(
    prepared_run: MakeRun, watched: list[Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    run = prepared_run(n=40)
    after_epoch = JigsawLearner.after_epoch

    def noted(learner: JigsawLearner, epoch: int) -> dict[str, float]:
        measured.extend(learner.val_idx.tolist())
        return after_epoch(learner, epoch)

    monkeypatch.setattr(JigsawLearner, "after_epoch", noted)
    pretrain(jigsaw, run, "--epochs", "9")
    trained = {int(row) for batch in watched for row in batch.rows}
    assert len(set(measured)) == 8
    assert len(measured) == 9 * 8
    assert trained == set(range(40)) - set(measured)


def test_which_pictures_are_held_out_follows_from_ids_and_seed(
    prepared_run: MakeRun, watched: list[Batch]
) -> None:
    held_out = []
    for flags in ((), ("--overwrite",), ("--seed", "1")):
        run = prepared_run(n=40)
        watched.clear()
        pretrain(jigsaw, run, *flags)
        trained = {int(row) for batch in watched for row in batch.rows}
        held_out.append(set(range(40)) - trained)
    assert held_out[0] == held_out[1] != held_out[2]


@each_command
def test_every_picture_keeps_the_key_of_its_id(
    command: ModuleType, prepared_run: MakeRun, watched: list[Batch]
) -> None:
    run = prepared_run()
    prepared = run.folder / "data_prep.prepare"
    table = pd.read_parquet(prepared / "table.parquet")
    table.sample(frac=1, random_state=1).to_parquet(prepared / "table.parquet")
    pretrain(command, run)
    ids = table.set_index("image_row")["id"]
    for batch in watched:
        assert (batch.keys == keys_of([ids[row] for row in batch.rows])).all()


@each_command
def test_what_is_done_is_not_done_again(
    command: ModuleType,
    prepared_run: MakeRun,
    watched: list[Batch],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    run = prepared_run()
    folder = pretrain(command, run)
    n_batches = len(watched)
    assert pretrain(command, run, "--threads", "0") == folder
    again = f"python -m pretext.{name_of(command)} --run {run.folder} --overwrite"
    assert f"is already done; to make it anew: {again}" in caplog.text
    assert len(watched) == n_batches
    before = (folder / "backbone.safetensors").read_bytes()
    pretrain(command, run, "--overwrite")
    assert len(watched) == 2 * n_batches
    assert (folder / "backbone.safetensors").read_bytes() == before
    pretrain(command, run, "--seed", "3")
    assert (folder / "backbone.safetensors").read_bytes() != before


@each_command
def test_a_crash_is_gone_on_from(
    command: ModuleType,
    prepared_run: MakeRun,
    watched: list[Batch],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    straight = pretrain(command, prepared_run())
    n_batches = len(watched)
    run = prepared_run()
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
    batch_of = Module.batch_of

    def crash(module: Any, step: int, part: int = 0) -> Batch:
        if step == 3:
            raise OSError("a plug was pulled")
        return batch_of(module, step, part)

    with monkeypatch.context() as patch:
        patch.setattr(Module, "batch_of", crash)
        with pytest.raises(OSError, match="a plug was pulled"):
            pretrain(command, run)
    assert not run.has(command.STAGE)
    watched.clear()
    folder = pretrain(command, run)
    assert len(watched) == n_batches - 3
    name = "backbone.safetensors"
    assert (folder / name).read_bytes() == (straight / name).read_bytes()
    assert not (run.folder / f"{command.STAGE}.partial").exists()


@each_command
def test_pictures_must_be_prepared_first(
    command: ModuleType, prepared_run: MakeRun, tmp_path: Path
) -> None:
    kept = prepared_run().folder
    empty = tmp_path / "empty"
    empty.mkdir()
    for name in ("experiment.toml", "run.json"):
        (empty / name).write_bytes((kept / name).read_bytes())
    message = f"first: python -m data_prep.prepare --run {empty}"
    with pytest.raises(UnfinishedStageError, match=message):
        pretrain(command, Run(empty))


@each_command
@pytest.mark.parametrize("n", [1, 7])
def test_too_few_pictures_are_refused(
    command: ModuleType, n: int, prepared_run: MakeRun
) -> None:
    run = prepared_run(n=n, words=0, n_folds=0, dates=False)
    message = r"batch_size = 8, but [\w. ]+ has only \d pictures? to train on; give"
    with pytest.raises(UserError, match=message):
        pretrain(command, run)
    assert not run.has(command.STAGE)


@each_command
def test_an_unknown_network_is_refused_before_anything_is_written(
    command: ModuleType, prepared_run: MakeRun
) -> None:
    run = prepared_run()
    before = sorted(run.folder.iterdir())
    with pytest.raises(UserError, match=r"backbone = 'test_resnt': .* 'test_resnet'"):
        pretrain(command, run, "--backbone", "test_resnt")
    assert sorted(run.folder.iterdir()) == before


def test_a_view_may_be_smaller_than_the_picture(
    prepared_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = []

    def noted(name: str, side_px: int) -> torch.nn.Module:
        sides.append(side_px)
        return build_backbone(name, side_px)

    monkeypatch.setattr(backbones, "build_backbone", noted)
    folder = pretrain(simsiam, prepared_run(side=48), "--side", "32")
    assert sides == [32]
    assert json.loads((folder / "backbone.json").read_text())["side_px"] == 32


def test_collapse_is_called_by_its_name(
    prepared_run: MakeRun,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    pretrain(simsiam, prepared_run())
    assert "COLLAPSED" not in caplog.text
    monkeypatch.setattr(view_settings, "COLLAPSED", 2.0)
    pretrain(simsiam, prepared_run())
    assert "the outputs have COLLAPSED" in caplog.text


def test_without_held_out_pictures_the_training_accuracy_is_said(
    prepared_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = prepared_run()
    pretrain(jigsaw, run, "--held-out", "0")
    assert "on the pictures trained on" in caplog.text
    assert "held_out" not in run.finished(jigsaw.STAGE).metadata
    assert run.finished(jigsaw.STAGE).metadata["pictures"] == 24


@pytest.mark.parametrize(
    ("picture_px", "grid", "gap", "expected"),
    [(128, 3, 0.125, 37), (96, 3, 0.0, 32), (64, 4, 0.5, 8), (64, 2, 0.25, 24)],
)
def test_the_side_of_a_tile_by_hand(
    picture_px: int, grid: int, gap: float, expected: int
) -> None:
    assert tile_side(picture_px, JigsawSettings(grid=grid, gap=gap)) == expected


def test_tiles_too_small_to_show_anything_are_refused(prepared_run: MakeRun) -> None:
    message = (
        "pictures of 24 px give tiles of 7 px; at least 8 are needed: prepare with"
    )
    with pytest.raises(UserError, match=message):
        pretrain(jigsaw, prepared_run(side=24))


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (JigsawSettings, {"grid": 1}, "grid = 1: give 2 to 4"),
        (JigsawSettings, {"grid": 5}, "grid = 5: give 2 to 4"),
        *(
            (JigsawSettings, {name: value}, f"{name} = {value}: give 0 to below 1")
            for name in ("gap", "grey", "channel_shift", "held_out")
            for value in (-0.1, 1.0)
        ),
        *(
            (kind, {"min_area": v}, f"min_area = {v}: give above 0, at most 1")
            for kind in (JigsawSettings, SimSiamSettings)
            for v in (0.0, 1.1)
        ),
        (SimSiamSettings, {"width": 7}, "width = 7: give 8 or more"),
        (SimSiamSettings, {"colour": "kep"}, "colour = 'kep': give keep or strong"),
        (SimSiamSettings, {"side": 31}, "side = 31: give 32 or more, or 0"),
        (SimSiamSettings, {"epochs": 0}, "epochs = 0: give more than 0"),
    ],
)
def test_settings_out_of_range_are_refused(
    kind: type[Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        kind(**change)


def test_noise_is_not_learnt(prepared_run: MakeRun) -> None:
    # puzzles of pure noise cannot be solved; a leak of the answer would show
    run = prepared_run(n=60, target=None)
    pixels = np.load(run.folder / "data_prep.prepare" / "images.npy")
    rng = np.random.default_rng(0)
    np.save(
        run.folder / "data_prep.prepare" / "images.npy",
        rng.integers(0, 256, pixels.shape, dtype=np.uint8),
    )
    pretrain(jigsaw, run, "--epochs", "6", "--held-out", "0.5", "--gap", "0.2")
    assert run.finished(jigsaw.STAGE).metadata["held_out"] < 0.2


def test_weights_of_a_tag_are_told_to_be_left_out(
    prepared_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    tagged = "test_resnet.r160_in1k"
    run = prepared_run(n=24)
    folder = pretrain(jigsaw, run, "--epochs=1", f"--backbone={tagged}")
    told = [m for m in caplog.messages if m.startswith(f"backbone = '{tagged}'")]
    assert len(told) == 1
    assert "its first weights are random; to begin from those" in told[0]
    assert told[0].endswith(f"of the tag: --init timm:{tagged}")
    pretrain(jigsaw, run, "--epochs=1", "--overwrite")
    weights = (folder / "backbone.safetensors").read_bytes()
    pretrain(jigsaw, run, "--epochs=1", f"--backbone={tagged}", "--overwrite")
    assert (folder / "backbone.safetensors").read_bytes() == weights, "random, too"


@pytest.mark.parametrize(
    ("init", "backbone", "text"),
    [
        ("scratch", "resnet18", ""),
        ("timm:resnet18.a1_in1k", "resnet18.a1_in1k", ""),
        ("pretext.jigsaw", "resnet18.a1_in1k", "weights are those of pretext.jigsaw; "),
    ],
)
def test_a_name_without_a_tag_is_no_question(
    init: str, backbone: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    log_ignored_tag(init, backbone)
    assert text in caplog.text
    assert bool(caplog.text) == bool(text)
