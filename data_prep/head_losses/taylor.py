"""Classes by the first terms of the series of the cross-entropy.

With p the probability of the right class, -log p = (1 - p) + (1 - p)^2 / 2 + ... . One
term is the mean absolute error, which a wrong label hardly disturbs; all of them are
the cross-entropy, which learns faster.

Source: Feng et al. 2020, Can Cross Entropy Loss Be Robust to Label Noise?, IJCAI.

Shapes: B rows of a batch, K classes.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_prep.head_losses.class_loss import ClassLoss

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Taylor(ClassLoss):
    """Cross-entropy cut after some terms: no row costs more than their sum at p = 0.

    Attributes:
        order: How many terms.
    """

    order: int = 6

    def class_costs(self, outputs: "Tensor") -> "Tensor":
        """Give the (B, K) sums of the first terms."""
        is_wrong = 1 - outputs.softmax(dim=1)
        costs = is_wrong / self.order
        for n in range(self.order - 1, 0, -1):
            costs = is_wrong * (1 / n + costs)  # Horner's scheme
        return costs
