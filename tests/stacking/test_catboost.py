"""Tests of stacking.models.catboost."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from data_prep.run_folders.damage import DamagedFileError
from stacking.cross_fitting import CrossFit, TrainingRows
from stacking.models.catboost import CatBoosts, fit, load, parameters
from stacking.models.stacker import FitContext
from tests.stacking.conftest import rows_in_folds

catboost = pytest.importorskip("catboost")
N = 180
FOLDS, GROUPS = np.arange(N) // 2 % 3, np.arange(N) // 2
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 6))
Y = np.sign(X[:, 0]) + X[:, 1] + RNG.normal(0, 0.3, N)
CLASSES = np.eye(3)[np.digitize(Y, [-0.5, 1.0])]
CONTEXT = FitContext(n_seeds=2, max_rounds=60)


def rows_of(
    y: np.ndarray, weights: np.ndarray | None = None, X: np.ndarray = X
) -> TrainingRows:
    return rows_in_folds(X, y, weights, folds=FOLDS, groups=GROUPS)


def fitted(y: np.ndarray = Y, weights: np.ndarray | None = None) -> CrossFit:
    if weights is None and (y is Y or y is CLASSES):
        return usual(is_proba=y is CLASSES)
    return fit(rows_of(y, weights), CONTEXT)


@cache
def usual(*, is_proba: bool) -> CrossFit:
    """What the usual rows come to, fitted once."""
    return fit(rows_of(CLASSES if is_proba else Y), CONTEXT)


def test_out_of_fold_numbers_come_out_by_another_route() -> None:
    cross_fit = fitted()
    for fold in range(3):
        train = fold != FOLDS
        usual = parameters(rows_of(Y), CONTEXT) | {"allow_const_label": False}
        rounds = cross_fit.metadata[fold]["rounds"]
        y_pred = []
        for seed in range(2):
            model = catboost.CatBoostRegressor(
                **usual, iterations=rounds, random_seed=seed
            )
            centre = np.sort(Y[train])[(train.sum() - 1) // 2]
            scale = (Y[train] - centre).std()
            model.fit(X[train], (Y[train] - centre) / scale)
            y_pred.append(centre + scale * model.predict(X[~train]))
        assert_allclose(cross_fit.oof_pred[~train], np.mean(y_pred, axis=0), rtol=1e-9)
        assert np.isnan(cross_fit.inner_oof[fold][~train]).all()
    assert np.corrcoef(cross_fit.oof_pred, Y)[0, 1] > 0.8


@pytest.mark.parametrize("fold", range(3))
@pytest.mark.parametrize("y", [Y, CLASSES], ids=["numbers", "classes"])
def test_nothing_predicted_for_a_fold_looks_at_its_labels(
    y: np.ndarray, fold: int
) -> None:
    val = fold == FOLDS
    changed = y.copy()
    changed[val] = np.roll(y[val], 7, axis=0)
    before, after = fitted(y), fitted(changed)
    assert np.array_equal(before.oof_pred[val], after.oof_pred[val])
    assert np.array_equal(before.inner_oof[fold][~val], after.inner_oof[fold][~val])
    assert before.metadata[fold] == after.metadata[fold]
    assert (before.oof_pred[~val] != after.oof_pred[~val]).any()


def test_like_rows_of_one_group_are_never_learned_from() -> None:
    # Pairs of equal rows with random labels: whoever tears a pair knows the other half.
    rng = np.random.default_rng(3)
    pairs, labels = rng.normal(size=(N // 2, 2)), rng.normal(size=N // 2)
    y = labels[GROUPS]
    cross_fit = fit(rows_of(y, X=pairs[GROUPS]), FitContext(n_seeds=1, max_rounds=300))
    for y_pred, rows in [
        (cross_fit.oof_pred, FOLDS >= 0),
        (cross_fit.inner_oof[0], FOLDS != 0),
    ]:
        assert ((y_pred - y)[rows] ** 2).mean() > 0.9 * y[rows].var()


@pytest.mark.parametrize("y", [Y, CLASSES], ids=["numbers", "classes"])
def test_a_row_of_weight_zero_teaches_nothing_and_is_predicted(y: np.ndarray) -> None:
    weights = np.where(np.arange(N) % 9 == 4, 0.0, 1.0)
    changed_X = np.where(weights[:, None] > 0, X, 99.0)
    before = fit(rows_of(y, weights), CONTEXT)
    after = fit(rows_of(y, weights, changed_X), CONTEXT)
    known = weights > 0
    assert np.array_equal(before.oof_pred[known], after.oof_pred[known])
    assert np.isfinite(before.oof_pred).all()
    assert (before.oof_pred != fitted(y).oof_pred).any()


def test_a_heavy_row_is_followed_more_closely() -> None:
    weights = np.where(np.arange(N) == 10, 60.0, 1.0)
    light, heavy = (
        np.mean([abs(model.predict(X[10:11]) - Y[10]) for model in (one.models[1:])])
        for one in (fitted(), fitted(Y, weights))
    )
    assert heavy < light


@pytest.mark.parametrize("y", [1e9 + 40 * Y, CLASSES], ids=["numbers", "classes"])
def test_a_stored_model_predicts_the_same_and_has_the_same_bytes(
    y: np.ndarray, tmp_path: Path
) -> None:
    cross_fit, again = fitted(y), fit(rows_of(y), CONTEXT)
    for fold, model in enumerate(cross_fit.models):
        files = model.save(tmp_path, f"catboost_fold{fold}")
        assert len(files) == 2
        loaded = load(tmp_path, files)
        assert isinstance(loaded, CatBoosts)
        val = fold == FOLDS
        assert np.array_equal(loaded.predict(X[val]), cross_fit.oof_pred[val])
        content = [(tmp_path / file).read_bytes() for file in files]
        files = again.models[fold].save(tmp_path, "again")
        assert [(tmp_path / file).read_bytes() for file in files] == content
    assert not (Path.cwd() / "catboost_info").exists()


def test_numbers_far_from_zero_keep_their_digits() -> None:
    plain, far = fitted(), fitted(1e9 + 40 * Y)
    assert_allclose((far.oof_pred - 1e9) / 40, plain.oof_pred, atol=1e-4)


def test_classes_get_probabilities_even_where_a_fold_lacks_one() -> None:
    index = CLASSES.argmax(axis=1)
    index[np.flatnonzero(FOLDS == 2)[:5]] = 3
    cross_fit = fitted(np.eye(4)[index])
    assert_allclose(cross_fit.oof_pred.sum(axis=1), 1)
    assert (cross_fit.oof_pred > 0).all()
    assert (cross_fit.oof_pred.argmax(axis=1) == index).mean() > 0.7


def test_threads_and_folds_side_by_side_change_nothing() -> None:
    context = FitContext(n_seeds=2, max_rounds=60, n_threads=2, n_workers=3)
    side_by_side = fit(rows_of(Y), context)
    assert np.array_equal(side_by_side.oof_pred, fitted().oof_pred)


def test_a_file_that_is_cut_is_named(tmp_path: Path) -> None:
    files = fitted().models[0].save(tmp_path, "catboost_fold0")
    path = tmp_path / files[1]
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DamagedFileError, match=r"seed1\.cbm is cut or changed"):
        load(tmp_path, files)
