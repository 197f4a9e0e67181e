"""Models of which the inner folds choose the best.

Shapes: N rows, n of them outside a fold, C columns, D outputs (numbers: one; classes:
one each), A candidates.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from data_prep.arrays import Floats, Ints
from stacking.cross_fitting import CrossFit, FoldFit, TrainingRows, each_fold
from stacking.models.model_files import ArrayModel


@dataclass(frozen=True, kw_only=True)
class OutputModel(ArrayModel, ABC):
    """A model with outputs that are numbers, or nearly probabilities.

    Attributes:
        is_proba: Its predictions are probabilities of classes.
    """

    is_proba: bool = False

    @abstractmethod
    def outputs(self, X: Floats) -> Floats:
        """Give the (N, D) outputs of (N, C) rows."""

    def predict(self, X: Floats) -> Floats:
        """Give (N,) numbers, or (N, D) probabilities of classes, of (N, C) rows."""
        outputs = self.outputs(X)
        return as_proba(outputs) if self.is_proba else outputs[:, 0]


ModelT = TypeVar("ModelT", bound=OutputModel)


def as_proba(outputs: Floats, least: float = 0.005) -> Floats:
    """Turn (..., K) outputs into probabilities: at least ``least``, adding up to 1.

    The bound holds before the division by the sum.
    """
    positive = np.maximum(outputs, least)
    proba: Floats = positive / positive.sum(axis=-1, keepdims=True)
    return proba


def cross_fit_candidates(
    rows: TrainingRows,
    fit_candidates: Callable[[Ints, int | None], Sequence[ModelT]],
    n_candidates: int,
    describe: Callable[[ModelT, Ints], dict[str, Any]],
    *,
    seed: int,
) -> CrossFit:
    """Cross-fit the candidate with the lowest squared error in the inner folds.

    Args:
        rows: With (N, C) columns.
        fit_candidates: Fits the rows at some indices: all A candidates, or only one.
        n_candidates: A.
        describe: Tells of the chosen model, fitted on the rows at some indices.
        seed: Seed of the inner folds.
    """
    y_ND = rows.y.reshape(len(rows.y), -1)

    def fit(_: int, train_idx: Ints, val_idx: Ints) -> FoldFit:
        inner_folds = rows.inner_folds(train_idx, seed)
        oof_AnD = np.empty((n_candidates, len(train_idx), y_ND.shape[1]))
        for _, inner_idx, idx in each_fold(inner_folds):
            models = fit_candidates(train_idx[inner_idx], None)
            for candidate, model in enumerate(models):
                oof_AnD[candidate, idx] = model.outputs(rows.X[train_idx[idx]])
        squares_An = ((oof_AnD - y_ND[train_idx]) ** 2).mean(axis=2)
        best = int((squares_An @ rows.sample_weight[train_idx]).argmin())
        (model,) = fit_candidates(train_idx, best)
        inner_oof = oof_AnD[best]
        return FoldFit(
            inner_oof=as_proba(inner_oof) if model.is_proba else inner_oof[:, 0],
            val_pred=model.predict(rows.X[val_idx]),
            model=model,
            metadata=describe(model, train_idx),
        )

    return CrossFit.over(fit, rows)
