"""The subject of ships under sail."""

import numpy as np

from data_prep.demo_collection.canvas import Canvas
from data_prep.demo_collection.grain import noise, smoothstep
from data_prep.demo_collection.outlines import curve, oval, ridge
from data_prep.demo_collection.palettes import Palette, blend
from data_prep.demo_collection.places import sky


def sea(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> None:
    """Ships under sail on a moving sea."""
    horizon = canvas.height * rng.uniform(0.55, 0.75)
    sky(canvas, palette, horizon, rng)
    if rng.random() < 0.6:
        cliff = ridge(canvas.width, horizon + 0.01, horizon, 0.12, rng)
        canvas.fill(cliff, blend(palette.far, palette.haze, 0.4), contour=0.004)
    water = [
        (-0.1, horizon),
        (canvas.width + 0.1, horizon),
        (canvas.width + 0.1, canvas.height + 0.1),
        (-0.1, canvas.height + 0.1),
    ]
    shallow = blend(palette.haze, palette.far, 0.5)
    deep = blend(palette.second, palette.dark, 0.45)
    canvas.fill(water, shallow, to=deep, contour=0.004)
    _, y = canvas.grid()
    unit = canvas.unit_px
    waves = noise(canvas.colours.shape[:2], (0.018 * unit, 0.16 * unit), rng, 2)
    below = np.clip((y - horizon) / (canvas.height - horizon), 0, 1)
    crests = smoothstep(waves, 0.5, 1.6) * (y > horizon) * (0.25 + 0.6 * below)
    canvas.veil(crests, palette.light)
    troughs = smoothstep(-waves, 0.4, 1.6) * (y > horizon) * (0.2 + 0.5 * below)
    canvas.veil(troughs, palette.dark)
    n_ships = int(rng.integers(1, 4))
    slots = (np.arange(n_ships) + rng.uniform(0.25, 0.75, n_ships)) / n_ships
    for place, size in zip(
        slots * canvas.width, np.sort(rng.uniform(0.22, 0.62, n_ships)), strict=True
    ):
        _ship(canvas, palette, (place, horizon + size * 0.27), size, rng)


def _ship(
    canvas: Canvas,
    palette: Palette,
    at: tuple[float, float],
    size: float,
    rng: np.random.Generator,
) -> None:
    x, y = at
    wood = blend(palette.dark, palette.accent, rng.uniform(0.05, 0.3))
    shade = oval((x, y + 0.03 * size), size * 0.5, size * 0.07)
    canvas.fill(shade, palette.dark, opacity=0.45, soft=0.012)
    lean = rng.uniform(-0.08, 0.08) * size
    canvas.line(
        [(x + 0.4 * size, y - 0.2 * size), (x + 0.68 * size, y - 0.34 * size)],
        0.006,
        palette.dark,
    )
    for mast, tall in ((-0.26, 0.75), (0.02, 1.0), (0.27, 0.72)):
        foot, head = (
            (x + mast * size, y - 0.1 * size),
            (
                x + mast * size + lean,
                y - tall * size,
            ),
        )
        canvas.line([foot, head], max(0.005, 0.014 * size), palette.dark)
        for low, high in ((0.2, 0.55), (0.58, 0.86)):
            wide = (0.17 - 0.05 * (low > 0.5)) * size * tall
            bottom, top = y - low * tall * size, y - high * tall * size
            middle = foot[0] + lean * (low + high) / 2
            sail = curve(
                [
                    (middle - wide, bottom),
                    (middle - wide * 0.75, (bottom + top) / 2),
                    (middle - wide * 0.85, top),
                    (middle + wide * 0.8, top),
                    (middle + wide * 1.25, (bottom + top) / 2),
                    (middle + wide, bottom),
                ]
            )
            canvas.fill(sail, palette.light, to=blend(palette.light, wood, 0.35))
        flag = [
            head,
            (head[0] - 0.12 * size, head[1] + 0.02 * size),
            (head[0], head[1] + 0.05 * size),
        ]
        canvas.fill(flag, palette.accent, contour=0.003)
    hull = curve(
        [
            (x - 0.5 * size, y - 0.22 * size),
            (x - 0.4 * size, y),
            (x, y + 0.05 * size),
            (x + 0.36 * size, y),
            (x + 0.5 * size, y - 0.2 * size),
            (x + 0.3 * size, y - 0.1 * size),
            (x - 0.3 * size, y - 0.1 * size),
        ],
        closed=True,
    )
    canvas.fill(hull, blend(wood, palette.near, 0.4), to=palette.dark)
