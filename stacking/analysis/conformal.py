"""Conformal intervals and sets that hold for pictures of groups not seen before.

Rows of one group err together, so the quantile of all residuals promises too much: it
counts a group of a hundred photographs as a hundred witnesses. Here each of G groups
has one vote, shared by its rows, and one vote more, for the group to come, lies at
infinity. A picture of a new group, drawn like the G, is then covered with at least the
probability asked for, whatever the errors look like, and with at most 2 / (G + 1) more
unless rows tie.

The setting is that of Dunn, Wasserman and Ramdas, "Distribution-free prediction sets
for two-layer hierarchical models", JASA 118 (2023), arXiv 1809.07441. Their subsampling
draws a row of each group, and needs many draws to lose the luck of one; the weights
1 / ((G + 1) n) for each of a group's n rows are the limit of all draws at once: Lee,
Barber and Willett, "Distribution-free inference with hierarchical data", 2023, arXiv
2306.06342.

The proof asks for residuals of one fixed model. Ours are out-of-fold: each row is
judged by the model that never saw its fold, and a new picture gets the mean of those.
That mean errs less than any one of them, so the intervals tend to be too wide, not too
narrow; no theorem says so.

Shapes: N rows, M new rows, G groups, K classes.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from data_prep.arrays import Bools, Floats
from data_prep.errors import UserError


def conformal_radius(
    residuals: ArrayLike, cv_groups: ArrayLike, coverage: float = 0.9
) -> float:
    """Give how far around a prediction the target is to be expected, in its unit.

    Args:
        residuals: (N,) out-of-fold prediction minus target, or the reverse.
        cv_groups: (N,) what errs together.
        coverage: Share of pictures of new groups whose target is to lie within.

    Returns:
        The radius; infinite if there are too few groups to promise anything, see
        ``least_groups``.

    Raises:
        UserError: The lengths differ, a residual is missing, or the coverage is not
            between 0 and 1.

    Example:
        Nine groups of one row each; 0.9 of nine and the one to come are nine:

        >>> conformal_radius([1, -2, 3, -4, 5, -6, 7, -8, 9], range(9))
        9.0
    """
    return _quantile(np.abs(np.asarray(residuals, np.float64)), cv_groups, coverage)


def conformal_set_threshold(
    proba: ArrayLike,
    class_index: ArrayLike,
    cv_groups: ArrayLike,
    coverage: float = 0.9,
) -> float:
    """Give the least probability with which a class is still to be expected.

    A class belongs to a picture's set if its probability is not below the threshold
    (Sadinle, Lei and Wasserman, JASA 114 (2019): the smallest sets on average).

    Args:
        proba: (N, K) out-of-fold class probabilities.
        class_index: (N,) the true class of each row.
        cv_groups: (N,) what errs together.
        coverage: Share of pictures of new groups whose class is to be in their set.

    Returns:
        The threshold; 0 or less, which holds every class, if there are too few groups
        to promise anything.

    Raises:
        UserError: The lengths differ, a probability is missing, or the coverage is not
            between 0 and 1.
    """
    proba, class_index = np.asarray(proba, np.float64), np.asarray(class_index)
    true_proba = proba[np.arange(len(class_index)), class_index]
    return 1.0 - _quantile(1.0 - true_proba, cv_groups, coverage)


def prediction_sets(proba: ArrayLike, threshold: float) -> Bools:
    """Tell which classes are to be expected of new pictures.

    The likeliest class is always among them: a picture that fits none is not a picture
    of nothing, and a larger set covers no less.

    Args:
        proba: (M, K) class probabilities.
        threshold: Of ``conformal_set_threshold``.

    Returns:
        (M, K), true where the class is in the set of the picture.

    Example:
        >>> prediction_sets([[0.5, 0.3, 0.2], [0.4, 0.3, 0.3]], 0.45).astype(int)
        array([[1, 0, 0],
               [1, 0, 0]])
    """
    proba = np.asarray(proba, np.float64)
    # the threshold is itself a probability that went through 1 - (1 - p)
    sets: Bools = proba >= threshold - 1e-12
    sets[np.arange(len(proba)), proba.argmax(axis=1)] = True
    return sets


def least_groups(coverage: float) -> int:
    """Give how many groups are needed for any promise at all.

    >>> least_groups(0.9), least_groups(0.95)
    (9, 19)
    """
    _check_coverage(coverage)
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def _quantile(scores: Floats, cv_groups: ArrayLike, coverage: float) -> float:
    """Give the least score with enough votes at or below it.

    It is the coverage-quantile of the scores under the weights 1 / ((G + 1) n_g) of a
    row in a group of n_g, with the weight 1 / (G + 1) at infinity.

    Args:
        scores: (N,) how badly each row was predicted.
        cv_groups: (N,) what errs together; its rows share one vote.
        coverage: Share of the G + 1 votes that is enough.
    """
    _check_coverage(coverage)
    names, group_codes = np.unique(np.asarray(cv_groups), return_inverse=True)
    if scores.ndim != 1 or scores.size == 0 or group_codes.size != scores.size:
        raise UserError(
            f"{group_codes.size} groups for residuals of shape {scores.shape}; give one"
            " each"
        )
    if n_missing := int((~np.isfinite(scores)).sum()):
        raise UserError(
            f"{n_missing} of {scores.size} residuals are missing or not finite; leave"
            " those rows out"
        )
    group_codes = group_codes.reshape(scores.size)
    group_sizes = np.bincount(group_codes)
    order = np.argsort(scores, kind="stable")
    # votes at or below each score, in units of 1 / (G + 1)
    votes = np.cumsum(1.0 / group_sizes[group_codes][order])
    # thirds do not add up to one exactly
    is_enough = votes >= coverage * (len(names) + 1) - 1e-9
    if not is_enough[-1]:
        return math.inf
    return float(scores[order][is_enough.argmax()])


def _check_coverage(coverage: float) -> None:
    if not 0 < coverage < 1:
        raise UserError(f"coverage = {coverage}: give a share between 0 and 1")
