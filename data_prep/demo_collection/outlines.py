"""Outlines of the things a scene is made of: arrays of points, in short sides.

Shapes: N points of an outline.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]


def curve(points: ArrayLike, *, closed: bool = False, n_steps: int = 8) -> Points:
    """Draw a smooth curve through (N, 2) points, by Catmull and Rom."""
    knots = np.asarray(points, dtype=np.float64)
    if closed:
        before, start, end, after = (np.roll(knots, n, axis=0) for n in (1, 0, -1, -2))
    else:
        long = np.concatenate([knots[:1], knots, knots[-1:]])
        before, start, end, after = long[:-3], long[1:-2], long[2:-1], long[3:]
    t = np.linspace(0, 1, n_steps, endpoint=False)[None, :, None]
    bend = (
        (2 * before - 5 * start + 4 * end - after)[:, None] * t**2
        + (3 * start - before - 3 * end + after)[:, None] * t**3
        + (end - before)[:, None] * t
    )
    path = (start[:, None] + bend / 2).reshape(-1, 2)
    return path if closed else np.concatenate([path, knots[-1:]])


def oval(
    centre: tuple[float, float],
    radius_x: float,
    radius_y: float | None = None,
    turn: float = 0.0,
    n_points: int = 32,
) -> Points:
    """Draw an ellipse, turned by radians; a circle without ``radius_y``."""
    angle = np.linspace(0, 2 * np.pi, n_points, endpoint=False)
    across = radius_x * np.cos(angle)
    along = (radius_x if radius_y is None else radius_y) * np.sin(angle)
    x = across * np.cos(turn) - along * np.sin(turn)
    y = across * np.sin(turn) + along * np.cos(turn)
    return np.column_stack([x + centre[0], y + centre[1]])


def blob(
    centre: tuple[float, float],
    radius_x: float,
    radius_y: float,
    rng: np.random.Generator,
    wobble: float = 0.15,
    n_knots: int = 9,
) -> Points:
    """Draw an ellipse with an uneven edge, as of foliage, rocks and fruit."""
    angle = np.linspace(0, 2 * np.pi, n_knots, endpoint=False)
    reach = 1 + wobble * rng.uniform(-1, 1, n_knots)
    x = centre[0] + radius_x * reach * np.cos(angle)
    y = centre[1] + radius_y * reach * np.sin(angle)
    return curve(np.column_stack([x, y]), closed=True, n_steps=5)


def ribbon(spine: ArrayLike, widths: float | Sequence[float]) -> Points:
    """Give a path (N, 2) a width that runs through ``widths`` from start to end."""
    path = np.asarray(spine, dtype=np.float64)
    stops = np.atleast_1d(np.asarray(widths, dtype=np.float64))
    at = np.linspace(0, 1, len(path))
    half = np.interp(at, np.linspace(0, 1, len(stops)), stops)[:, None] / 2
    along = np.gradient(path, axis=0)
    across = np.column_stack([-along[:, 1], along[:, 0]])
    across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-9
    return np.concatenate([path + half * across, (path - half * across)[::-1]])


def leaf(base: tuple[float, float], length: float, width: float, turn: float) -> Points:
    """Draw a pointed leaf from its base in the direction ``turn`` (radians)."""
    t = np.linspace(0, 1, 12)
    half = width / 2 * np.sin(np.pi * t**0.8) ** 1.1
    along = np.concatenate([t, t[::-1]]) * length
    across = np.concatenate([half, -half[::-1]])
    x = base[0] + along * np.cos(turn) - across * np.sin(turn)
    y = base[1] + along * np.sin(turn) + across * np.cos(turn)
    return np.column_stack([x, y])


def turned(axis_x: float, profile: ArrayLike) -> Points:
    """Draw a vessel turned on the wheel from a profile (N, 2) of radius and height."""
    half = curve(profile, n_steps=6)
    right = np.column_stack([axis_x + half[:, 0], half[:, 1]])
    left = np.column_stack([axis_x - half[:, 0], half[:, 1]])
    return np.concatenate([right, left[::-1]])


def ridge(
    width: float,
    bottom: float,
    level: float,
    rise: float,
    rng: np.random.Generator,
    n_knots: int = 7,
) -> Points:
    """Draw a range of hills across the picture, filled down to ``bottom``."""
    x = np.linspace(-0.1, width + 0.1, n_knots)
    crest = curve(np.column_stack([x, level - rise * rng.uniform(0, 1, n_knots)]))
    fine = np.cumsum(rng.normal(0, rise * 0.02, len(crest)))
    crest[:, 1] += fine - np.linspace(fine[0], fine[-1], len(fine))
    return np.concatenate([crest, [[width + 0.1, bottom], [-0.1, bottom]]])


def arch(
    left: float, right: float, top: float, bottom: float, point: float = 0.0
) -> Points:
    """Draw an archway, round for ``point`` 0 and the more pointed the larger."""
    radius = (right - left) / 2
    angle = np.linspace(0, np.pi, 25)
    x = (left + right) / 2 - radius * np.cos(angle)
    y = top + radius * (1 + point) * (1 - np.sin(angle) ** (1 + point))
    return np.concatenate(
        [[[left, bottom]], np.column_stack([x, y]), [[right, bottom]]]
    )
