"""Numbers and vectors by how far the output lies from the label."""

from typing import TYPE_CHECKING

from data_prep.head_losses.base import HeadLoss, Labels
from data_prep.tables.units import ROUNDING

if TYPE_CHECKING:
    from torch import Tensor

    from data_prep.head_losses.base import State

DISTANCES = {"mse": "mse_loss", "mae": "l1_loss", "huber": "smooth_l1_loss"}


class Distance(HeadLoss):
    """A distance from the labels, which are standardised by the training rows.

    Args:
        name: One of ``DISTANCES``. That of Huber is quadratic up to one standard
            deviation and linear beyond (Huber 1964, Annals of Mathematical Statistics).
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def initial_state(self, n_outputs: int) -> "dict[str, Tensor]":
        """Give the (F,) centre 0 and scale 1."""
        import torch

        return {"centre": torch.zeros(n_outputs), "scale": torch.ones(n_outputs)}

    def fit_state(self, y: "Tensor", labels: Labels) -> "dict[str, Tensor]":
        """Give the (F,) mean and standard deviation of the labels."""
        del labels
        centre, scale = y.mean(dim=0), y.std(dim=0, correction=0)
        # labels that are all the same differ from their mean by rounding alone
        scale = scale.masked_fill(scale <= ROUNDING * centre.abs(), 1.0)
        return {"centre": centre, "scale": scale}

    def target(self, y: "Tensor", state: "State") -> "Tensor":
        """Give the (N, L) standardised labels."""
        return ((y - state["centre"]) / state["scale"]).float()

    def row_losses(
        self, outputs: "Tensor", y_true: "Tensor", state: "State"
    ) -> "Tensor":
        """Give the (B,) mean distances over the L columns."""
        del state
        from torch.nn import functional

        distance = getattr(functional, DISTANCES[self.name])
        losses: Tensor = distance(outputs, y_true, reduction="none").mean(dim=1)
        return losses

    def predict(self, outputs: "Tensor", state: "State") -> "Tensor":
        """Bring (B, F) outputs back to the unit of the labels."""
        return state["centre"] + state["scale"] * outputs


class Unscaled(Distance):
    """Squared error of the labels as they are, for comparison.

    A net then learns first where the labels lie, and only then how they differ.
    """

    def __init__(self) -> None:
        super().__init__("mse")

    def fit_state(self, y: "Tensor", labels: Labels) -> "dict[str, Tensor]":
        """Give the (L,) centre 0 and scale 1."""
        del labels
        return self.initial_state(y.shape[1])


class Cosine(Distance):
    """The angle between vectors; the outputs begin at the mean of the labels."""

    def __init__(self) -> None:
        super().__init__("mse")

    def target(self, y: "Tensor", state: "State") -> "Tensor":
        """Give the (N, L) vectors as they are."""
        del state
        return y.float()

    def row_losses(
        self, outputs: "Tensor", y_true: "Tensor", state: "State"
    ) -> "Tensor":
        """Give the (B,) values of 1 - cosine of the angle."""
        from torch.nn import functional

        vectors = self.predict(outputs, state)
        return 1 - functional.cosine_similarity(vectors, y_true, dim=1)
