"""Flowers: what bouquets and plants have in common."""

import numpy as np

from data_prep.demo_collection.canvas import Canvas
from data_prep.demo_collection.grain import Floats
from data_prep.demo_collection.outlines import blob, leaf, oval
from data_prep.demo_collection.palettes import Palette, blend


def flower(
    canvas: Canvas,
    palette: Palette,
    centre: tuple[float, float],
    radius: float,
    hue: Floats,
    rng: np.random.Generator,
) -> None:
    """Paint a flower seen from above: a rose, a daisy or a tulip."""
    x, y = centre
    kind = rng.random()
    if kind < 0.5:
        for ring, n_petals in ((1.0, 7), (0.72, 6), (0.42, 4)):
            start = rng.uniform(0, 6.3)
            for turn in start + np.arange(n_petals) * 2 * np.pi / n_petals:
                at = (
                    x + np.cos(turn) * radius * ring * 0.62,
                    y + np.sin(turn) * radius * ring * 0.62,
                )
                shade = blend(
                    hue, palette.dark, 0.35 * (1 - ring) + rng.uniform(0, 0.12)
                )
                petal = oval(at, radius * 0.46 * ring, radius * 0.4 * ring, turn, 16)
                canvas.fill(petal, shade, relief=0.7, contour=0.003)
        canvas.fill(oval(centre, radius * 0.16), blend(hue, palette.dark, 0.5))
    elif kind < 0.8:
        n_petals = int(rng.choice([8, 10, 13]))
        bloom(canvas, palette, centre, radius, hue, n_petals, rng)
    else:
        for shift in (-0.45, 0.45, 0.0):
            cup = blob((x + shift * radius, y), radius * 0.5, radius, rng, 0.06)
            shade = blend(hue, palette.dark, 0.15 + 0.2 * abs(shift))
            canvas.fill(cup, blend(hue, palette.light, 0.3), to=shade, relief=0.4)


def bloom(
    canvas: Canvas,
    palette: Palette,
    centre: tuple[float, float],
    radius: float,
    hue: Floats,
    n_petals: int,
    rng: np.random.Generator,
) -> None:
    """Paint a wheel of pointed petals."""
    start, broad = rng.uniform(0, 6.3), 2.6 * radius / n_petals**0.75
    for turn in start + np.arange(n_petals) * 2 * np.pi / n_petals:
        shade = blend(hue, palette.light, rng.uniform(0.0, 0.35))
        petal = leaf(centre, radius, broad, turn)
        canvas.fill(petal, shade, relief=0.5, contour=0.004)
    canvas.fill(oval(centre, radius * 0.24), blend(palette.second, palette.dark, 0.3))
    canvas.fill(oval(centre, radius * 0.14), palette.light, contour=0)
