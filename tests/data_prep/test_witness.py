"""Tests of witness: what has changed is seen, what has not is not read."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from data_prep.run_folders import witness
from data_prep.run_folders.witness import (
    UNSETTLED,
    ReadFile,
    Witness,
    compare,
    hash_of,
    is_same,
    read_witnesses,
    write_witnesses,
)

N = 6


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Path]:
    """Files of some length, all of them an hour old."""
    rng = np.random.default_rng(0)
    paths = {}
    for number in range(N):
        path = tmp_path / f"p{number}.png"
        path.write_bytes(rng.bytes(100_000))
        os.utime(path, (time.time() - 3600,) * 2)
        paths[path.stem] = path
    return paths


def witnesses(
    pictures: dict[str, Path], *, is_settled: bool = True
) -> dict[str, ReadFile]:
    """What was noted of them; a fresh file's time of change is never settled."""
    noted = {}
    for id_, path in pictures.items():
        status = path.stat()
        mtime = status.st_mtime_ns if is_settled else UNSETTLED
        now = Witness(size=status.st_size, mtime_ns=mtime, ctime_ns=status.st_ctime_ns)
        noted[id_] = ReadFile(witness=now, sha256=hash_of(path))
    return noted


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files settle at once, so that a test need not wait."""
    monkeypatch.setattr(witness, "RECENT_NS", -1)


@pytest.mark.usefixtures("settled")
def test_what_is_unchanged_is_not_read(
    pictures: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = witnesses(pictures)
    monkeypatch.setattr(witness, "hash_of", pytest.fail)
    assert compare(pictures, before) == before
    assert all(is_same(pictures[id_], before[id_]) for id_ in pictures)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("file_path", [0, 50_000, 99_999])
@pytest.mark.parametrize("is_dated_back", [False, True])
def test_one_changed_byte_is_seen_wherever_it_is(
    pictures: dict[str, Path], file_path: int, is_dated_back: bool
) -> None:
    before = witnesses(pictures)
    path = pictures["p3"]
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[file_path] ^= 1
    path.write_bytes(bytes(content))
    if is_dated_back:  # the system still notes when that was done
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert compare(pictures, before) is None
    assert not is_same(path, before["p3"])
    assert is_same(pictures["p2"], before["p2"])


@pytest.mark.usefixtures("settled")
def test_another_size_is_seen_without_reading_anything(
    pictures: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = witnesses(pictures)
    pictures["p0"].touch()
    with pictures["p5"].open("ab") as file:
        file.write(b"1")
    monkeypatch.setattr(witness, "hash_of", pytest.fail)
    assert compare(pictures, before) is None


@pytest.mark.usefixtures("settled")
def test_a_touched_file_is_read_once(
    pictures: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = witnesses(pictures)
    pictures["p1"].touch()
    now = compare(pictures, before)
    assert now is not None
    assert now != before
    assert {id_: read.sha256 for id_, read in now.items()} == {
        id_: read.sha256 for id_, read in before.items()
    }
    monkeypatch.setattr(witness, "hash_of", pytest.fail)
    assert compare(pictures, now) == now


def test_a_copy_on_another_machine_is_the_same(
    pictures: dict[str, Path], tmp_path: Path
) -> None:
    before = witnesses(pictures)
    elsewhere = {id_: tmp_path / "copies" / path.name for id_, path in pictures.items()}
    (tmp_path / "copies").mkdir()
    for id_, path in pictures.items():
        shutil.copyfile(path, elsewhere[id_])
    assert compare(elsewhere, before) is not None
    assert compare(dict(list(elsewhere.items())[1:]), before) is None
    assert compare(pictures | {"new": pictures["p0"]}, before) is None


def test_a_file_changed_as_it_was_read_is_in_doubt(
    pictures: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pictures["p0"]
    assert Witness.of(path.stat()).mtime_ns == UNSETTLED  # written a moment ago
    before = witnesses(pictures, is_settled=False)
    assert is_same(path, before["p0"])
    monkeypatch.setattr(witness, "hash_of", lambda _: "read")
    assert compare(pictures, before) is None


def test_what_could_not_be_read_is_the_same_until_it_can(
    pictures: dict[str, Path], tmp_path: Path
) -> None:
    gone = {"gone": tmp_path / "gone.png"}
    before = {"gone": ReadFile(witness=None, sha256="")}
    assert compare(gone, before) == before
    shutil.copyfile(pictures["p0"], gone["gone"])
    assert compare(gone, before) is None
    was_there = {"p0": ReadFile(witness=None, sha256=hash_of(pictures["p0"]))}
    assert compare({"p0": pictures["p0"]}, was_there) is not None
    pictures["p0"].unlink()
    assert compare({"p0": pictures["p0"]}, was_there) is None


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    file_path = tmp_path / "logs" / "pictures.json"
    files = {
        "ä\n\r,": ReadFile(
            witness=Witness(size=1, mtime_ns=2**61, ctime_ns=UNSETTLED), sha256="ab"
        ),
        "p": ReadFile(witness=None, sha256=""),
    }
    write_witnesses(file_path, files)
    assert read_witnesses(file_path) == files
    assert [path.name for path in file_path.parent.iterdir()] == ["pictures.json"]


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": ["x", 1, 2, "s"]}', "{"])
def test_a_broken_note_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "note.json").write_text(text)
    assert read_witnesses(tmp_path / "note.json") == {}
    assert read_witnesses(tmp_path / "none.json") == {}
