"""Which share of the peak learning rate a step has."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from torch import Tensor

START = 1 / 25  # of one-cycle
LOWEST = 1 / 4  # of cyclic
LEAST_FALL = 1e-4  # share of a loss by which a lower one counts as lower


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The share of the peak rate at a step, which the step alone decides.

    Sources: restarts, Loshchilov & Hutter 2017, arXiv 1608.03983; cyclic, the
    triangles of Smith 2017, arXiv 1506.01186, between the peak and a quarter of it;
    one-cycle, Smith & Topin 2018, arXiv 1708.07120, both its sides along a cosine and
    the momentum as it is.

    Attributes:
        name: ``cosine``, ``linear``, ``exponential``, ``constant``, ``one-cycle``,
            ``restarts``, ``cyclic``, ``halving``, or ``plateau``, which is constant
            here: the rest is in ``Plateau``.
        total: Steps of the training.
        warmup: Share of them in which the rate rises, linearly but in one-cycle.
        steps_per_epoch: After so many halving halves.
        cycles: How often restarts and cyclic fall.
    """

    name: str
    total: int
    warmup: float
    steps_per_epoch: int = 1
    cycles: int = 1

    def at(self, step: int) -> float:
        """Give the share of the peak rate at a step, from 0."""
        rising = round(self.total * self.warmup)
        if step < rising:
            if self.name == "one-cycle":
                return START + (1 - START) * (1 - _half_cosine(step / rising))
            return (step + 1) / rising
        step, length = step - rising, max(1, self.total - rising)
        done = min(1.0, step / length)
        match self.name:
            case "cosine" | "one-cycle":
                return _half_cosine(done)
            case "linear":
                return 1 - done
            case "exponential":
                return float(1e-3**done)
            case "halving":
                return float(0.5 ** (step // self.steps_per_epoch))
            case "restarts":  # in whole numbers, so that a cycle begins where it does
                cycle = min(step * self.cycles // length, self.cycles - 1)
                within = step * self.cycles - cycle * length
                return _half_cosine(min(1.0, within / length))
            case "cyclic":  # the warm-up was the first rise
                from_peak = done * (2 * self.cycles - 1) % 2
                return 1 - (1 - LOWEST) * min(from_peak, 2 - from_peak)
        return 1.0


def _half_cosine(done: float) -> float:
    """Fall from 1 to 0 along half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * done))


class Plateau:
    """What is left of the rate when it halves as the training loss stops falling.

    No label of a row that is held out is looked at.

    Args:
        patience: Epochs in a row without a lower mean loss that are let pass.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.share, self.best, self.n_bad = 1.0, math.inf, 0
        self.losses: list[Tensor | float] = []  # of the steps of this epoch

    def add(self, loss: Tensor) -> None:
        """Take in the loss of a step."""
        self.losses.append(loss)

    def end_epoch(self) -> None:
        """Compare the mean loss of the epoch with the lowest so far."""
        mean, self.losses = fmean(map(float, self.losses)), []
        # some losses are below zero; the first is lower than infinity
        if self.best == math.inf or mean < self.best - LEAST_FALL * abs(self.best):
            self.best, self.n_bad = mean, 0
            return
        self.n_bad += 1
        if self.n_bad > self.patience:
            self.share, self.n_bad = self.share / 2, 0

    def state(self) -> dict[str, Any]:
        """Give what a checkpoint has to keep."""
        return {**vars(self), "losses": [float(loss) for loss in self.losses]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` gave."""
        vars(self).update(state)
