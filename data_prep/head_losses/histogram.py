"""A number as a histogram: a bell over bins, whose expected value is the output.

A label becomes the shares of a normal distribution about it that fall into each bin,
and the head learns them as it would classes. The output is the mean of the bins by the
probabilities that the head gives them.

Source: Imani & White 2018, Improving Regression Performance with Distributional Losses,
arXiv 1806.04613 (the loss); Farebrother et al. 2024, Stop Regressing, arXiv 2403.03950
(a bell of 0.75 bins).
Differs: the bins reach three deviations beyond the labels on both sides, so that the
expected value of a label's own histogram is the label, at the ends too.

Shapes: n training rows, N rows, B rows of a batch, M bins.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_prep.head_losses.base import HeadLoss, Labels
from data_prep.head_losses.distances import Distance
from data_prep.tables.units import ROUNDING

if TYPE_CHECKING:
    from torch import Tensor

    from data_prep.head_losses.base import State

REACH = 3  # deviations of the bell beyond the outermost labels


def inner_bins(bins: int, sigma: float) -> int:
    """Count the bins that lie between the lowest and the highest label.

    >>> inner_bins(50, 0.75)
    44
    """
    return bins - 2 * math.ceil(REACH * sigma)


@dataclass(frozen=True, kw_only=True)
class Histogram(HeadLoss):
    """Cross-entropy of the histogram of a label.

    Attributes:
        bins: M.
        sigma: Standard deviation of the bell, in widths of a bin.
    """

    bins: int
    sigma: float

    def width(self, n_outputs: int) -> int:
        """Give M: there is one output, and a logit for each bin."""
        del n_outputs
        return self.bins

    def initial_state(self, n_outputs: int) -> "dict[str, Tensor]":
        """Give a centre and scale, and (M + 1,) edges in standardised labels."""
        import torch

        unit = Distance("mse").initial_state(n_outputs)
        return unit | {"edges": torch.linspace(-1, 1, self.bins + 1)}

    def fit_state(self, y: "Tensor", labels: Labels) -> "dict[str, Tensor]":
        """Lay bins of one width over the range of the labels and a little more."""
        import torch

        unit = Distance("mse").fit_state(y, labels)
        z = (y - unit["centre"]) / unit["scale"]
        span = z.max() - z.min()
        n_inner = inner_bins(self.bins, self.sigma)
        width = torch.where(span > ROUNDING, span, 1.0) / n_inner
        steps = torch.arange(self.bins + 1, dtype=y.dtype) - (self.bins - n_inner) // 2
        return unit | {"edges": z.min() + width * steps}

    def initial_bias(self, y: "Tensor", labels: Labels) -> "Tensor":
        """Give the (M,) logarithms of the mean histogram of the labels."""
        histograms = self.target(y, self.fit_state(y, labels))
        # a row more, spread over all bins: log 0 has no end
        return ((histograms.sum(dim=0) + 1 / self.bins) / (len(y) + 1)).log()

    def target(self, y: "Tensor", state: "State") -> "Tensor":
        """Give the (N, M) histograms of the labels, each of which sums to 1."""
        import torch

        edges = state["edges"]
        z = (y - state["centre"]) / state["scale"]
        # what is held out, or masked, may lie far outside: its shares would be 0 / 0
        z = z.clamp(edges[0], edges[-1])
        sigma = self.sigma * (edges[-1] - edges[0]) / self.bins
        below = torch.special.ndtr((edges - z) / sigma)  # (N, M + 1)
        histograms: Tensor = below.diff(dim=1) / (below[:, -1:] - below[:, :1])
        return histograms.float()

    def row_losses(
        self, outputs: "Tensor", y_true: "Tensor", state: "State"
    ) -> "Tensor":
        """Give the (B,) cross-entropies of (B, M) logits."""
        del state
        from torch.nn import functional

        return functional.cross_entropy(outputs, y_true, reduction="none")

    def predict(self, outputs: "Tensor", state: "State") -> "Tensor":
        """Give the (B, 1) expected values, in the unit of the labels."""
        edges = state["edges"]
        middles = (edges[1:] + edges[:-1]) / 2
        # a sum, since a matrix product would be rounded to bfloat16 under autocast
        z = (outputs.softmax(dim=1) * middles).sum(dim=1, keepdim=True)
        return Distance("mse").predict(z, state)
