"""Paper and ink: what every work on paper starts from.

Shapes: H W pixels of the enlarged canvas.
"""

import numpy as np
from numpy.typing import ArrayLike

from data_prep.demo_collection.canvas import Canvas
from data_prep.demo_collection.grain import Floats, luma, mix, noise, smoothstep


def paper(canvas: Canvas, tint: ArrayLike, rng: np.random.Generator) -> Floats:
    """Make a sheet (H, W, 3) of laid or wove paper, a little stained by age."""
    shape, unit = canvas.colours.shape[:2], canvas.unit_px
    fibre = noise(shape, (0.01 * unit,) * 2, rng) * 0.012
    cloud = noise(shape, (0.5 * unit,) * 2, rng, 3) * 0.018
    sheet = np.asarray(tint, np.float32) * (1 + fibre + cloud)[..., None]
    if rng.random() < 0.5:
        _, y = canvas.grid()
        sheet *= 1 - 0.025 * (np.sin(y * 2 * np.pi / 0.028) > 0.3)[..., None]
    spots = noise(shape, (0.035 * unit,) * 2, rng, 2)
    foxing = smoothstep(spots, rng.uniform(2.3, 4), 4.2) * 0.35
    return mix(np.clip(sheet, 0, 1), (0.66, 0.47, 0.27), foxing)


def ivory(rng: np.random.Generator, yellow: float) -> Floats:
    """Draw the tint (3,) of white paper that has yellowed, more or less."""
    age = abs(rng.normal(0, yellow)) + 0.02
    return np.array((0.96 - 0.4 * age, 0.93 - 0.75 * age, 0.86 - 1.5 * age), np.float32)


def ink(rng: np.random.Generator, level: float) -> Floats:
    """Draw a black (3,) of a lightness, cold or warm."""
    warm = rng.uniform(-0.01, 0.06)
    return np.array((level + warm, level, level - 0.4 * warm), dtype=np.float32)


def edge_fade(canvas: Canvas, rng: np.random.Generator) -> Floats:
    """Give the (H, W) weight of a drawing that stops short of its sheet's edge."""
    x, y = canvas.grid()
    edge = np.minimum(np.minimum(x, canvas.width - x), np.minimum(y, canvas.height - y))
    ragged = noise(edge.shape, (0.08 * canvas.unit_px,) * 2, rng, 3) * 0.012
    return smoothstep(edge + ragged, rng.uniform(0.0, 0.025), 0.06)


def faded(colours: Floats, grey: float) -> Floats:
    """Wash out (H, W, 3) colours, to their grey at 1."""
    return mix(colours, luma(colours)[..., None], np.full(colours.shape[:2], grey))
