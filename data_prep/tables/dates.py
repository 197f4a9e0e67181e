"""Dates: the cells of a column as decimal years."""

import math
import re
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd

from data_prep.arrays import Floats
from data_prep.tables.cells import NO_NUMBER, as_texts, separator_of, with_points

EARLIEST_YEAR, LATEST_YEAR = -10_000, 3_000
DATE_FORMATS = ("%d %B %Y", "%d %b %Y", "%B %d, %Y", "%b %d, %Y", "%B %Y", "%b %Y")
YEAR = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)")


def as_years(column: "pd.Series[Any]") -> tuple[Floats, list[str]]:
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
    texts = with_points(as_texts(column), separator_of(column))
    order = _order_of_slashes(set(texts))
    year_of: dict[str, float | None] = dict.fromkeys(NO_NUMBER, math.nan)
    for text in set(texts) - NO_NUMBER:  # each text once: columns repeat their years
        year_of[text] = _year_of(text, order)
    unread = [text for text in texts if year_of[text] is None]
    years = [math.nan if (year := year_of[text]) is None else year for text in texts]
    return np.array(years, dtype=np.float64), unread


def date_text(years: float) -> str:
    """Write a decimal year as people do: the day, or the year alone where it is whole.

    Example:
        >>> date_text(1890.0), date_text(1890 + 181 / 365), date_text(-44.5)
        ('1890', '1890-07-01', '-44.5')
    """
    year = math.floor(years)
    if years == year or not 1 <= year <= 9999:
        return f"{years:.7g}"
    start = date(year, 1, 1).toordinal()
    length = date(year, 12, 31).toordinal() + 1 - start
    day = math.floor((years - year) * length + 1e-6)  # the last bits are lost
    return date.fromordinal(start + day).isoformat()


def _order_of_slashes(texts: Iterable[str]) -> str | None:
    """Tell day first ("dm") from month first ("md") by the rows that show it."""
    pairs = [
        (int(match[1]), int(match[2]))
        for text in texts
        if (match := re.fullmatch(r"(\d{1,2})/(\d{1,2})/\d{4}", text))
    ]
    is_day_first = any(first > 12 for first, _ in pairs)
    is_month_first = any(second > 12 for _, second in pairs)
    if is_day_first == is_month_first:
        return None
    return "dm" if is_day_first else "md"


def _year_of(text: str, order: str | None) -> float | None:
    """Read one year or date; None if it is neither.

    Args:
        text: A cell that is not missing.
        order: Of ``3/5/1890``: "dm", "md" or None, which leaves it unread.
    """
    if not text.isascii() and any(map(str.isdigit, re.sub("[0-9]", "", text))):
        return None  # digits of another script, which Python would read
    if YEAR.fullmatch(text) and EARLIEST_YEAR <= (year := float(text)) <= LATEST_YEAR:
        return year
    try:
        if match := re.fullmatch(r"(\d{4})[-/.](\d{1,2})(?:[-/.](\d{1,2}))?", text):
            return _decimal(int(match[1]), int(match[2]), int(match[3] or 1))
        if match := re.fullmatch(r"(\d{1,2})\.(\d{1,2})\.(\d{4})", text):
            return _decimal(int(match[3]), int(match[2]), int(match[1]))
        if order and (match := re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4})", text)):
            day, month = (match[1], match[2]) if order == "dm" else (match[2], match[1])
            return _decimal(int(match[3]), int(month), int(day))
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
    """Give the year and the share of its days that have passed."""
    start = date(year, 1, 1).toordinal()
    length = date(year, 12, 31).toordinal() + 1 - start
    days = date(year, month, day).toordinal() - start + seconds / 86_400
    return year + days / length
