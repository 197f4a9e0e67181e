"""Tests of data_prep.executors.parcels and data_prep.executors.node_files."""

import functools
import os
from pathlib import Path

import numpy as np
import pytest

from data_prep.errors import UserError
from data_prep.executors import node_files
from data_prep.executors.node_files import (
    draft_of,
    lacking,
    mirror,
    node_folder,
    place_files,
    read_folder,
    replace_folder,
    tidy,
)
from data_prep.executors.parcels import Needed, opened, pack, place_of
from data_prep.executors.work import Result, Work
from tests.executors.works import shout


def work_in(folder: Path) -> Work:
    (folder / "read").mkdir()
    (folder / "read" / "one.txt").write_text("one")
    (folder / "read" / "two.txt").write_text("two")
    return Work(
        name="a",
        function=functools.partial(
            shout, folder / "read" / "one.txt", folder / "written"
        ),
        log_file=folder / "written" / "log",
        reads=(folder / "read", folder / "read" / "one.txt"),
        writes=folder / "written",
    )


def nothing_to_bring(file: Needed) -> list[memoryview]:
    pytest.fail(f"{file} is there")


def test_work_is_done_in_a_mirror_and_touches_nothing_else(tmp_path: Path) -> None:
    parcel = pack(work_in(tmp_path))
    names = [Path(file.source).name for file in parcel.needed]
    assert names == ["one.txt", "two.txt"]
    node = tmp_path / "node"
    seen, absent = lacking(parcel.needed, node)
    assert not absent
    with mirror(node) as path:
        place_files(
            parcel.needed,
            path,
            seen=frozenset(seen),
            folder=node,
            bring=nothing_to_bring,
        )
        result: Result = opened(parcel.content, path)(None)
        written = path.joinpath(*place_of(tmp_path / "written"))
        assert result.value["folder"] == written
        assert (written / "deep" / "loud.txt").read_text() == "ONE"
    assert not path.exists()
    assert not (tmp_path / "written").exists()


def test_a_changed_file_is_another(tmp_path: Path) -> None:
    work = work_in(tmp_path)
    before = pack(work).needed
    (tmp_path / "read" / "one.txt").write_text("two")
    after = pack(work).needed
    assert before[0].digest != after[0].digest == after[1].digest
    seen, absent = lacking(before, tmp_path / "node")
    assert seen == {before[1].source}
    assert absent == {before[0].digest}


def test_a_file_is_brought_once_and_used_by_all(tmp_path: Path) -> None:
    needed = pack(work_in(tmp_path)).needed[:1]
    node, brought = tmp_path / "node", []

    def bring(file: Needed) -> list[memoryview]:
        brought.append(file.digest)
        return [memoryview(b"o"), memoryview(b"ne")]

    for _ in range(2):
        with mirror(node) as path:
            place_files(needed, path, seen=frozenset(), folder=node, bring=bring)
            place = path.joinpath(*place_of(Path(needed[0].source)))
            assert place.read_text() == "one"
    assert len(brought) == 1
    assert lacking(needed, node) == ({needed[0].source}, set())


@pytest.mark.parametrize("content", [b"", b"other pixels"])
def test_a_file_of_a_node_that_has_become_another_is_brought_anew(
    tmp_path: Path, content: bytes
) -> None:
    node, needed = tmp_path / "node", pack(work_in(tmp_path)).needed[:1]
    Path(needed[0].source).unlink()
    kept = node / "files" / needed[0].digest
    kept.parent.mkdir(parents=True)
    kept.write_bytes(content)
    assert lacking(needed, node) == (set(), {needed[0].digest})
    assert not kept.exists()


@pytest.mark.parametrize("foreign", ["file", "link", "owner"])
def test_a_folder_of_a_node_that_another_user_made_is_refused(
    tmp_path: Path, foreign: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_files.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = node_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert node_folder() == folder
    folder.rmdir()
    if foreign == "file":
        folder.touch()
    elif foreign == "link":
        folder.symlink_to(tmp_path)
    else:
        folder.mkdir()
        uid = os.getuid()
        monkeypatch.setattr(node_files.os, "getuid", lambda: uid + 1)
        folder.rename(tmp_path / f"tessera-{uid + 1}")
    with pytest.raises(UserError, match=f"^{tmp_path}/tessera-.* not a folder of this"):
        node_folder()


def test_what_a_kill_left_and_what_is_old_is_tidied_up(tmp_path: Path) -> None:
    for name in ("new", "old"):
        (tmp_path / "files").mkdir(exist_ok=True)
        (tmp_path / "files" / name).touch()
    os.utime(tmp_path / "files" / "old", (0, 0))
    (tmp_path / "works" / "killed").mkdir(parents=True)
    (tmp_path / "works" / "killed.lock").touch()
    with mirror(tmp_path) as path:
        tidy(tmp_path)
        assert path.is_dir()
        assert [file.name for file in (tmp_path / "files").iterdir()] == ["new"]
        assert not (tmp_path / "works" / "killed").exists()


def test_a_folder_comes_back_whole_in_place_of_what_was_there(tmp_path: Path) -> None:
    node, here = tmp_path / "node", tmp_path / "here"
    large = np.arange(2 * node_files.MAPPED_BYTES, dtype=np.uint8)
    (node / "deep").mkdir(parents=True)
    (node / "deep" / "large").write_bytes(large.tobytes())
    (node / "empty").touch()
    files = read_folder(node)
    (node / "deep" / "large").unlink()  # what is mapped lives on
    here.mkdir()
    (here / "of an earlier attempt").touch()
    draft_of(here).mkdir()  # a driver was killed over it
    (draft_of(here) / "half").touch()
    replace_folder(files, here)
    assert (here / "deep" / "large").read_bytes() == large.tobytes()
    assert [path.name for path in sorted(here.iterdir())] == ["deep", "empty"]
    assert not draft_of(here).exists()


def test_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    (tmp_path / "large disk" / "old").touch()
    (tmp_path / "here").symlink_to(tmp_path / "large disk")
    replace_folder({"new": np.zeros(1, np.uint8)}, tmp_path / "here")
    assert (tmp_path / "here").is_symlink()
    assert [path.name for path in (tmp_path / "large disk").iterdir()] == ["new"]


def test_a_full_disk_leaves_the_folder_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(files: node_files.Files, folder: Path) -> None:
        folder.mkdir()
        (folder / next(iter(files))).touch()
        raise OSError("4096 requested and 12 written")

    monkeypatch.setattr(node_files, "write_folder", fill)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "old").touch()
    with pytest.raises(OSError, match="requested"):
        replace_folder({"new": np.zeros(1, np.uint8)}, tmp_path / "here")
    assert (tmp_path / "here" / "old").exists()
    assert not draft_of(tmp_path / "here").exists()
