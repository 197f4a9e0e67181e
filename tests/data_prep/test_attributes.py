"""Tests of data_prep.tables.attributes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_prep.errors import UserError
from data_prep.tables.attributes import read_attributes


def table(folder: Path, name: str, text: str) -> Path:
    """Write a csv file; a blank ends a line."""
    path = folder / f"{name}.csv"
    path.write_text("\n".join(text.split()) + "\n", encoding="utf-8")
    return path


def pairs(names: pd.DataFrame) -> list[tuple[str, str]]:
    return list(names.itertuples(index=False, name=None))


def test_a_name_of_two_tables_of_the_same_pictures_is_two(tmp_path: Path) -> None:
    materials = table(tmp_path, "materials", "id,name 1,pencil 1,paper 2,ink")
    subjects = table(tmp_path, "subjects", "id,name 1,pencil 2,apple")
    notes: list[str] = []
    names = read_attributes([materials, subjects], notes=notes)
    assert pairs(names) == [
        ("1", "paper"),
        ("1", "pencil (materials)"),
        ("1", "pencil (subjects)"),
        ("2", "apple"),
        ("2", "ink"),
    ]
    (note,) = notes
    assert "1 name stands in several tables or columns and is kept apart" in note
    assert "as 'pencil (materials)' and 'pencil (subjects)'" in note


def test_parts_of_one_table_are_one(tmp_path: Path) -> None:
    first = table(tmp_path, "part1", "id,name 1,pencil 2,ink")
    second = table(tmp_path, "part2", "id,name 3,pencil 4,ink")
    names = read_attributes([first, second])
    assert set(names["name"]) == {"pencil", "ink"}


def test_train_and_test_of_two_kinds_are_two_kinds(tmp_path: Path) -> None:
    paths = [
        table(tmp_path, f"{split}_{kind}", f"id,name {k},pencil {k},{kind}-{k}")
        for k, split in enumerate(("train", "test"))
        for kind in ("materials", "subjects")
    ]
    names = read_attributes(paths)
    pencils = names[names["name"].str.startswith("pencil")]
    expected = {"pencil (materials)", "pencil (subjects)"}
    for _, of_id in pencils.groupby("id"):
        assert set(of_id["name"]) == expected


def test_a_wide_table_has_names_in_its_columns(tmp_path: Path) -> None:
    wide = table(
        tmp_path,
        "works",
        "id,medium,place,year,framed,lost,target"
        " 1,oil,Rome,1801,1,no,3 2,ink,oil,1802,0,no,4 3,,Rome,1803,1,no,5",
    )
    notes: list[str] = []
    roles = {"target": "the target of [data]"}
    names = read_attributes([wide], notes=notes, roles=roles)
    assert pairs(names) == [
        ("1", "Rome"),
        ("1", "framed"),
        ("1", "no"),
        ("1", "oil (medium)"),
        ("2", "ink"),
        ("2", "no"),
        ("2", "oil (place)"),
        ("3", "Rome"),
        ("3", "framed"),
        ("3", "no"),
    ]
    assert "works.csv: column 'year' holds numbers; not among the names" in notes
    assert "works.csv: column 'target' is the target of [data], no name" in notes
    read = "works.csv: names in its columns 'medium', 'place', 'framed', 'lost'"
    assert read in notes


def test_a_table_of_zeros_and_ones_has_the_names_of_its_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    flags = rng.random((30, 5)) < 0.4
    flags[0] = True
    columns = [f"tag{k}" for k in range(5)]
    wide = pd.DataFrame(flags.astype(int), columns=columns)
    wide.insert(0, "id", [f"p{row:02d}" for row in range(30)])
    wide.to_csv(tmp_path / "tags.csv", index=False)
    names = read_attributes([tmp_path / "tags.csv"])
    expected = [
        (f"p{row:02d}", columns[k]) for row, k in zip(*flags.nonzero(), strict=True)
    ]
    assert pairs(names) == expected


def test_titles_are_no_names(tmp_path: Path) -> None:
    media = ["oil", "ink"] * 20
    rows = [f"{row},title of {row},{medium}\n" for row, medium in enumerate(media)]
    (tmp_path / "works.csv").write_text("id,title,medium\n" + "".join(rows))
    notes: list[str] = []
    names = read_attributes([tmp_path / "works.csv"], notes=notes)
    assert set(names["name"]) == {"oil", "ink"}
    assert any("'title' has a text of its own for nearly every" in n for n in notes)


@pytest.mark.parametrize(
    ("cell", "separator", "expected"),
    [
        ("oil; canvas", None, ["canvas", "oil"]),
        ("oil|canvas|", None, ["canvas", "oil"]),
        ("oil; ;oil", None, ["oil"]),
        ("Smith, John", None, ["Smith, John"]),
        ("oil, canvas; wood", ",", ["canvas; wood", "oil"]),
        ("oil / canvas", "/", ["canvas", "oil"]),
        ("oil.canvas", ".", ["canvas", "oil"]),
    ],
)
@pytest.mark.parametrize("column", ["name", "medium"])
def test_a_cell_of_several_names_is_split(
    tmp_path: Path, cell: str, separator: str | None, expected: list[str], column: str
) -> None:
    pd.DataFrame({"id": ["1"], column: [cell]}).to_csv(tmp_path / "a.csv", index=False)
    notes: list[str] = []
    names = read_attributes([tmp_path / "a.csv"], notes=notes, separator=separator)
    assert names["name"].tolist() == expected
    is_split = expected != [cell]
    assert any("cells of several names" in note for note in notes) == is_split


def test_lists_are_names_though_every_cell_is_different(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cells = ["; ".join(rng.permutation(list("abcdefg"))[:4]) for _ in range(60)]
    assert len(set(cells)) > 0.9 * len(cells)
    pd.DataFrame({"id": range(60), "subject": cells}).to_csv(
        tmp_path / "works.csv", index=False
    )
    names = read_attributes([tmp_path / "works.csv"])
    assert set(names["name"]) == set("abcdefg")
    assert len(names) == 4 * 60


def test_long_and_wide_together_in_any_order(tmp_path: Path) -> None:
    long = table(tmp_path, "materials", "id,name 1,oil 2,ink")
    wide = table(tmp_path, "works", "id,place,support 1,Rome,oil 2,Pisa,wood")
    names = read_attributes([long, wide])
    assert pairs(names) == pairs(read_attributes([wide, long]))
    expected = ["oil (materials)", "oil (support)", "ink", "Rome", "Pisa", "wood"]
    assert set(names["name"]) == set(expected)


def test_tables_without_names_are_refused(tmp_path: Path) -> None:
    numbers = table(tmp_path, "sizes", "id,width 1,3 2,4")
    reason = r"sizes\.csv: no column of names; column 'width' holds numbers: take the"
    with pytest.raises(UserError, match=reason):
        read_attributes([numbers])
    bare = table(tmp_path, "bare", "id 1 2")
    with pytest.raises(UserError, match=r"bare\.csv: no column 'name' \(\[data\] att"):
        read_attributes([bare])
