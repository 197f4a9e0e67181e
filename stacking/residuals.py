"""Where the predictions fail: by class, by fold, by picture.

Shapes: N rows, K classes.
"""

from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_prep.scores import METRICS, spread_ratio
from stacking.stack import Stacked

N_BANDS = 5  # of a target that has no classes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def nearest_classes(stacked: Stacked) -> Ints:
    """Give the (N,) class nearest to the prediction, or the most probable one."""
    prediction = stacked.final.prediction
    if prediction.ndim == 2:
        probable: Ints = prediction.argmax(axis=1)
        return probable
    distances = np.abs(prediction[:, None] - stacked.scales.class_values())
    nearest: Ints = distances.argmin(axis=1)
    return nearest


def other_scores(stacked: Stacked) -> dict[str, float]:
    """Score the final prediction by what it was not tuned by."""
    rows, prediction = stacked.scales.rows, stacked.final.prediction
    if not stacked.loss.is_squared:
        return {"accuracy": METRICS["accuracy"](rows.class_index, prediction.argmax(1))}
    target = stacked.scales.target()
    found = {
        "mean absolute error": METRICS["mae"](target, prediction),
        "R²": METRICS["r2"](target, prediction),
        "spread of predictions over that of targets": spread_ratio(prediction, target),
    }
    if rows.classes:
        nearest = nearest_classes(stacked)
        for name in ("accuracy", "quadratic_kappa"):
            label = f"{name.replace('_', ' ')} of the nearest class"
            found[label] = METRICS[name](rows.class_index, nearest)
    return found


def misses(stacked: Stacked) -> Floats:
    """Judge each row: its squared error, or its surprise."""
    return stacked.loss.rows(stacked.scales.target(), stacked.final.prediction)


def confusion(stacked: Stacked) -> tuple[Ints, list[str]]:
    """Count (K, K) true by predicted classes; nothing where there are none."""
    rows = stacked.scales.rows
    names = [_short(name) for name in rows.classes]
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    if names:
        np.add.at(counts, (rows.class_index, nearest_classes(stacked)), 1)
    return counts, names


def by_class(stacked: Stacked) -> pd.DataFrame:
    """Score the rows of each class, or of each band of a target without classes."""
    rows = stacked.scales.rows
    if rows.classes:
        names, index = [_short(name) for name in rows.classes], rows.class_index
    else:
        names, index = _bands(rows.target.astype(np.float64))
    target = stacked.scales.target()
    hits = nearest_classes(stacked) == rows.class_index if rows.classes else None
    lines = []
    for number, name in enumerate(names):
        own = index == number
        if own.any():
            share = {} if hits is None else {"nearest class right": hits[own].mean()}
            lines.append({"class": name} | _figures(stacked, target, own) | share)
    label = "class" if rows.classes else "band of the target"
    return pd.DataFrame(lines).rename(columns={"class": label})


def by_fold(stacked: Stacked) -> pd.DataFrame:
    """Score the rows of each fold."""
    rows, target = stacked.scales.rows, stacked.scales.target()
    return pd.DataFrame(
        [
            {"fold": fold} | _figures(stacked, target, rows.folds == fold)
            for fold in range(rows.n_folds)
        ]
    )


def _figures(
    stacked: Stacked, target: Floats, own: NDArray[np.bool_]
) -> dict[str, float | int]:
    prediction = stacked.final.prediction[own]
    found: dict[str, float | int] = {
        "rows": int(own.sum()),
        stacked.loss.title: stacked.loss.score(target[own], prediction),
    }
    if stacked.loss.is_squared:
        errors = prediction - target[own]
        found |= {
            "mean prediction": float(prediction.mean()),
            "bias": float(errors.mean()),
            "mean absolute error": float(np.abs(errors).mean()),
        }
    return found


def spread_sample(target: NDArray[np.generic], n: int) -> Ints:
    """Choose n rows evenly along the target; all where there are fewer."""
    order = np.argsort(target, kind="stable")
    places = np.linspace(0, len(order) - 1, min(n, len(order))).round()
    chosen: Ints = order[places.astype(np.int64)]
    return chosen


def _bands(target: Floats) -> tuple[list[str], Ints]:
    edges = np.unique(np.quantile(target, np.linspace(0, 1, N_BANDS + 1)))
    index = np.clip(np.searchsorted(edges, target, side="right") - 1, 0, len(edges) - 2)
    names = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    return names, index.astype(np.int64)


def _short(name: str) -> str:
    return name.removesuffix(".0")
