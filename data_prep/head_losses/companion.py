"""A number beside the fifth of the labels that it lies in: a coarse class, learned too.

Classes are easier to begin with than numbers, and what the backbone learns for them
serves both.

Shapes: N rows, B rows of a batch, W outputs of the head of the number alone.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_prep.head_losses.base import HeadLoss, Labels

if TYPE_CHECKING:
    from torch import Tensor

    from data_prep.head_losses.base import State

FIFTHS = 5
SUFFIXES = tuple(f"q{k + 1}" for k in range(FIFTHS))


@dataclass(frozen=True, kw_only=True)
class WithFifths(HeadLoss):
    """The loss of a number, and a cross-entropy that weighs about as much.

    Attributes:
        number: The loss of the number; its label is the first column.
    """

    number: HeadLoss

    def width(self, n_outputs: int) -> int:
        """Give W of the number, and a logit for each fifth."""
        return self.number.width(n_outputs - FIFTHS) + FIFTHS

    def initial_state(self, n_outputs: int) -> "dict[str, Tensor]":
        """Give the state of the number, and the inner edges of the fifths."""
        import torch

        state = self.number.initial_state(n_outputs - FIFTHS)
        return state | {"fifths": torch.zeros(FIFTHS - 1)}

    def fit_state(self, y: "Tensor", labels: Labels) -> "dict[str, Tensor]":
        """Give as edges the labels that end the first four fifths of the rows."""
        import torch

        last = torch.arange(1, FIFTHS) * len(y) // FIFTHS - 1
        edges = y[:, 0].sort().values[last.clamp(min=0)]
        return self.number.fit_state(y, labels) | {"fifths": edges}

    def initial_bias(self, y: "Tensor", labels: Labels) -> "Tensor":
        """Give the bias of the number, and the logarithms of the fifths' shares."""
        import torch

        state = self.fit_state(y, labels)
        bias = self.number.initial_bias(y, labels)
        if bias is None:
            bias = torch.zeros(self.width(len(labels.outputs)) - FIFTHS)
        fifths = torch.bincount(_fifths_of(y, state), minlength=FIFTHS) + 0.5
        return torch.cat([bias, (fifths / fifths.sum()).log()])

    def target(self, y: "Tensor", state: "State") -> "Tensor":
        """Give the targets of the number, and in a last column the fifth, 0 to 4."""
        import torch

        number = self.number.target(y, state)
        return torch.cat([number, _fifths_of(y, state)[:, None]], dim=1)

    def row_losses(
        self, outputs: "Tensor", y_true: "Tensor", state: "State"
    ) -> "Tensor":
        """Give the (B,) sums of both; that of even odds between the fifths is 1."""
        from torch.nn import functional

        numbers = self.number.row_losses(outputs[:, :-FIFTHS], y_true[:, :-1], state)
        fifths = functional.cross_entropy(
            outputs[:, -FIFTHS:], y_true[:, -1].long(), reduction="none"
        )
        return numbers + fifths / math.log(FIFTHS)

    def predict(self, outputs: "Tensor", state: "State") -> "Tensor":
        """Give the (B, 1 + 5) numbers and probabilities of the fifths."""
        import torch

        numbers = self.number.predict(outputs[:, :-FIFTHS], state)
        return torch.cat([numbers, outputs[:, -FIFTHS:].softmax(dim=1)], dim=1)


def _fifths_of(y: "Tensor", state: "State") -> "Tensor":
    """Give the (N,) numbers of the fifths that labels lie in."""
    return (y[:, :1] > state["fifths"]).sum(dim=1)
