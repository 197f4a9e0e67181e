"""LightGBM for tables of some thousand rows, cross-fitted over the stored folds.

Trees are small, leaves large, steps short, and several seeds are averaged. How many
rounds to boost is read from cross-validation among the other folds, never from the fold
that is scored. Results are the same with any number of threads.

Shapes: N rows, C columns, K classes.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stacking.inner import CrossFit, deal_inner, outer_folds

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SMALL = 1_000_000  # values; measured: two threads gain nothing at 2,500 x 44


@dataclass(frozen=True, kw_only=True)
class Boosting:
    """How to boost.

    Attributes:
        n_classes: 0 for a number.
        n_seeds: Boosters averaged per fold.
        max_rounds: Cap on the rounds.
        patience: Rounds without improvement after which the search ends.
        n_threads: Threads of LightGBM.
    """

    n_classes: int = 0
    n_seeds: int = 3
    max_rounds: int = 2000
    patience: int = 80
    n_threads: int = 1

    def parameters(self, n_rows: int, n_columns: int, seed: int) -> dict[str, Any]:
        """Give LightGBM's parameters for a table of this size."""
        return objective(self.n_classes) | {
            "num_leaves": 8,
            "learning_rate": 0.03,
            "min_data_in_leaf": max(3, min(40, n_rows // 30)),
            "feature_fraction": min(0.4, 160 / n_columns),
            "bagging_fraction": 0.7,
            "bagging_freq": 1,
            "lambda_l2": 5.0,
            "max_bin": 63,
            "deterministic": True,
            "force_row_wise": True,
            "seed": seed,
            "num_threads": self.n_threads,
            "verbosity": -1,
        }


def objective(n_classes: int) -> dict[str, Any]:
    """Give LightGBM's parameters for that many classes; 0 for a number."""
    if n_classes:
        return {"objective": "multiclass", "num_class": n_classes}
    return {"objective": "regression"}


def cross_fit_boosters(
    X: Floats,
    target: Floats,
    folds: Ints,
    clusters: Ints,
    boosting: Boosting,
    names: Sequence[str],
    seed: int = 0,
) -> CrossFit:
    """Cross-fit boosters; each model is the list of the fold's boosters.

    Args:
        X: (N, C) columns.
        target: (N,) numbers, or (N, K) one column per class.
        folds: (N,) fold of each row.
        clusters: (N,) what no inner split tears.
        boosting: How to boost.
        names: C names.
        seed: Seed of the inner splits and of the first booster.
    """
    found = CrossFit.empty(target, folds)
    labels = target.argmax(axis=1) if boosting.n_classes else target
    for fold, rest, held_out in outer_folds(folds):
        parts = deal_inner(target[rest], clusters[rest], seed)
        rounds, inner = find_rounds(X[rest], labels[rest], parts, boosting, seed)
        found.inner[fold, rest] = inner
        boosters = [
            fit_booster(X[rest], labels[rest], boosting, rounds, seed + number, names)
            for number in range(boosting.n_seeds)
        ]
        found.outer[held_out] = predict(boosters, X[held_out])
        found.models.append(boosters)
        found.notes.append({"rounds": rounds})
    return found


def find_rounds(
    X: Floats, labels: Floats | Ints, parts: Ints, boosting: Boosting, seed: int
) -> tuple[int, Floats]:
    """Find the round at which the mean curve of the inner parts is lowest.

    Args:
        X: (N, C) columns.
        labels: (N,) numbers, or class numbers.
        parts: (N,) inner part of each row.
        boosting: How to boost.
        seed: Seed of the boosters.

    Returns:
        The rounds, and the (N, ...) predictions of each part by the others' booster.
    """
    import lightgbm

    boosters = []
    for part in range(parts.max() + 1):
        inside, outside = parts != part, parts == part
        parameters = boosting.parameters(int(inside.sum()), X.shape[1], seed)
        train = lightgbm.Dataset(X[inside], labels[inside], params=parameters)
        booster = lightgbm.Booster(parameters, train)
        held_out = lightgbm.Dataset(
            X[outside], labels[outside], reference=train, params=parameters
        )
        boosters.append(booster.add_valid(held_out, "held out"))
    sizes = np.bincount(parts)
    best, lowest = 1, math.inf
    for number in range(1, boosting.max_rounds + 1):
        errors = []
        for booster in boosters:
            booster.update()
            errors.append(booster.eval_valid()[0][2])
        error = float(np.average(errors, weights=sizes))
        if error < lowest:
            best, lowest = number, error
        elif number - best >= boosting.patience:
            break
    shape = (len(X), boosting.n_classes) if boosting.n_classes else (len(X),)
    predicted = np.empty(shape)
    for part, booster in enumerate(boosters):
        outside = parts == part
        predicted[outside] = booster.predict(
            X[outside], num_iteration=best, num_threads=boosting.n_threads
        )
    return best, predicted


def fit_booster(
    X: Floats,
    labels: Floats | Ints,
    boosting: Boosting,
    rounds: int,
    seed: int,
    names: Sequence[str],
) -> Any:
    """Fit one ``lightgbm.Booster`` with a given number of rounds."""
    import lightgbm

    parameters = boosting.parameters(len(X), X.shape[1], seed)
    train = lightgbm.Dataset(X, labels, feature_name=list(names), params=parameters)
    return lightgbm.train(parameters, train, num_boost_round=rounds)


def predict(boosters: Sequence[Any], X: Floats) -> Floats:
    """Average what the boosters say of (N, C) rows."""
    mean: Floats = np.mean([booster.predict(X) for booster in boosters], axis=0)
    return mean


def gains(boosters: Sequence[Any]) -> Floats:
    """Give the (C,) share of each column in the boosters' total gain."""
    total = np.sum([b.feature_importance("gain") for b in boosters], axis=0)
    shares: Floats = total / max(total.sum(), 1e-300)
    return shares


def threads_for(n_values: int) -> int:
    """Choose the number of threads for a table of so many values.

    A small table is boosted fastest by one: the others would only wait for each other.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if n_values < SMALL:
        return 1
    if asked.isdigit() and int(asked):
        return int(asked)
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
