"""Whether files are still the ones that were read, without reading them again.

The size and the times of a file are a cheap witness: where they agree it has not been
changed. Where they do not, as after a copy to another machine, the hash of all its
bytes decides.
"""

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from data_prep.run_folders.damage import digest_file
from data_prep.run_folders.drafts import write_text

RECENT_NS = 2_000_000_000  # clocks of file systems tick as coarsely as that
UNSETTLED = -1  # a time that no file has
FIELDS = ("size", "mtime_ns", "ctime_ns")
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Witness:
    """What a file was when it was read.

    Attributes:
        size: In bytes.
        mtime_ns: When its bytes were changed, in ns; ``UNSETTLED`` if so shortly before
            it was read that a change since might bear the same time.
        ctime_ns: When its bytes, name or rights were changed, in ns.
    """

    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Witness":
        """Make it of the status of a file, taken before the file is read."""
        last = max(status.st_mtime_ns, status.st_ctime_ns)
        is_settled = time.time_ns() - last > RECENT_NS
        mtime = status.st_mtime_ns if is_settled else UNSETTLED
        return cls(size=status.st_size, mtime_ns=mtime, ctime_ns=status.st_ctime_ns)


@dataclass(frozen=True, kw_only=True)
class ReadFile:
    """A file that was read.

    Attributes:
        witness: Its size and times; None: unknown.
        sha256: Hash of its bytes; empty where it could not be read.
    """

    witness: Witness | None
    sha256: str

    def listed(self) -> list[int | str]:
        """Give what it is as a list of JSON, of which ``of_list`` makes it again."""
        return [*(astuple(self.witness) if self.witness else ()), self.sha256]

    @classmethod
    def of_list(cls, listed: Sequence[Any]) -> "ReadFile":
        """Make it of what ``listed`` gave.

        Raises:
            ValueError: That is something else.
        """
        *numbers, sha256 = listed
        witness = None
        if numbers:
            witness = Witness(**dict(zip(FIELDS, map(int, numbers), strict=True)))
        return cls(witness=witness, sha256=str(sha256))


def hash_of(path: Path) -> str:
    """Hash all bytes of a file; empty if it cannot be read."""
    try:
        return digest_file(path)
    except OSError:
        return ""


def is_same(path: Path, before: ReadFile) -> bool:
    """Tell whether a file is still the one that was read."""
    verdict = _verdict(_witness_of(path), before)
    return hash_of(path) == before.sha256 if verdict is None else verdict


def compare(
    pictures: Mapping[str, Path], before: Mapping[str, ReadFile]
) -> dict[str, ReadFile] | None:
    """Compare files with what they were.

    Args:
        pictures: The file of each id.
        before: What each was when it was read.

    Returns:
        The files as they are now, to be kept for the next time; None if a file has
        changed, or if there are other files than before.
    """
    if pictures.keys() != before.keys():
        return None
    witnesses = {id_: _witness_of(path) for id_, path in pictures.items()}
    verdicts = {id_: _verdict(witnesses[id_], before[id_]) for id_ in pictures}
    if False in verdicts.values():
        return None
    doubtful = [id_ for id_, verdict in verdicts.items() if verdict is None]
    if len(doubtful) > 1000:
        log.info("%d pictures have another date: comparing contents", len(doubtful))
    if any(hash_of(pictures[id_]) != before[id_].sha256 for id_ in doubtful):
        return None
    settled = {id_: replace(before[id_], witness=witnesses[id_]) for id_ in doubtful}
    return {**before, **settled}


def write_witnesses(path: Path, files: Mapping[str, ReadFile]) -> None:
    """Write the witness and hash of each file by id, whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    listed = {id_: read.listed() for id_, read in files.items()}
    write_text(path, json.dumps(listed))


def read_witnesses(path: Path) -> dict[str, ReadFile]:
    """Read what ``write_witnesses`` wrote; empty if there is nothing that can be."""
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        return {str(id_): ReadFile.of_list(fields) for id_, fields in listed.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _witness_of(path: Path) -> Witness | None:
    try:
        return Witness.of(path.stat())
    except OSError:
        return None


def _verdict(witness: Witness | None, before: ReadFile) -> bool | None:
    """Tell whether a file is still the one that was read; None: its bytes decide."""
    if witness is None or before.witness is None:
        return None
    if witness.size != before.witness.size:
        return False
    is_settled = witness.mtime_ns != UNSETTLED
    return True if is_settled and witness == before.witness else None
