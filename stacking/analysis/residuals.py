"""Where the predictions fail: by class, by fold, by date, by size of the group.

Shapes: N rows, K classes.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data_prep.scoring.scores import METRICS, Interval, spread_ratio
from data_prep.tables.spelling import DIGITS_SHOWN, number_texts
from stacking.ensemble.objective import OF_NUMBERS, OF_ORDERED, TITLES, nearest_class
from stacking.ensemble.stack import Stacked

N_BANDS = 5  # of a target that has no classes
USUAL_YEARS, MOST_DATES = 10, 24  # width of a band of dates; how many bands
FEWEST = 5  # rows of a band of dates
GROUP_SIZES = ("1", "2", "3-5", "6-10", "more")  # rows of a group
NORMAL = 1.96  # standard errors around a mean that hold it in 95 % of cases

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Banded = tuple[list[str], Ints]  # names, and (N,) which one a row is of; -1: none


@dataclass(frozen=True)
class Part:
    """Some of the rows, and how they are predicted.

    Attributes:
        name: What they have in common.
        rows: How many.
        value: Their mean error (prediction minus target), or for probabilities the
            share whose most probable class is right; with its interval.
        score: Their RMSE (mean absolute error where that is the metric), or log-loss.
    """

    name: str
    rows: int
    value: Interval
    score: float


def parts(stacked: Stacked, banded: Banded, fewest: int = 1) -> list[Part]:
    """Judge the rows of each band; bands of fewer rows than that are left out."""
    names, index = banded
    values, losses = deviations(stacked), misses(stacked)
    is_squared = stacked.objective.is_number and stacked.objective.name != "mae"
    interval = mean_interval if stacked.objective.is_number else share_interval
    found = []
    for number, name in enumerate(names):
        own = index == number
        if own.sum() >= fewest:
            mean = interval(values[own], stacked.features.rows.cv_groups[own])
            loss = float(losses[own].mean())
            score = float(np.sqrt(loss)) if is_squared else loss
            found.append(Part(name, int(own.sum()), mean, score))
    return found


def deviations(stacked: Stacked) -> Floats:
    """Give the (N,) errors, or of probabilities 1 where the class is right, else 0."""
    if stacked.objective.is_number:
        errors: Floats = stacked.final.prediction - stacked.features.target()
        return errors
    is_right = nearest_classes(stacked) == stacked.features.rows.class_index
    shares: Floats = is_right.astype(np.float64)
    return shares


def misses(stacked: Stacked) -> Floats:
    """Judge each row: its squared or absolute error, or its surprise."""
    return stacked.objective.rows(stacked.features.target(), stacked.final.prediction)


def mean_interval(values: Floats, cv_groups: Ints) -> Interval:
    """Give the mean of (n,) values and its 95 % interval, over cv groups.

    The standard error is that of a mean of clustered rows; NaN where there is but one
    cv group.
    """
    mean = float(values.mean())
    members = np.unique(cv_groups, return_inverse=True)[1]
    sums = np.bincount(members, values - mean)
    if len(sums) < 2:
        return Interval(value=mean, low=float("nan"), high=float("nan"))
    scale = len(sums) / (len(sums) - 1)
    error = float(np.sqrt(scale * (sums**2).sum())) / len(values)
    reach = NORMAL * error
    return Interval(value=mean, low=mean - reach, high=mean + reach)


def share_interval(hits: Floats, cv_groups: Ints) -> Interval:
    """Give the share of (n,) hits, 0 or 1, and its interval, likewise."""
    mean = mean_interval(hits, cv_groups)
    low, high = np.clip([mean.low, mean.high], 0, 1)
    return Interval(value=mean.value, low=float(low), high=float(high))


def of_classes(stacked: Stacked) -> Banded:
    """Tell the classes apart, or bands of a target that has none."""
    rows = stacked.features.rows
    if rows.classes:
        return list(rows.classes), rows.class_index
    return bands(rows.target.astype(np.float64), N_BANDS)


def of_folds(stacked: Stacked) -> Banded:
    """Tell the folds apart."""
    rows = stacked.features.rows
    return [f"fold {fold}" for fold in range(rows.n_folds)], rows.folds


def of_sizes(groups: Ints) -> Banded:
    """Give the names of ``GROUP_SIZES``, and the one that each row's group has."""
    members = np.unique(groups, return_inverse=True)[1]
    size = np.bincount(members)[members]
    names = [f"{size} {'row' if size == '1' else 'rows'}" for size in GROUP_SIZES]
    return names, np.searchsorted([1, 2, 5, 10], size).astype(np.int64)


def of_dates(dates: Floats) -> tuple[Banded, Floats]:
    """Tell rows apart by date: by decade where there are not too few or too many.

    Args:
        dates: (N,) years; NaN: none.

    Returns:
        The bands, and the middle of each; no band where there are no two of them.
    """
    nothing: Banded = ([], np.full(len(dates), -1, dtype=np.int64))
    known = dates[np.isfinite(dates)]
    if not len(known):
        return nothing, np.array([])
    first, last = float(known.min()), float(known.max())
    width = USUAL_YEARS
    if last - first < 2 * USUAL_YEARS:
        width = 1 if last - first < MOST_DATES else USUAL_YEARS
    for wider in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        if width < wider and (last - first) / width >= MOST_DATES:
            width = wider
    starts = np.arange(np.floor(first / width) * width, last + 1e-9, width)
    if len(starts) < 2 or len(starts) > 2 * MOST_DATES:
        return nothing, np.array([])
    names = [_years(int(start), width) for start in starts]
    index = np.floor((dates - starts[0]) / width)
    known_index = np.where(np.isfinite(index), index, -1).astype(np.int64)
    return (names, known_index), starts + width / 2


def _years(start: int, width: int) -> str:
    if width == 1:
        return f"{start}"
    return f"{start}s" if width == USUAL_YEARS else f"{start} to {start + width - 1}"


def bands(values: Floats, n: int) -> Banded:
    """Cut (N,) values into n bands of like size; equal values stay together."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, n + 1)))
    if len(edges) < 2:
        return [f"{edges[0]:.4g}"], np.zeros(len(values), dtype=np.int64)
    index = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    texts = number_texts(edges, DIGITS_SHOWN)
    names = [f"{low} to {high}" for low, high in pairwise(texts)]
    return names, index.astype(np.int64)


def nearest_classes(stacked: Stacked) -> Ints:
    """Give the (N,) class nearest to the prediction, or the most probable one."""
    prediction = stacked.final.prediction
    if prediction.ndim == 2:
        probable: Ints = prediction.argmax(axis=1)
        return probable
    return nearest_class(prediction, stacked.features.target_columns.class_values)


def confusion(stacked: Stacked) -> Ints:
    """Count (K, K) true by predicted classes."""
    rows = stacked.features.rows
    counts = np.zeros((len(rows.classes),) * 2, dtype=np.int64)
    np.add.at(counts, (rows.class_index, nearest_classes(stacked)), 1)
    return counts


def other_scores(stacked: Stacked) -> dict[str, float]:
    """Score the final prediction by what it was not tuned by, by name for people."""
    rows, prediction = stacked.features.rows, stacked.final.prediction
    found: dict[str, float] = {}
    if stacked.objective.is_number:
        target = stacked.features.target()
        found = {
            TITLES[name]: METRICS[name](target, prediction)
            for name in OF_NUMBERS
            if name != stacked.objective.name
        }
        spread = spread_ratio(target, prediction)
        found["spread of predictions over that of targets"] = spread
    whose = "nearest" if stacked.objective.is_number else "most probable"
    nearest = nearest_classes(stacked) if rows.classes else None
    names = OF_ORDERED if stacked.objective.is_number else ("accuracy", "macro_f1")
    for name in names:
        if nearest is not None and name != stacked.objective.name:
            label = f"{TITLES[name]} of the {whose} class"
            found[label] = METRICS[name](rows.class_index, nearest)
    return found


def spread_sample(target: NDArray[np.generic], n: int) -> Ints:
    """Choose n rows evenly along the target; all where there are fewer."""
    order = np.argsort(target, kind="stable")
    places = np.linspace(0, len(order) - 1, min(n, len(order))).round()
    chosen: Ints = order[places.astype(np.int64)]
    return chosen
