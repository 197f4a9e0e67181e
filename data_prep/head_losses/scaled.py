"""A number by its place between the lowest and the highest label of the training rows.

Source: binary cross-entropy of a target divided by its range, as for Kaggle's PetFinder
Pawpularity (2021), where scores of 0 to 100 were learned as shares.
"""

from typing import TYPE_CHECKING

from data_prep.head_losses.base import Labels
from data_prep.head_losses.binary import BinaryCrossEntropy
from data_prep.tables.units import ROUNDING

if TYPE_CHECKING:
    from torch import Tensor

    from data_prep.head_losses.base import State


class ScaledCrossEntropy(BinaryCrossEntropy):
    """Binary cross-entropy of the label's place in the range, from 0 to 1.

    No output leaves the range of the labels that the net was trained on.
    """

    def initial_state(self, n_outputs: int) -> "dict[str, Tensor]":
        """Give the (F,) lower end 0 and the length 1 of the range."""
        import torch

        return {"low": torch.zeros(n_outputs), "range": torch.ones(n_outputs)}

    def fit_state(self, y: "Tensor", labels: Labels) -> "dict[str, Tensor]":
        """Give the range of the labels."""
        del labels
        low, high = y.amin(dim=0), y.amax(dim=0)
        is_empty = high - low <= ROUNDING * high.abs()
        return {"low": low, "range": (high - low).masked_fill(is_empty, 1.0)}

    def initial_bias(self, y: "Tensor", labels: Labels) -> "Tensor":
        """Give the (F,) bias at which the output is the mean of the labels."""
        places = self.target(y, self.fit_state(y, labels))
        return places.mean(dim=0).logit(eps=1e-3)

    def target(self, y: "Tensor", state: "State") -> "Tensor":
        """Give the (N, F) places in the range; what is held out may lie outside it."""
        return ((y - state["low"]) / state["range"]).clamp(0, 1).float()

    def predict(self, outputs: "Tensor", state: "State") -> "Tensor":
        """Give the (B, F) numbers at the places that the logits say."""
        return state["low"] + state["range"] * outputs.sigmoid()
