"""Files that take their place whole or not at all, one writer at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def drafted(path: Path) -> Iterator[BinaryIO]:
    """Open a draft that takes the place of ``path`` on a clean exit, or disappears.

    Writers of the same file take turns, and the last one wins. What a killed process
    left behind is overwritten by the next.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    try:
        with _locked(draft) as file:
            try:
                file.truncate(0)
                yield file
                file.flush()
                os.fsync(file.fileno())
                draft.replace(path)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk names no file
        raise


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """Open a file that no other writer has open."""
    while True:
        # created if need be, and never emptied while another writer is at it
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                is_current = os.path.samestat(os.fstat(file.fileno()), path.stat())
            except FileNotFoundError:
                is_current = False
            if is_current:  # and not moved away by the writer before us
                yield file
                return
