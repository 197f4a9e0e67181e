"""How a picture becomes a square: padded, stretched, or cut to its middle.

Padded pictures lie in the middle of their square; what share of it they fill follows
from their width and height, which later stages know (``pretext.data.training_data``).

Shapes: S pixels per side.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Fit = Literal["pad", "reflect", "white", "black", "squash", "crop"]
Pixels = NDArray[np.uint8]
# What fills the margins of padded pictures, as numpy.pad is told.
PADDING: dict[str, dict[str, Any]] = {
    "pad": {"mode": "edge"},
    "reflect": {"mode": "reflect"},
    "white": {"mode": "constant", "constant_values": 255},
    "black": {"mode": "constant", "constant_values": 0},
}
MANNERS = {  # for a sentence on what was done to them
    "pad": "padded",
    "reflect": "padded by their mirror images",
    "white": "padded with white",
    "black": "padded with black",
    "squash": "squashed",
    "crop": "cut to the middle square, and scaled",
}


def fit_square(image: Image.Image, side: int, fit: Fit) -> Pixels:
    """Resize a picture to a square.

    Args:
        image: RGB.
        side: S.
        fit: ``"pad"`` keeps the shape, centres, and repeats the edges outwards;
            ``"reflect"`` mirrors the picture there, ``"white"`` and ``"black"`` fill
            with a colour; ``"squash"`` stretches to the square; ``"crop"`` takes the
            largest square in the middle.

    Returns:
        (S, S, 3).
    """
    if fit == "crop":
        image = image.crop(middle_square(image.size))
    left, top, right, bottom = content_box(image.size, side, fit)
    size = (right - left, bottom - top)
    # A large picture is first averaged down by a whole factor, to 3 times the size.
    small = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if fit not in PADDING:
        return np.asarray(small)
    margins = ((top, side - bottom), (left, side - right), (0, 0))
    square: Pixels = np.pad(np.asarray(small), margins, **PADDING[fit])
    return square


def content_box(
    size: tuple[int, int], side: int, fit: Fit
) -> tuple[int, int, int, int]:
    """Say what of a square is the picture, and no margin.

    Args:
        size: Width and height of the original, px.
        side: S.
        fit: How it became square.

    Returns:
        Left, top, right and bottom, px.
    """
    if fit not in PADDING:
        return 0, 0, side, side
    longest = max(size)
    width, height = (max(1, round(side * length / longest)) for length in size)
    left, top = (side - width) // 2, (side - height) // 2
    return left, top, left + width, top + height


def middle_square(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Give the largest square in the middle: left, top, right and bottom, in pixels.

    Args:
        size: Width and height.
    """
    width, height = size
    side = min(size)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side
