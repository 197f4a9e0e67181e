"""Tests of what data_prep.tables.dates writes."""

from datetime import date, timedelta

import pandas as pd
import pytest

from data_prep.tables.dates import as_years, date_text


@pytest.mark.parametrize("year", [1, 1899, 1900, 2000, 2023, 2024])
def test_every_day_is_written_as_it_was_read(year: int) -> None:
    first = date(year, 1, 1)
    days = [first + timedelta(days=k) for k in range(366)]
    days = [day.isoformat() for day in days if day.year == year][1:]
    years, unread = as_years(pd.Series(days, dtype=object))
    assert not unread
    assert [date_text(value) for value in years] == days


@pytest.mark.parametrize("text", ["1890", "-44", "12000"])
def test_a_whole_year_is_written_alone(text: str) -> None:
    assert date_text(float(text)) == text


@pytest.mark.parametrize("day", ["2023-12-31", "2024-02-29", "2023-01-01"])
def test_the_last_second_of_a_day_is_in_it(day: str) -> None:
    (value,), _ = as_years(pd.Series([f"{day}T23:59:59"], dtype=object))
    assert date_text(value) == day
