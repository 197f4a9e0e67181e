"""Classes by the logarithm of the probability of the right one."""

from typing import TYPE_CHECKING

from data_prep.head_losses.base import HeadLoss, Labels

if TYPE_CHECKING:
    from torch import Tensor

    from data_prep.head_losses.base import State


class CrossEntropy(HeadLoss):
    """Cross-entropy of K classes without an order."""

    def initial_state(self, n_outputs: int) -> "dict[str, Tensor]":
        """Classes have no unit: the (K,) centre is 0 and the scale 1."""
        import torch

        return {"centre": torch.zeros(n_outputs), "scale": torch.ones(n_outputs)}

    def fit_state(self, y: "Tensor", labels: Labels) -> "dict[str, Tensor]":
        """Nothing is learned from the labels."""
        del y
        return self.initial_state(len(labels.outputs))

    def initial_bias(self, y: "Tensor", labels: Labels) -> "Tensor":
        """Give the (K,) logarithms of class frequencies, where training begins."""
        import torch

        n_rows = torch.bincount(y[:, 0].long(), minlength=len(labels.outputs))
        # half a row more for each: a fold may lack a class, and log 0 has no end
        return ((n_rows + 0.5) / (n_rows + 0.5).sum()).log()

    def target(self, y: "Tensor", state: "State") -> "Tensor":
        """Give the (N,) class numbers."""
        del state
        return y[:, 0].long()

    def row_losses(
        self, outputs: "Tensor", y_true: "Tensor", state: "State"
    ) -> "Tensor":
        """Give the (B,) cross-entropies of (B, K) logits."""
        del state
        from torch.nn import functional

        return functional.cross_entropy(outputs, y_true, reduction="none")

    def predict(self, outputs: "Tensor", state: "State") -> "Tensor":
        """Give the (B, K) probabilities of the classes."""
        del state
        return outputs.softmax(dim=1)
