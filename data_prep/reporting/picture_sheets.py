"""A part of reports: a few pictures of each class or quantile, and of each period.

Shapes: N rows, S pixels per side.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from data_prep.arrays import Ints
from data_prep.reporting.periods import stretches_of
from data_prep.reporting.report import Section, picture_grid, subheading, together
from data_prep.tables.spelling import class_text, number_texts, target_texts

N_IN_ROW = 7  # pictures of each class or period: what a line holds
MOST_CLASSES = 12
SIDE_PX = 96


def drawn_evenly(rows: pd.DataFrame, mask: "NDArray[np.bool_]", n: int) -> Ints:
    """Draw rows evenly over their order, of different cv groups as far as there are.

    Args:
        rows: N rows, with ``cv_group`` if they have such.
        mask: (N,) the rows to draw from.
        n: How many.

    Returns:
        Up to n positions, rising.

    Example:
        >>> rows = pd.DataFrame({"cv_group": [0, 0, 1, 2, 2, 3]})
        >>> drawn_evenly(rows, np.full(6, True), 3)
        array([0, 3, 5])
    """
    idx = np.flatnonzero(mask)
    if "cv_group" in rows:  # pictures of one group look alike
        is_repeat = rows["cv_group"].iloc[idx].duplicated().to_numpy()
        if (~is_repeat).sum() >= n:
            idx = idx[~is_repeat]
    if len(idx) > n:
        idx = idx[np.linspace(0, len(idx) - 1, n).round().astype(np.int64)]
    return idx.astype(np.int64)


def target_sheet(
    rows: pd.DataFrame, images: NDArray[np.uint8], metadata: Mapping[str, Any]
) -> Section:
    """Show a few pictures of each class, or of each sixth of a quantity.

    Args:
        rows: N rows with id, image_row, target, and class_index where it has classes.
        images: (N, S, S, 3).
        metadata: Of the preparation.
    """
    classes, is_numeric = metadata["classes"], metadata["target_kind"] == "numeric"
    more = ""
    if classes is None:
        stretches = stretches_of(rows["target"].to_numpy(np.float64))
        numbers, names = stretches.numbers, stretches.names
        below = target_texts(rows)
        order = list(range(len(names)))
    else:
        numbers, below = rows["class_index"].to_numpy(), [""] * len(rows)
        names = [class_text(value) for value in classes]
        counts = np.bincount(numbers[numbers >= 0], minlength=len(names))
        order = np.argsort(-counts, kind="stable")[:MOST_CLASSES].tolist()
        if is_numeric:
            order.sort()
        if len(names) > MOST_CLASSES:
            more = f" The {MOST_CLASSES} largest of {len(names):,} classes."
    grids = [
        _row_of_pictures(rows, images, numbers == k, title=names[k], below=below)
        for k in order
        if (numbers == k).any()
    ]
    note = f"Drawn evenly over the table, of different groups.{more}"
    return Section("Pictures by target", together(*grids), note)


def date_sheet(rows: pd.DataFrame, images: NDArray[np.uint8]) -> Section:
    """Show a few pictures of each period; without dates that differ: nothing.

    Args:
        rows: N rows with id, image_row and date.
        images: (N, S, S, 3).
    """
    periods = stretches_of(rows["date"].to_numpy(np.float64))
    if len(periods.names) < 2:
        return Section("", Markup())
    dates = number_texts(rows["date"], digits=5)
    grids = [
        _row_of_pictures(rows, images, periods.numbers == k, title=name, below=dates)
        for k, name in enumerate(periods.names)
    ]
    note = "Periods of about as many pictures; drawn evenly over the table."
    return Section("Pictures by date", together(*grids), note)


def _row_of_pictures(
    rows: pd.DataFrame,
    images: NDArray[np.uint8],
    mask: "NDArray[np.bool_]",
    *,
    title: str,
    below: Sequence[str],
) -> Markup:
    """Set some of the masked rows under a title, over their ids and ``below``."""
    idx = drawn_evenly(rows, mask, N_IN_ROW)
    shown = rows.iloc[idx]
    captions = [
        f"{id_}\n{below[k]}".strip() for id_, k in zip(shown["id"], idx, strict=True)
    ]
    n = int(mask.sum())
    counted = f"{n:,} picture{'s' * (n != 1)}"
    grid = picture_grid(images[shown["image_row"].to_numpy()], captions, side=SIDE_PX)
    return together(subheading(f"{title} ({counted})"), grid)
