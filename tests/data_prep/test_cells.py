"""Tests of data_prep.tables.cells."""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from data_prep.errors import UserError
from data_prep.tables.cells import (
    as_flags,
    as_numbers,
    as_texts,
    read_table,
    with_plain_numbers,
)
from data_prep.tables.dates import as_years


def written(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def column(*values: object) -> "pd.Series[object]":
    return pd.Series(values, dtype=object)


def test_cells_stay_text(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "id,size\n007,1e3\n 8 ,\nNone,NA\n"))
    assert table["id"].tolist() == ["007", " 8 ", "None"]
    assert table["size"].tolist() == ["1e3", None, "NA"]
    assert as_texts(table["id"]) == ["007", "8", "None"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_any_spreadsheet_s_csv_is_understood(
    tmp_path: Path, separator: str, start: str, end: str
) -> None:
    lines = [f"id{separator} name", f'1{separator}"a{separator}b"', ""]
    table = read_table(written(tmp_path, start + end.join(lines)))
    assert table.to_dict("list") == {"id": ["1"], "name": [f"a{separator}b"]}


def test_a_parquet_id_with_gaps_is_no_decimal(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pd.DataFrame({"id": [7.0, np.nan]}).to_parquet(path)
    table = read_table(path)
    assert as_texts(table["id"]) == ["7", ""]


def test_ids_are_the_same_however_accents_are_written() -> None:
    assert as_texts(column("Caf\u00e9", "Cafe\u0301")) == ["Caf\u00e9"] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first line is empty"),
        ("id,id\n1,2\n", "two columns are called 'id'"),
        ("id,name\n1,a\n2,b,c\n3\n", "2 rows have not the 2 cells .* first in line 3"),
        ('id,name\n1,"a\n', "not a csv file"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=f"table.csv: {message}"):
        read_table(written(tmp_path, text))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.csv: there is no such table"):
        read_table(tmp_path / "gone.csv")
    (tmp_path / "latin.csv").write_bytes("id\nCaf\u00e9\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.csv: not in UTF-8"):
        read_table(tmp_path / "latin.csv")
    with pytest.raises(UserError, match=r"a\.parquet: not a parquet file"):
        read_table(written(tmp_path, "id\n1\n", "a.parquet"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1890", 1890.0),
        ("1890.25", 1890.25),
        ("-44", -44.0),
        ("1890-07", 1890 + 181 / 365),
        ("1892-07-01", 1892 + 182 / 366),
        ("1890/7/1", 1890 + 181 / 365),
        ("18900701", 1890 + 181 / 365),
        ("1.7.1890", 1890 + 181 / 365),
        ("1 July 1890", 1890 + 181 / 365),
        ("Jul 1, 1890", 1890 + 181 / 365),
        ("July 1890", 1890 + 181 / 365),
        ("1890-01-01T12:00:00", 1890 + 0.5 / 365),
        ("0800-01-01", 800.0),
    ],
)
def test_dates_by_hand(text: str, expected: float) -> None:
    years, unread = as_years(column(text))
    assert unread == []
    assert_allclose(years, [expected], rtol=1e-12)


def test_every_day_of_a_century_lies_between_its_neighbours() -> None:
    days = [date.fromordinal(n) for n in range(date(1850, 1, 1).toordinal(), 712_000)]
    years, unread = as_years(column(*map(str, days)))
    assert unread == []
    assert (np.diff(years) > 0.0027).all()
    assert_array_equal(np.floor(years), [day.year for day in days])


@pytest.mark.parametrize("text", ["c. 1890", "1890s", "1890-13", "99999", "5/6/1890"])
def test_what_is_no_date_is_given_back(text: str) -> None:
    years, unread = as_years(column("1900", text, None))
    assert unread == [text]
    assert_array_equal(years, [1900, np.nan, np.nan])


def test_slashes_are_read_where_another_row_shows_their_order() -> None:
    day_first, unread = as_years(column("1/7/1890", "31/12/1890"))
    assert unread == []
    month_first, _ = as_years(column("7/1/1890", "12/31/1890"))
    assert_allclose(day_first, month_first)
    assert_allclose(day_first[0], 1890 + 181 / 365)
    assert len(as_years(column("31/12/1890", "12/31/1890"))[1]) == 2


def test_timestamps_of_parquet_are_dates() -> None:
    stamps = pd.Series(pd.to_datetime(["1890-07-01", None]))
    assert_allclose(as_years(stamps)[0], [1890 + 181 / 365, np.nan])


def test_numbers_and_flags() -> None:
    numbers = as_numbers(column("1.5", 2, None, "x", "inf"))
    assert_array_equal(numbers, [1.5, 2, np.nan, np.nan, np.nan])
    flags, unread = as_flags(column("1", 0, True, None, "yes", 1.0))
    assert_array_equal(flags, [True, False, True, False, False, True])
    assert unread == ["yes"]


def test_a_column_becomes_numbers_only_if_nothing_is_lost() -> None:
    assert with_plain_numbers(column("1", "-20")).dtype == np.int64
    assert_array_equal(with_plain_numbers(column("1", None)), [1, np.nan])
    assert_array_equal(with_plain_numbers(column(".5", "1e3")), [0.5, 1000])
    mixed = (("007", "1"), ("1", "x"), (None, None), ("1", 2.5), (1, True))
    for values in mixed:
        assert with_plain_numbers(column(*values)).tolist() == list(values)
