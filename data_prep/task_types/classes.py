"""Classes without an order: the target's, or those of any column."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from data_prep.arrays import Floats, Ints
from data_prep.errors import UserError
from data_prep.head_losses.base import HeadLoss, Labels
from data_prep.head_losses.bi_tempered import BiTempered
from data_prep.head_losses.class_loss import ClassLoss
from data_prep.head_losses.cross_entropy import CrossEntropy
from data_prep.head_losses.focal import Focal, FocalCosine
from data_prep.head_losses.squares import Squares
from data_prep.head_losses.symmetric import Symmetric
from data_prep.head_losses.taylor import Taylor
from data_prep.ranges import Share
from data_prep.settings import Example, nearest
from data_prep.tables.spelling import class_names
from data_prep.task_types.base import LabelSource, TargetOutputs, TaskType

BALANCED = "balanced"
LOSSES: Mapping[str, type[ClassLoss]] = {
    "cross_entropy": CrossEntropy,
    "focal": Focal,
    "focal_cosine": FocalCosine,
    "taylor": Taylor,
    "symmetric": Symmetric,
    "bi_tempered": BiTempered,
    "mse": Squares,
}
NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")


@dataclass(frozen=True, kw_only=True)
class Classes(TaskType):
    """One of K classes for each row; the outputs are their probabilities."""

    name = "classes"
    losses = tuple(LOSSES)
    loss_options: ClassVar = {
        "gamma": ("focal", "focal_cosine"),
        "order": ("taylor",),
        "reverse": ("symmetric",),
        "t1": ("bi_tempered",),
        "t2": ("bi_tempered",),
    }
    target_outputs: ClassVar[tuple[TargetOutputs, ...]] = ("probabilities",)
    probed_as = "classes"
    higher_is_better = True

    label_smoothing: Annotated[
        Share, "share of a label spread over all classes", Example(0.05)
    ] = 0.0
    class_weights: Annotated[
        tuple[str, ...],
        "balanced, or factors of some classes, such as oak=2",
        Example(["balanced", "oak=2"]),
    ] = ()
    gamma: Annotated[
        float, "of focal losses: how much less a row counts that is nearly sure", Ge(0)
    ] = 2.0
    order: Annotated[int, "terms of the series of taylor", Ge(1)] = 6
    reverse: Annotated[float, "weight of the reverse part of symmetric", Ge(0)] = 1.0
    t1: Annotated[
        Share, "of bi_tempered: the smaller, the less the worst rows pull"
    ] = 0.8
    t2: Annotated[
        float, "of bi_tempered: the larger, the heavier the tails", Ge(1), Le(2)
    ] = 1.2
    min_count: Annotated[
        int, "rows that a class of a column needs; those of rarer ones are left out",
        Ge(2),
    ] = 5  # fmt: skip

    def __post_init__(self) -> None:
        """Check the weights, as far as no table is needed."""
        super().__post_init__()
        self._weights()

    @property
    def activation(self) -> str:
        """The outputs are probabilities, which sum to 1."""
        return "softmax"

    def _weights(self) -> Mapping[str, float]:
        """Read the factors of the classes that the user named."""
        weights = {}
        for text in self.class_weights:
            if text == BALANCED:
                continue
            name, _, factor = text.rpartition("=")
            if not name or not NUMBER.fullmatch(factor.strip()) or not float(factor):
                raise UserError(
                    f"class_weights = {text!r}: give {BALANCED}, or a class and its"
                    " factor above 0, such as oak=2"
                )
            weights[name.strip()] = float(factor)
        return weights

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
            classes = tuple(map(str, levels[n_rows >= self.min_count]))
            number = {name: k for k, name in enumerate(classes)}
            class_idx = np.array([number.get(name, -1) for name in names])
        if len(classes) < 2:
            raise UserError(
                f"{len(classes)} of its classes has {self.min_count} rows or more; two"
                " are needed"
            )
        for name in self._weights():
            if name not in classes:
                raise UserError(
                    f"class_weights: there is no class {name!r};"
                    f" {nearest(name, classes)}"
                )
        has_label = (class_idx >= 0) & is_train
        return Labels(
            values=np.where(has_label, class_idx, 0).astype(np.float64)[:, None],
            has_label=has_label,
            outputs=tuple(str(k) for k in range(len(classes))),
            classes=classes,
        )

    def check_labels(self, labels: Labels, n_folds: int) -> None:
        """Refuse too few labels, and a class with a single one.

        Raises:
            UserError: Nothing can be learned of a class, or at all.
        """
        super().check_labels(labels, n_folds)
        class_idx = labels.values[labels.has_label, 0].astype(np.int64)
        n_rows = np.bincount(class_idx, minlength=len(labels.classes))
        check_several(labels.classes, n_rows)

    def head_loss(self) -> HeadLoss:
        """Give the loss, with those of the settings that are for it."""
        name = self.loss_name
        options = {
            option: getattr(self, option)
            for option, losses in self.loss_options.items()
            if name in losses
        }
        return LOSSES[name](
            label_smoothing=self.label_smoothing,
            is_balanced=BALANCED in self.class_weights,
            class_weights=self._weights(),
            **options,
        )

    def score(
        self, y_true: Floats, y_pred: NDArray[np.floating[Any]]
    ) -> tuple[str, float]:
        """Give the accuracy: how often the most probable class is the right one."""
        return "accuracy", float((y_pred.argmax(axis=1) == y_true[:, 0]).mean())

    def probe_target(self, values: NDArray[np.floating[Any]], n_outputs: int) -> Floats:
        """Give 1 in the column of the class, (N, K)."""
        return np.eye(n_outputs)[values[:, 0].astype(np.int64)]


def check_several(classes: Sequence[str], n_rows: Ints) -> None:
    """Refuse a class of a single row.

    Args:
        classes: K names.
        n_rows: (K,) rows of each.

    Raises:
        UserError: The net that holds it out never sees the class.
    """
    from data_prep.tables.lookalikes import misspelled

    n_of = dict(zip(classes, n_rows.tolist(), strict=True))
    meant = misspelled(n_of)
    for name, n in n_of.items():
        if n == 1:
            question = f"did you mean {meant[name]!r}? " if name in meant else ""
            raise UserError(
                f"{name!r} is the label of a single row, and the net that holds it out"
                f" never sees one; {question}join it with another, or take the task out"
            )


TASK_TYPE = Classes
