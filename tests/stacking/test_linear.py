"""Tests of stacking.models.linear."""

from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import Ridge

from stacking.models import linear
from stacking.models.candidates import as_proba
from stacking.models.linear import (
    PENALTIES,
    Curve,
    cross_fit_curve,
    cross_fit_ridge,
    fit_curve,
    fit_ridges,
)
from tests.stacking.conftest import rows_in_folds

FOLDS = np.arange(90) % 3
CV_GROUPS = np.arange(90)
training_rows = partial(rows_in_folds, folds=FOLDS, groups=CV_GROUPS)


def rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(3, 2, (90, 5))
    return X, X @ [1.0, -1.0, 0.5, 0, 0] + rng.normal(0, 0.5, 90)


@pytest.mark.parametrize("which", [0, 5, 12])
def test_a_ridge_is_that_of_scikit_learn(which: int) -> None:
    X, y = rows()
    ours = fit_ridges(X, y[:, None])[which]
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    theirs = Ridge(alpha=PENALTIES[which] * len(X)).fit(scaled, y)
    assert_allclose(ours.outputs(X)[:, 0], theirs.predict(scaled), rtol=1e-9)
    assert_allclose(ours.predict(X), theirs.predict(scaled), rtol=1e-9)


@pytest.mark.parametrize(("n_rows", "n_at_once"), [(90, 1), (90, 7), (90, 89), (4, 3)])
def test_rows_that_are_taken_a_few_at_a_time_give_the_same_ridge(
    n_rows: int, n_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = rows()
    X, y_ND = X[:n_rows], np.stack([y, -y])[:, :n_rows].T
    weights = np.random.default_rng(1).uniform(size=n_rows)
    whole = fit_ridges(X, y_ND, weights)
    monkeypatch.setattr(linear, "AT_ONCE", n_at_once)
    for ours, theirs in zip(fit_ridges(X, y_ND, weights), whole, strict=True):
        assert_allclose(ours.outputs(X), theirs.outputs(X), rtol=1e-9)


def test_a_column_that_never_varies_is_harmless() -> None:
    X, y = rows()
    X[:, 4] = 7.0
    ridge = fit_ridges(X, y[:, None])[3]
    assert np.isfinite(ridge.predict(X)).all()
    assert_allclose(ridge.coef[4], 0, atol=1e-12)


def test_outer_predictions_are_those_of_a_ridge_on_the_other_folds() -> None:
    X, y = rows()
    found = cross_fit_ridge(training_rows(X, y))
    for fold in range(3):
        which = PENALTIES.tolist().index(found.metadata[fold]["penalty"])
        model = fit_ridges(X[fold != FOLDS], y[fold != FOLDS][:, None])[which]
        expected = model.predict(X[fold == FOLDS])
        assert_allclose(found.oof_pred[fold == FOLDS], expected)


@pytest.mark.parametrize("fold", range(3))
@pytest.mark.parametrize("way", ["ridge", "curve"])
def test_nothing_said_for_a_fold_looks_at_its_labels(way: str, fold: int) -> None:
    X, y = rows()
    other = np.where(fold == FOLDS, y[::-1] * 100, y)

    def fit(target: np.ndarray) -> list[np.ndarray]:
        if way == "curve":
            found = cross_fit_curve(training_rows(X[:, 0], target))
        else:
            found = cross_fit_ridge(training_rows(X, target))
        return [found.oof_pred[fold == FOLDS], found.inner_oof[fold][fold != FOLDS]]

    for before, after in zip(fit(y), fit(other), strict=True):
        assert np.array_equal(before, after)


def test_random_labels_cannot_be_remembered() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(90, 40)), rng.normal(size=90)
    for found in (
        cross_fit_curve(training_rows(X[:, 0], y)),
        cross_fit_ridge(training_rows(X, y)),
    ):
        assert ((found.oof_pred - y) ** 2).mean() > 0.9 * y.var()
        inner = found.inner_oof[0][FOLDS != 0]
        assert ((inner - y[FOLDS != 0]) ** 2).mean() > 0.9 * y.var()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_curve_rises_or_falls_as_the_labels_do(sign: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=90)
    y = sign * np.sign(x) + rng.normal(0, 0.1, 90)
    found = cross_fit_curve(training_rows(x, y))
    for fold in range(3):
        rest = fold != FOLDS
        theirs = IsotonicRegression(increasing=sign > 0, out_of_bounds="clip")
        expected = theirs.fit(x[rest], y[rest]).predict(x[~rest])
        assert_allclose(found.oof_pred[~rest], expected)
        assert_allclose(found.models[fold].predict(x[~rest][:, None]), expected)


def test_a_curve_is_flat_beyond_its_knots() -> None:
    curve = Curve(x=np.array([0.0, 2.0]), y=np.array([1.0, 5.0]))
    assert curve.predict(np.array([-9.0, 1.0, 9.0])).tolist() == [1.0, 3.0, 5.0]


@pytest.mark.parametrize("way", ["ridge", "curve"])
def test_a_row_of_weight_zero_teaches_nothing_and_two_count_twice(way: str) -> None:
    X, y = rows()
    is_out = np.arange(90) % 9 == 4
    weights = np.where(is_out, 0.0, 1.0)

    def fit(target: np.ndarray, counts: np.ndarray) -> np.ndarray:
        if way == "curve":
            found = cross_fit_curve(training_rows(X[:, 0], target, counts))
        else:
            found = cross_fit_ridge(training_rows(X, target, counts))
        return found.models[0].predict(X[:, :1] if way == "curve" else X)

    wrong = np.where(is_out, y + 1e-3, y)  # the deal of inner parts stays as it is
    assert_allclose(fit(y, weights), fit(wrong, weights), atol=1e-8)
    assert np.abs(fit(y, weights) - fit(y, np.ones(90))).max() > 1e-3
    doubled = fit_ridges(np.vstack([X, X[:5]]), np.append(y, y[:5])[:, None])[4]
    counts = np.where(np.arange(90) < 5, 2.0, 1.0)
    weighted = fit_ridges(X, y[:, None], counts)[4]
    scale = doubled.scale / weighted.scale  # columns are standardised without weights
    assert_allclose(weighted.coef[:, 0] * scale, doubled.coef[:, 0], rtol=0.02)


def test_a_row_of_weight_zero_is_no_end_of_a_curve() -> None:
    x, y = np.append(np.arange(1.0, 6), 10), np.append(np.arange(1.0, 6), 900)
    curve = fit_curve(x, y, np.where(x < 9, 1.0, 0.0))
    assert_allclose(curve.predict(np.array([0.0, 2.5, 7, 10])), [1, 2.5, 5, 5])
    assert_allclose(fit_curve(x, y, np.zeros(6)).predict(x), y)


def test_shares_are_positive_and_add_up_to_one() -> None:
    shares = as_proba(np.array([[0.7, -0.2, 0.5], [0.0, 0.0, 0.0]]))
    assert (shares > 0).all()
    assert_allclose(shares.sum(axis=1), 1)
    assert shares[0].argmax() == 0


def test_classes_get_shares() -> None:
    X, y = rows()
    Y = np.eye(2)[(y > y.mean()).astype(int)]
    found = cross_fit_ridge(training_rows(X, Y))
    assert_allclose(found.oof_pred.sum(axis=1), 1)
    assert ((found.oof_pred[:, 1] > 0.5) == (y > y.mean())).mean() > 0.8
