"""How far predictions of pictures held out doubt the labels: in numbers from 0 to 1.

Classes by confident learning (Northcutt, Jiang and Chuang 2021, arXiv 1911.00068). A
label is doubtful if the picture is confidently of another class: that class is as
probable as it is, on average, for pictures that are labelled so. These thresholds
are what makes it fair to classes that a net is never sure of. Labels are ranked by the
margin between their own probability and that of the best other class.

Numbers by the residual, in robust deviations from the median of all.

Shapes: N rows, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FAR = 3.0  # robust deviations; 0.3 % of rows are further off if errors are normal
NORMAL_MAD, NORMAL_MEAN = 1.4826, 1.2533  # the deviation, if errors are normal
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Doubts:
    """What one view says of the labels.

    Attributes:
        doubt: (N,) from 0 to 1; above one half, something else is likelier.
        is_doubtful: (N,) whether the label is probably wrong.
        reasons: N texts, empty where it is not.
    """

    doubt: Floats
    is_doubtful: Flags
    reasons: tuple[str, ...]


def doubt_classes(
    labels: Ints, probabilities: Floats, classes: Sequence[str]
) -> Doubts:
    """Doubt labels that are classes.

    Args:
        labels: (N,) class numbers.
        probabilities: (N, K) of nets that never saw the row.
        classes: K names.
    """
    rows = np.arange(len(labels))
    own = probabilities[rows, labels]
    thresholds = np.full(len(classes), np.inf)  # of a class that no row is labelled as
    for k in np.unique(labels):
        thresholds[k] = own[labels == k].mean()
    is_confident = probabilities >= thresholds
    guess = np.where(is_confident, probabilities, -1.0).argmax(axis=1)
    said = probabilities[rows, guess]
    is_doubtful = is_confident.any(axis=1) & (guess != labels) & (said > own)
    others = probabilities.copy()
    others[rows, labels] = -1.0
    reasons = [
        f"looks like {classes[guess[row]]} ({said[row]:.2f};"
        f" {classes[labels[row]]}: {own[row]:.2f})"
        if is_doubtful[row]
        else ""
        for row in rows
    ]
    return Doubts((1 + others.max(axis=1) - own) / 2, is_doubtful, tuple(reasons))


def doubt_numbers(target: Floats, prediction: Floats) -> Doubts:
    """Doubt labels that are numbers; the doubt is one half at ``FAR`` deviations.

    Args:
        target: (N,).
        prediction: (N,) of nets that never saw the row.
    """
    residual = target - prediction
    apart = np.abs(residual - np.median(residual))
    scale = NORMAL_MAD * np.median(apart)
    if scale <= 0:  # more than half of the rows are hit exactly, as after a snap
        scale = NORMAL_MEAN * apart.mean()
    far = apart / scale if scale > 0 else np.zeros(len(apart))
    is_doubtful = far > FAR
    reasons = [
        f"{far[row]:.1f} deviations off" if is_doubtful[row] else ""
        for row in range(len(far))
    ]
    return Doubts(far / (far + FAR), is_doubtful, tuple(reasons))


def either(views: Sequence[Doubts]) -> Doubts:
    """Join views of the same rows: the larger doubt, the reasons of all."""
    return Doubts(
        np.max([view.doubt for view in views], axis=0),
        np.any([view.is_doubtful for view in views], axis=0),
        tuple(
            "; ".join(filter(None, reasons))
            for reasons in zip(*(view.reasons for view in views), strict=True)
        ),
    )


def ranking(doubt: Floats, ids: Sequence[str]) -> Ints:
    """Order the rows: the most doubted first, equal ones by id."""
    return np.lexsort((np.array(ids), -doubt))


def flagged(doubts: Doubts, order: Ints, share: float) -> Flags:
    """Choose the most doubted of the doubtful rows, at most a share of all N."""
    n_most = int(share * len(order) + 1e-9)  # 0.29 of 100 is 28.999... in floats
    chosen = order[doubts.is_doubtful[order]][:n_most]
    is_flagged = np.zeros(len(order), dtype=np.bool_)
    is_flagged[chosen] = True
    return is_flagged
