"""The end of a prediction: the one way to what is scored, written and served.

What the stack predicts through one net is bent by the postprocessors that bend it (a
blend, a rising curve). Then the nets are averaged, and only the average is rounded to a
class, cut into classes, clipped to the target's range, and, where the metric scores the
nearest class, made that class. A row in cross-validation is seen by one net: its
average is that net's prediction. So every score, file and command holds the same kind
of value.

Averaging what was rounded or cut would give values that no class has and no metric has
scored. The postprocessors that bend stay before the average: the squared error of a
mean of bent predictions is at most the mean of theirs, which was scored; nothing is
known of the bend of a mean.

Where folds are dealt several times, each deal comes to its prediction so, by rules of
its own, and the mean over the deals is clipped and ended: for the scored rows, of which
no model of any deal saw the label, as for those to predict.

Shapes: M rows, K classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_prep.arrays import Floats
from stacking.ensemble.objective import Objective
from stacking.ensemble.postprocessors import Rule, postprocessor_named
from stacking.inputs.target_columns import NetPredictions, TargetColumns

Rules = Sequence[tuple[str, Rule]]  # of the postprocessors that are on, by name


def bend(pred: Floats, net_pred: NetPredictions, rules: Rules) -> Floats:
    """Apply the postprocessors that come before the nets are averaged.

    Args:
        pred: (M, ...) predictions of the stack through one net.
        net_pred: That net's own predictions.
        rules: All that are on, in their order.
    """
    for name, rule in rules:
        processor = postprocessor_named(name)
        if not processor.gives_classes:
            pred = processor.apply(pred, net_pred, rule)
    return pred


def give_classes(pred: Floats, net_pred: NetPredictions, rules: Rules) -> Floats:
    """Apply the postprocessors that come once the nets are averaged.

    Args:
        pred: (M, ...) predictions, averaged over the nets.
        net_pred: The nets' own predictions, averaged.
        rules: All that are on, in their order.
    """
    for name, rule in rules:
        processor = postprocessor_named(name)
        if processor.gives_classes:
            pred = processor.apply(pred, net_pred, rule)
    return pred


def end_prediction(
    pred: Floats, target_columns: TargetColumns, objective: Objective
) -> Floats:
    """End a prediction as it is scored, once nets, and deals, are averaged.

    Args:
        pred: (M,) numbers, or (M, K) probabilities.
        target_columns: Say what the target is.
        objective: What it is scored by.

    Returns:
        (M,) numbers of the target's range, values of classes where the metric scores
        the nearest class; or (M, K) probabilities.
    """
    return objective.as_scored(target_columns.clip(pred))


def labels_of(pred: Floats, classes: ArrayLike) -> NDArray[Any]:
    """Give (M,) numbers as they are, and of probabilities the most probable class.

    Args:
        pred: (M,) or (M, K), ended.
        classes: K names, in the order of the probabilities.
    """
    if pred.ndim == 1:
        return pred
    labels: NDArray[Any] = np.asarray(classes)[pred.argmax(axis=1)]
    return labels
