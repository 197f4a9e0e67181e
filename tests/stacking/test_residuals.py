"""Tests of stacking.analysis.residuals and stacking.analysis.calibration."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stacking.analysis.calibration import (
    by_confidence,
    by_decile,
    expected_calibration_error,
    slope,
)
from stacking.analysis.residuals import (
    GROUP_SIZES,
    mean_interval,
    of_classes,
    of_dates,
    of_sizes,
    quantile_bands,
    share_interval,
    spread_sample,
    subgroups,
)
from tests.stacking.reported import Reported

SEEDS = range(10)
Floats = NDArray[np.float64]


def test_an_interval_of_a_mean_holds_it_as_often_as_it_says() -> None:
    held, n_times = 0, 400
    for seed in range(n_times):
        rng = np.random.default_rng(seed)
        cv_groups = np.repeat(np.arange(60), rng.integers(1, 4, 60))
        values = rng.normal(size=60)[cv_groups] + 0.3 * rng.normal(size=len(cv_groups))
        interval = mean_interval(values, cv_groups)
        held += interval.low <= 0 <= interval.high
    assert 0.91 <= held / n_times <= 0.97


def test_an_interval_of_single_rows_is_that_of_the_textbook() -> None:
    values = np.array([1.0, 2.0, 3.0, 6.0])
    interval = mean_interval(values, np.arange(4))
    error = values.std(ddof=1) / 2
    assert interval.value == 3
    assert interval.high - interval.value == pytest.approx(1.96 * error)


def test_rows_of_one_cv_group_tell_no_interval() -> None:
    interval = mean_interval(np.array([1.0, 2.0]), np.zeros(2, dtype=np.int64))
    assert interval.value == 1.5
    assert np.isnan([interval.low, interval.high]).all()


def test_an_interval_of_a_share_stays_a_share() -> None:
    interval = share_interval(np.array([1.0] * 9 + [0.0]), np.arange(10))
    assert interval.value == 0.9
    assert interval.high == 1
    assert 0 < interval.low < 0.9


@pytest.mark.parametrize("seed", SEEDS)
def test_bands_hold_like_many_rows_and_equal_values_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=200).round(seed % 3)
    names, index = quantile_bands(values, 5)
    assert set(index.tolist()) <= set(range(len(names)))
    for value in np.unique(values):
        assert len(set(index[values == value].tolist())) == 1
    order = np.argsort(values)
    assert (np.diff(index[order]) >= 0).all()
    if seed % 3:
        assert np.bincount(index).min() >= 20


def test_equal_values_are_one_band() -> None:
    names, index = quantile_bands(np.full(7, 2.5), 5)
    assert names == ["2.5"]
    assert index.tolist() == [0] * 7


@pytest.mark.parametrize(
    ("first", "last", "name", "n"),
    [
        (1890, 1949, "1890s", 6),
        (1893, 1912, "1893", 20),
        (1500, 1999, "1500 to 1549", 10),
        (-500, 1999, "-600 to -401", 13),
    ],
)
def test_dates_are_told_apart_by_decade_where_that_fits(
    first: int, last: int, name: str, n: int
) -> None:
    dates = np.append(np.arange(first, last + 1, dtype=np.float64), np.nan)
    (names, index), middles = of_dates(dates)
    assert names[0] == name
    assert len(names) == len(middles) == n
    assert index[-1] == -1
    width = middles[1] - middles[0]
    inside = np.abs(dates[:-1] - middles[index[:-1]]) <= width / 2
    assert inside.all()


@pytest.mark.parametrize("dates", [[np.nan] * 3, [1900.0] * 3, [1900.0, 1900.5]])
def test_no_two_dates_are_no_bands(dates: list[float]) -> None:
    (names, index), _ = of_dates(np.array(dates))
    assert not names
    assert (index == -1).all()


@pytest.mark.parametrize("size", range(1, 14))
def test_every_size_of_a_group_has_a_name(size: int) -> None:
    ranges = [(1, 1), (2, 2), (3, 5), (6, 10), (11, 99)]
    expected = next(k for k, (low, high) in enumerate(ranges) if low <= size <= high)
    names, index = of_sizes(np.arange(3 * size) % 3)
    assert (index == expected).all()
    assert names[expected].split()[0] == GROUP_SIZES[expected]


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_are_told_apart_by_the_size_of_their_group(seed: int) -> None:
    sizes = [1, 2, 2, 5, 6, 11]
    groups = np.repeat(["f", "a", "e", "b", "d", "c"], sizes)
    order = np.random.default_rng(seed).permutation(27)
    _, index = of_sizes(groups[order])
    assert np.bincount(index).tolist() == [1, 4, 5, 6, 11]
    assert index.tolist() == np.repeat([0, 1, 1, 2, 3, 4], sizes)[order].tolist()


@pytest.mark.parametrize("is_text", [False, True])
def test_subgroups_are_scored_as_by_hand(is_text: bool, tmp_path: Path) -> None:
    stacked = Reported.of(
        tmp_path / "run", is_text=is_text, tasks=("onehot",)
    ).stacked()
    data, pred = stacked.data, stacked.final.prediction
    scored = subgroups(stacked, of_classes(stacked))
    assert [subgroup.n_rows for subgroup in scored] == np.bincount(
        data.info.class_index
    ).tolist()
    for number, subgroup in enumerate(scored):
        mask = data.info.class_index == number
        if is_text:
            right = pred[mask].argmax(axis=1) == number
            assert subgroup.value.value == pytest.approx(right.mean())
            assert subgroup.score == pytest.approx(-np.log(pred[mask, number]).mean())
        else:
            errors = pred[mask] - data.info.target[mask]
            assert subgroup.value.value == pytest.approx(errors.mean())
            assert subgroup.score == pytest.approx(np.sqrt((errors**2).mean()))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_calibrated_lies_on_the_line(seed: int) -> None:
    rng = np.random.default_rng(seed)
    proba, cv_groups = rng.uniform(0.5, 1, 3000), np.arange(3000)
    is_right = (rng.uniform(size=3000) < proba).astype(np.float64)
    for bin_ in by_confidence(proba, is_right, cv_groups):
        assert abs(bin_.mean_pred - bin_.mean_true.value) < 2 * (
            bin_.mean_true.high - bin_.mean_true.low
        )
    assert expected_calibration_error(proba, is_right) < 0.04
    assert expected_calibration_error(np.sqrt(proba), is_right) > 0.06
    signal = rng.normal(size=3000)
    noise = rng.normal(size=3000)
    assert slope(signal, signal + noise) == pytest.approx(1, abs=0.06)
    assert slope(signal * 2, signal + noise) == pytest.approx(0.5, abs=0.03)


def test_an_expected_error_by_hand() -> None:
    proba = np.array([0.95, 0.95, 0.55, 0.05])
    is_right = np.array([1.0, 0.0, 1.0, 0.0])
    # two bins of one row, 0.45 and 0.05 off, and one of two rows, 0.45 off
    assert expected_calibration_error(proba, is_right) == pytest.approx(0.35)


def test_a_probability_of_one_has_a_bin() -> None:
    (bin_,) = by_confidence(np.ones(3), np.array([1.0, 1.0, 0.0]), np.arange(3))
    assert bin_.n_rows == 3
    assert bin_.mean_true.value == pytest.approx(2 / 3)


def test_tenths_of_predictions_hold_every_row_once() -> None:
    rng = np.random.default_rng(0)
    y_pred = np.where(rng.uniform(size=500) < 0.3, 2.0, rng.uniform(0, 3, 500))
    target = y_pred + 1
    bins = by_decile(y_pred, target, np.arange(500))
    assert sum(bin_.n_rows for bin_ in bins) == 500
    assert all(
        bin_.mean_true.value == pytest.approx(bin_.mean_pred + 1) for bin_ in bins
    )


def test_a_sample_is_spread_along_the_target() -> None:
    target = np.concatenate([np.zeros(90), np.ones(10)])
    chosen = spread_sample(target, 20)
    assert len(set(chosen.tolist())) == 20
    assert target[chosen].sum() == 2
    assert sorted(spread_sample(target, 400).tolist()) == list(range(100))
