"""Tests of transfer.compare: what it reads, its means, and the files it writes."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from data_prep.errors import UserError
from pretext.engine.history import History
from tests.prepared_runs import finetune, make_run
from transfer.compare import main
from transfer.results.score_curves import RunCurves, table_of

SCORES = {  # by fold, the scores of epochs 1 to 3
    "fold0": (0.9, 0.5, 0.6),
    "fold1": (1.1, 0.7, 0.4),
}


def logged(folder: Path, scores: dict[str, tuple[float, ...]] = SCORES) -> Path:
    """Write the logs that two folds of a joint net would have."""
    for fold, values in scores.items():
        path = folder / "transfer.finetune" / "joint" / fold / "logs" / "epochs.csv"
        history = History(path)
        for epoch, value in enumerate(values, start=1):
            metrics = {"held_out/target_rmse": value, "held_out/kind_accuracy": value}
            history.add(epoch, {"loss": 1 / epoch} | metrics)
    return folder


def test_means_and_spread_of_the_folds(tmp_path: Path) -> None:
    curves = RunCurves.of(logged(tmp_path / "a"))
    assert list(curves.by_metric) == ["kind_accuracy", "target_rmse"]
    mean = curves.mean("target_rmse")
    assert mean["mean"].tolist() == pytest.approx([1.0, 0.6, 0.5])
    assert mean["min"].tolist() == [0.9, 0.5, 0.4]
    assert mean["max"].tolist() == [1.1, 0.7, 0.6]
    table = table_of([curves]).set_index("score")
    assert table["best epoch"].to_dict() == {"kind_accuracy": 1, "target_rmse": 3}
    assert table.loc["target_rmse", "last"] == pytest.approx(0.5)


def test_epochs_that_a_fold_lacks_are_in_no_mean(tmp_path: Path) -> None:
    scores = {"fold0": (0.9, 0.5, 0.6), "fold1": (1.1, 0.7)}  # it is being trained
    curves = RunCurves.of(logged(tmp_path / "a", scores))
    assert curves.mean("target_rmse").index.tolist() == [1, 2]


def test_real_runs_side_by_side(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, n_folds=2) for name in ("a", "b")]
    small = ("--joint", "--epochs=2", "--tasks=target")
    finetune(runs[0], *small, "--score-every=1")
    finetune(runs[1], *small)
    page = main([str(run.folder) for run in runs])
    assert page == tmp_path / "compare.html"
    table = pd.read_csv(tmp_path / "compare.csv")
    assert table["run"].tolist() == ["a", "b"]
    assert table["epochs"].tolist() == [2, 2]
    assert table["last"][0] == table["last"][1]  # looking on changes nothing
    with Image.open(tmp_path / "compare.png") as image:
        assert image.width > 500
    assert "target_rmse" in page.read_text(encoding="utf-8")


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone: there is no such run$"):
        main([str(tmp_path / "gone")])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"first: python -m transfer.finetune .*empty"):
        main([str(empty)])
    path = tmp_path / "all" / "transfer.finetune" / "joint" / "fold0" / "logs"
    History(path / "epochs.csv").add(1, {"loss": 1.0})
    with pytest.raises(UserError, match=r"all: its nets have no score .*--score-every"):
        main([str(tmp_path / "all")])
