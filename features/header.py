"""The header of a feature store: what it must say, and whether it fits the values.

What it says of each row is in ``features.index``.

These functions know no file; their ``ValueError`` says what is wrong, not where.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from features.stream import ALIGNMENT, ENDING

FORMAT = "tessera-features/2"
FIRST_FORMAT = "tessera-features/1"
DTYPES = ("<f2", "<f4", "<f8")
SELECTED = "selected_with_labels"  # by a net without labels, but for its epoch
ROLES = ("oof", "oof_selected", "test", "insample", "label_free", SELECTED)
HELD_OUT = ("oof", "oof_selected")  # by the fold of the row, so there must be one
UNTRAINED = (
    "no net of fold"  # how a reason among the failures begins: stacking reads it
)


def check_layout(header: Mapping[str, Any], size: int) -> None:
    """Check that what the header says of the payload fits itself and the file.

    Args:
        header: As read.
        size: Bytes of the file.

    Raises:
        ValueError: It does not; the message names the key.
    """
    if header.get("format") not in (FORMAT, FIRST_FORMAT):
        raise ValueError(
            f"its format is {header.get('format')!r}, and this version reads {FORMAT!r}"
            f" and {FIRST_FORMAT!r}"
        )
    shape, dtype, offset = (header.get(key) for key in ("shape", "dtype", "offset"))
    if (
        not isinstance(shape, list)
        or len(shape) not in (2, 3)
        or not all(type(length) is int and length >= 0 for length in shape)
    ):
        raise ValueError(f"damaged: its header says shape = {shape!r}")
    if dtype not in DTYPES:
        raise ValueError(f"damaged: its header says dtype = {dtype!r}")
    if type(offset) is not int or offset <= 0 or offset % ALIGNMENT:
        raise ValueError(f"damaged: its header says offset = {offset!r}")
    _check_blocks(header)
    expected = offset + math.prod(shape) * np.dtype(dtype).itemsize + len(ENDING)
    if size != expected:
        fault = "cut short" if size < expected else "too long"
        raise ValueError(f"{fault}: it has {size:,} bytes and not {expected:,}")


def _check_blocks(header: Mapping[str, Any]) -> None:
    """Check that the rows are described as their format has it."""
    index = header.get("index")
    if header["format"] == FIRST_FORMAT:
        rows = [header.get(key) for key in ("ids", "roles", "folds")]
        is_sound = index is None and all(isinstance(values, list) for values in rows)
    else:
        described = index if isinstance(index, Mapping) else {}
        sizes: list[Any] = [described.get(key) for key in ("ids_bytes", "traits_bytes")]
        names = described.get("role_names")
        is_sound = (
            all(type(size) is int and size >= 0 for size in sizes)
            and isinstance(described.get("separator"), str)
            and len(described["separator"]) == 1
            and isinstance(names, list)
            and all(isinstance(name, str) for name in names)
            and isinstance(described.get("sha256"), str)
            and sum(sizes) < header["offset"]
        )
    if not is_sound:
        raise ValueError("damaged: its header does not describe the rows")


def check_columns(header: Mapping[str, Any]) -> None:
    """Check that columns and views fit the shape.

    Raises:
        ValueError: They do not; the message names the first that does not.
    """
    shape = header["shape"]
    if len(shape) not in (2, 3) or 0 in shape[1:]:
        raise ValueError(
            f"values of shape {tuple(shape)}; give (rows, columns) or"
            " (rows, views, columns)"
        )
    names = []
    for column in _listed(header, "columns", shape[-1]):
        name = column.get("name") if isinstance(column, Mapping) else None
        if not isinstance(name, str) or not re.fullmatch("[A-Za-z0-9_]+", name):
            raise ValueError(
                f"column {column!r}; give a table with a name of letters, digits and _"
            )
        names.append(name)
    check_distinct(names, "columns")
    if len(shape) == 3:
        check_distinct(_listed(header, "views", shape[1]), "views")
    elif header.get("views") is not None:
        raise ValueError(
            "views are named, and values have none; give (rows, V, columns)"
        )


def _listed(header: Mapping[str, Any], key: str, length: int) -> Sequence[Any]:
    values = header.get(key)
    if not isinstance(values, (list, tuple)) or len(values) != length:
        shown = len(values) if isinstance(values, (list, tuple)) else "no list of"
        raise ValueError(f"{shown} {key} for values of shape {tuple(header['shape'])}")
    return values


def check_distinct(names: Sequence[str], noun: str) -> None:
    """Check that names are text and differ.

    Raises:
        ValueError: They do not.
    """
    if no_text := [name for name in names if not isinstance(name, str)]:
        raise ValueError(f"{noun} are text, and {no_text[0]!r} is not")
    if len({*names}) == len(names):  # a count of each takes three times the memory
        return
    repeated = [name for name, times in Counter(names).items() if times > 1]
    examples = ", ".join(map(repr, repeated[:3]))
    raise ValueError(f"{len(repeated)} {noun} occur twice or more, such as {examples}")
