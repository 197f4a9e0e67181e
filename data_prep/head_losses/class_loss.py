"""What all losses of classes without an order share: weights, smoothing, the start.

A loss says what each class would cost if it were the right one. Smoothing and mixing
are then means of those costs, so they mean the same for every loss.

Shapes: N rows, B rows of a batch, K classes.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from data_prep.head_losses.base import HeadLoss, Labels

if TYPE_CHECKING:
    from torch import Tensor

    from data_prep.head_losses.base import State

WEIGHTS = "class_weights"


@dataclass(frozen=True, kw_only=True)
class ClassLoss(HeadLoss):
    """A loss of K classes; the outputs are their probabilities.

    Attributes:
        label_smoothing: Share of a label that is spread over all classes (Szegedy et
            al. 2016, arXiv 1512.00567).
        is_balanced: Classes count alike, however many rows they have.
        class_weights: Factors of the losses of some classes, by name.
    """

    label_smoothing: float = 0.0
    is_balanced: bool = False
    class_weights: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_weighed(self) -> bool:
        """Whether the losses of classes have factors."""
        return self.is_balanced or bool(self.class_weights)

    def initial_state(self, n_outputs: int) -> "dict[str, Tensor]":
        """Classes have no unit: centre 0 and scale 1; the (K,) weights are 1."""
        import torch

        # nothing reads them but the loading of nets, which is strict
        state = {"centre": torch.zeros(n_outputs), "scale": torch.ones(n_outputs)}
        return state | ({WEIGHTS: torch.ones(n_outputs)} if self.is_weighed else {})

    def fit_state(self, y: "Tensor", labels: Labels) -> "dict[str, Tensor]":
        """Give the weights of the classes; a class that no row has keeps its own."""
        import torch

        state = self.initial_state(len(labels.outputs))
        if not self.is_weighed:
            return state
        weights = [self.class_weights.get(name, 1.0) for name in labels.classes]
        state[WEIGHTS] = torch.tensor(weights, dtype=torch.float64)
        if self.is_balanced:
            n_rows = torch.bincount(y[:, 0].long(), minlength=len(weights))
            balance = len(y) / (len(weights) * n_rows.clamp(min=1))
            state[WEIGHTS] *= balance.masked_fill(n_rows == 0, 1.0)
        return state

    def initial_bias(self, y: "Tensor", labels: Labels) -> "Tensor":
        """Give the (K,) logarithms of class frequencies, where training begins."""
        import torch

        n_rows = torch.bincount(y[:, 0].long(), minlength=len(labels.outputs))
        # half a row more for each: a fold may lack a class, and log 0 has no end
        frequencies = (n_rows + 0.5) / (n_rows + 0.5).sum()
        if self.is_weighed:
            frequencies = (frequencies * self.fit_state(y, labels)[WEIGHTS]).float()
            frequencies = frequencies / frequencies.sum()
        return self.logits_of(frequencies)

    def target(self, y: "Tensor", state: "State") -> "Tensor":
        """Give the (N,) class numbers."""
        del state
        return y[:, 0].long()

    def row_losses(
        self, outputs: "Tensor", y_true: "Tensor", state: "State"
    ) -> "Tensor":
        """Give the (B,) losses of (B, K) logits, times their class's weight.

        Torch would weigh each class that a smoothed label is spread over by itself, and
        the share of a rare one could then exceed that of the right one.
        """
        losses = self.smoothed(outputs, y_true)
        weights = state.get(WEIGHTS)
        return losses if weights is None else losses * weights[y_true]

    def smoothed(self, outputs: "Tensor", y_true: "Tensor") -> "Tensor":
        """Give the (B,) losses of (B, K) logits by (B,) classes, smoothed."""
        costs = self.class_costs(outputs)
        losses = costs.gather(1, y_true[:, None])[:, 0]
        if not self.label_smoothing:
            return losses
        return losses.lerp(costs.mean(dim=1), self.label_smoothing)

    def losses_of_each(
        self, outputs: "Tensor", y_of_classes: "Tensor", state: "State"
    ) -> "Tensor":
        """Give the (B, K) losses by each class, at the cost of one of them."""
        costs = self.class_costs(outputs)
        if self.label_smoothing:
            costs = costs.lerp(costs.mean(dim=1, keepdim=True), self.label_smoothing)
        weights = state.get(WEIGHTS)
        losses = costs if weights is None else costs * weights
        return losses[:, y_of_classes]

    @abstractmethod
    def class_costs(self, outputs: "Tensor") -> "Tensor":
        """Give what each class would cost if it were the right one.

        Args:
            outputs: (B, K) logits.

        Returns:
            (B, K) losses.
        """

    def logits_of(self, proba: "Tensor") -> "Tensor":
        """Give (K,) logits at which the outputs are so probable."""
        return proba.log()

    def predict(self, outputs: "Tensor", state: "State") -> "Tensor":
        """Give the (B, K) probabilities of the classes."""
        del state
        return outputs.softmax(dim=1)
