"""A number: the target, or any column of numbers."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from data_prep.errors import UserError
from data_prep.head_losses.base import HeadLoss, Labels
from data_prep.head_losses.batch_terms import WithBatchTerms
from data_prep.head_losses.companion import SUFFIXES, WithFifths
from data_prep.head_losses.distances import DISTANCES, Unscaled
from data_prep.head_losses.histogram import Histogram, inner_bins
from data_prep.head_losses.scaled import ScaledCrossEntropy
from data_prep.settings import Example
from data_prep.task_types.base import LabelSource, TargetOutputs
from data_prep.task_types.number_column import NumberColumn

HISTOGRAM, UNSCALED = "histogram", "unscaled"


@dataclass(frozen=True, kw_only=True)
class Regression(NumberColumn):
    """One number for each row, in the user's unit."""

    name = "regression"
    losses = (*DISTANCES, "bce", HISTOGRAM, UNSCALED)
    loss_options: ClassVar = {"bins": (HISTOGRAM,), "sigma": (HISTOGRAM,)}
    target_outputs: ClassVar[tuple[TargetOutputs, ...]] = ("number",)

    bins: Annotated[int, "bins of the histogram", Ge(10)] = 50
    sigma: Annotated[float, "deviation of a label's bell, in bins", Gt(0)] = 0.75
    companion: Annotated[bool, "learn the fifth that a label lies in as well"] = False
    pairwise: Annotated[
        float,
        "weight of differences: those of two predictions against those of two labels of"
        " a batch; 0: none",
        Ge(0),
        Example(0.25),
    ] = 0.0
    ranksim: Annotated[
        float,
        "weight of ranks: pictures of a batch are to be as alike in features as they"
        " are near in label; 0: none",
        Ge(0),
        Example(1.0),
    ] = 0.0

    def __post_init__(self) -> None:
        """Check what no single field can."""
        super().__post_init__()
        if inner_bins(self.bins, self.sigma) < 2:
            raise UserError(
                f"sigma = {self.sigma} leaves no bins for the labels among"
                f" {self.bins}; give a smaller sigma, or more bins"
            )

    @property
    def activation(self) -> str:
        """The fifths of a companion have probabilities."""
        return "softmax" if self.companion else "identity"

    def read_labels(self, source: LabelSource) -> Labels:
        """Read a column of numbers; a missing cell has no label."""
        labels = super().read_labels(source)
        return replace(labels, outputs=("", *SUFFIXES)) if self.companion else labels

    def head_loss(self) -> HeadLoss:
        """Give the loss of the number, with what is learned beside it."""
        loss: HeadLoss
        if self.loss_name == HISTOGRAM:
            loss = Histogram(bins=self.bins, sigma=self.sigma)
        elif self.loss_name == "bce":
            loss = ScaledCrossEntropy()
        elif self.loss_name == UNSCALED:
            loss = Unscaled()
        else:
            loss = super().head_loss()
        if self.companion:
            loss = WithFifths(number=loss)
        if self.pairwise or self.ranksim:
            loss = WithBatchTerms(
                number=loss, pairwise=self.pairwise, ranksim=self.ranksim
            )
        return loss


TASK_TYPE = Regression
