"""Tiny features of pictures, such as tell collections apart at a glance.

Shapes: N pictures, S pixels per side, P reference rows, F features.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_prep.arrays import Floats

GRID = 8  # places per side of the thumbnails
N_PIXELS = 2**22  # that are looked at together
FARTHEST = 10.0  # deviations; a feature that varies in one part only would go beyond


def features_of(
    rows: pd.DataFrame, images: NDArray[np.uint8], measured: pd.DataFrame
) -> Floats:
    """Make tiny features of pictures.

    Args:
        rows: N rows with image_row.
        images: Stored pictures, (.., S, S, 3).
        measured: N rows.

    Returns:
        (N, F): mean colours of 8 by 8 places, and the measures.
    """
    image_rows = rows["image_row"].to_numpy()
    per_block = max(1, N_PIXELS // images.shape[1] ** 2)
    blocks = [
        thumbnails(images[image_rows[k : k + per_block]])
        for k in range(0, len(rows), per_block)
    ]
    colours = np.concatenate(blocks).reshape(len(rows), -1)
    numbers = measured.to_numpy(dtype=np.float64).copy()
    for name in ("side", "aspect", "sharpness"):  # ratios count in them
        column = measured.columns.get_loc(name)
        numbers[:, column] = np.log1p(numbers[:, column])
    return np.concatenate([colours, numbers], axis=1)


def thumbnails(images: NDArray[np.uint8]) -> Floats:
    """Average (N, S, S, 3) pictures over 8 by 8 places: (N, 8, 8, 3), S >= 8."""
    side = images.shape[1]
    edges = np.linspace(0, side, GRID + 1).round().astype(np.int64)
    sizes = np.diff(edges)
    sums = np.add.reduceat(images, edges[:-1], axis=1, dtype=np.uint32)
    sums = np.add.reduceat(sums, edges[:-1], axis=2)
    means: Floats = sums / (sizes[:, None, None] * sizes[None, :, None])
    return means


def standardised(X: Floats, reference: Floats) -> Floats:
    """Bring (N, F) features to mean 0 and deviation 1 of (P, F) reference rows."""
    std = reference.std(axis=0)
    X = (X - reference.mean(axis=0)) / np.where(std > 1e-9, std, 1.0)
    return np.clip(X, -FARTHEST, FARTHEST)
