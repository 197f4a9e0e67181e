"""Classes by the squared error of ones and zeros, as if they were numbers.

Source: Hui & Belkin 2020, Evaluation of Neural Architectures Trained with Square Loss
vs Cross-Entropy in Classification Tasks, arXiv 2006.07322, without its scaling.

Shapes: B rows of a batch, K classes.
"""

from typing import TYPE_CHECKING

from data_prep.head_losses.class_loss import ClassLoss

if TYPE_CHECKING:
    from torch import Tensor

    from data_prep.head_losses.base import State


class Squares(ClassLoss):
    """Mean squared distance of the outputs from 1 for the right class and 0 else."""

    def class_costs(self, outputs: "Tensor") -> "Tensor":
        """Give the (B, K) means over the K squares."""
        squares = outputs.square()
        return (squares.sum(dim=1, keepdim=True) - 2 * outputs + 1) / outputs.shape[1]

    def logits_of(self, proba: "Tensor") -> "Tensor":
        """Give the (K,) outputs that are those probabilities."""
        return proba

    def predict(self, outputs: "Tensor", state: "State") -> "Tensor":
        """Give (B, K) probabilities: the outputs, cut to 0..1 and brought to sum 1."""
        del state
        cut = outputs.clamp(1e-6, 1)  # so that some class is left
        return cut / cut.sum(dim=1, keepdim=True)
