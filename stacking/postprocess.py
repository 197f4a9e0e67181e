"""Post-processing: blend the members, then snap sure rows to their class.

Blending weighs the members (the boosters, the ridge, the net's own prediction, the
expected value of the class probabilities) on a grid of the simplex. Snapping gives a
row its most probable class where the net is sure enough of it.

What is tuned is scored nested: the rules for fold k are chosen on the inner predictions
of the other folds, which no label of fold k touched. A step that does not pay, that is
whose nested gain has an interval that reaches zero, is off.

Shapes: N rows, F folds, M members, K classes, W weightings, T thresholds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from data_prep.scores import Interval
from stacking.inner import CrossFit, outer_folds
from stacking.losses import Loss

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GRID_STEPS = 20  # of a weight: 0.05 each
THRESHOLDS = np.round(np.arange(0.40, 1.0, 0.01), 2)


@dataclass(frozen=True)
class Sureness:
    """How sure the net is of the class of each row.

    Attributes:
        top: (N,) largest class probability.
        value: (N,) value of that class.
    """

    top: Floats
    value: Floats

    @classmethod
    def of(cls, probabilities: Floats, class_values: Floats) -> "Sureness":
        """Read it from (N, K) probabilities; the first of equals is taken."""
        best = probabilities.argmax(axis=1)
        return cls(probabilities[np.arange(len(best)), best], class_values[best])


@dataclass(frozen=True)
class Step:
    """One step of the post-processing, tuned and judged.

    Attributes:
        name: ``"blend"`` or ``"snap"``.
        nested: (N, ...) predictions with rules chosen without the row's fold.
        apparent: (N, ...) predictions with rules chosen on the rows themselves.
        gain: How much the nested score improves on the step before.
        is_on: Whether it pays.
        rule: What was chosen on all rows: weights by member, or the threshold.
        rules: F rules, of the nested predictions.
    """

    name: str
    nested: Floats
    apparent: Floats
    gain: Interval
    is_on: bool
    rule: dict[str, float]
    rules: list[dict[str, float]] = field(default_factory=list)


@lru_cache
def simplex(n_members: int, n_steps: int = GRID_STEPS) -> Floats:
    """List all weightings on a grid, those that favour the first member first.

    >>> simplex(2, 2).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """

    def parts(total: int, n_left: int) -> list[tuple[int, ...]]:
        if n_left == 1:
            return [(total,)]
        return [
            (first, *rest)
            for first in range(total, -1, -1)
            for rest in parts(total - first, n_left - 1)
        ]

    return np.array(parts(n_steps, n_members), dtype=np.float64) / n_steps


def best_weights(members: Floats, target: Floats, loss: Loss) -> Floats:
    """Find the weighting with the least mean loss; the first of equals.

    Args:
        members: (M, N, ...) predictions.
        target: (N, ...) what they should be.
        loss: How a row is judged.
    """
    weights = simplex(len(members))
    if loss.is_squared:  # the mean square of a weighted error is a form in the weights
        errors = members - target
        products = errors @ errors.T / errors.shape[1]
        losses = np.einsum("wm,mn,wn->w", weights, products, weights)
    else:
        losses = np.array(
            [loss.rows(target, np.tensordot(one, members, 1)).mean() for one in weights]
        )
    chosen: Floats = weights[int(np.argmin(np.round(losses, 12)))]
    return chosen


def best_threshold(
    prediction: Floats, sure: Sureness, target: Floats, clusters: Ints
) -> float:
    """Find the middle of the plateau of thresholds that are as good as the best.

    A threshold is as good if its mean loss is within one standard error of the least,
    that of their difference over clusters; the plateau is the run of such thresholds
    around the best.

    Args:
        prediction: (N,) before snapping.
        sure: How sure the net is, and of what.
        target: (N,) numbers.
        clusters: (N,) what errs together.
    """
    kept, snapped = (prediction - target) ** 2, (sure.value - target) ** 2
    members = np.unique(clusters, return_inverse=True)[1]
    is_snapped = sure.top[:, None] >= THRESHOLDS  # (N, T)
    changes = np.where(is_snapped, (snapped - kept)[:, None], 0.0)
    best = int(changes.mean(axis=0).argmin())
    differences = np.zeros((members.max() + 1, len(THRESHOLDS)))
    np.add.at(differences, members, changes - changes[:, [best]])
    errors = differences.std(axis=0) * np.sqrt(len(differences))
    is_level = differences.sum(axis=0) <= errors
    first = last = best
    while first > 0 and is_level[first - 1]:
        first -= 1
    while last + 1 < len(THRESHOLDS) and is_level[last + 1]:
        last += 1
    return float(THRESHOLDS[(first + last) // 2])


def snapped(prediction: Floats, sure: Sureness, threshold: float) -> Floats:
    """Give sure rows the value of their class."""
    return np.where(sure.top >= threshold, sure.value, prediction)


def blend_step(
    members: Mapping[str, CrossFit],
    target: Floats,
    folds: Ints,
    clusters: Ints,
    loss: Loss,
) -> Step:
    """Tune the weights of the members; the first is what the blend is measured by."""
    names = list(members)
    outer = np.stack([member.outer for member in members.values()])
    inner = np.stack([member.inner for member in members.values()])  # (M, F, N, ...)
    nested, rules = np.empty_like(outer[0]), []
    for fold, rest, held_out in outer_folds(folds):
        weights = best_weights(inner[:, fold, rest], target[rest], loss)
        nested[held_out] = np.tensordot(weights, outer[:, held_out], 1)
        rules.append(dict(zip(names, weights.tolist(), strict=True)))
    weights = best_weights(outer, target, loss)
    return _judged(
        "blend",
        before=outer[0],
        nested=nested,
        apparent=np.tensordot(weights, outer, 1),
        rule=dict(zip(names, weights.tolist(), strict=True)),
        rules=rules,
        judge=(target, clusters, loss),
    )


def snap_step(
    before: CrossFit,
    apparent: Floats,
    sure: Sureness,
    target: Floats,
    folds: Ints,
    clusters: Ints,
    loss: Loss,
) -> Step:
    """Tune the threshold of snapping.

    Args:
        before: The nested predictions to be snapped.
        apparent: (N,) those that the final rules give, which the final threshold is
            tuned on.
        sure: How sure the nets are, and of what.
        target: (N,) numbers.
        folds: (N,) fold of each row.
        clusters: (N,) what errs together.
        loss: How it is judged.
    """
    nested = np.empty_like(before.outer)
    rules = []
    for fold, rest, held_out in outer_folds(folds):
        threshold = best_threshold(
            before.inner[fold, rest], _part(sure, rest), target[rest], clusters[rest]
        )
        nested[held_out] = snapped(
            before.outer[held_out], _part(sure, held_out), threshold
        )
        rules.append({"threshold": threshold})
    threshold = best_threshold(apparent, sure, target, clusters)
    return _judged(
        "snap",
        before=before.outer,
        nested=nested,
        apparent=snapped(apparent, sure, threshold),
        rule={"threshold": threshold},
        rules=rules,
        judge=(target, clusters, loss),
    )


def after_blend(step: Step, members: Mapping[str, CrossFit], folds: Ints) -> CrossFit:
    """Give the blended predictions, nested, as a member for the next step."""
    if not step.is_on:
        return next(iter(members.values()))
    inner = np.stack([member.inner for member in members.values()])
    blended = np.full_like(inner[0], np.nan)
    for fold, rest, _ in outer_folds(folds):
        weights = [*step.rules[fold].values()]
        blended[fold, rest] = np.tensordot(weights, inner[:, fold, rest], 1)
    return CrossFit(step.nested, blended)


def _part(sure: Sureness, rows: Ints) -> Sureness:
    return Sureness(sure.top[rows], sure.value[rows])


def _judged(
    name: str,
    before: Floats,
    nested: Floats,
    apparent: Floats,
    rule: dict[str, float],
    rules: list[dict[str, float]],
    judge: tuple[Floats, Ints, Loss],
) -> Step:
    target, clusters, loss = judge
    gain = loss.gain(target, before, nested, clusters)
    return Step(name, nested, apparent, gain, gain.low > 0, rule, rules)
