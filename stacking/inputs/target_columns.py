"""What the columns of the nets say of the target, before anything is learned from them.

Shapes: N rows, C columns, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_prep.task_types.registry import TASK_TYPES
from stacking.inputs.data import Assembled, Column, columns_of

if TYPE_CHECKING:
    from data_prep.experiment import TaskSettings

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class NetPredictions:
    """What the nets say of rows, beside the prediction that is post-processed.

    Attributes:
        plain: (N,) the net's own regression, clipped; None: there is none.
        shares: (N, K) class probabilities; None: there are none.
        class_values: (K,) numbers that the classes stand for.
    """

    plain: Floats | None
    shares: Floats | None
    class_values: Floats

    @classmethod
    def averaged(cls, by_net: Sequence["NetPredictions"]) -> "NetPredictions":
        """Average what several nets say of the same rows."""

        def mean(given: Sequence[Floats | None]) -> Floats | None:
            values = [one for one in given if one is not None]
            return np.mean(values, axis=0) if values else None

        return cls(
            mean([one.plain for one in by_net]),
            mean([one.shares for one in by_net]),
            by_net[0].class_values,
        )

    def take(self, rows: Ints) -> "NetPredictions":
        """Give some of the rows."""
        return NetPredictions(
            None if self.plain is None else self.plain[rows],
            None if self.shares is None else self.shares[rows],
            self.class_values,
        )


@dataclass(frozen=True)
class TargetColumns:
    """How columns are read as the target.

    Attributes:
        columns: C columns.
        classes: K names of classes, in the order of the class outputs.
        target_range: Smallest and largest target; None: classes.
        plain: The sub-task that is the regression of the target; empty: there is none.
        proba_task: The sub-task that gives the target's class probabilities; or empty.
    """

    columns: tuple[Column, ...]
    classes: tuple[str, ...]
    target_range: tuple[float, float] | None
    plain: str = ""
    proba_task: str = ""

    @classmethod
    def of(
        cls,
        rows: Assembled,
        tasks: Mapping[str, "TaskSettings"],
        target_column: str | None,
    ) -> "TargetColumns":
        """Find the sub-tasks whose label is the target.

        Args:
            rows: What was assembled.
            tasks: Tables ``[tasks.NAME]`` of the experiment; empty: the default tasks.
            target_column: The user's name of the target column.
        """
        return cls.of_columns(
            rows.columns,
            rows.classes,
            rows.target_range,
            tasks=tasks,
            target_column=target_column,
        )

    @classmethod
    def of_columns(
        cls,
        columns: tuple[Column, ...],
        classes: tuple[str, ...],
        target_range: tuple[float, float] | None,
        *,
        tasks: Mapping[str, "TaskSettings"],
        target_column: str | None,
    ) -> "TargetColumns":
        """Find them among columns that may not be made yet; see ``of``."""

        def first(target_outputs: str, usual: str, n_outputs: int) -> str:
            names = [
                name
                for name, task in tasks.items()
                if TASK_TYPES[task.kind].target_outputs == target_outputs
                and task.column in (None, target_column)
            ]
            for name in names if tasks else [usual]:
                if n_outputs and len(columns_of(columns, name, "mean")) == n_outputs:
                    return name
            return ""

        is_number = target_range is not None
        return cls(
            columns,
            classes,
            target_range,
            first("number", "target", 1) if is_number else "",
            first("probabilities", "onehot", len(classes)),
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

    def columns_of(self, task: str, statistic: str = "") -> Ints:
        """Give the positions of a task's columns; with one statistic, only of it."""
        return columns_of(self.columns, task, statistic)

    def shares(self, values: Floats) -> Floats | None:
        """Read the (N, K) class probabilities from (N, C) unaligned columns."""
        if not self.proba_task:
            return None
        means = np.maximum(values[:, self.columns_of(self.proba_task, "mean")], 0)
        total = means.sum(axis=1, keepdims=True)
        even = np.full_like(means, 1 / means.shape[1])
        shares: Floats = np.divide(means, total, out=even, where=total > 0)
        return shares

    def fixed(self, values: Floats) -> dict[str, Floats]:
        """Read the predictions that need no fitting from (N, C) unaligned columns.

        ``plain`` is the net's own prediction, the mean of the views, and ``expected``
        the expected value of its class probabilities.
        """
        found: dict[str, Floats] = {}
        shares = self.shares(values)
        if not self.is_number:
            return {"plain": shares} if shares is not None else {}
        if self.plain:
            (column,) = self.columns_of(self.plain, "mean")
            found["plain"] = self.clip(values[:, column])
        if shares is not None:
            found["expected"] = self.clip(shares @ self.class_values)
        return found

    def net_pred(self, values: Floats) -> NetPredictions:
        """Read what post-processing looks at from (N, C) unaligned columns."""
        plain = self.fixed(values).get("plain") if self.is_number else None
        return NetPredictions(plain, self.shares(values), self.class_values)

    def clip(self, prediction: Floats) -> Floats:
        """Bring numbers into the target's range; leave probabilities."""
        if self.target_range is None:
            return prediction
        clipped: Floats = np.clip(prediction, *self.target_range)
        return clipped
