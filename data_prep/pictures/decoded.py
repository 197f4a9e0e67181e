"""Decoding many files: each to a square and a record of what became of it.

Shapes: S pixels per side.
"""

import hashlib
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from data_prep.errors import UnreadableError
from data_prep.pictures.decode import read_picture
from data_prep.pictures.fit import Fit, Pixels, fit_square
from data_prep.pictures.pages import Page, PictureFile, file_of, page_of
from data_prep.pictures.picture_info import PictureInfo
from data_prep.pictures.printable import shown
from data_prep.processes import in_processes, n_cores
from data_prep.run_folders.witness import Witness

log = logging.getLogger(__name__)
N_TIMED = 5  # files
CHUNK = 16  # pictures a process takes at a time
CHUNK_BYTES = 2**23  # ... unless they are large


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What became of one file.

    Attributes:
        reason: Why it is unreadable; empty if it is readable.
        sha256: Of the file's bytes; empty if not even those can be read.
        width: Of the upright original, in pixels; 0 if it is unreadable.
        height: Of the upright original, in pixels; 0 if it is unreadable.
        pixels_sha256: Of the pixels that are stored: the same for pictures that no net
            can tell apart. Empty if it is unreadable.
        witness: By which a change of the file since is noticed.
        info: What else is to be known of it.
    """

    reason: str = ""
    sha256: str = ""
    width: int = 0
    height: int = 0
    pixels_sha256: str = ""
    witness: Witness | None = field(default=None, compare=False)
    info: PictureInfo = field(default_factory=PictureInfo)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "Decoded":
        """Make it of the JSON value of its fields.

        Raises:
            ValueError: They are of another version.
        """
        if "pixels_sha256" not in fields:
            raise ValueError("not of this version: no pixels were compared")
        try:
            info, witness = PictureInfo(**fields.get("info", {})), fields.get("witness")
            witness = Witness(**witness) if witness else None
            return cls(**{**fields, "witness": witness, "info": info})
        except (AttributeError, TypeError) as error:
            raise ValueError(f"not of this version: {error}") from None

    def to_fields(self) -> dict[str, Any]:
        """Give its fields as a JSON value, of which ``from_fields`` makes it again."""
        return asdict(self)


def decode_files(
    pictures: Sequence[PictureFile],
    side: int,
    fit: Fit,
    workers: int,
) -> Iterator[tuple[Decoded, Pixels | None]]:
    """Decode file after file, in order; in this process if that is quicker.

    Args:
        pictures: The files, or pages of them.
        side: S.
        fit: How a picture becomes square; see ``data_prep.pictures.fit``.
        workers: Processes; 0: one per core at hand.

    Yields:
        For each what became of it, and its (S, S, 3) square; None if it is
        unreadable.

    Raises:
        UserError: A process was killed.
    """
    size = max(1, min(CHUNK, CHUNK_BYTES // (3 * side * side)))
    decode_file = partial(_decode_file, side=side, fit=fit)
    n_processes = min(workers or n_cores(), math.ceil(len(pictures) / size) // 4)
    yield from in_processes(
        decode_file,
        pictures,
        n_processes=n_processes,
        chunk=size,
        remedy="--workers 1, or --threads 1",
    )
    _kept.cache_clear()


def time_decoding(pictures: Sequence[PictureFile], side: int) -> float:
    """Decode a few of some files, and say how long one takes, in seconds."""
    few = pictures[:: max(1, len(pictures) // N_TIMED)][:N_TIMED]
    began = time.perf_counter()
    reasons = [_decode_file(picture, side, "pad")[0].reason for picture in few]
    seconds = (time.perf_counter() - began) / max(1, len(few))
    if few and all(reasons):
        log.warning(
            "%s: %s; none of %d pictures looked at can be read",
            shown(file_of(few[0])),
            reasons[0],
            len(few),
        )
    return seconds


def _decode_file(
    picture_file: PictureFile, side: int, fit: Fit
) -> tuple[Decoded, Pixels | None]:
    path, witness = file_of(picture_file), None
    try:
        with path.open("rb") as file:
            # taken before the bytes are read, so that a later change shows
            witness = Witness.of(os.fstat(file.fileno()))
            is_page = isinstance(picture_file, Page)
            data, sha256 = _kept(path, witness) if is_page else _hashed(file.read())
    except OSError as error:
        reason = f"it cannot be read, {error.strerror or error}"
        return Decoded(reason=reason, witness=witness), None
    try:
        picture = read_picture(data, side, path.suffix, page_of(picture_file))
    except UnreadableError as error:
        return Decoded(reason=str(error), sha256=sha256, witness=witness), None
    square = fit_square(picture.image, side, fit)
    width, height = picture.size
    decoded = Decoded(
        sha256=sha256,
        width=width,
        height=height,
        pixels_sha256=hashlib.sha256(square.data).hexdigest(),
        witness=witness,
        info=picture.info,
    )
    return decoded, square


def _hashed(data: bytes) -> tuple[bytes, str]:
    """Give the bytes of a file and their SHA-256."""
    return data, hashlib.sha256(data).hexdigest()


@lru_cache(maxsize=1)
def _kept(path: Path, _witness: Witness) -> tuple[bytes, str]:
    """Read and hash a file once for its pages, which come one after another."""
    return _hashed(path.read_bytes())
