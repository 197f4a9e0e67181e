"""Tests of stacking.ensemble.selection."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

from stacking.cross_fitting import CrossFit
from stacking.ensemble.candidates import best_of
from stacking.ensemble.objective import Objective, ScoringData
from stacking.ensemble.selection import N_PICKS, cross_select, select, weighted

RMSE, MAE, LOG_LOSS = (
    Objective(name="rmse"),
    Objective(name="mae"),
    Objective(name="log_loss", class_values=(), is_number=False),
)
N = 300
FOLDS = np.arange(N) % 3


def members(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three members that see the target through errors of their own."""
    rng = np.random.default_rng(seed)
    target = rng.integers(4, size=N).astype(np.float64)
    spreads = np.array([[0.6], [0.8], [1.0]])
    return target + spreads * rng.normal(size=(3, N)), target


def scoring(y_true: np.ndarray) -> ScoringData:
    groups = np.arange(N)
    return ScoringData(y_true=y_true, folds=FOLDS, groups=groups, objective=RMSE)


def fixed(said: np.ndarray) -> dict[str, CrossFit]:
    names = ["lightgbm", "plain", "expected"]
    pairs = zip(names, said, strict=True)
    return {name: CrossFit.of_fixed(one, FOLDS) for name, one in pairs}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("objective", [RMSE, MAE], ids=["rmse", "mae"])
def test_the_weights_are_near_those_of_a_search_by_hand(
    objective: Objective, seed: int
) -> None:
    said, target = members(seed)
    weights = select(said, target, objective)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    grid = np.arange(21) / 20
    tried = [
        objective.row_losses(target, np.array([a, b, 1 - a - b]) @ said).mean()
        for a, b in itertools.product(grid, grid)
        if a + b <= 1 + 1e-9
    ]
    assert objective.row_losses(target, weights @ said).mean() <= min(tried) * 1.002


def test_greedy_picks_by_another_route() -> None:
    said, target = members(1)
    counts, best, chosen = np.zeros(3), np.inf, np.zeros(3)
    for _ in range(N_PICKS):
        errors = []
        for k in range(3):
            more = counts + np.eye(3)[k]
            errors.append(((more @ said / more.sum() - target) ** 2).mean())
        counts += np.eye(3)[int(np.argmin(errors))]
        if min(errors) < best:
            best, chosen = min(errors), counts / counts.sum()
    assert_allclose(select(said, target, RMSE), chosen)


def test_of_equal_members_the_first_is_taken() -> None:
    said, target = members(0)
    equal = np.stack([said[0], said[0], said[0]])
    assert select(equal, target, RMSE).tolist() == [1, 0, 0]


def test_weights_of_probabilities_are_judged_by_log_loss() -> None:
    target = np.eye(2)[[0, 1, 0, 1]]
    right, wrong = 0.8 * target + 0.1, 0.8 * (1 - target) + 0.1
    even = np.full((4, 2), 0.5)
    chosen = select(np.stack([even, right, wrong]), target, LOG_LOSS)
    assert chosen.tolist() == [0, 1, 0]


def test_a_mean_leaves_out_what_weighs_nothing() -> None:
    said = {"a": np.array([1.0]), "b": np.array([3.0]), "c": np.array([np.nan])}
    assert weighted({"a": 0.5, "b": 0.5, "c": 0.0}, said).tolist() == [2.0]


def test_nested_predictions_are_those_of_weights_from_the_other_folds() -> None:
    said, target = members(0)
    found, weights, apparent = cross_select(fixed(said), scoring(target))
    for fold in range(3):
        rest = fold != FOLDS
        own = select(said[:, rest], target[rest], RMSE)
        assert_allclose(found.oof_pred[~rest], own @ said[:, ~rest])
        assert_allclose(found.inner_oof[fold, rest], own @ said[:, rest])
        assert [*found.metadata[fold].values()] == own.tolist()
    assert_allclose([*weights.values()] @ said, apparent)
    assert [*weights.values()] == select(said, target, RMSE).tolist()


@pytest.mark.parametrize("fold", range(3))
def test_nested_predictions_never_look_at_their_own_labels(fold: int) -> None:
    said, target = members(0)
    own = fold == FOLDS
    other = np.where(own, 3 - target, target)
    before, after = (cross_select(fixed(said), scoring(y)) for y in (target, other))
    assert np.array_equal(before[0].oof_pred[own], after[0].oof_pred[own])
    assert before[1] != after[1]  # it is not that labels do not matter


def test_weights_of_a_fold_are_chosen_on_its_inner_predictions() -> None:
    # The outer predictions of a member may have seen other folds' labels through its
    # models; only the inner ones are clean. Here they say opposite things.
    said, target = members(0)
    liar = CrossFit(oof_pred=target.copy(), inner_oof=np.full((3, N), 99.0))
    found, weights, _ = cross_select(fixed(said) | {"liar": liar}, scoring(target))
    assert all(note["liar"] == 0 for note in found.metadata)
    assert weights["liar"] == 1  # apparent


def scored_by(y: np.ndarray, groups: np.ndarray) -> ScoringData:
    folds = np.zeros(len(y), dtype=np.int64)
    return ScoringData(y_true=y, folds=folds, groups=groups, objective=RMSE)


def test_a_member_replaces_the_blend_only_if_it_is_surely_better() -> None:
    rng = np.random.default_rng(0)
    target, cv_groups = rng.normal(size=400), np.arange(400) // 2
    error = rng.normal(size=400)
    said = {
        "plain": target + 0.99 * error,
        "blend": target + error,
        "ridge": target + 1.5 * rng.normal(size=400),
    }
    scoring = scored_by(target, cv_groups)
    assert best_of(said, scoring) == "plain"  # better in every single row
    luck = target + 0.99 * rng.permutation(error)
    assert RMSE.score(target, luck) < RMSE.score(target, said["blend"])
    assert best_of(said | {"plain": luck}, scoring) == "blend"
    better = said | {"plain": target + 0.8 * error, "ridge": target + 0.7 * error}
    assert best_of(better, scoring) == "ridge"


def test_without_a_blend_the_first_is_the_one_to_beat() -> None:
    target = np.arange(100.0)
    scoring = scored_by(target, np.arange(100))
    said = {"plain": target + 1, "ridge": target + 1}
    assert best_of(said, scoring) == "plain"
    assert best_of(said | {"ridge": target}, scoring) == "ridge"
