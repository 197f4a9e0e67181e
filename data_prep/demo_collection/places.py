"""Subjects out of doors: hills and mountain, with the sky over them."""

import numpy as np

from data_prep.demo_collection.canvas import Canvas
from data_prep.demo_collection.grain import Floats, noise, smoothstep
from data_prep.demo_collection.outlines import blob, curve, oval, ribbon, ridge
from data_prep.demo_collection.palettes import Palette, blend


def hills(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> None:
    """Range behind range under a sky, with a river, trees and a low sun."""
    horizon = canvas.height * rng.uniform(0.42, 0.68)
    sky(canvas, palette, horizon, rng)
    n_ranges = int(rng.integers(3, 6))
    for depth in np.linspace(0, 1, n_ranges):
        level = horizon + (canvas.height - horizon) * depth**1.5 * 0.8
        colour = blend(palette.far, palette.near, depth)
        pale = blend(colour, palette.haze, 0.55 * (1 - depth) + 0.1)
        rise = canvas.height * rng.uniform(0.07, 0.16) * (1 - 0.4 * depth)
        crest = ridge(canvas.width, canvas.height + 0.1, level, rise, rng)
        canvas.fill(crest, pale, to=blend(colour, palette.dark, 0.35 * depth))
        if 0.2 < depth < 0.95:
            green = blend(palette.leaf, pale, 0.65 * (1 - depth))
            for grove in rng.uniform(0, canvas.width, int(rng.integers(2, 4))):
                for x in grove + rng.normal(0, 0.06, int(rng.integers(1, 6))):
                    on = crest[np.abs(crest[: len(crest) - 2, 0] - x).argmin()]
                    size = (0.06 + 0.14 * depth) * rng.uniform(0.7, 1.3)
                    tree(canvas, palette, (x, on[1] + 0.02), size, green, rng)
    if rng.random() < 0.55:
        _river(canvas, palette, horizon, rng)
    side = rng.choice([0.1, 0.9]) * canvas.width
    if rng.random() < 0.7:
        foot = (side, canvas.height * rng.uniform(0.9, 1.0))
        tree(canvas, palette, foot, rng.uniform(0.45, 0.7), palette.leaf, rng)


def mountain(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> None:
    """One great mountain between bands of cloud, a red sun, a branch in front."""
    w, h = canvas.width, canvas.height
    canvas.wash(palette.second, palette.haze, end=h * 0.45)
    sun = (w * rng.uniform(0.15, 0.85), h * rng.uniform(0.15, 0.35))
    if rng.random() < 0.8:
        canvas.fill(oval(sun, rng.uniform(0.09, 0.15)), palette.accent)
    peak, foot = (w * rng.uniform(0.35, 0.65), h * rng.uniform(0.18, 0.32)), h * 0.78
    spread = rng.uniform(0.5, 0.7)
    left = [
        (peak[0] - spread * (1.1 * t**1.7), peak[1] + (foot - peak[1]) * t)
        for t in (1.0, 0.7, 0.4, 0.15)
    ]
    right = [
        (peak[0] + 0.07 + spread * (1.1 * t**1.7), peak[1] + (foot - peak[1]) * t)
        for t in (0.15, 0.4, 0.7, 1.0)
    ]
    slope = curve([*left, peak, (peak[0] + 0.07, peak[1] + 0.01), *right])
    canvas.fill(slope, blend(palette.second, palette.dark, 0.2), to=palette.far)
    snowline = peak[1] + (foot - peak[1]) * rng.uniform(0.22, 0.36)
    cap = slope[slope[:, 1] < snowline]
    teeth = np.linspace(cap[-1, 0], cap[0, 0], 11)[1:-1]
    fall = snowline + np.where(np.arange(9) % 2, 0.07, -0.03) * rng.uniform(0.6, 1.2, 9)
    canvas.fill(np.concatenate([cap, np.column_stack([teeth, fall])]), palette.light)
    for _ in range(int(rng.integers(2, 5))):
        y, x = h * rng.uniform(0.4, 0.8), w * rng.uniform(-0.2, 0.9)
        spine = np.linspace((x, y), (x + rng.uniform(0.3, 0.8), y), 9)
        bank = ribbon(spine, [0.01, 0.045, 0.05, 0.05, 0.045, 0.01])
        canvas.fill(bank, palette.light, to=palette.haze, soft=0.008, contour=0)
    for depth in (0.0, 0.5, 1.0):
        front = ridge(w, h + 0.1, h * (0.78 + 0.09 * depth), 0.08, rng, 6)
        colour = blend(palette.far, palette.leaf, 0.4 + 0.6 * depth)
        canvas.fill(front, colour, to=blend(colour, palette.dark, 0.35))
        for x in rng.uniform(0, w, int(rng.integers(2, 5))):
            _pine(
                canvas, palette, (x, h * (0.8 + 0.1 * depth)), 0.12 + 0.1 * depth, rng
            )


def tree(
    canvas: Canvas,
    palette: Palette,
    foot: tuple[float, float],
    size: float,
    green: Floats,
    rng: np.random.Generator,
) -> None:
    """Plant a tree of a height of ``size``."""
    x, y = foot
    lean = rng.uniform(-0.15, 0.15) * size
    crown = (x + lean, y - size * 0.65)
    trunk = curve([(x, y), (x + lean * 0.3, y - size * 0.3), crown])
    bark = blend(palette.dark, green, 0.3)
    canvas.fill(ribbon(trunk, [size * 0.09, size * 0.04]), bark, contour=0)
    colour = blend(green, palette.near, rng.uniform(0, 0.35))
    if rng.random() < 0.25:
        poplar = blob((x, y - size * 0.55), size * 0.13, size * 0.5, rng, 0.1)
        canvas.fill(poplar, colour, relief=0.9)
        return
    for height in np.linspace(0.45, 0.9, 3 + int(size > 0.2) * 4):
        reach = size * rng.uniform(0.17, 0.28)
        side = rng.uniform(-0.3, 0.3) * size * (1.25 - height)
        light = blend(palette.dark, colour, 0.55 + 0.45 * height)
        puff = blob(
            (crown[0] + side, y - size * height), reach, reach * 0.7, rng, 0.2, 11
        )
        canvas.fill(puff, light, relief=0.9, contour=0.004)


def sky(
    canvas: Canvas, palette: Palette, horizon: float, rng: np.random.Generator
) -> None:
    """Paint the sky down to the horizon, with clouds and perhaps a sun."""
    canvas.wash(palette.sky, palette.haze, end=horizon)
    sun = (canvas.width * rng.uniform(0.15, 0.85), horizon * rng.uniform(0.3, 0.95))
    is_sunny = rng.random() < 0.6
    if is_sunny:
        canvas.glow(sun, rng.uniform(0.3, 0.6), palette.light)
        canvas.fill(
            oval(sun, rng.uniform(0.045, 0.08)),
            blend(palette.light, palette.accent, rng.choice([0, 0, 0.6])),
            contour=0.004,
        )
    unit = canvas.unit_px
    drift = noise(canvas.colours.shape[:2], (0.16 * unit, 0.5 * unit), rng, 4)
    _, y = canvas.grid()
    high = np.clip(1.15 - y / horizon, 0, 1)
    cover = rng.uniform(-0.4, 0.9)
    canvas.veil(smoothstep(drift, cover, cover + 1.3) * high * 0.75, palette.light)
    under = np.roll(drift, -int(0.05 * unit), axis=0)
    shade = smoothstep(under, cover + 0.5, cover + 2) * high * 0.35
    canvas.veil(shade, blend(palette.far, palette.dark, 0.4))


def _river(
    canvas: Canvas, palette: Palette, horizon: float, rng: np.random.Generator
) -> None:
    w, h = canvas.width, canvas.height
    start, end = w * rng.uniform(0.35, 0.65), w * rng.uniform(0.2, 0.8)
    middle = horizon + (h - horizon) * np.array([0.15, 0.4, 0.7, 1.05])
    sway = w * rng.uniform(0.1, 0.2) * rng.choice([-1, 1])
    x = np.array([start, start + sway, (start + end) / 2 - sway * 0.6, end])
    bed = ribbon(curve(np.column_stack([x, middle])), [0.012, 0.05, 0.11, 0.26])
    water = blend(palette.haze, palette.sky, 0.4)
    canvas.fill(bed, blend(water, palette.light, 0.3), to=water, contour=0.004)


def _pine(
    canvas: Canvas,
    palette: Palette,
    foot: tuple[float, float],
    size: float,
    rng: np.random.Generator,
) -> None:
    x, y = foot
    lean = rng.uniform(-0.25, 0.25) * size
    trunk = curve([(x, y), (x + lean, y - size * 0.5), (x + lean * 0.5, y - size)])
    canvas.fill(ribbon(trunk, [size * 0.1, size * 0.04]), palette.dark, contour=0)
    needles = blend(palette.leaf, palette.dark, 0.45)
    for height in (0.5, 0.75, 1.0):
        reach = size * (0.5 - 0.28 * height) * rng.uniform(0.8, 1.2)
        at = (x + lean * 0.7 + rng.uniform(-0.12, 0.12) * size, y - size * height)
        canvas.fill(
            blob(at, reach * 1.5, size * 0.1, rng, 0.12), needles, contour=0.004
        )
