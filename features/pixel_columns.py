"""Columns for a model that knows no net: colours and tiny pictures.

Much of what a net seems to have learned is often the colour of the paper. So the stack
has a model of such columns beside the nets (``stacking/models/pixel_trees.py``).
Torch-free.

Shapes: B pictures of N, S side of a picture in pixels, A areas to a side.
"""

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Floats, Ints

CHUNK = 200_000  # values of pixels at a time; more leave the cache: half as fast
VERSION = 1  # of what is computed; another makes the features of new pictures anew
SIDE = 12  # areas to a side of the tiny picture
SHADES = 4  # per channel: 64 colours in all
CHANNELS = ("red", "green", "blue")

Pixels = NDArray[np.uint8]


def pixel_column_names(side: int = SIDE) -> list[str]:
    """Name the columns that ``pixel_columns`` gives."""
    areas = [(row, column) for row in range(side) for column in range(side)]
    of_areas = [f"{c}_{row}_{column}" for row, column in areas for c in CHANNELS]
    colours = [f"colour_{number}" for number in range(SHADES**3)]
    moments = [f"{of}_{c}" for of in ("mean", "std") for c in CHANNELS]
    return [*of_areas, *colours, *moments]


def pixel_columns(pixels: Pixels, rows: Ints, side: int = SIDE) -> NDArray[np.float32]:
    """Describe pictures by what is seen from far away.

    Args:
        pixels: (n, S, S, 3) all pictures, mapped from a file or in memory.
        rows: (N,) which of them.
        side: A, of the tiny picture.

    Returns:
        (N, 3 A² + 64 + 6): the means of A x A areas in reading order, red, green and
        blue of each, in grey levels; the frequencies of 64 colours; the mean and the
        standard deviation of each channel.
    """
    cover = _cover(pixels.shape[1], side)
    columns = np.empty((len(rows), 3 * side**2 + SHADES**3 + 6), dtype=np.float32)
    if not len(rows):
        return columns
    n_at_once = max(1, CHUNK // pixels[0].size)
    for start in range(0, len(rows), n_at_once):
        chunk = slice(start, start + n_at_once)
        columns[chunk] = _described(pixels[rows[chunk]], cover)
    return columns


def _cover(side_px: int, side: int) -> NDArray[np.float32]:
    """Give (A, S): how much of each pixel of a line lies in each of the areas."""
    edges = np.arange(side + 1) * side_px / side
    starts = np.arange(side_px)
    ends = np.minimum(edges[1:, None], starts + 1)
    overlap_AS: Floats = np.maximum(ends - np.maximum(edges[:-1, None], starts), 0)
    return overlap_AS.astype(np.float32)


def _described(
    pixels_BSS3: Pixels, cover_AS: NDArray[np.float32]
) -> NDArray[np.float32]:
    n, side_px = pixels_BSS3.shape[:2]
    shade = pixels_BSS3 // (256 // SHADES)
    colour_BSS = (shade[..., 0] * SHADES + shade[..., 1]) * SHADES + shade[..., 2]
    histograms = [np.bincount(c.ravel(), minlength=SHADES**3) for c in colour_BSS]
    planes_B3SS = np.ascontiguousarray(
        pixels_BSS3.transpose(0, 3, 1, 2), dtype=np.float32
    )
    # the sum over an area is linear in lines and in columns, so two products give it
    area_px = (side_px / len(cover_AS)) ** 2
    areas_B3AA = cover_AS @ planes_B3SS @ cover_AS.T / area_px
    channels = planes_B3SS.reshape(n, 3, side_px**2)
    return np.concatenate(
        [
            areas_B3AA.transpose(0, 2, 3, 1).reshape(n, -1),
            np.array(histograms, dtype=np.float32) / side_px**2,
            channels.mean(axis=2),
            channels.std(axis=2),
        ],
        axis=1,
    )
