"""Binary cross-entropy of several outputs, whatever their targets are.

Shapes: B rows of a batch, F outputs of the head.
"""

from typing import TYPE_CHECKING

from data_prep.head_losses.base import HeadLoss

if TYPE_CHECKING:
    from torch import Tensor

    from data_prep.head_losses.base import State


class BinaryCrossEntropy(HeadLoss):
    """A mean over the outputs; targets are shares from 0 to 1."""

    def row_losses(
        self, outputs: "Tensor", y_true: "Tensor", state: "State"
    ) -> "Tensor":
        """Give the (B,) mean cross-entropies of (B, F) logits."""
        del state
        from torch.nn import functional

        losses = functional.binary_cross_entropy_with_logits(
            outputs, y_true, reduction="none"
        )
        return losses.mean(dim=1)
