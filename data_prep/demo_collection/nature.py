"""Subjects on a bare sheet: a plant, a bird, butterflies."""

import numpy as np
from numpy.typing import ArrayLike

from data_prep.demo_collection.canvas import Canvas
from data_prep.demo_collection.flowers import bloom
from data_prep.demo_collection.grain import Floats
from data_prep.demo_collection.outlines import Points, curve, leaf, oval, ribbon
from data_prep.demo_collection.palettes import Palette, blend


def plant(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> None:
    """One plant on a bare sheet, with a dissected flower and a legend."""
    w, h = canvas.width, canvas.height
    bare = palette.light * 0.5 + 0.5
    canvas.wash(bare, bare)
    foot, head = (
        (w * rng.uniform(0.4, 0.6), h * 0.86),
        (w * rng.uniform(0.35, 0.65), h * 0.2),
    )
    bend = w * rng.uniform(-0.12, 0.12)
    stem = curve([foot, (foot[0] + bend, h * 0.62), (head[0] - bend, h * 0.4), head])
    green = palette.leaf
    n_leaves, broad = int(rng.integers(7, 13)), rng.uniform(0.08, 0.18)
    hue = blend(palette.accent, palette.second, float(rng.choice([0, 0, 0.5, 1])))
    n_petals = int(rng.choice([4, 5, 6, 8, 12]))
    for number, at in enumerate(np.linspace(0.15, 0.85, n_leaves)):
        base = stem[int(at * (len(stem) - 1))]
        side = -1 if number % 2 else 1
        turn = -np.pi / 2 + side * rng.uniform(0.8, 1.3)
        length = 0.3 * (1.15 - at) * rng.uniform(0.85, 1.15) + 0.08
        shade = blend(green, palette.dark if side > 0 else palette.light, 0.25)
        blade = leaf((base[0], base[1]), length, broad * (1.2 - at), turn)
        canvas.fill(blade, shade, to=green, relief=0.4)
        tip = base + length * 0.9 * np.array([np.cos(turn), np.sin(turn)])
        canvas.line([base, tip], 0.004, blend(green, palette.dark, 0.5))
        if at > 0.45 and rng.random() < 0.5:
            bud = base + np.array([-side * 0.1, -0.09])
            canvas.fill(ribbon(curve([base, bud]), 0.01), green)
            bloom(canvas, palette, (bud[0], bud[1]), 0.05, hue, n_petals, rng)
    canvas.fill(ribbon(stem, [0.02, 0.011]), blend(green, palette.dark, 0.2))
    for side in np.linspace(-1, 1, 5):
        root = [
            foot,
            (foot[0] + side * 0.04, foot[1] + 0.04),
            (foot[0] + side * 0.09, foot[1] + 0.08),
        ]
        canvas.fill(ribbon(curve(root), [0.014, 0.003]), palette.near, contour=0.003)
    radius = rng.uniform(0.13, 0.2)
    bloom(canvas, palette, (head[0], head[1]), radius, hue, n_petals, rng)
    if rng.random() < 0.6:
        corner = (w * float(rng.choice([0.16, 0.84])), h * 0.78)
        canvas.fill(oval(corner, 0.05), blend(hue, palette.light, 0.5), relief=0.5)
        canvas.fill(oval(corner, 0.022), palette.near)
    _legend(canvas, palette, rng)


def bird(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> None:
    """A bird on a blossoming branch."""
    w, h = canvas.width, canvas.height
    canvas.wash(palette.haze, blend(palette.haze, palette.light, 0.7), end=h * 0.7)
    if rng.random() < 0.4:
        moon = (w * rng.uniform(0.2, 0.8), h * rng.uniform(0.18, 0.35))
        canvas.fill(oval(moon, rng.uniform(0.14, 0.22)), palette.light, contour=0.003)
    side = float(rng.choice([-1, 1]))
    middle = w / 2
    xs = middle + side * np.array([0.62, 0.3, 0.02, -0.22, -0.42]) * w
    ys = h * (rng.uniform(0.6, 0.7) + np.array([0.1, 0.03, 0.04, -0.06, -0.04]))
    branch = curve(np.column_stack([xs, ys]))
    bark = blend(palette.dark, palette.near, 0.35)
    for at, reach in ((8, 0.3), (14, -0.25), (20, 0.22), (26, -0.2)):
        twig = [
            branch[at],
            branch[at] + (-side * 0.1, -reach * 0.5),
            branch[at] + (-side * 0.22, -reach),
        ]
        canvas.fill(ribbon(curve(twig), [0.018, 0.006]), bark, contour=0.003)
        _blossom(canvas, palette, curve(twig), rng)
    canvas.fill(ribbon(branch, [0.06, 0.045, 0.02]), bark, relief=0.5)
    perch = branch[15]
    coat = blend(palette.second, palette.accent, float(rng.choice([0, 0.2, 1])))
    size = rng.uniform(0.8, 1.15)

    def pose(points: ArrayLike) -> Points:
        return np.asarray(perch + np.asarray(points) * size * (side, 1))

    tail = pose([(0.1, -0.08), (0.33, 0.13), (0.28, 0.17), (0.05, 0.0)])
    canvas.fill(tail, blend(coat, palette.dark, 0.55))
    for foot in (-0.03, 0.02):
        canvas.line(pose([(foot, -0.05), (foot - 0.01, 0.005)]), 0.009, palette.dark)
    body = [
        (-0.21, -0.27),
        (-0.15, -0.33),
        (-0.07, -0.3),
        (0.03, -0.22),
        (0.14, -0.1),
        (0.16, -0.04),
        (0.06, -0.01),
        (-0.07, -0.03),
        (-0.16, -0.12),
        (-0.19, -0.2),
    ]
    canvas.fill(pose(curve(body, closed=True)), coat, to=palette.light, relief=0.7)
    wing = [
        (-0.05, -0.21),
        (0.04, -0.19),
        (0.15, -0.07),
        (0.24, 0.03),
        (0.1, -0.04),
        (0.0, -0.08),
        (-0.06, -0.14),
    ]
    canvas.fill(
        pose(curve(wing, closed=True)),
        blend(coat, palette.dark, 0.3),
        to=blend(coat, palette.dark, 0.65),
    )
    for shift in (0.0, 0.035, 0.07):
        vein = pose([(0.02 + shift, -0.16 + shift), (0.15 + shift, -0.05 + shift)])
        canvas.line(vein, 0.005, palette.light)
    canvas.fill(pose([(-0.2, -0.27), (-0.27, -0.235), (-0.195, -0.23)]), palette.dark)
    eye = pose([(-0.155, -0.275)])[0]
    canvas.fill(oval((eye[0], eye[1]), 0.017), palette.light)
    canvas.fill(oval((eye[0], eye[1]), 0.01), palette.dark)
    _blossom(canvas, palette, branch[4:-2], rng)


def insects(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> None:
    """A plate of butterflies."""
    w, h = canvas.width, canvas.height
    bare = palette.light * 0.5 + 0.5
    canvas.wash(bare, blend(bare, palette.haze, 0.2))
    columns, rows = (2, 3) if h > w * 1.1 else (3, 2) if w > h * 1.1 else (2, 2)
    kinds = [palette.accent, palette.second, palette.sky, palette.leaf, palette.wall]
    scale = 0.92 * min(w / columns, (h - 0.1) / rows)
    for row in range(rows):
        for column in range(columns):
            x = w * (column + 0.5) / columns + rng.normal(0, 0.012)
            y = (h - 0.08) * (row + 0.5) / rows + 0.01 + rng.normal(0, 0.012)
            hue, other = (kinds[int(n)] for n in rng.permutation(5)[:2])
            _butterfly(canvas, palette, (x, y), scale, (hue, other), rng)
    _legend(canvas, palette, rng)


def _blossom(
    canvas: Canvas, palette: Palette, branch: ArrayLike, rng: np.random.Generator
) -> None:
    path = np.asarray(branch)
    for at in rng.integers(2, len(path), 5):
        x, y = path[at] + rng.normal(0, 0.025, 2)
        hue = blend(palette.accent, palette.light, rng.uniform(0.3, 0.8))
        bloom(canvas, palette, (x, y), rng.uniform(0.025, 0.045), hue, 5, rng)


def _butterfly(
    canvas: Canvas,
    palette: Palette,
    at: tuple[float, float],
    scale: float,
    hues: tuple[Floats, Floats],
    rng: np.random.Generator,
) -> None:
    fore = np.array(
        [
            (0.02, -0.02),
            (0.16, -0.26),
            (0.44, -0.36),
            (0.46, -0.24),
            (0.36, -0.08),
            (0.2, 0.02),
            (0.03, 0.03),
        ]
    )
    hind = np.array(
        [(0.03, 0.0), (0.22, 0.0), (0.34, 0.1), (0.3, 0.24), (0.17, 0.34), (0.1, 0.22)]
    )
    fore *= rng.uniform(0.85, 1.1, 2)
    hind *= rng.uniform(0.85, 1.15, 2)
    for wing, hue in ((hind, hues[1]), (fore, hues[0])):
        for side in (-1, 1):
            rim = curve(wing, closed=True) * (side, 1) * scale + at
            canvas.fill(rim, blend(hue, palette.dark, 0.6))
            field = curve(wing, closed=True) * 0.8 + wing.mean(axis=0) * 0.16
            pane = field * (side, 1) * scale + at
            canvas.fill(pane, hue, to=blend(hue, palette.light, 0.45), contour=0)
            eye = wing[[2, 3]].mean(axis=0) * 0.74 * (side, 1) * scale + at
            spot = (float(eye[0]), float(eye[1]))
            canvas.fill(oval(spot, 0.06 * scale), palette.dark, contour=0)
            canvas.fill(oval(spot, 0.035 * scale), palette.light, contour=0)
            root = np.asarray(at)
            for knot in wing[1:5]:
                vein = [root, root + knot * 0.85 * (side, 1) * scale]
                canvas.line(vein, 0.003, blend(hue, palette.dark, 0.5))
    body = oval(at, 0.022 * scale, 0.17 * scale)
    canvas.fill(body, blend(palette.dark, palette.near, 0.3), relief=0.8)
    for side in (-1, 1):
        feeler = [
            (at[0], at[1] - 0.15 * scale),
            (at[0] + side * 0.06 * scale, at[1] - 0.26 * scale),
            (at[0] + side * 0.13 * scale, at[1] - 0.32 * scale),
        ]
        canvas.line(curve(feeler), 0.005, palette.dark)


def _legend(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> None:
    """Scribble a line of writing under a plate."""
    n_marks = int(rng.integers(24, 40))
    x = canvas.width / 2 + np.linspace(-0.16, 0.16, n_marks)
    tall = rng.choice([0.004, 0.008, 0.016], n_marks, p=[0.4, 0.4, 0.2])
    y = canvas.height - 0.045 + tall * np.where(np.arange(n_marks) % 2, -1, 0.5)
    for word in np.split(np.column_stack([x, y]), [n_marks // 3, 2 * n_marks // 3]):
        canvas.line(word[1:], 0.0045, blend(palette.dark, palette.near, 0.3))
