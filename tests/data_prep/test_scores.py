"""Tests of data_prep.scoring.scores."""

import time
from math import isnan, nan, sqrt
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.scoring import scores
from data_prep.scoring.metrics import METRICS, Metric
from data_prep.scoring.scores import (
    group_bootstrap,
    paired_bootstrap,
    per_fold,
    spread_ratio,
)
from tests.data_prep.test_metrics import rated, rated_for


def test_spread_ratio_by_hand() -> None:
    assert spread_ratio([1, 5], [2, 3]) == 0.25
    assert spread_ratio([1, 5], [5, 5]) == 0
    assert isnan(spread_ratio([0.1, 0.1], [1, 2]))


def test_folds_pooled_and_mean_by_hand() -> None:
    y_true, y_pred = [0, 0, 0, 0, nan], [1, 1, 1, 5, 99]
    scores = per_fold(METRICS["rmse"], y_true, y_pred, [2, 2, 2, 0, -1])
    assert scores.by_fold == {0: 5, 2: 1}
    assert scores.mean == 3
    assert scores.pooled == sqrt(28 / 4)


@pytest.mark.parametrize("name", METRICS)
def test_folds_are_scored_by_the_metric(name: str) -> None:
    y_true, y_pred, groups = rated_for(name, 0)
    folds = groups % 4 - 1
    scores = per_fold(METRICS[name], y_true, y_pred, folds)
    expected = {
        fold: METRICS[name](y_true[folds == fold], y_pred[folds == fold])
        for fold in range(3)
    }
    assert scores.by_fold == expected
    assert scores.mean == pytest.approx(sum(expected.values()) / 3)
    assert scores.pooled == METRICS[name](y_true[folds >= 0], y_pred[folds >= 0])


def by_rows(
    metric: Metric,
    y_true: NDArray[Any],
    y_pred: NDArray[Any],
    groups: NDArray[Any],
    seed: int,
) -> list[float]:
    """Score 250 draws of groups by the rows that are drawn, not by sums."""
    codes = np.unique(groups, return_inverse=True)[1]
    n_groups = codes.max() + 1
    rows_of = [np.flatnonzero(codes == code) for code in range(n_groups)]
    scores = []
    for draw in np.random.default_rng(seed).integers(n_groups, size=(250, n_groups)):
        rows = np.concatenate([rows_of[code] for code in draw])
        scores.append(metric(y_true[rows], y_pred[rows]))
    return scores


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", METRICS)
def test_sums_give_what_scoring_the_drawn_rows_gives(name: str, seed: int) -> None:
    y_true, y_pred, groups = rated_for(name, seed)
    options = {"n_draws": 250, "seed": seed}
    interval = group_bootstrap(METRICS[name], y_true, y_pred, groups, **options)
    slow = by_rows(METRICS[name], y_true, y_pred, groups, seed)
    low, high = np.nanquantile(slow, [0.025, 0.975])
    assert interval.low == pytest.approx(low, abs=1e-12)
    assert interval.high == pytest.approx(high, abs=1e-12)
    assert interval.value == METRICS[name](y_true, y_pred)
    assert interval.low < interval.value < interval.high


@pytest.mark.parametrize("n_draws", [1, 249, 250, 251, 600])
def test_draws_by_brute_force(n_draws: int) -> None:
    y_true, y_pred, groups = rated(1, n_groups=8)
    rng = np.random.default_rng(5)
    scores: list[float] = []
    while len(scores) < n_draws:
        n_now = min(250, n_draws - len(scores))
        for draw in rng.integers(8, size=(n_now, 8)):
            rows = np.concatenate([np.flatnonzero(groups == group) for group in draw])
            scores.append(float(np.abs(y_true[rows] - y_pred[rows]).mean()))
    options = {"n_draws": n_draws, "seed": 5}
    interval = group_bootstrap(METRICS["mae"], y_true, y_pred, groups, **options)
    assert [interval.low, interval.high] == pytest.approx(
        np.quantile(scores, [0.025, 0.975])
    )


def coverage(by_group: bool) -> float:
    """Share of 200 samples of 80 groups whose interval holds the true score."""
    n_held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(80), 4)
        error = rng.normal(size=80)[groups] + 0.5 * rng.normal(size=320)
        true_rmse = sqrt(1 + 0.25)
        interval = group_bootstrap(
            METRICS["rmse"],
            np.zeros(320),
            error,
            groups if by_group else np.arange(320),
            n_draws=400,
            seed=seed,
        )
        n_held += interval.low <= true_rmse <= interval.high
    return n_held / 200


def test_the_interval_holds_the_true_score_as_often_as_it_says() -> None:
    assert 0.88 <= coverage(by_group=True) <= 0.99


def test_rows_drawn_singly_promise_too_much() -> None:
    assert coverage(by_group=False) < 0.8


@pytest.mark.parametrize("name", ["rmse", "accuracy", "auc"])
def test_many_groups_are_drawn_in_bundles_with_the_same_interval(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    y_true, y_pred, groups = rated_for(name, 0, n_groups=3000)
    each = group_bootstrap(METRICS[name], y_true, y_pred, groups)
    monkeypatch.setattr(scores, "_MOST_GROUPS", 1000)
    bundled = group_bootstrap(METRICS[name], y_true, y_pred, groups)
    assert bundled != each
    assert bundled.value == each.value
    width = each.high - each.low
    # two intervals of 2,000 draws differ by 2 to 3 %, bundles of 1,000 by as much
    assert bundled.high - bundled.low == pytest.approx(width, rel=0.15)
    assert bundled.low == pytest.approx(each.low, abs=0.15 * width)


def test_a_bundle_holds_whole_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "_MOST_GROUPS", 7)
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(100), 3))
    bundles = scores._group_codes(groups, 300)
    assert all(len(set(bundles[groups == group])) == 1 for group in range(100))
    assert sorted(np.bincount(bundles)) == [42] * 5 + [45] * 2


@pytest.mark.parametrize("name", METRICS)
def test_a_prediction_does_not_differ_from_itself(name: str) -> None:
    y_true, y_pred, groups = rated_for(name, 0)
    metric = METRICS[name]
    interval = paired_bootstrap(metric, y_true, y_pred, y_pred, groups, n_draws=99)
    assert (interval.value, interval.low, interval.high) == (0, 0, 0)
    assert not interval.excludes_zero


def test_pairing_finds_a_difference_that_two_intervals_hide() -> None:
    y_true, first, groups = rated(0)
    second = y_true + 0.9 * (first - y_true)
    single = [
        group_bootstrap(METRICS["rmse"], y_true, rows, groups)
        for rows in (first, second)
    ]
    assert single[0].low < single[1].high, "they overlap"
    interval = paired_bootstrap(METRICS["rmse"], y_true, first, second, groups)
    assert interval.value == pytest.approx(single[0].value - single[1].value)
    assert interval.low > 0
    assert interval.excludes_zero
    reverse = paired_bootstrap(METRICS["rmse"], y_true, second, first, groups)
    assert reverse.high == pytest.approx(-interval.low)
    assert reverse.excludes_zero


def test_noise_is_called_a_difference_as_rarely_as_it_says() -> None:
    n_called = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(40), 5)
        first, second = (rng.normal(size=40)[groups] for _ in range(2))
        interval = paired_bootstrap(
            METRICS["mae"], np.zeros(200), first, second, groups, n_draws=400, seed=seed
        )
        n_called += interval.excludes_zero
    assert n_called / 200 <= 0.12


def test_the_seed_decides_and_names_of_groups_do_not() -> None:
    y_true, y_pred, groups = rated(0)
    names = np.array([f"group {group:03}" for group in groups], dtype=object)
    first, again, other_seed = (
        group_bootstrap(METRICS["r2"], y_true, y_pred, by, seed=seed)
        for by, seed in ((groups, 0), (names, 0), (groups, 1))
    )
    assert first == again
    assert first != other_seed


def test_draws_without_a_score_are_left_out() -> None:
    # A draw of one group twice has one target only, and so no r2.
    interval = group_bootstrap(METRICS["r2"], [0, 0, 1, 1], [0, 0, 1, 0], [1, 1, 2, 2])
    assert (interval.low, interval.high) == (0.5 - 0.5, 0.5 - 0.5)
    hopeless = group_bootstrap(METRICS["r2"], [1, 1], [0, 0], [1, 2], n_draws=10)
    assert isnan(hopeless.low)
    assert isnan(hopeless.high)
    assert not hopeless.excludes_zero


@pytest.mark.parametrize("name", METRICS)
def test_two_thousand_draws_take_less_than_a_second(name: str) -> None:
    y_true, y_pred, _ = rated_for(name, 0, n_groups=1200)
    y_true, y_pred = y_true[:4000], y_pred[:4000]
    began = time.process_time()
    group_bootstrap(METRICS[name], y_true, y_pred, np.arange(4000))
    assert time.process_time() - began < 1


def test_undefined_folds_leave_the_mean_undefined() -> None:
    proba = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]
    scores = per_fold(METRICS["auc"], [0, 1, 1], proba, [0, 0, 1])
    assert scores.by_fold[0] == 1
    assert isnan(scores.by_fold[1])
    assert isnan(scores.mean)
    assert scores.pooled == 1


@pytest.mark.parametrize("name", METRICS)
def test_rows_that_cannot_be_scored_are_refused(name: str) -> None:
    metric, bad_pred = METRICS[name], [[1, 2, 3]]
    for score in (
        lambda: metric([1, nan], bad_pred),
        lambda: group_bootstrap(metric, [1, 2], bad_pred, [1, 2]),
        lambda: paired_bootstrap(metric, [1, 2], bad_pred, bad_pred, [1, 2]),
        lambda: per_fold(metric, [1, 2], np.ones((2, 1, 1)), [0, 1]),
        lambda: spread_ratio([1, 2], bad_pred),
    ):
        with pytest.raises(UserError, match=r"give one|missing or not finite|for 1"):
            score()


def test_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="3 groups for 2 rows; give one each"):
        group_bootstrap(METRICS["rmse"], [1, 2], [1, 2], [1, 2, 3])
    with pytest.raises(UserError, match="all rows are of one group"):
        group_bootstrap(METRICS["rmse"], [1, 2], [1, 2], ["a", "a"])
    with pytest.raises(UserError, match="give one value per row"):
        per_fold(METRICS["rmse"], [1, 2], [1, 2], [-1, -1])
