"""Calibration: is what is predicted what comes true, on average?

Sources: reliability curve and expected calibration error (ECE) of the most probable
class, Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML
2017; class by class, Kull et al., NeurIPS 2019.

Shapes: N rows, K classes.
"""

from dataclasses import dataclass

import numpy as np

from data_prep.arrays import Floats, Ints
from data_prep.scoring.scores import Interval
from stacking.analysis.residuals import mean_interval, quantile_bands, share_interval

N_BINS = 10
NEAR_ONE = 0.05  # a slope this close to 1 needs no comment


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Rows of which much the same is predicted.

    Attributes:
        n_rows: Number of rows.
        mean_pred: Mean prediction, in the unit of the target, or mean probability.
        mean_true: Mean target in the same unit, or share of the rows that are so, with
            its 95 % interval over cv groups.
    """

    n_rows: int
    mean_pred: float
    mean_true: Interval


def by_decile(y_pred: Floats, y_true: Floats, cv_groups: Ints) -> list[Bin]:
    """Compare (N,) predictions with targets, in tenths along the prediction."""
    _, band_idx = quantile_bands(y_pred, N_BINS)
    return [
        _bin(rows, y_pred, mean_interval(y_true[rows], cv_groups[rows]))
        for rows in _rows_of_bins(band_idx)
    ]


def slope(y_pred: Floats, y_true: Floats) -> float:
    """Give how far the target moves where the prediction moves by 1.

    It is the slope of the regression of target on prediction, cov / var. Below 1,
    predictions are too extreme; above, too timid. NaN where all are equal.
    """
    pred_centred, true_centred = y_pred - y_pred.mean(), y_true - y_true.mean()
    sum_of_squares = float(pred_centred @ pred_centred)
    if sum_of_squares == 0:
        return float("nan")
    return float(pred_centred @ true_centred) / sum_of_squares


def by_confidence(proba: Floats, is_true: Floats, cv_groups: Ints) -> list[Bin]:
    """Compare (N,) probabilities with how often it is so, in tenths of the scale."""
    return [
        _bin(rows, proba, share_interval(is_true[rows], cv_groups[rows]))
        for rows in _rows_of_bins(_tenths(proba))
    ]


def expected_calibration_error(proba: Floats, is_true: Floats) -> float:
    """Give the mean distance of probability and frequency, from 0 to 1.

    ECE = sum over bins of (n_bin / N) |mean probability - frequency|; the sums of a bin
    stand for n_bin times its means.

    Args:
        proba: (N,) probabilities of one class each.
        is_true: (N,) 1 where the class is right, else 0.
    """
    gap_of_bin = np.bincount(_tenths(proba), proba - is_true, minlength=N_BINS)
    return float(np.abs(gap_of_bin).sum() / len(proba))


def _tenths(proba: Floats) -> Ints:
    return np.minimum((proba * N_BINS).astype(np.int64), N_BINS - 1)


def _rows_of_bins(bin_idx: Ints) -> list[Ints]:
    """List the rows of each bin that has any."""
    return [np.flatnonzero(bin_idx == number) for number in np.unique(bin_idx)]


def _bin(rows: Ints, y_pred: Floats, mean_true: Interval) -> Bin:
    mean_pred = float(y_pred[rows].mean())
    return Bin(n_rows=len(rows), mean_pred=mean_pred, mean_true=mean_true)
