"""Hatching: the tones of a scene as lines that swell where it is dark.

Shapes: H W pixels of the enlarged canvas.
"""

import numpy as np

from data_prep.demo_collection.canvas import Canvas
from data_prep.demo_collection.grain import Floats, blur, luma, noise, smoothstep


def tone_of(canvas: Canvas, middle: float | None = None) -> Floats:
    """Stretch the lightness of a scene to 0 to 1, its median to ``middle`` or more."""
    tone = luma(canvas.colours)
    low, high = np.percentile(tone[::4, ::4], (2, 97))
    tone = np.clip((tone - low) / max(high - low, 0.1), 0, 1)
    if middle is not None:
        median = float(np.clip(np.median(tone[::4, ::4]), 0.05, middle))
        tone = tone ** (np.log(middle) / np.log(median))
    return np.asarray(tone, dtype=np.float32)


def hatch(
    canvas: Canvas,
    tone: Floats,
    angle_deg: float,
    pitch: float,
    span: tuple[float, float],
    rng: np.random.Generator,
    wobble: float = 0.006,
) -> Floats:
    """Cover an (H, W) tone with parallel lines, broad where it is dark.

    Args:
        canvas: Where the lines lie.
        tone: (H, W) lightness.
        angle_deg: Direction across the lines.
        pitch: Distance of two lines, in short sides.
        span: The tone at which lines begin, and how dark it gets in full.
        rng: Draws the unsteadiness of the hand.
        wobble: How unsteady it is, in short sides.
    """
    x, y = canvas.grid()
    angle = np.deg2rad(angle_deg)
    form = blur(tone, 0.035 * canvas.unit_px)
    hand = noise(tone.shape, (0.15 * canvas.unit_px,) * 2, rng) * wobble
    across = x * np.cos(angle) + y * np.sin(angle) + 0.1 * form + hand
    distance = np.abs((across / pitch) % 1 - 0.5) * 2  # 0 on a line, 1 between two
    start, strength = span
    breadth = np.clip((start - tone) / start, 0, 1) * strength
    soft = 0.9 / (pitch * canvas.unit_px)  # about one pixel
    lines = smoothstep(breadth - distance, -soft, soft)
    # Without this a hairline would remain where there is no breadth at all.
    return lines * smoothstep(breadth, 0, soft)
