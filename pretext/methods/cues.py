"""What gives a puzzle away without a look at the picture, and tiny models of it.

Each cue is a function from tiles to features. A logistic regression is fitted on them
for half of the pictures and scored on the others.

Shapes: n pictures, T tiles of C = 3 channels and t x t pixels, F features; cells (n, T)
say which tile of the picture, in reading order, lies at each place.
"""

from dataclasses import dataclass
from math import isqrt, sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from data_prep.arrays import Floats, Ints


@dataclass(frozen=True, kw_only=True)
class CueAccuracy:
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


def tile_levels(tiles_nTCtt: Tensor) -> Tensor:
    """Give (n, T, 6): mean and deviation by channel, against those of the puzzle."""
    deviation, mean = torch.std_mean(tiles_nTCtt, dim=(3, 4))
    levels_nT6 = torch.cat([mean, deviation], dim=2)
    return levels_nT6 - levels_nT6.mean(dim=1, keepdim=True)


def tile_fringes(tiles_nTCtt: Tensor) -> Tensor:
    """Give (n, T, 2): the shift of red against blue in pixels, against the puzzle's.

    A lens magnifies the colours differently. A shift by d makes red minus blue d times
    the slope of the picture (a Taylor series of first order); least squares solve for
    d, as in Lucas & Kanade 1981. The slope is that of green, which lies between. Only
    the finest detail is used: coarse colours differ for other reasons.
    """
    tiles = tiles_nTCtt.flatten(0, 1)  # n * T pictures
    coarse = F.avg_pool2d(tiles, 3, 1, 1, count_include_pad=False)
    fine = (tiles - coarse)[..., 1:-1, 1:-1]  # at the border the mean is one-sided
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
    shift_nT2: Tensor = shift.view(*tiles_nTCtt.shape[:2], 2)
    return shift_nT2 - shift_nT2.mean(dim=1, keepdim=True)


def edge_pairs(tiles_nTCtt: Tensor) -> Tensor:
    """Compare the edges at which two tiles could touch.

    Returns:
        (n, 2, T, T, 3): the right edge of the first tile and the left edge of the
        second, then the lower edge and the upper; the mean difference of their pixels,
        that of their means, their correlation.
    """
    beside = _compare(tiles_nTCtt[..., -1], tiles_nTCtt[..., 0])
    below = _compare(tiles_nTCtt[..., -1, :], tiles_nTCtt[..., 0, :])
    return torch.stack([beside, below], dim=1)


def _compare(first_nTCt: Tensor, second_nTCt: Tensor) -> Tensor:
    """Compare every edge of the first with every edge of the second: (n, T, T, 3)."""
    first_means, second_means = first_nTCt.mean(dim=3), second_nTCt.mean(dim=3)
    # the cosine of edges without their means is their correlation
    first_unit, second_unit = (
        F.normalize((edge - edge.mean(dim=3, keepdim=True)).flatten(2), dim=2, eps=1e-3)
        for edge in (first_nTCt, second_nTCt)
    )
    # [:, :, None] against [:, None]: all pairs (first tile, second tile)
    pixels_apart_nTTp = (
        first_nTCt.flatten(2)[:, :, None] - second_nTCt.flatten(2)[:, None]
    )
    means_apart_nTTC = first_means[:, :, None] - second_means[:, None]
    return torch.stack(
        [
            pixels_apart_nTTp.abs().mean(dim=3),
            means_apart_nTTC.abs().mean(dim=3),
            first_unit @ second_unit.mT,
        ],
        dim=3,
    )


CUES = {"levels": tile_levels, "fringes": tile_fringes, "edges": edge_pairs}


def measure(cue: str, features: NDArray[np.float32], cells_nT: Ints) -> CueAccuracy:
    """Fit a tiny model on half of the pictures and score it on the others.

    Args:
        cue: A key of ``CUES``.
        features: (n, ...) what it gives.
        cells_nT: The tile at each place.
    """
    n_tiles, grid = cells_nT.shape[1], isqrt(cells_nT.shape[1])
    if cue == "edges":
        right, chance = neighbours_right(features, cells_nT), 1 / (n_tiles - 1)
        n_answers = 2 * grid * (grid - 1)
    else:
        right, chance = places_right(features, cells_nT), 1 / n_tiles
        n_answers = n_tiles
    n = len(right)
    # guesses vary as much; a few pictures may agree by accident
    least = sqrt(chance * (1 - chance) / (n * n_answers))
    return CueAccuracy(
        right=float(right.mean()),
        chance=chance,
        error=max(float(right.std(ddof=1)) / sqrt(n), least),
    )


def places_right(features_nTF: NDArray[np.float32], cells_nT: Ints) -> Floats:
    """Predict the cells of tiles from their features.

    Returns:
        (n - n // 2,) share of the tiles predicted right, by scored picture.
    """
    n_tiles = cells_nT.shape[1]
    half, width = len(cells_nT) // 2, features_nTF.shape[2]
    model = _model().fit(
        features_nTF[:half].reshape(-1, width), cells_nT[:half].ravel()
    )
    y_pred = model.predict(features_nTF[half:].reshape(-1, width)).reshape(-1, n_tiles)
    right: Floats = (y_pred == cells_nT[half:]).mean(axis=1)
    return right


def neighbours_right(pairs_n2TTF: NDArray[np.float32], cells_nT: Ints) -> Floats:
    """Predict the neighbours of tiles, to the right and below, from pairs of edges.

    The model says of a pair how likely it touches; the neighbour of a tile is the other
    tile of which it says so most.

    Returns:
        (n - n // 2,) share of the neighbours predicted right among all other tiles, by
        scored picture.
    """
    n_tiles, grid = cells_nT.shape[1], isqrt(cells_nT.shape[1])
    half = len(cells_nT) // 2
    row_nT, column_nT = cells_nT // grid, cells_nT % grid
    # (n, T, 1) against (n, 1, T): all pairs (tile, its possible neighbour)
    row, next_row = row_nT[:, :, None], row_nT[:, None]
    column, next_column = column_nT[:, :, None], column_nT[:, None]
    beside_nTT = (row == next_row) & (column + 1 == next_column)
    below_nTT = (column == next_column) & (row + 1 == next_row)
    y_true_n2TT = np.stack([beside_nTT, below_nTT], axis=1)
    is_pair = np.broadcast_to(~np.eye(n_tiles, dtype=np.bool_), y_true_n2TT.shape)
    model = _model().fit(
        pairs_n2TTF[:half][is_pair[:half]], y_true_n2TT[:half][is_pair[:half]]
    )
    logits = model.decision_function(
        pairs_n2TTF[half:].reshape(-1, pairs_n2TTF.shape[4])
    )
    y_true_n2TT, is_pair = y_true_n2TT[half:], is_pair[half:]
    logits_n2TT = np.where(is_pair, logits.reshape(y_true_n2TT.shape), -np.inf)
    best_n2T1 = logits_n2TT.argmax(axis=3)[..., None]
    # a tile at the right or lower border has no neighbour, and its best counts as none
    n_right = np.take_along_axis(y_true_n2TT, best_n2T1, axis=3).sum(axis=(1, 2, 3))
    right: Floats = n_right / (2 * grid * (grid - 1))
    return right


def _model() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
