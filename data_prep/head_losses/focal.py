"""Classes whose rows count less the surer the net is of them already.

Source: Lin et al. 2017, Focal Loss for Dense Object Detection, arXiv 1708.02002, with
the softmax of K classes for the sigmoid; its sum with the cosine of the logits is
FocalCosineLoss of pytorch-optimizer, after Barz & Denzler 2019, Deep Learning on Small
Datasets without Pre-Training using Cosine Loss, arXiv 1901.09054.

Shapes: B rows of a batch, K classes.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_prep.head_losses.class_loss import ClassLoss

if TYPE_CHECKING:
    from torch import Tensor

    from data_prep.head_losses.base import State

FOCAL_WEIGHT = 0.1  # beside the cosine, as in the library


@dataclass(frozen=True, kw_only=True)
class Focal(ClassLoss):
    """Cross-entropy times (1 - p)^gamma, p the probability of the right class.

    Attributes:
        gamma: 0 is plain cross-entropy.
    """

    gamma: float = 2.0

    def class_costs(self, outputs: "Tensor") -> "Tensor":
        """Give the (B, K) cross-entropies, less of what is nearly sure."""
        log_proba = outputs.log_softmax(dim=1)
        # clamped, since a power below 1 has no slope at 0
        is_wrong = -log_proba.clamp(max=-1e-6).expm1()
        return -log_proba * is_wrong**self.gamma


class FocalCosine(Focal):
    """1 - cosine between logits and the right class, and a tenth of a focal loss.

    The length of the logits means nothing to it, so they are brought to length 1. Its
    probabilities are flat: of K classes the surest has e / (e + K - 1).
    """

    def class_costs(self, outputs: "Tensor") -> "Tensor":
        """Give the (B, K) sums of both losses."""
        from torch.nn import functional

        cosines = functional.normalize(outputs, dim=1)
        return 1 - cosines + FOCAL_WEIGHT * super().class_costs(cosines)

    def predict(self, outputs: "Tensor", state: "State") -> "Tensor":
        """Give the (B, K) probabilities that its focal part learns."""
        from torch.nn import functional

        return super().predict(functional.normalize(outputs, dim=1), state)
