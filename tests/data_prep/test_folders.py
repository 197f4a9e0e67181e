"""Tests of data_prep.pictures.folders."""

import errno
import os
from pathlib import Path

import pytest

from data_prep.errors import UserError
from data_prep.pictures.folders import (
    NO_PICTURE,
    LeftOut,
    explain_missing,
    search_folders,
)
from data_prep.pictures.printable import shown


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures_folder = tmp_path / "pictures"
    pictures_folder.mkdir()
    (pictures_folder / "good.png").write_bytes(b"not opened")
    return pictures_folder


def add_bytes(folder: Path, name: bytes) -> None:
    (folder / os.fsdecode(name)).write_bytes(b"")


def test_what_can_be_no_picture_is_named_and_never_opened(folder: Path) -> None:
    add_bytes(folder, b"caf\xe9.png")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(folder / "pipe.tif")
    (folder / "zeros.bmp").symlink_to("/dev/zero")
    (folder / "linked.png").symlink_to("good.png")
    (folder / "folder.png").mkdir()
    result = search_folders([folder])
    assert list(result.pictures) == ["good", "linked"]
    reasons = {left.id: (left.file, left.reason) for left in result.unusable.values()}
    assert reasons == {
        r"caf\xe9": (r"caf\xe9.png", "its name is not in UTF-8; rename the file"),
        "gone": ("gone.jpg", "it is a link to a file that is not there"),
        "loop": ("loop.jpg", f"it cannot be read, {os.strerror(errno.ELOOP)}"),
        "pipe": ("pipe.tif", "it is a pipe or a device and not a file"),
        "zeros": ("zeros.bmp", "it is a pipe or a device and not a file"),
    }
    assert all(left.file.encode() for left in result.unusable.values())


def test_a_folder_of_unusable_files_alone_is_explained(tmp_path: Path) -> None:
    add_bytes(tmp_path, b"caf\xe9.png")
    with pytest.raises(UserError, match=r"no pictures here .*; caf\\xe9\.png: its"):
        search_folders([tmp_path])


def test_a_folder_that_cannot_be_listed_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"pictures: the folder cannot be read: Perm"):
        search_folders([folder])


# What lies in the folder, and what is said of the id p1.
INSTEAD = {
    "p1.CR2": "its file has a format that is not read: p1.CR2",
    "p1.jpg_large": "its file has a format that is not read: p1.jpg_large",
    "p1": "its file has no extension: p1",
    "p1.png.part": "its file is still being written or downloaded: p1.png.part",
    "p1.crdownload": "its file is still being written or downloaded: p1.crdownload",
    ".p1.png": "its file is hidden: .p1.png",
    "deep/er/p1.CR2": "its file has a format that is not read: deep/er/p1.CR2",
}


@pytest.mark.parametrize("file", INSTEAD)
def test_what_there_is_instead_of_a_picture_is_said(folder: Path, file: str) -> None:
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(b"")
    left_out = explain_missing(["p1", "p2"], search_folders([folder]), {})
    assert left_out == [
        LeftOut(id="p1", file=file, reason=INSTEAD[file]),
        LeftOut(id="p2", file="", reason=NO_PICTURE),
    ]
    assert left_out[0].summary == INSTEAD[file].partition(": ")[0]
    assert left_out[1].summary == NO_PICTURE


def test_the_most_telling_of_several_files_is_named(folder: Path) -> None:
    for name in ("p1.json", "p1.png.part", "._p2.png", "p3.txt", "deep/.p3.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    left_out = explain_missing(["p1", "p2", "p3"], search_folders([folder]), {})
    assert [left.file for left in left_out] == ["p1.png.part", "", "deep/.p3.png"]


def test_an_unusable_file_of_the_id_comes_first(folder: Path) -> None:
    (folder / "p1.png").symlink_to("nowhere")
    (folder / "p1.txt").write_bytes(b"")
    (left_out,) = explain_missing(["p1"], search_folders([folder]), {})
    assert left_out.reason == "it is a link to a file that is not there"


@pytest.mark.parametrize("raw", [b"caf\xe9.png", b"caf\x82.png"])
def test_a_name_in_an_old_encoding_is_known_by_its_id(folder: Path, raw: bytes) -> None:
    add_bytes(folder, raw)
    (left_out,) = explain_missing(["café"], search_folders([folder]), {})
    assert left_out.id == "café"
    assert left_out.file == shown(os.fsdecode(raw))
    assert "not in UTF-8" in left_out.reason


def test_where_there_is_no_file_something_else_may_be_said(folder: Path) -> None:
    (folder / "p1.svg").write_bytes(b"")
    otherwise = {"p1": "not said", "p2": "said"}
    left_out = explain_missing(["p1", "p2"], search_folders([folder]), otherwise)
    assert left_out[0].file == "p1.svg"
    assert left_out[1] == LeftOut(id="p2", file="", reason="said")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain é 漢", "plain é 漢"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("two\nlines\t\x07", r"two\nlines\t\x07"),
    ],
)
def test_a_name_is_shown_in_one_line_that_can_be_written(name: str, text: str) -> None:
    assert shown(name) == text
    assert text.encode()
