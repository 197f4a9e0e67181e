"""Registration: two thumbnails laid on each other, and how alike they are then.

A picture that was cropped a little, or scanned anew, lies elsewhere by a few pixels.
Scale and shift of each axis are found by Gauss-Newton steps on the squared difference
(Lucas and Kanade 1981), with the mean of both pictures' slopes (Malis 2004), first at
half the size. All pairs of a batch go together.

What is compared is local contrast: each grey level less the mean around it, by the
deviation around it. So neither a black border nor a large shape nor the light of the
photograph decides, but whether small details agree wherever there are any. Look-alikes,
such as two apples on two sheets of one layout, agree in the large only; and frames that
agree in their edges alone must agree in their grey levels too.

Shapes: M pairs, T pixels per side of a thumbnail.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from data_prep.arrays import Floats

Levels = NDArray[np.float32]

WIDE_PX, FINE_PX = 9, 5  # what is around a pixel, to align and to compare
WIDE_NOISE, FINE_NOISE = 4.0, 10.0  # grey levels that a JPEG may add
COARSE_STEPS, FINE_STEPS = 4, 2
COARSE_LIKENESS = 0.4  # at half the size; pairs with less are not looked at further
MARGIN = 1 / 12  # of a side, not compared: it may be cropped, or a border of the scan
MOST_SHIFT = 1 / 12  # of a side
LONGEST_STEP_PX = 1.0
DAMPING = 1e-3  # of the mean curvature, where a picture has no slope in some direction
LEAST_DETAIL = 0.01  # mean squared local contrast; less is paper, with its noise
# The grey levels of planted copies were correlated by 0.96 and more, and 0.96^4 is what
# the details of most copies reach: so either of the two may speak against.
LEVELS_POWER = 4


def likeness(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    coarse_first: Levels,
    coarse_second: Levels,
) -> Floats:
    """Say how alike pairs of pictures are, once laid on each other.

    Args:
        first: (M, T, T) grey levels.
        second: (M, T, T), in the view as which they look like the first.
        coarse_first: (M, T/2, T/2) of the first, see ``coarse_contrast``.
        coarse_second: (M, T/2, T/2) of the second in that view.

    Returns:
        (M,) correlation of their local contrasts or, where that is less, a power of
        that of their grey levels; at most 1. It is 0 for pairs that do not come near,
        or of which one shows too little to be told from others.
    """
    moves = np.zeros((len(first), 4), dtype=np.float32)
    moves = _aligned(coarse_first, coarse_second, moves, COARSE_STEPS)
    coarse = _correlation(coarse_first, moved(coarse_second, moves))
    values = np.zeros(len(first))
    near = np.flatnonzero(coarse >= COARSE_LIKENESS)
    if not len(near):
        return values
    fixed, moving = (levels[near].astype(np.float32) for levels in (first, second))
    moves = _aligned(
        local_contrast(fixed, WIDE_PX, WIDE_NOISE),
        local_contrast(moving, WIDE_PX, WIDE_NOISE),
        moves[near],
        FINE_STEPS,
    )
    seen = moved(moving, moves)
    details = _correlation(
        local_contrast(fixed, FINE_PX, FINE_NOISE),
        local_contrast(seen, FINE_PX, FINE_NOISE),
    )
    levels = _correlation(_centred(fixed), _centred(seen))
    values[near] = np.minimum(details, np.maximum(levels, 0) ** LEVELS_POWER)
    return np.clip(values, 0, 1)


def coarse_contrast(thumbs: NDArray[np.uint8]) -> Levels:
    """Give the (N, T/2, T/2) local contrasts by which pictures are first aligned.

    Args:
        thumbs: (N, T, T) grey levels.
    """
    contrast = local_contrast(thumbs.astype(np.float32), WIDE_PX, WIDE_NOISE)
    n_pictures, n_pixels = thumbs.shape[:2]
    shape = (n_pictures, n_pixels // 2, 2, n_pixels // 2, 2)
    halved: Levels = contrast.reshape(shape).mean(axis=(2, 4))
    return halved


def local_contrast(levels: Levels, size_px: int, noise: float) -> Levels:
    """Give each pixel's difference from the mean around it, by the deviation there.

    Args:
        levels: (M, T, T) grey levels.
        size_px: Side of the square that is around a pixel.
        noise: Deviation in grey levels that means nothing: where there is less, the
            result is near 0.
    """
    sizes = (0, size_px, size_px)
    mean = uniform_filter(levels, sizes, mode="nearest")
    variance = uniform_filter(levels**2, sizes, mode="nearest") - mean**2
    contrast: Levels = (levels - mean) / np.sqrt(np.maximum(variance, 0) + noise**2)
    return contrast


def moved(levels: Levels, moves: Levels) -> Levels:
    """Sample pictures elsewhere, linearly between pixels; edges go on outwards.

    Args:
        levels: (M, T, T).
        moves: (M, 4) for rows, then for columns: the shift of the middle, and how much
            further the last pixel goes (the first goes as much less), both by T / 2.
    """
    by_row = _moved_rows(levels, moves[:, :2])
    return _moved_rows(by_row.swapaxes(1, 2), moves[:, 2:]).swapaxes(1, 2)


def _moved_rows(levels: Levels, moves: Levels) -> Levels:
    n_rows = levels.shape[1]
    places = np.arange(n_rows, dtype=np.float32)
    shifts = (moves[:, :1] + moves[:, 1:] * _from_middle(n_rows)) * (n_rows / 2)
    positions = np.clip(places + shifts, 0, n_rows - 1)
    above = np.minimum(positions.astype(np.int64), n_rows - 2)
    weights = (positions - above).astype(np.float32)[:, :, None]
    pairs = np.arange(len(levels))[:, None]
    upper, lower = levels[pairs, above], levels[pairs, above + 1]
    result: Levels = upper + (lower - upper) * weights
    return result


def _from_middle(n_pixels: int) -> Levels:
    """Give (n,) places along an axis, from -1 to 1."""
    return np.linspace(-1, 1, n_pixels, dtype=np.float32)


def _aligned(fixed: Levels, moving: Levels, moves: Levels, n_steps: int) -> Levels:
    """Improve (M, 4) moves that bring one picture of each pair onto the other."""
    n_pairs, n_pixels = len(fixed), fixed.shape[1]
    edge = round(MARGIN * n_pixels)
    inner = slice(edge, n_pixels - edge)
    above, below = (slice(edge + k, n_pixels - edge + k) for k in (-1, 1))
    places = _from_middle(n_pixels)[inner]
    longest = LONGEST_STEP_PX / (n_pixels / 2)
    for _ in range(n_steps):
        seen = moved(moving, moves)
        mean = (fixed + seen) / 2
        slope_y = (mean[:, below, inner] - mean[:, above, inner]) * (n_pixels / 4)
        slope_x = (mean[:, inner, below] - mean[:, inner, above]) * (n_pixels / 4)
        slopes = (slope_y, slope_y * places[:, None], slope_x, slope_x * places)
        jacobian = np.stack(slopes, axis=1).reshape(n_pairs, 4, -1)
        errors = (fixed - seen)[:, inner, inner].reshape(n_pairs, -1, 1)
        curvature = jacobian @ jacobian.swapaxes(1, 2)
        damping = DAMPING * np.trace(curvature, axis1=1, axis2=2) + 1e-6
        curvature += damping[:, None, None] * np.eye(4, dtype=np.float32)
        steps = np.linalg.solve(curvature, jacobian @ errors)[:, :, 0]
        moves = moves + np.clip(steps, -longest, longest)
        moves = np.clip(moves, -2 * MOST_SHIFT, 2 * MOST_SHIFT)
    return moves


def _centred(levels: Levels) -> Levels:
    """Take the mean inside the margin off (M, T, T) grey levels."""
    edge = round(MARGIN * levels.shape[1])
    inner = levels[:, edge:-edge, edge:-edge]
    centred: Levels = levels - inner.mean(axis=(1, 2), keepdims=True)
    return centred


def _correlation(first: Levels, second: Levels) -> Floats:
    """Correlate (M, T, T) pictures of mean 0 inside the margin; 0 where one is flat."""
    edge = round(MARGIN * first.shape[1])
    inner = (slice(None), slice(edge, -edge), slice(edge, -edge))
    a, b = first[inner], second[inner]
    products = (np.mean(x * y, axis=(1, 2)) for x, y in ((a, b), (a, a), (b, b)))
    of_both, of_first, of_second = (np.asarray(p, dtype=np.float64) for p in products)
    shows_enough = np.minimum(of_first, of_second) >= LEAST_DETAIL
    scale = np.sqrt(np.maximum(of_first * of_second, LEAST_DETAIL**2))
    correlation: Floats = np.where(shows_enough, of_both / scale, 0.0)
    return correlation
