"""Subjects of stone: a town on its river, an arcade."""

import numpy as np

from data_prep.demo_collection.canvas import Canvas
from data_prep.demo_collection.grain import Floats
from data_prep.demo_collection.outlines import arch, curve, oval, ridge
from data_prep.demo_collection.palettes import Palette, blend
from data_prep.demo_collection.places import sky


def town(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> None:
    """Gables and a tower above a river, with its bridge and reflection."""
    w, h = canvas.width, canvas.height
    quay = h * rng.uniform(0.66, 0.78)
    sky(canvas, palette, quay, rng)
    far = ridge(w, h, quay, 0.2, rng)
    canvas.fill(far, blend(palette.far, palette.haze, 0.5))
    tower_x, tower_w = w * rng.uniform(0.2, 0.8), rng.uniform(0.09, 0.14)
    top = quay - h * rng.uniform(0.35, 0.5)
    walls = blend(palette.haze, palette.wall, 0.45)
    x = -0.05
    while x < w:
        width, height = rng.uniform(0.09, 0.2), h * rng.uniform(0.08, 0.3)
        hue = [walls, palette.flesh, palette.light, palette.wall][int(rng.integers(4))]
        shade = blend(hue, palette.dark, rng.uniform(0, 0.35))
        _house(canvas, palette, (x, quay, width, height), shade, rng)
        x += width * rng.uniform(0.8, 1.0)
        if x - width < tower_x <= x:
            box = (tower_x, quay, tower_w, quay - top)
            _tower(canvas, palette, box, blend(walls, palette.light, 0.3), rng)
    strip = np.flip(canvas.colours[: int(quay * canvas.unit_px)], axis=0)
    rows = canvas.colours[int(quay * canvas.unit_px) :]
    ripple = rng.integers(-2, 3, len(rows))
    for row, shift in enumerate(ripple):
        rows[row] = np.roll(strip[min(row, len(strip) - 1)], shift, axis=0)
    _, y = canvas.grid()
    depth = np.clip((y - quay) / (h - quay), 0, 1) * np.ones((1, rows.shape[1]))
    water = blend(palette.second, palette.dark, 0.4)
    canvas.veil((y > quay) * (0.35 + 0.4 * depth).astype(np.float32), water)
    canvas.line([(0, quay), (w, quay)], 0.012, palette.dark)
    if rng.random() < 0.5:
        _bridge(canvas, palette, quay, rng)


def arcade(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> None:
    """Arch within arch, receding to the light."""
    w, h = canvas.width, canvas.height
    vanish = (w * rng.uniform(0.4, 0.6), h * rng.uniform(0.55, 0.65))
    stone = blend(palette.haze, palette.wall, rng.uniform(0.2, 0.6))
    canvas.wash(blend(stone, palette.dark, 0.5), stone)
    n_arches, point = int(rng.integers(4, 7)), float(rng.choice([0, 0, 0.35]))
    for depth in range(n_arches):
        scale = 0.72**depth
        left, right = vanish[0] - 0.46 * w * scale, vanish[0] + 0.46 * w * scale
        top, bottom = (
            vanish[1] - vanish[1] * 0.9 * scale,
            vanish[1] + (h - vanish[1]) * scale,
        )
        inside = arch(left, right, top, bottom, point)
        deep = blend(stone, palette.dark, 0.75 if depth % 2 else 0.25)
        canvas.fill(inside, deep, to=blend(deep, stone, 0.4))
        inner = inside.copy()
        inner[:, 0] = vanish[0] + (inner[:, 0] - vanish[0]) * 0.88 + 0.01 * scale
        inner[:, 1] = bottom + (inner[:, 1] - bottom) * 0.95
        lit = blend(stone, palette.light, 0.3 + 0.5 * depth / n_arches)
        canvas.fill(inner, lit, to=blend(lit, palette.dark, 0.25))
    last = 0.46 * w * 0.72**n_arches
    door = arch(
        vanish[0] - last, vanish[0] + last, vanish[1] - last * 2.2, vanish[1], point
    )
    canvas.fill(door, palette.sky, to=palette.light)
    floor = vanish[1] + (h - vanish[1]) * 0.72 ** np.arange(n_arches, -1, -1)
    for y in floor:
        span = 0.46 * w * (y - vanish[1]) / (h - vanish[1])
        ends = [(vanish[0] - span, y), (vanish[0] + span, y)]
        canvas.line(ends, 0.006, blend(palette.dark, stone, 0.3))
    for x in np.linspace(0.04, 0.96, 8) * w:
        canvas.line([(x, h), vanish], 0.004, blend(palette.dark, stone, 0.5))
    canvas.glow((vanish[0], vanish[1] - 0.1), 0.3, palette.light)
    for _ in range(int(rng.integers(1, 4))):
        x, y = (
            vanish[0] + rng.uniform(-0.25, 0.25),
            vanish[1] + rng.uniform(0.1, 0.25) * h,
        )
        cloak = blend(palette.accent, palette.second, rng.uniform(0, 1))
        body = [
            (x - 0.035, y),
            (x - 0.015, y - 0.09),
            (x + 0.015, y - 0.09),
            (x + 0.03, y),
        ]
        canvas.fill(body, cloak, to=blend(cloak, palette.dark, 0.5))
        canvas.fill(oval((x, y - 0.105), 0.014), palette.flesh)


def _house(
    canvas: Canvas,
    palette: Palette,
    box: tuple[float, float, float, float],
    wall: Floats,
    rng: np.random.Generator,
) -> None:
    x, foot, width, height = box
    eaves, gable = foot - height, rng.uniform(0.05, 0.12)
    front = [
        (x, foot),
        (x, eaves),
        (x + width / 2, eaves - gable),
        (x + width, eaves),
        (x + width, foot),
    ]
    canvas.fill(front, wall, to=blend(wall, palette.dark, 0.2))
    roof = blend(palette.accent, palette.dark, rng.uniform(0.1, 0.5))
    edge = [
        (x - 0.01, eaves),
        (x + width / 2, eaves - gable - 0.01),
        (x + width + 0.01, eaves),
        (x + width / 2, eaves - gable + 0.035),
    ]
    canvas.fill(edge, roof)
    dim = blend(palette.dark, palette.second, 0.25)
    for row in np.arange(eaves + 0.02, foot - 0.04, 0.055):
        for at in np.arange(x + 0.02, x + width - 0.025, 0.04):
            canvas.fill(
                [
                    (at, row),
                    (at + 0.016, row),
                    (at + 0.016, row + 0.026),
                    (at, row + 0.026),
                ],
                dim,
                contour=0,
            )


def _tower(
    canvas: Canvas,
    palette: Palette,
    box: tuple[float, float, float, float],
    wall: Floats,
    rng: np.random.Generator,
) -> None:
    x, foot, width, height = box
    top = foot - height * 0.65
    shaft = [(x, foot), (x, top), (x + width, top), (x + width, foot)]
    canvas.fill(shaft, wall, to=blend(wall, palette.dark, 0.35))
    dim = palette.dark
    canvas.fill(arch(x + width * 0.35, x + width * 0.65, top + 0.03, top + 0.09), dim)
    roof = blend(palette.second, palette.dark, 0.35)
    if rng.random() < 0.5:
        spire = [
            (x - 0.01, top),
            (x + width / 2, foot - height),
            (x + width + 0.01, top),
        ]
        canvas.fill(spire, blend(roof, palette.light, 0.2), to=roof)
    else:
        dome = curve(
            [
                (x, top),
                (x + width * 0.05, top - width * 0.6),
                (x + width / 2, top - width * 1.05),
                (x + width * 0.95, top - width * 0.6),
                (x + width, top),
            ]
        )
        canvas.fill(dome, blend(roof, palette.light, 0.25), relief=0.8)
        tip = (x + width / 2, top - width)
        canvas.line([tip, (tip[0], tip[1] - 0.06)], 0.008, roof)


def _bridge(
    canvas: Canvas, palette: Palette, quay: float, rng: np.random.Generator
) -> None:
    w, h = canvas.width, canvas.height
    deck, foot = quay + 0.03, quay + (h - quay) * rng.uniform(0.45, 0.65)
    stone = blend(palette.wall, palette.haze, 0.4)
    wall = curve([(-0.05, deck + 0.03), (w / 2, deck - 0.03), (w + 0.05, deck + 0.03)])
    body = np.concatenate([wall, [[w + 0.05, foot], [-0.05, foot]]])
    canvas.fill(body, stone, to=blend(stone, palette.dark, 0.4))
    n_arches = int(rng.integers(2, 5))
    pier = w / n_arches
    for number in range(n_arches):
        left, right = (number + 0.1) * pier, (number + 0.9) * pier
        radius = min((right - left) / 2, foot - deck - 0.02)
        middle = (left + right) / 2
        span = arch(middle - radius, middle + radius, foot - radius, foot)
        canvas.fill(span, palette.dark, to=blend(palette.dark, palette.second, 0.4))
