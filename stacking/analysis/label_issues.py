"""Which labels are probably wrong, by the predictions of nets that never saw them.

Classes by confident learning (Northcutt, Jiang and Chuang 2021, arXiv 1911.00068). A
label is an issue if the picture is confidently of another class: that class is as
probable as it is, on average, for pictures that are labelled so. These thresholds
are what makes it fair to classes that a net is never sure of. Labels are ranked by the
margin between their own probability and that of the best other class.

Numbers by the residual, in robust deviations from the median of all.

Shapes: N rows, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.arrays import Bools, Floats, Ints

FAR = 3.0  # robust deviations; 0.3 % of rows are further off if errors are normal
NORMAL_MAD, NORMAL_MEAN = 1.4826, 1.2533  # the deviation, if errors are normal
Flags = Bools


@dataclass(frozen=True, kw_only=True)
class LabelIssues:
    """How far predictions of one sort contradict the labels.

    Attributes:
        score: (N,) from 0 to 1; above one half, something else is likelier.
        is_issue: (N,) whether the label is probably wrong.
        reasons: N sentences, empty where it is not.
    """

    score: Floats
    is_issue: Flags
    reasons: tuple[str, ...]


def class_issues(
    class_idx: Ints, proba: Floats, class_names: Sequence[str]
) -> LabelIssues:
    """Compare labels that are classes with class probabilities.

    Args:
        class_idx: (N,) class number of each label.
        proba: (N, K) out-of-fold probabilities.
        class_names: K names.
    """
    rows = np.arange(len(class_idx))
    label_proba = proba[rows, class_idx]
    # Threshold of class k: mean probability of k among the rows labelled k. A class
    # that no row is labelled as is never confident.
    thresholds = np.full(len(class_names), np.inf)
    for k in np.unique(class_idx):
        thresholds[k] = label_proba[class_idx == k].mean()
    is_confident_NK = proba >= thresholds
    suggested = np.where(is_confident_NK, proba, -1.0).argmax(axis=1)
    suggested_proba = proba[rows, suggested]
    is_issue = (
        is_confident_NK.any(axis=1)
        & (suggested != class_idx)
        & (suggested_proba > label_proba)
    )
    # Normalised margin, as cleanlab ranks: from 0 (label certain) to 1.
    without_label_NK = proba.copy()
    without_label_NK[rows, class_idx] = -1.0
    score = (1 + without_label_NK.max(axis=1) - label_proba) / 2
    reasons = [
        f"probability of {class_names[suggested[row]]} {suggested_proba[row]:.2f}, of"
        f" the label {class_names[class_idx[row]]} {label_proba[row]:.2f}"
        if is_issue[row]
        else ""
        for row in rows
    ]
    return LabelIssues(score=score, is_issue=is_issue, reasons=tuple(reasons))


def numeric_issues(y_true: Floats, y_pred: Floats) -> LabelIssues:
    """Compare labels that are numbers with predictions.

    The score is one half at ``FAR`` robust deviations.

    Args:
        y_true: (N,) labels.
        y_pred: (N,) out-of-fold predictions, in the same unit.
    """
    residual = y_true - y_pred
    distance = np.abs(residual - np.median(residual))
    scale = NORMAL_MAD * np.median(distance)
    if scale <= 0:  # more than half of the rows are hit exactly, as after rounding
        scale = NORMAL_MEAN * distance.mean()
    deviations = distance / scale if scale > 0 else np.zeros(len(distance))
    is_issue = deviations > FAR
    reasons = [
        f"{deviations[row]:.1f} deviations off" if is_issue[row] else ""
        for row in range(len(deviations))
    ]
    return LabelIssues(
        score=deviations / (deviations + FAR), is_issue=is_issue, reasons=tuple(reasons)
    )


def combine(issues: Sequence[LabelIssues]) -> LabelIssues:
    """Join what several sorts of predictions say of the same rows.

    Returns:
        The larger score, and the reasons of all.
    """
    return LabelIssues(
        score=np.max([source.score for source in issues], axis=0),
        is_issue=np.any([source.is_issue for source in issues], axis=0),
        reasons=tuple(
            "; ".join(filter(None, reasons))
            for reasons in zip(*(source.reasons for source in issues), strict=True)
        ),
    )


def ranking(score: Floats, ids: Sequence[str]) -> Ints:
    """Order (N,) rows: the highest score first, equal ones by id."""
    return np.lexsort((np.array(ids), -score))


def flag_worst(issues: LabelIssues, order: Ints, share: float) -> Flags:
    """Flag the first issues of an order, at most a share of all N rows."""
    n_most = int(share * len(order) + 1e-9)  # 0.29 of 100 is 28.999... in floats
    is_flagged = np.zeros(len(order), dtype=np.bool_)
    is_flagged[order[issues.is_issue[order]][:n_most]] = True
    return is_flagged
