"""Near copies: one picture recompressed, resized, turned, mirrored or cropped a little.

Fingerprints give a short list of pairs, and each pair is laid on each other and
compared in its details. What is compared are thumbnails of the stored squares.

Pictures are put in the order of their pixels first, and each is taken once whatever its
copies: so the result depends on neither ids nor order nor the number of threads. Of
many copies of one picture each finds the few that are nearest, which may leave several
islands; so one of each island is compared again, until nothing joins.

Shapes: N pictures, S pixels per side.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from threadpoolctl import threadpool_limits

from data_prep.arrays import Floats, Ints
from data_prep.dihedral import VIEWS, apply_view
from data_prep.pictures.copies import LISTED_LIKENESS, USUAL_LIKENESS
from data_prep.pictures.fingerprints import (
    N_NEAREST,
    THUMB_PX,
    Box,
    Codes,
    Thumbnails,
    fingerprints,
    shortlist,
    thumbnails,
)
from data_prep.pictures.registration import coarse_contrast, likeness
from data_prep.processes import n_cores

COLUMNS = ("first", "second", "view", "likeness")  # of a list of pairs
PAIRS_AT_ONCE = 256
DECIMALS = 4
INVERSE: Mapping[str, str] = {"r": "hvr", "hvr": "r"}  # all other views undo themselves


def near_pairs(
    images: NDArray[np.uint8],
    boxes: Sequence[Box],
    digests: Sequence[str],
    workers: int = 0,
) -> pd.DataFrame:
    """List the pairs of pictures that are, or might be, copies but for small changes.

    Args:
        images: (N, S, S, 3) stored squares.
        boxes: What of each is the picture: left, top, right and bottom in px.
        digests: (N,) of their pixels. Of pictures with the same the first is listed.
        workers: Threads; 0: one for each core at hand.

    Returns:
        Columns first and second (rows, the first the smaller), view (as which the
        second looks like the first) and likeness, from ``LISTED_LIKENESS`` to 1; the
        most alike first.
    """
    _, rows = np.unique(np.asarray(digests, dtype=object), return_index=True)
    with _threads(workers or n_cores()) as pool:
        thumbs = thumbnails(images, rows, [boxes[row] for row in rows], pool)
        codes = fingerprints(thumbs)
        coarse = _coarse(thumbs, pool)
        pairs = pd.DataFrame({name: [] for name in COLUMNS})
        numbers = np.arange(len(rows))  # of the pictures that are compared
        while len(numbers) > 1:
            judged = _judged(
                numbers, codes=codes, thumbs=thumbs, coarse=coarse, pool=pool
            )
            pairs = pd.concat([pairs, judged])
            islands = clusters_of(len(rows), pairs[pairs["likeness"] >= USUAL_LIKENESS])
            _, first, sizes = np.unique(islands, return_index=True, return_counts=True)
            is_full = sizes > N_NEAREST  # one of its pictures may have had no room
            if is_full.sum() == len(numbers):
                break
            numbers = first[is_full]
    return _by_rows(pairs.drop_duplicates(["first", "second"]), rows)


def clusters_of(n_pictures: int, pairs: pd.DataFrame) -> Ints:
    """Join pictures that are a pair, directly or by way of others.

    Args:
        n_pictures: N.
        pairs: Columns first and second, numbers of pictures.

    Returns:
        (N,) number of the cluster, from 0 in order of appearance.
    """
    ends = (pairs["first"].to_numpy(np.int64), pairs["second"].to_numpy(np.int64))
    graph = coo_array((np.ones(len(pairs)), ends), (n_pictures, n_pictures))
    _, components = connected_components(graph, directed=False)
    labels: Ints = pd.factorize(components)[0].astype(np.int64)
    return labels


def _judged(
    numbers: Ints,
    *,
    codes: Codes,
    thumbs: Thumbnails,
    coarse: NDArray[np.float16],
    pool: ThreadPoolExecutor,
) -> pd.DataFrame:
    """Compare some pictures, and list the pairs that are alike enough to be told."""
    first, second, view_numbers = shortlist(codes[numbers], pool)
    first, second = numbers[first], numbers[second]

    def judge(start: int) -> Floats:
        part = slice(start, start + PAIRS_AT_ONCE)
        views = [VIEWS[view] for view in view_numbers[part]]
        return likeness(
            thumbs[first[part]],
            _seen_as(views, thumbs[second[part]]),
            coarse[first[part]].astype(np.float32),
            _seen_as(views, coarse[second[part]]).astype(np.float32),
        )

    parts = pool.map(judge, range(0, len(first), PAIRS_AT_ONCE))
    values = np.concatenate([np.empty(0), *parts])
    is_told = values >= LISTED_LIKENESS
    return pd.DataFrame(
        {
            "first": first[is_told],
            "second": second[is_told],
            "view": [VIEWS[view] for view in view_numbers[is_told]],
            "likeness": values[is_told].round(DECIMALS),
        }
    )


def _seen_as(views: Sequence[str], pictures: NDArray[Any]) -> NDArray[Any]:
    """Give each of (M, T, T) pictures in its view."""
    pairs = zip(views, pictures, strict=True)
    return np.stack([apply_view(view, picture) for view, picture in pairs])


def _coarse(thumbs: Thumbnails, pool: ThreadPoolExecutor) -> NDArray[np.float16]:
    """Give (N, T/2, T/2) coarse contrasts of all pictures, in half precision."""
    starts = range(0, len(thumbs), PAIRS_AT_ONCE)
    batches = (thumbs[start : start + PAIRS_AT_ONCE] for start in starts)
    half = (THUMB_PX // 2, THUMB_PX // 2)
    parts = pool.map(lambda batch: coarse_contrast(batch).astype(np.float16), batches)
    return np.concatenate([np.empty((0, *half), dtype=np.float16), *parts])


def _by_rows(pairs: pd.DataFrame, rows: Ints) -> pd.DataFrame:
    """Name the pictures of pairs by their rows, and put the most alike first."""
    ends = np.stack([rows[pairs[name].to_numpy(np.int64)] for name in COLUMNS[:2]])
    is_swapped = ends[0] > ends[1]
    undone = pairs["view"].map(lambda view: INVERSE.get(view, view))
    listed = pd.DataFrame(
        {
            "first": ends.min(axis=0),
            "second": ends.max(axis=0),
            "view": pairs["view"].where(~is_swapped, undone).to_numpy(),
            "likeness": pairs["likeness"].to_numpy(np.float64),
        }
    )
    return listed.sort_values(
        ["likeness", "first", "second"],
        ascending=[False, True, True],
        ignore_index=True,
    )


@contextmanager
def _threads(n_threads: int) -> Iterator[ThreadPoolExecutor]:
    """Give threads that compute on one core each, so that sums are always the same."""
    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(n_threads) as pool,
    ):
        yield pool
