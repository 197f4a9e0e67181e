"""The header of a feature store: what it must say, and whether it fits the values.

These functions know no file; their ``ValueError`` says what is wrong, not where.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_prep.settings import nearest
from features.stream import ALIGNMENT, ENDING

FORMAT = "tessera-features/1"
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
    if header.get("format") != FORMAT:
        raise ValueError(
            f"its format is {header.get('format')!r}, and this version reads {FORMAT!r}"
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
    expected = offset + math.prod(shape) * np.dtype(dtype).itemsize + len(ENDING)
    if size != expected:
        fault = "cut short" if size < expected else "too long"
        raise ValueError(f"{fault}: it has {size:,} bytes and not {expected:,}")


def check_rows(header: Mapping[str, Any]) -> None:
    """Check that columns, views, ids, roles and folds fit the shape and each other.

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
    _check_distinct(names, "columns")
    if len(shape) == 3:
        _check_distinct(_listed(header, "views", shape[1]), "views")
    elif header.get("views") is not None:
        raise ValueError(
            "views are named, and values have none; give (rows, V, columns)"
        )
    ids = _listed(header, "ids", shape[0])
    for id_ in ids:
        if not isinstance(id_, str):
            raise ValueError(f"id {id_!r} is {type(id_).__name__}; ids are text")
    _check_distinct(ids, "ids")
    roles, folds = (_listed(header, key, shape[0]) for key in ("roles", "folds"))
    for role in {*map(str, roles)}:
        if role not in ROLES:
            raise ValueError(f"role {role!r}; {nearest(role, ROLES)}")
    for id_, role, fold in zip(ids, roles, folds, strict=True):
        if type(fold) is not int or fold < -1 or (fold < 0 and role in HELD_OUT):
            raise ValueError(f"id {id_!r} has role {role!r} and fold {fold!r}")


def _listed(header: Mapping[str, Any], key: str, length: int) -> Sequence[Any]:
    values = header.get(key)
    if not isinstance(values, (list, tuple)) or len(values) != length:
        shown = len(values) if isinstance(values, (list, tuple)) else "no list of"
        raise ValueError(f"{shown} {key} for values of shape {tuple(header['shape'])}")
    return values


def _check_distinct(names: Sequence[str], noun: str) -> None:
    if no_text := [name for name in names if not isinstance(name, str)]:
        raise ValueError(f"{noun} are text, and {no_text[0]!r} is not")
    if repeated := [name for name, times in Counter(names).items() if times > 1]:
        examples = ", ".join(map(repr, repeated[:3]))
        raise ValueError(
            f"{len(repeated)} {noun} occur twice or more, such as {examples}"
        )
