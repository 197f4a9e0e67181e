"""What the headers of a few pictures tell: sizes, shapes, and a camera, if any.

Shapes: S sampled pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from PIL import Image, UnidentifiedImageError

from data_prep.errors import UnreadableError, UserError
from data_prep.pictures.decode import read_picture
from data_prep.pictures.printable import shown

MOST_DECODED, LEAST_SIDE = 8, 16  # where no header can be read; px
MOST_READ = 48  # headers; more tell hardly more, and a slow disk would be felt
CAMERA_TAGS = (0x010F, 0x0110)  # EXIF: make and model of the camera
ALIKE = 1.25  # shapes are alike if the widest is so much wider than the narrowest


@dataclass(frozen=True, kw_only=True)
class Headers:
    """What S headers tell.

    Attributes:
        n_read: S, those that could be read.
        short_px: Median of the shorter sides, px.
        long_px: Median of the longer sides, px.
        shapes: Width to height of the narrowest and the widest, extremes left out.
        n_camera: How many name the camera that took them.
    """

    n_read: int
    short_px: int
    long_px: int
    shapes: tuple[float, float]
    n_camera: int

    @property
    def is_one_shape(self) -> bool:
        """Whether all pictures have nearly the same width to height."""
        return self.shapes[1] <= self.shapes[0] * ALIKE

    @property
    def is_square(self) -> bool:
        """Whether all pictures are nearly squares."""
        return self.shapes[0] >= 1 / ALIKE and self.shapes[1] <= ALIKE


def read_headers(pictures: Sequence[Path]) -> Headers | None:
    """Read the headers of at most ``MOST_READ`` pictures, evenly spread.

    Returns:
        What they tell; None where none can be read here.
    """
    sizes, n_camera = [], 0
    for path in _spread(pictures, MOST_READ):
        try:
            with Image.open(path) as image:
                sizes.append(image.size)
                tags = image.getexif()
        except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
            continue  # data_prep.prepare says what is wrong with it
        n_camera += any(tag in tags for tag in CAMERA_TAGS)
    if not sizes:
        return None
    shapes = sorted(width / height for width, height in sizes)
    n_odd = len(shapes) // 20
    return Headers(
        n_read=len(sizes),
        short_px=round(median(map(min, sizes))),
        long_px=round(median(map(max, sizes))),
        shapes=(shapes[n_odd], shapes[-1 - n_odd]),
        n_camera=n_camera,
    )


def check_readable(pictures: Sequence[Path]) -> None:
    """Check that a few pictures, none of which has a header, can be decoded.

    Raises:
        UserError: None can be.
    """
    reasons = {}
    for path in _spread(pictures, MOST_DECODED):
        try:
            read_picture(path.read_bytes(), LEAST_SIDE, path.suffix)
        except UnreadableError as error:
            reasons[path] = str(error)
        except OSError as error:
            reasons[path] = f"it cannot be read, {error.strerror or error}"
        else:
            return
    first, reason = next(iter(reasons.items()))
    raise UserError(
        f"{shown(first)}: {reason}; none of {len(reasons)} pictures looked at can be"
        " read: copy or download them anew, or name another folder"
    )


def _spread(pictures: Sequence[Path], most: int) -> list[Path]:
    """Choose at most so many pictures, evenly spread."""
    step = max(1, len(pictures) / most)
    return [pictures[int(k * step)] for k in range(min(most, len(pictures)))]
