"""Tests of data_prep.run_folders.drafts."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn
from unittest.mock import Mock

import pytest

from data_prep.run_folders.drafts import ENDING, drafted, drop_drafts, write_text

ROOT = Path(__file__).parents[2]
WRITE_OFTEN = """
import sys
from pathlib import Path
from data_prep.run_folders.drafts import drafted
path, letter = Path(sys.argv[1]), sys.argv[2].encode()
for _ in range(40):
    with drafted(path) as file:
        for _ in range(20):
            file.write(letter * 500)
            file.flush()
"""
DIE = """
import os, sys
from pathlib import Path
from data_prep.run_folders.drafts import drafted
with drafted(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os._exit(9)
"""


def start(script: str, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", script, *arguments], cwd=ROOT)


def test_commands_that_write_one_file_at_once_never_mix_their_bytes(
    tmp_path: Path,
) -> None:
    path = tmp_path / "run.json"
    writers = [start(WRITE_OFTEN, str(path), letter) for letter in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    written = path.read_bytes()
    assert written == written[:1] * 10_000
    assert [*tmp_path.iterdir()] == [path]


def test_what_a_killed_command_left_goes_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    write_text(path, "old")
    assert start(DIE, str(path)).wait() == 9
    (left,) = (file for file in tmp_path.iterdir() if file != path)
    assert left.name.startswith(".out.csv.")
    assert left.suffix == ENDING
    assert path.read_text() == "old"
    write_text(tmp_path / "other.csv", "")
    assert left.exists()  # of another file: its writer may be at work
    write_text(path, "new")
    assert not left.exists()
    assert path.read_text() == "new"


def test_a_draft_in_use_is_nobody_elses_to_remove(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with drafted(path) as draft_file:
        draft_file.write(b"ours")
        write_text(path, "theirs")
        assert path.read_text() == "theirs"
    assert path.read_text() == "ours"


@pytest.mark.parametrize("error", [RuntimeError(), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_no_draft(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "out.csv"
    write_text(path, "old")

    def attempt() -> NoReturn:
        with drafted(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        attempt()
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_an_error_of_the_disk_names_the_file_and_not_the_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    full = OSError(code, os.strerror(code))
    monkeypatch.setattr("os.fsync", Mock(side_effect=full))
    path = tmp_path / "out.csv"
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        write_text(path, "new")
    assert caught.value.filename == str(path)
    assert [*tmp_path.iterdir()] == []


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("no folder")
    with pytest.raises(OSError, match="runs") as caught:
        write_text(tmp_path / "runs" / "x.json", "")
    assert caught.value.errno in (errno.ENOTDIR, errno.EEXIST)


@pytest.mark.parametrize("name", ["n" * 250, "ü" * 120, "[a-z]*?.csv", "-x", ".x"])
def test_any_name_that_a_file_can_have_can_be_drafted(
    tmp_path: Path, name: str
) -> None:
    for text in ("old", "new"):
        write_text(tmp_path / "deep" / name, text)
    assert (tmp_path / "deep" / name).read_text() == "new"
    assert len([*(tmp_path / "deep").iterdir()]) == 1


def test_a_file_has_the_rights_that_the_user_gives_new_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "x", "")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_all_drafts_of_a_folder_can_be_dropped(tmp_path: Path) -> None:
    for name in (".a.1-2.draft", "deep/.b.3-4.draft", "old.csv.draft", "deep/kept"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("half")
    drop_drafts(tmp_path)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept == [tmp_path / "deep" / "kept"]
