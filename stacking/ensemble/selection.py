"""Weighted means of models by greedy selection.

Source: Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of
models", ICML 2004: begin with the best model, then again and again add the one that
helps the mean most, with replacement. A model's weight is how often it was picked, so
weights are positive, add up to 1, and those of useless models are 0.

Shapes: M members, N rows, K classes.
"""

from collections.abc import Mapping

import numpy as np

from data_prep.arrays import Floats
from data_prep.tables.units import Unit
from stacking.cross_fitting import CrossFit
from stacking.ensemble.objective import Objective, ScoringData

N_PICKS = 40  # so a weight is a multiple of 1/40, or of what the best shorter list has
ALIKE = 12  # decimals of a mean loss: beyond them two members are equally good
LEAST_GAIN = 1e-9  # of a mean loss, for which a longer list is taken


def select(member_pred: Floats, y_true: Floats, objective: Objective) -> Floats:
    """Find the (M,) weights of the members; of equals, the first is picked.

    Args:
        member_pred: (M, N, ...) predictions.
        y_true: (N, ...) targets.
        objective: Gives the loss of a row.
    """
    n_members = len(member_pred)
    if objective.is_number:  # so that what counts as equal does not depend on the unit
        unit = Unit.of(y_true)
        member_pred, y_true = unit.standardise(member_pred), unit.standardise(y_true)
    # The error of a weighted mean is the weighted mean of the errors e_m, so its mean
    # square is w' G w with G = e e' / N. The M x M matrix G serves all the picks.
    gram_MM = None
    if objective.is_number and objective.name != "mae":
        errors_MN = member_pred - y_true
        gram_MM = errors_MN @ errors_MN.T / errors_MN.shape[1]
    picks = np.zeros(n_members)  # how often each was picked
    total = np.zeros_like(member_pred[0])  # sum of the picked predictions
    lowest, best_weights = np.inf, picks
    for n_picked in range(1, N_PICKS + 1):
        mean_losses = []
        for member in range(n_members):
            if gram_MM is not None:
                with_it = picks.copy()
                with_it[member] += 1
                mean_losses.append(with_it @ gram_MM @ with_it / n_picked**2)
            else:
                mean = (total + member_pred[member]) / n_picked
                mean_losses.append(objective.row_losses(y_true, mean).mean())
        best = int(np.argmin(np.round(mean_losses, ALIKE)))
        picks[best] += 1
        total += member_pred[best]
        if mean_losses[best] < lowest - LEAST_GAIN:
            lowest, best_weights = mean_losses[best], picks / n_picked
    return best_weights


def weighted(weights: Mapping[str, float], pred: Mapping[str, Floats]) -> Floats:
    """Give the (N, ...) mean of the members' predictions, by their weights."""
    parts = [weight * pred[name] for name, weight in weights.items() if weight]
    mean: Floats = np.sum(parts, axis=0)
    return mean


def cross_select(
    members: Mapping[str, CrossFit], scoring: ScoringData
) -> tuple[CrossFit, dict[str, float], Floats]:
    """Select weights, nested: those for a fold on inner predictions of the others.

    Args:
        members: What is weighted.
        scoring: What they are scored by.

    Returns:
        The weighted mean as a cross-fit, with the weights of each fold as its metadata;
        the weights selected on all rows; and (N, ...) what those give, apparent.
    """
    names, y_true, objective = list(members), scoring.y_true, scoring.objective
    oof_MN = np.stack([member.oof_pred for member in members.values()])
    nested = CrossFit.empty(y_true, scoring.folds)
    for fold, train_idx, val_idx in scoring.each_fold():
        inner_Mn = np.stack(
            [member.inner(fold, train_idx) for member in members.values()]
        )
        weights = select(inner_Mn, y_true[train_idx], objective)
        nested.inner_oof[fold, train_idx] = np.tensordot(weights, inner_Mn, 1)
        nested.oof_pred[val_idx] = np.tensordot(weights, oof_MN[:, val_idx], 1)
        nested.metadata.append(dict(zip(names, weights.tolist(), strict=True)))
    weights = select(oof_MN, y_true, objective)
    by_name = dict(zip(names, weights.tolist(), strict=True))
    return nested, by_name, np.tensordot(weights, oof_MN, 1)
