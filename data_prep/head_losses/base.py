"""What a loss is: the width and state of its head, what it compares, what it predicts.

The state of a head is small tensors by name, such as the centre and scale of the
labels. It is made of the rows that the net is trained on and stored with its weights.

Torch is imported inside the methods, so that every stage may ask which losses there
are.

Shapes: N rows of the prepared table, n of them, B rows of a batch, L columns of labels,
W outputs of the head, F outputs that are stored.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data_prep.arrays import Bools, Floats

if TYPE_CHECKING:
    from torch import Tensor

    State = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What the tables say of one sub-task.

    Attributes:
        values: (N, L) labels, such as numbers, or (N, 1) class numbers; 0 where masked.
        has_label: (N,) whether the row has a label for this task.
        outputs: F suffixes of its output columns; an output without one is the label
            itself, in its unit.
        classes: Names of the classes or tags, empty for numbers.
        origin: What a net counts the labels from: 0, unless float32 would lose them.
        grades: K numbers of the grades, rising; empty where there are none.
    """

    values: Floats
    has_label: Bools
    outputs: tuple[str, ...] = ("",)
    classes: tuple[str, ...] = ()
    origin: float = 0.0
    grades: tuple[float, ...] = ()

    def from_origin(self) -> Floats:
        """Give the (N, L) labels counted from ``origin``; 0 where masked."""
        labels = self.values.astype(np.float64) - self.origin
        return np.where(self.has_label[:, None], labels, 0)


@dataclass(frozen=True, kw_only=True)
class BatchRows:
    """What a loss may know of the batch that a row is in.

    Attributes:
        weight: (B,) what each row counts; 0 where it has no label.
        mean: Gives the mean of (B,) values by those weights, without a gradient, over
            the whole batch where several devices share it.
        features: (B, D) of the backbone, of plain pictures; None where they are mixed.
    """

    weight: "Tensor"
    mean: "Callable[[Tensor], Tensor]"
    features: "Tensor | None" = None


class HeadLoss(ABC):
    """A loss, and the head that it is for.

    Attributes:
        needs_features: It compares the features of the rows of a batch.
    """

    needs_features = False

    def width(self, n_outputs: int) -> int:
        """Give W, the outputs of the head for F stored ones."""
        return n_outputs

    @abstractmethod
    def initial_state(self, n_outputs: int) -> "dict[str, Tensor]":
        """Give the state, in its final shapes, of a head that knows no label yet."""

    @abstractmethod
    def fit_state(self, y: "Tensor", labels: Labels) -> "dict[str, Tensor]":
        """Give the state for the (n, L) float64 labels of the training rows."""

    def initial_bias(self, y: "Tensor", labels: Labels) -> "Tensor | None":
        """Give the (W,) bias that training begins at; None: zeros."""
        del y, labels
        return None

    @abstractmethod
    def target(self, y: "Tensor", state: "State") -> "Tensor":
        """Bring (N, L) float64 labels to (N, ...) that outputs are compared with.

        It is done once, in float64, so that the weights of a net are the same bits
        whatever the unit of its labels.

        Args:
            y: Labels, counted from the task's origin; 0 where masked.
            state: That of ``fit_state``, in float64.
        """

    @abstractmethod
    def row_losses(
        self, outputs: "Tensor", y_true: "Tensor", state: "State"
    ) -> "Tensor":
        """Give the (B,) losses of (B, W) float32 outputs of the head.

        Args:
            outputs: Of the head.
            y_true: Rows of ``target``.
            state: Of the head.
        """

    def losses_of_each(
        self, outputs: "Tensor", y_of_classes: "Tensor", state: "State"
    ) -> "Tensor":
        """Give the (B, K) losses that each of K classes would have in each row.

        Args:
            outputs: (B, W) of the head.
            y_of_classes: (K, ...) rows of ``target``, one for each class.
            state: Of the head.
        """
        import torch

        losses = [
            self.row_losses(outputs, y_true.expand(len(outputs), *y_true.shape), state)
            for y_true in y_of_classes
        ]
        return torch.stack(losses, dim=1)

    def batch_losses(
        self, outputs: "Tensor", y_true: "Tensor", state: "State", rows: BatchRows
    ) -> "Tensor | None":
        """Give (B,) further losses, which depend on other rows of the batch.

        Args:
            outputs: (B, W) of the head.
            y_true: Rows of ``target``.
            state: Of the head.
            rows: The batch.

        Returns:
            None: there are none.
        """
        del outputs, y_true, state, rows
        return None

    @abstractmethod
    def predict(self, outputs: "Tensor", state: "State") -> "Tensor":
        """Bring (B, W) outputs of the head to the (B, F) that are stored.

        Numbers are in the unit of the labels, counted from the task's origin.
        """
