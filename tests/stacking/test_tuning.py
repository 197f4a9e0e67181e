"""Tests of stacking.models.tuning."""

from pathlib import Path

import numpy as np
import pytest

from stacking.cross_fitting import TrainingRows, assign_inner_folds
from stacking.models.boosting import Boosting, Table, cross_fit_boosters, find_rounds
from stacking.models.tuning import JOURNAL, tune_boosting
from tests.drilled import in_drills

optuna = pytest.importorskip("optuna")
N = 150
RNG = np.random.default_rng(0)
FOLDS, CV_GROUPS = np.arange(N) // 2 % 3, np.arange(N) // 2
X = RNG.normal(size=(N, 6))
Y = np.sign(X[:, 0]) + X[:, 1] + RNG.normal(0, 0.3, N)
QUICK = Boosting(n_seeds=1, max_rounds=40, patience=10)


def training_rows(X: np.ndarray, y: np.ndarray) -> TrainingRows:
    return TrainingRows(
        X=X,
        y=y,
        folds=FOLDS,
        groups=CV_GROUPS,
        sample_weight=np.ones(N),
    )


def tuned(folder: Path, n_trials: int = 4, y: np.ndarray = Y) -> list[Boosting]:
    return tune_boosting(training_rows(X, y), QUICK, n_trials, folder)


def trials_of(folder: Path, fold: int) -> list[optuna.trial.FrozenTrial]:
    journal = optuna.storages.journal.JournalFileBackend(str(folder / JOURNAL))
    storage = optuna.storages.JournalStorage(journal)
    study = optuna.load_study(study_name=f"fold{fold}", storage=storage)
    return study.trials


def test_the_best_of_the_trials_is_taken_and_the_usual_way_is_the_first(
    tmp_path: Path,
) -> None:
    found = tuned(tmp_path)
    for fold in range(3):
        trials = trials_of(tmp_path, fold)
        best = min(trials, key=lambda trial: trial.value)
        assert found[fold].tuned == best.params
        usual = QUICK.parameters(100, 6, 0)
        assert trials[0].params["num_leaves"] == usual["num_leaves"]
        assert trials[0].params["learning_rate"] == usual["learning_rate"]


def test_a_trial_is_scored_by_another_route(tmp_path: Path) -> None:
    found = tuned(tmp_path, 2)
    rest = np.flatnonzero(FOLDS != 1)
    parts = assign_inner_folds(Y[rest], CV_GROUPS[rest], 0)
    standard = (Y[rest] - Y[rest].mean()) / Y[rest].std()
    table = Table(X=X[rest], y=standard, sample_weight=np.ones(len(rest)))
    _, inner = find_rounds(table, parts, found[1], 0)
    best = min(trial.value for trial in trials_of(tmp_path, 1))
    by_part = [((inner - standard)[parts == k] ** 2).mean() for k in range(4)]
    error = np.average(by_part, weights=np.bincount(parts))
    assert error == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("fold", [0, in_drills(1), in_drills(2)])
def test_the_trials_of_a_fold_never_look_at_its_labels(
    tmp_path: Path, fold: int
) -> None:
    other = np.where(fold == FOLDS, -9 * Y, Y)
    before = tuned(tmp_path / "a", 3)
    after = tuned(tmp_path / "b", 3, other)
    assert before[fold].tuned == after[fold].tuned
    values = [
        [t.value for t in trials_of(tmp_path / d, k)] for d in "ab" for k in (fold,)
    ]
    assert values[0] == values[1]
    elsewhere = (fold + 1) % 3
    values = [[t.value for t in trials_of(tmp_path / d, elsewhere)] for d in "ab"]
    assert values[0] != values[1]


def test_a_study_goes_on_where_it_was(tmp_path: Path) -> None:
    tuned(tmp_path, 2)
    first = [t.value for t in trials_of(tmp_path, 0)]
    tuned(tmp_path, 4)
    values = [t.value for t in trials_of(tmp_path, 0)]
    assert values[:2] == first
    assert len(values) == 4
    tuned(tmp_path, 4)
    assert len(trials_of(tmp_path, 0)) == 4


def test_tuned_boosters_are_no_worse_inside_than_the_usual(tmp_path: Path) -> None:
    found = tuned(tmp_path, 6)
    names = [f"c{k}" for k in range(6)]
    usual, better = (
        cross_fit_boosters(training_rows(X, Y), how, names=names)
        for how in (QUICK, found)
    )
    for fold in range(3):
        rest = fold != FOLDS
        errors = [
            ((one.inner_oof[fold] - Y)[rest] ** 2).mean() for one in (usual, better)
        ]
        assert errors[1] <= errors[0] * 1.02
        assert better.metadata[fold]["num_leaves"] == found[fold].tuned["num_leaves"]
