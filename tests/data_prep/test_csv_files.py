"""Tests of data_prep.tables.csv_files, and of csv and parquet read alike."""

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_prep.errors import UserError
from data_prep.experiment import DataSettings
from data_prep.tables.cells import as_texts, read_table
from data_prep.tables.csv_files import read_csv
from data_prep.tables.user_tables import read_tables


def written(folder: Path, text: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("sep=;\r\nid;a\r\n1;x\r\n", 3),
        ('"sep=\t"\nid\ta\n1\tx\n', 3),
        ("sep=|\nid|a\n1|x\n", 3),
        ("\n\n,,\nid,a\n1,x\n", 5),
        ("id,a,,\n1,x,,\n,,,\n", 2),
        ("id,a\n\n1,x,\n\n\n", 3),
        ("id;a;\n;;\n1;x;\n", 3),
        ("id,,a\n1,,x\n", 2),
        ("id;a\n1;x", 2),
        ('id,"a"\r1,x\r', 2),
    ],
)
def test_what_spreadsheets_leave_behind_is_read_over(
    tmp_path: Path, text: str, line: int
) -> None:
    table = read_csv(written(tmp_path, text))
    assert table.to_dict("list") == {"id": ["1"], "a": ["x"]}
    assert table.index.tolist() == [line]


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    table = read_csv(written(tmp_path, f"id,a\n1,{'x' * 10**6}\n"))
    assert len(table.loc[2, "a"]) == 10**6


def test_a_named_index_of_pandas_is_a_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"y": [1.0, 2.0]}, index=pd.Index(["7", "8"], name="id"))
    frame.to_parquet(tmp_path / "table.parquet")
    table = read_table(tmp_path / "table.parquet")
    assert table.to_dict("list") == {"id": ["7", "8"], "y": [1.0, 2.0]}


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    table = read_csv(written(tmp_path, '\nid,a\n1,"x\ny"\n\n2,z\n,\n3,"\n\n"\n4,w\n'))
    assert table["id"].tolist() == ["1", "2", "3", "4"]
    assert table.index.tolist() == [3, 6, 8, 11]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('id,a\n1,x\n2,"y\n3,z\n', "quote that opens in line 3 is not closed"),
        ('id,a\n1,"x\ny"\n2,"y\n3,"z"\n', "quote that opens in line 4 is not closed"),
        ('id,a\n1,x\n2,"y" z\n', "text follows a closing quote in line 3"),
        (
            "id;a\n1;x\n\n2;y;z\n",
            "1 rows have not the 2 .*, the first in line 4; .* sem",
        ),
        ("id,a\n1\n", "1 rows have not the 2 cells of the header, the first in line 2"),
        ("a,,\n1,2,3\n", "columns 2 and 3 have no name in the header; name them"),
        ("id|a\n1|x\n", "the header is the one cell 'id|a'; separate the cells by com"),
        (
            '"id;a"\n"1;x"\n',
            "the header is the one cell 'id;a'; .* quotes around whole",
        ),
        (
            "id\n1;x\n2;y\n",
            "one cell 'id', but all rows look like several .'1;x'.; sep",
        ),
        ("\n,,\n", "the first line is empty; it names the columns"),
    ],
)
def test_what_is_no_table_is_told_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        read_csv(written(tmp_path, text))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("id,a\n1,x\n".encode("utf-16"), "a.csv", "in UTF-16; save it as CSV UTF-8"),
        ("id,a\n1,x\n".encode("utf-16-le"), "a.csv", "not in UTF-8 but in UTF-16, or"),
        (
            "id,a\n1,x\n2,é\n".encode("latin-1"),
            "a.csv",
            "not in UTF-8: byte 0xe9 in line 3, as Latin-1 or .*; save it as CSV UTF-8",
        ),
        (b"PK\x03\x04...", "a.xlsx", r"a workbook \(.xlsx\); save the sheet as CSV"),
        (b"PK\x03\x04...", "a.csv", "a workbook or another archive; save the sheet"),
        (b"PAR1...", "a.csv", "not a csv file but a parquet file; name it .parquet"),
        (b"\x1f\x8b...", "a.csv.gz", "a compressed file; unpack it"),
    ],
)
def test_other_files_are_called_what_they_are(
    tmp_path: Path, content: bytes, name: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_table(written(tmp_path, content, name))


@pytest.mark.parametrize("seed", range(150))
def test_generated_tables_are_read_as_they_were_meant(
    tmp_path: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    separator = str(rng.choice([",", ";", "\t"]))
    words = ["", "NA", "None", "nan", "x,y", "a;b", 'say "so"', "7", "1,5", "Ä", "p\tq"]
    n_rows, names = int(rng.integers(1, 9)), ["id", "b", "c, d"]
    cells = rng.choice(words, (n_rows, 3)).astype(object)
    cells[:, 0] = [f"{k:03d}" for k in range(n_rows)]
    out = io.StringIO(newline="")
    end = str(rng.choice(["\n", "\r\n"]))
    style = (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)[rng.integers(2)]
    writer = csv.writer(out, delimiter=separator, lineterminator=end, quoting=style)
    trailing = [""] * int(rng.integers(3))
    lines, line = [], 1
    for row in (names, *cells.tolist()):
        for _ in range(rng.integers(3)):  # blank lines before each
            out.write(str(rng.choice(["", separator * 3])) + end)
            line += 1
        writer.writerow([*row, *trailing])
        lines.append(line)
        line += 1
    mark = "\ufeff" if rng.integers(2) else ""
    table = read_csv(written(tmp_path, mark + out.getvalue()))
    assert table.columns.tolist() == names
    assert table.index.tolist() == lines[1:]
    assert table.attrs == {"separator": separator}
    expected = [[cell or None for cell in row] for row in cells.tolist()]
    assert table.to_numpy().tolist() == expected


@pytest.mark.parametrize("seed", range(80))
def test_csv_and_parquet_give_the_same_rows(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 30
    gaps = rng.random(n) < 0.2
    frame = pd.DataFrame({"id": rng.permutation(n) + 100 * (seed % 2)})
    columns = {
        "whole": rng.integers(0, 5, n),
        "number": rng.normal(size=n),
        "gaps": np.where(gaps, np.nan, rng.normal(size=n)),
        "truth": rng.random(n) < 0.5,
        "text": rng.choice(["a", "b", "NA", "None"], n),
        "category": pd.Categorical(rng.choice(["u", "v"], n)),
        "maybe": pd.Series(np.where(gaps, None, rng.random(n) < 0.5), dtype=object),
    }
    if frame["id"].min() == 0 and seed % 4 == 0:
        frame["id"] = frame["id"].astype(np.float32)  # a csv file has 7 for it
    target, group, *further = rng.permutation(list(columns)).tolist()
    for name in (target, group, *further):
        frame[name] = columns[name]
    days = pd.to_datetime("1890-01-01") + pd.to_timedelta(rng.integers(0, 999, n), "D")
    frame["made"] = pd.Series(days).where(~gaps)
    if group in ("number", "gaps"):  # a group of floats is written in either way
        group = "text"
    if target == group:
        target = "whole"
    frame.to_parquet(tmp_path / "train.parquet")
    csv_frame = frame.assign(id=frame["id"].astype(int))
    csv_frame.to_csv(tmp_path / "train.csv", index=False)
    from_csv, from_parquet = (
        read_tables(
            DataSettings(
                train=tmp_path / f"train.{end}", target=target, group=group, date="made"
            )
        )
        for end in ("csv", "parquet")
    )
    assert from_csv.target_kind == from_parquet.target_kind
    pd.testing.assert_frame_equal(from_csv.rows, from_parquet.rows)
    texts = [note.removeprefix("train.csv") for note in from_csv.notes]
    assert texts == [note.removeprefix("train.parquet") for note in from_parquet.notes]
    from_csv.rows.to_parquet(tmp_path / "rows.parquet")


def test_parquet_texts_are_as_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pd.DataFrame(
        {"id": ["a", " ", None], "x": pd.array([1, None, 3], "Int64")}
    ).to_parquet(path)
    table = read_table(path)
    assert table["id"].tolist() == ["a", None, None]
    assert as_texts(table["x"]) == ["1", "", "3"]
    assert table.index.tolist() == [1, 2, 3]
