"""Tests of stacks of runs whose folds are forward in time: what is said of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_prep.errors import UserError
from data_prep.folds import TRAIN_FROM
from data_prep.run_folders.runs import Run
from stacking.ensemble.aligned_features import AlignedFeatures
from stacking.inputs.assemble import Protocol, assemble
from stacking.inputs.data import StackingData
from tests.stacking.reported import Reported

MakeRun = Callable[..., Path]
FEW = {"n_train": 90, "n_test": 6, "n_unlabelled": 0}  # too few to align nets by


def assembled(folder: Path, cv: str = "", protocol: Protocol = "oof") -> StackingData:
    run = Run(folder)
    prepared, extracted = map(run.finished, ("data_prep.prepare", "features.extract"))
    return assemble(prepared, extracted, cv, protocol)


def test_rows_before_the_first_fold_are_in_no_score_and_that_is_said(
    make_run: MakeRun,
) -> None:
    folder = make_run(is_in_time=True, n_train=90, n_test=20)
    table = pd.read_parquet(folder / "data_prep.prepare" / "table.parquet")
    first = table[(table["split"] == "train") & (table["fold"] < 0)]
    data = assembled(folder)
    assert len(first) > 10
    assert set(data.info.ids) == set(table["id"][table["fold"] >= 0])
    assert data.info.is_in_time
    (message,) = data.info.messages
    assert message.startswith("The folds are forward in time: each net learned from")
    assert message.endswith(
        f" {len(first)} labelled rows before the first fold are in no score."
    )


def test_the_report_says_what_a_score_is_of(tmp_path: Path) -> None:
    report = Reported.of(tmp_path / "run", is_in_time=True, n_test=60)
    page = report.page()
    assert "the score of the plain nets is that of a forecast" in page
    assert "one net per picture, which was trained on earlier pictures alone" in page
    assert "of which the first learned from the oldest rows alone" in page
    assert "trained on 2 of 3 folds" not in page


def test_nets_are_not_aligned_by_what_blocks_of_time_hold(make_run: MakeRun) -> None:
    data = assembled(make_run(is_in_time=True, **FEW))
    plain = AlignedFeatures(
        data=data,
        target_columns=None,  # type: ignore[arg-type]
        alignment=None,  # type: ignore[arg-type]
        rows=data.rows,
    )
    assert not plain.is_by_held_out
    assert any(column.is_by_fold for column in data.columns)


def test_in_sample_features_are_not_for_them(make_run: MakeRun) -> None:
    folder = make_run(is_in_time=True, has_insample=True)
    with pytest.raises(UserError, match=r"'insample' learns .* earlier rows alone;"):
        assembled(folder, protocol="insample")


def test_no_score_of_features_without_labels_is_called_a_forecast(
    make_run: MakeRun,
) -> None:
    folder = make_run(is_in_time=True, is_label_free=True, **FEW)
    (message,) = assembled(folder).info.messages
    assert "no score here is that of a forecast" in message
    drawn = assembled(folder, cv="gkfold3")
    assert not drawn.info.is_in_time
    assert drawn.info.messages == ()
    assert len(drawn.info.ids) < FEW["n_train"]  # those that have a fold, as before
    with pytest.raises(UserError, match="folds in time are of the preparation"):
        assembled(folder, cv="time4")


def test_other_rows_to_learn_from_are_other_folds(make_run: MakeRun) -> None:
    folder = make_run(is_in_time=True, **FEW)
    path = folder / "data_prep.prepare" / "table.parquet"
    table = pd.read_parquet(path)
    table.assign(**{TRAIN_FROM: np.int64(0)}).to_parquet(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data_prep.run_folders.runs.check_files", lambda *_: None)
        patch.setattr("data_prep.run_folders.damage._stage_of", lambda _: None)
        with pytest.raises(UserError, match="its folds are not the ones data_prep"):
            assembled(folder)
