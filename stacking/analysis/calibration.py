"""Calibration: is what is predicted what comes true, on average?

Sources: reliability curve and expected calibration error of the most probable class,
Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017;
class by class, Kull et al., NeurIPS 2019.

Shapes: N rows, K classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.scoring.scores import Interval
from stacking.analysis.residuals import bands, mean_interval, share_interval

N_BINS = 10

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Bin:
    """Rows of which much the same is predicted.

    Attributes:
        rows: How many.
        said: Mean of what is predicted of them.
        true: Mean of what is the case, with its interval.
    """

    rows: int
    said: float
    true: Interval


def by_decile(prediction: Floats, target: Floats, cv_groups: Ints) -> list[Bin]:
    """Compare (N,) predictions with targets, in tenths along the prediction."""
    names, index = bands(prediction, N_BINS)
    return [
        _bin(prediction[own], mean_interval(target[own], cv_groups[own]))
        for own in _members(index, len(names))
    ]


def slope(prediction: Floats, target: Floats) -> float:
    """Give how far the target moves where the prediction moves by 1.

    Below 1, predictions are too extreme; above, too timid. NaN where all are equal.
    """
    centred, wanted = prediction - prediction.mean(), target - target.mean()
    spread = float(centred @ centred)
    return float(centred @ wanted) / spread if spread > 0 else float("nan")


def by_confidence(probability: Floats, is_true: Floats, cv_groups: Ints) -> list[Bin]:
    """Compare (N,) probabilities with how often it is so, in tenths of the scale."""
    return [
        _bin(probability[own], share_interval(is_true[own], cv_groups[own]))
        for own in _members(_tenths(probability), N_BINS)
    ]


def expected_error(probability: Floats, is_true: Floats) -> float:
    """Give the mean distance of probability and frequency, over tenths of the scale."""
    index = _tenths(probability)
    gaps = np.bincount(index, probability - is_true, minlength=N_BINS)
    return float(np.abs(gaps).sum() / len(probability))


def _tenths(probability: Floats) -> Ints:
    return np.minimum((probability * N_BINS).astype(np.int64), N_BINS - 1)


def _members(index: Ints, n: int) -> list[Ints]:
    """List the rows of each of n bins that has any."""
    found = [np.flatnonzero(index == number) for number in range(n)]
    return [own for own in found if len(own)]


def _bin(said: Floats, true: Interval) -> Bin:
    return Bin(len(said), float(said.mean()), true)
