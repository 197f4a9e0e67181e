"""Noise, blur and mixing: the texture under every medium.

Shapes: H W pixels of the enlarged canvas.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageFilter

Floats = NDArray[np.float32]
Rng = np.random.Generator
Shape = tuple[int, int]  # H, W
T = TypeVar("T")


def pick(items: Sequence[T], rng: Rng) -> T:
    """Draw one of the items, all of the same chance."""
    return items[int(rng.integers(len(items)))]


def mix(below: ArrayLike, above: ArrayLike, weight: ArrayLike) -> Floats:
    """Lay a colour (3,) or picture (H, W, 3) over another, by a number or (H, W)."""
    base = np.asarray(below, dtype=np.float32)
    amount = np.asarray(weight, dtype=np.float32)[..., None]
    return base + (np.asarray(above, dtype=np.float32) - base) * amount


def floats(image: Image.Image) -> Floats:
    """Read an image of 8 bits as values from 0 to 1."""
    return np.asarray(image, np.float32) / np.float32(255)


def pixels(values: ArrayLike) -> NDArray[np.uint8]:
    """Give values from 0 to 1 as 8 bits."""
    return np.asarray(np.clip(values, 0, 1) * np.float32(255), dtype=np.uint8)


def luma(picture: Floats) -> Floats:
    """Give the (H, W) lightness of an (H, W, 3) picture, 0 to 1."""
    return np.asarray(picture @ np.array([0.3, 0.59, 0.11], np.float32))


def blur(plane: Floats, radius_px: float) -> Floats:
    """Blur an (H, W) plane of values from 0 to 1."""
    # Eight bits are enough for a soft edge, and Pillow does not blur floats.
    grey = Image.fromarray(pixels(plane))
    box = ImageFilter.BoxBlur(radius_px * 0.8)
    return floats(grey.filter(box).filter(box))  # twice: a round brush, not a box


def smoothstep(value: ArrayLike, low: float, high: float) -> Floats:
    """Rise softly from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((np.asarray(value, np.float32) - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def noise(
    shape: Shape, cell_px: float | tuple[float, float], rng: Rng, octaves: int = 1
) -> Floats:
    """Draw smooth noise (H, W), roughly normal with mean 0 and deviation 1.

    Its largest grains are ``cell_px`` in size, or in height and width: unequal ones
    make streaks. Each octave adds grains of half the size and weight.
    """
    total = np.zeros(shape, dtype=np.float32)
    for octave in range(octaves):
        grains_px = np.maximum(np.divide(cell_px, 2**octave), 1)
        cells = np.maximum(2, np.rint(shape / grains_px).astype(int) + 2)
        coarse = Image.fromarray(rng.standard_normal(cells, dtype=np.float32))
        fine = coarse.resize(shape[::-1], Image.Resampling.BICUBIC)
        total += np.asarray(fine, dtype=np.float32) / 2**octave
    spread = total.std() + np.float32(1e-6)
    return np.asarray((total - total.mean()) / spread, dtype=np.float32)


def streaks(
    shape: Shape, length_px: float, width_px: float, angle_deg: float, rng: Rng
) -> Floats:
    """Draw (H, W) noise stretched along a direction, as of a brush.

    The direction is counter-clockwise from horizontal.
    """
    side = int(np.hypot(*shape)) + 2
    straight = Image.fromarray(noise((side, side), (width_px, length_px), rng))
    turned = straight.rotate(angle_deg, Image.Resampling.BILINEAR)
    top, left = (side - shape[0]) // 2, (side - shape[1]) // 2
    box = (left, top, left + shape[1], top + shape[0])
    return np.array(turned.crop(box), dtype=np.float32)
