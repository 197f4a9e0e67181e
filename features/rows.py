"""Rows that are made when they are read, so that no store need fit into memory.

Each function is one step between the files of a pass and the store that is written.

Shapes: N rows, n of them, V views, F outputs, S statistics.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Ints
from features.pooling import pool

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """(N, ...) values, read a piece at a time.

    Attributes:
        shape: (N, ...).
        dtype: Of the values.
        read: Gives the (n, ...) values of (n,) rows.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[Ints], Floats]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, piece: slice) -> Floats:
        return self.read(np.arange(len(self))[piece])


def array_rows(values: Floats) -> Rows:
    """Read an (N, ...) array, such as one mapped from a file."""
    return Rows(
        shape=values.shape,
        dtype=values.dtype,
        read=lambda idx: np.asarray(values[idx]),
    )


def chosen_rows(rows: Rows, idx: Ints) -> Rows:
    """Choose n of the rows, in the order of ``idx``."""
    shape = (len(idx), *rows.shape[1:])
    return Rows(shape=shape, dtype=rows.dtype, read=lambda of: rows.read(idx[of]))


def chosen_outputs(rows: Rows, col_idx: Sequence[int]) -> Rows:
    """Choose outputs by their places on the last axis, in that order."""
    return Rows(
        shape=(*rows.shape[:-1], len(col_idx)),
        dtype=rows.dtype,
        read=lambda idx: rows.read(idx)[..., list(col_idx)],
    )


def joined_rows(pieces: Sequence[Rows]) -> Rows:
    """Put rows one after the other; the widest of their types."""
    ends = np.cumsum([len(rows) for rows in pieces])
    shape = (int(ends[-1]), *pieces[0].shape[1:])
    dtype = np.result_type(*(rows.dtype for rows in pieces))

    def read(idx: Ints) -> Floats:
        values = np.empty((len(idx), *shape[1:]), dtype)
        piece_of = np.searchsorted(ends, idx, side="right")
        for number in np.unique(piece_of):
            is_inside, piece = piece_of == number, pieces[number]
            start = ends[number] - len(piece)
            values[is_inside] = piece.read(idx[is_inside] - start)
        return values

    return Rows(shape=shape, dtype=dtype, read=read)


def mean_rows(terms: Sequence[Rows]) -> Rows:
    """Average rows of the same shape, such as those of several nets."""
    return Rows(
        shape=terms[0].shape,
        dtype=np.result_type(*(rows.dtype for rows in terms)),
        read=lambda idx: np.mean([rows.read(idx) for rows in terms], axis=0),
    )


def pooled_rows(views: Rows, statistics: Sequence[str]) -> Rows:
    """Pool (N, V, F) views to (N, F * S) statistics, of float32 or of float64."""
    dtype = np.promote_types(views.dtype, np.float32)
    return Rows(
        shape=(len(views), views.shape[2] * len(statistics)),
        dtype=dtype,
        read=lambda idx: pool(views.read(idx), statistics).astype(dtype, copy=False),
    )
