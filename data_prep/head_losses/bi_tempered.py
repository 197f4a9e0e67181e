"""Classes with two temperatures: a bounded loss of probabilities with heavy tails.

Source: Amid et al. 2019, Robust Bi-Tempered Logistic Loss Based on Bregman Divergences,
arXiv 1906.03361; its functions are those of pytorch-optimizer.
Differs: constants in the probabilities are left out, which a smoothed label would add.

Shapes: B rows of a batch, K classes.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_prep.head_losses.class_loss import ClassLoss

if TYPE_CHECKING:
    from torch import Tensor

    from data_prep.head_losses.base import State

STEPS = 20  # the probabilities then sum to 1 within 1e-5, up to t2 = 2
SMALLEST = 1e-10  # probability whose logarithm has a slope


@dataclass(frozen=True, kw_only=True)
class BiTempered(ClassLoss):
    """The bi-tempered logistic loss.

    Attributes:
        t1: Below 1: the smaller, the less the worst rows pull.
        t2: Above 1: the larger, the heavier the tails of the probabilities.
    """

    t1: float = 0.8
    t2: float = 1.2

    def class_costs(self, outputs: "Tensor") -> "Tensor":
        """Give the (B, K) divergences of the probabilities from each class."""
        from pytorch_optimizer.loss.bi_tempered import log_t

        proba, power = self._proba(outputs), 2 - self.t1
        of_all = (proba**power).sum(dim=1, keepdim=True) - 1
        return of_all / power - log_t(proba.clamp(min=SMALLEST), self.t1)

    def logits_of(self, proba: "Tensor") -> "Tensor":
        """Give (K,) logits at which the outputs are so probable."""
        from pytorch_optimizer.loss.bi_tempered import log_t

        return log_t(proba, self.t2)

    def predict(self, outputs: "Tensor", state: "State") -> "Tensor":
        """Give the (B, K) probabilities, which sum to 1."""
        del state
        return self._proba(outputs)

    def _proba(self, outputs: "Tensor") -> "Tensor":
        from pytorch_optimizer.loss.bi_tempered import tempered_softmax

        return tempered_softmax(outputs, self.t2, STEPS)
