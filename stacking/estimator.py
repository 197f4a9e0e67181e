"""The stack as scikit-learn estimators, for tables that come from anywhere.

    Stacker(cv="sgkfold5").fit(X, y, groups=series).predict(X_new)

It selects among the same stackers on stored folds and post-processes as
``stacking.fit`` does, but has no nets: only the caller knows whether rows of ``X`` saw
the label. For features of a store, ``stacking.fit`` refuses what would leak.

Shapes: N rows, C columns, K classes.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from data_prep.arrays import Floats
from data_prep.errors import UserError
from data_prep.scoring.scores import FoldScores
from data_prep.tables.spelling import class_names
from stacking.cross_fitting import TrainingRows
from stacking.ensemble.aligned_features import AlignedFeatures
from stacking.ensemble.final_step import labels_of
from stacking.ensemble.members import fit_stackers
from stacking.ensemble.objective import Objective
from stacking.ensemble.predictor import Predictor
from stacking.ensemble.stack import Stacked, stack
from stacking.inputs.data import Column, StackingData
from stacking.inputs.splits import make_folds
from stacking.inputs.target_columns import TargetColumns
from stacking.inputs.validation import (
    check_table,
    check_target,
    classes_of,
    cv_groups_of,
    folds_of,
    weights_of,
)
from stacking.models.boosting import threads_for
from stacking.models.registry import STACKERS
from stacking.models.stacker import FitContext
from stacking.settings import FitSettings

MAX_CLASSES = 20  # of numeric targets, those with more values have no classes


class Stacker(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Predict numbers.

    Args:
        cv: Scheme of the folds, such as ``"kfold5"`` or ``"sgkfold3"`` with groups;
            a number of folds; or a splitter of scikit-learn. Where columns of ``X``
            come from nets, give their ``folds`` to ``fit`` instead.
        stackers: What competes, names of ``stacking.fit --stackers``; those that read
            columns, such as ``"lightgbm"``, ``"ridge"``.
        metric: What is scored; empty: RMSE, or log-loss for classes.
        seeds: Boosters averaged per fold.
        max_rounds: Cap on the boosting rounds.
        random_state: Seed of folds, inner splits and boosters.

    Attributes:
        predictor_: The models, and how they are put together.
        stacked_: All lines of the table of steps, with their out-of-fold predictions.
        folds_: (N,) fold of each row.
    """

    _is_number = True

    def __init__(
        self,
        cv: Any = "kfold5",
        stackers: Sequence[str] = ("lightgbm", "ridge"),
        metric: str = "",
        seeds: int = 3,
        max_rounds: int = 2000,
        random_state: int = 0,
    ) -> None:
        self.cv = cv
        self.stackers = stackers
        self.metric = metric
        self.seeds = seeds
        self.max_rounds = max_rounds
        self.random_state = random_state

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        folds: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Fit the stackers, select one of them or their blend, and post-process it.

        Args:
            X: (N, C) numbers.
            y: (N,) targets.
            groups: (N,) what no fold tears, names of any kind; None, NaN, NaT or an
                empty text: the row is a group of its own.
            folds: (N,) fold of each row, from 0; None: made by ``cv``.
            sample_weight: (N,) how much each row is learned from; never in scores.

        Raises:
            UserError: A setting is unknown or does not fit the data, a target is
                missing, or a length is not that of ``y``.
        """
        check_target(y)
        if not self._is_number:
            self.classes_ = classes_of(np.asarray(y))
        table, target = check_table(self, X, y, y_numeric=self._is_number)
        data = self._data(
            X=table, y=target, groups=groups, folds=folds, sample_weight=sample_weight
        )
        self.folds_ = data.rows.folds
        target_columns = TargetColumns(
            columns=data.columns, classes=data.classes, target_range=data.target_range
        )
        objective = Objective.named(
            self.metric, target_columns.class_values.tolist(), is_number=self._is_number
        )
        settings = FitSettings(
            stackers=tuple(self.stackers), seeds=self.seeds, max_rounds=self.max_rounds
        )
        _check_inputs(settings.stackers)
        n_workers, n_threads = threads_for(data.rows.X.size)
        context = FitContext(
            seed=self.random_state,
            n_seeds=settings.seeds,
            max_rounds=settings.max_rounds,
            n_workers=n_workers,
            n_threads=n_threads,
        )
        features = AlignedFeatures.of(data, target_columns, "none")
        names = settings.stackers
        members = fit_stackers(features, names, context)
        self.stacked_: Stacked = stack(features, members, objective, stackers=names)
        self.predictor_: Predictor = self.stacked_.predictor
        return self

    def _data(
        self,
        X: Floats,
        y: NDArray[Any],
        groups: ArrayLike | None,
        folds: ArrayLike | None,
        sample_weight: ArrayLike | None,
    ) -> StackingData:
        n = len(X)
        named_groups = None if groups is None else cv_groups_of(groups, n)
        cv_groups = np.arange(n) if named_groups is None else named_groups
        if folds is None:
            folds = make_folds(
                self.cv,
                y,
                named_groups,
                is_number=self._is_number,
                seed=self.random_state,
            )
        values, class_idx = np.unique(y, return_inverse=True)
        has_classes = not self._is_number or len(values) <= MAX_CLASSES
        one_hot = np.eye(len(values))[class_idx]
        weights = np.ones(n) if sample_weight is None else sample_weight
        names = [f"x{k}" for k in range(X.shape[1])]
        return StackingData(
            rows=TrainingRows(
                X=X,
                y=y.astype(np.float64) if self._is_number else one_hot,
                folds=folds_of(folds, cv_groups),
                groups=cv_groups,
                sample_weight=weights_of(weights, n),
            ),
            columns=tuple(
                Column(name=name, task=name, output="", statistic="") for name in names
            ),
            classes=class_names(values.tolist()) if has_classes else (),
            target_range=(float(y.min()), float(y.max())) if self._is_number else None,
        )

    @property
    def scores_(self) -> FoldScores:
        """The nested score of the final prediction, by fold and as a whole."""
        check_is_fitted(self)
        return self.stacked_.final.scores

    @property
    def oof_prediction_(self) -> Floats:
        """(N, ...) nested out-of-fold predictions."""
        check_is_fitted(self)
        return self.stacked_.final.prediction

    def _predicted(self, X: ArrayLike) -> Floats:
        check_is_fitted(self)
        values = check_table(self, X, reset=False)
        return self.predictor_.predict([values]).prediction

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Give the (N,) predictions of (N, C) rows, by the models of all folds.

        They end as ``oof_prediction_`` does: at values of classes where the metric
        scores the nearest class.
        """
        return self._predicted(X)


def _check_inputs(stackers: Sequence[str]) -> None:
    """Check that the stackers read columns: a table has no views and no pixels."""
    for name in stackers:
        inputs = STACKERS[name].inputs if name in STACKERS else "all"
        if inputs in ("views", "pixels"):
            raise UserError(
                f"stackers = {name!r} reads the {inputs} of pictures, and X has"
                " columns; leave it out"
            )


class ClassStacker(ClassifierMixin, Stacker):  # type: ignore[misc]
    """Predict classes; the arguments are those of ``Stacker``.

    Attributes:
        classes_: (K,) the classes.
    """

    _is_number = False

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Give the (N, K) class probabilities of (N, C) rows."""
        return self._predicted(X)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Give the (N,) most probable classes of (N, C) rows."""
        return labels_of(self.predict_proba(X), self.classes_)
