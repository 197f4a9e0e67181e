"""Tests of data_prep.reporting.target_by_date and target_by_group."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import f_oneway, spearmanr

from data_prep.reporting.target_by_date import (
    date_section,
    drift_of,
    mean_by_groups,
)
from data_prep.reporting.target_by_group import groups_section, share_between

NUMBERS = {
    "target_kind": "numeric",
    "classes": None,
    "target_column": "price",
    "date_column": "year",
}
CLASSES = {**NUMBERS, "target_kind": "classes", "classes": ["elm", "oak", "ash"]}


def rows_of(target: Any, date: Any, groups: Any = None, **columns: Any) -> pd.DataFrame:
    n = len(target)
    return pd.DataFrame(
        {
            "id": [f"p{k}" for k in range(n)],
            "split": "train",
            "cv_group": range(n) if groups is None else groups,
            "target": target,
            "date": date,
            **columns,
        }
    )


def of_classes(codes: Any, date: Any, groups: Any = None) -> pd.DataFrame:
    return rows_of(["x"] * len(codes), date, groups, class_index=codes)


@pytest.mark.parametrize("unit", [1.0, 1e-9, -1e9])
@pytest.mark.parametrize("seed", range(5))
def test_drift_is_spearmans_correlation_in_any_unit(seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    date = rng.uniform(1900, 1950, 200)
    target = date + rng.normal(0, 30, 200)
    drift = drift_of(rows_of(unit * target, date), NUMBERS)
    assert drift is not None
    expected = np.sign(unit) * spearmanr(date, target)[0]
    assert drift.strength == pytest.approx(expected)
    assert drift.is_drift
    assert ("rises" if unit > 0 else "falls") in drift.sentence()


@pytest.mark.parametrize("make", [rows_of, of_classes])
def test_what_only_a_few_groups_show_is_no_drift(make: Any) -> None:
    # 15 groups of 20 equal rows would be sure by rows
    values = np.repeat(np.arange(15) % 3, 20)
    date = np.repeat(1900.0 + np.arange(15) % 3, 20)
    metadata = NUMBERS if make is rows_of else CLASSES
    drift = drift_of(make(values, date, np.repeat(range(15), 20)), metadata)
    assert drift is not None
    assert drift.n_groups == 15
    assert not drift.is_drift
    assert "Too few" in drift.sentence()


@pytest.mark.parametrize(
    ("make", "metadata"), [(rows_of, NUMBERS), (of_classes, CLASSES)]
)
def test_chance_seldom_is_a_drift(make: Any, metadata: Any) -> None:
    n_drifts = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        drift = drift_of(make(rng.integers(0, 3, 90), rng.uniform(0, 1, 90)), metadata)
        assert drift is not None
        n_drifts += drift.is_drift
    assert n_drifts <= 3  # of 60 at 1 %


def test_classes_of_different_times_are_a_drift() -> None:
    codes = np.arange(60) % 3
    rng = np.random.default_rng(0)
    drift = drift_of(of_classes(codes, 1900 + 10 * codes + rng.random(60)), CLASSES)
    assert drift is not None
    # ranks 1..20, 21..40, 41..60: H = 12 / (60 * 61) * 20 * (20^2 + 0 + 20^2)
    h = 12 / (60 * 61) * 20 * 800
    assert drift.strength**2 == pytest.approx((h - 2) / 57)
    assert "Classes come from different times" in drift.sentence()


def test_there_is_no_drift_without_dates_or_of_the_date_itself() -> None:
    rows = rows_of(np.arange(30.0), np.arange(30.0))
    assert drift_of(rows, {**NUMBERS, "target_kind": None}) is None
    assert drift_of(rows, {**NUMBERS, "target_column": "year"}) is None
    assert drift_of(rows.assign(date=np.nan), NUMBERS) is None
    assert drift_of(rows.assign(split="test"), NUMBERS) is None
    assert not date_section(rows.assign(date=1900.0), NUMBERS).body


def test_the_interval_of_a_mean_is_by_groups() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=40)
    alone = mean_by_groups(values, np.arange(40))
    assert alone[0] == pytest.approx(values.mean())
    assert alone[1] == pytest.approx(1.96 * values.std(ddof=1) / np.sqrt(40))
    doubled = mean_by_groups(np.repeat(values, 2), np.repeat(np.arange(40), 2))
    assert doubled == pytest.approx(alone)  # the same rows twice say nothing new
    assert np.isnan(mean_by_groups(values, np.zeros(40, dtype=np.int64))[1])


def test_the_periods_show_their_means_and_classes_their_shares() -> None:
    text = str(date_section(rows_of(np.arange(60.0), np.arange(60.0)), NUMBERS).body)
    assert "0 to 9" in text
    assert "4.50" in text
    codes = np.repeat([0, 1], 30)
    text = str(date_section(of_classes(codes, np.arange(60.0)), CLASSES).body)
    assert text.count("100%") == 6
    assert ">ash<" not in text


@pytest.mark.parametrize("seed", range(5))
def test_the_share_between_groups_is_the_intraclass_correlation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(30), 4)
    values = 1e7 + rng.normal(size=30)[groups] + rng.normal(size=120)
    f_ratio = f_oneway(*(values[groups == k] for k in range(30)))[0]
    expected = (f_ratio - 1) / (f_ratio + 3)  # of groups of four
    assert share_between(values, groups) == pytest.approx(max(expected, 0), abs=1e-6)


def test_the_share_between_groups_at_its_ends() -> None:
    groups = np.repeat(np.arange(10), 3)
    assert share_between(groups * 1.0, groups) == pytest.approx(1)
    assert share_between(np.tile([0.0, 1, 2], 10), groups) == 0
    assert np.isnan(share_between(np.arange(10.0), np.arange(10)))


def test_groups_say_what_knowing_one_again_would_be_worth() -> None:
    names = np.repeat(["a", "b", "c", None], [4, 2, 1, 2])
    rows = of_classes([0, 0, 1, 0, 2, 2, 1, 1, 1], np.nan).assign(group=names)
    text = str(groups_section(rows, CLASSES).body)
    assert "1 of 2 groups of several rows has one class only" in text
    assert "the 3 largest of 3" in text
    assert "75%" in text
    assert not groups_section(rows.assign(group=rows["id"]), CLASSES).body
    assert not groups_section(rows.drop(columns="group"), CLASSES).body
