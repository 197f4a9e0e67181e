"""What rows have in common by name: values of the user's columns, and attributes.

Shapes: N rows.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from data_prep.arrays import Bools
from data_prep.folds import MAX_CLASSES
from data_prep.prepared import Prepared
from data_prep.run_folders.damage import read_frame
from data_prep.tables.cells import as_numbers, as_texts
from data_prep.tables.user_tables import GIVEN
from data_prep.user_columns import MIN_ROWS

ATTRIBUTES = "attributes.parquet"
WITHOUT = "(without)"
LEAST_SHARE = 0.5  # of the rows that frequent values hold, or a column has no classes


@dataclass(frozen=True, kw_only=True)
class NamedRows:
    """Some names, and the rows that have each.

    Attributes:
        title: Where the names are from.
        masks: A name, and (N,) which rows have it; the most frequent first. A row has
            one value of a column, but may have several attributes.
    """

    title: str
    masks: Sequence[tuple[str, Bools]]


def named_rows(prepared: Prepared, ids: Sequence[str]) -> list[NamedRows]:
    """Find the classes of the user's columns and the attributes of N rows.

    Args:
        prepared: The finished ``data_prep.prepare``.
        ids: N ids.

    Returns:
        Those with two names or more in ``MIN_ROWS`` rows each.
    """
    rows = prepared.table.set_index("id").loc[list(ids)]
    sources = [
        NamedRows(title=str(name).removeprefix(GIVEN), masks=masks)
        for name in rows.columns
        if str(name).startswith(GIVEN) and (masks := class_masks(rows[name]))
    ]
    path = prepared.folder / ATTRIBUTES
    attributes = read_frame(path) if path.exists() else pd.DataFrame()
    if len(attributes):
        masks = attribute_masks(attributes, ids)
        sources.append(NamedRows(title="attribute", masks=masks))
    return [source for source in sources if len(source.masks) > 1]


def class_masks(cells: "pd.Series[str]") -> list[tuple[str, Bools]]:
    """Tell N cells apart by value; nothing where they are no classes.

    They are if frequent values hold most rows, and numbers only if they are few.
    """
    values = as_texts(cells)
    numbers = as_numbers(cells)
    is_number = np.isfinite(numbers).sum() == sum(bool(value) for value in values)
    if is_number and len(set(values)) > MAX_CLASSES:
        return []
    texts = np.array(values, dtype=object)
    masks = [(value, texts == value) for value in _frequent(v for v in values if v)]
    n_held = sum(int(mask.sum()) for _, mask in masks)
    return (
        [*masks, *_without(texts == "")] if n_held >= LEAST_SHARE * len(texts) else []
    )


def attribute_masks(
    attributes: pd.DataFrame, ids: Sequence[str]
) -> list[tuple[str, Bools]]:
    """Tell which of N ids have each frequent attribute.

    Args:
        attributes: Columns id and name, a row each.
        ids: N ids.
    """
    of_rows = attributes[attributes["id"].isin(list(ids))]
    ids_of_name = of_rows.groupby("name")["id"].agg(set)
    masks = [
        (str(name), np.array([id_ in ids_of_name[name] for id_ in ids]))
        for name in _frequent(of_rows["name"])
    ]
    has_any = np.isin(np.array(ids, dtype=object), of_rows["id"].to_numpy(object))
    return [*masks, *_without(~has_any)]


def _frequent(names: Iterable[str]) -> list[str]:
    """Give the names of ``MIN_ROWS`` rows or more, the most frequent first."""
    counts = Counter(names)
    frequent = [name for name, n_rows in counts.items() if n_rows >= MIN_ROWS]
    return sorted(frequent, key=lambda name: (-counts[name], name))


def _without(mask: Bools) -> list[tuple[str, Bools]]:
    """Give the rows that have no name, if they are not few."""
    return [(WITHOUT, mask)] if mask.sum() >= MIN_ROWS else []
