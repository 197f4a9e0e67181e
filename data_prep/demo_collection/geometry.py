"""The subject without an object: discs, bars, arcs, grids."""

from itertools import pairwise

import numpy as np

from data_prep.demo_collection.canvas import Canvas
from data_prep.demo_collection.grain import Floats
from data_prep.demo_collection.outlines import oval, ribbon
from data_prep.demo_collection.palettes import Palette, blend


def geometry(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> None:
    """Discs, bars, arcs or a grid, and nothing behind them."""
    w, h = canvas.width, canvas.height
    ground = blend(palette.light, palette.haze, rng.uniform(0, 0.6))
    canvas.wash(ground, blend(ground, palette.haze, 0.2))
    inks = [
        palette.accent,
        palette.second,
        palette.dark,
        palette.wall,
        palette.leaf,
        palette.near,
        palette.sky,
    ]
    kind = rng.random()
    if kind < 0.3:
        _grid(canvas, palette, inks, rng)
        return
    if kind < 0.6:
        _rings(canvas, palette, inks, rng)
    heart = np.array([w / 2, h / 2])
    tilt = rng.uniform(-0.9, 0.9)
    for _ in range(int(rng.integers(5, 10))):
        at = heart + rng.normal(0, 0.2, 2)
        length, width = rng.uniform(0.15, 0.8), rng.uniform(0.015, 0.12)
        turn = tilt + float(rng.choice([0, 0, np.pi / 2])) + rng.normal(0, 0.05)
        along = np.array([np.cos(turn), np.sin(turn)]) * length / 2
        bar = ribbon([at - along, at + along], width)
        hue = inks[int(rng.integers(len(inks)))]
        canvas.fill(bar, hue, opacity=rng.uniform(0.75, 1), contour=0)
    for _ in range(int(rng.integers(1, 4))):
        x, y = heart + rng.normal(0, 0.22, 2)
        radius = rng.uniform(0.05, 0.22)
        hue = inks[int(rng.integers(len(inks)))]
        canvas.fill(oval((x, y), radius), hue, opacity=0.85, contour=0)
        if rng.random() < 0.5:
            canvas.fill(oval((x, y), radius * 0.5), ground, contour=0)
    corner = heart + rng.normal(0, 0.2, 2)
    wedge = corner + rng.uniform(-0.3, 0.3, (3, 2))
    canvas.fill(wedge, inks[int(rng.integers(3))], opacity=0.9, contour=0)
    for _ in range(int(rng.integers(2, 6))):
        ends = heart + rng.normal(0, 0.35, (2, 2))
        canvas.line(ends, rng.choice([0.005, 0.009]), palette.dark)


def _rings(
    canvas: Canvas, palette: Palette, inks: list[Floats], rng: np.random.Generator
) -> None:
    for _ in range(int(rng.integers(1, 4))):
        x = canvas.width * rng.uniform(0.2, 0.8)
        y = canvas.height * rng.uniform(0.2, 0.8)
        n_rings = int(rng.integers(3, 6))
        for radius in np.linspace(rng.uniform(0.25, 0.45), 0.05, n_rings):
            start = rng.uniform(0, 6.3)
            for part, angle in enumerate((0, np.pi)):
                t = start + angle + np.linspace(0, np.pi, 20)
                half = np.column_stack([x + radius * np.cos(t), y + radius * np.sin(t)])
                hue = inks[int(rng.integers(len(inks)))]
                shade = blend(hue, palette.light, 0.35 * part)
                canvas.fill(half, shade, contour=0)


def _grid(
    canvas: Canvas, palette: Palette, inks: list[Floats], rng: np.random.Generator
) -> None:
    w, h = canvas.width, canvas.height
    n_columns, n_rows = rng.integers(2, 5, 2)
    xs = np.array([0, *np.sort(rng.uniform(0.1, 0.9, n_columns)), 1]) * w
    ys = np.array([0, *np.sort(rng.uniform(0.1, 0.9, n_rows)), 1]) * h
    for left, right in pairwise(xs):
        for top, bottom in pairwise(ys):
            if rng.random() < 0.45:
                box = [(left, top), (right, top), (right, bottom), (left, bottom)]
                canvas.fill(box, inks[int(rng.integers(len(inks)))], contour=0)
    thick = rng.choice([0.012, 0.02, 0.03])
    for x in xs[1:-1]:
        canvas.line([(x, 0), (x, h)], thick, palette.dark)
    for y in ys[1:-1]:
        canvas.line([(0, y), (w, y)], thick, palette.dark)
