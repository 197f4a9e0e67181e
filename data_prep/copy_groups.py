"""Copies and groups: which pictures count as one, so that no fold tears them.

Copies may tie groups to each other, and look-alikes that pass for copies may chain
many: a collection that hangs together cannot be split. So near copies that would make a
cv group too large are told, and not joined; equal ones always are.

Shapes: N rows, S pixels per side.
"""

import logging
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_prep.folds import join_cv_groups
from data_prep.pictures.copies import (
    LEAST_SIDE_PX,
    NEAR_COLUMNS,
    USUAL_LIKENESS,
    NearCopies,
    search_seconds,
)
from data_prep.pictures.fit import Fit, content_box
from data_prep.pictures.near_copies import clusters_of, near_pairs
from data_prep.rows import names_kept_together

MOST_SHARE, MOST_ROWS = 0.1, 10  # of the training rows in a group that copies make
TOLD_FROM_MIN = 2.0  # of a search; less is not worth a line
log = logging.getLogger(__name__)


def with_copies(
    rows: pd.DataFrame,
    images: NDArray[np.uint8],
    *,
    copies: Literal["near", "equal", "none"],
    likeness: float = USUAL_LIKENESS,
    fit: Fit = "pad",
    workers: int = 0,
    has_group: bool,
) -> tuple[pd.DataFrame, NearCopies]:
    """Say of each picture of which it is a copy.

    Args:
        rows: N rows with id, split, group, width, height, pixels_sha256 and maybe
            object.
        images: (N, S, S, 3) their stored squares.
        copies: Which count: those with small changes too, those with equal pixels only,
            or none.
        likeness: From which on two pictures are near copies.
        fit: How the pictures became square.
        workers: Threads; 0: one for each core at hand.
        has_group: The groups are the user's.

    Returns:
        The rows with same_as, the id of the first picture that each is a copy of: its
        own if it is none; and the near copies.
    """
    if copies == "none":
        return rows.assign(same_as=rows["id"]), NearCopies()
    pairs, notes = pd.DataFrame({"first": [], "second": [], "likeness": []}), []
    side = images.shape[1]
    if copies == "near" and side < LEAST_SIDE_PX:
        notes.append(
            f"equal pictures alone are taken for copies: at side = {side} near copies"
            f" cannot be told from look-alikes, from {LEAST_SIDE_PX} on they can"
        )
    elif copies == "near":
        if (minutes := search_seconds(len(rows), workers) / 60) > TOLD_FROM_MIN:
            log.info(
                "near copies of %s pictures are looked for, about %.0f minutes;"
                ' copies = "equal" in [data_prep.prepare] does without',
                f"{len(rows):,}",
                minutes,
            )
        sizes = zip(rows["width"].tolist(), rows["height"].tolist(), strict=True)
        boxes = [content_box(size, side, fit) for size in sizes]
        pairs = near_pairs(images, boxes, rows["pixels_sha256"].tolist(), workers)
    is_joined = pairs["likeness"].to_numpy(np.float64) >= likeness
    names = names_kept_together(rows, has_group=has_group)
    is_refused, refusal = _chained(rows, pairs[is_joined], names)
    is_joined[is_joined] = ~is_refused
    ids = rows["id"].to_numpy()
    near = NearCopies(
        pairs=_named(pairs, ids, is_joined),
        likeness=likeness,
        notes=tuple(notes) + (refusal,) * bool(refusal),
    )
    return rows.assign(same_as=ids[_first_rows(rows, pairs[is_joined])]), near


def _named(
    pairs: pd.DataFrame, ids: NDArray[Any], is_joined: NDArray[np.bool_]
) -> pd.DataFrame:
    """Name the pictures of pairs by their ids."""
    if pairs.empty:
        return NearCopies().pairs
    named = pairs.assign(
        id=ids[pairs["first"]], other=ids[pairs["second"]], is_joined=is_joined
    )
    return named[list(NEAR_COLUMNS)]


def _first_rows(rows: pd.DataFrame, pairs: pd.DataFrame) -> NDArray[np.int64]:
    """Give the (N,) row of the first picture that each is a copy of, or its own."""
    codes, _ = pd.factorize(rows["pixels_sha256"])
    _, first_of_code = np.unique(codes, return_index=True)
    equal = pd.DataFrame(
        {"first": first_of_code[codes], "second": np.arange(len(rows))}
    )
    labels = clusters_of(len(rows), pd.concat([equal, pairs[["first", "second"]]]))
    _, firsts = np.unique(labels, return_index=True)
    first_rows: NDArray[np.int64] = firsts[labels]
    return first_rows


def _chained(
    rows: pd.DataFrame, pairs: pd.DataFrame, names: list[list[str]]
) -> tuple[NDArray[np.bool_], str]:
    """Tell which pairs would make a cv group too large.

    Args:
        rows: N rows.
        pairs: M pairs that count as near copies: columns first and second.
        names: What is kept together besides.

    Returns:
        (M,) mask, and what a person should know; empty: nothing.
    """

    def cv_groups(near: pd.DataFrame) -> NDArray[np.int64]:
        copies = [str(row) for row in _first_rows(rows, near)]
        return join_cv_groups(*names, copies)

    is_train = (rows["split"] == "train").to_numpy()
    if not len(pairs) or not is_train.any():
        return np.zeros(len(pairs), dtype=np.bool_), ""
    without, joined = cv_groups(pairs[:0]), cv_groups(pairs)
    largest = np.bincount(without[is_train]).max()
    most = max(MOST_ROWS, MOST_SHARE * is_train.sum(), largest)
    sizes = np.bincount(joined[is_train], minlength=joined.max() + 1)
    is_refused = sizes[joined[pairs["first"].to_numpy(np.int64)]] > most
    if not is_refused.any():
        return is_refused, ""
    n_pairs, share = int(is_refused.sum()), sizes.max() / is_train.sum()
    return is_refused, (
        f"{n_pairs:,} pair{'s' * (n_pairs != 1)} of near copies not joined, for the"
        f" largest group would have {sizes.max():,} rows, {share:.0%} of the training:"
        " look at them in the report; if they are copies, name what they show in [data]"
        " group, else raise likeness in [data_prep.prepare]"
    )
