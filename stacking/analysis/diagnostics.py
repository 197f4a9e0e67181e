"""Checks of every run: what averaging nets is worth, and whether anything leaks.

Shapes: N scored rows, M pictures that all nets have in common, K nets.
"""

from dataclasses import dataclass

import numpy as np

from data_prep.arrays import Floats, Ints
from data_prep.errors import UserError
from data_prep.reporting.numerals import style_for
from data_prep.scoring.metrics import LEAST_PROBABILITY
from data_prep.scoring.scores import Interval
from stacking.cross_fitting import each_fold
from stacking.ensemble.members import constant
from stacking.ensemble.objective import Objective, ScoringData


@dataclass(frozen=True, kw_only=True)
class Averaging:
    """What to expect of the average of the nets, where single nets were measured.

    Attributes:
        single_net: The score in cross-validation, by one net per row.
        averaged: The score to expect of all nets averaged, of the same metric.
        disagreement: Root mean squared deviation of the nets from their mean, in the
            unit of the target, or in probability.
    """

    single_net: float
    averaged: float
    disagreement: float


def expect_of_averaging(
    pred_by_net: Floats, score: float, objective: Objective
) -> Averaging | None:
    """Predict the score of averaged nets from how far the nets disagree.

    The squared error of a mean is the mean squared error less the variance between
    those that are averaged (Krogh and Vedelsby, NIPS 1994), which needs no label. For
    probabilities the log-loss falls by the mean divergence of the nets from their mean,
    if that mean is calibrated.

    Args:
        pred_by_net: (K, M, ...) predictions of the same pictures through each net.
        score: What one net per row scores.
        objective: What is scored by.

    Returns:
        None where there is one net, no picture, or another metric.
    """
    if len(pred_by_net) < 2 or not pred_by_net.shape[1]:
        return None
    mean_pred = pred_by_net.mean(axis=0)
    variance = float(pred_by_net.var(axis=0).mean())
    if objective.name == "rmse":
        # E (mean - y)^2 = E (net - y)^2 - Var(nets)
        averaged = float(np.sqrt(max(score**2 - variance, 0.0)))
    elif objective.name == "log_loss":
        # -log p_mean = -log p_net - log(p_mean / p_net); where the mean is calibrated,
        # the last term is expected to be its KL divergence from the net
        log_net = np.log(np.maximum(pred_by_net, LEAST_PROBABILITY))
        log_mean = np.log(np.maximum(mean_pred, LEAST_PROBABILITY))
        averaged = score - float((mean_pred * (log_mean - log_net)).sum(-1).mean())
    else:
        return None
    return Averaging(
        single_net=score, averaged=averaged, disagreement=float(np.sqrt(variance))
    )


def permuted(y_true: Floats, folds: Ints, seed: int) -> Floats:
    """Give the (N, ...) targets in another order within each fold."""
    rng = np.random.default_rng(seed)
    y_permuted = y_true.copy()
    for _, _, val_idx in each_fold(folds):
        y_permuted[val_idx] = y_true[rng.permutation(val_idx)]
    return y_permuted


def judge_control(scoring: ScoringData, y_pred: Floats) -> Interval:
    """Compare a stack of permuted labels with the constant, which it must not beat.

    Args:
        scoring: What predictions are scored by; its targets are the permuted labels.
        y_pred: (N, ...) out-of-fold predictions of them.

    Returns:
        The gain over the constant, in the unit of the metric.

    Raises:
        UserError: It beats the constant: something leaks.
    """
    y_true = scoring.y_true
    before = constant(scoring).fit.oof_pred
    gain = scoring.objective.gain(y_true, before, y_pred, scoring.groups)
    if gain.low > 0:
        style = style_for(gain.value)
        ends = f"{gain.low:{style}} to {gain.high:{style}}"
        raise UserError(
            f"the control failed: labels permuted within the folds are predicted better"
            f" than by a constant (gain {gain.value:{style}}, 95 %: {ends}), so"
            " something leaks from row to row and no score can be trusted; look for"
            " copies of pictures over folds, and for columns made from the target"
        )
    return gain
