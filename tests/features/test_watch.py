"""Tests of features.watch and features.scoreboard."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_prep.errors import UserError
from data_prep.run_folders.runs import Run
from features import watch
from features.scoreboard import EpochScore, Scoreboard, complete_means
from features.store import open_store
from tests.prepared_runs import elsewhere, extract, finetune, make_run, table_of

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

ROOT = Path(__file__).parents[2]
EXACT = ("--precision=fp32", "--every=0.05")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Joint nets of three folds, of three epochs, all of them kept."""
    run = make_run(tmp_path_factory.mktemp("run"), n_train=30)
    finetune(run, "--joint", "--epochs=3", "--keep-epochs=3", "--all")
    return run


def watch_run(run: Run, *flags: str) -> Path:
    with elsewhere(run):
        return watch.main([f"--run={run.folder}", *EXACT, *flags])


def scores_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "scores.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_epoch_of_each_fold_is_scored(trained: Run) -> None:
    folder = watch_run(trained)
    scores = scores_of(folder)
    names = ("target_rmse", "onehot_accuracy", "date_rmse", "words_rmse")
    assert {(s["net"], s["fold"], s["epoch"], s["score"]) for s in scores} == {
        ("joint", fold, epoch, name)
        for fold in "012"
        for epoch in "123"
        for name in names
    }
    assert len(scores) == 36
    assert {s["pictures"] for s in scores} == {"10"}
    assert (folder / "scores.png").read_bytes().startswith(b"\x89PNG")


def test_the_last_epoch_scores_what_its_features_do(trained: Run) -> None:
    folder = watch_run(trained)
    extract(trained)
    table = table_of(trained).set_index("id")
    views = trained.folder / "features.extract" / "views"
    target = open_store(views / "target.oof.pkl")
    classes = open_store(views / "onehot.oof.pkl")
    for fold in range(3):
        ids = table.index[table["fold"] == fold]
        mean = target.matrix(ids)[:, :, 0].mean(axis=1)
        rmse = np.sqrt(np.mean((mean - table.loc[ids, "target"]) ** 2))
        said = classes.matrix(ids).mean(axis=1).argmax(axis=1)
        right = np.mean(said == table.loc[ids, "target"])
        ours = {
            s["score"]: float(s["value"])
            for s in scores_of(folder)
            if (s["fold"], s["epoch"]) == (str(fold), "3")
        }
        assert ours["target_rmse"] == pytest.approx(rmse, rel=1e-5)
        assert ours["onehot_accuracy"] == pytest.approx(right)


def test_the_order_of_the_table_changes_no_score(trained: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / "copy")
    shutil.copytree(trained.folder, run.folder)
    shutil.rmtree(run.folder / "features.watch", ignore_errors=True)
    table = table_of(run).sample(frac=1, random_state=0)
    table.to_parquet(run.folder / "data_prep.prepare" / "table.parquet", index=False)
    ours, theirs = (
        {(s["fold"], s["epoch"], s["score"]): float(s["value"]) for s in found}
        for found in (scores_of(watch_run(run)), scores_of(watch_run(trained)))
    )
    assert ours == theirs


def test_what_is_scored_is_not_scored_again(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = watch_run(trained)
    before = (folder / "scores.csv").read_bytes()
    monkeypatch.setattr(watch.Scorer, "score", lambda *_: pytest.fail("again"))
    watch_run(trained)
    assert (folder / "scores.csv").read_bytes() == before


def test_a_training_that_ended_is_the_one_that_was_begun(
    trained: Run, tmp_path: Path
) -> None:
    """While it ran, what is noted beside it also says how often it was begun."""
    run = Run(Path(shutil.copytree(trained.folder, tmp_path / "run")))
    ended = watch.training_of(run)
    stage = run.folder / "transfer.finetune"
    stage.rename(stage.with_name("away"))
    with (
        pytest.raises(KeyboardInterrupt),
        run.stage("transfer.finetune", ended["settings"], [*ended["reads"]]),
    ):
        raise KeyboardInterrupt
    begun = watch.training_of(run)
    assert begun["settings"] == ended["settings"]
    assert set(begun) == set(ended)
    assert not watch.has_ended(run, begun)
    shutil.rmtree(stage.with_name("transfer.finetune.partial"))
    stage.with_name("away").rename(stage)
    assert watch.has_ended(run, ended)


def scored(fold: str, epoch: int, score: str, value: float) -> EpochScore:
    return EpochScore(
        net="joint",
        fold=fold,
        epoch=epoch,
        score=score,
        value=value,
        pictures=10,
        seconds=0.1,
    )


def test_the_scores_of_another_training_are_dropped(tmp_path: Path) -> None:
    board = Scoreboard(tmp_path, {"settings": 1})
    board.add([scored("0", 1, "target_rmse", 0.5)])
    assert Scoreboard(tmp_path, {"settings": 1}).entries == board.entries
    assert Scoreboard(tmp_path, {"settings": 1}, overwrite=True).entries == []
    board = Scoreboard(tmp_path, {"settings": 1})
    board.add([scored("0", 1, "target_rmse", 0.5)])
    assert Scoreboard(tmp_path, {"settings": 2}).entries == []
    assert Scoreboard(tmp_path, {"settings": 2}).entries == []


@pytest.mark.parametrize("text", ["net,fold\njoint,0\n", "net,fold,epoch\na,0,x"])
def test_scores_that_were_cut_are_named(tmp_path: Path, text: str) -> None:
    place = tmp_path / "run" / "features.watch"
    Scoreboard(place, {"settings": 1})
    (place / "scores.csv").write_text(text)
    anew = r"scores\.csv is cut .*: python -m features\.watch --run .*run --overwrite"
    with pytest.raises(UserError, match=anew):
        Scoreboard(place, {"settings": 1})
    assert Scoreboard(place, {"settings": 1}, overwrite=True).entries == []


def test_weights_that_are_gone_are_counted(
    trained: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = Run(tmp_path / "copy")
    shutil.copytree(trained.folder, run.folder)
    shutil.rmtree(run.folder / "features.watch", ignore_errors=True)
    found = [*watch.published(run)]
    gone = found[0][0]
    monkeypatch.setattr(watch, "published", lambda _: found)
    gone.unlink()
    folder = watch_run(run)
    assert len(scores_of(folder)) == 32
    assert "1 epochs were gone before they could be scored" in caplog.text


def test_an_interrupted_training_ends_the_watch(
    trained: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = Run(tmp_path / "copy")
    shutil.copytree(trained.folder, run.folder)
    shutil.rmtree(run.folder / "features.watch", ignore_errors=True)
    partial = run.folder / "transfer.finetune.partial"
    (run.folder / "transfer.finetune").rename(partial)
    record = (partial / "record.json").read_text()
    (partial / "record.json").unlink()
    (partial / "stage.json").write_text(record)
    monkeypatch.setattr(watch, "QUIET_S", 0.1)
    folder = watch_run(run)
    assert "transfer.finetune was interrupted; begin it and me again" in caplog.text
    assert len(scores_of(folder)) == 36


@pytest.mark.drill
def test_it_follows_a_training_that_runs(tmp_path: Path) -> None:
    run = make_run(tmp_path, n_train=30, dates=False, words=0)
    command = [sys.executable, "-m", "features.watch", f"--run={run.folder}", *EXACT]
    with (tmp_path / "log").open("w", encoding="utf-8") as log:
        watcher = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=log,
        )
    try:
        finetune(run, "--joint", "--epochs=4", "--keep-epochs=4")
        assert watcher.wait(timeout=120) == 0
    finally:
        watcher.kill()
    scores = pd.read_csv(run.folder / "features.watch" / "scores.csv")
    assert set(scores["epoch"]) == {1, 2, 3, 4}
    assert set(scores["fold"]) == {0, 1, 2}
    text = (tmp_path / "log").read_text(encoding="utf-8")
    assert "joint/fold2 epoch 4: target_rmse " in text
    assert "best mean of target_rmse: " in text


def test_best_and_means_by_hand(tmp_path: Path) -> None:
    board = Scoreboard(tmp_path, {})
    values = {("0", 1): 0.9, ("0", 2): 0.5, ("0", 3): 0.1, ("1", 1): 0.7, ("1", 2): 0.9}
    for score in ("target_rmse", "onehot_accuracy"):
        board.add([scored(f, e, score, v) for (f, e), v in values.items()])
    means = complete_means(board.table("target_rmse"))
    assert means.to_dict() == {1: pytest.approx(0.8), 2: pytest.approx(0.7)}
    # the third epoch has but one fold, so it is not compared
    assert board.best("target_rmse") == (2, pytest.approx(0.7))
    assert board.best("onehot_accuracy") == (1, pytest.approx(0.8))
    lines = board.text().splitlines()
    assert lines[1].split() == ["epoch", "1", "0.8000", "0.9000", "0.7000"]
    assert lines[3].split() == ["epoch", "3", "0.1000", "0.1000", "of", "1"]
