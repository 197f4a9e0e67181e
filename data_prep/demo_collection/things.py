"""Subjects on a table: still life and bouquet."""

import numpy as np

from data_prep.demo_collection.canvas import Canvas
from data_prep.demo_collection.flowers import flower
from data_prep.demo_collection.grain import Floats
from data_prep.demo_collection.outlines import blob, curve, leaf, oval, ribbon, turned
from data_prep.demo_collection.palettes import Palette, blend

VESSELS = (  # radius and height of a profile, from the lip to the foot
    ((0.05, 0.0), (0.04, 0.08), (0.06, 0.16), (0.15, 0.32), (0.13, 0.46), (0.08, 0.5)),
    ((0.035, 0.0), (0.03, 0.16), (0.08, 0.26), (0.1, 0.4), (0.1, 0.55), (0.08, 0.58)),
    ((0.11, 0.0), (0.07, 0.07), (0.1, 0.16), (0.14, 0.26), (0.09, 0.4), (0.1, 0.43)),
    ((0.16, 0.0), (0.15, 0.08), (0.08, 0.16), (0.03, 0.2), (0.03, 0.28), (0.1, 0.32)),
)


def still_life(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> None:
    """Fruit and a vessel on a table, lit from one side."""
    w, h = canvas.width, canvas.height
    table = h * rng.uniform(0.62, 0.72)
    _room(canvas, palette, table, rng)
    vessel_x = w * rng.uniform(0.25, 0.75)
    _vessel(canvas, palette, vessel_x, table + 0.08, rng.uniform(0.85, 1.2), rng)
    n_fruits = int(rng.integers(4, 8))
    kinds = [palette.accent, palette.second, palette.leaf, palette.light]
    places = np.linspace(0.12, 0.88, n_fruits) * w + rng.normal(0, 0.04, n_fruits)
    for row in (0, 1):
        for x in places[row::2]:
            radius = rng.uniform(0.06, 0.1)
            at = (float(x), table + 0.05 + 0.12 * row + rng.uniform(-0.02, 0.02))
            hue = blend(
                kinds[int(rng.integers(4))], palette.accent, rng.uniform(0, 0.4)
            )
            if rng.random() < 0.25:
                _grapes(canvas, palette, at, hue, rng)
            else:
                _fruit(canvas, palette, at, radius, hue, rng)


def bouquet(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> None:
    """Flowers in a vase."""
    w, h = canvas.width, canvas.height
    table = h * rng.uniform(0.78, 0.86)
    _room(canvas, palette, table, rng)
    x, heart = w / 2 + rng.normal(0, 0.03), (h - 0.3) * rng.uniform(0.44, 0.52)
    lip = table - 0.3
    reach_x, reach_y = min(0.4, w * 0.38), min(0.42, heart * 0.82)
    n_flowers = int(rng.integers(10, 18))
    turn = rng.uniform(0, 6.3) + np.arange(n_flowers) * 2.4  # golden angle: even spread
    out = np.sqrt((np.arange(n_flowers)[::-1] + 0.5) / n_flowers)
    spots = np.column_stack(
        [x + reach_x * out * np.cos(turn), heart + reach_y * out * np.sin(turn)]
    )
    green = blend(palette.leaf, palette.dark, 0.25)
    for spot in spots:
        stem = curve([(x, lip + 0.05), (x + (spot[0] - x) * 0.35, heart + 0.1), spot])
        canvas.fill(ribbon(stem, 0.012), green, contour=0.003)
    for spot in spots[::2]:
        for side in rng.uniform(0, 6.3, 3):
            shade = blend(palette.leaf, palette.dark, rng.uniform(0, 0.5))
            blade = leaf((spot[0], spot[1]), rng.uniform(0.1, 0.18), 0.06, side)
            canvas.fill(blade, shade, to=green, contour=0.004)
    _vessel(canvas, palette, x, table + 0.06, rng.uniform(0.7, 0.85), rng)
    kinds = [palette.accent, palette.light, palette.second, palette.flesh, palette.haze]
    for spot in spots:
        hue = blend(kinds[int(rng.integers(5))], palette.light, rng.uniform(0, 0.35))
        radius = rng.uniform(0.06, 0.115)
        flower(canvas, palette, (spot[0], spot[1]), radius, hue, rng)
    for side in rng.uniform(-0.35, 0.35, 2):
        fallen = (x + side, table + 0.07)
        flower(canvas, palette, fallen, 0.035, palette.accent, rng)


def _room(
    canvas: Canvas, palette: Palette, table: float, rng: np.random.Generator
) -> None:
    w, h = canvas.width, canvas.height
    canvas.wash(blend(palette.wall, palette.dark, 0.15), palette.wall, end=table)
    lamp = (w * float(rng.choice([0.2, 0.8])), table * 0.45)
    canvas.glow(lamp, 0.5, blend(palette.wall, palette.light, 0.35))
    top = [(-0.1, table), (w + 0.1, table), (w + 0.1, h + 0.1), (-0.1, h + 0.1)]
    is_draped = rng.random() < 0.55
    wood = blend(palette.near, palette.accent, 0.2)
    cloth = blend(palette.light, palette.haze, 0.4) if is_draped else wood
    canvas.fill(top, cloth, to=blend(cloth, palette.dark, 0.5), contour=0.005)
    if is_draped:
        for place in np.arange(0.02, w, 0.11):
            x = place + rng.normal(0, 0.03)
            drop = curve(
                [(x, table + 0.2), (x + 0.03, table + 0.3), (x - 0.01, h + 0.05)]
            )
            fold = blend(cloth, palette.dark, 0.45)
            canvas.fill(ribbon(drop, [0.0, 0.05]), fold, opacity=0.5, soft=0.008)


def _vessel(
    canvas: Canvas,
    palette: Palette,
    x: float,
    foot: float,
    scale: float,
    rng: np.random.Generator,
) -> None:
    profile = np.array(VESSELS[int(rng.integers(len(VESSELS)))]) * scale
    profile[:, 1] += foot - profile[-1, 1]
    shadow = oval((x + 0.08, foot), 0.22 * scale, 0.035)
    canvas.fill(shadow, palette.dark, opacity=0.5, soft=0.02)
    glaze = blend(palette.second, palette.light, float(rng.choice([0, 0.3, 0.75])))
    canvas.fill(
        turned(x, profile), glaze, to=blend(glaze, palette.dark, 0.4), relief=1.0
    )
    belt = profile[2:5] * (0.97, 1)
    if rng.random() < 0.5:
        pattern = blend(glaze, palette.accent, 0.55)
        canvas.fill(turned(x, belt[1:]), pattern, opacity=0.55, relief=0.9)
    lip = oval((x, float(profile[0, 1])), float(profile[0, 0]), 0.012 * scale)
    canvas.fill(lip, blend(glaze, palette.dark, 0.6))
    spot = (x - float(profile[:, 0].max()) * 0.45, float(profile[3, 1]) - 0.03)
    gleam = oval(spot, 0.014, 0.05, 0.15)
    canvas.fill(gleam, palette.light, opacity=0.75, soft=0.006)


def _fruit(
    canvas: Canvas,
    palette: Palette,
    at: tuple[float, float],
    radius: float,
    hue: Floats,
    rng: np.random.Generator,
) -> None:
    x, y = at
    under = oval((x + radius * 0.35, y + radius * 0.85), radius * 1.1, radius * 0.25)
    canvas.fill(under, palette.dark, opacity=0.55, soft=0.014)
    body = blob(at, radius, radius * rng.uniform(0.88, 1.1), rng, 0.045)
    canvas.fill(body, hue, to=blend(hue, palette.dark, 0.35), relief=1.1)
    blush = oval((x - radius * 0.2, y + radius * 0.1), radius * 0.5)
    canvas.fill(blush, blend(hue, palette.accent, 0.5), opacity=0.4, soft=0.02)
    shine = oval(
        (x - radius * 0.35, y - radius * 0.4), radius * 0.2, radius * 0.14, -0.6
    )
    canvas.fill(shine, palette.light, opacity=0.8, soft=0.006)
    stalk = curve([(x, y - radius * 0.85), (x + 0.012, y - radius * 1.3)])
    canvas.fill(ribbon(stalk, 0.011), palette.dark)
    if rng.random() < 0.6:
        turn = rng.uniform(-0.9, 0.3)
        blade = leaf((x, y - radius), radius * 1.1, radius * 0.5, turn)
        canvas.fill(blade, palette.leaf, to=blend(palette.leaf, palette.dark, 0.4))


def _grapes(
    canvas: Canvas,
    palette: Palette,
    at: tuple[float, float],
    hue: Floats,
    rng: np.random.Generator,
) -> None:
    dusk = blend(hue, palette.dark, 0.35)
    for row, n_berries in enumerate((4, 5, 4, 3, 2)):
        for number in range(n_berries):
            x = at[0] + (number - (n_berries - 1) / 2) * 0.043 + rng.normal(0, 0.004)
            y = at[1] - 0.06 + row * 0.034
            shade = blend(dusk, palette.second, rng.uniform(0, 0.3))
            canvas.fill(
                oval((x, y), 0.026, n_points=20), shade, relief=1.0, contour=0.004
            )
            gleam = oval((x - 0.009, y - 0.01), 0.006, n_points=10)
            canvas.fill(gleam, palette.light, opacity=0.8, contour=0)
