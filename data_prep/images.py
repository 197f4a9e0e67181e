"""Pictures: finding them, and decoding each once into one array on disk.

Shapes: N pictures, S pixels per side.
"""

import errno
import hashlib
import io
import json
import math
import os
import time
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from data_prep.decoding import (
    FORMATS,
    Fit,
    Pixels,
    UnreadableError,
    decode,
    fit_square,
)
from data_prep.drafts import write_text
from data_prep.errors import UserError
from data_prep.processes import n_cores, pool_of

CHUNK = 16  # pictures a process takes at a time
CHUNK_BYTES = 2**23  # ... unless they are large
JOURNAL = ".journal"  # beside the array: what became of each file so far
SAVE_EVERY_S = 10.0
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Decoded:
    """What became of one file.

    Attributes:
        sha256: Of the file's bytes; empty if not even those can be read.
        width: Of the upright original, in pixels.
        height: Likewise.
        reason: Why it is unreadable; empty if it is not.
    """

    sha256: str
    width: int
    height: int
    reason: str


def find_pictures(folders: Sequence[Path]) -> dict[str, Path]:
    """Find the pictures that lie directly in the folders, by id.

    The id is the file's name without its extension. Hidden files and files that are no
    pictures by their extension are passed over.

    Returns:
        The path of each id, in id order.

    Raises:
        UserError: A folder is missing, there is no picture, or two share an id.
    """
    if not folders:
        raise UserError(
            '[data] images is missing; name the folder: images = "pictures"'
        )
    found: dict[str, list[Path]] = {}
    for folder in dict.fromkeys(folders):
        if not folder.is_dir():
            raise UserError(f"{folder}: there is no such folder ([data] images)")
        for path in folder.iterdir():
            is_picture = path.suffix[1:].lower() in FORMATS and path.name[0] != "."
            if is_picture and path.is_file():
                id_ = unicodedata.normalize("NFC", path.stem)
                found.setdefault(id_, []).append(path)
    if not found:
        places = ", ".join(map(str, folders))
        raise UserError(
            f"{places}: no pictures here (folders within it are not searched);"
            " name the folder that holds them in [data] images"
        )
    shared = sorted(id_ for id_, paths in found.items() if len(paths) > 1)
    if shared:
        one, two = sorted(map(str, found[shared[0]]))[:2]
        more = f" ({len(shared)} such ids)" if len(shared) > 1 else ""
        raise UserError(
            f"{one} and {two} have the same id {shared[0]!r}{more}; rename one"
        )
    return {id_: found[id_][0] for id_ in sorted(found)}


def cheap_digest(path: Path) -> str:
    """Hash a file's size and its first and last 16 KiB, to see whether it changed."""
    block = 16_384
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256(f"{size}:".encode() + file.read(block))
        if size > block:
            file.seek(max(block, size - block))
            digest.update(file.read())
    return digest.hexdigest()


def store_pictures(
    paths: Sequence[Path], target: Path, side: int, fit: Fit, workers: int = 0
) -> list[Decoded]:
    """Decode pictures into one uint8 array on disk, (N, S, S, 3), readable ones only.

    A journal beside the array says what is done, and a second call with the same
    arguments goes on from there; whoever is done with both deletes it.

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
    done = _take_up(target, journal, shape)
    n_rows = sum(not one.reason for one in done)
    start, row_bytes = len(_header(shape)), side * side * 3
    with (
        target.open("r+b") as pixels,
        journal.open("a", encoding="utf-8") as notes,
        tqdm(total=len(paths), initial=len(done), unit="picture", leave=False) as bar,
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
            raise UserError(
                f"{paths[0].parent}: none of {len(paths)} pictures can be read;"
                f" {paths[0].name}: {done[0].reason}"
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


def _decode_file(path: Path, side: int, fit: Fit) -> tuple[Decoded, Pixels | None]:
    try:
        data = path.read_bytes()
    except OSError as error:
        return Decoded("", 0, 0, str(error.strerror or error)), None
    digest = hashlib.sha256(data).hexdigest()
    try:
        image, size = decode(data, side, path.suffix)
    except UnreadableError as error:
        return Decoded(digest, 0, 0, str(error)), None
    return Decoded(digest, *size, ""), fit_square(image, side, fit)


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


def _take_up(target: Path, journal: Path, shape: tuple[int, ...]) -> list[Decoded]:
    """Find what an earlier attempt has done, or take room for all pixels."""
    if target.exists() and journal.exists():
        lines = journal.read_bytes().split(b"\n")[:-1]  # the last was being written
        done: list[Decoded] = []
        with suppress(ValueError, TypeError):  # up to a line that is cut or changed
            for line in lines:
                done.append(Decoded(**json.loads(line)))
        n_rows = sum(not one.reason for one in done)
        needed = len(_header(shape)) + n_rows * math.prod(shape[1:])
        if target.stat().st_size >= needed:  # or its pixels would be black
            text = "".join(f"{json.dumps(asdict(one))}\n" for one in done)
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
