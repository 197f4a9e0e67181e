"""The mean over deals of folds, when what several machines extracted is joined.

A block of the rows that a net holds out is one machine's. In another deal the same rows
lie in other blocks, so a machine may have a row of one deal and not of the other, and
its ``features.pkl`` lacks the row's mean. Joined, each deal is whole, and the means are
those that one machine would have written, to the bit.

Shapes: N rows.
"""

from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.header import HELD_OUT
from features.rows import array_rows, chosen_rows, joined_rows, mean_rows
from features.store import Store, open_store, write_store


def complete_means(folder: Path) -> None:
    """Put the mean of each row that all deals hold out into ``features.pkl``.

    Args:
        folder: Of joined stores; without ``deals/`` there is nothing to do.
    """
    deals = [open_store(path) for path in sorted(folder.glob("deals/deal*.pkl"))]
    path = folder / "features.pkl"
    if not deals or not path.exists():
        return
    whole = open_store(path)
    ids: list[str] = []
    if len(deals) == whole.header["deals"]:
        ids = sorted(reduce(and_, map(_held_out, deals)))
    # pictures to predict went through all nets on one machine, and are there
    common = sorted(set(whole.ids) - _held_out(whole))
    terms = [
        chosen_rows(array_rows(np.asarray(deal.values)), deal.rows_of(ids))
        for deal in deals
    ]
    of_common = whole.rows_of(common)
    values = [
        mean_rows(terms),
        chosen_rows(array_rows(np.asarray(whole.values)), of_common),
    ]
    first, of_first = deals[0], deals[0].rows_of(ids)

    def beside(of_deal: NDArray[Any], of_whole: NDArray[Any]) -> NDArray[Any]:
        """Put what is known of the N rows of both into the order of their ids."""
        return np.concatenate([of_deal[of_first], of_whole[of_common]])[order]

    every = np.array([*ids, *common], dtype=object)
    order = np.argsort(every, kind="stable")
    write_store(
        path,
        every[order].tolist(),
        chosen_rows(joined_rows(values), order),
        {
            **whole.header,
            "roles": beside(first.roles, whole.roles),
            "folds": beside(first.folds, whole.folds),
            "n_expected": len(every) + len(whole.header.get("failures") or {}),
        },
    )


def _held_out(store: Store) -> set[str]:
    """Give the ids of the rows that a net held out."""
    is_held_out = np.isin(store.roles, HELD_OUT)
    return {store.ids[row] for row in np.flatnonzero(is_held_out)}
