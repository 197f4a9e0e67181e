"""Tests of data_prep.tables.objects: things of several pictures, read and prepared."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_prep.errors import UserError
from data_prep.experiment import DataSettings
from data_prep.folds import join_cv_groups
from data_prep.tables.user_tables import read_tables
from tests.data_prep.sheets import N, make_sheets, prepare, refused, table_of

TRAIN = (
    "id,price,house,part\na1,3,a,n\na2,,a,n\nb1,5,b,n\nc1,4,,s\nd1,5,d,s\nd2,5,d,s\n"
)
TEST = "id,house\nx1,x\nx2,x\ny1,\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.csv").write_text(TRAIN)
    (tmp_path / "test.csv").write_text(TEST)
    return tmp_path


def settings(folder: Path, **changed: object) -> DataSettings:
    data_settings = {
        "train": folder / "train.csv",
        "test": folder / "test.csv",
        "target": "price",
        "object": "house",
    }
    return DataSettings(**(data_settings | changed))  # type: ignore[arg-type]


def test_a_picture_without_an_object_is_one_of_its_own(folder: Path) -> None:
    tables = read_tables(settings(folder))
    objects = tables.rows["object"].tolist()
    assert objects == ["a", "a", "b", "c1", "d", "d", "x", "x", "y1"]
    assert tables.rows["group"].tolist() == objects
    note = "object: 1 row without (1 empty), each an object of its own"
    assert f"train.csv: {note}" in tables.notes
    assert "given.house" not in tables.rows


def test_a_group_may_hold_several_objects(folder: Path) -> None:
    rows = read_tables(settings(folder, group="part")).rows
    assert rows["group"].tolist()[:6] == ["n", "n", "n", "s", "s", "s"]
    assert rows["object"].tolist()[:6] == ["a", "a", "b", "c1", "d", "d"]


def test_without_objects_there_is_no_such_column(folder: Path) -> None:
    rows = read_tables(settings(folder, object=None)).rows
    assert "object" not in rows
    assert "given.house" in rows


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (
            TRAIN.replace("d2,5", "d2,6"),
            TEST,
            r"column 'price': 1 object has several labels \('d' of column 'house' has 5"
            r" and 6\); give all pictures of an object one label, or take object out",
        ),
        (
            TRAIN + "x3,5,x,n\n",
            TEST,
            r"train.csv and .*test.csv: 1 object \('x'\) is in both; an object is",
        ),
        (
            TRAIN + "d,4,,n\n",
            TEST,
            r"column 'house' is empty for 1 id \('d'\), by which other pictures call"
            r" an object; fill the cell",
        ),
        (TRAIN, "id\nx1\n", r"test.csv: no column 'house' \(\[data\] object\)"),
        (TRAIN.replace("house", "home"), TEST, r"train.csv: no column 'house'"),
    ],
)
def test_what_no_object_can_be_is_refused(
    folder: Path, train: str, test: str, message: str
) -> None:
    (folder / "train.csv").write_text(train)
    (folder / "test.csv").write_text(test)
    with pytest.raises(UserError, match=message) as caught:
        read_tables(settings(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("id,price\nx1,0\n", r"no column 'house' \(\[data\] object\)"),
        ("house,price\nx,0\nx,0\n", r"1 object \('x'\) is there twice.*'y1'\) is in"),
        ("house,price\nX,0\ny1,0\n", r"1 object \('X'\) is not in .*nearly there but"),
    ],
)
def test_a_sample_names_the_objects_of_the_test_table(
    folder: Path, sample: str, message: str
) -> None:
    path = folder / "sample.csv"
    path.write_text("house,price\ny1,0\nx,0\n")
    read_tables(settings(folder, sample=path))
    path.write_text(sample)
    with pytest.raises(UserError, match=message):
        read_tables(settings(folder, sample=path))


def test_weights_are_of_objects(folder: Path) -> None:
    issues = folder / "label_issues.csv"  # as stacking.noise writes it
    issues.write_text("id,weight\nc1,0.5\nd,0\n")
    rows = read_tables(settings(folder, sample_weights=issues)).rows
    assert rows["weight"].tolist() == [1, 1, 1, 0.5, 0, 0, 1, 1, 1]
    issues.write_text("id,weight\nd1,0\n")
    with pytest.raises(UserError, match=r"1 id \('d1'\) is not in the train table"):
        read_tables(settings(folder, sample_weights=issues))


def test_a_sample_cannot_stand_for_the_table_of_pictures(folder: Path) -> None:
    with pytest.raises(UserError, match=r"names objects and no pictures; name the ta"):
        read_tables(settings(folder, test=None, sample=folder / "sample.csv"))
    with pytest.raises(UserError, match=r"\[data\] object = 'house' names a column"):
        read_tables(DataSettings(object="house"))


def test_names_join_by_way_of_others() -> None:
    groups, objects = ["g", "", "h", ""], ["o", "o", "p", "q"]
    assert join_cv_groups(groups, objects).tolist() == [0, 0, 1, 2]
    joined = join_cv_groups(groups, objects, ["1", "2", "2", "3"])
    assert joined.tolist() == [0, 0, 0, 1]


# Prepared: pictures p000 to p047, two to a sheet; here four to a house.


def houses(folder: Path) -> pd.DataFrame:
    """Make 12 houses of four pictures, across the sheets, but for three lone ones."""
    index = np.arange(N)
    table = pd.read_csv(folder / "train.csv", dtype=str)
    house = np.array([f"h{k // 4:02d}" for k in index], dtype=object)
    house[:3] = ""
    table = table.assign(house=house, grade=index // 4 % 4)
    table.to_csv(folder / "train.csv", index=False)
    return table


def test_no_fold_tears_an_object(tmp_path: Path) -> None:
    make_sheets(tmp_path)
    written = houses(tmp_path).set_index("id")
    (tmp_path / "pictures" / "h05.png").write_bytes(
        (tmp_path / "pictures" / "p007.png").read_bytes()
    )  # in no table; called as a house is, and a copy of a picture of another
    alone = prepare(tmp_path, data='object = "house"')
    table = table_of(alone)
    is_named = written["house"] != ""
    named = written.index[is_named]
    assert table.loc[named, "object"].tolist() == written["house"][is_named].tolist()
    assert table.loc[["p000", "h05"], "object"].tolist() == ["p000", "h05"]
    assert (table[table["fold"] >= 0].groupby("object")["fold"].nunique() == 1).all()
    groups = table["cv_group"]
    assert groups["p004"] == groups["p007"] == groups["h05"] != groups["p020"]
    report = (alone / "report.html").read_text()
    assert "15 objects (house) of the train table, of 1 to 4 pictures each" in report


def test_groups_and_objects_are_joined(tmp_path: Path) -> None:
    make_sheets(tmp_path)
    houses(tmp_path)
    data = 'object = "house"\ngroup = "sheet"'
    table = table_of(prepare(tmp_path, data=data))
    groups = table["cv_group"]
    assert table["group"]["p004"] == "s2"  # the user's stays
    assert groups["p004"] == groups["p005"] == groups["p006"] == groups["p007"]
    assert groups["p000"] == groups["p001"] != groups["p004"]


def test_a_scheme_that_tears_objects_is_refused(tmp_path: Path) -> None:
    make_sheets(tmp_path)
    houses(tmp_path)
    message = refused(tmp_path, "--cv=skfold3", data='object = "house"')
    assert "would tear the objects of column 'house' apart" in message
    assert "take object out of [data]" in message


def test_the_objects_to_predict_are_written_once_in_the_users_order(
    tmp_path: Path,
) -> None:
    make_sheets(tmp_path)
    table = houses(tmp_path)
    last = table[-8:].iloc[::-1]
    table[:-8].to_csv(tmp_path / "train.csv", index=False)
    last[["id", "house"]].to_csv(tmp_path / "test.csv", index=False)
    both = 'object = "house"\ntest = "test.csv"'
    stage = prepare(tmp_path, data=both)
    assert (stage / "test_ids.csv").read_text() == "id\nh11\nh10\n"
    (tmp_path / "sample.csv").write_text("house,grade\nh10,0\nh11,0\n")
    stage = prepare(tmp_path, "--overwrite", data=both + '\nsample = "sample.csv"')
    assert (stage / "sample.csv").read_text().startswith("house,grade\nh10")
