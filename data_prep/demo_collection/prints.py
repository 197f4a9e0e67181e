"""Manners that print in line and grain on paper, from woodcut to linocut.

A manner takes the scene on a canvas and gives the (H, W, 3) picture. The line media
see only its lightness: the darker a place, the broader the lines across it, and the
lines bend with the form.

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
from data_prep.demo_collection.palettes import Palette, blend
from data_prep.demo_collection.paper import faded, ink, ivory, paper


def woodcut(canvas: Canvas, _palette: Palette, rng: np.random.Generator) -> Floats:
    """Print bold parallel lines from a block, sometimes coloured by hand."""
    tone = tone_of(canvas, 0.66)
    angle = float(rng.choice([0, 15, 75, 90, 165]) + rng.normal(0, 4))
    lines = hatch(canvas, tone, angle, rng.uniform(0.034, 0.042), (0.62, 0.75), rng)
    edge = blur(canvas.contours, 0.003 * canvas.unit_px)
    black = np.maximum(lines, smoothstep(edge, 0.1, 0.4))
    wear = noise(tone.shape, (0.02 * canvas.unit_px,) * 2, rng, 2)
    black *= 1 - 0.7 * smoothstep(wear, 1.3, 2.2)
    sheet = paper(canvas, ivory(rng, 0.12), rng)
    if rng.random() < 0.45:
        stain = faded(canvas.colours, 0.25)
        coverage = smoothstep(
            noise(tone.shape, (0.3 * canvas.unit_px,) * 2, rng), -2, 1
        )
        sheet = mix(sheet, sheet * np.sqrt(stain), 0.85 * coverage)
    return mix(sheet, ink(rng, 0.09), black * 0.94)


def engraving(canvas: Canvas, _palette: Palette, rng: np.random.Generator) -> Floats:
    """Cut fine swelling lines, crossed in the shadows."""
    tone = tone_of(canvas, 0.62)
    angle = float(rng.uniform(20, 60) * rng.choice([-1, 1]))
    pitch = rng.uniform(0.023, 0.027)
    black = np.maximum.reduce(
        [
            hatch(canvas, tone, angle, pitch, (0.82, 1.05), rng),
            hatch(canvas, tone, angle + 75, pitch, (0.46, 0.8), rng),
            canvas.contours * 0.9,
        ]
    )
    sheet = paper(canvas, ivory(rng, 0.08), rng)
    return mix(sheet, ink(rng, 0.13), black * 0.9)


def etching(canvas: Canvas, _palette: Palette, rng: np.random.Generator) -> Floats:
    """Scratch loose lines that cross at many angles, with some plate tone."""
    tone = tone_of(canvas, 0.62)
    angle, pitch = rng.uniform(0, 180), rng.uniform(0.02, 0.026)
    layers = [
        hatch(canvas, tone, angle + turn, pitch * uneven, span, rng, 0.02)
        for turn, span, uneven in (
            (0, (0.8, 1.2), 1.0),
            (48, (0.56, 0.9), 1.15),
            (110, (0.34, 0.7), 0.95),
        )
    ]
    black = np.maximum.reduce([*layers, canvas.contours * 0.85])
    gaps = streaks(tone.shape, 0.2 * canvas.unit_px, 0.01 * canvas.unit_px, 30, rng)
    black *= 0.8 + 0.2 * smoothstep(gaps, -1, 1)
    sheet = paper(canvas, ivory(rng, 0.07), rng)
    film = (1 - tone) * rng.uniform(0.1, 0.4)
    sheet = mix(sheet, ink(rng, 0.25), film)
    return mix(sheet, ink(rng, 0.12), black * 0.9)


def lithograph(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> Floats:
    """Print the grain of a crayon on stone, over a tint or two."""
    tone = tone_of(canvas, 0.6)
    sheet = paper(canvas, ivory(rng, 0.05), rng)
    tint = blend(palette.haze, palette.far, rng.uniform(0, 0.6))
    is_coloured = rng.random() < 0.5
    if is_coloured:
        tints = np.sqrt(faded(canvas.colours, 0.2))
        sheet = mix(sheet, sheet * tints, np.float32(0.75))
    else:
        sheet = mix(sheet, sheet * tint, smoothstep(1 - tone, 0.05, 0.3) * 0.8)
    grain = noise(tone.shape, (1.3, 1.3), rng) + 0.2 * noise(tone.shape, (4, 4), rng)
    dark = smoothstep(0.5 - tone + 0.12 * grain, -0.2, 0.35)
    black = np.maximum(dark * (0.75 if is_coloured else 0.92), canvas.contours * 0.8)
    return mix(sheet, ink(rng, 0.1), black)


def colour_woodblock(
    canvas: Canvas, palette: Palette, rng: np.random.Generator
) -> Floats:
    """Print flat colours with a grain of wood, a dark key line and a seal."""
    unit = canvas.unit_px
    steps = rng.uniform(5, 8)
    soft = canvas.colours
    steady = np.round(soft * steps) / steps
    flat = mix(steady, soft, np.full(soft.shape[:2], 0.35, dtype=np.float32))
    wood = streaks(soft.shape[:2], 0.9 * unit, 0.012 * unit, rng.normal(0, 3), rng)
    washi = np.array((0.95, 0.9, 0.79)) + rng.normal(0, 0.015, 3)
    sheet = paper(canvas, washi, rng)
    inked = sheet * (0.08 + 0.92 * flat) * (1 + 0.03 * wood[..., None])
    key = blend(palette.dark, palette.second, 0.25)
    printed = mix(inked, key, canvas.contours * 0.92)
    _, y = canvas.grid()
    bokashi = smoothstep(np.broadcast_to(y, wood.shape), 0.16 * canvas.height, -0.02)
    printed = mix(printed, printed * palette.second, bokashi * 0.75)
    return _sealed(printed, unit, rng)


def linocut(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> Floats:
    """Cut a scene in two tones, with gouge marks, and print it in one colour or two."""
    tone, unit = tone_of(canvas, 0.55), canvas.unit_px
    angle = rng.uniform(0, 180)
    gouge = streaks(tone.shape, 0.12 * unit, 0.022 * unit, angle, rng)
    black = smoothstep(0.5 - blur(tone, 0.008 * unit) + 0.13 * gouge, -0.02, 0.02)
    edge = canvas.contours
    black = np.where(black > 0.5, black * (1 - 0.9 * edge), np.maximum(black, edge))
    sheet = paper(canvas, ivory(rng, 0.06), rng)
    if rng.random() < 0.6:
        second = blend(palette.accent, palette.second, float(rng.choice([0, 0.3, 1])))
        middle = smoothstep(0.74 - tone + 0.1 * gouge, -0.02, 0.02)
        sheet = mix(sheet, second, middle * 0.9)
    salt = noise(tone.shape, (0.008 * unit,) * 2, rng)
    return mix(sheet, ink(rng, 0.1), black * (0.95 - 0.2 * smoothstep(salt, 1, 2)))


def _sealed(picture: Floats, unit_px: int, rng: np.random.Generator) -> Floats:
    """Stamp a red seal and a column of signs in a corner."""
    height_px, width_px = picture.shape[:2]
    side = int(0.07 * unit_px)
    left = int(0.05 * unit_px)
    if rng.random() < 0.5:
        left = width_px - left - side
    top = int(height_px * rng.uniform(0.06, 0.6))
    stamp = picture[top : top + 2 * side, left : left + side]
    cells = rng.random((10, 5)) < 0.5
    signs = np.kron(cells, np.ones((-(-stamp.shape[0] // 10), -(-stamp.shape[1] // 5))))
    carved = signs[: stamp.shape[0], : stamp.shape[1], None]
    red, pale = np.array((0.76, 0.2, 0.15)), np.array((0.95, 0.87, 0.75))
    stamp[:] = np.where(carved > 0, pale, red)
    rim = max(1, side // 10)
    for edge in (np.s_[:rim], np.s_[-rim:], np.s_[:, :rim], np.s_[:, -rim:]):
        stamp[edge] = red
    return picture
