"""Bring the outputs of the fold nets to one scale, without a label.

Each net of a cross-validation speaks on a scale of its own. A stacker that learns on
net 0's rows and is asked about net 1's sees shifted numbers. The pictures that all nets
have in common tell how the scales differ: net k's columns are mapped so that, on those
pictures, they are distributed as the average of the nets.

Shapes: K nets, M common pictures, N rows, C columns, Q quantile levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

METHODS = ("none", "moments", "rank")
MIN_COMMON = 50  # fewer pictures tell too little about a distribution
MAX_LEVELS = 100

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Alignment:
    """The maps of K nets, column by column.

    Attributes:
        method: One of ``METHODS``.
        knots: (K, Q, C) where each net's values stand; for ``moments`` Q = 2, one
            standard deviation below and above the mean.
        places: (Q, C) where they are brought.
    """

    method: str
    knots: Floats
    places: Floats

    def apply(self, net: int, values: Floats) -> Floats:
        """Map (N, C) values of one net to the common scale."""
        if self.method == "none":
            return values
        source = self.knots[net]
        if self.method == "moments":
            return _line(values, source, self.places)
        mapped = np.empty_like(values)
        for column in range(values.shape[1]):
            mapped[:, column] = _through(
                values[:, column], source[:, column], self.places[:, column]
            )
        return mapped

    def with_net(self, values: Floats) -> "Alignment":
        """Add a net that said (M, C) of the common pictures; the places stay."""
        if self.method == "none":
            return Alignment(
                "none",
                np.zeros((len(self.knots) + 1, *self.knots.shape[1:])),
                self.places,
            )
        knots = _knots(values[None], self.method, len(self.places))
        return Alignment(self.method, np.concatenate([self.knots, knots]), self.places)

    def shifts(self) -> Floats:
        """Measure, per net and column, the mean shift in units of the common spread.

        Returns:
            (K, C); 0 where nothing moves or a column does not vary.
        """
        if self.method == "none":
            return np.zeros(self.knots.shape[::2])
        spread = self.places.std(axis=0)
        moved = (self.places - self.knots).mean(axis=1)
        shares: Floats = np.zeros_like(moved)
        np.divide(moved, spread, out=shares, where=spread > 0)
        return shares


def learn_alignment(common: Sequence[Floats], method: str = "rank") -> Alignment:
    """Learn the maps from the pictures that all nets have in common.

    Args:
        common: K arrays (M, C), the same pictures through each net.
        method: ``moments`` maps mean and standard deviation, ``rank`` each quantile;
            beyond the outermost quantiles a value keeps its distance to them.

    Returns:
        The maps; those of the method ``none`` where M < ``MIN_COMMON`` or K < 2.
    """
    n_columns = common[0].shape[1] if common else 0
    if method == "none" or len(common) < 2 or len(common[0]) < MIN_COMMON:
        nothing = np.zeros((len(common), 0, n_columns))
        return Alignment("none", nothing, nothing[:1].reshape(0, n_columns))
    stacked = np.stack([np.asarray(values, dtype=np.float64) for values in common])
    knots = _knots(stacked, method, min(stacked.shape[1], MAX_LEVELS))
    return Alignment(method, knots, knots.mean(axis=0))


def _knots(stacked: Floats, method: str, n_levels: int) -> Floats:
    """Give the (K, Q, C) places where the nets' (K, M, C) values stand."""
    if method == "moments":
        mean, spread = stacked.mean(axis=1), stacked.std(axis=1)
        return np.stack([mean - spread, mean + spread], axis=1)
    levels = (np.arange(n_levels) + 0.5) / n_levels
    return np.quantile(stacked, levels, axis=1).transpose(1, 0, 2)


def _line(values: Floats, source: Floats, places: Floats) -> Floats:
    """Map two points per column to two others, and the rest along the line."""
    width = source[1] - source[0]
    slope = np.divide(
        places[1] - places[0], width, out=np.ones_like(width), where=width > 0
    )
    mapped: Floats = places.mean(axis=0) + (values - source.mean(axis=0)) * slope
    return mapped


def _through(values: Floats, source: Floats, places: Floats) -> Floats:
    """Map values through matching quantiles, one column."""
    knots, where = np.unique(source, return_inverse=True)
    # Where a net says one value for many pictures, their places are averaged.
    matching = np.bincount(where, places) / np.bincount(where)
    below, above = np.minimum(values - knots[0], 0), np.maximum(values - knots[-1], 0)
    mapped: Floats = np.interp(values, knots, matching) + below + above
    return mapped
