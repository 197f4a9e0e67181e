"""Folds forward in time: each is held out from a net that saw earlier rows alone.

The rows are cut into blocks by date, about as large as one another. The first block is
only trained on; block k + 1 is fold k, and its net may be trained on what is dated
before it, less a gap.

Source: ``sklearn.model_selection.TimeSeriesSplit``, which gives the same folds where
every row has a date of its own, no group, and the blocks have the same number of rows.
Differs: rows are ordered by their date and not by their place, rows of one date are in
one block, and no group is torn. A group that goes on for long is held out with its
*earliest* row, so that its net saw nothing later than any row of it; with its latest, a
row would be predicted by a net that had seen its future. A row may be trained on by its
*own* date, for no net needs to wait for the others of its group.

Shapes: N rows, F folds, G cv groups.
"""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from data_prep.arrays import Bools, Floats, Ints
from data_prep.errors import UserError
from data_prep.folds import TRAIN_FROM, fold_masks
from data_prep.schemes import parse_scheme


def with_time_folds(
    rows: pd.DataFrame, cv: str, is_validated: Bools, gap: float
) -> pd.DataFrame:
    """Hold rows out forward in time.

    Args:
        rows: N rows with id, split, date (decimal years) and cv_group.
        cv: Such as ``"time4"``.
        is_validated: (N,) which rows are held out if they lie in a fold.
        gap: Years before a fold that its net is not trained on.

    Returns:
        The rows with fold, -1 for the first block, and ``train_from``: the first fold
        whose net may be trained on the row; F: none may.

    Raises:
        UserError: A row to learn from has no date, there are too few dates, or nothing
            is left before the first fold.
    """
    check_dates(rows, cv)
    n_folds, is_train = parse_scheme(cv)[1], (rows["split"] == "train").to_numpy()
    dates = rows["date"].to_numpy(dtype=np.float64)
    validated = rows[is_validated]
    starts = start_dates(cv, validated["date"], validated["cv_group"])
    begins = first_dates(validated["date"], validated["cv_group"])
    folds = np.full(len(rows), -1, dtype=np.int64)
    folds[is_validated] = np.searchsorted(starts, begins, side="right") - 1
    train_from = np.searchsorted(starts - gap, dates, side="right")
    rows = rows.assign(
        fold=folds,
        **{TRAIN_FROM: np.where(is_train, train_from, n_folds).astype(np.int64)},
    )
    if not fold_masks(rows, "0")[1].any():
        raise UserError(
            f"cv = {cv!r}, gap = {gap:g}: no row is dated more than that many years"
            f" before fold 0, which begins with {starts[0]:.6g}, so its net has nothing"
            " to learn from; give a smaller gap, or fewer folds"
        )
    return rows


def check_dates(rows: pd.DataFrame, cv: str) -> None:
    """Refuse rows to learn from that have no date.

    Raises:
        UserError: There are some.
    """
    is_train = rows["split"] == "train"
    undated = rows["id"][is_train & rows["date"].isna()].tolist()
    if undated:
        shown = ", ".join(map(repr, undated[:3])) + " ..." * (len(undated) > 3)
        have = "row has" if len(undated) == 1 else "rows have"
        raise UserError(
            f"cv = {cv!r} holds out by date, and {len(undated):,} of"
            f" {int(is_train.sum()):,} {have} none ({shown}); fill their dates in, or"
            " take them out of the table of [data] train: their pictures are used all"
            " the same, without a label"
        )


def first_dates(dates: ArrayLike, cv_groups: ArrayLike) -> Floats:
    """Give for each of (N,) rows the earliest date of its cv group.

    Example:
        >>> first_dates([1900, 1905, 1910], ["a", "b", "a"])
        array([1900., 1905., 1900.])
    """
    codes = np.unique(np.asarray(cv_groups), return_inverse=True)[1]
    earliest_G = np.full(codes.max(initial=-1) + 1, np.inf)
    np.minimum.at(earliest_G, codes, np.asarray(dates, dtype=np.float64))
    first: Floats = earliest_G[codes]
    return first


def start_dates(cv: str, dates: ArrayLike, cv_groups: ArrayLike) -> Floats:
    """Find the dates with which the folds begin.

    Args:
        cv: Such as ``"time4"``.
        dates: (N,) of the rows that are to be held out.
        cv_groups: (N,) what no fold tears.

    Returns:
        (F,) rising dates: as near as dates allow to those that make F + 1 blocks of
        equally many rows.

    Raises:
        UserError: There are too few dates.
    """
    n_folds = parse_scheme(cv)[1]
    values, n_rows = np.unique(first_dates(dates, cv_groups), return_counts=True)
    if len(values) <= n_folds:
        counted = "is 1 date" if len(values) == 1 else f"are {len(values)} dates"
        raise UserError(
            f"cv = {cv!r}: it takes {n_folds + 1} dates or more, a block of rows that"
            f" are only learned from and {n_folds} folds after it, and there {counted}"
            " that a group or row begins with; take fewer folds, or give finer dates"
        )
    n_before: Ints = np.cumsum(n_rows) - n_rows  # rows that begin before each date
    chosen = [0]
    for fold in range(n_folds):
        lowest, highest = chosen[-1] + 1, len(values) - n_folds + fold
        even = n_rows.sum() * (fold + 1) / (n_folds + 1)
        off = np.abs(n_before[lowest : highest + 1] - even)
        chosen.append(lowest + int(off.argmin()))
    starts: Floats = values[chosen[1:]]
    return starts
