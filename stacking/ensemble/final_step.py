"""The end of a prediction: the one way to what is scored, written and served.

What the stack says through one net is bent by the links that bend it (a mix, a rising
curve). Then the nets are averaged, and only the average is snapped to a class, cut
into classes, clipped to the target's range, and, where the metric judges the nearest
class, made that class. A row in cross-validation is seen by one net: its average is
what that net says. So every score, file and command holds the same kind of value.

Averaging what was snapped or cut would give values that no class has and no metric
has judged. The links that bend stay before the average: the squared error of a mean of
bent predictions is at most the mean of theirs, which was scored; nothing is known of
the bend of a mean.

Shapes: M rows, K classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stacking.ensemble.objective import Objective
from stacking.ensemble.postprocessors import Rule, link_named
from stacking.inputs.target_columns import NetPredictions, TargetColumns

Floats = NDArray[np.float64]
Chosen = Sequence[tuple[str, Rule]]  # links that are on, by name, and their rules


def bend(prediction: Floats, net_pred: NetPredictions, links: Chosen) -> Floats:
    """Apply the links that come before the nets are averaged.

    Args:
        prediction: (M, ...) what the stack says through one net.
        net_pred: What that net says of the rows.
        links: All that are on, in their order.
    """
    for name, rule in links:
        link = link_named(name)
        if not link.gives_classes:
            prediction = link.apply(prediction, net_pred, rule)
    return prediction


def end_prediction(
    prediction: Floats,
    target_columns: TargetColumns,
    objective: Objective,
    links: Chosen = (),
    net_pred: NetPredictions | None = None,
) -> Floats:
    """End a prediction as it is scored, once the nets are averaged.

    Args:
        prediction: (M,) numbers, or (M, K) probabilities.
        target_columns: What the target is.
        objective: What it is scored by.
        links: Those that are on and not applied yet; the ones that bend are passed
            over, because they come before the average.
        net_pred: What the nets say of the rows, averaged; needed by a link alone.

    Returns:
        (M,) numbers of the target's range, values of classes where the metric judges
        the nearest class; or (M, K) probabilities.
    """
    for name, rule in links:
        link = link_named(name)
        if link.gives_classes:
            assert net_pred is not None
            prediction = link.apply(prediction, net_pred, rule)
    return objective.as_scored(target_columns.clip(prediction))


def labels_of(prediction: Floats, classes: ArrayLike) -> NDArray[Any]:
    """Give numbers as they are, and of probabilities the most probable class.

    Args:
        prediction: (M,) or (M, K), ended.
        classes: K names, in the order of the probabilities.
    """
    if prediction.ndim == 1:
        return prediction
    chosen: NDArray[Any] = np.asarray(classes)[prediction.argmax(axis=1)]
    return chosen
