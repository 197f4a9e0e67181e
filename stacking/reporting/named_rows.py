"""What rows have in common by name: values of the user's columns, and attributes.

Shapes: N rows, P pictures of them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from data_prep.arrays import Bools, Ints
from data_prep.folds import MAX_CLASSES
from data_prep.prepared import Prepared
from data_prep.run_folders.damage import read_frame
from data_prep.tables.cells import as_numbers, as_texts
from data_prep.tables.user_tables import GIVEN
from data_prep.user_columns import MIN_ROWS

ATTRIBUTES = "attributes.parquet"
WITHOUT = "(without)"
LEAST_SHARE = 0.5  # of the cells that frequent values hold, where there are classes


@dataclass(frozen=True, kw_only=True)
class NamedRows:
    """Some names, and the rows that have each.

    Attributes:
        title: Where the names are from.
        masks: A name, and (N,) which rows have it; the most frequent first. A row may
            have several.
    """

    title: str
    masks: Sequence[tuple[str, Bools]]


def named_rows(prepared: Prepared, names: Sequence[str]) -> list[NamedRows]:
    """Find the classes of the user's columns and the attributes of N scored rows.

    An object has what any of its pictures has.

    Args:
        prepared: The finished ``data_prep.prepare``.
        names: N ids, or names of objects.

    Returns:
        Those with two names or more in ``MIN_ROWS`` rows each.
    """
    table = prepared.table[prepared.table["split"] == "train"]
    key = "object" if "object" in table else "id"
    row_of = {name: number for number, name in enumerate(names)}
    pictures = table[table[key].isin(list(names))]
    of_row = np.array([row_of[name] for name in pictures[key]], dtype=np.int64)
    sources = []
    for column in map(str, pictures.columns):
        if column.startswith(GIVEN) and are_classes(pictures[column]):
            masks = name_masks(as_texts(pictures[column]), of_row, len(names))
            sources.append(NamedRows(title=column.removeprefix(GIVEN), masks=masks))
    path = prepared.folder / ATTRIBUTES
    attributes = read_frame(path) if path.exists() else pd.DataFrame()
    if len(attributes):
        row_of_id = dict(zip(pictures["id"], of_row.tolist(), strict=True))
        having = attributes[attributes["id"].isin(row_of_id)]
        of_row = np.array([row_of_id[id_] for id_ in having["id"]], dtype=np.int64)
        masks = name_masks(as_texts(having["name"]), of_row, len(names))
        sources.append(NamedRows(title="attribute", masks=masks))
    return [source for source in sources if len(source.masks) > 1]


def are_classes(cells: "pd.Series[str]") -> bool:
    """Tell whether frequent values hold most cells, and numbers are few."""
    counts = Counter(text for text in as_texts(cells) if text)
    is_number = np.isfinite(as_numbers(cells)).sum() == counts.total()
    if is_number and len(counts) > MAX_CLASSES:
        return False
    n_held = sum(n for n in counts.values() if n >= MIN_ROWS)
    return bool(n_held) and n_held >= LEAST_SHARE * len(cells)


def name_masks(
    names: Sequence[str], of_row: Ints, n_rows: int
) -> list[tuple[str, Bools]]:
    """Tell which of N rows have each frequent name.

    Args:
        names: (P,) names, such as those of the pictures of a row; empty: none.
        of_row: (P,) the row that each is of.
        n_rows: N.

    Returns:
        The names of ``MIN_ROWS`` rows or more, the most frequent first; and the rows
        without any, if they are as many.
    """
    pairs = {(name, row) for name, row in zip(names, of_row.tolist(), strict=True)}
    counts = Counter(name for name, _ in pairs if name)
    frequent = [name for name, n in counts.items() if n >= MIN_ROWS]
    masks = {name: np.zeros(n_rows, dtype=np.bool_) for name in frequent}
    is_named = np.zeros(n_rows, dtype=np.bool_)
    for name, row in pairs:
        is_named[row] |= bool(name)
        if name in masks:
            masks[name][row] = True
    ordered = sorted(frequent, key=lambda name: (-counts[name], name))
    without = [(WITHOUT, ~is_named)] if (~is_named).sum() >= MIN_ROWS else []
    return [*((name, masks[name]) for name in ordered), *without]
