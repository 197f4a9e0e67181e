"""Outlines of the things a scene is made of: arrays of points, in short sides.

Shapes: N points of an outline.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from data_prep.arrays import Floats

Points = Floats
Spot = tuple[float, float]


def knots(text: str) -> Points:
    """Read (N, 2) points written as in an SVG path, "x,y x,y", in hundredths."""
    return np.array([pair.split(",") for pair in text.split()], dtype=float) / 100


def traced(text: str, *, closed: bool = True) -> Points:
    """Draw a smooth outline through ``knots``."""
    return curve(knots(text), closed=closed)


def placed(
    points: ArrayLike, centre: ArrayLike, size: float, side: float = 1
) -> Points:
    """Move (N, 2) points drawn around (0, 0), enlarged, mirrored at ``side`` -1."""
    return np.add(np.multiply(points, (side * size, size)), centre)


def curve(points: ArrayLike, *, closed: bool = False, n_steps: int = 8) -> Points:
    """Draw a smooth curve through (N, 2) points, by Catmull and Rom."""
    path = np.asarray(points, dtype=np.float64)
    if closed:
        before, start, end, after = (np.roll(path, n, axis=0) for n in (1, 0, -1, -2))
    else:
        long = np.concatenate([path[:1], path, path[-1:]])
        before, start, end, after = long[:-3], long[1:-2], long[2:-1], long[3:]
    # The cubic through start and end whose slope there is that of their neighbours.
    t = np.linspace(0, 1, n_steps, endpoint=False)[None, :, None]
    bend = (
        (2 * before - 5 * start + 4 * end - after)[:, None] * t**2
        + (3 * start - before - 3 * end + after)[:, None] * t**3
        + (end - before)[:, None] * t
    )
    smooth = (start[:, None] + bend / 2).reshape(-1, 2)
    return smooth if closed else np.concatenate([smooth, path[-1:]])


def box(left: float, top: float, right: float, bottom: float) -> Points:
    """Draw an upright rectangle."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def oval(
    centre: ArrayLike,
    radius_x: float,
    radius_y: float | None = None,
    turn: float = 0.0,
    n_points: int = 32,
) -> Points:
    """Draw an ellipse, turned by radians; a circle without ``radius_y``."""
    angle = np.linspace(0, 2 * np.pi, n_points, endpoint=False)
    x = radius_x * np.cos(angle)
    y = (radius_x if radius_y is None else radius_y) * np.sin(angle)
    cos, sin = np.cos(turn), np.sin(turn)
    points = np.column_stack([x * cos - y * sin, x * sin + y * cos])
    return points + np.asarray(centre, dtype=np.float64)


def ribbon(spine: ArrayLike, widths: float | Sequence[float]) -> Points:
    """Give a path (N, 2) a width that runs through ``widths`` from start to end."""
    path = np.asarray(spine, dtype=np.float64)
    stops = np.atleast_1d(np.asarray(widths, dtype=np.float64))
    t = np.linspace(0, 1, len(path))
    half = np.interp(t, np.linspace(0, 1, len(stops)), stops)[:, None] / 2
    along = np.gradient(path, axis=0)
    across = np.column_stack([-along[:, 1], along[:, 0]])
    across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-9
    return np.concatenate([path + half * across, (path - half * across)[::-1]])


def vessel(axis_x: float, profile: ArrayLike) -> Points:
    """Draw a vessel thrown on the wheel from a profile (N, 2) of radius and height."""
    radius, height = curve(profile, n_steps=6).T
    x = np.concatenate([axis_x + radius, axis_x - radius[::-1]])
    return np.column_stack([x, np.concatenate([height, height[::-1]])])


def arch(left: float, right: float, top: float, bottom: float, point: float) -> Points:
    """Draw an archway, round for ``point`` 0 and the more pointed the larger."""
    radius = (right - left) / 2
    angle = np.linspace(0, np.pi, 25)
    x = (left + right) / 2 - radius * np.cos(angle)
    y = top + radius * (1 + point) * (1 - np.sin(angle) ** (1 + point))
    crown = np.column_stack([x, y])
    return np.array([(left, bottom), *crown, (right, bottom)])
