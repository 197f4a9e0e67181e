"""Scores of predictions, by fold and as a whole, with intervals over groups.

A metric is a sum over the rows and what is made of that sum: ``rmse`` sums the squared
errors. So the score of a bootstrap draw needs only the sums of its groups, and
thousands of draws take one matrix product.

The intervals resample whole groups, because rows of one group (the photographs of one
coin) err together; resampled singly they would promise too much. They are percentile
intervals, and too narrow when groups are few: measured with errors that are mostly the
group's, those of 95 % held the true RMSE in 81 % of cases with 10 groups, 88 % with 20,
90 % with 80, 92 % with 160.

Shapes: N rows, G groups, D draws, T terms of a metric.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_prep.errors import UserError

Floats = NDArray[np.float64]
Score = Callable[[NDArray[Any], NDArray[Any]], float]
_DRAWS_AT_ONCE = 250


@dataclass(frozen=True)
class Metric:
    """A score of predictions against targets; call it with both.

    Attributes:
        higher_is_better: Its direction.
        terms: Of (N,) targets and predictions, (N, T) what is summed over the rows; the
            first term is 1.
        of_sums: Of (..., T) sums, the (...) scores; NaN where it is not defined.
    """

    higher_is_better: bool
    terms: Callable[[NDArray[Any], NDArray[Any]], Floats]
    of_sums: Callable[[Floats], Floats]

    def __call__(self, target: ArrayLike, prediction: ArrayLike) -> float:
        """Score (N,) predictions.

        Raises:
            UserError: There are no rows, the lengths differ, or a value is missing.
        """
        rows = _checked(target, prediction)
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(self.of_sums(self.terms(*rows).sum(axis=0)))


def _errors(power: int) -> Callable[[NDArray[Any], NDArray[Any]], Floats]:
    def terms(target: NDArray[Any], prediction: NDArray[Any]) -> Floats:
        return _stacked(np.abs(prediction - target) ** power)

    return terms


def _hits(target: NDArray[Any], prediction: NDArray[Any]) -> Floats:
    return _stacked(target == prediction)


def _spreads(target: NDArray[Any], prediction: NDArray[Any]) -> Floats:
    centred = target - np.median(target)  # years squared would lose their last digits
    return _stacked(centred, centred**2, (prediction - target) ** 2)


def _determination(sums: Floats) -> Floats:
    n, total, squares, errors = np.moveaxis(sums, -1, 0)
    spread = squares - total**2 / n
    # Rounding leaves a little spread where all targets are equal.
    spread = np.where(spread > 1e-12 * squares, spread, np.nan)
    return np.asarray(1 - errors / spread)


def _ranks(target: NDArray[Any], prediction: NDArray[Any]) -> Floats:
    ranks = np.unique(np.concatenate([target, prediction]), return_inverse=True)[1]
    a, b = ranks.reshape(2, len(target)).astype(np.float64)
    return _stacked(a, b, a**2 + b**2, (a - b) ** 2)


def _agreement(sums: Floats) -> Floats:
    n, a, b, squares, errors = np.moveaxis(sums, -1, 0)
    by_chance = squares - 2 * a * b / n
    return np.asarray(1 - errors / np.where(by_chance > 0, by_chance, np.nan))


def _mean(sums: Floats) -> Floats:
    return np.asarray(sums[..., 1] / sums[..., 0])


def _root_mean(sums: Floats) -> Floats:
    return np.sqrt(_mean(sums))


# quadratic_kappa counts the distance of two classes in places of their common order, as
# scikit-learn does: of the values 1, 2, 5 the last two are as far apart as the first.
METRICS = {
    "rmse": Metric(False, _errors(2), _root_mean),
    "mae": Metric(False, _errors(1), _mean),
    "r2": Metric(True, _spreads, _determination),
    "accuracy": Metric(True, _hits, _mean),
    "quadratic_kappa": Metric(True, _ranks, _agreement),
}


@dataclass(frozen=True)
class Interval:
    """A score, or a difference of two, and the 95 % interval around it."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference counts."""
        return self.low > 0 or self.high < 0


def group_bootstrap(
    metric: Metric | Score,
    target: ArrayLike,
    prediction: ArrayLike,
    groups: ArrayLike,
    *,
    n_draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Give the interval of a score over draws of whole groups, with replacement.

    Args:
        metric: One of ``METRICS``, or a function of targets and predictions (slower).
        target: (N,).
        prediction: (N,).
        groups: (N,) what errs together; every row its own if nothing does.
        n_draws: D, the number of draws.
        seed: Seed of the draws.

    Raises:
        UserError: There are fewer than two groups, or the rows cannot be scored.
    """
    target, prediction = _checked(target, prediction)
    members = _members(groups, len(target))
    drawn = _drawn_scores(metric, target, prediction, members, n_draws, seed)
    return _interval(float(metric(target, prediction)), drawn)


def paired_bootstrap(
    metric: Metric | Score,
    target: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike,
    *,
    n_draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Give the interval of ``score(first) - score(second)`` over the same draws.

    Both are scored on the same groups in each draw, so that what makes a draw hard for
    both cancels. The arguments are those of ``group_bootstrap``.

    Raises:
        UserError: There are fewer than two groups, or the rows cannot be scored.
    """
    target, first = _checked(target, first)
    target, second = _checked(target, second)
    members = _members(groups, len(target))
    differences = _drawn_scores(metric, target, first, members, n_draws, seed)
    differences -= _drawn_scores(metric, target, second, members, n_draws, seed)
    return _interval(float(metric(target, first) - metric(target, second)), differences)


@dataclass(frozen=True)
class FoldScores:
    """The score of all validated rows at once, by fold, and the mean of the folds."""

    pooled: float
    mean: float
    by_fold: dict[int, float]


def per_fold(
    metric: Metric | Score, target: ArrayLike, prediction: ArrayLike, folds: ArrayLike
) -> FoldScores:
    """Score the rows of each fold and all together.

    Args:
        metric: One of ``METRICS``, or a function of targets and predictions.
        target: (N,).
        prediction: (N,).
        folds: (N,) rows of fold -1 are not validated and left out.

    Raises:
        UserError: No row has a fold, or the rows cannot be scored.
    """
    folds = np.asarray(folds)
    is_scored = folds >= 0
    target, prediction = (np.asarray(rows)[is_scored] for rows in (target, prediction))
    target, prediction = _checked(target, prediction)
    folds = folds[is_scored]
    by_fold = {
        int(fold): float(metric(target[folds == fold], prediction[folds == fold]))
        for fold in np.unique(folds)
    }
    mean = float(np.mean([*by_fold.values()]))
    return FoldScores(float(metric(target, prediction)), mean, by_fold)


def spread_ratio(oof: ArrayLike, target: ArrayLike) -> float:
    """Divide the spread of out-of-fold predictions by that of the targets.

    Far below 1, the predictions hug the mean; above 1 they are overconfident.
    """
    target, oof = _checked(target, oof)
    if np.ptp(target) == 0:
        return float("nan")
    return float(np.std(oof) / np.std(target))


def _drawn_scores(
    metric: Metric | Score,
    target: NDArray[Any],
    prediction: NDArray[Any],
    members: NDArray[np.int64],
    n_draws: int,
    seed: int,
) -> Floats:
    """Score D draws; the same seed draws the same groups whatever the metric."""
    rng = np.random.default_rng(seed)
    n_groups = int(members.max()) + 1
    sums = np.empty((0, 0))
    if isinstance(metric, Metric):
        terms = metric.terms(target, prediction).T
        sums = np.stack(
            [np.bincount(members, term, n_groups) for term in terms], axis=1
        )
    scores = []
    for start in range(0, n_draws, _DRAWS_AT_ONCE):
        n_now = min(_DRAWS_AT_ONCE, n_draws - start)
        drawn = rng.integers(n_groups, size=(n_now, n_groups))
        drawn += n_groups * np.arange(n_now)[:, None]
        times = np.bincount(drawn.ravel(), minlength=n_now * n_groups)
        times = times.reshape(n_now, n_groups)
        with np.errstate(divide="ignore", invalid="ignore"):
            if isinstance(metric, Metric):
                scores.append(metric.of_sums(times @ sums))
                continue
        for row_times in times[:, members]:
            rows = np.repeat(np.arange(len(target)), row_times)
            scores.append(np.array([metric(target[rows], prediction[rows])]))
    return np.concatenate(scores)


def _interval(value: float, drawn: Floats) -> Interval:
    defined = drawn[np.isfinite(drawn)]
    if not defined.size:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(defined, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def _members(groups: ArrayLike, n_rows: int) -> NDArray[np.int64]:
    """Number the groups from 0; give the number of each row's."""
    names, members = np.unique(np.asarray(groups), return_inverse=True)
    if members.size != n_rows:
        raise UserError(f"{members.size} groups for {n_rows} rows; give one each")
    if len(names) < 2:
        raise UserError("all rows are of one group; an interval needs two or more")
    return members.reshape(n_rows)


def _checked(
    target: ArrayLike, prediction: ArrayLike
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Make arrays of both, numbers as float64.

    Raises:
        UserError: They cannot be compared row by row.
    """
    arrays = []
    for name, rows in (("target", target), ("prediction", prediction)):
        array = np.asarray(rows)
        if array.ndim != 1 or array.size == 0:
            raise UserError(f"{name} of shape {array.shape}; give one value per row")
        if array.dtype.kind in "fiub":
            array = array.astype(np.float64)
            if n_missing := int((~np.isfinite(array)).sum()):
                raise UserError(
                    f"{n_missing} of {array.size} values of {name} are missing or not"
                    " finite; leave those rows out"
                )
        arrays.append(array)
    if arrays[0].size != arrays[1].size:
        raise UserError(f"{arrays[0].size} targets for {arrays[1].size} predictions")
    return arrays[0], arrays[1]


def _stacked(*terms: NDArray[Any]) -> Floats:
    ones = np.ones(len(terms[0]))
    return np.stack([ones, *terms], axis=-1).astype(np.float64)
