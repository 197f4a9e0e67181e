"""The stack is the same whatever the unit of the target."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from stacking.analysis.calibration import slope
from stacking.cross_fitting import TrainingRows, assign_inner_folds
from stacking.ensemble.objective import Objective, ScoringData
from stacking.ensemble.postprocessors import Blend
from stacking.ensemble.selection import select
from stacking.ensemble.stack import Stacked
from stacking.estimator import Stacker
from stacking.inputs.target_columns import NetPredictions
from stacking.models.boosting import Boosters, Boosting, cross_fit_boosters, quick
from stacking.models.linear import fit_curve
from stacking.models.neural import Training
from stacking.models.neural_folds import cross_fit_neural
from stacking.models.registry import load_models, save_models
from tests.drilled import in_drills
from tests.stacking.conftest import rows_in_folds

N = 150
STACKERS = ("lightgbm", "ridge", "svr")
# What a number of 16 digits leaves of a spread this many times smaller than itself.
KEPT = 3e-16


def rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, 4))
    y = X[:, 0] + np.sin(2 * X[:, 1]) + 0.3 * rng.normal(size=N)
    return X, np.round(y * 64) / 64, np.arange(N) // 3


def training_rows(X: np.ndarray, y: np.ndarray, groups: np.ndarray) -> TrainingRows:
    return rows_in_folds(X, y, folds=groups % 3, groups=groups)


def stacked(y: np.ndarray, **settings: Any) -> Stacker:
    X, _, groups = rows()
    usual = {"cv": "gkfold3", "stackers": STACKERS, "seeds": 1, "max_rounds": 60}
    return Stacker(**usual | settings).fit(X, y, groups=groups)


@cache
def as_it_is(metric: str) -> Stacker:
    """The stack of the target in its first unit."""
    return stacked(rows()[1], metric=metric)


@cache
def of_grades() -> Stacker:
    return stacked(grades(), metric="quadratic_kappa")


def grades() -> np.ndarray:
    return np.digitize(rows()[1], [-1.0, 0.0, 1.5]).astype(np.float64)


def choices(result: Stacked) -> list[Any]:
    weights = [
        weight for mean in result.weights_by_mean.values() for weight in mean.values()
    ]
    steps = [(step.name, step.is_on) for step in result.steps]
    return [weights, result.selected, list(result.selected_by_fold), steps]


@pytest.mark.parametrize("metric", ["", "mae", "r2"])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        *((1e-9, 0.0), (40.0, 1.6e9), (1e9, -1e12)),
        *(in_drills(*unit) for unit in ((1e-7, -3e-4), (3.7, 1e6), (1.0, 1e9))),
    ],
)
def test_a_stack_knows_no_unit(a: float, b: float, metric: str) -> None:
    X, y, _ = rows()
    plain, other = as_it_is(metric), stacked(a * y + b, metric=metric)
    assert choices(plain.stacked_) == choices(other.stacked_)
    noise = 1e-9 + 100 * KEPT * abs(b / a)
    for first, second in zip(plain.stacked_.lines, other.stacked_.lines, strict=True):
        assert_allclose((second.prediction - b) / a, first.prediction, atol=noise)
        scale = 1.0 if metric == "r2" else a
        assert second.scores.pooled / scale == pytest.approx(
            first.scores.pooled, abs=noise
        )
        assert second.interval.low / scale == pytest.approx(
            first.interval.low, abs=noise
        )
    assert_allclose((other.predict(X) - b) / a, plain.predict(X), atol=noise)


@pytest.mark.parametrize(
    ("a", "b"), [(40.0, 1.6e9), in_drills(1e-9, 0.0), in_drills(3e5, -1.0)]
)
def test_grades_are_cut_alike_in_every_unit(a: float, b: float) -> None:
    X, _, _ = rows()
    plain = of_grades()
    other = stacked(a * grades() + b, metric="quadratic_kappa")
    assert choices(plain.stacked_) == choices(other.stacked_)
    assert other.scores_.pooled == pytest.approx(plain.scores_.pooled, abs=1e-12)
    noise = 1e-9 + 100 * KEPT * abs(b / a)
    assert_allclose((other.predict(X) - b) / a, plain.predict(X), atol=noise)


def test_ties_of_equal_means_are_dealt_alike_in_every_unit() -> None:
    rng = np.random.default_rng(0)
    cv_groups = rng.integers(0, 60, 400)
    target = np.array([0.1, 0.2, 0.7])[cv_groups % 3]  # sums of 0.1 round
    parts = assign_inner_folds(target, cv_groups, 0)
    for a, b in ((1e-9, 0), (3, 0), (1, 1.6e9), (1e9, -1e9)):
        other = np.array([0.0, 1.0, 6.0])[cv_groups % 3]
        assert np.array_equal(assign_inner_folds(a * other + b, cv_groups, 0), parts)


@pytest.mark.parametrize("name", ["rmse", "mae"])
def test_a_tiny_target_is_weighed_as_any(name: str) -> None:
    # Squares of 1e-9 are 1e-18: rounded to 12 decimals all members would be equal.
    _, y, _ = rows()
    rng = np.random.default_rng(1)
    members = y + np.array([[3.0], [1.0], [1.1]]) * rng.normal(size=(3, N))
    expected = select(members, y, Objective(name=name))
    assert expected[0] < expected[1]
    assert_allclose(select(1e-9 * members, 1e-9 * y, Objective(name=name)), expected)
    folds, none = np.zeros(N, dtype=np.int64), np.array([])
    for a in (1.0, 1e-9):
        scoring = ScoringData(
            y_true=a * y,
            folds=folds,
            groups=np.arange(N),
            objective=Objective(name=name),
        )
        net_pred = NetPredictions(
            regression=a * members[1], proba=None, class_values=none
        )
        blend = Blend(name="blend", column="mix", title="")
        rule = blend.choose(a * members[2], net_pred, scoring)
        assert 0.2 < rule["weight"] < 0.8


@pytest.mark.parametrize("a", [1e-16, 1e-9, 1e9])
def test_a_curve_bends_alike_in_every_unit(a: float) -> None:
    _, y, _ = rows()
    x = y + 0.3 * np.random.default_rng(2).normal(size=N)
    plain, other = fit_curve(x, y), fit_curve(a * x, a * y)
    assert len(plain.x) > 10
    assert_allclose(other.predict(a * x) / a, plain.predict(x), rtol=1e-9)


def test_a_slope_forgets_where_zero_is() -> None:
    x = np.random.default_rng(0).normal(size=1000)
    assert slope(x + 1e9, 0.5 * x + 1e9) == pytest.approx(0.5, rel=1e-6)


def test_the_text_of_a_booster_speaks_in_the_unit_of_the_target(tmp_path: Path) -> None:
    X, y, groups = rows()
    y = 40 * y + 1.6e9
    how = Boosting(n_seeds=2, max_rounds=30)
    names = [f"c{k}" for k in range(4)]
    fit = cross_fit_boosters(training_rows(X, y, groups), how, names=names)
    files = save_models(tmp_path, "lightgbm", fit.models)
    for model, loaded in zip(
        fit.models, load_models(tmp_path, "lightgbm", files), strict=True
    ):
        assert isinstance(loaded, Boosters)
        assert np.array_equal(loaded.predict(X), model.predict(X))
    assert np.corrcoef(fit.oof_pred, y)[0, 1] > 0.7
    assert fit.oof_pred.mean() == pytest.approx(y.mean(), abs=20)


def test_quick_boosters_learn_a_constant_target() -> None:
    X, _, groups = rows()
    for value in (0.0, 1e-9, 1.6e9):
        said = quick(training_rows(X, np.full(N, value), groups), Boosting())
        assert_allclose(said, value, rtol=1e-12)


def test_small_networks_see_inputs_and_targets_without_their_offset() -> None:
    pytest.importorskip("torch")
    X, y, groups = rows()

    def oof_pred(b: float) -> np.ndarray:
        rows = training_rows(X + b, y + b, groups)
        training = Training(n_seeds=1, max_epochs=6, patience=9)
        return cross_fit_neural("mlp", rows, training=training).oof_pred - b

    plain = oof_pred(0.0)
    assert np.corrcoef(plain, y)[0, 1] > 0.7
    assert_allclose(oof_pred(1e9), plain, atol=1e-3)
