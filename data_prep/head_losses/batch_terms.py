"""A number, and how it compares with the numbers of the other pictures of a batch.

Two terms may be added to the loss of a number, each with a weight: differences of two
predictions against those of their labels, and the order of pictures by features against
that by labels (``ranksim``).

Over all pairs of a batch, the mean squared difference of two errors e is twice their
variance. So a row costs 2 (e - mean e)^2, and the pairs of a batch that several devices
share are all its pairs: they need its mean alone, whose gradient is zero.

Shapes: n training rows, N rows, B rows of a batch, W outputs of the head.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_prep.head_losses.base import BatchRows, HeadLoss, Labels
from data_prep.head_losses.distances import Distance
from data_prep.head_losses.ranksim import rank_losses

if TYPE_CHECKING:
    from torch import Tensor

    from data_prep.head_losses.base import State

UNIT = {"centre": "label_mean", "scale": "label_std"}


@dataclass(frozen=True, kw_only=True)
class WithBatchTerms(HeadLoss):
    """The loss of a number, with terms of the batch.

    Attributes:
        number: The loss of the number; its label is the first column, and so is its
            prediction.
        pairwise: Weight of the differences, in standard deviations of the labels.
        ranksim: Weight of the order.
    """

    number: HeadLoss
    pairwise: float = 0.0
    ranksim: float = 0.0

    @property
    def needs_features(self) -> bool:  # type: ignore[override]
        """Whether it compares the features of the rows of a batch."""
        return self.ranksim > 0

    def width(self, n_outputs: int) -> int:
        """Give W of the number."""
        return self.number.width(n_outputs)

    def initial_state(self, n_outputs: int) -> "dict[str, Tensor]":
        """Give the state of the number, and the unit of the labels."""
        unit = Distance("mse").initial_state(1)
        return self.number.initial_state(n_outputs) | _renamed(unit)

    def fit_state(self, y: "Tensor", labels: Labels) -> "dict[str, Tensor]":
        """Give the state of the number, mean and standard deviation of the labels."""
        unit = Distance("mse").fit_state(y[:, :1], labels)
        return self.number.fit_state(y, labels) | _renamed(unit)

    def initial_bias(self, y: "Tensor", labels: Labels) -> "Tensor | None":
        """Give the bias of the number."""
        return self.number.initial_bias(y, labels)

    def target(self, y: "Tensor", state: "State") -> "Tensor":
        """Give the targets of the number, and in a last column the standard label."""
        import torch

        labels = (y[:, :1] - state["label_mean"]) / state["label_std"]
        return torch.cat([self.number.target(y, state), labels.float()], dim=1)

    def row_losses(
        self, outputs: "Tensor", y_true: "Tensor", state: "State"
    ) -> "Tensor":
        """Give the (B,) losses of the number."""
        return self.number.row_losses(outputs, y_true[:, :-1], state)

    def batch_losses(
        self, outputs: "Tensor", y_true: "Tensor", state: "State", rows: BatchRows
    ) -> "Tensor | None":
        """Give the (B,) terms, times their weights; mixed pictures have no order."""
        labels, losses = y_true[:, -1], None
        if self.pairwise:
            predictions = self.number.predict(outputs, state)[:, 0]
            errors = (predictions - state["label_mean"]) / state["label_std"] - labels
            losses = 2 * self.pairwise * (errors - rows.mean(errors)) ** 2
        if self.ranksim and rows.features is not None:
            ranks = self.ranksim * rank_losses(rows.features, labels, rows.weight > 0)
            losses = ranks if losses is None else losses + ranks
        return losses

    def predict(self, outputs: "Tensor", state: "State") -> "Tensor":
        """Give what the number gives."""
        return self.number.predict(outputs, state)


def _renamed(unit: "dict[str, Tensor]") -> "dict[str, Tensor]":
    return {UNIT[name]: value for name, value in unit.items()}
