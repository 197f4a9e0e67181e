"""Fingerprints: which pictures may be copies of which, among many and quickly.

The fingerprint of a picture is the low frequencies of its thumbnail's cosine transform,
in coordinates in which what differs between pictures of this collection counts, and
what differs between a picture and a crop of it does not. Both are measured on the
collection itself: black borders and a layout that all have in common tell nobody apart.
Two pictures are compared by a product of their fingerprints.

A mirrored picture has the same coefficients with other signs, a transposed one has them
transposed. The coordinates are those of all eight views together, so that this holds in
them too, and one transform gives the fingerprints of eight views.

Shapes: N pictures, S pixels per side of a stored square, T of a thumbnail, K
frequencies per axis, V = 8 views, M pairs.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from tqdm import tqdm

from data_prep.arrays import Floats, Ints
from data_prep.dihedral import STEPS, VIEWS

Box = tuple[int, int, int, int]
Thumbnails = NDArray[np.uint8]
Codes = NDArray[np.float32]
FloatArray = TypeVar("FloatArray", bound=NDArray[Any])

THUMB_PX = 48  # T
N_FREQUENCIES = 12  # K
N_NEAREST = 10  # pictures that each is compared with more closely
LEAST_SIMILARITY = 0.5  # of fingerprints; no copy that was planted had less than 0.7
FLAT_LEVELS = 2.0  # standard deviation of a picture that shows nothing, grey levels
N_SAMPLE = 1500  # pictures that the coordinates are measured on
MOST_CROPPED = 0.04  # of each side, in the crops that the coordinates are blind to
RIDGE = 1e-3  # of the mean variance: what no sample has shown is not without variance
MOST_AGREEMENT = 0.999
TINY = 1e-12
BATCH = 2**12  # pictures, or pairs, held at once
BLOCK_VALUES = 2**22  # products held at once by a thread


def thumbnails(
    images: NDArray[np.uint8],
    rows: Ints,
    boxes: Sequence[Box],
    pool: ThreadPoolExecutor,
) -> Thumbnails:
    """Bring what pictures show to small grey squares, whatever its shape.

    Args:
        images: (any, S, S, 3) stored squares.
        rows: (N,) which of them.
        boxes: What of each square is the picture, and no repeated edge: left, top,
            right and bottom in px.
        pool: Threads to work in.

    Returns:
        (N, T, T) grey levels.
    """

    def thumbnail(row: int, box: Box) -> Thumbnails:
        grey = Image.fromarray(np.asarray(images[row])).convert("L")
        size = (THUMB_PX, THUMB_PX)
        return np.asarray(grey.resize(size, Image.Resampling.BILINEAR, box=box))

    thumbs = np.empty((len(rows), THUMB_PX, THUMB_PX), dtype=np.uint8)
    for number, thumb in enumerate(pool.map(thumbnail, rows.tolist(), boxes)):
        thumbs[number] = thumb
    return thumbs


def fingerprints(thumbs: Thumbnails) -> Codes:
    """Give (N, K, K) fingerprints of length 1; all zero for a picture that is flat.

    Args:
        thumbs: (N, T, T), in an order that the pictures alone decide.
    """
    if not len(thumbs):
        return np.empty((0, N_FREQUENCIES, N_FREQUENCIES), dtype=np.float32)
    spectra = np.concatenate(
        [
            _spectra(thumbs[start : start + BATCH])
            for start in range(0, len(thumbs), BATCH)
        ]
    )
    centre, metric = _coordinates(thumbs, spectra)
    codes = (spectra.reshape(len(spectra), -1) - centre) @ metric
    codes[~spectra.any(axis=(1, 2))] = 0
    lengths = np.linalg.norm(codes, axis=1, keepdims=True)
    unit: Codes = (codes / np.maximum(lengths, TINY)).astype(np.float32)
    return unit.reshape(spectra.shape)


def shortlist(codes: Codes, pool: ThreadPoolExecutor) -> tuple[Ints, Ints, Ints]:
    """List the pairs of pictures that may be copies.

    Args:
        codes: (N, K, K) fingerprints.
        pool: Threads to work in; the list is the same however many they are.

    Returns:
        (M,) first and (M,) second picture, the first with the smaller number, each pair
        once; and (M,) the number of the view as which the second looks most like the
        first.
    """
    n_pictures = len(codes)
    n_rows = max(1, BLOCK_VALUES // max(n_pictures, 1))
    starts = range(0, n_pictures, n_rows)
    blocks = tqdm(
        pool.map(lambda start: _nearest(codes, start, start + n_rows), starts),
        "near copies",
        len(starts),
        unit="block",
        leave=False,
        disable=None,  # as for the pictures that are decoded
    )
    pairs = np.concatenate([np.empty((0, 2), dtype=np.int64), *blocks])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    view_numbers = np.empty(len(pairs), dtype=np.int64)
    for start in range(0, len(pairs), BATCH):
        part = slice(start, start + BATCH)
        first, second = codes[pairs[part, 0]], codes[pairs[part, 1]]
        products = [(first * seen_as(name, second)).sum(axis=(1, 2)) for name in VIEWS]
        view_numbers[part] = np.argmax(products, axis=0)
    return pairs[:, 0], pairs[:, 1], view_numbers


def seen_as(view: str, spectra: FloatArray) -> FloatArray:
    """Give the coefficients of a view of pictures.

    Args:
        view: One of ``VIEWS``.
        spectra: (N, K, K) coefficients of the pictures as they are: rows, columns.
    """
    is_transposed, flipped = STEPS[view]
    seen = spectra.swapaxes(1, 2) if is_transposed else spectra
    signs = (1 - 2 * (np.arange(spectra.shape[-1]) % 2)).astype(spectra.dtype)
    for axis in flipped:
        seen = seen * (signs[:, None] if axis == 0 else signs)
    return seen


def _spectra(thumbs: Thumbnails) -> Floats:
    """Give (N, K, K) low frequencies without the mean, of length 1 or, if flat, 0."""
    levels = thumbs.astype(np.float64)
    is_flat = levels.std(axis=(1, 2)) < FLAT_LEVELS
    spectra: Floats = dctn(levels, axes=(1, 2), norm="ortho")
    spectra = spectra[:, :N_FREQUENCIES, :N_FREQUENCIES]
    spectra[:, 0, 0] = 0
    spectra[is_flat] = 0
    lengths = np.linalg.norm(spectra, axis=(1, 2), keepdims=True)
    unit: Floats = spectra / np.maximum(lengths, TINY)
    return unit


def _coordinates(thumbs: Thumbnails, spectra: Floats) -> tuple[Floats, Floats]:
    """Measure where the pictures lie, and what tells copies from others.

    In coordinates in which all pictures vary alike in every direction, two crops of one
    picture agree by ``agreement`` (correlation) in each of some directions. Were all
    normally distributed, the evidence that two are copies would be a product in which
    each direction counts agreement / (1 - agreement^2).

    Returns:
        The (KK,) centre, and the (KK, KK) matrix that brings a spectrum there.
    """
    rows = np.linspace(0, len(thumbs) - 1, min(len(thumbs), N_SAMPLE)).astype(np.int64)
    sample = _of_all_views(spectra[rows])
    centre = sample.mean(axis=0)
    total = np.cov(sample, rowvar=False)
    rng = np.random.default_rng(0)
    first, second = (_spectra(_cropped(thumbs[rows], rng)) for _ in range(2))
    changes = _of_all_views(first - second)
    ridge = RIDGE * max(np.trace(total) / len(total), TINY) * np.eye(len(total))
    within = changes.T @ changes / (2 * len(changes)) + ridge
    variances, directions = np.linalg.eigh(total + ridge)
    whitening = (directions / np.sqrt(variances)) @ directions.T
    within_ratios, directions = np.linalg.eigh(whitening @ within @ whitening)
    agreement = np.clip(1 - within_ratios, 0, MOST_AGREEMENT)
    weights = np.sqrt(agreement / (1 - agreement**2))
    return centre, whitening @ (directions * weights) @ directions.T


def _of_all_views(spectra: Floats) -> Floats:
    """Give (V N, KK) coefficients of all views of N pictures."""
    views = [seen_as(name, spectra).reshape(len(spectra), -1) for name in VIEWS]
    return np.concatenate(views)


def _cropped(thumbs: Thumbnails, rng: np.random.Generator) -> Thumbnails:
    """Cut a little off each side of (N, T, T) thumbnails."""
    margins = rng.uniform(0, MOST_CROPPED * THUMB_PX, size=(len(thumbs), 4))
    boxes = margins * (1, 1, -1, -1) + (0, 0, THUMB_PX, THUMB_PX)
    size = (THUMB_PX, THUMB_PX)
    cut = np.empty_like(thumbs)
    for number, box in enumerate(boxes.tolist()):
        thumb = Image.fromarray(thumbs[number])
        cut[number] = np.asarray(
            thumb.resize(size, Image.Resampling.BILINEAR, box=tuple(box))
        )
    return cut


def _nearest(codes: Codes, start: int, stop: int) -> Ints:
    """Give (m, 2) pairs of some pictures and what is most like them in any view."""
    block = codes[start:stop]
    everything = codes.reshape(len(codes), -1).T
    best = np.full((len(block), len(codes)), -1, dtype=np.float32)
    for name in VIEWS:
        products = seen_as(name, block).reshape(len(block), -1) @ everything
        np.maximum(best, products, out=best)
    places = np.arange(len(block))
    best[places, start + places] = -1
    n_nearest = min(N_NEAREST, len(codes) - 1)
    nearest = np.argpartition(-best, n_nearest - 1, axis=1)[:, :n_nearest]
    is_like = np.take_along_axis(best, nearest, axis=1) >= LEAST_SIMILARITY
    rows, columns = np.nonzero(is_like)
    return np.stack([start + rows, nearest[rows, columns]], axis=1)
