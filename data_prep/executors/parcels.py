"""Work on its way to another machine: what it reads, and its paths as they are there.

The function of a piece of work is pickled with a name in place of each path. Where it
is done, the names become paths again, below a folder that has the files which the work
reads at the same places: a mirror of this machine's disk. So nothing is found there
that the work did not name, whether or not the machines share a disk.
"""

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from data_prep.executors.work import Work
from data_prep.run_folders.damage import digest_file

Place = tuple[str, ...]  # parts of an absolute path, without the root


@dataclass(frozen=True, kw_only=True)
class Needed:
    """A file that a piece of work reads.

    Attributes:
        source: Where it lies for the driver, and for all who see its disk.
        n_bytes: Its size.
        digest: Of its content.
    """

    source: str
    n_bytes: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """A piece of work that can be opened on any machine.

    Attributes:
        name: Of the work.
        content: Its function, pickled.
        needed: The files that it reads.
        writes: Place of the folder that it writes; None: it writes none.
        log_file: Place of its log.
    """

    name: str
    content: bytes
    needed: Sequence[Needed]
    writes: Place | None
    log_file: Place


def pack(work: Work) -> Parcel:
    """Pickle a piece of work, and list the files that it reads.

    Raises:
        OSError: One of them is not there.
    """
    buffer = io.BytesIO()
    _Packer(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(work.function)
    return Parcel(
        name=work.name,
        content=buffer.getvalue(),
        needed=needed_by(work),
        writes=None if work.writes is None else place_of(work.writes),
        log_file=place_of(work.log_file),
    )


def needed_by(work: Work) -> list[Needed]:
    """List the files that a piece of work reads.

    Raises:
        OSError: One of them is not there.
    """
    files = [file for path in work.reads for file in files_below(path)]
    return [_needed(file) for file in dict.fromkeys(files)]


def opened(content: bytes, mirror: Path) -> Any:
    """Unpickle the function of a parcel.

    Args:
        content: Of a parcel.
        mirror: Folder that has the files at their places.
    """
    return _Opener(io.BytesIO(content), mirror).load()


def place_of(path: Path) -> Place:
    """Give the place of a path in a mirror."""
    return path.absolute().parts[1:]


def files_below(path: Path) -> list[Path]:
    """Give a file, or the files in a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file for file in files if not file.is_dir()]


def _needed(file: Path) -> Needed:
    status = file.stat()
    return Needed(
        source=str(file.absolute()),
        n_bytes=status.st_size,
        digest=_digest_at(file.absolute(), status.st_size, status.st_mtime_ns),
    )


@cache
def _digest_at(file: Path, n_bytes: int, mtime_ns: int) -> str:
    """Hash a file once for all works, as long as it stays what it is."""
    del n_bytes, mtime_ns
    return digest_file(file)


class _Packer(pickle.Pickler):
    """Pickles names in place of paths."""

    def persistent_id(self, value: Any) -> Place | None:
        """Name a path; None: it is something else."""
        return place_of(value) if isinstance(value, Path) else None


class _Opener(pickle.Unpickler):
    """Makes paths of the names."""

    def __init__(self, buffer: io.BytesIO, mirror: Path) -> None:
        super().__init__(buffer)
        self.mirror = mirror

    def persistent_load(self, parts: Place) -> Path:
        """Give the path of a place."""
        return self.mirror.joinpath(*parts)
