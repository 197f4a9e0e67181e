"""Pictures: finding them, and decoding each once into one array on disk.

Shapes: N pictures, S pixels per side.
"""

import errno
import hashlib
import io
import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from data_prep.errors import UserError
from data_prep.pictures.decode import (
    Fit,
    Pixels,
    UnreadableError,
    fit_square,
    read_picture,
)
from data_prep.pictures.folders import shown
from data_prep.pictures.notes import Notes
from data_prep.processes import n_cores, pool_of
from data_prep.run_folders.drafts import write_text
from data_prep.run_folders.witness import Read, Witness, is_same

CHUNK = 16  # pictures a process takes at a time
CHUNK_BYTES = 2**23  # ... unless they are large
JOURNAL = ".journal"  # beside the array: what became of each file so far
SAVE_EVERY_S = 10.0
MOVED_AT_ONCE = 256  # pictures
log = logging.getLogger(__name__)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Decoded:
    """What became of one file.

    Attributes:
        sha256: Of the file's bytes; empty if not even those can be read.
        width: Of the upright original, in pixels.
        height: Likewise.
        reason: Why it is unreadable; empty if it is not.
        pixels_sha256: Of the pixels that are stored: the same for pictures that no net
            can tell apart. Empty if it is unreadable.
        witness: By which a change of the file since is noticed.
        notes: What else is to be known of it.
    """

    sha256: str
    width: int
    height: int
    reason: str
    pixels_sha256: str = ""
    witness: Witness | None = field(default=None, compare=False)
    notes: Notes = field(default_factory=Notes)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "Decoded":
        """Make it of the JSON value of its fields.

        Raises:
            ValueError: They are of another version.
        """
        try:
            seen, notes = fields["witness"], Notes(**fields["notes"])
            witness = Witness(**seen) if seen else None
            return cls(**{**fields, "witness": witness, "notes": notes})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not of this version: {error}") from None


class NoneReadableError(UserError):
    """Not one picture can be read.

    Attributes:
        decoded: What became of each file.
    """

    def __init__(self, message: str, decoded: list[Decoded]) -> None:
        super().__init__(message)
        self.decoded = decoded


def store_pictures(
    paths: Sequence[Path], target: Path, side: int, fit: Fit, workers: int = 0
) -> list[Decoded]:
    """Decode pictures into one uint8 array on disk, (N, S, S, 3), readable ones only.

    A journal beside the array says what is done, and a second call with the same
    arguments goes on from there, or from the first file that has changed since; whoever
    is done with both deletes it.

    Args:
        paths: The files.
        target: The npy file to write.
        side: S.
        fit: See ``fit_square``.
        workers: Processes; 0: one per core at hand.

    Returns:
        What became of each file; the readable ones are the rows, in this order.

    Raises:
        UserError: The disk is full, a process was killed, or no picture is readable.
    """
    from tqdm import tqdm

    journal = target.with_suffix(JOURNAL)
    shape = (len(paths), side, side, 3)
    done = _take_up(target, journal, shape, paths)
    n_rows = sum(not one.reason for one in done)
    start, row_bytes = len(_header(shape)), side * side * 3
    with (
        target.open("r+b") as pixels,
        journal.open("a", encoding="utf-8") as notes,
        tqdm(
            total=len(paths),
            initial=len(done),
            unit="picture",
            leave=False,
            disable=None,  # in a file it would stand before the first line of the log
        ) as bar,
    ):
        pixels.seek(start + n_rows * row_bytes)
        unsaved: list[Decoded] = []
        saved_at = time.monotonic()
        for chunk in _decoded(paths[len(done) :], side, fit, workers):
            for one, square in chunk:
                unsaved.append(one)
                if square is not None:
                    pixels.write(square.data)
                    n_rows += 1
            bar.update(len(chunk))
            if time.monotonic() - saved_at > SAVE_EVERY_S:
                done += _save(pixels, notes, unsaved)
                unsaved, saved_at = [], time.monotonic()
        done += _save(pixels, notes, unsaved)
        if not n_rows:
            raise NoneReadableError(
                f"{shown(paths[0].parent)}: none of {len(paths)} pictures can be read;"
                f" {shown(paths[0].name)}: {done[0].reason}",
                done,
            )
        pixels.seek(0)
        pixels.write(_header((n_rows, *shape[1:])))
        pixels.truncate(start + n_rows * row_bytes)
    return done


def channel_statistics(images: Pixels) -> tuple[list[float], list[float]]:
    """Give the mean and the standard deviation of each channel, over all pixels.

    Args:
        images: (N, S, S, 3).

    Returns:
        Three means and three deviations, in grey levels, 0 to 255.
    """
    counts = np.zeros((3, 256), dtype=np.int64)
    for start in range(0, len(images), 256):
        block = np.ascontiguousarray(images[start : start + 256])
        rows = block.reshape(-1, block.shape[2], 3)
        histogram = Image.fromarray(rows, "RGB").histogram()
        counts += np.array(histogram, dtype=np.int64).reshape(3, 256)
    levels, total = np.arange(256), counts.sum(axis=1)
    mean = counts @ levels / total
    variance = counts @ levels**2 / total - mean**2
    return mean.tolist(), np.sqrt(np.maximum(variance, 0)).tolist()


def keep_rows(source: Path, target: Path, rows: Sequence[int]) -> None:
    """Write some of the pictures of an array into another file.

    Args:
        source: The npy file of ``store_pictures``.
        target: The npy file to write.
        rows: Which, in their order.
    """
    images = np.load(source, mmap_mode="r")
    with target.open("wb") as file:
        file.write(_header((len(rows), *images.shape[1:])))
        for start in range(0, len(rows), MOVED_AT_ONCE):
            file.write(images[list(rows[start : start + MOVED_AT_ONCE])].tobytes())
        file.flush()
        os.fsync(file.fileno())


def _decode_file(path: Path, side: int, fit: Fit) -> tuple[Decoded, Pixels | None]:
    witness = None
    try:
        with path.open("rb") as file:
            # taken before the bytes are read, so that a later change shows
            witness = Witness.of(os.fstat(file.fileno()))
            data = file.read()
    except OSError as error:
        reason = f"it cannot be read, {error.strerror or error}"
        return Decoded("", 0, 0, reason, witness=witness), None
    digest = hashlib.sha256(data).hexdigest()
    try:
        picture = read_picture(data, side, path.suffix)
    except UnreadableError as error:
        return Decoded(digest, 0, 0, str(error), witness=witness), None
    square = fit_square(picture.image, side, fit)
    width, height = picture.size
    decoded = Decoded(
        sha256=digest,
        width=width,
        height=height,
        reason="",
        pixels_sha256=hashlib.sha256(square.data).hexdigest(),
        witness=witness,
        notes=picture.notes,
    )
    return decoded, square


def _decode_chunk(
    paths: Sequence[Path], side: int, fit: Fit
) -> list[tuple[Decoded, Pixels | None]]:
    return [_decode_file(path, side, fit) for path in paths]


def _decoded(
    paths: Sequence[Path], side: int, fit: Fit, workers: int
) -> Iterator[list[tuple[Decoded, Pixels | None]]]:
    """Decode chunk after chunk, in order; in this process if that is quicker."""
    size = max(1, min(CHUNK, CHUNK_BYTES // (3 * side * side)))
    chunks = [paths[start : start + size] for start in range(0, len(paths), size)]
    work = partial(_decode_chunk, side=side, fit=fit)
    n_processes = min(workers or n_cores(), len(chunks) // 4)
    if n_processes < 2:
        yield from map(work, chunks)
        return
    try:
        with pool_of(n_processes) as pool:
            yield from pool.map(work, chunks)
    except BrokenProcessPool:
        raise UserError(
            f"one of {n_processes} processes was killed, probably for want of memory;"
            " run again with --workers 1"
        ) from None


def _save(
    pixels: IO[bytes], notes: IO[str], unsaved: Sequence[Decoded]
) -> Sequence[Decoded]:
    """Note what is done only once its pixels are on the disk."""
    pixels.flush()
    os.fsync(pixels.fileno())
    notes.writelines(f"{json.dumps(asdict(one))}\n" for one in unsaved)
    notes.flush()
    return unsaved


def _take_up(
    target: Path, journal: Path, shape: tuple[int, ...], paths: Sequence[Path]
) -> list[Decoded]:
    """Find what an earlier attempt has done, or take room for all pixels."""
    if target.exists() and journal.exists():
        lines = journal.read_bytes().split(b"\n")[:-1]  # the last was being written
        done: list[Decoded] = []
        with suppress(ValueError):  # up to a line that is cut or of an earlier version
            for path, line in zip(paths, lines, strict=False):
                noted = Decoded.from_fields(json.loads(line))
                if not is_same(path, Read(noted.witness, noted.sha256)):
                    log.info("%s has changed: decoded again from there on", path.name)
                    break
                done.append(noted)
        n_rows = sum(not noted.reason for noted in done)
        needed = len(_header(shape)) + n_rows * math.prod(shape[1:])
        if target.stat().st_size >= needed:  # or its pixels would be black
            text = "".join(f"{json.dumps(asdict(noted))}\n" for noted in done)
            write_text(journal, text)
            return done
    header = _header(shape)
    try:
        with target.open("wb") as file:
            file.write(header)
            _reserve(file, len(header) + math.prod(shape))
    except OSError as error:
        target.unlink(missing_ok=True)
        if error.errno not in FULL:
            raise
        raise UserError(
            f"{target}: the disk has no room for {math.prod(shape) / 1e6:,.0f} MB of"
            " pixels; free some space, or store smaller pictures (--side)"
        ) from None
    journal.write_text("", encoding="utf-8")
    return []


def _reserve(file: IO[bytes], n_bytes: int) -> None:
    """Take room on the disk before anything is computed."""
    try:
        os.posix_fallocate(file.fileno(), 0, n_bytes)
    except (
        AttributeError,
        OSError,
    ) as error:  # no such call here, or none of this disk
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        file.truncate(n_bytes)


def _header(shape: tuple[int, ...]) -> bytes:
    """Make a npy header; numpy leaves it room, so fewer rows need no other length."""
    buffer = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, fields)
    return buffer.getvalue()
