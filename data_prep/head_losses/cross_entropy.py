"""Classes by the logarithm of the probability of the right one.

Shapes: B rows of a batch, K classes.
"""

from typing import TYPE_CHECKING

from data_prep.head_losses.class_loss import ClassLoss

if TYPE_CHECKING:
    from torch import Tensor


class CrossEntropy(ClassLoss):
    """Cross-entropy of K classes without an order."""

    def class_costs(self, outputs: "Tensor") -> "Tensor":
        """Give the (B, K) negative logarithms of the probabilities."""
        return -outputs.log_softmax(dim=1)

    def smoothed(self, outputs: "Tensor", y_true: "Tensor") -> "Tensor":
        """Give the same by torch, whose sum of a smoothed label is in one pass."""
        from torch.nn import functional

        return functional.cross_entropy(
            outputs, y_true, label_smoothing=self.label_smoothing, reduction="none"
        )
