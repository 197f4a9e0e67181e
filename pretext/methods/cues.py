"""What gives a puzzle away without a look at the picture, and tiny models of it.

Each cue is a function from tiles to features. A model is fitted on them for some
pictures and scored on others.

Shapes: n pictures, T tiles of t x t pixels; cells (n, T) say which tile lies where.
"""

from dataclasses import dataclass
from math import isqrt, sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Figure:
    """How often a tiny model is right.

    Attributes:
        right: Share of its answers, on pictures that it was not fitted on.
        chance: What guessing would get.
        error: Standard error of ``right``, over pictures.
    """

    right: float
    chance: float
    error: float

    @property
    def beats_chance(self) -> bool:
        """Whether by more than three standard errors."""
        return self.right - self.chance > 3 * self.error


def tile_levels(tiles: Tensor) -> Tensor:
    """Give (n, T, 6): mean and deviation by channel, against those of the puzzle."""
    deviation, mean = torch.std_mean(tiles, dim=(3, 4))
    levels = torch.cat([mean, deviation], dim=2)
    return levels - levels.mean(dim=1, keepdim=True)


def tile_fringes(tiles: Tensor) -> Tensor:
    """Give (n, T, 2): the shift of red against blue in pixels, against the puzzle's.

    A shift by d makes red minus blue d times the slope; least squares solve for d. Only
    the finest detail is looked at: coarse colours differ for other reasons.
    """
    flat = tiles.flatten(0, 1)
    coarse = F.avg_pool2d(flat, 3, 1, 1, count_include_pad=False)
    fine = (flat - coarse)[..., 1:-1, 1:-1]
    fine = fine / fine.std(dim=(2, 3), keepdim=True).clamp(min=1e-3)
    red, green, blue = fine.unbind(dim=1)
    slope_x = (green[:, 1:-1, 2:] - green[:, 1:-1, :-2]) / 2
    slope_y = (green[:, 2:, 1:-1] - green[:, :-2, 1:-1]) / 2
    slopes = torch.stack([slope_x, slope_y], dim=1).flatten(2)  # (n * T, 2, pixels)
    difference = (red - blue)[:, 1:-1, 1:-1].flatten(1)[:, :, None]
    n_pixels = slopes.shape[2]
    square = slopes @ slopes.mT / n_pixels
    ridge = 0.01 * torch.eye(2, device=tiles.device)  # flat tiles have no shift
    shift = torch.linalg.solve(square + ridge, slopes @ difference / n_pixels)
    shifts: Tensor = shift.view(*tiles.shape[:2], 2)
    return shifts - shifts.mean(dim=1, keepdim=True)


def edge_pairs(tiles: Tensor) -> Tensor:
    """Compare the edges at which one tile could touch another.

    Returns:
        (n, 2, T, T, 3): right edge of the one and left edge of the other, then lower
        and upper; their mean difference, that of their means, their correlation.
    """
    touching = [
        (tiles[..., -1], tiles[..., 0]),
        (tiles[..., -1, :], tiles[..., 0, :]),
    ]
    return torch.stack([_compare(*edges) for edges in touching], dim=1)


def _compare(one: Tensor, other: Tensor) -> Tensor:
    """Compare every (n, T, 3, t) edge with every other: (n, T, T, 3)."""
    means = one.mean(dim=3)[:, :, None], other.mean(dim=3)[:, None]
    unit = [
        F.normalize((edge - edge.mean(dim=3, keepdim=True)).flatten(2), dim=2, eps=1e-3)
        for edge in (one, other)
    ]
    apart = (one.flatten(2)[:, :, None] - other.flatten(2)[:, None]).abs().mean(dim=3)
    means_apart = (means[0] - means[1]).abs().mean(dim=3)
    return torch.stack([apart, means_apart, unit[0] @ unit[1].mT], dim=3)


CUES = {"levels": tile_levels, "fringes": tile_fringes, "edges": edge_pairs}


def measure(
    cue: str, features: NDArray[np.float32], cells: NDArray[np.int64]
) -> Figure:
    """Fit a tiny model on half of the pictures and score it on the others.

    Args:
        cue: A key of ``CUES``.
        features: (n, ...) what it gives.
        cells: (n, T).
    """
    n_tiles, grid = cells.shape[1], isqrt(cells.shape[1])
    if cue == "edges":
        right, chance = neighbours_right(features, cells), 1 / (n_tiles - 1)
        n_answers = 2 * grid * (grid - 1)
    else:
        right, chance = places_right(features, cells), 1 / n_tiles
        n_answers = n_tiles
    n = len(right)
    # guesses vary as much; a few pictures may agree by accident
    least = sqrt(chance * (1 - chance) / (n * n_answers))
    error = max(float(right.std(ddof=1)) / sqrt(n), least)
    return Figure(float(right.mean()), chance, error)


def places_right(
    features: NDArray[np.float32], cells: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Tell tiles' cells from (n, T, F) features.

    Returns:
        Share of the tiles told right, by scored picture.
    """
    half, width = len(cells) // 2, features.shape[2]
    model = _model().fit(features[:half].reshape(-1, width), cells[:half].ravel())
    told = model.predict(features[half:].reshape(-1, width)).reshape(-1, cells.shape[1])
    right: NDArray[np.float64] = (told == cells[half:]).mean(axis=1)
    return right


def neighbours_right(
    pairs: NDArray[np.float32], cells: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Tell tiles' neighbours, to the right and below, from (n, 2, T, T, F) pairs.

    Returns:
        Share of the neighbours told right among all other tiles, by scored picture.
    """
    n_tiles, grid = cells.shape[1], isqrt(cells.shape[1])
    half = len(cells) // 2
    row, column = cells // grid, cells % grid
    one, other = (slice(None), slice(None), None), (slice(None), None)
    beside = (row[one] == row[other]) & (column[one] + 1 == column[other])
    below = (column[one] == column[other]) & (row[one] + 1 == row[other])
    touch = np.stack([beside, below], axis=1)  # (n, 2, T, T)
    is_pair = np.broadcast_to(~np.eye(n_tiles, dtype=np.bool_), touch.shape)
    model = _model().fit(pairs[:half][is_pair[:half]], touch[:half][is_pair[:half]])
    merit = model.decision_function(pairs[half:].reshape(-1, pairs.shape[4]))
    merit = np.where(is_pair[half:], merit.reshape(touch[half:].shape), -np.inf)
    best = merit.argmax(axis=3)[..., None]
    found = np.take_along_axis(touch[half:], best, axis=3).sum(axis=(1, 2, 3))
    right: NDArray[np.float64] = found / (2 * grid * (grid - 1))
    return right


def _model() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
