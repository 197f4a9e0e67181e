"""The members of the stack: what each of them says of every row, out of fold.

Three sorts: what the nets say themselves (``plain``, ``expected``), each other sub-task
alone (``date_alone``), which shows what it is worth, and the stackers, which learn from
all columns. ``weighted`` is the mean of the sub-tasks and ``blend`` that of everything,
both by greedy selection.

Shapes: N rows, M pictures to predict, C columns, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stacking.cross_fitting import CrossFit, TrainingRows, outer_folds
from stacking.ensemble.objective import Objective
from stacking.inputs.alignment import METHODS, Alignment, learn_alignment
from stacking.inputs.data import Assembled
from stacking.inputs.target_columns import TargetColumns
from stacking.models.boosting import Boosting, quick
from stacking.models.linear import cross_fit_curve, cross_fit_ridge
from stacking.models.registry import STACKERS
from stacking.models.stacker import FitContext

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WIDE = 300  # columns; of more, the linear models see the means over the views only


@dataclass(frozen=True)
class AlignedFeatures:
    """The rows on the nets' own scales, and on the common one.

    Attributes:
        rows: What was assembled.
        target_columns: Which columns speak of the target.
        alignment: The maps between the nets.
        aligned: (N, C).
        tried: By method of alignment, the score of quick boosters; empty: none was
            chosen.
    """

    rows: Assembled
    target_columns: TargetColumns
    alignment: Alignment
    aligned: Floats
    tried: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, rows: Assembled, target_columns: TargetColumns, method: str
    ) -> "AlignedFeatures":
        """Align the rows by the method."""
        alignment = learn_alignment(rows.nets, method)
        aligned = rows.X.copy()
        if alignment.method != "none":
            for fold, _, own in outer_folds(rows.folds):
                aligned[own] = alignment.apply(fold, rows.X[own])
        return cls(rows, target_columns, alignment, aligned)

    @classmethod
    def chosen(
        cls,
        rows: Assembled,
        target_columns: TargetColumns,
        objective: Objective,
        boosting: Boosting,
    ) -> "AlignedFeatures":
        """Align the rows by the method with the best out-of-fold score.

        Boosters with a fixed number of rounds tell, so nothing is tuned on what is
        scored but the one choice between three methods.
        """
        found, scores = {}, {}
        for method in METHODS[::-1]:
            features = cls.of(rows, target_columns, method)
            if features.alignment.method != method and method != "none":
                return cls.of(rows, target_columns, "none")  # nothing to align by
            found[method] = features
            target = features.target()
            said = quick(features.training_rows(), boosting)
            scores[method] = objective.score(target, target_columns.clip(said))
        best = "rank"
        for method, score in scores.items():
            best = method if objective.is_better(score, scores[best]) else best
        return replace(found[best], tried=scores)

    def target(self) -> Floats:
        """Give the (N,) numbers, or (N, K) with a 1 in the column of the class."""
        if self.target_columns.is_number:
            return self.rows.target.astype(np.float64)
        return np.eye(len(self.rows.classes))[self.rows.class_index]

    def training_rows(self, X: Floats | None = None) -> TrainingRows:
        """Give the rows to learn from, with (N, ...) inputs; None: all, aligned."""
        weights = self.rows.weights
        return TrainingRows(
            X=self.aligned if X is None else X,
            y=self.target(),
            folds=self.rows.folds,
            groups=self.rows.cv_groups,
            sample_weight=np.ones(len(self.aligned)) if weights is None else weights,
        )

    def linear_columns(self) -> Ints:
        """Give the columns of the linear models."""
        columns = self.rows.columns
        return np.array(
            [
                place
                for place, column in enumerate(columns)
                if len(columns) <= WIDE or column.statistic in ("mean", "")
            ]
        )


@dataclass(frozen=True)
class Member:
    """One member.

    Attributes:
        title: For people.
        fit: What it says of every row, not yet clipped.
        inputs: Positions of the columns its models see, aligned; none: it has no models
            and is read from the nets, or its models see single views.
        sees_views: Its models see single views.
    """

    title: str
    fit: CrossFit
    inputs: Ints = field(default_factory=lambda: np.array([], dtype=np.int64))
    sees_views: bool = False


def fit_stackers(
    features: AlignedFeatures,
    names: Sequence[str],
    context: FitContext,
    views: Floats | None = None,
) -> dict[str, Member]:
    """Cross-fit the stackers that learn from all columns.

    Args:
        features: The rows.
        names: Those to fit; what is none of ``STACKERS`` is passed over.
        context: What they are told beside the rows.
        views: (N, V, F) single views, for stackers of them.
    """
    every, narrow = np.arange(len(features.rows.columns)), features.linear_columns()
    inputs = {
        "all": (features.aligned, every),
        "narrow": (features.aligned[:, narrow], narrow),
        "views": (views, narrow[:0]),
    }
    members = {}
    stackers = [STACKERS[name] for name in names if name in STACKERS]
    for stacker in stackers:
        stacker.check_package()
    for stacker in stackers:
        X, col_idx = inputs[stacker.inputs]
        columns = [features.rows.columns[idx].name for idx in col_idx]
        members[stacker.name] = Member(
            title=stacker.title,
            fit=stacker.fit(
                features.training_rows(X), replace(context, columns=columns)
            ),
            inputs=col_idx,
            sees_views=stacker.inputs == "views",
        )
    return members


def fit_tasks(features: AlignedFeatures, seed: int) -> dict[str, Member]:
    """Cross-fit each sub-task alone; those of the target itself are read instead."""
    rows, target_columns = features.rows, features.target_columns
    own = {target_columns.plain, target_columns.proba_task}
    found = {}
    for task in dict.fromkeys(column.task for column in rows.columns):
        means = rows.columns_of(task, "mean")
        if task in own or not len(means):
            continue
        X = features.aligned[:, means]
        if len(means) == 1 and target_columns.is_number:
            fit = cross_fit_curve(features.training_rows(X[:, 0]), seed=seed)
            found[f"{task}_alone"] = Member(f"{task} alone, rising curve", fit, means)
        else:
            fit = cross_fit_ridge(features.training_rows(X), seed=seed)
            found[f"{task}_alone"] = Member(f"{task} alone, ridge", fit, means)
    return found


def read_fixed(features: AlignedFeatures) -> dict[str, Member]:
    """Read what the nets say of the target themselves."""
    target_columns, rows = features.target_columns, features.rows
    titles = {
        "plain": "plain net, mean of the views",
        "expected": f"{target_columns.proba_task} alone, expected value",
    }
    return {
        name: Member(titles[name], CrossFit.of_fixed(values, rows.folds))
        for name, values in target_columns.fixed(rows.X).items()
    }


def constant(target: Floats, folds: Ints) -> Floats:
    """Predict each fold by the mean of the others."""
    predicted = np.empty_like(target)
    for _, rest, held_out in outer_folds(folds):
        predicted[held_out] = target[rest].mean(axis=0)
    return predicted
