"""Cross-entropy both ways: of the label by the net, and of the net by the label.

The second, with log 0 set to a constant, is a multiple of the mean absolute error: a
row whose label is wrong costs a bounded amount, and does not come to rule.

Source: Wang et al. 2019, Symmetric Cross Entropy for Robust Learning with Noisy Labels,
arXiv 1908.06112.
Differs: the weight of the plain part is 1, so that there is a single weight to choose.

Shapes: B rows of a batch, K classes.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_prep.head_losses.class_loss import ClassLoss

if TYPE_CHECKING:
    from torch import Tensor

LOG_0 = -4.0  # of the paper, for most of its data


@dataclass(frozen=True, kw_only=True)
class Symmetric(ClassLoss):
    """Cross-entropy, and the reverse one with a weight.

    Attributes:
        reverse: Weight of the reverse one.
    """

    reverse: float = 1.0

    def class_costs(self, outputs: "Tensor") -> "Tensor":
        """Give the (B, K) sums of both."""
        log_proba = outputs.log_softmax(dim=1)
        # the label is 0 everywhere but at one class, where its logarithm is 0
        reverse = -LOG_0 * (1 - log_proba.exp())
        return -log_proba + self.reverse * reverse
