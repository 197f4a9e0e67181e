"""Squares that an earlier preparation made of files that are still the same.

Whether a file is the same its witness tells, without reading it; whether its square is,
the hash of its pixels. So nothing is decoded twice because a table has changed, or one
picture of many.

Shapes: M earlier pictures, S pixels per side.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.pictures.decoded import Decoded, decode_files
from data_prep.pictures.fit import Fit, Pixels
from data_prep.pictures.pages import PictureFile, file_of
from data_prep.run_folders.runs import versions_of
from data_prep.run_folders.witness import ReadFile, Witness, is_same

PACKAGES = ("pillow", "pi-heif", "pillow-jxl-plugin", "wand")
MODULES = (  # what decodes, and what is told of it
    *("colour", "decode", "fit", "huffman", "integrity", "jpeg"),
    *("picture_info", "pixels", "plugins"),
)
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Square:
    """The square of one file, as an earlier preparation left it.

    Attributes:
        row: Of the earlier pixels.
        file: What became of the file.
    """

    row: int
    file: Decoded


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What an earlier preparation decoded, of the same side and fit.

    Attributes:
        pixels: (M, S, S, 3), mapped.
        squares: Those of its files, or of their pages, that are there now.
    """

    pixels: NDArray[np.uint8]
    squares: Mapping[PictureFile, Square]

    def still(self, picture: PictureFile) -> Square | None:
        """Give the square of a file, or page, if the file is the one decoded then."""
        square, path = self.squares.get(picture), file_of(picture)
        if square is None:
            return None
        try:
            witness = Witness.of(path.stat())
        except OSError:
            return None
        before = ReadFile(witness=square.file.witness, sha256=square.file.sha256)
        if not is_same(path, before):
            return None
        return replace(square, file=replace(square.file, witness=witness))

    def pixels_of(self, square: Square) -> Pixels | None:
        """Give (S, S, 3) grey levels, if they are as they were written."""
        levels = np.ascontiguousarray(self.pixels[square.row])
        digest = hashlib.sha256(levels.data).hexdigest()
        return levels if digest == square.file.pixels_sha256 else None


def decode_changed(
    pictures: Sequence[PictureFile],
    earlier: Earlier,
    *,
    side: int,
    fit: Fit,
    workers: int,
) -> Iterator[tuple[Decoded, Pixels | None]]:
    """Decode as ``decode_files`` does, but for files that are still the same.

    Args:
        pictures: The files, or pages of them.
        earlier: What was decoded before.
        side: S.
        fit: How a picture becomes square.
        workers: Processes; 0: one per core at hand.

    Yields:
        For each file what became of it, and its (S, S, 3) square; None if it is
        unreadable.
    """
    squares = [earlier.still(picture) for picture in pictures]
    changed = [p for p, square in zip(pictures, squares, strict=True) if square is None]
    log.info(
        "decoding %d of %d pictures; the others are those of last time",
        len(changed),
        len(pictures),
    )
    decoded = decode_files(changed, side, fit, workers)
    for picture, square in zip(pictures, squares, strict=True):
        if square is None:
            yield next(decoded)
        elif (levels := earlier.pixels_of(square)) is not None:
            yield square.file, levels
        else:  # the pixels are damaged
            yield from decode_files([picture], side, fit, workers=1)
    yield from decoded  # nothing is left, and the processes end


@cache
def decoders() -> Mapping[str, str]:
    """Tell what the pixels of a picture depend on besides its file.

    Returns:
        The versions of the packages that decode, and a digest of our own lines.
    """
    sources = [Path(__file__).with_name(f"{name}.py") for name in MODULES]
    lines = b"".join(path.read_bytes() for path in sources)
    return {"ours": hashlib.sha256(lines).hexdigest(), **versions_of(PACKAGES)}
