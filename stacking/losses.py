"""How predictions are judged: numbers by RMSE, classes by log-loss.

Targets of classes are (N, K) with a 1 in the column of the class, predictions (N, K)
probabilities; so both kinds pass through the same code.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.scores import (
    METRICS,
    FoldScores,
    Interval,
    Metric,
    group_bootstrap,
    paired_bootstrap,
    per_fold,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

N_DRAWS = 1000
LEAST = 1e-6  # of a probability: one sure mistake must not decide everything


@dataclass(frozen=True)
class Loss:
    """The score that everything is tuned and compared by; lower is better.

    Attributes:
        name: ``"rmse"`` or ``"log_loss"``.
    """

    name: str

    @property
    def is_squared(self) -> bool:
        """Whether rows are judged by their squared error."""
        return self.name == "rmse"

    @property
    def title(self) -> str:
        """Its name for people."""
        return {"rmse": "RMSE", "log_loss": "log-loss"}[self.name]

    def rows(self, target: Floats, prediction: Floats) -> Floats:
        """Judge each row: its squared error, or its surprise."""
        if self.is_squared:
            squares: Floats = (prediction - target) ** 2
            return squares
        surprise: Floats = -np.log(np.maximum((target * prediction).sum(axis=1), LEAST))
        return surprise

    def score(self, target: Floats, prediction: Floats) -> float:
        """Score all rows at once."""
        return self._metric(*self._flat(target, prediction))

    def by_fold(self, target: Floats, prediction: Floats, folds: Ints) -> FoldScores:
        """Score each fold, and all rows at once."""
        return per_fold(self._metric, *self._flat(target, prediction), folds)

    def interval(self, target: Floats, prediction: Floats, clusters: Ints) -> Interval:
        """Give the 95 % interval of the score over draws of clusters."""
        rows = self._flat(target, prediction)
        return group_bootstrap(self._metric, *rows, clusters, n_draws=N_DRAWS)

    def gain(
        self, target: Floats, before: Floats, after: Floats, clusters: Ints
    ) -> Interval:
        """Give by how much ``after`` is better, over the same draws of clusters."""
        flat, first = self._flat(target, before)
        _, second = self._flat(target, after)
        return paired_bootstrap(
            self._metric, flat, first, second, clusters, n_draws=N_DRAWS
        )

    @property
    def _metric(self) -> Metric:
        return METRICS["rmse" if self.is_squared else "mae"]

    def _flat(self, target: Floats, prediction: Floats) -> tuple[Floats, Floats]:
        """Bring both to one number per row; of classes, the surprise and none at all.

        Their mean absolute difference is the log-loss.
        """
        if self.is_squared:
            return target, prediction
        surprise = self.rows(target, prediction)
        return np.zeros(len(surprise)), surprise
