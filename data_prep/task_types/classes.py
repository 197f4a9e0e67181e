"""Classes without an order: the target's, or those of any column."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Floats
from data_prep.errors import UserError
from data_prep.head_losses.base import HeadLoss, Labels
from data_prep.head_losses.cross_entropy import CrossEntropy
from data_prep.tables.spelling import class_names
from data_prep.task_types.base import LabelSource, TargetOutputs, TaskType

# Rows of a class of another column than the target; rarer ones are masked.
FEWEST = 5


@dataclass(frozen=True, kw_only=True)
class Classes(TaskType):
    """One of K classes for each row; the outputs are their probabilities."""

    name = "classes"
    losses = ("cross_entropy",)
    target_outputs: ClassVar[tuple[TargetOutputs, ...]] = ("probabilities",)
    probed_as = "classes"

    @property
    def activation(self) -> str:
        """The outputs are probabilities, which sum to 1."""
        return "softmax"

    def read_labels(self, source: LabelSource) -> Labels:
        """Read a column of names as class numbers, or those of the target."""
        column, is_train = source.column_name(self.column, "target"), source.is_train
        if column == "target":
            if "class_index" not in source.table:
                raise UserError(
                    "the target has too many values to be classes; use kind ="
                    " 'regression'"
                )
            class_idx = source.table["class_index"].to_numpy()
            classes = class_names(source.metadata["classes"])
        else:
            from data_prep.tables.cells import as_texts

            names = np.array(as_texts(source.table[column]), dtype=object)
            labelled = names[is_train & (names != "")]
            levels, n_rows = np.unique(labelled, return_counts=True)
            classes = tuple(map(str, levels[n_rows >= FEWEST]))
            number = {name: k for k, name in enumerate(classes)}
            class_idx = np.array([number.get(name, -1) for name in names])
        if len(classes) < 2:
            raise UserError(
                f"{len(classes)} of its classes has {FEWEST} rows or more; two are"
                " needed"
            )
        has_label = (class_idx >= 0) & is_train
        return Labels(
            values=np.where(has_label, class_idx, 0).astype(np.float64)[:, None],
            has_label=has_label,
            outputs=tuple(str(k) for k in range(len(classes))),
            classes=classes,
        )

    def head_loss(self) -> HeadLoss:
        """Give the cross-entropy."""
        return CrossEntropy()

    def score(
        self, y_true: Floats, y_pred: NDArray[np.floating[Any]]
    ) -> tuple[str, float]:
        """Give the accuracy: how often the most probable class is the right one."""
        return "accuracy", float((y_pred.argmax(axis=1) == y_true[:, 0]).mean())

    def probe_target(self, values: NDArray[np.floating[Any]], n_outputs: int) -> Floats:
        """Give 1 in the column of the class, (N, K)."""
        return np.eye(n_outputs)[values[:, 0].astype(np.int64)]


TASK_TYPE = Classes
