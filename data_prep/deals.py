"""Folds dealt several times: each deal holds every row out once, beside other rows.

Which rows lie together in one deal is luck. Several deals of the same scheme (repeated
cross-validation) say how much of a score is, and their mean has less of it. Deal 0 is
what the scheme gives without being repeated.

Shapes: N rows, F folds of a deal, R deals.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from data_prep.arrays import Ints
from data_prep.errors import UserError
from data_prep.folds import FOLD, assign_folds, fold_columns
from data_prep.schemes import count_deals, parse_scheme

if TYPE_CHECKING:
    import pandas as pd

N_DRAWS = 20  # that are tried for a deal unlike those before it


def assign_deals(
    cv: str, labels: ArrayLike, groups: ArrayLike | None = None, seed: int = 0
) -> Ints:
    """Deal every row into a fold, as often as the scheme says.

    The deals after the first are drawn by the children of a ``SeedSequence`` of the
    seed. One that puts the same rows together as an earlier one is drawn again.

    Args:
        cv: Such as ``"sgkfold3x2"``: two deals of three folds.
        labels: See ``assign_folds``.
        groups: See ``assign_folds``.
        seed: Seed of the shuffles.

    Returns:
        (R, N) fold of each row in each deal: d F to d F + F - 1 in deal d.

    Raises:
        UserError: ``assign_folds`` refuses, or the rows allow too few deals.
    """
    n_deals, n_folds = count_deals(cv), parse_scheme(cv)[1]
    deals = [assign_folds(cv, labels, groups, seed)]
    partitions = {_partition(deals[0])}
    children = iter(np.random.SeedSequence(seed).spawn(N_DRAWS * (n_deals - 1)))
    while len(deals) < n_deals:
        child = next(children, None)
        if child is None:
            raise UserError(
                f"cv = {cv!r}: of {N_DRAWS * (n_deals - 1)} deals drawn {len(deals)}"
                f" differ{'s' * (len(deals) == 1)} from the others: there are too few"
                " groups, or their sizes leave no choice; take fewer deals, or folds"
            )
        drawn = int(child.generate_state(1)[0])
        folds = assign_folds(cv, labels, groups, drawn, is_shuffled=True)
        if (partition := _partition(folds)) not in partitions:
            partitions.add(partition)
            deals.append(folds + n_folds * len(deals))
    return np.stack(deals)


def _partition(folds: Ints) -> bytes:
    """Say who lies with whom: folds are numbered by their first rows."""
    _, first, fold_of = np.unique(folds, return_index=True, return_inverse=True)
    return bytes(first.argsort().argsort()[fold_of].astype(np.int64))


def with_deals(rows: "pd.DataFrame", deals: Ints, idx: Ints) -> "pd.DataFrame":
    """Give rows the folds of all deals, -1 for those that are in none.

    Args:
        rows: N rows.
        deals: (R, n) folds.
        idx: (n,) which of the rows they are of.
    """
    for number, folds in enumerate(deals):
        column = np.full(len(rows), -1, dtype=np.int64)
        column[idx] = folds
        rows = rows.assign(**{f"{FOLD}_{number}" if number else FOLD: column})
    return rows


def deal_of(table: "pd.DataFrame", fold: str) -> int:
    """Say which deal a fold is of; a net that holds out none counts to the first.

    Args:
        table: Rows as prepared.
        fold: Its number, or the name of a net that holds out none.
    """
    n_folds = int(table[FOLD].max()) + 1
    return int(fold) // n_folds if fold.isdecimal() and n_folds else 0


def table_of_deal(table: "pd.DataFrame", deal: int) -> "pd.DataFrame":
    """Give the table as if there were that deal alone, its folds numbered from 0.

    Args:
        table: N rows as prepared.
        deal: Its number.
    """
    columns = fold_columns(table)
    if len(columns) == 1:
        return table
    n_folds = int(table[FOLD].max()) + 1
    folds = table[columns[deal]]
    alone = table.drop(columns=columns[1:])
    return alone.assign(**{FOLD: folds.where(folds < 0, folds - deal * n_folds)})
