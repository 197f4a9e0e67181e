"""Tests of data_prep.time_folds: no net sees what comes after a row that it judges."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.model_selection import TimeSeriesSplit

from data_prep.errors import UserError
from data_prep.folds import TRAIN_FROM, assign_folds, fold_masks, hash_of_folds
from data_prep.prepare_settings import PrepareSettings
from data_prep.time_folds import start_dates, with_time_folds
from tests.data_prep.sheets import IDS, N, prepare, refused, table_of, write_table
from tests.drilled import in_drills


def rows_of(dates: Any, cv_group: Any = None, split: Any = "train") -> pd.DataFrame:
    """Give rows as they are before folds are made."""
    n = len(dates)
    return pd.DataFrame(
        {
            "id": [f"p{k}" for k in range(n)],
            "split": split,
            "date": np.asarray(dates, dtype=np.float64),
            "cv_group": np.arange(n) if cv_group is None else cv_group,
        }
    )


def in_time(rows: pd.DataFrame, cv: str, gap: float = 0.0) -> pd.DataFrame:
    return with_time_folds(rows, cv, (rows["split"] == "train").to_numpy(), gap)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n", "n_folds"), [(12, 2), (40, 3), (60, 5)])
def test_with_a_date_for_each_row_it_is_the_split_of_scikit_learn(
    n: int, n_folds: int, seed: int
) -> None:
    assert n % (n_folds + 1) == 0
    dates = 1900 + np.random.default_rng(seed).permutation(n)
    table = in_time(rows_of(dates), f"time{n_folds}")
    in_order = np.argsort(dates)
    for fold, (train_idx, val_idx) in enumerate(
        TimeSeriesSplit(n_folds).split(in_order)
    ):
        val_mask, train_mask = fold_masks(table, str(fold))
        assert set(np.flatnonzero(val_mask)) == set(in_order[val_idx])
        assert set(np.flatnonzero(train_mask)) == set(in_order[train_idx])


@pytest.mark.parametrize("gap", [0, 3])
def test_with_a_gap_too(gap: int) -> None:
    dates = np.arange(1900, 1940)  # scikit-learn counts rows, and here a row is a year
    table = in_time(rows_of(dates), "time3", gap)
    for fold, (train_idx, _) in enumerate(TimeSeriesSplit(3, gap=gap).split(dates)):
        assert_array_equal(np.flatnonzero(fold_masks(table, str(fold))[1]), train_idx)


def unkind(seed: int) -> tuple[pd.DataFrame, np.ndarray, int, float]:
    """Draw rows with equal dates, groups that go on for long, and rows never scored."""
    rng = np.random.default_rng(seed)
    n, n_folds = int(rng.integers(20, 90)), int(rng.integers(2, 6))
    dates = rng.integers(1850, 1850 + int(rng.choice([12, 40, 400])), n)
    dates = dates + rng.choice([0.0, 0.25, 0.5], n)
    group = rng.integers(0, int(rng.integers(n_folds + 4, n)), n)
    if seed % 3:  # of one time, but for a few
        by_group = rng.permutation(dates)[group]
        dates = np.where(rng.random(n) < 0.9, by_group, dates)
    split = rng.choice(["train", "test"], n, p=[0.9, 0.1])
    rows = rows_of(dates, group, split)
    rows.loc[rows["split"] == "test", "date"] = np.nan
    is_validated = (rows["split"] == "train").to_numpy() & (rng.random(n) < 0.9)
    return rows, is_validated, n_folds, float(rng.choice([0.0, 0.0, 1.0, 5.0]))


@pytest.mark.parametrize("n_tables", [30, in_drills(120)])
def test_no_net_learns_from_what_is_not_earlier_in_unkind_tables(n_tables: int) -> None:
    n_made = n_refused = n_long = 0
    for seed in range(n_tables):
        rows, is_validated, n_folds, gap = unkind(seed)
        try:
            table = with_time_folds(rows, f"time{n_folds}", is_validated, gap)
        except UserError:
            n_refused += 1
            continue
        n_made += 1
        folds, dates = table["fold"].to_numpy(), table["date"].to_numpy()
        assert set(folds[is_validated]) >= set(range(n_folds))
        assert (folds[~is_validated] == -1).all()
        per_group = table[is_validated].groupby("cv_group")
        assert per_group["fold"].nunique().max() == 1, "not even between -1 and a fold"
        before = np.zeros(len(table), dtype=bool)
        for fold in range(n_folds):
            val_mask, train_mask = fold_masks(table, str(fold))
            assert train_mask.any()
            assert dates[train_mask].max() < dates[val_mask].min() - gap
            joint = set(table["cv_group"][val_mask]) & set(
                table["cv_group"][train_mask]
            )
            assert not joint
            assert (table["split"][train_mask] == "train").all()
            if fold:  # what was before the last fold began is before this one too
                in_group = table["cv_group"].isin(table["cv_group"][val_mask])
                assert not (before & ~train_mask & ~in_group).any()
            before = train_mask
        n_long += int((per_group["date"].agg(np.ptp) > 0).sum())
        again = with_time_folds(rows, f"time{n_folds}", is_validated, gap)
        pd.testing.assert_frame_equal(again, table)
        other_way = with_time_folds(
            rows[::-1], f"time{n_folds}", is_validated[::-1], gap
        )
        pd.testing.assert_frame_equal(other_way[::-1], table)
    assert n_made > 0.5 * n_tables
    assert n_refused > n_tables / 15
    assert n_long > 1.5 * n_tables


def test_a_group_that_goes_on_for_long_by_hand() -> None:
    # "x" is of 1904 and 1907, so four rows begin in 1903 and 1904, or three after
    dates = [1900, 1901, 1902, 1903, 1904, 1905, 1906, 1907, 1908]
    groups = ["a", "b", "c", "d", "x", "e", "f", "x", "g"]
    assert_array_equal(start_dates("time2", dates, groups), [1903, 1905])
    table = in_time(rows_of(dates, groups), "time2")
    # held out with its first row: the net of fold 0 has seen nothing after 1902
    assert table["fold"].tolist() == [-1, -1, -1, 0, 0, 1, 1, 0, 1]
    assert np.flatnonzero(fold_masks(table, "0")[1]).tolist() == [0, 1, 2]
    # its row of 1904 is past when fold 1 begins, that of 1907 is not
    assert table[TRAIN_FROM].tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert np.flatnonzero(fold_masks(table, "1")[1]).tolist() == [0, 1, 2, 3, 4]


def test_rows_of_one_date_are_together_and_blocks_as_even_as_they_allow() -> None:
    dates = np.repeat([1900.0, 1901, 1902, 1903], [5, 1, 1, 5])
    table = in_time(rows_of(dates), "time2")
    # thirds would end after 4 and 8 rows; 5 and 7 are the nearest
    assert_array_equal(table["fold"], np.repeat([-1, 0, 1], [5, 2, 5]))


def test_too_few_dates_are_refused() -> None:
    with pytest.raises(UserError, match=r"'time3': it takes 4 dates .* there are 3 da"):
        in_time(rows_of([1900, 1901, 1901, 1902, 1902]), "time3")
    with pytest.raises(UserError, match="there is 1 date that a group or row begins"):
        in_time(rows_of([1900, 1901, 1902], ["a", "a", "a"]), "time2")


def test_a_gap_that_leaves_nothing_is_refused() -> None:
    dates = np.arange(1900, 1909)
    in_time(rows_of(dates), "time2", gap=2)
    with pytest.raises(UserError, match=r"gap = 3: no row is .* begins with 1903, so"):
        in_time(rows_of(dates), "time2", gap=3)


def test_rows_without_a_date_are_counted_and_named() -> None:
    dates = [1900, np.nan, 1901, np.nan, np.nan, 1902, np.nan]
    with pytest.raises(UserError, match=r"4 of 7 rows have none \('p1', 'p3', 'p4' \."):
        in_time(rows_of(dates), "time2")
    split = ["train", "test", "train", "test", "test", "train", "test"]
    assert in_time(rows_of(dates, split=split), "time2")["fold"].max() == 1


def test_the_hash_is_of_what_each_net_learns_from_too() -> None:
    dates = np.arange(1900, 1912)
    plain, wide = (in_time(rows_of(dates), "time2", gap) for gap in (0, 1))
    assert_array_equal(plain["fold"], wide["fold"])
    assert hash_of_folds(plain) != hash_of_folds(wide)
    assert hash_of_folds(plain) == hash_of_folds(plain[::-1])
    assert hash_of_folds(plain) != hash_of_folds(plain.drop(columns=TRAIN_FROM))


def test_only_prepare_knows_dates() -> None:
    with pytest.raises(UserError, match="'time3' holds out by date, which only data_p"):
        assign_folds("time3", [0, 1, 0, 1])


def test_a_gap_is_of_folds_in_time_alone() -> None:
    assert PrepareSettings(cv="time3", gap=2.0).gap == 2.0
    with pytest.raises(
        UserError, match=r"gap = 2 leaves years out .* 'sgkfold3' is no"
    ):
        PrepareSettings(gap=2.0)


DATED = 'date = "made"'


def test_prepare_stores_them(folder: Path) -> None:
    years = [1900 + k // 2 for k in range(N)]  # those of a sheet in one
    write_table(folder, made=years)
    table = table_of(prepare(folder, "--cv=time3", "--gap=1", data=DATED))
    assert_array_equal(table["fold"].loc[IDS], np.repeat([-1, 0, 1, 2], N // 4))
    first = table[TRAIN_FROM].loc[IDS]
    assert first.tolist() == [0] * 10 + [1] * 12 + [2] * 12 + [3] * 14
    stored = table.reset_index()
    assert fold_masks(stored, "all")[1].all()


def test_prepare_refuses_before_a_picture_is_opened(folder: Path) -> None:
    assert "[data] date names no column; name it" in refused(folder, "--cv=time3")
    write_table(folder, made=[None, *range(1901, 1901 + N - 1)])
    text = refused(folder, "--cv=time3", data=DATED)
    assert "1 of 48 row has none ('p000')" in text
    assert not list(folder.rglob("images.npy"))
