"""What the headers of a few pictures tell: sizes, shapes, and a camera, if any.

Shapes: S sampled pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from PIL import Image, UnidentifiedImageError

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
    step = max(1, len(pictures) / MOST_READ)
    chosen = [pictures[int(k * step)] for k in range(min(MOST_READ, len(pictures)))]
    sizes, n_camera = [], 0
    for path in chosen:
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
