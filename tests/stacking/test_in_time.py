"""Tests of stacks of runs whose folds are forward in time: what is said of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from data_prep.errors import UserError
from data_prep.experiment import read_experiment
from data_prep.folds import TRAIN_FROM
from data_prep.run_folders.runs import Run
from stacking.cross_fitting import CrossFit, TrainingRows, each_fold, without_past
from stacking.ensemble.aligned_features import AlignedFeatures
from stacking.ensemble.objective import Objective, ScoringData
from stacking.ensemble.postprocess import Start, run_chain
from stacking.ensemble.postprocessors import postprocessor_named
from stacking.ensemble.selection import cross_select
from stacking.inputs.assemble import Protocol, assemble
from stacking.inputs.data import StackingData
from stacking.inputs.objects import Objects
from stacking.inputs.target_columns import NetPredictions
from stacking.models.registry import STACKERS
from stacking.models.stacker import FitContext
from stacking.settings import FitSettings
from stacking.workflow import StackingJob
from tests.stacking.pixels_of_runs import without_pixels
from tests.stacking.reported import Reported

MakeRun = Callable[..., Path]
FEW = {"n_train": 90, "n_test": 6, "n_unlabelled": 0}  # too few to align nets by


def assembled(folder: Path, cv: str = "", protocol: Protocol = "oof") -> StackingData:
    run = Run(folder)
    prepared, extracted = map(run.finished, ("data_prep.prepare", "features.extract"))
    return without_pixels(assemble(prepared, extracted, cv, protocol))


def test_rows_before_the_first_fold_are_in_no_score_and_that_is_said(
    make_run: MakeRun,
) -> None:
    folder = make_run(is_in_time=True, n_train=90, n_test=20)
    table = pd.read_parquet(folder / "data_prep.prepare" / "table.parquet")
    first = table[(table["split"] == "train") & (table["fold"] < 0)]
    data = assembled(folder)
    assert len(first) > 10
    assert set(data.info.ids) == set(table["id"][table["fold"] >= 0])
    assert data.rows.in_time
    (message,) = data.info.messages
    assert message == (
        "The folds are forward in time: what predicts a fold has learned from earlier"
        f" rows alone. {len(first)} labelled rows before the first fold are in no"
        " score."
    )


def test_the_report_says_what_a_score_is_of(tmp_path: Path) -> None:
    report = Reported.of(tmp_path / "run", is_in_time=True, n_test=60)
    page = report.page()
    assert "the net&#39;s own prediction stands for every member there" in page
    assert "strict honesty would need" not in page
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


def test_features_without_labels_stack_forward_but_for_fold_0(
    make_run: MakeRun,
) -> None:
    folder = make_run(is_in_time=True, is_label_free=True, **FEW)
    settings = FitSettings(stackers=("ridge",), seeds=1)
    data = assembled(folder)
    experiment = read_experiment(folder / "experiment.toml", folder)
    job = StackingJob.of(data, settings, experiment)
    assert job.data.info.messages[-1].startswith(
        "No fold comes before fold 0, and no n"
    )
    drawn = assembled(folder, cv="gkfold3")
    assert not drawn.rows.in_time
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


def in_time(seed: int = 0, n: int = 90) -> TrainingRows:
    """Make up rows of three folds in time that two columns tell of."""
    rng = np.random.default_rng(seed)
    X, folds = rng.normal(size=(n, 2)), np.repeat([0, 1, 2], n // 3)
    return TrainingRows(
        X=X,
        y=X @ [1.0, -0.5] + rng.normal(0, 0.1, n),
        folds=folds,
        groups=np.arange(n) // 2,
        sample_weight=np.ones(n),
        train_from=folds + 1,
    )


def with_other_labels(rows: TrainingRows, from_fold: int) -> TrainingRows:
    """Draw the labels of a fold and of later ones anew."""
    y = np.where(rows.folds >= from_fold, rng_labels(len(rows.y)), rows.y)
    return replace(rows, y=y)


def rng_labels(n: int) -> np.ndarray:
    return np.random.default_rng(99).normal(5, 3, n)


@pytest.mark.parametrize("name", ["ridge", "lightgbm", "svr"])
@pytest.mark.parametrize("fold", [1, 2])
def test_no_stacker_of_a_fold_knows_a_label_of_it_or_later(
    name: str, fold: int
) -> None:
    rows, context = in_time(), FitContext(n_seeds=1, max_rounds=30, columns=["a", "b"])
    fit = STACKERS[name].fit(rows, context)
    other = STACKERS[name].fit(with_other_labels(rows, fold), context)
    is_of_fold = rows.folds == fold
    assert_array_equal(fit.oof_pred[is_of_fold], other.oof_pred[is_of_fold])
    is_inner = ~np.isnan(fit.inner_oof[fold])
    assert_array_equal(is_inner, rows.folds < fold)
    assert_array_equal(fit.inner_oof[fold][is_inner], other.inner_oof[fold][is_inner])


@pytest.mark.parametrize("fold", [1, 2])
def test_nor_does_what_is_selected_for_it(fold: int) -> None:
    rows = in_time()
    objective = Objective.named("rmse", [], is_number=True)
    context = FitContext(n_seeds=1, max_rounds=30, columns=["a", "b"])
    blends = []
    for labelled in (rows, with_other_labels(rows, fold)):
        fits = {
            name: STACKERS[name].fit(labelled, context) for name in ("ridge", "svr")
        }
        blend, _, _ = cross_select(fits, ScoringData.of(labelled, objective))
        blends.append(blend.oof_pred[rows.folds == fold])
    assert_array_equal(*blends)


@pytest.mark.parametrize("name", ["ridge", "lightgbm", "svr"])
def test_late_rows_of_an_early_group_teach_no_fold_before_them(name: str) -> None:
    """They are held out with its earliest row, and dated in the last fold."""
    rows, context = in_time(), FitContext(n_seeds=1, max_rounds=30, columns=["a", "b"])
    is_late = np.arange(len(rows.y)) < 8
    rows = replace(rows, train_from=np.where(is_late, 3, rows.train_from))
    others = replace(rows, y=np.where(is_late, rng_labels(len(rows.y)), rows.y))
    objective = Objective.named("rmse", [], is_number=True)
    fits, blends = [], []
    for labelled in (rows, others):
        fits.append(STACKERS[name].fit(labelled, context))
        both = {"a": fits[-1], "b": STACKERS["ridge"].fit(labelled, context)}
        blends.append(cross_select(both, ScoringData.of(labelled, objective))[0])
    is_scored = rows.folds > 0
    for fit, other in (fits, blends):
        assert_array_equal(fit.oof_pred[is_scored], other.oof_pred[is_scored])
        assert np.isnan(fit.inner_oof[1:, is_late]).all()
        assert not np.isnan(fit.inner_oof[1, (rows.folds == 0) & ~is_late]).any()


def test_a_fold_within_the_gap_of_the_first_rows_has_no_past_either() -> None:
    folds, train_from = np.repeat([0, 1, 2], 9), np.repeat([2, 3, 3], 9)
    splits = {fold: (idx, val) for fold, idx, val in each_fold(folds, train_from)}
    assert_array_equal(without_past(folds, train_from), folds < 2)
    for fold, is_train in ((0, folds > 0), (1, folds != 1), (2, folds == 0)):
        train_idx, val_idx = splits[fold]
        assert_array_equal(train_idx, np.flatnonzero(is_train))
        assert_array_equal(val_idx, np.flatnonzero(folds == fold))
    assert not without_past(folds, None).any()


def test_no_rule_is_chosen_for_the_first_fold() -> None:
    """The level drifts: what bends fold 0 would be learned from later folds."""
    rows = in_time()
    scoring = ScoringData.of(
        replace(rows, y=rows.y + rows.folds * 4.0),
        Objective.named("rmse", [], is_number=True),
    )
    fit = CrossFit.of_fixed(rows.y, rows.folds)
    net_pred = NetPredictions(regression=rows.y, proba=None, class_values=np.empty(0))
    (step,) = run_chain(
        [postprocessor_named("isotonic")],
        Start(fit=fit, apparent=rows.y),
        net_pred,
        scoring,
    )
    after, is_first = step.after.fit.oof_pred, rows.folds == 0
    assert_array_equal(after[is_first], rows.y[is_first])
    assert (after[~is_first] != rows.y[~is_first]).any()


def test_the_net_itself_predicts_the_first_fold(make_run: MakeRun) -> None:
    folder = make_run(is_in_time=True, n_train=90, n_test=20, tasks=("target", "date"))
    experiment = read_experiment(folder / "experiment.toml", folder)
    settings = FitSettings(stackers=("ridge",), seeds=1, align="none")
    job = StackingJob.of(assembled(folder), settings, experiment)
    stacked = job.fit(folder)
    is_first = job.data.rows.folds == 0
    plain = stacked.members["plain"].fit.oof_pred
    for name in ("ridge", "date_alone"):
        oof_pred = stacked.members[name].fit.oof_pred
        assert_array_equal(oof_pred[is_first], plain[is_first])
        assert (oof_pred[~is_first] != plain[~is_first]).any()
    assert job.expect(stacked) is None


def test_an_object_teaches_no_fold_before_its_last_picture() -> None:
    table = pd.DataFrame(
        {
            "object": ["b", "a", "b"],
            "split": "train",
            "weight": 1.0,
            TRAIN_FROM: [3, 1, 2],
        }
    )
    rows = Objects.of(table).rows(table)
    assert rows[TRAIN_FROM].to_dict() == {"a": 1, "b": 3}
