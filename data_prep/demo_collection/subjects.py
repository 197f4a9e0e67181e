"""Subjects: saints, heads, ships, tables with fruit, and shapes alone.

A subject lays out a scene on a canvas, in the colours of a palette.
"""

from functools import partial

import numpy as np

from data_prep.demo_collection.canvas import Canvas
from data_prep.demo_collection.grain import Floats, Rng, mix, noise, pick, smoothstep
from data_prep.demo_collection.outlines import (
    Points,
    Spot,
    arch,
    box,
    curve,
    knots,
    oval,
    placed,
    ribbon,
    traced,
    vessel,
)
from data_prep.demo_collection.palettes import Palette

GOLD = np.array([0.84, 0.66, 0.27], dtype=np.float32)

# A robed figure, its feet at (0, 0) and its height 1.
CLOAK = traced("-5,-74 -12,-68 -16,-40 -19,0 22,0 16,-40 12,-68 5,-74", closed=False)
DRESS = traced("-4,-73 -6,-45 -10,0 5,0 3,-45 3,-73", closed=False)
SLEEVE = traced("12,-60 13,-45 -3,-50 -2,-55 6,-56")
FOLDS = ("-9,-50 -8,-25 -13,-1", "8,-50 9,-25 11,-1", "11,-50 12,-25 17,-1")
HEMS = ("-4,-73 -6,-45 -10,0", "5,0 3,-45 3,-73")

# A head that looks left, the eye at (0, 0), its height about 1.
PROFILE = traced(
    "10,-52 -10,-44 -18,-22 -16.5,-5 -26.5,12 -25,15.5 -19,17 -21.5,23 -18.5,26.5 "
    "-20.5,31 -16,35.5 -17.5,42 -12,49 -2,50 13,44 16,62 12,82 54,82 47,55 47,25 "
    "54,0 50,-32 34,-50"
)
BUST = traced("-62,175 -36,112 0,84 30,76 62,90 100,120 115,175", closed=False)
HAIR = traced("-10,-40 6,-62 40,-66 66,-36 62,10 50,34 38,20 30,-2 20,-22")
VEIL = traced("-8,-46 10,-70 50,-72 80,-20 85,90 50,80 42,10 24,-30")
CROWN = traced("-12,-44 -4,-86 50,-90 62,-42", closed=False)
BRIM = traced("-50,-36 10,-50 95,-42 90,-30 20,-36")
PLUME = ribbon(traced("30,-60 70,-95 105,-60", closed=False), [0.05, 0.2, 0.02])
LACE = traced("8,70 58,68 90,102 30,112 -14,100")

# A ship, the middle of its waterline at (0, 0) and its length 1.
HULL = traced("-50,-22 -40,0 0,5 36,0 50,-20 30,-10 -30,-10")
SAIL = traced("-17,0 -13,-17 -14,-35 14,-35 21,-17 17,0", closed=False)
MASTS = ((-0.26, 0.75), (0.02, 1.0), (0.27, 0.72))  # where, and how tall

VESSELS = (  # radius and height of a profile, from the lip to the foot
    "5,-50 4,-42 6,-34 15,-18 13,-4 8,0",
    "11,-43 7,-36 10,-27 14,-17 9,-3 10,0",
    "16,-32 15,-24 8,-16 3,-12 3,-4 10,0",
)


def saint(canvas: Canvas, palette: Palette, rng: Rng) -> None:
    """Lay out standing figures with haloes under gilded arches."""
    w, h = canvas.width, canvas.height
    frame = mix(GOLD, palette.dark, 0.35)
    canvas.wash(frame, mix(frame, palette.dark, 0.3))
    n_figures = 3 if w > 1.15 else pick((1, 1, 2), rng)
    point, is_night = pick((0.0, 0.4), rng), rng.random() < 0.3
    robes = rng.permutation(
        [palette.second, palette.accent, palette.leaf, palette.flesh, palette.light]
    )
    for number in range(n_figures):
        x, half = (number + 0.5) * w / n_figures, 0.45 * w / n_figures
        niche = arch(
            left=x - half, right=x + half, top=h * 0.05, bottom=h * 0.95, point=point
        )
        _gild(canvas, niche, palette, is_night=is_night)
        floor = box(x - half, h * 0.84, x + half, h * 0.95)
        canvas.fill(floor, palette.leaf, to=mix(palette.leaf, palette.dark, 0.4))
        foot, tall = (x, h * 0.9), min(h * 0.8, half * 3.6)
        _robed(
            canvas,
            palette,
            foot=foot,
            tall=tall,
            robes=np.roll(robes, -number, axis=0),
            rng=rng,
        )


def _robed(
    canvas: Canvas, palette: Palette, foot: Spot, tall: float, robes: Floats, rng: Rng
) -> None:
    """Draw a saint in a cloak of the first colour (5, 3) and a dress of the next."""
    pose = partial(placed, centre=foot, size=tall, side=rng.choice([-1, 1]))
    outer, inner = robes[:2]
    shade = mix(outer, palette.dark, 0.35)
    pale_gold = mix(GOLD, palette.light, 0.7)
    canvas.fill(pose(oval((-0.01, -0.83), 0.156)), pale_gold, to=GOLD, contour=0.009)
    canvas.fill(pose(oval((-0.01, -0.83), 0.132)), mix(GOLD, pale_gold, 0.3))
    canvas.fill(pose(CLOAK), outer, to=shade, relief=0.6)
    canvas.fill(pose(DRESS), inner, to=mix(inner, palette.dark, 0.3), relief=0.5)
    for fold in FOLDS:
        canvas.line(pose(curve(knots(fold))), 0.006, mix(outer, palette.dark, 0.6))
    for hem in HEMS:
        canvas.fill(pose(ribbon(curve(knots(hem)), 0.016)), GOLD, contour=0.003)
    canvas.fill(pose(SLEEVE), outer, relief=0.6)
    skin = mix(palette.flesh, palette.light, 0.2)
    canvas.fill(pose(oval((-0.045, -0.54), 0.04, 0.017, 0.6)), skin, contour=0.004)
    hair = mix(palette.dark, palette.accent, 0.35)
    hood = outer if rng.random() < 0.6 else hair
    canvas.fill(pose(oval((0.0, -0.82), 0.088, 0.105)), hood, relief=0.5)
    blush = mix(skin, palette.accent, 0.2)
    canvas.fill(pose(oval((-0.01, -0.81), 0.055, 0.074)), skin, to=blush, relief=0.5)
    for x in (-0.04, 0.012):
        canvas.fill(pose(oval((x, -0.825), 0.009, 0.005)), palette.dark, contour=0)
    canvas.line(pose(knots("-1.8,-82.5 -2.4,-79.5 -1.4,-79.3")), 0.004, hair)
    canvas.line(pose(knots("-3,-77.2 -0.4,-77.2")), 0.006, palette.accent)


def _gild(canvas: Canvas, niche: Points, palette: Palette, *, is_night: bool) -> None:
    """Fill a niche with punched gold, or with the golden stars of a blue vault."""
    field = mix(palette.second, palette.sky, 0.3) if is_night else GOLD
    canvas.fill(niche, mix(field, palette.light, 0.25), to=field, contour=0.012)
    x, y = canvas.grid()
    left, top = niche.min(axis=0).astype(np.float32)
    pitch, size = (0.09, 0.11) if is_night else (0.05, 0.17)
    row = np.floor((y - top) / pitch)
    across = ((x - left) / pitch + 0.5 * (row % 2)) % 1 - 0.5  # every other row between
    down = ((y - top) / pitch) % 1 - 0.5
    dots = smoothstep(size - np.hypot(across, down), -0.05, 0.05)
    canvas.veil(canvas.inside(niche) * dots * 0.5, GOLD if is_night else palette.dark)


def portrait(canvas: Canvas, palette: Palette, rng: Rng) -> None:
    """Lay out a head in profile, to the left or right, before a lit wall."""
    w, h = canvas.width, canvas.height
    wall = mix(palette.wall, palette.second, rng.uniform(0, 0.5))
    canvas.wash(mix(wall, palette.dark, 0.2), wall)
    canvas.glow((w * 0.32, h * 0.4), 0.55, mix(wall, palette.light, 0.45))
    side, size = rng.choice([-1, 1]), h * rng.uniform(0.4, 0.47)
    eye = (w / 2 - side * 0.13 * size, h * 0.42)
    pose = partial(placed, centre=eye, size=size, side=side)
    dark, linen = palette.dark, mix(palette.light, palette.haze, 0.25)
    coat = mix(pick((palette.accent, palette.second, dark), rng), dark, 0.25)
    hair = mix(dark, palette.accent, rng.uniform(0.05, 0.4))
    skin = mix(palette.flesh, palette.light, rng.uniform(0.0, 0.3))
    head_dress = pick(("none", "hat", "veil"), rng)
    canvas.fill(pose(BUST), coat, to=mix(coat, dark, 0.4), relief=0.5)
    canvas.fill(pose(PROFILE), skin, to=mix(skin, palette.near, 0.25), relief=0.35)
    canvas.fill(pose(oval((-0.06, 0.0), 0.045, 0.024, 0.1)), palette.light, contour=0)
    canvas.fill(pose(oval((-0.075, 0.0), 0.022)), dark, contour=0)
    canvas.line(pose(traced("-12,-1.5 -6,-4 0,-0.5", closed=False)), 0.02 * size, dark)
    canvas.line(pose(traced("-15,-10 -6,-13 5,-9", closed=False)), 0.026 * size, hair)
    lips = mix(palette.accent, dark, 0.35)
    canvas.line(pose(knots("-18.5,26.5 -9,25.5")), 0.02 * size, lips)
    cheek = pose(oval((0.03, 0.17), 0.1, 0.08))
    canvas.fill(cheek, palette.accent, opacity=0.22, soft=0.02)
    canvas.fill(pose(oval((0.33, 0.06), 0.05, 0.09)), skin, relief=0.6, contour=0.004)
    if rng.random() < 0.5:
        canvas.fill(pose(LACE), linen, relief=0.5)
    else:  # a ruff
        for x in np.linspace(-0.1, 0.72, 9):
            pleat = oval((x, 0.74 - 0.1 * (x - 0.3) ** 2), 0.07, 0.11)
            canvas.fill(pose(pleat), linen, relief=0.8, contour=0.004)
    canvas.fill(pose(HAIR), hair, relief=0.8)
    if head_dress == "veil":
        canvas.fill(pose(VEIL), linen, relief=0.7)
    elif head_dress == "hat":
        felt = mix(dark, palette.second, 0.3)
        canvas.fill(pose(CROWN), felt, relief=0.6)
        canvas.fill(pose(BRIM), felt, relief=0.6)
        canvas.fill(pose(PLUME), palette.light, relief=0.5)


def sea(canvas: Canvas, palette: Palette, rng: Rng) -> None:
    """Lay out ships under sail on a moving sea."""
    w, h, unit = canvas.width, canvas.height, canvas.unit_px
    horizon = h * rng.uniform(0.55, 0.75)
    _sky(canvas, palette, horizon, rng)
    for x in rng.uniform(0, w, int(rng.integers(3))):  # far hills
        hill = oval((x, horizon), rng.uniform(0.2, 0.5), rng.uniform(0.03, 0.1))
        canvas.fill(hill, mix(palette.far, palette.haze, 0.4), contour=0.004)
    shallow = mix(palette.haze, palette.far, 0.5)
    deep = mix(palette.second, palette.dark, 0.45)
    water = box(-0.1, horizon, w + 0.1, h + 0.1)
    canvas.fill(water, shallow, to=deep, contour=0.004)
    _, y = canvas.grid()
    waves = noise(canvas.shape, (0.018 * unit, 0.16 * unit), rng, 2)
    near = np.clip((y - horizon) / (h - horizon), 0, 1) ** 0.5
    canvas.veil(smoothstep(waves, 0.5, 1.6) * near * 0.8, palette.light)
    canvas.veil(smoothstep(-waves, 0.4, 1.6) * near * 0.65, palette.dark)
    n_ships = int(rng.integers(1, 4))
    x = w * (np.arange(n_ships) + rng.uniform(0.25, 0.75, n_ships)) / n_ships
    for number, size in enumerate(np.sort(rng.uniform(0.22, 0.62, n_ships))):
        _ship(
            canvas,
            palette,
            middle=(x[number], horizon + size * 0.27),
            size=size,
            rng=rng,
        )


def still_life(canvas: Canvas, palette: Palette, rng: Rng) -> None:
    """Lay out fruit and a vessel on a table, lit from one side."""
    w, table = canvas.width, canvas.height * rng.uniform(0.62, 0.72)
    canvas.wash(mix(palette.wall, palette.dark, 0.15), palette.wall, end=table)
    lamp = (w * pick((0.2, 0.8), rng), table * 0.45)
    canvas.glow(lamp, 0.5, mix(palette.wall, palette.light, 0.35))
    cloth = mix(pick((palette.near, palette.light), rng), palette.haze, 0.3)
    board = box(-0.1, table, w + 0.1, canvas.height + 0.1)
    canvas.fill(board, cloth, to=mix(cloth, palette.dark, 0.5), contour=0.005)
    vase = (w * rng.uniform(0.25, 0.75), table + 0.08)
    _vase(canvas, palette, foot=vase, scale=rng.uniform(0.85, 1.2), rng=rng)
    n_fruits = int(rng.integers(4, 8))
    hues = [palette.accent, palette.second, palette.leaf, palette.light]
    x = np.linspace(0.12, 0.88, n_fruits) * w + rng.normal(0, 0.04, n_fruits)
    for number in [*range(0, n_fruits, 2), *range(1, n_fruits, 2)]:
        y = table + 0.05 + 0.12 * (number % 2) + rng.uniform(-0.02, 0.02)
        hue = mix(pick(hues, rng), palette.accent, rng.uniform(0, 0.4))
        if rng.random() < 0.75:
            _fruit(
                canvas,
                palette,
                centre=(x[number], y),
                radius=rng.uniform(0.06, 0.1),
                hue=hue,
                rng=rng,
            )
            continue
        dusk, bunch = mix(hue, palette.dark, 0.35), (x[number], y - 0.06)
        for row, n_grapes in enumerate((4, 5, 4, 3, 2)):
            for column in np.arange(n_grapes) - (n_grapes - 1) / 2:
                grape = np.add(bunch, (column * 0.043, row * 0.034))
                shade = mix(dusk, palette.second, rng.uniform(0, 0.3))
                canvas.fill(oval(grape, 0.026), shade, relief=1.0, contour=0.004)
                canvas.fill(oval(grape - 0.009, 0.006), palette.light, contour=0)


def geometry(canvas: Canvas, palette: Palette, rng: Rng) -> None:
    """Lay out bars, discs and rings, and nothing behind them."""
    middle = np.array([canvas.width, canvas.height]) / 2
    ground = mix(palette.light, palette.haze, rng.uniform(0, 0.6))
    canvas.wash(ground, mix(ground, palette.haze, 0.2))
    inks = palette[2:5] + palette[6:9] + palette[10:]
    for _ in range(int(rng.integers(0, 3))):
        centre = middle * rng.uniform(0.4, 1.6, 2)
        largest, n_rings = rng.uniform(0.25, 0.45), int(rng.integers(3, 6))
        for radius in np.linspace(largest, 0.05, n_rings):
            ring = oval(centre, radius, turn=rng.uniform(0, 6.3))
            canvas.fill(ring, pick(inks, rng), contour=0)
            canvas.fill(ring[:17], pick(inks, rng), contour=0)
    tilt = rng.uniform(-0.9, 0.9)
    for _ in range(int(rng.integers(4, 9))):
        turn = tilt + pick((0, 0, np.pi / 2), rng) + rng.normal(0, 0.05)
        along = np.array([np.cos(turn), np.sin(turn)]) * rng.uniform(0.08, 0.4)
        start = middle + rng.normal(0, 0.2, 2) - along
        bar = ribbon([start, start + 2 * along], rng.uniform(0.015, 0.12))
        canvas.fill(bar, pick(inks, rng), opacity=rng.uniform(0.75, 1), contour=0)
    for _ in range(int(rng.integers(1, 4))):
        centre, radius = middle + rng.normal(0, 0.22, 2), rng.uniform(0.05, 0.22)
        canvas.fill(oval(centre, radius), pick(inks, rng), opacity=0.85, contour=0)
        if rng.random() < 0.5:
            canvas.fill(oval(centre, radius * 0.5), ground, contour=0)
    for _ in range(int(rng.integers(2, 6))):
        ends = middle + rng.normal(0, 0.35, (2, 2))
        canvas.line(ends, pick((0.005, 0.009), rng), palette.dark)


def _sky(canvas: Canvas, palette: Palette, horizon: float, rng: Rng) -> None:
    """Paint the sky down to the horizon, with clouds and perhaps a sun."""
    canvas.wash(palette.sky, palette.haze, end=horizon)
    sun = (canvas.width * rng.uniform(0.15, 0.85), horizon * rng.uniform(0.3, 0.95))
    if rng.random() < 0.6:
        canvas.glow(sun, rng.uniform(0.3, 0.6), palette.light)
        hue = mix(palette.light, palette.accent, pick((0, 0, 0.6), rng))
        canvas.fill(oval(sun, rng.uniform(0.045, 0.08)), hue, contour=0.004)
    unit = canvas.unit_px
    drift = noise(canvas.shape, (0.16 * unit, 0.5 * unit), rng, 4)
    _, y = canvas.grid()
    high = np.clip(1.15 - y / horizon, 0, 1)
    cover = rng.uniform(-0.4, 0.9)
    canvas.veil(smoothstep(drift, cover, cover + 1.3) * high * 0.75, palette.light)
    # The same clouds a little lower are their shaded undersides.
    under = smoothstep(np.roll(drift, -int(0.05 * unit), 0), cover + 0.5, cover + 2)
    canvas.veil(under * high * 0.35, mix(palette.far, palette.dark, 0.4))


def _ship(
    canvas: Canvas, palette: Palette, middle: Spot, size: float, rng: Rng
) -> None:
    """Draw a three-master of a length of ``size``."""
    pose = partial(placed, centre=middle, size=size)
    wood = mix(palette.dark, palette.accent, rng.uniform(0.05, 0.3))
    lean, canvas_shade = rng.uniform(-0.08, 0.08), mix(palette.light, wood, 0.35)
    shadow = pose(oval((0, 0.03), 0.5, 0.07))
    canvas.fill(shadow, palette.dark, opacity=0.45, soft=0.012)
    canvas.line(pose(knots("40,-20 68,-34")), 0.006, palette.dark)
    for x, tall in MASTS:
        head = (x + lean, -tall)
        mast_width = max(0.005, 0.014 * size)
        canvas.line(pose([(x, -0.1), head]), mast_width, palette.dark)
        for low, scale in ((0.2, 1.0), (0.58, 0.75)):
            sail = placed(SAIL, (x + lean * (low + 0.17), -low * tall), scale * tall)
            canvas.fill(pose(sail), palette.light, to=canvas_shade)
        flag = knots("0,0 -12,2 0,5") + np.array(head)
        canvas.fill(pose(flag), palette.accent, contour=0.003)
    canvas.fill(pose(HULL), mix(wood, palette.near, 0.4), to=palette.dark)


def _vase(canvas: Canvas, palette: Palette, foot: Spot, scale: float, rng: Rng) -> None:
    """Stand one of the vessels on its shadow."""
    x, y = foot
    profile = knots(pick(VESSELS, rng)) * scale + (0, y)
    shadow = oval((x + 0.08, y), 0.22 * scale, 0.035)
    canvas.fill(shadow, palette.dark, opacity=0.5, soft=0.02)
    glaze = mix(palette.second, palette.light, pick((0, 0.3, 0.75), rng))
    shade = mix(glaze, palette.dark, 0.4)
    canvas.fill(vessel(x, profile), glaze, to=shade, relief=1.0)
    lip = oval((x, profile[0, 1]), profile[0, 0], 0.012 * scale)
    canvas.fill(lip, mix(glaze, palette.dark, 0.6))
    gleam = oval((x - profile[:, 0].max() * 0.45, profile[3, 1] - 0.03), 0.014, 0.05)
    canvas.fill(gleam, palette.light, opacity=0.75, soft=0.006)


def _fruit(
    canvas: Canvas, palette: Palette, centre: Spot, radius: float, hue: Floats, rng: Rng
) -> None:
    """Lay a fruit with stalk and leaf on its shadow."""
    x, y = centre
    shadow = oval((x + radius * 0.35, y + radius * 0.85), radius * 1.1, radius * 0.25)
    canvas.fill(shadow, palette.dark, opacity=0.55, soft=0.014)
    body = oval(centre, radius, radius * rng.uniform(0.88, 1.1))
    canvas.fill(body, hue, to=mix(hue, palette.dark, 0.35), relief=1.1)
    blush = oval((x - radius * 0.2, y + radius * 0.1), radius * 0.5)
    canvas.fill(blush, palette.accent, opacity=0.2, soft=0.02)
    gleam = oval((x - radius * 0.35, y - radius * 0.4), radius * 0.2, radius * 0.14)
    canvas.fill(gleam, palette.light, opacity=0.8, soft=0.006)
    stalk = [(x, y - radius * 0.85), (x + 0.012, y - radius * 1.3)]
    canvas.line(stalk, 0.011, palette.dark)
    if rng.random() < 0.6:
        middle = (x + radius * 0.5, y - radius * 1.1)
        blade = oval(middle, radius * 0.5, radius * 0.18, rng.uniform(-0.7, 0.3))
        canvas.fill(blade, palette.leaf, to=mix(palette.leaf, palette.dark, 0.4))
