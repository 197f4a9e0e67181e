"""Tests of the constant, which is handed out where nothing scores better."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from data_prep.experiment import DataSettings, Experiment
from data_prep.run_folders.runs import Run
from stacking.cross_fitting import CrossFit
from stacking.ensemble.candidates import add_means, select_candidate
from stacking.ensemble.members import Member
from stacking.ensemble.objective import Objective, ScoringData
from stacking.ensemble.predictor import Predictor
from stacking.inputs.assemble import assemble
from stacking.settings import FitSettings
from stacking.workflow import StackingJob
from tests.stacking.conftest import FakeRun
from tests.stacking.pixels_of_runs import without_pixels

N = 300
FOLDS = np.arange(N) % 3


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("error", [0.5, 3.0])
@pytest.mark.parametrize("n_members", [1, 2])
def test_what_scores_worse_than_a_constant_is_not_handed_out(
    error: float, n_members: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    y_true = rng.normal(size=N)
    preds = y_true + error * rng.normal(size=(n_members, N))
    scoring = ScoringData(
        y_true=y_true,
        folds=FOLDS,
        groups=np.arange(N),
        objective=Objective(name="rmse"),
    )
    names = ("ridge", "lightgbm")[:n_members]
    members = {
        name: Member(title=name, fit=CrossFit.of_fixed(pred, FOLDS))
        for name, pred in zip(names, preds, strict=True)
    }
    candidates = add_means(members, scoring, np.asarray, names, is_leaky=False)
    selected = select_candidate(candidates, scoring)
    constant = np.array([y_true[k != FOLDS].mean() for k in range(3)])[FOLDS]
    assert_allclose(candidates.members["constant"].fit.oof_pred, constant)
    is_worse = np.std(constant - y_true) < np.std(
        candidates.members[candidates.names[-1]].fit.oof_pred - y_true
    )
    assert (selected.name == "constant") == is_worse == (error > 1)
    assert "constant" not in selected.by_fold  # the nested score says why
    if is_worse:
        assert_allclose(selected.start.apparent, constant)


@pytest.mark.parametrize("is_text", [False, True])
def test_where_nothing_is_learned_every_picture_gets_the_constant(
    tmp_path: Path, is_text: bool
) -> None:
    made_up = FakeRun(
        n_train=60,
        n_test=12,
        has_signal=False,
        is_text=is_text,
        tasks=("target", "onehot")[is_text:],
        seed=3,
    )
    run = Run(made_up.write(tmp_path / "run"))
    prepared, extracted = map(run.finished, ("data_prep.prepare", "features.extract"))
    data = without_pixels(assemble(prepared, extracted))
    experiment = Experiment(data=DataSettings(target="period"))
    settings = FitSettings(seeds=1, stackers=("ridge",))
    stacked = StackingJob.of(data, settings, experiment).fit(tmp_path)
    assert stacked.selected == "constant"
    assert stacked.line("selected").title == "selected: constant"
    stacked.predictor.save(tmp_path)
    predicted = Predictor.load(tmp_path).predict(data.common.nets).prediction
    rows = data.rows
    means = [rows.y[rows.folds != k].mean(axis=0) for k in range(rows.n_folds)]
    assert_allclose(predicted, [np.mean(means, axis=0)] * len(predicted))
