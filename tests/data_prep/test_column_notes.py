"""Tests of column_notes and lookalikes, and of roles of cells."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from pandas._libs.parsers import STR_NA_VALUES

from data_prep.errors import UserError
from data_prep.experiment import DataSettings
from data_prep.tables.attributes import read_attributes
from data_prep.tables.cells import NO_NUMBER, as_numbers, with_plain_numbers
from data_prep.tables.column_notes import note_decimals, note_names, some
from data_prep.tables.dates import as_years
from data_prep.tables.id_tables import read_weights
from data_prep.tables.lookalikes import misspelled, near_number
from data_prep.tables.user_tables import Tables, read_tables


def column(*values: object, separator: str = ",") -> "pd.Series[object]":
    cells = pd.Series(values, dtype=object)
    cells.attrs["separator"] = separator
    return cells


def read(folder: Path, text: str, **named: object) -> Tables:
    (folder / "train.csv").write_text(text, encoding="utf-8")
    data = {"train": folder / "train.csv", "target": "y"} | named
    return read_tables(DataSettings(**data))  # type: ignore[arg-type]


def lines(*cells: str, header: str = "id,y") -> str:
    rows = [f"p{k},{cell}" for k, cell in enumerate(cells)]
    return "\n".join([header, *rows, ""])


def test_what_is_no_number_is_what_pandas_takes_for_missing() -> None:
    assert NO_NUMBER == STR_NA_VALUES


@pytest.mark.parametrize(
    ("cells", "expected_kind", "expected"),
    [
        (["NA", "EU", "AS", ""], "classes", ["NA", "EU", "AS", None]),
        (["nan", "None", "x", "x"], "classes", ["nan", "None", "x", "x"]),
        (["1", "NA", "2.5", ""], "numeric", [1, np.nan, 2.5, np.nan]),
        (["null", "-1e-7", "None", "2"], "numeric", [np.nan, -1e-7, np.nan, 2]),
        (["True", "False", "True"], "classes", ["True", "False", "True"]),
        (["2a", "2b", "2a"], "classes", ["2a", "2b", "2a"]),
        (["10 cent", "1 euro", "10 cent"], "classes", ["10 cent", "1 euro", "10 cent"]),
    ],
)
def test_the_role_of_a_target_decides_what_is_missing(
    tmp_path: Path, cells: list[str], expected_kind: str, expected: list[object]
) -> None:
    tables = read(tmp_path, lines(*cells))
    assert tables.target_kind == expected_kind
    target = tables.rows["target"].astype(object)
    assert target.where(target.notna(), None).tolist() == [
        None if value != value else value for value in expected
    ]


def test_what_is_missing_is_counted_by_its_texts(tmp_path: Path) -> None:
    text = "id,y,g,d,x\n1,5,NA,NA,NA\n2,NA,a,,3\n3,,,nan,4\n4,7,,1890,5\n5,8,a,NA,6\n"
    tables = read(tmp_path, text, group="g", date="d")
    assert tables.rows["group"].tolist() == ["NA", "a", "", "", "a"]
    assert_array_equal(tables.rows["given.x"], [np.nan, 3, 4, 5, 6])
    assert tables.notes == (
        "train.csv: group: 2 rows without (2 empty), each a group of its own",
        "train.csv: group: 'NA' (1), taken as a name; where it is to say that"
        " there is none, leave the cell empty",
        "train.csv: date: 4 rows without (1 empty, 2 'NA', 1 'nan')",
        "train.csv: target: 2 rows without (1 empty, 1 'NA')",
    )


def test_names_that_are_nearly_the_same_are_told_and_kept(tmp_path: Path) -> None:
    names = ["Plant 1", " plant 1 ", "Plant  1", "Plant 1", "Plant\u00a02", "Plant 2"]
    text = "id,y,g\n" + "".join(f"{k},{k},{name}\n" for k, name in enumerate(names))
    tables = read(tmp_path, text, group="g")
    expected = ["Plant 1", "plant 1", "Plant  1", "Plant 1", "Plant\u00a02", "Plant 2"]
    assert tables.rows["group"].tolist() == expected
    (line_of_note,) = tables.notes
    assert line_of_note.startswith(
        "train.csv: group: 2 names are each written in several ways that differ only"
        " by case or blanks ('Plant 1' (2), 'Plant  1' (1), 'plant 1' (1) ...); they"
        " count as"
    )


def test_accents_of_all_names_are_written_in_one_way(tmp_path: Path) -> None:
    text = "id,y,g\n1,Cafe\u0301,Cafe\u0301\n2,Caf\u00e9,Caf\u00e9\n3,Tee,x\n"
    tables = read(tmp_path, text, group="g")
    assert tables.rows["target"].nunique() == tables.rows["group"].nunique() == 2
    names = tmp_path / "names.csv"
    names.write_text("id,name\n1,Cafe\u0301\n1,Caf\u00e9\n1,NA\n", encoding="utf-8")
    assert read_attributes([names])["name"].tolist() == ["Caf\u00e9", "NA"]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_decimal_commas_are_read_where_no_comma_separates(
    tmp_path: Path, separator: str
) -> None:
    text = "id;y;d;x\n1;1,0;1890,5;0,25\n2;1,5;1891;-1,5\n3;2;;NA\n4;;NA;,5\n"
    tables = read(tmp_path, text.replace(";", separator), date="d")
    assert tables.target_kind == "numeric"
    assert_array_equal(tables.rows["target"], [1, 1.5, 2, np.nan])
    assert_array_equal(tables.rows["date"], [1890.5, 1891, np.nan, np.nan])
    assert_array_equal(tables.rows["given.x"], [0.25, -1.5, np.nan, 0.5])
    assert "train.csv: target: 2 numbers with a decimal comma ('1,0' is 1.0)" in (
        tables.notes
    )
    tables.rows.to_parquet(tmp_path / "rows.parquet")


def test_a_comma_that_may_part_thousands_is_no_decimal_one() -> None:
    read = as_numbers(column("1,234", "999", separator=";"))
    assert_array_equal(read, [np.nan, 999])
    assert_array_equal(as_numbers(column("1,234", "0,5", separator=";")), [1.234, 0.5])
    mixed = as_numbers(column("1,5", "2.5", separator=";"))
    assert_array_equal(mixed, [np.nan, 2.5])
    assert with_plain_numbers(column("1,5", "2,5")).tolist() == ["1,5", "2,5"]


@pytest.mark.parametrize(
    ("cells", "difference", "line"),
    [
        (['"1,5"', '"2,0"', '"2,5"'], "a decimal comma", 2),
        (["1.5", '"2,0"', "3.5"], "a decimal comma", 3),
        (['"1.234,5"', '"2.234,5"', "7"], "thousands separators", 2),
        (['"1,234"', "999", "5"], "thousands separators", 2),
        (["1 234", "2 345", "5"], "thousands separators", 2),
        (["1\u202f234", "2\u00a0345", "5"], "thousands separators", 2),
        (["1'234", "2'345", "5"], "thousands separators", 2),
        (['"1,23,456"', '"2,345"', "5"], "thousands separators", 2),  # as in India
        (["5", "30%", "40 %"], "a unit", 3),
        (["12 cm", "13cm", "0.5 cm"], "a unit", 2),
        (["€5", "7", "8 €"], "a unit", 2),
        (["1_000", "2_000", "3"], "other signs than digits", 2),
        (["0x10", "0x11", "1"], "other signs than digits", 2),
        (["\uff11\uff12", "\uff11\uff13", "3"], "other signs than digits", 2),
    ],
)
def test_what_is_nearly_a_number_is_refused_by_name(
    tmp_path: Path, cells: list[str], difference: str, line: int
) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, lines(*cells))
    message = str(error.value)
    assert f"written with {difference}" in message
    assert f"the first in line {line}; write" in message
    assert "target_kind" in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["1_890", "1e3", "inf", "\uff11\uff18\uff19\uff10"])
def test_years_are_written_in_plain_digits(tmp_path: Path, text: str) -> None:
    assert as_years(column("1890", text))[1] == [text]
    with pytest.raises(UserError, match=r"\('.*'\) is no year or date, the first in l"):
        read(tmp_path, f"id,y,d\n1,1,1890\n2,2,{text}\n", date="d")


@pytest.mark.parametrize("seed", range(30))
def test_numbers_of_python_are_never_taken_for_words(seed: int) -> None:
    rng = np.random.default_rng(seed)
    value = float(rng.normal() * 10.0 ** rng.integers(-9, 9))
    for text in (repr(value), f"{value:.3e}", f"{value:+.4f}"):
        assert as_numbers(column(text))[0] == float(text)
    whole = int(rng.integers(1000, 10**9))
    for text in (
        f"{whole:_}",
        hex(whole),
        f"{whole:,}",
        f"{whole:,}".replace(",", " "),
    ):
        assert np.isnan(as_numbers(column(text))[0])
        assert near_number(text) is not None


@pytest.mark.parametrize("text", ["'5", "'1.5'", '="007"', '"3"', "\u20192"])
def test_numbers_that_a_spreadsheet_was_to_take_for_texts_are_told(text: str) -> None:
    nearly = near_number(text)
    assert nearly is not None
    assert "spreadsheet" in nearly[0]


def test_groups_that_differ_by_the_form_of_a_number_are_told() -> None:
    names = ["1", "1.0", "01", "2", "10", "1.5", "a1", "a01", "1", "v1.0"]
    (line_of_note,) = note_names("group", names)
    assert line_of_note.startswith(
        "group: 1 name is written in 3 ways that differ only by case, blanks or zeros"
        " ('1' (2), '01' (1), '1.0' (1))"
    )


@pytest.mark.parametrize(
    ("n_of", "expected"),
    [
        ({"Pencil": 57, "Pencill": 1}, {"Pencill": "Pencil"}),
        ({"Pencil": 57, "Penicl": 1}, {"Penicl": "Pencil"}),  # two letters exchanged
        ({"Pencil": 57, "pencli": 2}, {"pencli": "Pencil"}),
        ({"Pencil": 57, "Pemcil": 4}, {"Pemcil": "Pencil"}),
        ({"Wax crayon": 9, "Wax crayn": 1}, {"Wax crayn": "Wax crayon"}),
        ({"Ölfarbe": 9, "Ölfrabe": 1}, {"Ölfrabe": "Ölfarbe"}),
        ({"tree": 9, "trees": 1}, {"trees": "tree"}),
        ({"10 cent": 32, "10 cnet": 4}, {"10 cnet": "10 cent"}),
        ({"Oaks": 2, "oak": 20, "boxes": 9, "Box": 1}, {"Oaks": "oak", "Box": "boxes"}),
        ({"10 cent": 32, "20 cnet": 4, "ecnt": 1}, {}),  # another digit, first letter
        ({"oak": 20, "oka": 1, "kao": 1, "ok": 1}, {"oka": "oak"}),
        (
            {"AUT": 20, "ATU": 1, "ash tree": 9, "ash rtee": 1},
            {},
        ),  # a code, and a start
        ({"series A": 9, "series As": 1, "elm": 9, "elmm": 1}, {}),  # short words
        ({"gas": 9, "ga": 1, "12s": 9, "12": 1, "1s": 1}, {}),  # no plurals
        ({"oaken": 3, "oakens": 8, "oakenz": 1}, {"oakenz": "oakens"}),
        ({"Pencil": 57, "Pencill": 5}, {}),  # it is not rare
        ({"Pencil": 5, "Pencill": 2}, {}),  # nor is the other frequent
        ({"Pencil": 57, "Pencilled": 1, "Stencil": 1}, {}),
        ({"Pencil": 57, "pencil": 1, "Pen cil": 1}, {}),  # told otherwise
        ({"bear": 57, "pear": 1, "series A": 9, "series B": 1}, {}),
        ({"10 cent": 57, "20 cent": 1, "plate12": 9, "plate13": 1}, {}),
    ],
)
def test_a_rare_name_that_is_nearly_a_frequent_one(
    n_of: dict[str, int], expected: dict[str, str]
) -> None:
    assert misspelled(n_of) == expected


@pytest.mark.parametrize("seed", range(20))
def test_every_slip_of_a_letter_is_seen(seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice([*"abcdefgh"], 9)) for _ in range(5)]
    n_of = {"crayon " + word: int(rng.integers(12, 99)) for word in words}
    meant = [*n_of][rng.integers(5)]
    k, letter = int(rng.integers(8, 15)), "xyz"[rng.integers(3)]
    for slip in (
        meant[:k] + meant[k + 1 :],
        meant[:k] + letter + meant[k:],
        meant[:k] + letter + meant[k + 1 :],
        meant[:k] + meant[k + 1] + meant[k] + meant[k + 2 :],
    ):
        pairs = misspelled(n_of | {slip: 1, "untold": 1})
        assert pairs == ({} if slip == meant else {slip: meant})


def test_names_that_may_be_slips_are_asked_about() -> None:
    names = ["Umber"] * 3 + ["Umbor", "Pencill", "Crayon", "Crayom"] + ["Crayon"] * 8
    assert note_names("target", [*names, *["Pencil"] * 20]) == [
        "target: 3 rare names are nearly frequent ones ('Pencill' (1): did you mean"
        " 'Pencil' (20)?, 'Crayom' (1): did you mean 'Crayon' (9)?, 'Umbor' (1): did"
        " you mean 'Umber' (3)?); they count as different: write them alike if they"
        " mean the same"
    ]


def test_a_group_that_may_mean_none_is_told() -> None:
    (line_of_note,) = note_names("group", ["-", "a", "Unknown", "-", "", "N/A"])
    assert line_of_note.startswith(
        "group: '-' (2), 'N/A' (1), 'Unknown' (1), taken as a name"
    )


def test_points_that_might_part_thousands_throughout_are_told() -> None:
    cells = column("1.200", "1.350", separator=";")
    assert "if the points part thousands" in note_decimals("target", cells)[0]
    assert not note_decimals("target", column("1.200", "0.35", separator=";"))


def test_a_long_cell_is_shown_in_part() -> None:
    assert some(["z" * 10**6], "value") == f"1 value ('{'z' * 60}...') is"


@pytest.mark.parametrize(
    "text",
    [
        "1e400",
        "'",
        "'a'",
        '=""',
        "'n'",
        "2nd",
        "x",
        "1-2",
        "inf",
        "p1",
        "10 cent",
        "",
        "2a",
    ],
)
def test_what_is_a_name_is_not_nearly_a_number(text: str) -> None:
    assert near_number(text) is None


def test_a_weight_that_is_no_number_is_told_with_its_line(tmp_path: Path) -> None:
    issues = tmp_path / "issues.csv"
    issues.write_text("id;weight\n1;0,5\n2;1\n")
    assert read_weights(issues, "id", ["1", "2"]) == {"1": 0.5, "2": 1.0}
    issues.write_text("id,weight\nA,0.5\n2,1\n")
    with pytest.raises(UserError, match=r"nearly .* lower case \(1: id 'A', row 'a'\)"):
        read_weights(issues, "id", ["2", "a"])
    issues.write_text("\nid,weight\n1,0.5\n2,50%\n")
    with pytest.raises(
        UserError, match=r"'50%'\) is no number .*, the first in line 4"
    ):
        read_weights(issues, "id", ["1", "2"])


def test_an_id_that_swallowed_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="an id with a line break, the first in line 3"):
        read(tmp_path, 'id,y\n1,a\n"2,b\n3",c\n')


def test_what_attributes_lack_is_told(tmp_path: Path) -> None:
    names = tmp_path / "names.csv"
    names.write_text("id,name\n1,Oak\n1,oak\n2,\n,elm\n")
    notes: list[str] = []
    read_attributes([names], notes=notes)
    assert notes == [
        "names.csv: id: 1 row without (1 empty); left out",
        "names.csv: name: 1 row without (1 empty); left out",
        "names.csv: name: 1 name is written in 2 ways that differ only by case or"
        " blanks ('Oak' (1), 'oak' (1)); they count as different: write them alike if"
        " they mean the same",
    ]


def test_further_columns_of_two_files_have_one_type(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("id;a;b;c\n8;1,5;True;x\n")
    frame = pd.DataFrame(
        {"id": ["1", "2"], "y": [1, 2], "a": [2, 3], "b": [True, False]}
    )
    frame["c"] = [1.5, 2.0]
    frame.to_parquet(tmp_path / "train.parquet")
    data = DataSettings(
        train=tmp_path / "train.parquet", test=tmp_path / "test.csv", target="y"
    )
    rows = read_tables(data).rows
    assert rows["given.a"].tolist() == [2, 3, 1.5]
    assert rows["given.b"].tolist() == [True, False, True]
    assert rows["given.c"].tolist() == ["1.5", "2", "x"]
    rows.to_parquet(tmp_path / "rows.parquet")


def test_points_that_may_part_thousands_are_told(tmp_path: Path) -> None:
    tables = read(tmp_path, "id;y\n1;1.234\n2;999\n3;2.000\n")
    assert tables.rows["target"].tolist() == [1.234, 999, 2]
    assert tables.notes == (
        "train.csv: target: '1.234' is read with a decimal point; if the points part"
        " thousands, take them out",
    )
    assert read(tmp_path, "id;y\n1;1.234\n2;999\n3;2.5\n").notes == ()
