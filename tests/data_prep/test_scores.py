"""Tests of data_prep.scores."""

import time
from collections.abc import Callable
from math import isnan, nan, sqrt
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as theirs

from data_prep.errors import UserError
from data_prep.scores import (
    METRICS,
    Metric,
    group_bootstrap,
    paired_bootstrap,
    per_fold,
    spread_ratio,
)

SEEDS = range(10)
SKLEARN: dict[str, Callable[..., float]] = {
    "rmse": theirs.root_mean_squared_error,
    "mae": theirs.mean_absolute_error,
    "r2": theirs.r2_score,
    "accuracy": theirs.accuracy_score,
    "quadratic_kappa": lambda y, p: theirs.cohen_kappa_score(y, p, weights="quadratic"),
}
Rows = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]


def rated(seed: int, n_groups: int = 30, offset: float = 0) -> Rows:
    """Give targets 1 to 5, predictions that err by group, and groups of 1 to 6."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), rng.integers(1, 7, n_groups))
    target = rng.integers(1, 6, len(groups)).astype(np.float64)
    error = rng.normal(size=n_groups)[groups] + 0.3 * rng.normal(size=len(groups))
    return target + offset, np.clip(np.rint(target + error), 0, 9) + offset, groups


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("offset", [0, 1_000_000])
@pytest.mark.parametrize("name", METRICS)
def test_same_as_scikit_learn(name: str, offset: float, seed: int) -> None:
    target, prediction, _ = rated(seed, offset=offset)
    ours, expected = (
        METRICS[name](target, prediction),
        SKLEARN[name](target, prediction),
    )
    assert ours == pytest.approx(expected, rel=1e-9)
    assert type(ours) is float


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rmse", sqrt((0 + 1 + 0 + 4) / 4)),
        ("mae", (0 + 1 + 0 + 2) / 4),
        ("r2", 1 - 5 / 4),  # the targets' squared distances from 2: 1 + 1 + 1 + 1
        ("accuracy", 2 / 4),
        # places 0 0 2 2 and 0 1 2 0; of all 16 pairs the squares sum to 28
        ("quadratic_kappa", 1 - 5 / (28 / 4)),
    ],
)
def test_four_rows_by_hand(name: str, expected: float) -> None:
    assert METRICS[name]([1, 1, 3, 3], [1, 2, 3, 1]) == pytest.approx(expected)


@pytest.mark.parametrize("name", METRICS)
def test_a_better_prediction_scores_better(name: str) -> None:
    target = np.tile([1.0, 2.0, 3.0, 4.0], 5)
    metric = METRICS[name]
    better, worse = (
        metric(target, np.where(np.arange(20) < n_wrong, 5 - target, target))
        for n_wrong in (2, 9)
    )
    assert (better > worse) is metric.higher_is_better


def test_classes_may_be_text_and_unevenly_spaced() -> None:
    assert METRICS["accuracy"](["oak", "elm", "oak"], ["oak", "oak", "oak"]) == 2 / 3
    uneven = METRICS["quadratic_kappa"]([1, 2, 200, 2], [2, 2, 200, 1])
    assert uneven == METRICS["quadratic_kappa"]([0, 1, 2, 1], [1, 1, 2, 0])


@pytest.mark.parametrize("value", [0.1, 7.0, 1e6])
def test_what_is_not_defined_is_nan(value: float) -> None:
    same = np.full(30, value)
    assert isnan(METRICS["r2"](same, same + 1))
    assert isnan(METRICS["quadratic_kappa"](same, same))
    assert isnan(spread_ratio(same + np.arange(30), same))


@pytest.mark.parametrize("n", range(1, 50))
def test_a_draw_of_equal_targets_has_no_r2_for_all_rounding(n: int) -> None:
    away = 0.1  # from the median of all
    sums = np.sum([[1, away, away**2, 2.0]] * n, axis=0)
    assert isnan(METRICS["r2"].of_sums(sums))


def test_spread_ratio_by_hand() -> None:
    assert spread_ratio([2, 3], [1, 5]) == 0.25
    assert spread_ratio([5, 5], [1, 5]) == 0


def test_folds_pooled_and_mean_by_hand() -> None:
    target, prediction = [0, 0, 0, 0, nan], [1, 1, 1, 5, 99]
    scores = per_fold(METRICS["rmse"], target, prediction, [2, 2, 2, 0, -1])
    assert scores.by_fold == {0: 5, 2: 1}
    assert scores.mean == 3
    assert scores.pooled == sqrt(28 / 4)


# Intervals


def hidden(metric: Metric) -> Callable[[NDArray[Any], NDArray[Any]], float]:
    """Hide from the bootstrap that the metric is made of sums."""
    return metric.__call__


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", METRICS)
def test_sums_give_what_scoring_the_drawn_rows_gives(name: str, seed: int) -> None:
    target, prediction, groups = rated(seed)
    given = {"n_draws": 300, "seed": seed}
    fast = group_bootstrap(METRICS[name], target, prediction, groups, **given)
    slow = group_bootstrap(hidden(METRICS[name]), target, prediction, groups, **given)
    for ours, expected in zip(vars(fast).values(), vars(slow).values(), strict=True):
        assert ours == pytest.approx(expected, abs=1e-12)
    assert fast.low < fast.value < fast.high


@pytest.mark.parametrize("n_draws", [1, 249, 250, 251, 600])
def test_draws_by_brute_force(n_draws: int) -> None:
    target, prediction, groups = rated(1, n_groups=8)
    rng = np.random.default_rng(5)
    scores: list[float] = []
    while len(scores) < n_draws:
        n_now = min(250, n_draws - len(scores))
        for draw in rng.integers(8, size=(n_now, 8)):
            rows = np.concatenate([np.flatnonzero(groups == group) for group in draw])
            scores.append(float(np.abs(target[rows] - prediction[rows]).mean()))
    given = {"n_draws": n_draws, "seed": 5}
    found = group_bootstrap(METRICS["mae"], target, prediction, groups, **given)
    assert [found.low, found.high] == pytest.approx(np.quantile(scores, [0.025, 0.975]))


def coverage(by_group: bool) -> float:
    """Share of 200 samples of 80 groups whose interval holds the true score."""
    n_held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(80), 4)
        error = rng.normal(size=80)[groups] + 0.5 * rng.normal(size=320)
        truth = sqrt(1 + 0.25)
        found = group_bootstrap(
            METRICS["rmse"],
            np.zeros(320),
            error,
            groups if by_group else np.arange(320),
            n_draws=400,
            seed=seed,
        )
        n_held += found.low <= truth <= found.high
    return n_held / 200


def test_the_interval_holds_the_true_score_as_often_as_it_says() -> None:
    assert 0.88 <= coverage(by_group=True) <= 0.99


def test_rows_drawn_singly_promise_too_much() -> None:
    assert coverage(by_group=False) < 0.8


@pytest.mark.parametrize("name", METRICS)
def test_a_prediction_does_not_differ_from_itself(name: str) -> None:
    target, prediction, groups = rated(0)
    metric = METRICS[name]
    found = paired_bootstrap(metric, target, prediction, prediction, groups, n_draws=99)
    assert (found.value, found.low, found.high) == (0, 0, 0)
    assert not found.excludes_zero


def test_pairing_finds_a_difference_that_two_intervals_hide() -> None:
    target, first, groups = rated(0)
    second = target + 0.9 * (first - target)
    single = [
        group_bootstrap(METRICS["rmse"], target, rows, groups)
        for rows in (first, second)
    ]
    assert single[0].low < single[1].high, "they overlap"
    found = paired_bootstrap(METRICS["rmse"], target, first, second, groups)
    assert found.value == pytest.approx(single[0].value - single[1].value)
    assert found.low > 0
    assert found.excludes_zero
    other = paired_bootstrap(METRICS["rmse"], target, second, first, groups)
    assert other.high == pytest.approx(-found.low)
    assert other.excludes_zero


def test_noise_is_called_a_difference_as_rarely_as_it_says() -> None:
    n_called = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(40), 5)
        first, second = (rng.normal(size=40)[groups] for _ in range(2))
        found = paired_bootstrap(
            METRICS["mae"], np.zeros(200), first, second, groups, n_draws=400, seed=seed
        )
        n_called += found.excludes_zero
    assert n_called / 200 <= 0.12


def test_the_seed_decides_and_names_of_groups_do_not() -> None:
    target, prediction, groups = rated(0)
    names = np.array([f"group {group:03}" for group in groups], dtype=object)
    first, again, other = (
        group_bootstrap(METRICS["r2"], target, prediction, by, seed=seed)
        for by, seed in ((groups, 0), (names, 0), (groups, 1))
    )
    assert first == again
    assert first != other


def test_draws_without_a_score_are_left_out() -> None:
    # A draw of one group twice has one target only, and so no r2.
    found = group_bootstrap(METRICS["r2"], [0, 0, 1, 1], [0, 0, 1, 0], [1, 1, 2, 2])
    assert (found.low, found.high) == (0.5 - 0.5, 0.5 - 0.5)
    hopeless = group_bootstrap(METRICS["r2"], [1, 1], [0, 0], [1, 2], n_draws=10)
    assert isnan(hopeless.low)
    assert isnan(hopeless.high)
    assert not hopeless.excludes_zero


@pytest.mark.parametrize("name", METRICS)
def test_two_thousand_draws_take_less_than_a_second(name: str) -> None:
    target, prediction, _ = rated(0, n_groups=1200)
    target, prediction = target[:4000], prediction[:4000]
    began = time.process_time()
    group_bootstrap(METRICS[name], target, prediction, np.arange(4000))
    assert time.process_time() - began < 1


# What cannot be scored


@pytest.mark.parametrize(
    ("target", "prediction", "message"),
    [
        ([1, 2], [1, 2, 3], "2 targets for 3 predictions"),
        ([], [], r"target of shape \(0,\)"),
        ([1, 2], [[1, 2]], r"prediction of shape \(1, 2\); give one value per row"),
        ([1, nan, nan], [1, 2, 3], "2 of 3 values of target are missing or not finite"),
        ([1, 2], [1, np.inf], "1 of 2 values of prediction are missing or not finite"),
    ],
)
def test_rows_that_do_not_match_are_refused(
    target: list[Any], prediction: list[Any], message: str
) -> None:
    groups = [*range(max(len(target), 2))]
    with pytest.raises(UserError, match=message):
        METRICS["rmse"](target, prediction)
    with pytest.raises(UserError, match=message):
        spread_ratio(prediction, target)
    with pytest.raises(UserError, match=message):
        group_bootstrap(METRICS["rmse"], target, prediction, groups)
    with pytest.raises(UserError, match=message):
        paired_bootstrap(METRICS["rmse"], target, prediction, prediction, groups)


def test_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="3 groups for 2 rows; give one each"):
        group_bootstrap(METRICS["rmse"], [1, 2], [1, 2], [1, 2, 3])
    with pytest.raises(UserError, match="all rows are of one group"):
        group_bootstrap(METRICS["rmse"], [1, 2], [1, 2], ["a", "a"])
    with pytest.raises(UserError, match="give one value per row"):
        per_fold(METRICS["rmse"], [1, 2], [1, 2], [-1, -1])
