"""Several yes-or-no questions at once: which of the tags a row has.

Shapes: N rows, B rows of a batch, K tags.
"""

from typing import TYPE_CHECKING

from data_prep.head_losses.base import Labels
from data_prep.head_losses.binary import BinaryCrossEntropy

if TYPE_CHECKING:
    from torch import Tensor

    from data_prep.head_losses.base import State


class TagEntropy(BinaryCrossEntropy):
    """Binary cross-entropy, a mean over the tags."""

    def initial_state(self, n_outputs: int) -> "dict[str, Tensor]":
        """A probability has no unit: there is none."""
        del n_outputs
        return {}

    def fit_state(self, y: "Tensor", labels: Labels) -> "dict[str, Tensor]":
        """Nothing is kept of the labels."""
        del y, labels
        return {}

    def initial_bias(self, y: "Tensor", labels: Labels) -> "Tensor":
        """Give the (K,) logits of how often each tag is there."""
        del labels
        # half a row more for each answer: a fold may lack a tag
        return ((y.sum(dim=0) + 0.5) / (len(y) + 1)).logit().float()

    def target(self, y: "Tensor", state: "State") -> "Tensor":
        """Give the (N, K) ones and zeros."""
        del state
        return y.float()

    def predict(self, outputs: "Tensor", state: "State") -> "Tensor":
        """Give the (B, K) probabilities of the tags."""
        del state
        return outputs.sigmoid()
