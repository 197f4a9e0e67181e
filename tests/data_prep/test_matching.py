"""Tests of data_prep.prepare: which picture is whose, and which are one.

Pictures are made up from a seed each; what is right follows from how they were made.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from data_prep.pictures import decoded
from tests.data_prep.sheets import (
    IDS,
    N,
    picture,
    prepare,
    refused,
    table_of,
    write_table,
)


def left_out_of(stage: Path) -> dict[str, tuple[str, str]]:
    rows = pd.read_csv(stage / "left_out.csv", dtype=str, keep_default_na=False)
    return {row.id: (row.file, row.reason) for row in rows.itertuples()}


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        (lambda id_: f"{id_}.png", "the extension"),
        (lambda id_: id_.upper(), "upper and lower case"),
        (lambda id_: f"p{int(id_[1:])}", "leading zeros"),
        (lambda id_: id_.replace("p0", "p 0"), "blanks"),
        (lambda id_: f"\ufeff{id_}", "the Unicode form"),
    ],
)
@pytest.mark.parametrize("n", [1, 17, N - 1])
def test_ids_that_nearly_match_stop_everything(
    folder: Path, changed: Callable[[str], str], difference: str, n: int
) -> None:
    ids = [changed(id_) if row < n else id_ for row, id_ in enumerate(IDS)]
    write_table(folder, id=ids)
    message = refused(folder)
    noun = "1 id has" if n == 1 else f"{n} ids have"
    assert f"train.csv: {noun} no picture, but would have one but for" in message
    assert f"{difference} ({n}: id {ids[0]!r}, picture 'p000'" in message
    assert "rename the files; where the picture is really another" in message
    assert not (folder / "run" / "data_prep.prepare.partial").exists()


def test_ids_of_the_test_table_stop_everything_too(folder: Path) -> None:
    for id_ in ("q01", "q02", "q03"):
        picture(99).save(folder / "pictures" / f"{id_}.png")
    (folder / "test.csv").write_text("id\nq01\nq2\nq3\n")
    message = refused(folder, data='test = "test.csv"')
    assert "test.csv: 2 ids have no picture" in message
    assert "leading zeros (2: id 'q2', picture 'q02'" in message


@pytest.mark.parametrize("step", [1, 2, N])
def test_ids_of_attributes_stop_everything_too(folder: Path, step: int) -> None:
    ids = [f"{id_}.png" if row % step == 0 else id_ for row, id_ in enumerate(IDS)]
    lines = [f"{id_},{name}\n" for id_ in ids for name in ("oak", "elm")]
    (folder / "names.csv").write_text("id,name\n" + "".join(lines))
    message = refused(folder, data='attributes = "names.csv"')
    if step == 1:
        assert "none of its 48 ids has a picture; an id is without extens" in message
    else:
        noun = "1 id has" if step == N else f"{N // step} ids have"
        assert f"names.csv: {noun} no picture, but would have one" in message
    assert "an id is 'p000.png'" in message or "id 'p000.png', pic" in message


def test_two_ids_of_one_picture_in_attributes_are_seen(folder: Path) -> None:
    (folder / "names.csv").write_text("id,name\np001,oak\np000.png,a\np000.PNG,b\n")
    message = refused(folder, data='attributes = "names.csv"')
    assert "2 ids have no picture" in message


def test_what_is_lost_has_its_own_reason(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pictures_folder = folder / "pictures"
    (pictures_folder / "deep").mkdir()
    for number, name in (
        *((1, "p001.CR2"), (2, "p002.svg"), (3, "p003.png.part"), (4, ".p004.png")),
        *((5, "deep/p005.png"), (6, os.fsdecode(b"p\xf6.png"))),
    ):
        (pictures_folder / f"p{number:03d}.png").rename(pictures_folder / name)
    (pictures_folder / "p007.png").unlink()
    (pictures_folder / "p008.png").unlink()
    (pictures_folder / "p008.png").symlink_to(
        "/proc/self/mem"
    )  # the disk cannot read it
    (pictures_folder / "p009.png").write_bytes(b"")
    (pictures_folder / "p010.png").unlink()
    os.mkfifo(pictures_folder / "p010.png")
    stage = prepare(folder)
    cannot = "it cannot be read, Input/output error"
    assert left_out_of(stage) == {
        "p001": ("p001.CR2", "its file has a format that is not read: p001.CR2"),
        "p002": ("p002.svg", "its file has a format that is not read: p002.svg"),
        "p003": (
            "p003.png.part",
            "its file is still being written or downloaded: p003.png.part",
        ),
        "p004": (".p004.png", "its file is hidden: .p004.png"),
        "p006": ("", "no picture of this name"),
        r"p\xf6": (r"p\xf6.png", "its name is not in UTF-8; rename the file"),
        "p007": ("", "no picture of this name"),
        "p008": ("p008.png", cannot),
        "p009": ("p009.png", "the file is empty"),
        "p010": ("p010.png", "it is a pipe or a device and not a file"),
    }
    for line in (
        "note: 2 ids left out: its file has a format that is not read (p001.CR2, p002.",
        "note: 2 ids left out: no picture of this name (p006, p007)",
        f"note: 1 id left out: {cannot} (p008.png)",
        r"its name is not in UTF-8; rename the file (p\xf6.png)",
    ):
        assert line in caplog.text
    assert "p001.CR2" in (stage / "report.html").read_text(encoding="utf-8")
    assert len(table_of(stage)) == N - 9
    caplog.clear()
    assert prepare(folder) == stage
    assert "already done" in caplog.text


def test_ids_whose_picture_is_not_clear_are_left_out_and_told(folder: Path) -> None:
    for seed, id_ in enumerate(("1", "01", "q")):
        picture(700 + seed).save(folder / "pictures" / f"{id_}.png")
    (folder / "test.csv").write_text("id\nq\n001\np000.png\nQ\n")
    stage = prepare(folder, data='test = "test.csv"')
    assert left_out_of(stage) == {
        "001": ("", "several names are nearly alike: '01', '1'"),
        "p000.png": (
            "",
            "a picture of nearly this name is that of another id: 'p000'",
        ),
        "Q": ("", "a picture of nearly this name is that of another id: 'q'"),
    }


def test_a_file_that_cannot_be_used_takes_no_id_from_one_that_can(
    folder: Path,
) -> None:
    (folder / "pictures" / "p000.jpg").symlink_to("nowhere")
    stage = prepare(folder)
    assert left_out_of(stage) == {}
    assert "p000" in table_of(stage).index


def test_names_with_control_characters_break_nothing(folder: Path) -> None:
    for seed, name in enumerate(("two\nlines", "a\ttab", 'quo"te', "co,mma")):
        picture(500 + seed).save(folder / "pictures" / f"{name}.png")
    stage = prepare(folder)
    assert {"two\nlines", "a\ttab", 'quo"te', "co,mma"} < set(table_of(stage).index)
    (folder / "pictures" / "p003.png").rename(folder / "pictures" / "p003\n.png")
    message = refused(folder)
    assert r"blanks (1: id 'p003', picture 'p003\n')" in message


@pytest.mark.parametrize("seed", range(3))
def test_copies_are_found_by_pixels_whatever_their_files(
    folder: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    pictures_folder = folder / "pictures"
    pairs = rng.permutation(N).reshape(-1, 2)
    exif = Image.Exif()
    exif[0x010E] = "inventory 7"
    for number, (first, second) in enumerate(pairs):
        source, target = (
            pictures_folder / f"{IDS[first]}.png",
            pictures_folder / f"{IDS[second]}.png",
        )
        with Image.open(source) as image:
            if number % 3 == 0:
                image.save(target, exif=exif)
            elif number % 3 == 1:
                target.unlink()
                image.save(target.with_suffix(".bmp"))
            else:
                image.save(target, compress_level=1)
    stage = prepare(folder, "--cv=skfold3")
    table = table_of(stage)
    assert table["sha256"].nunique() == N
    assert table["pixels_sha256"].nunique() == N // 2
    for first, second in pairs:
        first_row, second_row = table.loc[IDS[first]], table.loc[IDS[second]]
        assert first_row["cv_group"] == second_row["cv_group"]
        assert first_row["fold"] == second_row["fold"]
    assert table["cv_group"].nunique() == N // 2
    metadata = json.loads((stage / "record.json").read_text())["facts"]
    assert metadata["copies"] == N // 2


def test_a_copy_of_a_training_picture_to_be_predicted_is_counted(folder: Path) -> None:
    with Image.open(folder / "pictures" / "p000.png") as image:
        image.save(folder / "pictures" / "q.bmp")
    picture(999).save(folder / "pictures" / "r.png")
    (folder / "test.csv").write_text("id\nq\nr\n")
    stage = prepare(folder, data='test = "test.csv"')
    metadata = json.loads((stage / "record.json").read_text())["facts"]
    assert (metadata["copies"], metadata["copies_of_train_in_test"]) == (1, 1)


def place_holders(folder: Path, rows: range) -> None:
    """Put the first of the pictures under the ids of all of them."""
    for row in rows[1:]:
        shutil.copyfile(
            folder / "pictures" / "p000.png", folder / "pictures" / f"{IDS[row]}.png"
        )


@pytest.mark.parametrize(
    ("n", "left", "why"),
    [
        (24, 1, "1 cv group does not fill 3 folds"),
        (22, 3, r"fold \d is one group"),
    ],
)
def test_a_placeholder_that_joins_the_groups_is_named_and_can_be_left_out(
    folder: Path, n: int, left: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place_holders(folder, rows=range(0, 2 * n, 2))  # each in another sheet
    message = refused(folder)
    assert re.search(why, message)
    assert (
        f"copies of pictures join 24 groups to {left}: p000.png and {n - 1}" in message
    )
    assert f"others are one picture, in {n} groups" in message
    assert 'placeholders = "leave_out" in [data_prep.prepare]' in message

    monkeypatch.setattr(decoded, "_decode_file", pytest.fail)  # all is done already
    stage = prepare(folder, "--placeholders=leave_out")
    table, array = table_of(stage), np.load(stage / "images.npy")
    left_out = left_out_of(stage)
    assert set(left_out) == set(IDS[: 2 * n : 2])
    assert left_out["p000"][1].endswith("for a placeholder: p000.png")
    assert len(table) == len(array) == N - n
    for id_, row in table["image_row"].items():
        small = picture(IDS.index(str(id_))).resize((16, 12), Image.Resampling.LANCZOS)
        assert_array_equal(array[row][2:14], np.asarray(small))
    assert not (stage / "kept.npy").exists()
    assert set(table["fold"]) == {0, 1, 2}


def test_a_placeholder_that_breaks_nothing_is_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    place_holders(folder, rows=range(0, 12, 2))
    stage = prepare(folder)
    expected_line = (
        "ne picture under many ids: p000.png and 5 others are one picture, in 6 gr"
    )
    assert expected_line in caplog.text
    assert expected_line in (stage / "report.html").read_text()
    assert "the largest cv group has 12 rows" in caplog.text
    metadata = json.loads((stage / "record.json").read_text())["facts"]
    assert metadata["placeholders"] == [["p000.png", 6]]


def test_rows_without_a_group_are_each_their_own(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    write_table(folder, sheet=["a"] * 4 + [""] * (N - 4))
    assert table_of(prepare(folder))["cv_group"].nunique() == N - 3
    assert "8% of the rows share" in caplog.text
    assert "the largest cv group has 4 rows" in caplog.text
    write_table(folder, sheet=["a"] * (N - 1) + [""])
    assert "2 groups do not fill 3 folds" in refused(folder)


def test_one_group_in_a_fold_is_refused_here_and_not_after_training(
    folder: Path,
) -> None:
    place_holders(folder, rows=range(0, 24, 12))  # in one sheet
    write_table(folder, sheet=[f"s{row % 3}" for row in range(N)])
    message = refused(folder)
    assert re.search(
        r"fold \d is one group, .*name a finer column in \[data\]", message
    )
    write_table(folder, sheet=[f"s{row % 6}" for row in range(N)])
    prepare(folder)
