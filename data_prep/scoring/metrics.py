"""Metrics: what a prediction is scored by.

A metric is a sum over the rows and what is made of that sum: ``rmse`` sums the squared
errors. So the score of a bootstrap draw needs only the sums of its groups, and
thousands of draws take one matrix product. The area under the curve is a count over
pairs of rows; the rows are sorted once, and each draw weighs them anew.

A metric compares numbers, classes, or the probabilities of classes with class numbers.

Classes that are in none of the rows at hand (a fold, a draw of the bootstrap) are left
out of the means of ``macro_f1`` and ``auc``: nothing is known of them, and a score of 0
would only say that they are rare.

Shapes: N rows, G groups, D draws, T terms of a metric, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from data_prep.arrays import Bools, Floats, Ints
from data_prep.scoring.comparable import Compared, Rows, comparable

LEAST_PROBABILITY = 1e-6  # one sure mistake must not decide a log-loss: it costs 13.8

Scorer = Callable[[Ints], Floats]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A score of predictions against targets; call it with both.

    Attributes:
        higher_is_better: True of r2, False of rmse.
        terms: Of ``y_true`` and ``y_pred``, (N, T) what is summed over the rows; the
            first term is 1, so its sum is the number of rows.
        of_sums: Of (..., T) sums, the (...) scores; NaN where it is not defined.
        compared: What it compares. Targets are (N,), for ``probabilities`` class
            numbers; predictions are (N,), or (N, K) probabilities.
        meaning: A line on it for people.
    """

    higher_is_better: bool
    terms: Callable[[Rows, Rows], Floats]
    of_sums: Callable[[Floats], Floats]
    compared: Compared = "numbers"
    meaning: str = ""

    def __call__(self, y_true: ArrayLike, y_pred: ArrayLike) -> float:
        """Score N predictions.

        Raises:
            UserError: The rows cannot be scored; see ``comparable``.
        """
        y_true, y_pred = comparable(y_true, y_pred, self.compared)
        all_one_group = np.zeros(len(y_true), dtype=np.int64)
        score = self.scorer(y_true, y_pred, all_one_group)
        return float(score(np.ones((1, 1), dtype=np.int64))[0])

    def scorer(self, y_true: Rows, y_pred: Rows, group_codes: Ints) -> Scorer:
        """Prepare to score bootstrap draws of groups.

        Args:
            y_true: (N,), as ``comparable`` gives it.
            y_pred: (N,) or (N, K), as ``comparable`` gives it.
            group_codes: (N,) number of each row's group, 0 to G - 1.

        Returns:
            A function of (D, G) how often each draw holds each group; it gives (D,)
            scores.
        """
        terms_TN = self.terms(y_true, y_pred).T
        sums_GT = np.stack([np.bincount(group_codes, t) for t in terms_TN], axis=1)

        def score(times_DG: Ints) -> Floats:
            with np.errstate(divide="ignore", invalid="ignore"):
                return self.of_sums(np.asarray(times_DG @ sums_GT, dtype=np.float64))

        return score


class _RocAuc(Metric):
    """The area under the ROC curve, a count over pairs of rows and no sum over rows."""

    def scorer(self, y_true: Rows, y_pred: Rows, group_codes: Ints) -> Scorer:
        # Of two classes the second column decides: the first gives the same area.
        classes = [1] if y_pred.shape[1] == 2 else range(y_pred.shape[1])
        areas_of = [_mann_whitney(y_pred[:, k], y_true == k) for k in classes]

        def score(times_DG: Ints) -> Floats:
            areas_DK = np.full((len(times_DG), len(areas_of)), np.nan)
            for draw, times in enumerate(times_DG):
                weights = times[group_codes]
                areas_DK[draw] = [area(weights) for area in areas_of]
            is_defined = np.isfinite(areas_DK)
            with np.errstate(invalid="ignore"):
                total = np.where(is_defined, areas_DK, 0).sum(axis=1)
                return np.asarray(total / is_defined.sum(axis=1))

        return score


def _mann_whitney(values: Floats, is_positive: Bools) -> Callable[[Ints], float]:
    """Prepare the area under the ROC curve of (N,) values for any weights of the rows.

    The area is the Mann-Whitney U statistic over its greatest value: the share of pairs
    of a positive and a negative row in which the positive one has the higher value, a
    tie counting half (Hanley and McNeil, Radiology 143, 1982). A pair weighs the
    product of its two weights. With the negatives sorted, the weight of those below a
    positive row is one look-up in their cumulative weights.

    Returns:
        A function of (N,) weights; NaN where there is no pair.
    """
    positive_idx, negative_idx = (
        np.flatnonzero(is_positive),
        np.flatnonzero(~is_positive),
    )
    negative_idx = negative_idx[np.argsort(values[negative_idx])]
    n_below, n_below_or_tied = (
        np.searchsorted(values[negative_idx], values[positive_idx], side=side)
        for side in ("left", "right")
    )

    def area(weights: Ints) -> float:
        cumulative = np.concatenate([[0], np.cumsum(weights[negative_idx])])
        positive_weights = weights[positive_idx]
        weight_of_pairs = positive_weights.sum() * cumulative[-1]
        # Below plus below-or-tied is twice below plus once tied: twice U.
        twice_u = positive_weights @ (cumulative[n_below] + cumulative[n_below_or_tied])
        if not weight_of_pairs:
            return float("nan")
        return float(twice_u / (2 * weight_of_pairs))

    return area


def _abs_error_terms(power: int) -> Callable[[Rows, Rows], Floats]:
    def terms(y_true: Rows, y_pred: Rows) -> Floats:
        return _with_count(np.abs(y_pred - y_true) ** power)

    return terms


def _accuracy_terms(y_true: Rows, y_pred: Rows) -> Floats:
    return _with_count(y_true == y_pred)


def _r2_terms(y_true: Rows, y_pred: Rows) -> Floats:
    centred = y_true - np.median(y_true)  # years squared would lose their last digits
    return _with_count(centred, centred**2, (y_pred - y_true) ** 2)


def _r2(sums: Floats) -> Floats:
    """R2, the coefficient of determination: 1 - SS_res / SS_tot.

    SS_tot = sum(y²) - sum(y)² / n, so that sums over the rows are enough.
    """
    n, total, squares, ss_res = np.moveaxis(sums, -1, 0)
    ss_tot = squares - total**2 / n
    # Rounding leaves a little spread where all targets are equal.
    ss_tot = np.where(ss_tot > 1e-12 * squares, ss_tot, np.nan)
    return np.asarray(1 - ss_res / ss_tot)


def _class_ranks(y_true: Rows, y_pred: Rows) -> tuple[Ints, Ints]:
    """Number the classes of both, (N,) and (N,), in their common order."""
    ranks = np.unique(np.concatenate([y_true, y_pred]), return_inverse=True)[1]
    true_ranks, pred_ranks = ranks.reshape(2, len(y_true)).astype(np.int64)
    return true_ranks, pred_ranks


def _kappa_terms(y_true: Rows, y_pred: Rows) -> Floats:
    true_ranks, pred_ranks = _class_ranks(y_true, y_pred)
    a, b = true_ranks.astype(np.float64), pred_ranks.astype(np.float64)
    return _with_count(a, b, a**2 + b**2, (a - b) ** 2)


def _quadratic_kappa(sums: Floats) -> Floats:
    """Cohen's kappa with quadratic weights (Cohen, Psychological Bulletin 70, 1968).

    1 - E[(a - b)²] of the rows / E[(a - b)²] by chance, where chance pairs every true
    rank a with every predicted rank b: of n² pairs the mean of (a - b)² is
    mean(a² + b²) - 2 mean(a) mean(b). Times n, both are sums over the rows.
    """
    n, sum_a, sum_b, squares, errors = np.moveaxis(sums, -1, 0)
    by_chance = squares - 2 * sum_a * sum_b / n
    return np.asarray(1 - errors / np.where(by_chance > 0, by_chance, np.nan))


def _f1_terms(y_true: Rows, y_pred: Rows) -> Floats:
    """Give K columns of true positives, then K of true plus predicted members."""
    true_ranks, pred_ranks = _class_ranks(y_true, y_pred)
    classes = np.arange(max(true_ranks.max(), pred_ranks.max()) + 1)
    is_true_NK = true_ranks[:, None] == classes
    is_pred_NK = pred_ranks[:, None] == classes
    true_plus_pred_NK = is_true_NK.astype(np.float64) + is_pred_NK
    return _with_count(*(is_true_NK & is_pred_NK).T, *true_plus_pred_NK.T)


def _macro_f1(sums: Floats) -> Floats:
    """Mean over the classes of F1 = 2 TP / (true + predicted members of the class)."""
    true_positives, true_plus_pred = np.split(sums[..., 1:], 2, axis=-1)
    is_present = true_plus_pred > 0
    f1 = np.where(is_present, 2 * true_positives / true_plus_pred, 0)
    return np.asarray(f1.sum(axis=-1) / is_present.sum(axis=-1))


def _nll_terms(y_true: Rows, proba: Rows) -> Floats:
    proba_of_true = proba[np.arange(len(y_true)), y_true]
    return _with_count(-np.log(np.maximum(proba_of_true, LEAST_PROBABILITY)))


def _mean(sums: Floats) -> Floats:
    return np.asarray(sums[..., 1] / sums[..., 0])


def _root_mean(sums: Floats) -> Floats:
    return np.sqrt(_mean(sums))


def _no_sum(*_: Rows) -> Floats:
    raise TypeError("the area under the curve is no sum over the rows")


def _with_count(*terms: Rows) -> Floats:
    """Stack (N,) terms to (N, T), with a first term of 1 that counts the rows."""
    ones = np.ones(len(terms[0]))
    return np.stack([ones, *terms], axis=-1).astype(np.float64)


METRICS: dict[str, Metric] = {
    "rmse": Metric(
        higher_is_better=False,
        terms=_abs_error_terms(2),
        of_sums=_root_mean,
        meaning="root of the mean squared error, in the unit of the target",
    ),
    "mae": Metric(
        higher_is_better=False,
        terms=_abs_error_terms(1),
        of_sums=_mean,
        meaning="mean of the errors without their signs, in the unit of the target",
    ),
    "r2": Metric(
        higher_is_better=True,
        terms=_r2_terms,
        of_sums=_r2,
        meaning="share of the target's variance that is predicted; 0 is the mean",
    ),
    "accuracy": Metric(
        higher_is_better=True,
        terms=_accuracy_terms,
        of_sums=_mean,
        compared="classes",
        meaning="share of the rows whose class is right",
    ),
    "macro_f1": Metric(
        higher_is_better=True,
        terms=_f1_terms,
        of_sums=_macro_f1,
        compared="classes",
        meaning="mean over the classes of F1, so that rare ones count alike",
    ),
    # Two classes are as far apart as their ranks in the common order, as scikit-learn
    # has it: of the values 1, 2, 5 the last two are as far apart as the first two.
    "quadratic_kappa": Metric(
        higher_is_better=True,
        terms=_kappa_terms,
        of_sums=_quadratic_kappa,
        compared="classes",
        meaning="agreement of ordered classes, by the squares of what they are apart",
    ),
    "log_loss": Metric(
        higher_is_better=False,
        terms=_nll_terms,
        of_sums=_mean,
        compared="probabilities",
        meaning="mean of -log of the probability that the true class was given",
    ),
    # Of the second of two classes; of more, the mean of each against all others.
    "auc": _RocAuc(
        higher_is_better=True,
        terms=_no_sum,
        of_sums=_no_sum,
        compared="probabilities",
        meaning="area under the ROC curve; of several classes, the mean over them",
    ),
}
