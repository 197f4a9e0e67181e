"""Cells: table files as they are, and their columns as texts, numbers or flags.

What a cell means is decided by what its column is for, so until then it is text. In a
column of names (ids, groups, classes, attributes) only an empty cell is missing: ``NA``
is a name there, as in a list of countries. In a column of numbers or dates a cell is
missing as well when it says so, as pandas understands it.
"""

import math
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_prep.arrays import Bools, Floats
from data_prep.errors import UserError
from data_prep.tables.csv_files import read_csv

# What pandas takes for missing, unless it is told otherwise.
NO_NUMBER = frozenset(
    [
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "<NA>",
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "None",
        "n/a",
        "nan",
        "null",
        "",
    ]
)
NUMBERS = (int, float, np.integer, np.floating)
TRUTHS = {"true": True, "false": False}
WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,14})")
NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]+)?|[+-]?\.[0-9]+")
COMMA_NUMBER = re.compile(r"[+-]?([0-9]+,[0-9]*|,[0-9]+)([eE][+-]?[0-9]+)?")
POINT_NUMBER = re.compile(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}[.,][0-9]{3}")  # 1,234: a thousand, or one?


def read_table(path: Path) -> pd.DataFrame:
    """Read a csv or parquet file; texts stay texts, and None is an empty cell.

    Returns:
        The table. Its index says where a row stands: ``line`` of a csv file, or ``row``
        of a parquet file, both from 1. ``attrs["separator"]`` is what stands between
        the cells of a csv file.

    Raises:
        UserError: There is no such file, or it is not a table.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such table")
    if path.suffix.lower() not in (".parquet", ".pq"):
        return read_csv(path)
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a parquet file: {error}") from None
    levels = [name for name in table.index.names if name not in (None, *table.columns)]
    if levels:  # pandas keeps an index beside the columns
        table = table.reset_index(levels)
    names = [str(name) for name in table.columns]
    index = pd.RangeIndex(1, len(table) + 1, name="row")
    # By number first: two columns may have one name.
    plain = {col_idx: _plain(table.iloc[:, col_idx]) for col_idx in range(len(names))}
    return pd.DataFrame(plain).set_axis(names, axis=1).set_axis(index, axis=0)


def _plain(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Give a column of parquet as numbers, dates or plain objects; None is missing."""
    if _has_plain_type(column):
        return column.reset_index(drop=True)
    cells = [None if _is_blank(value) else value for value in column]
    return pd.Series(cells, dtype=object)


def _has_plain_type(column: "pd.Series[Any]", dtype_kinds: str = "biufM") -> bool:
    """Tell whether a column is of numbers, dates or truth values of numpy."""
    return isinstance(column.dtype, np.dtype) and column.dtype.kind in dtype_kinds


def separator_of(column: "pd.Series[Any]") -> str:
    """Give what stands between the cells of its file; a comma where nobody knows."""
    return str(column.attrs.get("separator", ","))


def _is_blank(value: Any) -> bool:
    return is_missing(value) or (isinstance(value, str) and not value.strip())


def is_missing(value: Any) -> bool:
    """Tell whether a cell holds nothing."""
    if isinstance(value, (list, dict, np.ndarray)):  # a parquet file may hold such
        return False
    return bool(value is None or value is pd.NA or value is pd.NaT or value != value)


def as_texts(column: "pd.Series[Any]") -> list[str]:
    """Give each cell as a name; a missing one is empty.

    Blanks around it are taken off, accents are written in one way (NFC), and ``7.0``
    of a column with gaps is ``7``.
    """
    return [_text_of(value) for value in column]


def _text_of(value: Any) -> str:
    if not isinstance(value, str):
        if is_missing(value):
            return ""
        if isinstance(value, (float, np.floating)) and value.is_integer():
            return str(int(value))
    text = str(value).strip()
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def missing_mask(column: "pd.Series[Any]") -> Bools:
    """Tell (N,) which cells are missing where numbers or dates are expected."""
    if _has_plain_type(column, "iufM"):
        return column.isna().to_numpy()
    return np.array([text in NO_NUMBER for text in as_texts(column)], dtype=np.bool_)


def unread(column: "pd.Series[Any]", values: Floats) -> "pd.Series[Any]":
    """Give the texts of which no number was made, though they are not missing.

    Args:
        column: (N,) cells.
        values: (N,) numbers that were read from them; NaN is none.

    Returns:
        The texts, with the index of the column: where each of them stands.
    """
    without_value = column[np.isnan(values)]
    texts = pd.Series(as_texts(without_value), index=without_value.index, dtype=object)
    return texts[~missing_mask(without_value)]


def as_numbers(column: "pd.Series[Any]") -> Floats:
    """Give a column as (N,) numbers; NaN where it is missing or no finite number.

    True and false are 1 and 0 in a column that holds nothing else. Where something
    else than a comma stands between the cells, ``1,5`` is 1.5.
    """
    if _has_plain_type(column, "iuf"):
        values = column.to_numpy(dtype=np.float64)
        return np.where(np.isfinite(values), values, math.nan)
    if is_truth(column):
        flags = [TRUTHS.get(text.lower(), math.nan) for text in as_texts(column)]
        return np.array(flags, dtype=np.float64)
    return _numbers_of(with_points(as_texts(column), separator_of(column)))


def _numbers_of(texts: Sequence[str]) -> Floats:
    """Read texts as finite numbers; NaN is none."""
    values = np.array([_number_of(text) for text in texts], dtype=np.float64)
    return np.where(np.isfinite(values), values, math.nan)


def _number_of(text: str) -> float:
    if not text.isascii() or "_" in text:  # Python reads 1_000 and other digits
        return math.nan
    try:
        return float(text)
    except ValueError:
        return math.nan


def is_truth(column: "pd.Series[Any]") -> bool:
    """Tell whether a column is true and false throughout, and nothing else."""
    has_truth = False
    for value in column:
        if isinstance(value, (bool, np.bool_)) or _text_of(value).lower() in TRUTHS:
            has_truth = True
        elif _text_of(value) not in NO_NUMBER:
            return False
    return has_truth


def with_points(texts: Sequence[str], separator: str) -> Sequence[str]:
    """Write ``1,5`` as ``1.5`` where no comma stands between the cells of a table.

    A column with decimal points as well is left as it is; and so is one in which all
    commas might part thousands, ``1,234`` beside ``999``.
    """
    if separator == ",":
        return texts
    commas = [text for text in texts if "," in text and COMMA_NUMBER.fullmatch(text)]
    if not commas or any(map(POINT_NUMBER.fullmatch, texts)):
        return texts
    if all(map(GROUPED.fullmatch, commas)) and any(map(WHOLE.fullmatch, texts)):
        return texts
    with_comma = set(commas)
    return [text.replace(",", ".") if text in with_comma else text for text in texts]


def as_flags(column: "pd.Series[Any]") -> tuple[Bools, list[str]]:
    """Read yes and no: 1 and 0, true and false; a missing cell is no.

    Returns:
        (N,) flags, and the values that are neither.
    """
    words = {"0": False, "0.0": False, "1": True, "1.0": True} | TRUTHS
    texts = as_texts(column)
    unread = [t for t in texts if t.lower() not in words and t not in NO_NUMBER]
    flags = [words.get(text.lower(), False) for text in texts]
    return np.array(flags, dtype=np.bool_), unread


def with_plain_numbers(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Turn a text column into numbers if all its cells are; ``007`` is not one.

    Cells that are missing in a column of numbers do not hinder it. A column of true and
    false becomes one of truth values.
    """
    if _has_plain_type(column):
        return column
    if is_truth(column):
        truths = [TRUTHS.get(text.lower()) for text in as_texts(column)]
        return pd.Series(truths, index=column.index)
    types = {type(value) for value in column if not is_missing(value)}
    texts = with_points(as_texts(column), separator_of(column))
    present = [text for text in texts if text not in NO_NUMBER]
    if types == {str}:
        is_number = bool(present) and all(map(NUMBER.fullmatch, present))
        is_whole = is_number and all(map(WHOLE.fullmatch, present))
    else:
        is_number = bool(types) and all(
            issubclass(t, NUMBERS) and t is not bool for t in types
        )
        is_whole = all(issubclass(t, (int, np.integer)) for t in types)
    if not is_number:
        return column
    numbers = pd.Series(_numbers_of(texts), index=column.index)
    if is_whole and len(present) == len(texts):
        return numbers.astype(np.int64)
    return numbers
