"""How predictions are judged: the metric, and the loss of a row that tunes rules.

A metric such as the accuracy is flat almost everywhere, so weights and curves are tuned
by the loss of the rows (squared or absolute error, surprise), and everything is scored
and compared by the metric itself.

Targets of classes are (N, K) with a 1 in the column of the class, predictions (N, K)
probabilities; so both kinds pass through the same code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.scoring.metrics import LEAST_PROBABILITY
from data_prep.scoring.scores import (
    METRICS,
    FoldScores,
    Interval,
    Metric,
    group_bootstrap,
    paired_bootstrap,
    per_fold,
)
from data_prep.settings import nearest

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

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


def nearest_class(values: Floats, class_values: Floats) -> Ints:
    """Give the (N,) class nearest to (N,) numbers, the lower of two as near.

    As near is what a millionth of the step between classes does not tell apart: else
    rounding would decide, and with it the unit of the target.

    Args:
        values: (N,) numbers.
        class_values: (K,) what the classes stand for.
    """
    distances = np.abs(values[:, None] - class_values)
    step = np.diff(np.sort(class_values)).min() if len(class_values) > 1 else 1.0
    is_near = distances <= distances.min(axis=1, keepdims=True) + ALIKE * step
    nearest: Ints = is_near.argmax(axis=1)
    return nearest


@dataclass(frozen=True)
class Objective:
    """The score that everything is tuned and compared by.

    Attributes:
        name: One of ``TITLES``.
        class_values: (K,) numbers that the classes of a numeric target stand for; none
            where it has no classes.
        is_number: The target is a number, and not a class.
    """

    name: str
    class_values: tuple[float, ...] = ()
    is_number: bool = True

    @classmethod
    def named(
        cls, name: str, class_values: Sequence[float], *, is_number: bool
    ) -> "Objective":
        """Choose the metric; without a name RMSE for numbers, log-loss for classes.

        Raises:
            UserError: There is no such metric, or it does not fit the target.
        """
        usual = "rmse" if is_number else "log_loss"
        if not name:
            return cls(usual, tuple(class_values), is_number)
        if name not in TITLES:
            raise UserError(f"metric = {name!r}: {nearest(name, TITLES)}")
        fitting = OF_NUMBERS + OF_ORDERED * bool(class_values)
        fitting = fitting if is_number else OF_CLASSES
        if name not in fitting:
            kind = "classes" if not is_number else "numbers"
            kind += " without classes" if is_number and not class_values else ""
            raise UserError(
                f"metric = {name!r} does not fit a target of {kind}; give one of"
                f" {', '.join(fitting)}{_remedy(name, class_values, is_number)}"
            )
        return cls(name, tuple(class_values), is_number)

    @property
    def title(self) -> str:
        """Its name for people."""
        return TITLES[self.name]

    @property
    def higher_is_better(self) -> bool:
        """Its direction."""
        return METRICS[self.name].higher_is_better

    @property
    def is_of_ordered(self) -> bool:
        """Whether numbers are judged by the class nearest to them."""
        return self.is_number and self.name in OF_ORDERED

    def is_better(self, first: float, second: float) -> bool:
        """Tell whether the first score is better than the second."""
        return first > second if self.higher_is_better else first < second

    def rows(self, target: Floats, prediction: Floats) -> Floats:
        """Judge each row: its squared or absolute error, or its surprise."""
        if not self.is_number:
            true = (target * prediction).sum(axis=1)
            surprise: Floats = -np.log(np.maximum(true, LEAST_PROBABILITY))
            return surprise
        errors: Floats = np.abs(prediction - target)
        return errors if self.name == "mae" else errors**2

    def nearest(self, values: Floats) -> Ints:
        """Give the (N,) class nearest to (N,) numbers, the lower of two as near."""
        return nearest_class(values, np.array(self.class_values))

    def as_scored(self, prediction: Floats) -> Floats:
        """Give (N, ...) what is judged of a prediction: the value of a class, or all.

        Probabilities stay as they are: of those the metric takes what it needs.
        """
        if not self.is_of_ordered:
            return prediction
        values: Floats = np.array(self.class_values)[self.nearest(prediction)]
        return values

    def score(self, target: Floats, prediction: Floats) -> float:
        """Score all rows at once."""
        return self._metric(*self._pair(target, prediction))

    def by_fold(self, target: Floats, prediction: Floats, folds: Ints) -> FoldScores:
        """Score each fold, and all rows at once."""
        return per_fold(self._metric, *self._pair(target, prediction), folds)

    def interval(self, target: Floats, prediction: Floats, cv_groups: Ints) -> Interval:
        """Give the 95 % interval of the score over draws of cv groups."""
        rows = self._pair(target, prediction)
        return group_bootstrap(self._metric, *rows, cv_groups, n_draws=N_DRAWS)

    def gain(
        self, target: Floats, before: Floats, after: Floats, cv_groups: Ints
    ) -> Interval:
        """Give by how much ``after`` is better, over the same draws of cv groups."""
        asked, first = self._pair(target, before)
        _, second = self._pair(target, after)
        pair = (second, first) if self.higher_is_better else (first, second)
        return paired_bootstrap(self._metric, asked, *pair, cv_groups, n_draws=N_DRAWS)

    @property
    def _metric(self) -> Metric:
        return METRICS[self.name]

    def _pair(
        self, target: Floats, prediction: Floats
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Bring both to what the metric compares."""
        if not self.is_number:
            index = target.argmax(axis=1)
            if self.name in ("log_loss", "auc"):
                return index, prediction
            return index, prediction.argmax(axis=1)
        if self.is_of_ordered:
            return self.nearest(target), self.nearest(prediction)
        return target, prediction


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
