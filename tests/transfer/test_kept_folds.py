"""Tests of transfer.kept_folds: nets of some folds made anew, and the power cut."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from data_prep.run_folders.damage import DamagedFileError
from data_prep.run_folders.runs import Run
from tests.power_cut import PowerCutError, fail_at
from tests.prepared_runs import finetune, make_run
from transfer.training import train_net

STAGE = "transfer.finetune"
FLAGS = ("--joint", "--tasks=target", "--steps=1")
MARK = "logs/before"  # in the folder of a net that was there before, and its copies
FOLDS = {"0", "1", "2"}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with nets of three folds, each marked; only to be copied."""
    run = make_run(tmp_path_factory.mktemp("run"), words=0)
    folder = finetune(run, *FLAGS)
    for net in (folder / "joint").iterdir():
        (net / MARK).touch()
    return run.folder


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Run:
    return Run(Path(shutil.copytree(original, tmp_path / "run")))


def folds_of_before(run: Run) -> set[str]:
    """Name the folds of a finished stage whose nets are those of before."""
    finished = run.finished(STAGE)
    assert finished.metadata["folds"] == sorted(FOLDS)
    places = {fold: f"joint/fold{fold}" for fold in FOLDS}
    folders = {Path(name).parent.as_posix() for name in finished.record["files"]}
    assert folders == {*places.values()}, "and nothing else"
    return {f for f in FOLDS if (finished.folder / places[f] / MARK).exists()}


def cut_off(run: Run, where: str, *flags: str) -> None:
    """Begin, and stop in the copy of the net of fold 2, or as the training begins."""
    copytree = shutil.copytree

    def half_a_copy(source: Path, target: Path, *options: Any) -> Path:
        copied = copytree(source, target, *options)
        if Path(target).name == "fold2.draft":
            (Path(target) / "weights.safetensors").unlink()
            raise PowerCutError
        return copied

    with pytest.MonkeyPatch.context() as patch:
        if where == "copy":
            patch.setattr(shutil, "copytree", half_a_copy)
        else:
            patch.setattr(train_net, "_train", fail_at(1, train_net._train))
        with pytest.raises(PowerCutError):
            finetune(run, *FLAGS, *flags)


@pytest.mark.parametrize(
    ("where", "flags", "kept"),
    [
        ("training", ("--folds=0", "--overwrite"), {"1", "2"}),  # the same goes on
        ("training", ("--folds=1", "--overwrite"), {"0", "2"}),
        ("copy", ("--folds=1", "--overwrite"), {"0", "2"}),
        ("training", ("--overwrite",), set()),
        ("training", ("--folds=0",), FOLDS),  # it is there already
        ("training", (), FOLDS),
    ],
)
def test_nets_made_anew_are_all_old_or_all_new(
    run: Run, where: str, flags: tuple[str, ...], kept: set[str]
) -> None:
    cut_off(run, where, "--folds=0", "--overwrite")
    assert folds_of_before(run) == FOLDS
    finetune(run, *FLAGS, *flags)
    assert folds_of_before(run) == kept


def test_half_a_copy_is_no_net_where_all_are_trained(run: Run) -> None:
    finished = run.finished(STAGE)
    config = {**finished.record["settings"], "folds": ["1", "2"]}
    nets = [net for net in finished.metadata["nets"] if net["fold"] != "0"]
    with run.stage(STAGE, config, ["data_prep.prepare"]) as stage:
        shutil.copytree(finished.folder / "joint", stage.folder / "joint")
        shutil.rmtree(stage.folder / "joint" / "fold0")
        stage.metadata = {**finished.metadata, "folds": ["1", "2"], "nets": nets}
    cut_off(run, "copy", "--folds=0")
    finetune(run, *FLAGS)  # a whole copy is as good as a training
    assert folds_of_before(run) == {"1"}


def test_a_damaged_net_is_trained_anew_and_the_others_are_kept(run: Run) -> None:
    weights = run.folder / STAGE / "joint/fold0/weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(DamagedFileError, match=r"fold0/weights\.safetensors is cut or"):
        finetune(run, *FLAGS, "--folds=0")
    with pytest.raises(DamagedFileError, match=r"fold0/weights\.safetensors is cut or"):
        finetune(run, *FLAGS, "--folds=1", "--overwrite")  # or fold 0 would be lost
    finetune(run, *FLAGS, "--folds=0", "--overwrite")
    assert folds_of_before(run) == {"1", "2"}
