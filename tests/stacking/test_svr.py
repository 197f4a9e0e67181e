"""Tests of stacking.models.svr."""

from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.kernel_ridge import KernelRidge
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from stacking.cross_fitting import CrossFit, TrainingRows
from stacking.models import svr
from stacking.models.model_files import load_arrays
from stacking.models.svr import EPSILON, GRID, Svr, cross_fit_svr, draw_rows, fit_svr
from tests.stacking.conftest import rows_in_folds

N = 90
FOLDS = np.arange(N) // 2 % 3
CV_GROUPS = np.arange(N) // 2
training_rows = partial(rows_in_folds, folds=FOLDS, groups=CV_GROUPS)
ONES = np.ones(N)


def rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(3, 2, (N, 5))
    return X, 4 + 3 * np.sin(X[:, 0]) + X[:, 1] + rng.normal(0, 0.3, N)


def classes() -> tuple[np.ndarray, np.ndarray]:
    X, y = rows()
    return X, np.eye(3)[np.digitize(y, np.quantile(y, [0.2, 0.7]))]


def data(kind: str) -> tuple[np.ndarray, np.ndarray]:
    return classes() if kind == "classes" else rows()


@cache
def fitted(kind: str) -> CrossFit:
    return cross_fit_svr(training_rows(*data(kind)))


@pytest.mark.parametrize("which", range(len(GRID)))
def test_a_curve_of_numbers_is_that_of_scikit_learn(which: int) -> None:
    X, y = rows()
    fresh = np.random.default_rng(9).normal(3, 3, (40, 5))
    ours = fit_svr(X, y, ONES, *GRID[which])
    gamma, cost = GRID[which][0] / 5, GRID[which][1]
    columns, goal = StandardScaler().fit(X), StandardScaler().fit(y[:, None])
    theirs = SVR(gamma=gamma, C=cost, epsilon=EPSILON)
    theirs.fit(columns.transform(X), goal.transform(y[:, None])[:, 0])
    expected = theirs.predict(columns.transform(fresh))[:, None]
    assert_allclose(
        ours.predict(fresh), goal.inverse_transform(expected)[:, 0], atol=0.01
    )
    assert len(ours.vectors) == len(theirs.support_)


@pytest.mark.parametrize("which", range(len(GRID)))
def test_shares_of_classes_are_those_of_a_kernel_ridge(which: int) -> None:
    X, Y = classes()
    gamma, cost = GRID[which][0] / 5, GRID[which][1]
    columns = StandardScaler().fit(X)
    theirs = KernelRidge(alpha=1 / cost, kernel="rbf", gamma=gamma)
    theirs.fit(columns.transform(X), Y - Y.mean(axis=0))
    outputs = theirs.predict(columns.transform(X)) + Y.mean(axis=0)
    positive = np.maximum(outputs, 0.005)
    expected = positive / positive.sum(axis=1, keepdims=True)
    assert_allclose(fit_svr(X, Y, ONES, *GRID[which]).predict(X), expected, rtol=1e-8)


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_outer_predictions_are_those_of_a_model_of_the_other_folds(kind: str) -> None:
    X, target = data(kind)
    found = fitted(kind)
    for fold, note in enumerate(found.metadata):
        rest = fold != FOLDS
        how = (note["gamma_per_column"], note["cost"])
        model = fit_svr(X[rest], target[rest], ONES[rest], *how)
        assert_allclose(found.oof_pred[~rest], model.predict(X[~rest]))
        assert np.isnan(found.inner_oof[fold][~rest]).all()


@pytest.mark.parametrize(("kind", "fold"), [("numbers", 0), ("classes", 2)])
def test_nothing_said_for_a_fold_looks_at_its_labels(kind: str, fold: int) -> None:
    own, (X, target) = fold == FOLDS, data(kind)
    other = target.copy()
    other[own] = np.roll(target[own], 7, axis=0)
    before, after = fitted(kind), cross_fit_svr(training_rows(X, other))
    assert np.array_equal(before.oof_pred[own], after.oof_pred[own])
    assert np.array_equal(before.inner_oof[fold][~own], after.inner_oof[fold][~own])
    assert (before.oof_pred[~own] != after.oof_pred[~own]).any()


def test_a_curve_that_no_line_follows_is_found() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, N)
    X, y = np.stack([x, rng.normal(size=N)], axis=1), x**2
    found = cross_fit_svr(training_rows(X, y))
    assert np.corrcoef(found.oof_pred, y)[0, 1] > 0.95


def test_random_labels_cannot_be_remembered() -> None:
    # Pairs of equal rows: whoever tears a pair knows the other half.
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(N, 20))[CV_GROUPS], rng.normal(size=N)[CV_GROUPS]
    found = cross_fit_svr(training_rows(X, y))
    for said, known in [(found.oof_pred, FOLDS >= 0), (found.inner_oof[0], FOLDS != 0)]:
        assert ((said - y)[known] ** 2).mean() > 0.9 * y[known].var()


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_units_of_columns_and_target_do_not_matter(kind: str) -> None:
    X, target = data(kind)
    slope = 1 if kind == "classes" else 50
    X = np.concatenate([X, np.full((N, 1), 7.0)], axis=1)  # one never varies
    before = fit_svr(X, target, ONES, *GRID[4]).predict(X)
    moved = X * [9, 0.1, 1, 1, 1, 3] - 4
    after = fit_svr(moved, slope * target, ONES, *GRID[4]).predict(moved)
    assert_allclose(after, slope * before, rtol=1e-6)


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_rows_without_weight_are_predicted_and_not_learned_from(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Parts are dealt by the target; here it must not be seen to change them.
    monkeypatch.setattr(
        TrainingRows, "inner_folds", lambda rows, idx, _: rows.groups[idx] % 4
    )
    X, target = data(kind)
    is_known = np.arange(N) % 5 > 0
    other_X = np.where(is_known[:, None], X, 1e3)
    other = np.where(is_known.reshape(-1, *[1] * (target.ndim - 1)), target, 0)
    weights = is_known.astype(float)
    before = cross_fit_svr(training_rows(X, target, weights))
    after = cross_fit_svr(training_rows(other_X, other, weights))
    assert np.array_equal(before.oof_pred[is_known], after.oof_pred[is_known])
    assert np.isfinite(before.oof_pred).all()


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_a_heavy_row_is_followed_more_closely(kind: str) -> None:
    X, target = data(kind)
    weights = np.where(np.arange(N) == 10, 30.0, 1.0)
    light, heavy = (
        fit_svr(X, target, w, *GRID[1]).predict(X)[10] for w in (ONES, weights)
    )
    assert np.abs(heavy - target[10]).sum() < 0.7 * np.abs(light - target[10]).sum()


def test_of_many_rows_whole_cv_groups_are_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(svr, "MAX_ROWS", 41)
    X, y = rows()
    found = cross_fit_svr(training_rows(X, y))
    assert {note["drawn"] for note in found.metadata} == {"trained on 40 of 60 rows"}
    assert np.isfinite(found.oof_pred).all()
    some, weights = np.arange(N), np.where(np.arange(N) < 4, 0.0, 1.0)
    weighted = training_rows(X, y, weights)
    first, again, other = (draw_rows(some, weighted, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(np.unique(CV_GROUPS[first]).repeat(2), CV_GROUPS[first])
    assert len(first) == 40
    assert first.min() >= 4


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("sizes", "n_expected"), [((10, 60, 30, 30), 40), ((10, 60), 10), ((60, 70), 41)]
)
def test_a_group_that_is_too_large_keeps_no_other_out(
    sizes: tuple[int, ...],
    n_expected: int,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(svr, "MAX_ROWS", 41)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    n = len(groups)
    of_groups = rows_in_folds(
        np.zeros((n, 1)), np.zeros(n), folds=groups, groups=groups
    )
    drawn = draw_rows(np.arange(n), of_groups, seed)
    assert len(drawn) == n_expected
    assert (np.diff(drawn) > 0).all()
    if n_expected < 41:  # whole groups
        assert {*np.bincount(groups[drawn], minlength=len(sizes))} <= {0, *sizes}
    else:
        assert len({*groups[drawn]}) == 1


def test_few_rows_are_all_used_and_nothing_is_said() -> None:
    assert "drawn" not in fitted("numbers").metadata[0]


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_a_stored_model_predicts_the_same(kind: str, tmp_path: Path) -> None:
    X, _ = rows()
    model = fitted(kind).models[1]
    assert isinstance(model, Svr)
    files = model.save(tmp_path, "svr_fold1")
    again = load_arrays(tmp_path, files, Svr)
    with np.load(tmp_path / files[0], allow_pickle=False) as stored:
        assert {array.dtype.kind for array in stored.values()} == {"f", "b", "U"}
    assert np.array_equal(again.predict(X), model.predict(X))


def test_rows_are_answered_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = rows()
    model = fit_svr(X, y, ONES, *GRID[0])
    whole = model.predict(X)
    monkeypatch.setattr(svr, "AT_ONCE", 7)
    assert_allclose(model.predict(X), whole)


def test_a_class_that_the_other_folds_lack_gets_a_small_share() -> None:
    X, Y = classes()
    index = Y.argmax(axis=1)
    index[np.flatnonzero(FOLDS == 2)[:5]] = 3
    found = cross_fit_svr(training_rows(X, np.eye(4)[index]))
    assert_allclose(found.oof_pred.sum(axis=1), 1)
    assert (found.oof_pred[FOLDS == 2, 3] < 0.01).all()
