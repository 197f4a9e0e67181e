"""Tests of data_prep.tables.user_tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from data_prep.errors import UserError
from data_prep.experiment import DataSettings
from data_prep.tables.attributes import read_attributes
from data_prep.tables.id_tables import read_id_table
from data_prep.tables.user_tables import read_tables

TRAIN = "id,kind,made,sheet,maker\n01,a,1890,x,M\n02,b,,x,\n03,a,1891-01-01,,N\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.csv").write_text(TRAIN)
    (tmp_path / "test.csv").write_text("id,made,maker,kind\n10,1900,P,a\n11,,7,b\n")
    return tmp_path


def settings(folder: Path, **changed: object) -> DataSettings:
    data_settings = {
        "train": folder / "train.csv",
        "test": folder / "test.csv",
        "target": "kind",
        "group": "sheet",
        "date": "made",
    }
    return DataSettings(**(data_settings | changed))  # type: ignore[arg-type]


def test_both_parts_become_rows_with_our_names(folder: Path) -> None:
    tables = read_tables(settings(folder))
    rows = tables.rows
    assert rows["id"].tolist() == ["01", "02", "03", "10", "11"]
    assert rows["split"].tolist() == ["train"] * 3 + ["test"] * 2
    assert rows["group"].tolist() == ["x", "x", "", "", ""]
    assert_array_equal(rows["date"], [1890, np.nan, 1891, 1900, np.nan])
    assert rows["given.maker"].tolist() == ["M", None, "N", "P", "7"]
    assert tables.target_kind == "classes"
    assert not rows["is_excluded"].any()


def test_the_labels_of_the_test_table_are_never_read(folder: Path) -> None:
    rows = read_tables(settings(folder)).rows
    assert rows["target"].iloc[:3].tolist() == ["a", "b", "a"]
    assert rows["target"].iloc[3:].isna().all()
    assert not [name for name in rows if "kind" in name]


def test_what_is_not_named_is_given_on(folder: Path) -> None:
    data = settings(folder, target=None, group=None, date=None, test=None)
    tables = read_tables(data)
    assert tables.target_kind is None
    kept = [name for name in tables.rows if name.startswith("given.")]
    assert kept == ["given.kind", "given.made", "given.sheet", "given.maker"]
    assert tables.rows["date"].isna().all()


def test_no_table_at_all_gives_no_rows() -> None:
    tables = read_tables(DataSettings())
    assert len(tables.rows) == len(tables.attributes) == 0
    assert tables.rows["date"].dtype == float


def test_a_sample_alone_says_what_is_to_be_predicted(folder: Path) -> None:
    (folder / "sample.csv").write_text("id,kind\n20,a\n21,a\n")
    data = settings(folder, test=None, sample=folder / "sample.csv")
    rows = read_tables(data).rows
    assert rows["id"][rows["split"] == "test"].tolist() == ["20", "21"]
    assert rows["target"].notna().sum() == 3


@pytest.mark.parametrize(
    ("values", "expected_kind"),
    [
        (["1", "2", ""], "numeric"),
        (["0.5", "-3", "1e2"], "numeric"),
        (["a", "b", "NA"], "classes"),
        (["1c", "2c", "1"], "classes"),
        (["None", "some", "some"], "classes"),
    ],
)
def test_the_kind_of_target_is_seen(
    folder: Path, values: list[str], expected_kind: str
) -> None:
    lines = "".join(
        f"{row_number},{value}\n" for row_number, value in enumerate(values)
    )
    (folder / "train.csv").write_text(f"id,kind\n{lines}")
    tables = read_tables(settings(folder, group=None, date=None, test=None))
    assert tables.target_kind == expected_kind
    missing = [value == "" for value in values]
    assert tables.rows["target"].isna().tolist() == missing


def test_numbers_are_classes_where_they_are_said_to_be(folder: Path) -> None:
    (folder / "train.csv").write_text("id,kind\n0,07\n1,7\n2,\n3,10\n4,07\n")
    changes = {"group": None, "date": None, "test": None}
    tables = read_tables(settings(folder, target_kind="classes", **changes))
    assert tables.target_kind == "classes"
    assert tables.rows["target"].isna().tolist() == [False, False, True, False, False]
    assert tables.rows["target"].dropna().tolist() == ["07", "7", "10", "07"]
    assert read_tables(settings(folder, **changes)).target_kind == "numeric"
    both = read_tables(settings(folder, target_kind="numbers", **changes))
    assert both.target_kind == "numeric"
    table = pd.DataFrame({"id": [0, 1, 2, 3], "kind": [1.0, np.nan, 10.0, 2.5]})
    table.to_parquet(folder / "train.parquet")
    changes |= {"train": folder / "train.parquet"}
    rows = read_tables(settings(folder, target_kind="classes", **changes)).rows
    assert rows["target"].isna().tolist() == [False, True, False, False]
    assert rows["target"].dropna().tolist() == ["1", "10", "2.5"]


def test_a_declared_kind_is_held_to(folder: Path) -> None:
    (folder / "train.csv").write_text("id,kind\n0,a\n1,b\n2,3\n")
    changes = {"group": None, "date": None, "test": None}
    with pytest.raises(UserError, match=r"2 values \('a', 'b'\) are no finite number,"):
        read_tables(settings(folder, target_kind="numbers", **changes))
    with pytest.raises(UserError, match="target_kind = 'classes' says what the target"):
        read_tables(settings(folder, target_kind="classes", target=None, **changes))
    many = "".join(f"{k},{k / 7}\n" for k in range(99))
    (folder / "train.csv").write_text(f"id,kind\n{many}")
    with pytest.raises(UserError, match='take target_kind = "classes" out of'):
        read_tables(settings(folder, target_kind="classes", **changes))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["1", "2", "3", "x"], r"1 value \('x'\) is no finite number, while 3 are"),
        ([*"123xx"], r"2 values \('x'\) are no finite number, while 3 are"),
        (["1", "2", "inf"], r"1 value \('inf'\) is no finite number"),
        (["a", "a", ""], "the one value 'a' in all 2 rows"),
        (["3", "3", "3.0"], "the one value '3' in all 3 rows"),
        (["", "NA"], "column 'kind' is empty"),
        ([f"text {n}" for n in range(30)], "30 different texts in 30 rows"),
    ],
)
def test_a_target_that_cannot_be_learned_is_refused(
    folder: Path, values: list[str], message: str
) -> None:
    lines = "".join(
        f"{row_number},{value}\n" for row_number, value in enumerate(values)
    )
    (folder / "train.csv").write_text(f"id,kind\n{lines}")
    with pytest.raises(UserError, match=message):
        read_tables(settings(folder, group=None, date=None, test=None))


def test_all_problems_of_a_table_are_in_one_message(folder: Path) -> None:
    (folder / "train.csv").write_text(
        "id,kind,made,sheet,flag\n"
        "1,5,1890,x,0\n1,6,c. 1890,x,0\n,7,1890s,x,maybe\na/../b,8,1890,x,1\n2,?,,x,1\n"
    )
    data = settings(folder, exclude_from_validation="flag")
    with pytest.raises(UserError) as error:
        read_tables(data)
    message = str(error.value)
    assert message.startswith(f"{folder / 'train.csv'}: ")
    for fragment in (
        "1 row has no id, the first in line 4",
        "1 id ('1') is there twice",
        "1 id ('a/../b') is no path within the folder of pictures; an id is",
        "column 'made': 2 values ('c. 1890', '1890s') are no year or date",
        "column 'flag': 1 value ('maybe') is not 0 or 1",
        "column 'kind': 1 value ('?') is no finite number, while 4 are",
    ):
        assert fragment in message
    assert "\n" not in message


def test_missing_columns_come_with_the_nearest_name(folder: Path) -> None:
    with pytest.raises(UserError) as error:
        read_tables(settings(folder, target="kidn", date="yeer"))
    assert "no column 'kidn' ([data] target); did you mean 'kind'?" in str(error.value)
    assert "no column 'yeer' ([data] date)" in str(error.value)
    (folder / "train.csv").write_text("name,kind\n1,a\n2,b\n")
    with pytest.raises(UserError, match=r"test.csv: no column 'name' \(\[data\] id\)"):
        read_tables(settings(folder, id="name", group=None, date=None))


def test_an_empty_table_is_refused(folder: Path) -> None:
    (folder / "test.csv").write_text("id\n")
    with pytest.raises(UserError, match=r"test.csv: no rows; fill it"):
        read_tables(settings(folder))


def test_an_id_is_in_one_part(folder: Path) -> None:
    (folder / "test.csv").write_text("id\n02\n99\n")
    with pytest.raises(UserError, match=r"test.csv: 1 id \('02'\) is in both"):
        read_tables(settings(folder))


def test_a_column_without_a_table_is_refused() -> None:
    with pytest.raises(UserError, match="target = 'kind' names a column, but there is"):
        read_tables(DataSettings(target="kind"))


def test_weights_are_of_the_rows_they_name(folder: Path) -> None:
    rows = read_tables(settings(folder)).rows
    assert rows["weight"].tolist() == [1.0] * 5
    issues = folder / "issues.csv"
    issues.write_text("weight,id,reason\n0,03,odd\n0.25, 01 ,\n")
    rows = read_tables(settings(folder, sample_weights=issues)).rows
    assert rows["weight"].tolist() == [0.25, 1.0, 0.0, 1.0, 1.0]
    assert rows["weight"].dtype == float
    (folder / "train.csv").write_text(TRAIN.replace("id,", "name,", 1))
    data = settings(folder, sample_weights=issues, id="name", test=None)
    assert read_tables(data).rows["weight"].tolist() == [0.25, 1.0, 0.0]


def test_all_problems_of_the_weights_are_in_one_message(folder: Path) -> None:
    issues = folder / "issues.csv"
    issues.write_text(
        "id,weight\n01,1.5\n01,0\n10,0\n99,-1\n,1\n02,\n03,none\n"  # 10 is to predict
    )
    with pytest.raises(UserError) as error:
        read_tables(settings(folder, sample_weights=issues))
    message = str(error.value)
    assert message.startswith(f"{issues}: ")
    for fragment in (
        "1 row has no id, the first in line 6",
        "1 id ('01') is there twice",
        "2 ids ('10', '99') are not in the train table",
        "column 'weight': 4 values ('1.5', '-1', '' ...) are no number from 0 to 1",
    ):
        assert fragment in message
    assert "\n" not in message


def test_weights_without_rows_or_a_train_table_are_refused(folder: Path) -> None:
    issues = folder / "issues.csv"
    issues.write_text("id,weight\n")
    with pytest.raises(UserError, match=r"issues.csv: no rows; fill it, or take it"):
        read_tables(settings(folder, sample_weights=issues))
    issues.write_text("id,wieght\n01,0\n")
    with pytest.raises(UserError, match=r"no column 'weight' .* mean 'wieght'"):
        read_tables(settings(folder, sample_weights=issues))
    with pytest.raises(UserError, match=r"issues.csv' weighs training rows, but there"):
        read_tables(DataSettings(sample_weights=issues))


def test_a_sample_has_the_ids_of_the_test_table(folder: Path) -> None:
    sample = folder / "sample.csv"
    sample.write_text("id,kind\n11,a\n10,a\n")
    read_tables(settings(folder, sample=sample))
    sample.write_text("id,kind\n10,a\n12,a\n13,a\n")
    with pytest.raises(UserError) as error:
        read_tables(settings(folder, sample=sample))
    assert "sample.csv: 2 ids ('12', '13') are not in" in str(error.value)
    assert "nearly there" not in str(error.value)
    sample.write_text("id,kind\n10,a\n011,a\n")
    near = "nearly there but for leading zeros \\(1: id '011', row '11'\\)"
    with pytest.raises(UserError, match=near):
        read_tables(settings(folder, sample=sample))
    assert "1 id ('11') is in" in str(error.value)


def test_a_column_of_numbers_and_words_can_be_stored(folder: Path) -> None:
    # All makers of the training part are numbers, one of the test part is not.
    (folder / "train.csv").write_text("id,kind,maker\n1,a,5\n2,b,6\n")
    rows = read_tables(settings(folder, group=None, date=None)).rows
    assert rows["given.maker"].tolist() == ["5", "6", "P", "7"]
    rows.to_parquet(folder / "rows.parquet")


def test_a_column_of_numbers_is_one(folder: Path) -> None:
    (folder / "train.csv").write_text("id,kind,maker\n1,a,5\n2,b,6\n")
    (folder / "test.csv").write_text("id,maker\n3,7\n4,8\n")
    rows = read_tables(settings(folder, group=None, date=None)).rows
    assert rows["given.maker"].tolist() == [5, 6, 7, 8]


def test_attributes_are_stripped_and_listed_once(folder: Path) -> None:
    first_path, second_path = folder / "one.csv", folder / "two.csv"
    first_path.write_text("id,name\n2, plum \n1,apple\n2,plum\n2,\n,pear\n")
    second_path.write_text("sheet,name\n1,apple\n1,Kent\n")
    names = read_attributes([first_path, second_path], "sheet")
    expected = [
        ("1", "Kent"),
        ("1", "apple (one)"),
        ("1", "apple (two)"),
        ("2", "plum"),
    ]
    assert list(names.itertuples(index=False, name=None)) == expected
    with pytest.raises(UserError, match=r"two.csv: no column 'id' .*there are: name"):
        read_attributes([second_path])
    first_path.write_text("id\n1\n")
    with pytest.raises(UserError, match=r"one.csv: no column 'name'"):
        read_attributes([first_path])
    assert isinstance(read_attributes([]), pd.DataFrame)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_of_later_pictures_has_ids_as_text(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"more.{ending}"
    table = pd.DataFrame({"name": ["007", " b "], "size": ["1", None]})
    if ending == "csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path, index=False)
    id_table = read_id_table(path, "name")
    assert id_table["name"].tolist() == ["007", "b"]
    assert id_table["size"].fillna("gap").tolist() == ["1", "gap"]
    expected_index = ("line", [2, 3]) if ending == "csv" else ("row", [1, 2])
    assert (id_table.index.name, id_table.index.tolist()) == expected_index


def test_id_is_understood_where_the_tables_called_it_otherwise(tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text("id,size\n7,1\n")
    assert read_id_table(tmp_path / "more.csv", "leaf")["leaf"].tolist() == ["7"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nane,x\na,1\n", "no column 'name' of ids; did you mean 'nane'"),
        ("name,x\n", "no rows; fill it"),
        ("name,x\na,1\nb,2\na,3\n", r"1 id \('a'\) is there twice; keep one row"),
        (
            "name,x\n,1\nx//b,2\n",
            "1 row has no id, the first in line 2; 1 id .* no path within",
        ),
    ],
)
def test_mistakes_of_a_table_of_later_pictures(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "more.csv").write_text(text)
    with pytest.raises(UserError, match=rf"more\.csv: {message}"):
        read_id_table(tmp_path / "more.csv", "name")
