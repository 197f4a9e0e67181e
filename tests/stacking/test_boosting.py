"""Tests of stacking.models.boosting."""

import os
from dataclasses import replace
from functools import partial

import lightgbm
import numpy as np
import pytest
from numpy.testing import assert_allclose

from stacking.cross_fitting import CrossFit, assign_inner_folds
from stacking.models.boosting import (
    SMALL,
    Boosters,
    Boosting,
    Table,
    cross_fit_boosters,
    find_rounds,
    fit_boosters,
    quick,
    threads_for,
)
from tests.stacking.conftest import rows_in_folds

N = 180
RNG = np.random.default_rng(0)
FOLDS, CV_GROUPS = np.arange(N) // 2 % 3, np.arange(N) // 2
training_rows = partial(rows_in_folds, folds=FOLDS, groups=CV_GROUPS)
X = RNG.normal(size=(N, 6))
Y = np.sign(X[:, 0]) + X[:, 1] + RNG.normal(0, 0.3, N)
NAMES = [f"c{k}" for k in range(6)]
QUICK = Boosting(n_seeds=2, max_rounds=120, patience=20)


def table(y: np.ndarray) -> Table:
    return Table(X=X, y=y, sample_weight=np.ones(N))


def fitted(target: np.ndarray = Y, boosting: Boosting = QUICK) -> CrossFit:
    return cross_fit_boosters(training_rows(X, target), boosting, names=NAMES)


def test_out_of_fold_numbers_come_out_by_another_route() -> None:
    found = fitted()
    for fold in range(3):
        rest = np.not_equal(FOLDS, fold)
        said = []
        centre = np.sort(Y[rest])[(rest.sum() - 1) // 2]
        scale = np.sqrt(((Y[rest] - Y[rest].mean()) ** 2).mean())
        for seed in range(2):
            parameters = QUICK.parameters(int(rest.sum()), 6, seed)
            model = lightgbm.LGBMRegressor(
                n_estimators=found.metadata[fold]["rounds"], **parameters
            )
            model.fit(X[rest], (Y[rest] - centre) / scale)
            said.append(centre + scale * model.booster_.predict(X[~rest]))
        assert_allclose(found.oof_pred[~rest], np.mean(said, axis=0), rtol=1e-12)


def test_threads_change_nothing() -> None:
    parts = np.arange(N) % 2
    said = []
    for n_threads in (1, 2):
        boosting = Boosting(max_rounds=5, n_threads=n_threads)
        (model,) = fit_boosters(table(Y), boosting, 10, seeds=[0], names=NAMES)
        said.append((find_rounds(table(Y), parts, boosting, 0)[1], model.predict(X)))
    for one, two in zip(*said, strict=True):
        assert np.array_equal(one, two)


@pytest.mark.parametrize("fold", range(3))
def test_nothing_said_for_a_fold_looks_at_its_labels(fold: int) -> None:
    own = fold == FOLDS
    before, after = fitted(), fitted(np.where(own, -9 * Y, Y))
    assert np.array_equal(before.oof_pred[own], after.oof_pred[own])
    assert np.array_equal(before.inner_oof[fold][~own], after.inner_oof[fold][~own])
    assert before.metadata[fold] == after.metadata[fold]
    assert (before.oof_pred[~own] != after.oof_pred[~own]).any()


def test_random_labels_cannot_be_remembered() -> None:
    target = np.random.default_rng(1).normal(size=N)
    found = fitted(target)
    for said, rows in [(found.oof_pred, FOLDS >= 0), (found.inner_oof[0], FOLDS != 0)]:
        assert ((said - target)[rows] ** 2).mean() > 0.93 * target[rows].var()


def test_like_rows_of_one_cv_group_are_never_learned_from() -> None:
    # Pairs of equal rows with random labels: whoever tears a pair knows the other half.
    rng = np.random.default_rng(3)
    pairs, labels = rng.normal(size=(N // 2, 2)), rng.normal(size=N // 2)
    boosting = Boosting(n_seeds=1, max_rounds=300)
    rows = training_rows(pairs[CV_GROUPS], labels[CV_GROUPS])
    found = cross_fit_boosters(rows, boosting, names=["a", "b"])
    assert max(note["rounds"] for note in found.metadata) < 60
    rest = FOLDS != 0
    error = ((found.inner_oof[0] - labels[CV_GROUPS])[rest] ** 2).mean()
    assert error > 0.93 * labels[CV_GROUPS][rest].var()


def test_an_inner_fold_without_weight_is_left_out_of_the_mean() -> None:
    parts = assign_inner_folds(Y, CV_GROUPS, 0)
    weights = np.where(parts == 1, 0.0, 1.0)
    rounds, _ = find_rounds(
        Table(X=X, y=Y, sample_weight=weights), parts, Boosting(max_rounds=60), 0
    )
    assert rounds > 5


def test_rounds_are_where_the_mean_curve_of_the_parts_is_lowest() -> None:
    noisy = Y + np.random.default_rng(2).normal(0, 2, N)
    boosting = Boosting(max_rounds=400, patience=40)
    parts = assign_inner_folds(noisy, CV_GROUPS, 0)
    rounds, inner = find_rounds(table(noisy), parts, boosting, 0)
    said = np.empty((rounds + 40, N))
    for part in range(4):
        inside = parts != part
        parameters = boosting.parameters(int(inside.sum()), 6, 0)
        data = lightgbm.Dataset(X[inside], noisy[inside], params=parameters)
        model = lightgbm.train(parameters, data, rounds + 40)
        for number in range(rounds + 40):
            said[number, ~inside] = model.predict(X[~inside], num_iteration=number + 1)
    curve = ((said - noisy) ** 2).mean(axis=1)
    assert 1 < rounds < 360
    assert curve.argmin() + 1 == rounds
    assert_allclose(said[rounds - 1], inner)


def test_the_cap_on_the_rounds_is_kept() -> None:
    found = fitted(boosting=Boosting(n_seeds=1, max_rounds=3))
    assert {note["rounds"] for note in found.metadata} <= {1, 2, 3}


def test_classes_get_probabilities_even_where_a_fold_lacks_one() -> None:
    index = (Y > 0).astype(int)
    index[np.flatnonzero(FOLDS == 2)[:5]] = 2  # a class of one fold alone
    found = fitted(np.eye(3)[index], Boosting(n_classes=3, n_seeds=1, max_rounds=60))
    assert_allclose(found.oof_pred.sum(axis=1), 1)
    assert (found.oof_pred.argmax(axis=1) == index).mean() > 0.75
    assert np.isnan(found.inner_oof[1][FOLDS == 1]).all()


def test_gains_are_shares_and_find_the_columns_that_matter() -> None:
    model = fitted().models[0]
    assert isinstance(model, Boosters)
    shares = model.gains()
    assert_allclose(shares.sum(), 1)
    assert {*shares.argsort()[-2:].tolist()} == {0, 1}


def test_small_tables_get_small_leaves_and_wide_ones_few_columns() -> None:
    assert QUICK.parameters(60, 10, 0)["min_data_in_leaf"] == 3
    assert QUICK.parameters(4000, 10, 0)["min_data_in_leaf"] == 40
    assert QUICK.parameters(60, 2048, 0)["feature_fraction"] < 0.1


def test_folds_of_a_small_table_are_boosted_side_by_side(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert threads_for(4000 * 104) == (3, 1)
    assert threads_for(SMALL) == (1, 3)
    assert threads_for(SMALL, 2) == (1, 2)
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= threads_for(SMALL)[1] <= (os.cpu_count() or 1)


def test_folds_side_by_side_are_folds_one_by_one() -> None:
    one, two = (fitted(boosting=replace(QUICK, n_workers=n)) for n in (1, 3))
    assert np.array_equal(one.oof_pred, two.oof_pred)
    assert np.array_equal(one.inner_oof, two.inner_oof, equal_nan=True)
    assert one.metadata == two.metadata


def test_each_fold_is_boosted_in_its_own_way() -> None:
    hows = [replace(QUICK, tuned={"num_leaves": n}) for n in (4, 6, 8)]
    found = cross_fit_boosters(training_rows(X, Y), hows, names=NAMES)
    assert [note["num_leaves"] for note in found.metadata] == [4, 6, 8]
    alone = fitted(boosting=hows[1])
    own = FOLDS == 1
    assert np.array_equal(found.oof_pred[own], alone.oof_pred[own])
    assert (found.oof_pred[~own] != alone.oof_pred[~own]).any()


def test_the_label_of_a_row_of_weight_zero_changes_nothing() -> None:
    weights = np.where(np.arange(N) % 9 == 4, 0.0, 1.0)
    nudged = np.where(weights == 0, Y + 1e-9, Y)  # the inner parts stay as they are
    far = np.where(weights == 0, -50.0, Y)

    def said(target: np.ndarray) -> np.ndarray:
        return quick(training_rows(X, target, weights), QUICK)

    assert_allclose(said(nudged), said(far), atol=1e-9)
    found = [
        cross_fit_boosters(training_rows(X, y, weights), QUICK, names=NAMES).oof_pred
        for y in (Y, nudged)
    ]
    assert_allclose(*found, atol=1e-6)
    assert (found[0] != fitted().oof_pred).any()


def test_quick_boosters_never_see_their_fold() -> None:
    before, after = (
        quick(training_rows(X, y), QUICK) for y in (Y, np.where(FOLDS == 1, -9 * Y, Y))
    )
    assert np.array_equal(before[FOLDS == 1], after[FOLDS == 1])
    assert (before[FOLDS == 0] != after[FOLDS == 0]).any()
    assert ((before - Y) ** 2).mean() < 0.5 * Y.var()
