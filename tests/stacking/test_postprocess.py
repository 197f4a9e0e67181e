"""Tests of stacking.postprocess."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import log_loss

from stacking.inner import CrossFit
from stacking.losses import Loss
from stacking.postprocess import (
    THRESHOLDS,
    Step,
    Sureness,
    after_blend,
    best_threshold,
    best_weights,
    blend_step,
    simplex,
    snap_step,
    snapped,
)

RMSE, LOG_LOSS = Loss("rmse"), Loss("log_loss")
N = 300
FOLDS = np.arange(N) % 3
CLUSTERS = np.arange(N)


def members(seed: int, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    """Three members that see the target through errors of their own."""
    rng = np.random.default_rng(seed)
    target = rng.integers(4, size=n).astype(np.float64)
    spreads = np.array([[0.6], [0.8], [1.0]])
    return target + spreads * rng.normal(size=(3, n)), target


def fixed(said: np.ndarray) -> dict[str, CrossFit]:
    names = ["stack", "plain", "expected"]
    pairs = zip(names, said, strict=True)
    return {name: CrossFit.of_fixed(one, FOLDS) for name, one in pairs}


@pytest.mark.parametrize(("n_members", "size"), [(1, 1), (2, 21), (3, 231), (4, 1771)])
def test_the_grid_of_weights_is_the_whole_simplex(n_members: int, size: int) -> None:
    weights = simplex(n_members)
    assert weights.shape == (size, n_members)
    assert_allclose(weights.sum(axis=1), 1)
    assert len({tuple(one) for one in weights.tolist()}) == size
    assert weights[0].tolist() == [1.0] + [0.0] * (n_members - 1)


@pytest.mark.parametrize("seed", range(5))
def test_the_best_weights_are_those_of_a_search_by_hand(seed: int) -> None:
    said, target = members(seed)
    grid = np.arange(21) / 20
    tried = {
        (a, b): np.mean(
            (a * said[0] + b * said[1] + (1 - a - b) * said[2] - target) ** 2
        )
        for a, b in itertools.product(grid, grid)
        if a + b <= 1 + 1e-9
    }
    a, b = min(tried, key=lambda pair: tried[pair])
    assert_allclose(best_weights(said, target, RMSE), [a, b, 1 - a - b], atol=1e-9)


def test_of_equal_members_the_first_is_taken() -> None:
    said, target = members(0)
    equal = np.stack([said[0], said[0], said[0]])
    assert best_weights(equal, target, RMSE).tolist() == [1, 0, 0]


def test_weights_of_probabilities_are_judged_by_log_loss() -> None:
    target = np.eye(2)[[0, 1, 0, 1]]
    right, wrong = 0.8 * target + 0.1, 0.8 * (1 - target) + 0.1
    even = np.full((4, 2), 0.5)
    chosen = best_weights(np.stack([even, right, wrong]), target, LOG_LOSS)
    assert chosen.tolist() == [0, 1, 0]


def test_a_row_is_sure_of_its_most_probable_class_and_the_first_of_equals() -> None:
    shares = np.array([[0.1, 0.7, 0.2], [0.4, 0.2, 0.4]])
    sure = Sureness.of(shares, np.array([10.0, 20.0, 40.0]))
    assert sure.top.tolist() == [0.7, 0.4]
    assert sure.value.tolist() == [20.0, 10.0]


def test_snapping_by_hand() -> None:
    sure = Sureness(np.array([0.95, 0.94, 0.2]), np.array([3.0, 2.0, 0.0]))
    said = snapped(np.array([2.5, 2.5, 2.5]), sure, 0.95)
    assert said.tolist() == [3.0, 2.5, 2.5]


def test_the_threshold_is_the_middle_of_the_plateau() -> None:
    # Rows surer than 0.80 are right and the others wrong, and no row lies between 0.6
    # and 0.8: all thresholds of that gap are equally good.
    top = np.concatenate([np.full(50, 0.5), np.full(50, 0.85)])
    value = np.concatenate([np.full(50, 9.0), np.full(50, 1.0)])
    prediction, target = np.full(100, 0.8), np.full(100, 1.0)
    found = best_threshold(prediction, Sureness(top, value), target, np.arange(100))
    level = THRESHOLDS[(THRESHOLDS > 0.5) & (THRESHOLDS <= 0.85)]
    assert found == pytest.approx(level[(len(level) - 1) // 2])


@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_is_near_the_best_by_brute_force(seed: int) -> None:
    said, target = members(seed)
    rng = np.random.default_rng(seed)
    top = rng.uniform(0.3, 1, N)
    right = rng.random(N) < top**3
    sure = Sureness(top, np.where(right, target, 3 - target))
    found = best_threshold(said[0], sure, target, CLUSTERS)
    losses = {
        t: (np.where(top >= t, sure.value, said[0]) - target) ** 2 for t in THRESHOLDS
    }
    best = min(losses, key=lambda t: losses[t].mean())
    difference = losses[found] - losses[best]
    assert difference.mean() <= difference.std() / np.sqrt(N) + 1e-12


def shares_of(target: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    distances = (target[:, None] + rng.normal(0, 0.4, (len(target), 1)) - range(4)) ** 2
    shares = np.exp(-2 * distances)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def both_steps(said: np.ndarray, target: np.ndarray) -> tuple[Step, Step]:
    found = fixed(said)
    blend = blend_step(found, target, FOLDS, CLUSTERS, RMSE)
    before = after_blend(blend, found, FOLDS)
    sure = Sureness.of(shares_of(members(0)[1]), np.arange(4.0))
    split = (target, FOLDS, CLUSTERS)
    return blend, snap_step(before, blend.apparent, sure, *split, RMSE)


def test_nested_predictions_are_those_of_rules_from_the_other_folds() -> None:
    said, target = members(0)
    blend, _ = both_steps(said, target)
    for fold in range(3):
        rest = fold != FOLDS
        weights = best_weights(said[:, rest], target[rest], RMSE)
        assert_allclose(blend.nested[~rest], weights @ said[:, ~rest])
        assert [*blend.rules[fold].values()] == weights.tolist()
    assert_allclose([*blend.rule.values()] @ said, blend.apparent)


@pytest.mark.parametrize("fold", range(3))
def test_nested_predictions_never_look_at_their_own_labels(fold: int) -> None:
    said, target = members(0)
    own = fold == FOLDS
    other = np.where(own, 3 - target, target)
    blend, changed = (blend_step(fixed(said), y, FOLDS, CLUSTERS, RMSE)
                      for y in (target, other))  # fmt: skip
    assert np.array_equal(blend.nested[own], changed.nested[own])
    assert blend.rule != changed.rule  # it is not that labels do not matter
    sure = Sureness.of(shares_of(target), np.arange(4.0))
    before = fixed(said)["stack"]
    snap, changed = (
        snap_step(before, before.outer, sure, y, FOLDS, CLUSTERS, RMSE)
        for y in (target, other)
    )
    assert np.array_equal(snap.nested[own], changed.nested[own])
    assert snap.rules[fold] == changed.rules[fold]


def test_rules_of_a_fold_are_chosen_on_its_inner_predictions() -> None:
    # The outer predictions of a member may have seen other folds' labels through its
    # models; only the inner ones are clean. Here they say opposite things.
    said, target = members(0)
    found = fixed(said)
    liar = CrossFit(target.copy(), np.repeat(9 * np.ones((1, N)), 3, axis=0))
    blend = blend_step(found | {"liar": liar}, target, FOLDS, CLUSTERS, RMSE)
    assert all(rule["liar"] == 0 for rule in blend.rules)
    assert blend.rule["liar"] == 1  # apparent


def test_a_step_that_helps_is_on_and_one_that_does_not_is_off() -> None:
    said, target = members(0, N)
    blend, _ = both_steps(said, target)
    assert blend.is_on
    assert blend.gain.low > 0
    alone = {"stack": CrossFit.of_fixed(said[0], FOLDS)}
    useless = blend_step(alone, target, FOLDS, CLUSTERS, RMSE)
    assert not useless.is_on
    assert useless.gain.value == 0
    assert after_blend(useless, alone, FOLDS) is alone["stack"]


def test_a_snap_that_helps_is_on() -> None:
    said, target = members(0)
    sure = Sureness.of(shares_of(target, 1), np.arange(4.0))
    weak = CrossFit.of_fixed(said[2], FOLDS)
    step = snap_step(weak, weak.outer, sure, target, FOLDS, CLUSTERS, RMSE)
    assert step.is_on


@pytest.mark.parametrize("seed", range(8))
def test_noise_does_not_pay(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.integers(4, size=N).astype(np.float64)
    steady = CrossFit.of_fixed(np.full(N, 1.5), FOLDS)
    noise = CrossFit.of_fixed(1.5 + rng.normal(size=N), FOLDS)
    both = {"stack": steady, "plain": noise}
    assert not blend_step(both, target, FOLDS, CLUSTERS, RMSE).is_on
    shares = rng.dirichlet(np.ones(4), N)
    sure = Sureness.of(shares, np.arange(4.0))
    split = (target, FOLDS, CLUSTERS)
    assert not snap_step(steady, steady.outer, sure, *split, RMSE).is_on


def test_log_loss_by_hand() -> None:
    target, said = np.eye(2), np.array([[0.5, 0.5], [0.75, 0.25]])
    assert LOG_LOSS.score(target, said) == pytest.approx(np.log([2, 4]).mean())
    assert_allclose(LOG_LOSS.rows(target, said), np.log([2, 4]))


def test_log_losses_and_their_gain_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    index = rng.integers(3, size=N)
    first, second = rng.dirichlet(np.ones(3), N), rng.dirichlet(np.full(3, 5.0), N)
    target, scores = np.eye(3)[index], [log_loss(index, s) for s in (first, second)]
    by_fold = LOG_LOSS.by_fold(target, first, FOLDS)
    assert by_fold.pooled == pytest.approx(scores[0])
    own = FOLDS == 1
    expected = log_loss(index[own], first[own], labels=[0, 1, 2])
    assert by_fold.by_fold[1] == pytest.approx(expected)
    gain = LOG_LOSS.gain(target, first, second, CLUSTERS)
    assert gain.value == pytest.approx(scores[0] - scores[1])
    assert gain.low > 0
    interval = LOG_LOSS.interval(target, second, CLUSTERS)
    assert interval.low < scores[1] < interval.high


def test_a_gain_is_positive_where_the_second_is_better() -> None:
    said, target = members(0)
    gain = RMSE.gain(target, said[2], said[0], CLUSTERS)
    expected = RMSE.score(target, said[2]) - RMSE.score(target, said[0])
    assert gain.value == pytest.approx(expected)
    assert gain.low > 0
