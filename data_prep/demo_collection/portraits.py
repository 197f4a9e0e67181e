"""The subject of a head in profile."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from data_prep.demo_collection.canvas import Canvas
from data_prep.demo_collection.grain import Floats
from data_prep.demo_collection.outlines import Points, blob, curve, oval, ribbon
from data_prep.demo_collection.palettes import Palette, blend

Pose = Callable[[ArrayLike], Points]  # from the place in a figure to the canvas

# Forehead to throat of a head looking left, the eye at (0, 0), its height about 1.
PROFILE = (
    (0.1, -0.52), (-0.1, -0.44), (-0.18, -0.22), (-0.165, -0.05), (-0.265, 0.12),
    (-0.25, 0.155), (-0.19, 0.17), (-0.215, 0.23), (-0.185, 0.265), (-0.205, 0.31),
    (-0.16, 0.355), (-0.175, 0.42), (-0.12, 0.49), (-0.02, 0.5), (0.13, 0.44),
    (0.16, 0.62), (0.12, 0.82), (0.54, 0.82), (0.47, 0.55), (0.47, 0.25),
    (0.54, 0.0), (0.5, -0.32), (0.34, -0.5),
)  # fmt: skip


def portrait(canvas: Canvas, palette: Palette, rng: np.random.Generator) -> None:
    """A head in profile, to the left or right, before a wall or a view."""
    w, h = canvas.width, canvas.height
    wall = blend(palette.wall, palette.second, rng.uniform(0, 0.5))
    canvas.wash(blend(wall, palette.dark, 0.2), wall)
    if rng.random() < 0.3:
        canvas.wash(palette.sky, palette.haze, end=h * 0.75)
        for level, tone in ((0.66, 0.3), (0.76, 0.8)):
            crest = curve(
                [
                    (-0.1, h * level),
                    (w * 0.3, h * (level - 0.06)),
                    (w * 0.6, h * level),
                    (w + 0.1, h * (level - 0.05)),
                ]
            )
            hill = np.concatenate([crest, [[w + 0.1, h + 0.1], [-0.1, h + 0.1]]])
            canvas.fill(hill, blend(palette.far, palette.near, tone), contour=0.004)
    else:
        canvas.glow((w * 0.32, h * 0.4), 0.55, blend(wall, palette.light, 0.45))
    side, size = float(rng.choice([-1, 1])), h * rng.uniform(0.4, 0.47)
    eye = np.array([w / 2 - side * 0.13 * size, h * 0.42])

    def pose(points: ArrayLike) -> Points:
        return np.asarray(np.asarray(points) * (side * size, size) + eye)

    coat = blend(
        [palette.accent, palette.second, palette.dark][int(rng.integers(3))],
        palette.dark,
        0.25,
    )
    bust = curve(
        [
            (-0.62, 1.75),
            (-0.36, 1.12),
            (0.0, 0.84),
            (0.3, 0.76),
            (0.62, 0.9),
            (1.0, 1.2),
            (1.15, 1.75),
        ]
    )
    hair = blend(palette.dark, palette.accent, rng.uniform(0.05, 0.4))
    skin = blend(palette.flesh, palette.light, rng.uniform(0.0, 0.3))
    dress = int(rng.integers(5))
    if dress in (1, 3):
        locks = [
            (0.05, -0.6),
            (0.5, -0.62),
            (0.75, -0.2),
            (0.7, 0.4),
            (0.8, 0.9),
            (0.45, 0.85),
            (0.3, 0.2),
        ]
        canvas.fill(pose(curve(locks, closed=True)), hair, relief=0.8)
    canvas.fill(pose(bust), coat, to=blend(coat, palette.dark, 0.4), relief=0.5)
    face = pose(curve(PROFILE, closed=True, n_steps=4))
    canvas.fill(face, skin, to=blend(skin, palette.near, 0.25), relief=0.35)
    _features(canvas, palette, pose, hair, size)
    _collar(canvas, palette, pose, int(rng.integers(4)))
    cap = [
        (-0.1, -0.4),
        (0.06, -0.62),
        (0.4, -0.66),
        (0.66, -0.36),
        (0.62, 0.1),
        (0.5, 0.34),
        (0.38, 0.2),
        (0.3, -0.02),
        (0.2, -0.22),
    ]
    canvas.fill(pose(curve(cap, closed=True)), hair, relief=0.8)
    if dress == 2:
        brim = [(-0.5, -0.36), (0.1, -0.5), (0.95, -0.42), (0.9, -0.3), (0.2, -0.36)]
        crown = [(-0.12, -0.44), (-0.04, -0.86), (0.5, -0.9), (0.62, -0.42)]
        felt = blend(palette.dark, palette.second, 0.3)
        canvas.fill(pose(curve(crown)), felt, relief=0.6)
        canvas.fill(pose(curve(brim, closed=True)), felt, relief=0.6)
        plume = curve([(0.3, -0.6), (0.7, -0.95), (1.05, -0.6)])
        canvas.fill(pose(ribbon(plume, [0.05, 0.2, 0.02])), palette.light, relief=0.5)
    elif dress == 3:
        veil = [
            (-0.08, -0.46),
            (0.1, -0.7),
            (0.5, -0.72),
            (0.8, -0.2),
            (0.85, 0.9),
            (0.5, 0.8),
            (0.42, 0.1),
            (0.24, -0.3),
        ]
        linen = blend(palette.light, palette.haze, 0.3)
        canvas.fill(pose(curve(veil, closed=True)), linen, relief=0.7)
    elif dress == 4:
        bun = blob((0.68, -0.3), 0.2, 0.18, rng, 0.08)
        canvas.fill(pose(bun), hair, relief=0.9)
        band = curve([(-0.02, -0.52), (0.3, -0.4), (0.6, -0.1)])
        canvas.fill(pose(ribbon(band, 0.05)), palette.accent)


def _features(
    canvas: Canvas, palette: Palette, pose: Pose, hair: Floats, size: float
) -> None:
    canvas.fill(pose(oval((-0.06, 0.0), 0.045, 0.024, 0.1)), palette.light, contour=0)
    canvas.fill(pose(oval((-0.075, 0.0), 0.022)), palette.dark, contour=0)
    lid = pose(curve([(-0.12, -0.015), (-0.06, -0.04), (0.0, -0.005)]))
    canvas.line(lid, 0.02 * size, palette.dark)
    brow = pose(curve([(-0.15, -0.1), (-0.06, -0.13), (0.05, -0.09)]))
    canvas.line(brow, 0.026 * size, hair)
    mouth = pose([(-0.185, 0.265), (-0.09, 0.255)])
    canvas.line(mouth, 0.02 * size, blend(palette.accent, palette.dark, 0.35))
    cheek = pose(oval((0.03, 0.17), 0.1, 0.08))
    canvas.fill(cheek, palette.accent, opacity=0.22, soft=0.02)
    ear = pose(oval((0.33, 0.06), 0.05, 0.09))
    canvas.fill(ear, palette.flesh, relief=0.6, contour=0.004)


def _collar(canvas: Canvas, palette: Palette, pose: Pose, kind: int) -> None:
    linen = blend(palette.light, palette.haze, 0.2)
    if kind == 0:
        for at in np.linspace(-0.1, 0.72, 9):
            pleat = oval((float(at), 0.74 - 0.1 * float(at - 0.3) ** 2), 0.07, 0.11)
            canvas.fill(pose(pleat), linen, relief=0.8, contour=0.004)
    elif kind == 1:
        lace = [(0.08, 0.7), (0.58, 0.68), (0.9, 1.02), (0.3, 1.12), (-0.14, 1.0)]
        canvas.fill(pose(curve(lace, closed=True)), linen, relief=0.5)
    elif kind == 2:
        scarf = curve([(0.06, 0.74), (0.3, 0.82), (0.6, 0.72)])
        canvas.fill(pose(ribbon(scarf, 0.14)), linen, relief=0.7)
        knot = [(0.1, 0.8), (-0.02, 1.05), (0.14, 1.08), (0.2, 0.84)]
        canvas.fill(pose(knot), linen, relief=0.5)
    else:
        for at in np.linspace(0.1, 0.56, 7):
            bead = oval((float(at), 0.76 + 0.06 * float(np.sin(at * 6))), 0.028)
            canvas.fill(pose(bead), palette.light, relief=0.8, contour=0.003)
