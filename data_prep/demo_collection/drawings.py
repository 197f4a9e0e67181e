"""Manners that draw by hand on paper: chalk, pen and wash.

A manner takes the scene on a canvas and gives the (H, W, 3) picture.

Shapes: H W pixels of the enlarged canvas.
"""

import numpy as np

from data_prep.demo_collection.canvas import Canvas
from data_prep.demo_collection.grain import (
    Floats,
    blur,
    mix,
    noise,
    smoothstep,
    streaks,
)
from data_prep.demo_collection.hatching import hatch, tone_of
from data_prep.demo_collection.palettes import Palette
from data_prep.demo_collection.paper import edge_fade, ivory, paper


def chalk(canvas: Canvas, _palette: Palette, rng: np.random.Generator) -> Floats:
    """Draw in red or black chalk on toned paper, heightened with white."""
    tone, unit = tone_of(canvas, 0.7), canvas.unit_px
    is_red = rng.random() < 0.6
    red, black = (0.58, 0.22, 0.13), (0.16, 0.14, 0.14)
    stick = np.array(red if is_red else black) + rng.normal(0, 0.02, 3)
    tints = [(0.88, 0.8, 0.66), (0.82, 0.72, 0.56), (0.68, 0.72, 0.72)]
    tint = np.array(tints[int(rng.integers(2 if is_red else 3))])
    sheet = paper(canvas, tint + rng.normal(0, 0.02, 3), rng)
    angle = float(rng.choice([40, 50, 60, 130]) + rng.normal(0, 5))
    grain = streaks(tone.shape, 0.12 * unit, 0.009 * unit, angle, rng)
    grain += 0.7 * noise(tone.shape, (0.008 * unit,) * 2, rng)
    rubbed = smoothstep(0.9 - blur(tone, 0.02 * unit), 0.1, 1.3) * 0.5
    marks = smoothstep(1.9 * (0.55 - tone) + grain * 0.3, -0.1, 0.9)
    edge = canvas.contours * (0.75 + 0.25 * np.clip(grain, -1, 1))
    weight = np.maximum(marks, edge) * 0.85 + rubbed * 0.5
    drawn = mix(sheet, stick, np.clip(weight, 0, 0.92))
    white = smoothstep(tone + grain * 0.14, 0.86, 1.08) * 0.65
    fade = edge_fade(canvas, rng)
    return mix(sheet, mix(drawn, (0.97, 0.95, 0.9), white), fade)


def pen_and_wash(canvas: Canvas, _palette: Palette, rng: np.random.Generator) -> Floats:
    """Draw in pen and lay brown or grey washes over it."""
    tone, unit = tone_of(canvas, 0.66), canvas.unit_px
    sheet = paper(canvas, ivory(rng, 0.1), rng)
    brown = (
        np.array((0.36, 0.23, 0.13)) if rng.random() < 0.7 else np.array((0.25,) * 3)
    )
    pool = noise(tone.shape, (0.12 * unit,) * 2, rng, 3) * 0.05
    washed = sheet
    for level, strength in ((0.72, 0.3), (0.48, 0.4), (0.26, 0.5)):
        patch = smoothstep(level - tone + pool, -0.02, 0.03)
        rim = np.clip(patch - blur(patch, 0.02 * unit), 0, 1)
        washed = mix(washed, brown, patch * strength * 0.75 + rim * 0.3)
    angle = float(rng.uniform(30, 60))
    lines = hatch(canvas, tone, angle, 0.036, (0.3, 1.3), rng, 0.03)
    ink = np.maximum(canvas.contours, lines * 0.7)
    drawn = mix(washed, brown * 0.55, ink * 0.85)
    return mix(sheet, drawn, edge_fade(canvas, rng))
