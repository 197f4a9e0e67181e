"""Rows that are made when they are read, so that no store need fit into memory.

Each class is one step between the files of a pass and the store that is written.

Shapes: N rows, n of them, V views, F outputs, S statistics.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Ints
from features.pooling import pool

Floats = NDArray[np.floating[Any]]
FLOAT32 = np.dtype(np.float32)


class Rows(ABC):
    """(N, ...) values, read a piece at a time.

    Attributes:
        shape: (N, ...).
        dtype: Of the values.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any] = FLOAT32

    @abstractmethod
    def read(self, idx: Ints) -> Floats:
        """Give the (n, ...) values of (n,) rows."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, piece: slice) -> Floats:
        return self.read(np.arange(len(self))[piece])


class ArrayRows(Rows):
    """An (N, ...) array, such as one mapped from a file."""

    def __init__(self, values: Floats) -> None:
        self.shape, self.dtype, self._values = values.shape, values.dtype, values

    def read(self, idx: Ints) -> Floats:
        """Give the values of (n,) rows."""
        return np.asarray(self._values[idx])


class ChosenRows(Rows):
    """Some of the rows: n of them, in the order of ``idx``."""

    def __init__(self, rows: Rows, idx: Ints) -> None:
        self.shape, self.dtype = (len(idx), *rows.shape[1:]), rows.dtype
        self._rows, self._idx = rows, idx

    def read(self, idx: Ints) -> Floats:
        """Give the values of (m,) of those n rows."""
        return self._rows.read(self._idx[idx])


class ChosenOutputs(Rows):
    """Some of the outputs, by their places on the last axis, in that order."""

    def __init__(self, rows: Rows, col_idx: Sequence[int]) -> None:
        self.shape, self.dtype = (*rows.shape[:-1], len(col_idx)), rows.dtype
        self._rows, self._col_idx = rows, list(col_idx)

    def read(self, idx: Ints) -> Floats:
        """Give those outputs of (n,) rows."""
        return self._rows.read(idx)[..., self._col_idx]


class JoinedRows(Rows):
    """Rows one after the other; the widest of their types."""

    def __init__(self, pieces: Sequence[Rows]) -> None:
        self._pieces, self._ends = pieces, np.cumsum([len(rows) for rows in pieces])
        self.shape = (int(self._ends[-1]), *pieces[0].shape[1:])
        self.dtype = np.result_type(*(rows.dtype for rows in pieces))

    def read(self, idx: Ints) -> Floats:
        """Give the values of (n,) rows, each from the piece that has it."""
        values = np.empty((len(idx), *self.shape[1:]), self.dtype)
        piece_of = np.searchsorted(self._ends, idx, side="right")
        for number in np.unique(piece_of):
            is_inside, piece = piece_of == number, self._pieces[number]
            start = self._ends[number] - len(piece)
            values[is_inside] = piece.read(idx[is_inside] - start)
        return values


class MeanRows(Rows):
    """The mean of rows of the same shape, such as those of several nets."""

    def __init__(self, terms: Sequence[Rows]) -> None:
        self._terms, self.shape = terms, terms[0].shape
        self.dtype = np.result_type(*(rows.dtype for rows in terms))

    def read(self, idx: Ints) -> Floats:
        """Give the means of (n,) rows."""
        mean: Floats = np.mean([rows.read(idx) for rows in self._terms], axis=0)
        return mean


class PooledRows(Rows):
    """(N, V, F) views as (N, F * S) statistics; float32, or float64 of such."""

    def __init__(self, views: Rows, statistics: Sequence[str]) -> None:
        self.shape = (len(views), views.shape[2] * len(statistics))
        self.dtype = np.promote_types(views.dtype, FLOAT32)
        self._views, self._statistics = views, statistics

    def read(self, idx: Ints) -> Floats:
        """Pool the views of (n,) rows."""
        pooled = pool(self._views.read(idx), self._statistics)
        return pooled.astype(self.dtype, copy=False)
