"""The features of the stack on the one scale that all fold nets share.

Shapes: N rows, C columns, K nets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from data_prep.arrays import Floats, Ints
from stacking.cross_fitting import TrainingRows, each_fold
from stacking.ensemble.objective import Objective
from stacking.inputs.alignment import (
    METHODS,
    MIN_COMMON,
    MIN_HELD_OUT,
    Alignment,
    learn_alignment,
)
from stacking.inputs.data import StackingData
from stacking.inputs.target_columns import NetPredictions, TargetColumns
from stacking.models.boosting import Boosting, quick

WIDE = 300  # columns; of more, the linear models see the means over the views only


@dataclass(frozen=True, kw_only=True)
class AlignedFeatures:
    """The rows of the stack on the common scale.

    Attributes:
        data: The rows as the nets give them, each on its net's own scale.
        target_columns: Which columns speak of the target.
        alignment: The maps between the nets.
        rows: The N rows with aligned (N, C) columns.
        tried: By method of alignment, the score of quick boosters, in the metric;
            empty: none was chosen.
    """

    data: StackingData
    target_columns: TargetColumns
    alignment: Alignment
    rows: TrainingRows
    tried: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, data: StackingData, target_columns: TargetColumns, method: str
    ) -> "AlignedFeatures":
        """Align the rows by one of ``METHODS``."""
        alignment = _alignment(data, method)
        X = data.rows.X
        if alignment.method != "none":
            X = X.copy()
            for fold, _, val_idx in each_fold(data.rows.folds):
                X[val_idx] = alignment.apply(fold, X[val_idx])
        return cls(
            data=data,
            target_columns=target_columns,
            alignment=alignment,
            rows=replace(data.rows, X=X),
        )

    @classmethod
    def chosen(
        cls,
        data: StackingData,
        target_columns: TargetColumns,
        objective: Objective,
        boosting: Boosting,
    ) -> "AlignedFeatures":
        """Align the rows by the method with the best out-of-fold score.

        Boosters with a fixed number of rounds tell, so nothing is tuned on what is
        scored but the one choice between three methods.
        """
        best, scores = None, {}
        for method in METHODS[::-1]:
            features = cls.of(data, target_columns, method)
            if features.alignment.method != method:
                return cls.of(data, target_columns, "none")  # nothing to align by
            pred = target_columns.clip(quick(features.rows, boosting))
            scores[method] = objective.score(data.rows.y, pred)
            if best is None or objective.is_better(
                scores[method], scores[best.alignment.method]
            ):
                best = features  # no other is kept: each is as large as all columns
        assert best is not None
        return replace(best, tried=scores)

    @property
    def is_by_held_out(self) -> bool:
        """Whether the rows that each net held out tell its scale."""
        return _is_by_held_out(self.data)

    @property
    def column_names(self) -> list[str]:
        """C names."""
        return [column.name for column in self.data.columns]

    @property
    def net_pred(self) -> NetPredictions:
        """The nets' own predictions of the rows."""
        return self.target_columns.net_pred(self.data.rows.X)

    @property
    def narrow_rows(self) -> TrainingRows:
        """The rows with the columns that linear models see."""
        narrow, X = self.narrow_columns, self.rows.X
        return self.with_inputs(X if len(narrow) == X.shape[1] else X[:, narrow])

    def with_inputs(self, X: Floats) -> TrainingRows:
        """Give the rows with other (N, ...) inputs."""
        return replace(self.rows, X=X)

    @cached_property
    def narrow_columns(self) -> Ints:
        """The (n,) indices of the columns that linear models see."""
        columns = self.data.columns
        is_narrow = [
            len(columns) <= WIDE or column.statistic in ("mean", "")
            for column in columns
        ]
        return np.flatnonzero(is_narrow)


def _is_by_held_out(data: StackingData) -> bool:
    if not data.info.has_like_folds:
        return False  # what differs may be the rows and not the nets
    is_few = len(data.common.ids) < MIN_COMMON
    return is_few and any(column.is_by_fold for column in data.columns)


def _alignment(data: StackingData, method: str) -> Alignment:
    """Learn the maps from the common pictures, or of too few from those held out."""
    if not _is_by_held_out(data):
        return learn_alignment(data.common.nets, method)
    return learn_alignment(
        [data.rows.X[val_idx] for _, _, val_idx in each_fold(data.rows.folds)],
        method,
        least=MIN_HELD_OUT,
        is_moved=[column.is_by_fold for column in data.columns],
    )
