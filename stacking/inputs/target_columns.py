"""Which columns of the nets speak of the target, before anything is learned from them.

Shapes: N rows, C columns, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data_prep.arrays import Floats, Ints
from data_prep.task_types.base import TargetOutputs, TaskType
from stacking.inputs.data import Column, columns_of


@dataclass(frozen=True, kw_only=True)
class NetPredictions:
    """The nets' own predictions of the target, beside that which is post-processed.

    Attributes:
        regression: (N,) the net's own regression, clipped; None: there is none.
        proba: (N, K) class probabilities; None: there are none.
        class_values: (K,) numbers that the classes stand for.
    """

    regression: Floats | None
    proba: Floats | None
    class_values: Floats

    @classmethod
    def averaged(cls, by_net: Sequence["NetPredictions"]) -> "NetPredictions":
        """Average the predictions of the same rows by several nets."""

        def mean(values: Sequence[Floats | None]) -> Floats | None:
            present = [value for value in values if value is not None]
            return np.mean(present, axis=0) if present else None

        return cls(
            regression=mean([net.regression for net in by_net]),
            proba=mean([net.proba for net in by_net]),
            class_values=by_net[0].class_values,
        )

    def take(self, idx: Ints) -> "NetPredictions":
        """Give some of the rows."""
        return replace(
            self,
            regression=None if self.regression is None else self.regression[idx],
            proba=None if self.proba is None else self.proba[idx],
        )


def number_of(columns: Sequence[Column], task: str, statistic: str) -> Ints:
    """Give the indices of a task's number, the output without a suffix."""
    col_idx = columns_of(columns, task, statistic)
    if len(col_idx) == 1:  # a store of others may call its only output otherwise
        return col_idx
    return np.array([k for k in col_idx if not columns[k].output], dtype=np.int64)


def proba_of(columns: Sequence[Column], task: str, statistic: str) -> Ints:
    """Give the indices of a task's probabilities, in the order of the classes.

    Their suffixes are the numbers of the classes; others are taken as they come.
    """
    col_idx = columns_of(columns, task, statistic)
    outputs = [columns[k].output for k in col_idx]
    if not all(output.isdecimal() for output in outputs if output):
        return col_idx
    number = {
        int(output): k for output, k in zip(outputs, col_idx, strict=True) if output
    }
    return np.array([number[k] for k in sorted(number)], dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class TargetColumns:
    """How columns are read as the target.

    Attributes:
        columns: C columns.
        classes: K names of classes, in the order of the class outputs.
        target_range: Smallest and largest target; None: classes.
        regression_task: The sub-task that is the regression of the target; or empty.
        proba_task: The sub-task that gives the target's class probabilities; or empty.
    """

    columns: tuple[Column, ...]
    classes: tuple[str, ...]
    target_range: tuple[float, float] | None
    regression_task: str = ""
    proba_task: str = ""

    @classmethod
    def find(
        cls,
        columns: tuple[Column, ...],
        classes: tuple[str, ...],
        target_range: tuple[float, float] | None,
        *,
        tasks: Mapping[str, TaskType],
        target_column: str | None,
    ) -> "TargetColumns":
        """Find the sub-tasks whose label is the target.

        Args:
            columns: C columns, which need not be made yet.
            classes: K names.
            target_range: Smallest and largest target; None: classes.
            tasks: Tables ``[tasks.NAME]`` of the experiment; empty: the default tasks.
            target_column: The user's name of the target column.
        """

        def first(target_outputs: TargetOutputs, usual: str, n_outputs: int) -> str:
            outputs_of = number_of if target_outputs == "number" else proba_of
            names = [
                name
                for name, task in tasks.items()
                if target_outputs in task.target_outputs
                and task.column in (None, target_column)
            ]
            for name in names if tasks else [usual]:
                if n_outputs and len(outputs_of(columns, name, "mean")) == n_outputs:
                    return name
            return ""

        is_number = target_range is not None
        return cls(
            columns=columns,
            classes=classes,
            target_range=target_range,
            regression_task=first("number", "target", 1) if is_number else "",
            proba_task=first("probabilities", "onehot", len(classes)),
        )

    @property
    def is_number(self) -> bool:
        """Whether the target is a number, and not a class."""
        return self.target_range is not None

    @property
    def class_values(self) -> Floats:
        """(K,) numbers that the classes of a numeric target stand for."""
        names: Sequence[str] = self.classes if self.is_number else ()
        return np.array([float(name) for name in names])

    def proba_columns(self, statistic: str) -> Ints:
        """Give the (K,) indices of the target's class probabilities, in their order."""
        return proba_of(self.columns, self.proba_task, statistic)

    def columns_of_target(self, statistic: str) -> Ints:
        """Give the indices of the target as a number, or else of its probabilities."""
        if self.regression_task:
            return number_of(self.columns, self.regression_task, statistic)
        return self.proba_columns(statistic)

    def proba(self, X: Floats) -> Floats | None:
        """Read the (N, K) class probabilities from (N, C) unaligned columns."""
        if not self.proba_task:
            return None
        means = np.maximum(X[:, self.proba_columns("mean")], 0)
        total = means.sum(axis=1, keepdims=True)
        even = np.full_like(means, 1 / means.shape[1])
        proba: Floats = np.divide(means, total, out=even, where=total > 0)
        return proba

    def fixed(self, X: Floats) -> dict[str, Floats]:
        """Read the predictions that need no fitting from (N, C) unaligned columns.

        ``plain`` is the net's own prediction, the mean of the views, and ``expected``
        the expected value of its class probabilities.
        """
        pred: dict[str, Floats] = {}
        proba = self.proba(X)
        if not self.is_number:
            return {"plain": proba} if proba is not None else {}
        if self.regression_task:
            (col_idx,) = number_of(self.columns, self.regression_task, "mean")
            pred["plain"] = self.clip(X[:, col_idx])
        if proba is not None:
            pred["expected"] = self.clip(proba @ self.class_values)
        return pred

    def net_pred(self, X: Floats) -> NetPredictions:
        """Read what post-processing looks at from (N, C) unaligned columns."""
        return NetPredictions(
            regression=self.fixed(X).get("plain") if self.is_number else None,
            proba=self.proba(X),
            class_values=self.class_values,
        )

    def clip(self, pred: Floats) -> Floats:
        """Bring (N,) numbers into the target's range; leave (N, K) probabilities."""
        if self.target_range is None:
            return pred
        clipped: Floats = np.clip(pred, *self.target_range)
        return clipped
