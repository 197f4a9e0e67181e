"""Weighted means of models by greedy selection.

Source: Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of
models", ICML 2004: begin with the best model, then again and again add the one that
helps the mean most, with replacement. A model's weight is how often it was picked, so
weights are positive, add up to 1, and those of useless models are 0.

Shapes: M members, N rows, K classes.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from data_prep.tables.units import Unit
from stacking.cross_fitting import CrossFit, outer_folds
from stacking.ensemble.objective import Objective

N_PICKS = 40  # so a weight is a multiple of 1/40, or of what the best shorter list has

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def select(members: Floats, target: Floats, objective: Objective) -> Floats:
    """Find the (M,) weights of the members; of equals, the first is picked.

    Args:
        members: (M, N, ...) predictions.
        target: (N, ...) what they should be.
        objective: How a row is judged.
    """
    n_members = len(members)
    if objective.is_number:  # so that what counts as equal does not depend on the unit
        unit = Unit.of(target)
        members, target = unit.standardise(members), unit.standardise(target)
    errors = members - target
    # The mean square of a weighted error is a form in the weights.
    is_form = objective.is_number and objective.name != "mae"
    products = errors @ errors.T / errors.shape[1] if is_form else None
    counts = np.zeros(n_members)
    total = np.zeros_like(members[0])
    lowest, chosen = np.inf, counts
    for n_picked in range(1, N_PICKS + 1):
        tried = []
        for member in range(n_members):
            if products is not None:
                weights = counts.copy()
                weights[member] += 1
                tried.append(weights @ products @ weights / n_picked**2)
            else:
                mean = (total + members[member]) / n_picked
                tried.append(objective.rows(target, mean).mean())
        best = int(np.argmin(np.round(tried, 12)))
        counts[best] += 1
        total += members[best]
        if tried[best] < lowest - 1e-9:
            lowest, chosen = tried[best], counts / n_picked
    return chosen


def weighted(weights: Mapping[str, float], said: Mapping[str, Floats]) -> Floats:
    """Give the mean of what the members say, by their weights."""
    parts = [weight * said[name] for name, weight in weights.items() if weight]
    mean: Floats = np.sum(parts, axis=0)
    return mean


def cross_select(
    members: Mapping[str, CrossFit], target: Floats, folds: Ints, objective: Objective
) -> tuple[CrossFit, dict[str, float], Floats]:
    """Select weights, nested: those for a fold on inner predictions of the others.

    Args:
        members: What is weighted.
        target: (N, ...).
        folds: (N,) fold of each row.
        objective: How a row is judged.

    Returns:
        The weighted mean as a cross-fit, with the weights of each fold as its metadata;
        the weights selected on all rows; and (N, ...) what those give, apparent.
    """
    names = list(members)
    outer = np.stack([member.oof_pred for member in members.values()])
    found = CrossFit.empty(target, folds)
    for fold, rest, held_out in outer_folds(folds):
        inner = np.stack([member.inner_oof[fold, rest] for member in members.values()])
        weights = select(inner, target[rest], objective)
        found.inner_oof[fold, rest] = np.tensordot(weights, inner, 1)
        found.oof_pred[held_out] = np.tensordot(weights, outer[:, held_out], 1)
        found.metadata.append(dict(zip(names, weights.tolist(), strict=True)))
    weights = select(outer, target, objective)
    chosen = dict(zip(names, weights.tolist(), strict=True))
    return found, chosen, np.tensordot(weights, outer, 1)
