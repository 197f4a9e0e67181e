"""Noise, blur and mixing: the texture under every medium.

Shapes: H W pixels of the enlarged canvas.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageFilter

Floats = NDArray[np.float32]


def mix(below: ArrayLike, above: ArrayLike, weight: ArrayLike) -> Floats:
    """Lay a colour or picture (..., 3) over a picture (H, W, 3) by weight (H, W)."""
    base = np.asarray(below, dtype=np.float32)
    amount = np.asarray(weight, dtype=np.float32)[..., None]
    return base + (np.asarray(above, dtype=np.float32) - base) * amount


def floats(image: Image.Image) -> Floats:
    """Read an image of 8 bits as values from 0 to 1."""
    return np.asarray(np.asarray(image, np.float32) / 255, dtype=np.float32)


def luma(picture: Floats) -> Floats:
    """Give the (H, W) lightness of an (H, W, 3) picture, 0 to 1."""
    return np.asarray(picture @ np.array([0.3, 0.59, 0.11], np.float32))


def blur(plane: Floats, radius_px: float) -> Floats:
    """Blur an (H, W) plane of values from 0 to 1."""
    # Eight bits are enough for a soft edge, and Pillow does not blur floats.
    grey = Image.fromarray((np.clip(plane, 0, 1) * 255).astype(np.uint8))
    box = ImageFilter.BoxBlur(radius_px * 0.8)
    return floats(grey.filter(box).filter(box))  # twice: a round brush, not a box


def smoothstep(value: ArrayLike, low: float, high: float) -> Floats:
    """Rise softly from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((np.asarray(value, np.float32) - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def noise(
    shape: tuple[int, int],
    cell_px: tuple[float, float],
    rng: np.random.Generator,
    octaves: int = 1,
) -> Floats:
    """Draw smooth noise, roughly normal with mean 0 and deviation 1.

    Args:
        shape: H, W.
        cell_px: Height and width of its largest grains; unequal ones make streaks.
        rng: Draws the noise.
        octaves: Each adds grains of half the size and weight.
    """
    total = np.zeros(shape, dtype=np.float32)
    for octave in range(octaves):
        cells = [
            max(2, round(side / max(cell / 2**octave, 1)) + 2)
            for side, cell in zip(shape, cell_px, strict=True)
        ]
        coarse = Image.fromarray(rng.standard_normal(cells, dtype=np.float32))
        fine = coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
        total += np.asarray(fine, dtype=np.float32) / 2**octave
    spread = total.std() + np.float32(1e-6)
    return np.asarray((total - total.mean()) / spread, dtype=np.float32)


def streaks(
    shape: tuple[int, int],
    length_px: float,
    width_px: float,
    angle_deg: float,
    rng: np.random.Generator,
) -> Floats:
    """Draw noise stretched along a direction, as of a brush, chalk or wood.

    Args:
        shape: H, W.
        length_px: Length of a streak.
        width_px: Its width.
        angle_deg: Its direction, counter-clockwise from horizontal.
        rng: Draws the noise.
    """
    side = int(np.hypot(*shape)) + 2
    straight = Image.fromarray(noise((side, side), (width_px, length_px), rng))
    turned = straight.rotate(angle_deg, Image.Resampling.BILINEAR)
    top, left = (side - shape[0]) // 2, (side - shape[1]) // 2
    return np.array(turned, dtype=np.float32)[
        top : top + shape[0], left : left + shape[1]
    ]
