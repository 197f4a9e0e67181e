"""Where the predictions fail: by class, by fold, by date, by size of the group.

Shapes: N rows, K classes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Bools, Floats, Ints
from data_prep.scoring.metrics import METRICS
from data_prep.scoring.scores import Interval, spread_ratio
from data_prep.tables.spelling import DIGITS_SHOWN, number_texts
from stacking.ensemble.objective import OF_NUMBERS, OF_ORDERED, TITLES, nearest_class
from stacking.ensemble.stack import Stacked

N_BANDS = 5  # of a target that has no classes
USUAL_YEARS, MOST_DATES = 10, 24  # width of a band of dates; how many bands
MIN_ROWS = 5  # rows of a band of dates
GROUP_SIZES = ("1", "2", "3-5", "6-10", "more")  # rows of a group, or pictures
NORMAL = 1.96  # standard errors around a mean that hold it in 95 % of cases

Bands = tuple[list[str], Ints]  # names, and (N,) which one a row is of; -1: none


@dataclass(frozen=True, kw_only=True)
class Subgroup:
    """Some of the rows, and how they are predicted.

    Attributes:
        name: What they have in common.
        n_rows: Number of rows.
        value: Mean error (prediction minus target) in the unit of the target, or for
            probabilities the share whose most probable class is right, from 0 to 1;
            with its 95 % interval over cv groups.
        score: RMSE in the unit of the target (mean absolute error where that is the
            metric), or log-loss in nats.
    """

    name: str
    n_rows: int
    value: Interval
    score: float


def subgroups(stacked: Stacked, bands: Bands, min_rows: int = 1) -> list[Subgroup]:
    """Score the rows of each band; bands of fewer rows than that are left out."""
    names, band_idx = bands
    masks = [(name, band_idx == number) for number, name in enumerate(names)]
    return subgroups_of_masks(stacked, masks, min_rows)


def subgroups_of_masks(
    stacked: Stacked, masks: Iterable[tuple[str, Bools]], min_rows: int = 1
) -> list[Subgroup]:
    """Score the rows of each mask; a row may be in several.

    Args:
        stacked: The result of the stack.
        masks: A name, and (N,) which rows it is of.
        min_rows: Names of fewer rows are left out.
    """
    values, losses = errors_or_hits(stacked), row_losses(stacked)
    is_squared = stacked.objective.is_number and stacked.objective.name != "mae"
    interval = mean_interval if stacked.objective.is_number else share_interval
    scored = []
    for name, mask in masks:
        if mask.sum() < min_rows:
            continue
        loss = float(losses[mask].mean())
        scored.append(
            Subgroup(
                name=name,
                n_rows=int(mask.sum()),
                value=interval(values[mask], stacked.data.rows.groups[mask]),
                score=float(np.sqrt(loss)) if is_squared else loss,
            )
        )
    return scored


def errors_or_hits(stacked: Stacked) -> Floats:
    """Give the (N,) errors, or of probabilities 1 where the class is right, else 0."""
    if stacked.objective.is_number:
        errors: Floats = stacked.final.prediction - stacked.data.rows.y
        return errors
    is_right = nearest_classes(stacked) == stacked.data.info.class_index
    return np.asarray(is_right, dtype=np.float64)


def row_losses(stacked: Stacked) -> Floats:
    """Give the (N,) squared or absolute errors, or negative log-likelihoods."""
    return stacked.objective.row_losses(stacked.data.rows.y, stacked.final.prediction)


def mean_interval(values: Floats, cv_groups: Ints) -> Interval:
    """Give the mean of (n,) values and its 95 % interval, in their unit.

    Rows of one cv group err together, so the standard error is cluster-robust: of G
    groups with sums s_g of the deviations from the mean, it is
    sqrt(G / (G - 1) sum s_g^2) / n. NaN where there is but one group.
    """
    mean = float(values.mean())
    group_codes = np.unique(cv_groups, return_inverse=True)[1]
    group_sums = np.bincount(group_codes, values - mean)
    n_groups = len(group_sums)
    if n_groups < 2:
        return Interval(value=mean, low=float("nan"), high=float("nan"))
    scale = n_groups / (n_groups - 1)
    standard_error = float(np.sqrt(scale * (group_sums**2).sum())) / len(values)
    reach = NORMAL * standard_error
    return Interval(value=mean, low=mean - reach, high=mean + reach)


def share_interval(hits: Floats, cv_groups: Ints) -> Interval:
    """Give the mean of (n,) hits, 0 or 1, and its interval, cut to 0 and 1."""
    mean = mean_interval(hits, cv_groups)
    low, high = np.clip([mean.low, mean.high], 0, 1)
    return Interval(value=mean.value, low=float(low), high=float(high))


def of_classes(stacked: Stacked) -> Bands:
    """Tell the classes apart, or bands of a target that has none."""
    data = stacked.data
    if data.classes:
        return list(data.classes), data.info.class_index
    return quantile_bands(data.info.target.astype(np.float64), N_BANDS)


def of_folds(stacked: Stacked) -> Bands:
    """Give the names of the folds, and the (N,) fold of each row."""
    data = stacked.data
    return [f"fold {fold}" for fold in range(data.rows.n_folds)], data.rows.folds


def of_sizes(groups: Ints) -> Bands:
    """Give the names of ``GROUP_SIZES``, and the one that each row's group has."""
    group_codes = np.unique(groups, return_inverse=True)[1]
    size = np.bincount(group_codes)[group_codes]
    return _bands_of_counts(size, "row")


def of_pictures(n_pictures: Ints) -> Bands:
    """Give the names of bands, and the one that each object's (N,) pictures are in."""
    return _bands_of_counts(n_pictures, "picture")


def _bands_of_counts(counts: Ints, noun: str) -> Bands:
    names = [f"{size} {noun}{'' if size == '1' else 's'}" for size in GROUP_SIZES]
    return names, np.searchsorted([1, 2, 5, 10], counts).astype(np.int64)


def of_dates(dates: Floats) -> tuple[Bands, Floats]:
    """Tell rows apart by date: by decade where there are not too few or too many.

    Args:
        dates: (N,) years; NaN: none.

    Returns:
        The bands, and the middle of each in years; no band where there are no two.
    """
    no_bands: Bands = ([], np.full(len(dates), -1, dtype=np.int64))
    years = dates[np.isfinite(dates)]
    if not len(years):
        return no_bands, np.array([])
    first, last = float(years.min()), float(years.max())
    width = USUAL_YEARS
    if last - first < 2 * USUAL_YEARS:
        width = 1 if last - first < MOST_DATES else USUAL_YEARS
    for wider in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        if width < wider and (last - first) / width >= MOST_DATES:
            width = wider
    starts = np.arange(np.floor(first / width) * width, last + 1e-9, width)
    if len(starts) < 2 or len(starts) > 2 * MOST_DATES:
        return no_bands, np.array([])
    names = [_years(int(start), width) for start in starts]
    band_idx = np.floor((dates - starts[0]) / width)
    band_idx = np.where(np.isfinite(band_idx), band_idx, -1)
    return (names, band_idx.astype(np.int64)), starts + width / 2


def _years(start: int, width: int) -> str:
    if width == 1:
        return f"{start}"
    return f"{start}s" if width == USUAL_YEARS else f"{start} to {start + width - 1}"


def quantile_bands(values: Floats, n: int) -> Bands:
    """Cut (N,) values into n bands of like size; equal values stay together."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, n + 1)))
    if len(edges) < 2:
        return [f"{edges[0]:.4g}"], np.zeros(len(values), dtype=np.int64)
    # side="right" puts a value that is an edge into the band above; the greatest value
    # would then have a band of its own, hence the clip
    band_idx = np.searchsorted(edges, values, side="right") - 1
    band_idx = np.clip(band_idx, 0, len(edges) - 2).astype(np.int64)
    edge_texts = number_texts(edges, DIGITS_SHOWN)
    return [f"{low} to {high}" for low, high in pairwise(edge_texts)], band_idx


def nearest_classes(stacked: Stacked) -> Ints:
    """Give the (N,) class nearest to the prediction, or the most probable one."""
    prediction = stacked.final.prediction
    if prediction.ndim == 2:
        probable: Ints = prediction.argmax(axis=1)
        return probable
    return nearest_class(prediction, stacked.features.target_columns.class_values)


def confusion_counts(true: Ints, answers: Ints, n_classes: int) -> Ints:
    """Count (K, K) true by predicted classes, of (N,) rows."""
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(counts, (true, answers), 1)
    return counts


def other_scores(stacked: Stacked) -> dict[str, float]:
    """Score the final prediction by what it was not tuned by, by name for people."""
    data, prediction = stacked.data, stacked.final.prediction
    is_number = stacked.objective.is_number
    scores: dict[str, float] = {}
    if is_number:
        target = stacked.data.rows.y
        scores = {
            TITLES[name]: METRICS[name](target, prediction)
            for name in OF_NUMBERS
            if name != stacked.objective.name
        }
        ratio = spread_ratio(target, prediction)
        scores["spread of predictions over that of targets"] = ratio
    if data.classes:
        nearest = nearest_classes(stacked)
        chosen = "nearest" if is_number else "most probable"
        # the accuracy stands in a sentence, beside the most frequent class
        for name in OF_ORDERED if is_number else ("macro_f1",):
            if name not in ("accuracy", stacked.objective.name):
                label = f"{TITLES[name]} of the {chosen} class"
                scores[label] = METRICS[name](data.info.class_index, nearest)
    return scores


def spread_sample(target: NDArray[np.generic], n: int) -> Ints:
    """Choose (n,) indices of rows evenly along the target; all if there are fewer."""
    order = np.argsort(target, kind="stable")
    ranks = np.linspace(0, len(order) - 1, min(n, len(order))).round()
    return np.asarray(order[ranks.astype(np.int64)])
