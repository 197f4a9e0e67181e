"""Manners that work in colour: tempera, oil, pastel, watercolour, dabs, gouache.

A manner takes the scene on a canvas and gives the (H, W, 3) picture.

Shapes: H W pixels of the enlarged canvas.
"""

import numpy as np
from PIL import Image, ImageDraw

from data_prep.demo_collection.canvas import Canvas
from data_prep.demo_collection.grain import (
    Floats,
    blur,
    floats,
    luma,
    mix,
    noise,
    smoothstep,
    streaks,
)
from data_prep.demo_collection.palettes import Palette, blend
from data_prep.demo_collection.paper import faded, paper


def tempera(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> Floats:
    """Paint clean contours on a panel that has cracked with age."""
    unit = canvas.unit_px
    shape = canvas.colours.shape[:2]
    strokes = streaks(shape, 0.1 * unit, 0.008 * unit, 70, rng)
    picture = canvas.colours * (1 + 0.035 * strokes[..., None])
    ink = blend(palette.dark, palette.accent, 0.15)
    picture = mix(picture, ink, canvas.contours * 0.8)
    return _cracked(_worn(picture, unit, rng), unit, rng, 0.35)


def oil(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> Floats:
    """Paint light out of darkness under a warm varnish."""
    unit = canvas.unit_px
    x, y = canvas.grid()
    heart = np.array([canvas.width, canvas.height])
    heart = heart * (rng.uniform(0.35, 0.65), rng.uniform(0.38, 0.55))
    reach = rng.uniform(0.5, 0.85)
    light = np.exp(-(((x - heart[0]) / reach) ** 2) - ((y - heart[1]) / reach) ** 2)
    depth = rng.uniform(0.35, 1.0)
    picture = canvas.colours ** (1 + 0.35 * depth)
    picture *= (1 - 0.85 * depth + 0.95 * depth * light)[..., None]
    picture = mix(picture, palette.dark * 0.5, canvas.contours * 0.35)
    picture = _impasto(picture, unit, rng, 0.022)
    varnish = np.array((1.06, 0.96, 0.76)) ** rng.uniform(0.2, 1.1)
    return _cracked(picture * varnish.astype(np.float32), unit, rng, 0.2)


def pastel(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> Floats:
    """Rub soft colours into toned paper, often in an oval."""
    unit = canvas.unit_px
    shape = canvas.colours.shape[:2]
    soft = np.stack([blur(canvas.colours[..., n], 0.007 * unit) for n in range(3)], 2)
    soft = mix(soft, canvas.colours, np.full(shape, 0.4))
    soft = 0.12 + 0.9 * soft
    tint = blend(palette.wall, palette.haze, rng.uniform(0.2, 0.8))
    sheet = paper(canvas, tint, rng)
    tooth = noise(shape, (0.011 * unit,) * 2, rng)
    angle = float(rng.uniform(30, 70))
    tooth += 0.8 * streaks(shape, 0.14 * unit, 0.016 * unit, angle, rng)
    picture = mix(sheet, soft, 0.78 + 0.16 * np.clip(tooth, -1.5, 1.3))
    picture = mix(picture, palette.dark, canvas.contours * 0.28)
    if rng.random() < 0.5:
        picture = _oval_mount(canvas, picture, palette, rng)
    return picture


def watercolour(canvas: Canvas, _palette: Palette, rng: np.random.Generator) -> Floats:
    """Let thin colours run and dry with a dark rim on white paper."""
    unit = canvas.unit_px
    shape = canvas.colours.shape[:2]
    sheet = paper(canvas, (0.965, 0.945, 0.9), rng)
    pool = noise(shape, (0.2 * unit,) * 2, rng, 4)
    thin = canvas.colours ** (0.62 + 0.14 * pool[..., None])
    tone = luma(canvas.colours)
    rim = np.clip(blur(tone, 0.012 * unit) - tone, 0, 1) * 1.4
    granules = noise(shape, (0.012 * unit,) * 2, rng) * (1 - tone) * 0.05
    painted = sheet * np.clip(thin * (1 - rim - granules)[..., None], 0, 1)
    pencil = rng.uniform(0.25, 0.7)
    painted = mix(painted, (0.3, 0.25, 0.22), canvas.contours * pencil)
    if rng.random() < 0.6:
        x, y = canvas.grid()
        edge = np.minimum(
            np.minimum(x, canvas.width - x), np.minimum(y, canvas.height - y)
        )
        bleed = edge + pool * rng.uniform(0.008, 0.02)
        painted = mix(sheet, painted, smoothstep(bleed, 0.02, 0.05))
    return painted


def dabs(canvas: Canvas, _palette: Palette, rng: np.random.Generator) -> Floats:
    """Paint with short strokes of broken colour that follow the forms."""
    unit, scene = canvas.unit_px, canvas.colours
    height_px, width_px = scene.shape[:2]
    grey = luma(scene)[..., None]
    vivid = np.clip(grey + (scene - grey) * 1.25, 0, 1)
    lifted = smoothstep(vivid, -0.1, 1.1)
    form = blur(luma(scene), 0.03 * unit)
    slope_y, slope_x = np.gradient(form)
    swirl = noise((height_px, width_px), (0.4 * unit,) * 2, rng) * 0.9
    angle = np.arctan2(slope_x, -slope_y) * (np.hypot(slope_x, slope_y) > 0.004) + swirl
    image = Image.fromarray((lifted * 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    coarse = rng.uniform(0.8, 1.25)
    for n_strokes, length, width in ((900, 0.075, 0.026), (1300, 0.045, 0.015)):
        rows = rng.integers(height_px, size=n_strokes)
        columns = rng.integers(width_px, size=n_strokes)
        hues = lifted[rows, columns] + rng.normal(0, 0.045, (n_strokes, 3))
        hues += rng.normal(0, 0.05, (n_strokes, 1))
        inks = (np.clip(hues, 0, 1) * 255).astype(int)
        reach = length * coarse * unit / 2 * rng.uniform(0.6, 1.3, n_strokes)
        turn = angle[rows, columns] + rng.normal(0, 0.25, n_strokes)
        dx, dy = reach * np.cos(turn), reach * np.sin(turn)
        ends = np.column_stack([columns - dx, rows - dy, columns + dx, rows + dy])
        thick = max(1, round(width * coarse * unit))
        for stroke, ink in zip(ends.tolist(), inks.tolist(), strict=True):
            draw.line(stroke, fill=tuple(ink), width=thick)
    picture = floats(image)
    relief = luma(picture)
    emboss = np.roll(relief, (1, 1), (0, 1)) - relief
    return np.asarray(picture * (1 - 0.35 * emboss[..., None]), dtype=np.float32)


def gouache(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> Floats:
    """Paint opaque and flat, the brush just visible."""
    unit = canvas.unit_px
    shape = canvas.colours.shape[:2]
    steps = rng.uniform(6, 10)
    flat = np.round(canvas.colours * steps) / steps
    picture = mix(flat, canvas.colours, np.full(shape, 0.5))
    brush = streaks(shape, 0.3 * unit, 0.01 * unit, float(rng.uniform(-30, 30)), rng)
    cloud = noise(shape, (0.25 * unit,) * 2, rng, 3)
    picture = picture * (1 + 0.012 * brush + 0.03 * cloud)[..., None]
    return mix(picture, palette.dark, canvas.contours * rng.uniform(0.0, 0.8))


def _impasto(
    picture: Floats, unit_px: int, rng: np.random.Generator, depth: float
) -> Floats:
    """Let light catch the ridges that a brush leaves in thick paint."""
    shape = picture.shape[:2]
    ridges = streaks(shape, 0.05 * unit_px, 0.009 * unit_px, 35, rng)
    ridges += streaks(shape, 0.05 * unit_px, 0.009 * unit_px, -40, rng)
    catch = (ridges - np.roll(ridges, (2, 2), (0, 1))) * depth
    return np.asarray(picture * (1 + catch[..., None]), dtype=np.float32)


def _cracked(
    picture: Floats, unit_px: int, rng: np.random.Generator, strength: float
) -> Floats:
    """Lay a net of fine cracks over a picture, here and there."""
    shape = picture.shape[:2]
    net = np.minimum(
        np.abs(noise(shape, (0.09 * unit_px,) * 2, rng, 2)),
        np.abs(noise(shape, (0.07 * unit_px,) * 2, rng, 2)),
    )
    where = smoothstep(noise(shape, (0.5 * unit_px,) * 2, rng), -0.5, 1.5)
    cracks = (1 - smoothstep(net, 0.02, 0.06)) * where * strength
    return mix(picture, picture * 0.45, cracks)


def _worn(picture: Floats, unit_px: int, rng: np.random.Generator) -> Floats:
    """Rub the paint thin in places, so that the red ground shows through."""
    shape = picture.shape[:2]
    rubbed = smoothstep(noise(shape, (0.06 * unit_px,) * 2, rng, 4), 1.5, 2.8) * 0.4
    return mix(faded(picture, 0.12), (0.55, 0.27, 0.18), rubbed)


def _oval_mount(
    canvas: Canvas, picture: Floats, palette: Palette, rng: np.random.Generator
) -> Floats:
    """Frame a picture by an oval mount with a gilt edge and a shadow."""
    x, y = canvas.grid()
    distance = np.hypot(
        (x - canvas.width / 2) / (canvas.width * 0.47),
        (y - canvas.height / 2) / (canvas.height * 0.47),
    )
    tint = blend(palette.wall, palette.light, rng.uniform(0.3, 0.8))
    board = paper(canvas, tint, rng)
    gilt = np.array((0.78, 0.62, 0.33), dtype=np.float32)
    picture = picture * (1 - 0.3 * smoothstep(distance, 0.75, 1.0))[..., None]
    framed = mix(picture, gilt, smoothstep(distance, 0.955, 0.965))
    framed = mix(framed, gilt * 0.6, smoothstep(distance, 0.99, 1.0))
    return mix(framed, board, smoothstep(distance, 1.005, 1.015))
