"""Files that take their place whole or not at all, however many write them at once."""

import csv
import fcntl
import io
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

ENDING = ".draft"
NAME_SHOWN = 40  # characters of the file's name: the draft's must not be too long


@contextmanager
def drafted(path: Path) -> Iterator[BinaryIO]:
    """Open a draft that takes the place of ``path`` on a clean exit, or disappears.

    Each writer has a draft of its own, hidden beside the file, so that of several at
    once the last wins and their bytes never mix. What a killed writer left behind is
    removed by the next.

    Raises:
        OSError: The file cannot be written; the error names it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_abandoned(path)
        with _draft_of(path) as (file, draft):
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                draft.replace(path)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
    except OSError as error:
        # a full disk names no file, and nobody knows the draft
        if error.filename is None or str(error.filename).endswith(ENDING):
            error.filename, error.filename2 = str(path), None
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with drafted(path) as file:
        file.write(text.encode())


def write_rows(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Write a csv file, the header first, whole or not at all."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    write_text(path, text.getvalue())


def drop_drafts(folder: Path) -> None:
    """Remove all drafts in a folder that nobody else may write into now."""
    for draft in list(folder.rglob(f"*{ENDING}")):
        if draft.is_dir():
            shutil.rmtree(draft)
        else:
            draft.unlink(missing_ok=True)


def _start_of(path: Path) -> str:
    """Give what the names of the drafts of ``path`` begin with."""
    return f".{path.name[:NAME_SHOWN]}."


@contextmanager
def _draft_of(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Make a new draft and hold its lock, which tells others that it is in use."""
    while True:
        name = f"{_start_of(path)}{os.getpid()}-{os.urandom(4).hex()}{ENDING}"
        draft = path.with_name(name)
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "w+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if draft.exists():  # and was not taken for abandoned before it was locked
                yield file, draft
                return


def _drop_abandoned(path: Path) -> None:
    """Remove the drafts of ``path`` whose writers are gone."""
    start = _start_of(path)
    for draft in path.parent.iterdir():
        if not (draft.name.startswith(start) and draft.name.endswith(ENDING)):
            continue
        with suppress(OSError), draft.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.unlink(missing_ok=True)
