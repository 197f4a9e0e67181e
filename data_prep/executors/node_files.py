"""The files of a node: what works there read, kept by digest, and where they write.

::

    TMPDIR/tessera-UID/            of this user, and readable by no other
        files/DIGEST        brought once, for all works and runs; mapped by all
        works/NAME/         the mirror of a piece of work, gone when it has ended
        works/NAME.lock     held meanwhile: others may clean up after a kill
"""

import fcntl
import os
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import UserError
from data_prep.executors.parcels import Needed, place_of
from data_prep.run_folders.damage import digest_file
from data_prep.run_folders.drafts import drafted

if TYPE_CHECKING:
    from numpy.typing import NDArray

PRIVATE = 0o700
KEPT_S = 7 * 24 * 3600  # since a file was last used
MAPPED_BYTES = 1 << 16  # smaller files are read
MARGIN_BYTES = 1 << 28  # for what works write beside it

Bring = Callable[[Needed], Iterable[memoryview]]  # pieces of a file
Files = Mapping[str, "NDArray[Any]"]  # bytes of files, by path relative to their folder


def node_folder() -> Path:
    """Give the folder of a node, in its folder for temporary files.

    Raises:
        UserError: What is there is no folder, or another user's, who could change what
            works read.
    """
    folder = Path(tempfile.gettempdir()) / f"tessera-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=PRIVATE)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise UserError(
            f"{folder} is not a folder of this user; remove it, or start the node with"
            " another TMPDIR"
        )
    folder.chmod(PRIVATE)
    return folder


def lacking(needed: Iterable[Needed], folder: Path) -> tuple[set[str], set[str]]:
    """Look which files a node sees, and which it lacks.

    Args:
        needed: The files.
        folder: Of the node.

    Returns:
        Sources that it reads where the driver does; digests that are to be brought.
    """
    seen, absent = set(), set()
    for file in needed:
        kept = folder / "files" / file.digest
        if _holds(Path(file.source), file):
            seen.add(file.source)
        elif not _holds(kept, file):
            kept.unlink(missing_ok=True)
            absent.add(file.digest)
    return seen, absent


def _holds(path: Path, file: Needed) -> bool:
    """Tell whether a path has what a file has, to the bit."""
    with suppress(OSError):
        is_same = path.stat().st_size == file.n_bytes
        return is_same and digest_file(path) == file.digest
    return False


def free_bytes(folder: Path) -> int:
    """Give the room on the disk of a folder."""
    return shutil.disk_usage(folder).free


def tidy(folder: Path) -> None:
    """Remove files that nothing has used for a week, and works that were killed."""
    for file in (folder / "files").glob("*"):
        with suppress(OSError):
            if time.time() - file.stat().st_mtime > KEPT_S:
                file.unlink()
    for lock in (folder / "works").glob("*.lock"):
        with suppress(OSError), lock.open() as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink()


@contextmanager
def mirror(folder: Path) -> Iterator[Path]:
    """Give a new folder for a piece of work; it goes when the work has ended."""
    path = folder / "works" / uuid.uuid4().hex
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_suffix(".lock")
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            path.mkdir()
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            lock.unlink(missing_ok=True)


def place_files(
    needed: Sequence[Needed],
    path: Path,
    *,
    seen: frozenset[str],
    folder: Path,
    bring: Bring,
) -> None:
    """Put files at their places in a mirror, by links.

    Args:
        needed: The files.
        path: Of the mirror.
        seen: Sources that this node reads where the driver does.
        folder: Of the node.
        bring: Gives what the node lacks.
    """
    for file in needed:
        source = Path(file.source)
        if file.source not in seen:
            source = _kept(file, folder, bring)
        target = path.joinpath(*place_of(Path(file.source)))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source)


def _kept(file: Needed, folder: Path, bring: Bring) -> Path:
    """Give a file of the node; the first who needs it brings it, others wait."""
    kept = folder / "files" / file.digest
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            with drafted(kept) as draft:
                for piece in bring(file):
                    draft.write(piece)
        os.utime(kept)
    return kept


def read_folder(folder: Path) -> Files:
    """Read the files in a folder; large ones are mapped, and live on when removed."""
    import numpy as np

    files: dict[str, NDArray[Any]] = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        is_large = path.stat().st_size >= MAPPED_BYTES
        data: NDArray[Any] = (
            np.memmap(path, np.uint8, mode="r").view(np.ndarray)
            if is_large
            else np.frombuffer(path.read_bytes(), np.uint8)
        )
        files[path.relative_to(folder).as_posix()] = data
    return files


def write_folder(files: Files, folder: Path) -> None:
    """Write files into a folder that nobody reads yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            data.tofile(file)
            file.flush()
            os.fsync(file.fileno())


def draft_of(folder: Path) -> Path:
    """Name what a folder is written as before it takes its place."""
    folder = folder.resolve()
    return folder.with_name(f"{folder.name}.draft")


def replace_folder(files: Files, folder: Path) -> None:
    """Put a folder in its place, whole: in place of what an earlier attempt left.

    Where the folder is a link, what it leads to is replaced.
    """
    folder, draft = folder.resolve(), draft_of(folder)
    shutil.rmtree(draft, ignore_errors=True)
    try:
        write_folder(files, draft)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    draft.replace(folder)
