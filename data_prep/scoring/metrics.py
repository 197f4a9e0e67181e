"""Metrics: what a prediction is scored by.

A metric is a sum over the rows and what is made of that sum: ``rmse`` sums the squared
errors. So the score of a bootstrap draw needs only the sums of its groups, and
thousands of draws take one matrix product. The area under the curve is a count over
pairs of rows; it is sorted once, and each draw counts with other weights.

A metric compares numbers, classes, or the probabilities of classes with class numbers.

Classes that are in none of the rows at hand (a fold, a draw of the bootstrap) are left
out of the means of ``macro_f1`` and ``auc``: nothing is known of them, and a score of 0
would only say that they are rare.

Shapes: N rows, G groups, D draws, T terms of a metric, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_prep.errors import UserError
from data_prep.scoring.comparable import Compared, Rows, comparable
from data_prep.settings import nearest

LEAST_PROBABILITY = 1e-6  # one sure mistake must not decide a log-loss: it costs 13.8

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Scorer = Callable[[Ints], Floats]


@dataclass(frozen=True)
class Metric:
    """A score of predictions against targets; call it with both.

    Attributes:
        higher_is_better: Its direction.
        terms: Of targets and predictions, (N, T) what is summed over the rows; the
            first term is 1.
        of_sums: Of (..., T) sums, the (...) scores; NaN where it is not defined.
        of: What it compares. Targets are (N,), for ``probabilities`` class numbers;
            predictions are (N,), or (N, K) probabilities.
    """

    higher_is_better: bool
    terms: Callable[[Rows, Rows], Floats]
    of_sums: Callable[[Floats], Floats]
    of: Compared = "numbers"

    def __call__(self, target: ArrayLike, prediction: ArrayLike) -> float:
        """Score N predictions.

        Raises:
            UserError: The rows cannot be scored; see ``comparable``.
        """
        rows = comparable(target, prediction, self.of)
        whole = np.zeros(len(rows[0]), dtype=np.int64)
        return float(self.scorer(*rows, whole)(np.ones((1, 1), dtype=np.int64))[0])

    def scorer(self, target: Rows, prediction: Rows, members: Ints) -> Scorer:
        """Make ready to score draws of groups.

        Args:
            target: What ``comparable`` gives.
            prediction: Likewise.
            members: (N,) number of each row's group.

        Returns:
            A function of (D, G) how often each group is drawn; it gives (D,) scores.
        """
        terms = self.terms(target, prediction).T
        sums = np.stack([np.bincount(members, term) for term in terms], axis=1)

        def score(times: Ints) -> Floats:
            with np.errstate(divide="ignore", invalid="ignore"):
                return self.of_sums(np.asarray(times @ sums, dtype=np.float64))

        return score


class _Area(Metric):
    """The area under the ROC curve, which no sum over rows gives."""

    def scorer(self, target: Rows, prediction: Rows, members: Ints) -> Scorer:
        # Of two classes one column says it all.
        classes = [1] if prediction.shape[1] == 2 else range(prediction.shape[1])
        races = [_race(prediction[:, k], target == k) for k in classes]

        def score(times: Ints) -> Floats:
            areas = np.full((len(times), len(races)), np.nan)
            for draw, row_times in enumerate(times):
                weights = row_times[members]
                areas[draw] = [race(weights) for race in races]
            is_defined = np.isfinite(areas)
            with np.errstate(invalid="ignore"):
                total = np.where(is_defined, areas, 0).sum(axis=1)
                return np.asarray(total / is_defined.sum(axis=1))

        return score


def _race(values: Floats, is_own: NDArray[np.bool_]) -> Callable[[Ints], float]:
    """Make ready to measure how often a row of a class is ahead of another row.

    Returns:
        A function of (N,) weights: the share of pairs, a tie counting half; NaN where
        there are none.
    """
    own, others = np.flatnonzero(is_own), np.flatnonzero(~is_own)
    others = others[np.argsort(values[others])]
    beaten = np.searchsorted(values[others], values[own], side="left")
    matched = np.searchsorted(values[others], values[own], side="right")

    def share(weights: Ints) -> float:
        passed = np.concatenate([[0], np.cumsum(weights[others])])
        mine = weights[own]
        pairs = mine.sum() * passed[-1]
        won = mine @ (passed[beaten] + passed[matched])
        return float(won / (2 * pairs)) if pairs else float("nan")

    return share


def metric_named(name: str) -> Metric:
    """Give one of ``METRICS``.

    Raises:
        UserError: There is none of that name.
    """
    if name not in METRICS:
        raise UserError(f"there is no metric {name!r}; {nearest(name, METRICS)}")
    return METRICS[name]


def _errors(power: int) -> Callable[[Rows, Rows], Floats]:
    def terms(target: Rows, prediction: Rows) -> Floats:
        return _stacked(np.abs(prediction - target) ** power)

    return terms


def _hits(target: Rows, prediction: Rows) -> Floats:
    return _stacked(target == prediction)


def _spreads(target: Rows, prediction: Rows) -> Floats:
    centred = target - np.median(target)  # years squared would lose their last digits
    return _stacked(centred, centred**2, (prediction - target) ** 2)


def _determination(sums: Floats) -> Floats:
    n, total, squares, errors = np.moveaxis(sums, -1, 0)
    spread = squares - total**2 / n
    # Rounding leaves a little spread where all targets are equal.
    spread = np.where(spread > 1e-12 * squares, spread, np.nan)
    return np.asarray(1 - errors / spread)


def _numbered(target: Rows, prediction: Rows) -> tuple[Ints, Ints]:
    """Number the classes of both in their common order."""
    numbers = np.unique(np.concatenate([target, prediction]), return_inverse=True)[1]
    wanted, said = numbers.reshape(2, len(target)).astype(np.int64)
    return wanted, said


def _ranks(target: Rows, prediction: Rows) -> Floats:
    a, b = (ranks.astype(np.float64) for ranks in _numbered(target, prediction))
    return _stacked(a, b, a**2 + b**2, (a - b) ** 2)


def _agreement(sums: Floats) -> Floats:
    n, a, b, squares, errors = np.moveaxis(sums, -1, 0)
    by_chance = squares - 2 * a * b / n
    return np.asarray(1 - errors / np.where(by_chance > 0, by_chance, np.nan))


def _overlaps(target: Rows, prediction: Rows) -> Floats:
    """Give K columns of hits, then K of how often a class is the case or is said."""
    wanted, said = _numbered(target, prediction)
    classes = np.arange(max(wanted.max(), said.max()) + 1)
    is_wanted, is_said = wanted[:, None] == classes, said[:, None] == classes
    counted = is_wanted.astype(np.float64) + is_said
    return _stacked(*(is_wanted & is_said).T, *counted.T)


def _mean_overlap(sums: Floats) -> Floats:
    hits, counted = np.split(sums[..., 1:], 2, axis=-1)
    scores = np.where(counted > 0, 2 * hits / counted, 0)
    return np.asarray(scores.sum(axis=-1) / (counted > 0).sum(axis=-1))


def _surprise(target: Rows, probabilities: Rows) -> Floats:
    of_truth = probabilities[np.arange(len(target)), target]
    return _stacked(-np.log(np.maximum(of_truth, LEAST_PROBABILITY)))


def _mean(sums: Floats) -> Floats:
    return np.asarray(sums[..., 1] / sums[..., 0])


def _root_mean(sums: Floats) -> Floats:
    return np.sqrt(_mean(sums))


def _no_sum(*_: Rows) -> Floats:
    raise TypeError("the area under the curve is no sum over the rows")


def _stacked(*terms: Rows) -> Floats:
    ones = np.ones(len(terms[0]))
    return np.stack([ones, *terms], axis=-1).astype(np.float64)


# quadratic_kappa counts the distance of two classes in places of their common order, as
# scikit-learn does: of the values 1, 2, 5 the last two are as far apart as the first.
# auc is of the second of two classes; of more, the mean of each against the rest.
METRICS: dict[str, Metric] = {
    "rmse": Metric(False, _errors(2), _root_mean),
    "mae": Metric(False, _errors(1), _mean),
    "r2": Metric(True, _spreads, _determination),
    "accuracy": Metric(True, _hits, _mean, "classes"),
    "macro_f1": Metric(True, _overlaps, _mean_overlap, "classes"),
    "quadratic_kappa": Metric(True, _ranks, _agreement, "classes"),
    "log_loss": Metric(False, _surprise, _mean, "probabilities"),
    "auc": _Area(True, _no_sum, _no_sum, "probabilities"),
}
