"""Bring the outputs of the fold nets to one scale, without a label.

Each net of a cross-validation has a scale of its own. A stacker that learns on net 0's
rows and predicts from net 1's sees shifted numbers. The pictures that all nets have in
common tell how the scales differ: net k's columns are mapped so that, on those
pictures, they are distributed as the average of the nets. Where these are too few, the
rows that each net held out tell it: folds are drawn from the same rows, so what the
nets say of them should be distributed alike.

Shapes: K nets, M common pictures, N rows, C columns, Q quantile levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from data_prep.arrays import Floats

METHODS = ("none", "moments", "rank")
MIN_COMMON = 50  # fewer pictures tell too little about a distribution
MIN_HELD_OUT = 10  # of a net; measured: without a map 16 do far worse
MAX_LEVELS = 100


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """The maps of K nets, column by column.

    Attributes:
        method: One of ``METHODS``.
        knots: (K, Q, C) where each net's values stand; for ``moments`` Q = 2, one
            standard deviation below and above the mean.
        common: (Q, C) where they are brought: the mean of the knots over the nets.
    """

    method: str
    knots: Floats
    common: Floats

    def apply(self, net: int, values: Floats) -> Floats:
        """Map (N, C) values of one net to the common scale."""
        if self.method == "none":
            return values
        knots_QC = self.knots[net]
        if self.method == "moments":
            return _along_a_line(values, knots_QC, self.common)
        mapped = np.empty_like(values)
        for col_idx in range(values.shape[1]):
            mapped[:, col_idx] = _through_quantiles(
                values[:, col_idx], knots_QC[:, col_idx], self.common[:, col_idx]
            )
        return mapped

    def with_net(self, values: Floats) -> "Alignment":
        """Add a net, by its (M, C) values; the common scale stays.

        Of fewer than ``MIN_COMMON`` values nothing is learned: they are not moved.
        """
        knots = self.common
        if self.method != "none" and len(values) >= MIN_COMMON:
            knots = _knots(values, self.method, len(self.common))
        return replace(self, knots=np.concatenate([self.knots, knots[None]]))

    def shifts(self) -> Floats:
        """Measure, per net and column, the mean shift in units of the common spread.

        Returns:
            (K, C); 0 where nothing moves or a column does not vary.
        """
        if self.method == "none":
            return np.zeros(self.knots.shape[::2])
        spread = self.common.std(axis=0)
        shift = (self.common - self.knots).mean(axis=1)
        in_spreads: Floats = np.zeros_like(shift)
        np.divide(shift, spread, out=in_spreads, where=spread > 0)
        return in_spreads


def learn_alignment(
    nets: Sequence[Floats],
    method: str = "rank",
    *,
    least: int = MIN_COMMON,
    is_moved: Sequence[bool] | None = None,
) -> Alignment:
    """Learn the maps from pictures that are distributed alike for all nets.

    Args:
        nets: K arrays (M, C): the same M pictures through each net, or through each
            the pictures that it held out.
        method: ``moments`` maps mean and standard deviation, ``rank`` each quantile;
            beyond the outermost quantiles a value keeps its distance to them.
        least: The fewest pictures of a net that are learned from.
        is_moved: (C,) which columns have a scale for each net; None: all.

    Returns:
        The maps; those of the method ``none`` where M < ``least`` or K < 2.
    """
    n_columns = nets[0].shape[1] if nets else 0
    sizes = [len(values) for values in nets]
    if method == "none" or len(nets) < 2 or min(sizes) < least:
        return Alignment(
            method="none",
            knots=np.zeros((len(nets), 0, n_columns)),
            common=np.zeros((0, n_columns)),
        )
    n_levels = min(MAX_LEVELS, *sizes)
    knots = np.stack([_knots(values, method, n_levels) for values in nets])
    if is_moved is not None:
        knots[:, :, ~np.asarray(is_moved)] = 0.0  # the same for all: nothing moves
    return Alignment(method=method, knots=knots, common=knots.mean(axis=0))


def _knots(values_MC: Floats, method: str, n_levels: int) -> Floats:
    """Give the (Q, C) values of a net that are matched with those of the others."""
    values_MC = np.asarray(values_MC, dtype=np.float64)
    if method == "moments":
        mean, spread = values_MC.mean(axis=0), values_MC.std(axis=0)
        return np.stack([mean - spread, mean + spread])
    levels = (np.arange(n_levels) + 0.5) / n_levels
    quantiles_QC: Floats = np.quantile(values_MC, levels, axis=0)
    return quantiles_QC


def _along_a_line(values: Floats, knots_2C: Floats, common_2C: Floats) -> Floats:
    """Map by the line through two points per column."""
    width = knots_2C[1] - knots_2C[0]
    slope = np.divide(
        common_2C[1] - common_2C[0], width, out=np.ones_like(width), where=width > 0
    )
    centre = knots_2C.mean(axis=0)
    mapped: Floats = common_2C.mean(axis=0) + (values - centre) * slope
    return mapped


def _through_quantiles(values: Floats, knots_Q: Floats, common_Q: Floats) -> Floats:
    """Map the values of one column through matching quantiles."""
    knots, positions = np.unique(knots_Q, return_inverse=True)
    # Where a net gives many pictures one value, their common values are averaged.
    common = np.bincount(positions, common_Q) / np.bincount(positions)
    below, above = np.minimum(values - knots[0], 0), np.maximum(values - knots[-1], 0)
    mapped: Floats = np.interp(values, knots, common) + below + above
    return mapped
