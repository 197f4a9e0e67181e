"""The subject of saints under gilded arches."""

import numpy as np
from numpy.typing import ArrayLike

from data_prep.demo_collection.canvas import Canvas
from data_prep.demo_collection.grain import Floats, smoothstep
from data_prep.demo_collection.outlines import Points, arch, curve, oval, ribbon
from data_prep.demo_collection.palettes import Palette, blend

GOLD = np.array([0.84, 0.66, 0.27], dtype=np.float32)


def saint(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> None:
    """Standing figures with haloes under gilded arches."""
    w, h = canvas.width, canvas.height
    frame = blend(GOLD, palette.dark, 0.35)
    canvas.wash(frame, blend(frame, palette.dark, 0.3))
    n_figures = 3 if w > 1.15 else int(rng.choice([1, 1, 2]))
    point = float(rng.choice([0.0, 0.4]))
    pitch = w / n_figures
    ground_seed = int(rng.integers(2**32))  # one ground for all of them
    robes = [palette.second, palette.accent, palette.leaf, palette.flesh, palette.light]
    order = rng.permutation(len(robes))
    for number in range(n_figures):
        x, half = (number + 0.5) * pitch, pitch * 0.45
        niche = arch(x - half, x + half, h * 0.05, h * 0.95, point)
        _gild(canvas, niche, palette, np.random.default_rng(ground_seed))
        floor = [
            (x - half, h * 0.84),
            (x + half, h * 0.84),
            (x + half, h * 0.95),
            (x - half, h * 0.95),
        ]
        canvas.fill(floor, palette.leaf, to=blend(palette.leaf, palette.dark, 0.4))
        outer, inner = (robes[order[(number + n) % 5]] for n in (0, 1))
        tall = min(h * 0.8, half * 3.6)
        _robed(canvas, palette, (x, h * 0.9), tall, (outer, inner), rng)


def _robed(
    canvas: Canvas,
    palette: Palette,
    foot: tuple[float, float],
    tall: float,
    robes: tuple[Floats, Floats],
    rng: np.random.Generator,
) -> None:
    x, y = foot
    side = float(rng.choice([-1, 1]))

    def pose(points: ArrayLike) -> Points:
        return np.asarray(np.asarray(points) * (side * tall, tall) + (x, y))

    head = (x - side * 0.01 * tall, y - 0.83 * tall)
    radius = 0.08 * tall
    halo = blend(GOLD, palette.light, 0.7)
    canvas.fill(oval(head, radius * 1.95), halo, to=GOLD, contour=0.009)
    canvas.fill(
        oval(head, radius * 1.65), blend(GOLD, palette.light, 0.2), contour=0.004
    )
    cloak = [
        (-0.05, -0.74),
        (-0.12, -0.68),
        (-0.16, -0.4),
        (-0.19, 0.0),
        (0.22, 0.0),
        (0.16, -0.4),
        (0.12, -0.68),
        (0.05, -0.74),
    ]
    outer, inner = robes
    canvas.fill(
        pose(curve(cloak, n_steps=6)),
        outer,
        to=blend(outer, palette.dark, 0.35),
        relief=0.6,
    )
    dress = [
        (-0.04, -0.73),
        (-0.06, -0.45),
        (-0.1, 0.0),
        (0.05, 0.0),
        (0.03, -0.45),
        (0.03, -0.73),
    ]
    canvas.fill(
        pose(curve(dress)), inner, to=blend(inner, palette.dark, 0.3), relief=0.5
    )
    for start, end in ((-0.09, -0.13), (0.08, 0.11), (0.11, 0.17)):
        fold = pose(curve([(start, -0.5), (start + 0.012, -0.25), (end, -0.01)]))
        canvas.line(fold, 0.006, blend(outer, palette.dark, 0.6))
    for edge in (dress[:3], dress[3:]):
        canvas.fill(ribbon(pose(curve(edge)), 0.016 * tall), GOLD, contour=0.003)
    sleeve = [(0.12, -0.6), (0.13, -0.45), (-0.03, -0.5), (-0.02, -0.55), (0.06, -0.56)]
    canvas.fill(pose(curve(sleeve, closed=True)), outer, relief=0.6)
    skin = blend(palette.flesh, palette.light, 0.2)
    hand = pose(oval((-0.045, -0.54), 0.04, 0.017, 0.6))
    canvas.fill(hand, skin, contour=0.004)
    hood = pose(oval((0.0, -0.82), 0.088, 0.105))
    is_veiled = rng.random() < 0.6
    cover = outer if is_veiled else blend(palette.dark, palette.accent, 0.35)
    canvas.fill(hood, cover, relief=0.5)
    face = pose(oval((-0.01, -0.81), 0.055, 0.074))
    canvas.fill(face, skin, to=blend(skin, palette.accent, 0.2), relief=0.5)
    ink = blend(palette.dark, palette.accent, 0.2)
    for at in (-0.04, 0.012):
        canvas.fill(pose(oval((at, -0.825), 0.009, 0.005)), ink, contour=0)
    canvas.line(
        pose([(-0.018, -0.825), (-0.024, -0.795), (-0.014, -0.793)]), 0.004, ink
    )
    canvas.line(pose([(-0.03, -0.772), (-0.004, -0.772)]), 0.006, palette.accent)


def _gild(
    canvas: Canvas,
    niche: Points,
    palette: Palette,
    rng: np.random.Generator,
) -> None:
    """Fill a niche with punched gold, with rays, or with the stars of a blue vault."""
    x, y = canvas.grid()
    left, top = niche.min(axis=0)
    right, bottom = niche.max(axis=0)
    kind = rng.random()
    field = GOLD if kind < 0.7 else blend(palette.second, palette.sky, 0.3)
    canvas.fill(niche, blend(field, palette.light, 0.25), to=field, contour=0.012)
    inside = canvas.inside(niche)
    if 0.4 < kind < 0.7:
        middle = np.array([(left + right) / 2, top + (bottom - top) * 0.3])
        turn = np.arctan2(y - middle[1], x - middle[0])
        rays = smoothstep(np.asarray(np.cos(turn * 24)), 0.2, 0.5)
        canvas.veil(inside * rays * 0.25, palette.dark)
        return
    pitch = 0.05 if kind < 0.7 else 0.09
    row = np.floor((y - top) / pitch)
    across = ((x - left) / pitch + 0.5 * (row % 2)) % 1 - 0.5
    down = ((y - top) / pitch) % 1 - 0.5
    size = 0.17 if kind < 0.7 else 0.11
    dots = smoothstep(size - np.hypot(across, down), -0.05, 0.05)
    canvas.veil(inside * dots * 0.5, palette.dark if kind < 0.7 else GOLD * 1.1)
