"""Checks of every run: what averaging nets is worth, and whether anything leaks.

Shapes: N scored rows, M pictures that all nets have in common, K nets.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.reporting.numerals import style_for
from data_prep.scoring.metrics import LEAST_PROBABILITY
from data_prep.scoring.scores import Interval
from stacking.cross_fitting import outer_folds
from stacking.ensemble.members import constant
from stacking.ensemble.objective import Objective

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Averaging:
    """What to expect of the average of the nets, where one was measured.

    Attributes:
        one: The score in cross-validation, by one net per row.
        all: The score to expect of all nets averaged.
        disagreement: Mean deviation of the nets from each other, in the unit of the
            prediction.
    """

    one: float
    all: float
    disagreement: float


def expect_of_averaging(
    by_net: Floats, score: float, objective: Objective
) -> Averaging | None:
    """Predict the score of averaged nets from how far the nets disagree.

    The squared error of a mean is the mean squared error less the variance between
    those that are averaged (Krogh and Vedelsby, NIPS 1994), which needs no label. For
    probabilities the log-loss falls by the mean divergence of the nets from their mean,
    if that mean is calibrated.

    Args:
        by_net: (K, M, ...) predictions of the same pictures through each net.
        score: What one net per row scores.
        objective: What is scored by.

    Returns:
        None where there is one net, no picture, or another metric.
    """
    if len(by_net) < 2 or not by_net.shape[1]:
        return None
    mean = by_net.mean(axis=0)
    spread = float(np.sqrt(by_net.var(axis=0).mean()))
    if objective.name == "rmse":
        left = max(score**2 - float(by_net.var(axis=0).mean()), 0.0)
        return Averaging(score, float(np.sqrt(left)), spread)
    if objective.name == "log_loss":
        logs = np.log(np.maximum(by_net, LEAST_PROBABILITY))
        own = np.log(np.maximum(mean, LEAST_PROBABILITY))
        divergence = float((mean * (own - logs)).sum(axis=-1).mean())
        return Averaging(score, score - divergence, spread)
    return None


def permuted(target: Floats, folds: Ints, seed: int) -> Floats:
    """Give the (N, ...) targets in another order within each fold."""
    rng = np.random.default_rng(seed)
    found = target.copy()
    for _, _, own in outer_folds(folds):
        found[own] = target[rng.permutation(own)]
    return found


def judge_control(
    said: Floats, target: Floats, folds: Ints, cv_groups: Ints, objective: Objective
) -> Interval:
    """Compare a stack of permuted labels with the constant, which it must not beat.

    Args:
        said: (N, ...) out-of-fold predictions of the permuted labels.
        target: (N, ...) permuted labels.
        folds: (N,) fold of each row.
        cv_groups: (N,) what errs together.
        objective: What is scored by.

    Returns:
        The gain over the constant.

    Raises:
        UserError: It beats the constant: something leaks.
    """
    gain = objective.gain(target, constant(target, folds), said, cv_groups)
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
