"""How predictions are scored: the metric, and the loss of a row that tunes rules.

A metric such as the accuracy is flat almost everywhere, so weights and curves are tuned
by the loss of the rows (squared or absolute error, negative log-likelihood), and
everything is scored and compared by the metric itself.

Targets of classes are (N, K) with a 1 in the column of the class, predictions (N, K)
probabilities; so both kinds pass through the same code.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Floats, Ints
from data_prep.errors import UserError
from data_prep.scoring.metrics import LEAST_PROBABILITY, METRICS, Metric
from data_prep.scoring.scores import (
    FoldScores,
    Interval,
    group_bootstrap,
    paired_bootstrap,
    per_fold,
)
from data_prep.settings import nearest
from stacking.cross_fitting import TrainingRows, each_fold

N_DRAWS = 1000
ALIKE = 1e-6  # of the step between two classes
TITLES = {
    "rmse": "RMSE",
    "mae": "mean absolute error",
    "r2": "R²",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "quadratic_kappa": "quadratic kappa",
    "log_loss": "log-loss",
    "auc": "AUC",
}
OF_NUMBERS = ("rmse", "mae", "r2")
OF_ORDERED = ("accuracy", "macro_f1", "quadratic_kappa")  # of the nearest class
OF_CLASSES = ("log_loss", "auc", "accuracy", "macro_f1")
OF_RIGHT = ("accuracy", "macro_f1")  # a near miss is as wrong as any other
OF_PROBA = ("log_loss", "auc")  # of whole probabilities, not of the likeliest class


def nearest_class(values: Floats, class_values: Floats) -> Ints:
    """Give the (N,) class nearest to (N,) numbers, the lower of two as near.

    As near is what a millionth of the step between classes does not tell apart: else
    rounding would decide, and with it the unit of the target.

    Args:
        values: (N,) numbers.
        class_values: (K,) what the classes stand for.
    """
    distances_NK = np.abs(values[:, None] - class_values)
    step = np.diff(np.sort(class_values)).min() if len(class_values) > 1 else 1.0
    least = distances_NK.min(axis=1, keepdims=True)
    is_near_NK = distances_NK <= least + ALIKE * step
    nearest: Ints = is_near_NK.argmax(axis=1)
    return nearest


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The score that everything is tuned and compared by.

    Attributes:
        name: One of ``TITLES``.
        class_values: (K,) numbers that the classes of a numeric target stand for; none
            where it has no classes.
        is_number: The target is a number, and not a class.
        is_usual: Nobody named a metric.
    """

    name: str
    class_values: tuple[float, ...] = ()
    is_number: bool = True
    is_usual: bool = False

    @classmethod
    def named(
        cls, name: str, class_values: Sequence[float], *, is_number: bool
    ) -> "Objective":
        """Choose the metric; without a name RMSE for numbers, log-loss for classes.

        Raises:
            UserError: There is no such metric, or it does not fit the target.
        """
        fitting = OF_NUMBERS + OF_ORDERED * bool(class_values)
        fitting = fitting if is_number else OF_CLASSES
        is_usual, name = not name, name or fitting[0]
        if name not in TITLES:
            raise UserError(f"metric = {name!r}: {nearest(name, TITLES)}")
        if name not in fitting:
            target = "numbers" if is_number else "classes"
            target += " without classes" if is_number and not class_values else ""
            raise UserError(
                f"metric = {name!r} does not fit a target of {target}; give one of"
                f" {', '.join(fitting)}{_remedy(name, class_values, is_number)}"
            )
        return cls(
            name=name,
            class_values=tuple(class_values),
            is_number=is_number,
            is_usual=is_usual,
        )

    @property
    def title(self) -> str:
        """What reports and log lines call the metric."""
        return TITLES[self.name]

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger score of the metric is a better one."""
        return METRICS[self.name].higher_is_better

    @property
    def is_of_ordered(self) -> bool:
        """Whether numbers are scored by the class nearest to them."""
        return self.is_number and self.name in OF_ORDERED

    @property
    def counts_right(self) -> bool:
        """Whether it only counts that a class is right, and no near miss."""
        return self.name in OF_RIGHT

    @property
    def leads_with_share(self) -> bool:
        """Whether people are told first how often a class is right.

        That is what they ask of classes; the log-loss, which everything is tuned and
        compared by where nobody names a metric, is told after it.
        """
        return self.is_usual and not self.is_number

    def is_better(self, first: float, second: float) -> bool:
        """Tell whether the first score is better than the second."""
        return first > second if self.higher_is_better else first < second

    def row_losses(self, y_true: Floats, y_pred: Floats) -> Floats:
        """Give the (N,) losses: squared or absolute errors, or of classes the nll.

        That of a class is the negative log-likelihood, -log of its probability.
        """
        if not self.is_number:
            proba_of_true = (y_true * y_pred).sum(axis=1)
            nll: Floats = -np.log(np.maximum(proba_of_true, LEAST_PROBABILITY))
            return nll
        errors: Floats = np.abs(y_pred - y_true)
        return errors if self.name == "mae" else errors**2

    def nearest(self, values: Floats) -> Ints:
        """Give the (N,) class nearest to (N,) numbers, the lower of two as near."""
        return nearest_class(values, np.array(self.class_values))

    def best_constant(self, y_true: Floats) -> Floats:
        """Give the prediction, () or (K,), of a row of which nothing is known.

        That is the mean of the targets; the most frequent class, the lowest of equals,
        where numbers are scored by whether their class is right.

        Args:
            y_true: (N, ...) targets.
        """
        if not (self.is_of_ordered and self.counts_right):
            mean: Floats = y_true.mean(axis=0)
            return mean
        values = np.array(self.class_values)
        counts = np.bincount(self.nearest(y_true), minlength=len(values))
        most_frequent: Floats = values[counts.argmax()]
        return most_frequent

    def as_scored(self, y_pred: Floats) -> Floats:
        """Give (N, ...) what is scored of a prediction: the value of a class, or all.

        Probabilities stay as they are: of those the metric takes what it needs.
        """
        if not self.is_of_ordered:
            return y_pred
        values: Floats = np.array(self.class_values)[self.nearest(y_pred)]
        return values

    def score(self, y_true: Floats, y_pred: Floats) -> float:
        """Score all rows at once, in the metric."""
        return self._metric(self._labels(y_true), self._scores(y_pred))

    def by_fold(self, y_true: Floats, y_pred: Floats, folds: Ints) -> FoldScores:
        """Score each fold, and all rows at once, in the metric."""
        labels, scores = self._labels(y_true), self._scores(y_pred)
        return per_fold(self._metric, labels, scores, folds)

    def interval(self, y_true: Floats, y_pred: Floats, groups: Ints) -> Interval:
        """Give the score with its 95 % interval, over bootstrap samples of groups."""
        labels, scores = self._labels(y_true), self._scores(y_pred)
        return group_bootstrap(self._metric, labels, scores, groups, n_draws=N_DRAWS)

    def gain(
        self, y_true: Floats, before: Floats, after: Floats, groups: Ints
    ) -> Interval:
        """Give by how much ``after`` scores better, over the same bootstrap samples.

        Returns:
            The difference in the metric, above 0 where it is better, with its 95 %
            interval.
        """
        # the bootstrap gives first - second, and the gain is above 0 where it is better
        first, second = self._scores(after), self._scores(before)
        if not self.higher_is_better:
            first, second = second, first
        return paired_bootstrap(
            metric=self._metric,
            y_true=self._labels(y_true),
            first_pred=first,
            second_pred=second,
            groups=groups,
            n_draws=N_DRAWS,
        )

    @property
    def _metric(self) -> Metric:
        return METRICS[self.name]

    def _labels(self, y_true: Floats) -> NDArray[Any]:
        """Bring targets to what the metric compares: numbers, or class numbers."""
        if not self.is_number:
            class_idx: Ints = y_true.argmax(axis=1)
            return class_idx
        return self.nearest(y_true) if self.is_of_ordered else y_true

    def _scores(self, y_pred: Floats) -> NDArray[Any]:
        """Bring predictions to it: numbers, class numbers, or all probabilities."""
        if not self.is_number:
            return y_pred if self.name in OF_PROBA else y_pred.argmax(axis=1)
        return self.nearest(y_pred) if self.is_of_ordered else y_pred


@dataclass(frozen=True, kw_only=True)
class ScoringData:
    """What predictions of rows are scored by.

    Attributes:
        y_true: (N, ...) targets.
        folds: (N,) fold of each row.
        groups: (N,) codes of what errs together.
        objective: The metric.
        train_from: (N,) the first fold for which something may be chosen on a row,
            where folds are forward in time; None: every other fold.
    """

    y_true: Floats
    folds: Ints
    groups: Ints
    objective: Objective
    train_from: Ints | None = None

    @classmethod
    def of(cls, rows: TrainingRows, objective: Objective) -> "ScoringData":
        """Score the labels of the rows that a stack learns from."""
        return cls(
            y_true=rows.y,
            folds=rows.folds,
            groups=rows.groups,
            objective=objective,
            train_from=rows.train_from,
        )

    def each_fold(self) -> Iterator[tuple[int, Ints, Ints]]:
        """Give each fold with its ``train_idx`` and ``val_idx``."""
        return each_fold(self.folds, self.train_from)

    def take(self, idx: Ints) -> "ScoringData":
        """Give some of the rows."""
        return replace(
            self,
            y_true=self.y_true[idx],
            folds=self.folds[idx],
            groups=self.groups[idx],
            train_from=None if self.train_from is None else self.train_from[idx],
        )


def _remedy(name: str, class_values: Sequence[float], is_number: bool) -> str:
    """Say how the target may be made one that the metric fits; empty: in no way."""
    if is_number and name in OF_CLASSES and class_values:
        return (
            ', or say that its numbers are names: target_kind = "classes" in [data]'
            " (in Python: ClassStacker)"
        )
    if not is_number and name in OF_NUMBERS + OF_ORDERED:
        return (
            f"; {name} is of numbers: write a number for each class in the table, and"
            ' leave target_kind = "classes" out of [data]'
        )
    return ""
