"""Cells: table files as they are, and their columns as ids, numbers or years.

Cells of a csv file are text until something needs a number, so that the id ``007``
stays ``007``. A cell is missing when it is empty or says NA, nan or null; ``None`` is a
word like any other.
"""

import csv
import math
import re
import unicodedata
from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_prep.errors import UserError

MISSING = ("", "NA", "N/A", "NaN", "nan", "<NA>", "null", "NULL")
EARLIEST_YEAR, LATEST_YEAR = -10_000, 3_000
DATE_FORMATS = ("%d %B %Y", "%d %b %Y", "%B %d, %Y", "%b %d, %Y", "%B %Y", "%b %Y")
WHOLE = re.compile(r"[+-]?(0|[1-9]\d{0,14})")
NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d+)?|[+-]?\.\d+")


def read_table(path: Path) -> pd.DataFrame:
    """Read a csv or parquet file; the cells of a csv file stay text, None if missing.

    Commas, semicolons and tabs between the cells are told apart by the header.

    Raises:
        UserError: There is no such file, or it is not a table.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such table")
    if path.suffix.lower() in (".parquet", ".pq"):
        try:
            table = pd.read_parquet(path).reset_index(drop=True)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: not a parquet file: {error}") from None
        return table.set_axis([str(name) for name in table.columns], axis=1)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            separator = max(",;\t", key=header.count)
            file.seek(0)
            lines = list(csv.reader(file, delimiter=separator, strict=True))
    except UnicodeDecodeError:
        raise UserError(f"{path}: not in UTF-8; save it as CSV UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path}: not a csv file: {error}") from None
    return _frame_of(lines, path)


def _frame_of(lines: list[list[str]], path: Path) -> pd.DataFrame:
    if not lines or not any(lines[0]):
        raise UserError(f"{path}: the first line is empty; it names the columns")
    names = [name.strip() for name in lines[0]]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise UserError(f"{path}: two columns are called {twice[0]!r}; rename one")
    rows = [(at, line) for at, line in enumerate(lines[1:], start=2) if line]
    ragged = [at for at, line in rows if len(line) != len(names)]
    if ragged:
        raise UserError(
            f"{path}: {len(ragged)} rows have not the {len(names)} cells of the header,"
            f" first row {ragged[0]}; put cells that hold a comma in quotes"
        )
    columns = {
        name: [None if line[at].strip() in MISSING else line[at] for _, line in rows]
        for at, name in enumerate(names)
    }
    return pd.DataFrame(columns, dtype=object)


def is_missing(value: Any) -> bool:
    """Tell whether a cell holds nothing."""
    if isinstance(value, (list, dict, np.ndarray)):  # a parquet file may hold such
        return False
    return bool(value is None or value is pd.NA or value is pd.NaT or value != value)


def as_texts(column: "pd.Series[Any]") -> list[str]:
    """Give each cell as stripped text; a missing one is empty."""
    return ["" if is_missing(value) else str(value).strip() for value in column]


def as_ids(column: "pd.Series[Any]") -> list[str]:
    """Give ids as text: ``7.0`` of a column with gaps is ``7``, a missing one empty."""
    return [
        unicodedata.normalize(
            "NFC",
            str(int(value))
            if isinstance(value, float) and value.is_integer()
            else text,
        )
        for value, text in zip(column, as_texts(column), strict=True)
    ]


def as_numbers(column: "pd.Series[Any]") -> NDArray[np.float64]:
    """Give a column as numbers; NaN where it is missing or not a finite number."""

    def number(value: Any) -> float:
        try:
            found = float(value)
        except (TypeError, ValueError):
            return math.nan
        return found if math.isfinite(found) else math.nan

    return np.array([number(value) for value in column], dtype=np.float64)


def as_flags(column: "pd.Series[Any]") -> tuple[NDArray[np.bool_], list[str]]:
    """Read yes and no: 1 and 0, true and false; a missing cell is no.

    Returns:
        (N,) flags, and the values that are neither.
    """
    words = {"": False, "0": False, "0.0": False, "false": False}
    words |= {"1": True, "1.0": True, "true": True}
    texts = [text.lower() for text in as_texts(column)]
    unread = [text for text in texts if text not in words]
    return np.array([words.get(text, False) for text in texts], dtype=np.bool_), unread


def as_years(column: "pd.Series[Any]") -> tuple[NDArray[np.float64], list[str]]:
    """Read years and dates as decimal years.

    A number is a decimal year already. Of a date its first instant counts: 1890-07 is
    1890 and 181/365. In ``3.5.1890`` the day comes first; ``3/5/1890`` is read only if
    another row of the column shows which of the two is the month.

    Returns:
        (N,) decimal years, NaN where missing; and the values that are no date.

    Example:
        >>> as_years(pd.Series(["1890", "1890-01-01", None, "1890.5"]))[0]
        array([1890. , 1890. ,    nan, 1890.5])
    """
    texts = as_texts(column)
    order = _order_of_slashes(texts)
    years = np.full(len(texts), math.nan)
    unread = []
    for row, text in enumerate(texts):
        year = _year_of(text, order) if text else math.nan
        if year is None:
            unread.append(text)
        else:
            years[row] = year
    return years, unread


def with_plain_numbers(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Turn a text column into numbers if all its cells are; ``007`` is not one."""
    given = [value for value in column if not is_missing(value)]
    if not given or not all(isinstance(value, str) for value in given):
        return column
    texts = [value.strip() for value in given]
    if not all(map(NUMBER.fullmatch, texts)):
        return column
    numbers = pd.Series(as_numbers(column), index=column.index)
    is_whole = len(given) == len(column) and all(map(WHOLE.fullmatch, texts))
    return numbers.astype(np.int64) if is_whole else numbers


def _order_of_slashes(texts: Iterable[str]) -> str | None:
    """Tell day first ("dm") from month first ("md") by the rows that show it."""
    pairs = [
        (int(found[1]), int(found[2]))
        for text in texts
        if (found := re.fullmatch(r"(\d{1,2})/(\d{1,2})/\d{4}", text))
    ]
    is_day_first = any(first > 12 for first, _ in pairs)
    is_month_first = any(second > 12 for _, second in pairs)
    if is_day_first == is_month_first:
        return None
    return "dm" if is_day_first else "md"


def _year_of(text: str, order: str | None) -> float | None:
    try:
        if EARLIEST_YEAR <= (year := float(text)) <= LATEST_YEAR:
            return year
    except ValueError:
        pass
    try:
        if found := re.fullmatch(r"(\d{4})[-/.](\d{1,2})(?:[-/.](\d{1,2}))?", text):
            return _decimal(int(found[1]), int(found[2]), int(found[3] or 1))
        if found := re.fullmatch(r"(\d{1,2})\.(\d{1,2})\.(\d{4})", text):
            return _decimal(int(found[3]), int(found[2]), int(found[1]))
        if order and (found := re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4})", text)):
            day, month = (found[1], found[2]) if order == "dm" else (found[2], found[1])
            return _decimal(int(found[3]), int(month), int(day))
        when = datetime.fromisoformat(text)
        seconds = 3600 * when.hour + 60 * when.minute + when.second
        return _decimal(when.year, when.month, when.day, seconds)
    except ValueError:
        pass
    for form in DATE_FORMATS:
        try:
            when = datetime.strptime(text, form)
        except ValueError:
            continue
        return _decimal(when.year, when.month, when.day)
    return None


def _decimal(year: int, month: int, day: int, seconds: int = 0) -> float:
    start = date(year, 1, 1).toordinal()
    length = date(year, 12, 31).toordinal() + 1 - start
    days = date(year, month, day).toordinal() - start + seconds / 86_400
    return year + days / length
