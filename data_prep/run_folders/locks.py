"""The lock of a stage: one process writes it at a time."""

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from data_prep.errors import UserError

READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class LockedStageError(UserError):
    """Another process is writing the stage."""


@contextmanager
def locked(path: Path, name: str) -> Iterator[None]:
    """Hold the lock of a stage; it dies with the process.

    Args:
        path: File of the lock, in the folder of the run.
        name: Name of the stage, for the message.

    Raises:
        LockedStageError: Another process holds it.
    """
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedStageError(
                f"{path.parent / name} is being written by another process;"
                " wait for it or stop it"
            ) from None
        yield


def _opened(path: Path) -> IO[str]:
    try:
        return path.open("w")
    except OSError as error:
        if error.errno not in READ_ONLY or not path.exists():
            raise
        return path.open()  # where nothing can be written, a lock can still be seen
