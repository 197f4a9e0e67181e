"""Rows that are made when they are asked for, so that no store need fit into memory.

Shapes: N rows, n of them, V views, F outputs, S statistics.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.pooling import pool

Ints = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
FLOAT32 = np.dtype(np.float32)


@dataclass(frozen=True)
class Rows:
    """(N, ...) values, read a piece at a time.

    Attributes:
        shape: (N, ...).
        read: Gives the (n, ...) values of (n,) rows.
        dtype: Theirs.
    """

    shape: tuple[int, ...]
    read: Callable[[Ints], Floats]
    dtype: np.dtype[Any] = FLOAT32

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: slice) -> Floats:
        return self.read(np.arange(len(self))[part])

    def chosen(self, rows: Ints) -> "Rows":
        """Give (n,) of the rows, in that order."""
        shape = (len(rows), *self.shape[1:])
        return Rows(shape, lambda part: self.read(rows[part]), self.dtype)

    def columns(self, inside: Sequence[int]) -> "Rows":
        """Give some of the outputs, in that order."""
        shape = (*self.shape[:-1], len(inside))
        return Rows(shape, lambda part: self.read(part)[..., list(inside)], self.dtype)


def rows_of(values: Floats) -> Rows:
    """Give an array, such as one mapped from a file, as rows."""
    return Rows(values.shape, lambda part: np.asarray(values[part]), values.dtype)


def joined(parts: Sequence[Rows]) -> Rows:
    """Put rows one after the other."""
    ends = np.cumsum([len(part) for part in parts])
    shape = (int(ends[-1]), *parts[0].shape[1:])
    dtype = np.result_type(*(part.dtype for part in parts))

    def read(rows: Ints) -> Floats:
        found = np.empty((len(rows), *shape[1:]), dtype)
        which = np.searchsorted(ends, rows, side="right")
        for number in np.unique(which):
            inside = which == number
            start = ends[number] - len(parts[number])
            found[inside] = parts[number].read(rows[inside] - start)
        return found

    return Rows(shape, read, dtype)


def mean_of(parts: Sequence[Rows]) -> Rows:
    """Average rows of the same shape."""
    return Rows(
        parts[0].shape,
        lambda rows: np.mean([part.read(rows) for part in parts], axis=0),
        np.result_type(*(part.dtype for part in parts)),
    )


def pooled(views: Rows, statistics: Sequence[str]) -> Rows:
    """Pool (N, V, F) views into (N, F * S) statistics; float32, or float64 of such."""
    n, _, width = views.shape
    dtype = np.promote_types(views.dtype, FLOAT32)

    def read(rows: Ints) -> Floats:
        return pool(views.read(rows), statistics).astype(dtype, copy=False)

    return Rows((n, width * len(statistics)), read, dtype)
