"""Media: how a scene becomes a picture, what it lies on and how it ages.

A medium takes the scene on a canvas and gives the (H, W, 3) picture.

Shapes: H W pixels of the enlarged canvas.
"""

import numpy as np
from numpy.typing import ArrayLike

from data_prep.demo_collection.canvas import Canvas
from data_prep.demo_collection.grain import (
    Floats,
    Rng,
    blur,
    luma,
    mix,
    noise,
    smoothstep,
    streaks,
)
from data_prep.demo_collection.palettes import Palette


def tempera(canvas: Canvas, palette: Palette, rng: Rng) -> Floats:
    """Paint clean contours on a panel that has cracked with age."""
    unit, shape = canvas.unit_px, canvas.shape
    strokes = streaks(
        shape, length_px=0.1 * unit, width_px=0.008 * unit, angle_deg=70, rng=rng
    )
    picture = canvas.colours * (1 + 0.035 * strokes[..., None])
    line = mix(palette.dark, palette.accent, 0.15)
    picture = mix(picture, line, canvas.contours * 0.8)
    picture = mix(picture, luma(picture)[..., None], 0.12)  # faded
    # Rubbed thin in places, so that the red ground shows through.
    rubbed = smoothstep(noise(shape, 0.06 * unit, rng, 4), 1.5, 2.8) * 0.4
    return _cracked(mix(picture, (0.55, 0.27, 0.18), rubbed), unit, rng, 0.35)


def engraving(canvas: Canvas, _palette: Palette, rng: Rng) -> Floats:
    """Print fine swelling lines, crossed in the shadows, sometimes coloured by hand."""
    tone = tone_of(canvas, 0.62)
    angle, pitch = rng.uniform(20, 160), rng.uniform(0.023, 0.034)
    lines = hatch(
        canvas, tone, angle_deg=angle, pitch=pitch, span=(0.82, 1.05), rng=rng
    )
    crossed = hatch(
        canvas, tone, angle_deg=angle + 75, pitch=pitch, span=(0.46, 0.8), rng=rng
    )
    black = np.maximum(np.maximum(lines, crossed), canvas.contours * 0.9)
    age = abs(rng.normal(0, 0.1)) + 0.02
    tint = np.array((0.96, 0.93, 0.86)) - np.array((0.4, 0.75, 1.5)) * age  # yellowed
    sheet = paper(canvas, tint, rng)
    edge, margin = edge_distance(canvas), rng.uniform(0.03, 0.06)
    if rng.random() < 0.35:
        patches = smoothstep(noise(tone.shape, 0.3 * canvas.unit_px, rng), -2, 1)
        inner = smoothstep(edge, margin, margin + 0.01)
        sheet = mix(sheet, sheet * np.sqrt(canvas.colours), 0.85 * patches * inner)
    warm = rng.uniform(-0.01, 0.06)
    ink = (0.12 + warm, 0.12, 0.12 - 0.4 * warm)
    plate_mark = smoothstep(np.abs(edge - margin * 0.75), 0.008, 0.0) * 0.3
    black = np.where(edge < margin, plate_mark, black)
    return mix(sheet, ink, black * 0.92)


def oil(canvas: Canvas, palette: Palette, rng: Rng) -> Floats:
    """Paint light out of darkness under a warm varnish."""
    unit, shape = canvas.unit_px, canvas.shape
    x, y = canvas.grid()
    centre_x = canvas.width * rng.uniform(0.35, 0.65)
    centre_y = canvas.height * rng.uniform(0.38, 0.55)
    reach, depth = rng.uniform(0.5, 0.85), rng.uniform(0.35, 1.0)
    light = np.exp(-(((x - centre_x) / reach) ** 2) - ((y - centre_y) / reach) ** 2)
    picture = canvas.colours ** (1 + 0.35 * depth)
    picture *= (1 - 0.85 * depth + 0.95 * depth * light)[..., None]
    picture = mix(picture, palette.dark * 0.5, canvas.contours * 0.35)
    # Light catches the ridges that a brush leaves in thick paint.
    ridges = streaks(
        shape, length_px=0.05 * unit, width_px=0.009 * unit, angle_deg=35, rng=rng
    )
    ridges += streaks(
        shape, length_px=0.05 * unit, width_px=0.009 * unit, angle_deg=-40, rng=rng
    )
    picture *= 1 + 0.022 * (ridges - np.roll(ridges, (2, 2), (0, 1)))[..., None]
    varnish = np.array((1.06, 0.96, 0.76)) ** rng.uniform(0.2, 1.1)
    return _cracked(picture * varnish.astype(np.float32), unit, rng, 0.2)


def watercolour(canvas: Canvas, _palette: Palette, rng: Rng) -> Floats:
    """Let thin colours run and dry with a dark rim on white paper."""
    unit, shape = canvas.unit_px, canvas.shape
    sheet = paper(canvas, (0.965, 0.945, 0.9), rng)
    pool = noise(shape, 0.2 * unit, rng, 4)
    thin = canvas.colours ** (0.62 + 0.14 * pool[..., None])
    tone = luma(canvas.colours)
    rim = np.clip(blur(tone, 0.012 * unit) - tone, 0, 1) * 1.4
    granules = noise(shape, 0.012 * unit, rng) * (1 - tone) * 0.05
    painted = sheet * np.clip(thin * (1 - rim - granules)[..., None], 0, 1)
    pencil = rng.uniform(0.25, 0.7)
    painted = mix(painted, (0.3, 0.25, 0.22), canvas.contours * pencil)
    if rng.random() < 0.4:
        return painted
    bleed = edge_distance(canvas) + pool * rng.uniform(0.008, 0.02)
    return mix(sheet, painted, smoothstep(bleed, 0.02, 0.05))


def gouache(canvas: Canvas, palette: Palette, rng: Rng) -> Floats:
    """Paint opaque and flat, the brush just visible."""
    unit, shape = canvas.unit_px, canvas.shape
    steps = rng.uniform(6, 10)
    picture = mix(np.round(canvas.colours * steps) / steps, canvas.colours, 0.5)
    brush = streaks(
        shape,
        length_px=0.3 * unit,
        width_px=0.01 * unit,
        angle_deg=rng.uniform(-30, 30),
        rng=rng,
    )
    cloud = noise(shape, 0.25 * unit, rng, 3)
    picture *= (1 + 0.012 * brush + 0.03 * cloud)[..., None]
    return mix(picture, palette.dark, canvas.contours * rng.uniform(0.0, 0.8))


def _cracked(picture: Floats, unit_px: int, rng: Rng, strength: float) -> Floats:
    """Lay a net of fine cracks over an (H, W, 3) picture, here and there."""
    shape = picture.shape[:2]
    # Where smooth noise crosses zero there is a winding line; two of them make a net.
    coarse = np.abs(noise(shape, 0.09 * unit_px, rng, 2))
    fine = np.abs(noise(shape, 0.07 * unit_px, rng, 2))
    net = 1 - smoothstep(np.minimum(coarse, fine), 0.02, 0.06)
    patches = smoothstep(noise(shape, 0.5 * unit_px, rng), -0.5, 1.5)
    return mix(picture, picture * 0.45, net * patches * strength)


def paper(canvas: Canvas, tint: ArrayLike, rng: Rng) -> Floats:
    """Make a sheet (H, W, 3) of laid or wove paper, a little stained by age."""
    shape, unit = canvas.shape, canvas.unit_px
    fibre = noise(shape, 0.01 * unit, rng) * 0.012
    cloud = noise(shape, 0.5 * unit, rng, 3) * 0.018
    sheet = np.asarray(tint, np.float32) * (1 + fibre + cloud)[..., None]
    if rng.random() < 0.5:  # the wires of the mould
        _, y = canvas.grid()
        sheet *= 1 - 0.025 * (np.sin(y * 2 * np.pi / 0.028) > 0.3)[..., None]
    foxing = smoothstep(noise(shape, 0.035 * unit, rng, 2), rng.uniform(2.3, 4), 4.2)
    return mix(np.clip(sheet, 0, 1), (0.66, 0.47, 0.27), foxing * 0.35)


def edge_distance(canvas: Canvas) -> Floats:
    """Give the (H, W) distance to the nearest edge, in short sides."""
    x, y = canvas.grid()
    across, down = np.minimum(x, canvas.width - x), np.minimum(y, canvas.height - y)
    return np.asarray(np.minimum(across, down), dtype=np.float32)


def tone_of(canvas: Canvas, middle: float) -> Floats:
    """Give the (H, W) lightness of a scene, 0 to 1, its median ``middle`` or more."""
    tone = luma(canvas.colours)
    low, high = np.percentile(tone[::4, ::4], (2, 97))
    tone = np.clip((tone - low) / max(high - low, 0.1), 0, 1)
    median = float(np.clip(np.median(tone[::4, ::4]), 0.05, middle))
    # The power that takes the median to the middle, as median ** power == middle.
    return np.asarray(tone ** (np.log(middle) / np.log(median)), dtype=np.float32)


def hatch(
    canvas: Canvas,
    tone: Floats,
    angle_deg: float,
    pitch: float,
    span: tuple[float, float],
    rng: Rng,
) -> Floats:
    """Give the ink (H, W), 0 to 1, of parallel lines that are broad where it is dark.

    Args:
        canvas: Where the lines lie.
        tone: (H, W) lightness.
        angle_deg: Direction across the lines.
        pitch: Distance of two lines, in short sides.
        span: The tone at which lines begin, and how dark it gets in full.
        rng: Draws the unsteadiness of the hand.
    """
    x, y = canvas.grid()
    angle = np.deg2rad(angle_deg)
    form = blur(tone, 0.035 * canvas.unit_px)  # the lines bend with it
    hand = noise(tone.shape, 0.15 * canvas.unit_px, rng) * 0.006
    across = x * np.cos(angle) + y * np.sin(angle) + 0.1 * form + hand
    distance = np.abs((across / pitch) % 1 - 0.5) * 2  # 0 on a line, 1 between two
    start, strength = span
    breadth = np.clip((start - tone) / start, 0, 1) * strength
    soft = 0.9 / (pitch * canvas.unit_px)  # about one pixel
    lines = smoothstep(breadth - distance, -soft, soft)
    # Without this a hairline would remain where there is no breadth at all.
    return lines * smoothstep(breadth, 0, soft)


def aged(picture: Floats, rng: Rng) -> Floats:
    """Tone an (H, W, 3) picture as time does: brown edges, a cast, a little grain."""
    height_px, width_px = picture.shape[:2]
    y = np.linspace(-1, 1, height_px, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width_px, dtype=np.float32)[None, :]
    rim = smoothstep(np.maximum(abs(x), abs(y)) + 0.15 * np.hypot(x, y), 0.7, 1.2)
    browned = picture * np.array((0.9, 0.82, 0.68), dtype=np.float32)
    toned = mix(picture, browned, rim * rng.uniform(0, 0.55))
    cast = (1 + rng.normal(0, 0.018, 3)).astype(np.float32)
    grain = noise((height_px, width_px), 2, rng) * rng.uniform(0.004, 0.016)
    light = rng.uniform(0.93, 1.04)
    return np.asarray(toned * (cast * light) + grain[..., None], dtype=np.float32)
