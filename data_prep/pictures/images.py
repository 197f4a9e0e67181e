"""Pixels on disk: all pictures, each decoded once, in one npy file with a journal.

The array is written row by row while the journal beside it notes what became of each
file, so that a killed run goes on where it was.

Shapes: N pictures, S pixels per side.
"""

import errno
import io
import json
import logging
import math
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from data_prep.errors import UserError
from data_prep.pictures.decode import MAGICK_LACKS
from data_prep.pictures.decoded import Decoded, decode_files
from data_prep.pictures.fit import Fit, Pixels
from data_prep.pictures.pages import PictureFile, file_of
from data_prep.pictures.plugins import HEIC, JPEG_XL
from data_prep.pictures.printable import shown
from data_prep.pictures.reuse import Earlier, decode_changed
from data_prep.run_folders.drafts import write_text
from data_prep.run_folders.witness import ReadFile, is_same

JOURNAL = ".journal"  # beside the array: what became of each file so far
SAVE_EVERY_S = 10.0
LACKS = (MAGICK_LACKS, HEIC.lack, JPEG_XL.lack)  # why a file is not read here
COPIED_AT_ONCE = 256  # pictures
log = logging.getLogger(__name__)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def store_pictures(
    pictures: Sequence[PictureFile],
    target: Path,
    side: int,
    fit: Fit,
    workers: int = 0,
    *,
    needs_one: bool = True,
    earlier: Earlier | None = None,
) -> list[Decoded]:
    """Decode pictures into one uint8 array on disk, (N, S, S, 3), readable ones only.

    A journal beside the array says what is done, and a second call with the same
    arguments goes on from there, or from the first file that has changed since; whoever
    is done with both deletes it.

    Args:
        pictures: The files, or pages of them.
        target: The npy file to write.
        side: S.
        fit: How a picture becomes square; see ``data_prep.pictures.fit``.
        workers: Processes; 0: one per core at hand.
        needs_one: It is an error if no picture is readable.
        earlier: Squares of some of them, which are taken where files are the same.

    Returns:
        What became of each file; the readable ones are the rows, in this order.

    Raises:
        UserError: The disk is full, a process was killed, or no picture is readable.
    """
    from tqdm import tqdm

    decode = partial(decode_changed, earlier=earlier) if earlier else decode_files
    journal = target.with_suffix(JOURNAL)
    shape = (len(pictures), side, side, 3)
    decoded = _resume(target, journal, shape, pictures)
    if not decoded:
        _begin(target, journal, shape)
    n_rows = sum(not file.reason for file in decoded)
    header_bytes, row_bytes = len(_header(shape)), side * side * 3
    with (
        target.open("r+b") as pixels,
        journal.open("a", encoding="utf-8") as lines,
        tqdm(
            total=len(pictures),
            initial=len(decoded),
            unit="picture",
            leave=False,
            disable=None,  # in a file it would stand before the first line of the log
        ) as bar,
    ):
        pixels.seek(header_bytes + n_rows * row_bytes)
        unsaved: list[Decoded] = []
        saved_at = time.monotonic()
        remaining = pictures[len(decoded) :]
        for file, square in decode(remaining, side=side, fit=fit, workers=workers):
            unsaved.append(file)
            if square is not None:
                pixels.write(square.data)
                n_rows += 1
            bar.update()
            if time.monotonic() - saved_at > SAVE_EVERY_S:
                decoded += _save(pixels, lines, unsaved)
                unsaved, saved_at = [], time.monotonic()
        decoded += _save(pixels, lines, unsaved)
        if needs_one and not n_rows:
            first = file_of(pictures[0])
            raise UserError(
                f"{shown(first.parent)}: none of {len(pictures)} pictures can be read;"
                f" {shown(first.name)}: {decoded[0].reason}"
            )
        pixels.seek(0)
        pixels.write(_header((n_rows, *shape[1:])))
        pixels.truncate(header_bytes + n_rows * row_bytes)
    return decoded


def channel_statistics(images: Pixels) -> tuple[list[float], list[float]]:
    """Give the mean and the standard deviation of each channel, over all pixels.

    Args:
        images: (N, S, S, 3).

    Returns:
        Three means and three deviations, in grey levels, 0 to 255.
    """
    # A histogram of 256 levels holds all that mean and variance need, and is exact.
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
        for start in range(0, len(rows), COPIED_AT_ONCE):
            file.write(images[list(rows[start : start + COPIED_AT_ONCE])].tobytes())
        file.flush()
        os.fsync(file.fileno())


def _save(
    pixels: IO[bytes], journal: IO[str], unsaved: Sequence[Decoded]
) -> Sequence[Decoded]:
    """Write to the journal what is decoded, once its pixels are on the disk."""
    pixels.flush()
    os.fsync(pixels.fileno())
    journal.writelines(map(_journal_line, unsaved))
    journal.flush()
    return unsaved


def _journal_line(file: Decoded) -> str:
    return f"{json.dumps(file.to_fields())}\n"


def _resume(
    target: Path,
    journal: Path,
    shape: tuple[int, ...],
    pictures: Sequence[PictureFile],
) -> list[Decoded]:
    """Read what an earlier attempt has decoded; empty if there is nothing of use."""
    if not (target.exists() and journal.exists()):
        return []
    lines = journal.read_bytes().split(b"\n")[:-1]  # the last was being written
    decoded: list[Decoded] = []
    with suppress(ValueError):  # up to a line that is cut or of an earlier version
        for path, line in zip(map(file_of, pictures), lines, strict=False):
            file = Decoded.from_fields(json.loads(line))
            if not is_same(path, ReadFile(witness=file.witness, sha256=file.sha256)):
                log.info("%s has changed: decoded again from there on", path.name)
                break
            if file.reason in LACKS:  # it may be installed by now
                break
            decoded.append(file)
    n_rows = sum(not file.reason for file in decoded)
    needed = len(_header(shape)) + n_rows * math.prod(shape[1:])
    if target.stat().st_size < needed:  # its pixels would be black
        return []
    write_text(journal, "".join(map(_journal_line, decoded)))
    return decoded


def _begin(target: Path, journal: Path, shape: tuple[int, ...]) -> None:
    """Take room on the disk for all pixels, with an empty journal.

    Raises:
        UserError: The disk has no room.
    """
    header = _header(shape)
    try:
        with target.open("wb") as file:
            file.write(header)
            _reserve(file, len(header) + math.prod(shape))
    except OSError as error:
        target.unlink(missing_ok=True)
        if error.errno not in DISK_FULL:
            raise
        raise UserError(
            f"{target}: the disk has no room for {math.prod(shape) / 1e6:,.0f} MB of"
            " pixels; free some space, or prepare smaller pictures (--side)"
        ) from None
    journal.write_text("", encoding="utf-8")


def _reserve(file: IO[bytes], n_bytes: int) -> None:
    """Take room on the disk before anything is computed."""
    try:
        os.posix_fallocate(file.fileno(), 0, n_bytes)
    # The system lacks the call, or the file system does.
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        file.truncate(n_bytes)


def _header(shape: tuple[int, ...]) -> bytes:
    """Make an npy header.

    numpy pads headers to a multiple of 64 bytes, with room for the first axis to grow,
    so the header of fewer rows is as long.
    """
    buffer = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, fields)
    return buffer.getvalue()
