"""What is trained: a learner turns a batch of pictures into a loss."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data_prep.arrays import Ints


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One step's pictures, or the part of them that one of several processes has.

    Attributes:
        images: (B, 3, S, S) uint8 on the device.
        rows: (B,) rows of the pictures in the prepared table.
        keys: (B,) keys for ``pretext.data.keyed_rng``.
        seed: Seed of the training.
        epoch: Pass over the pictures, from 0.
        scale: How much larger than usual the views are to be.
        world_size: How many processes have such a part, all of the same size.
    """

    images: Tensor
    rows: Ints
    keys: NDArray[np.uint64]
    seed: int
    epoch: int
    scale: float = 1.0
    world_size: int = 1

    @torch.no_grad()
    def mean_over_parts(self, value: Tensor) -> Tensor:
        """Give the mean of a value over the parts of the batch, without a gradient.

        Whatever is no mean over pictures, such as a deviation or a mean over the rows
        that have a label, is made of such means.
        """
        if self.world_size == 1:
            return value.detach()
        total = value.detach().clone()
        torch.distributed.all_reduce(total)
        return total / self.world_size


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Parameters that share a learning rate.

    Attributes:
        name: For the logs.
        parameters: Of the group.
        factor: Times the rate of the schedule.
        from_epoch: The epoch, from 0, in which they begin to move; until then their
            batch norms keep their statistics. Infinity: they never do.
        is_scheduled: The rate follows the schedule; else it stays at its peak.
    """

    name: str
    parameters: Sequence[nn.Parameter]
    factor: float = 1.0
    from_epoch: float = 0.0
    is_scheduled: bool = True


class Learner(nn.Module, ABC):
    """What is trained: give the loss of a batch.

    Attributes:
        metadata: JSON values of the task that belong beside its weights.
        freezes: Whether it holds still some parameters in some steps by itself, and not
            by its groups.
    """

    metadata: Mapping[str, Any] = MappingProxyType({})
    freezes = False

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return scalar metrics to log; ``"loss"`` is minimised.

        Where several processes share a batch, each returns the metrics of its part,
        and their means over the parts are those of the whole batch.
        """

    def groups(self) -> list[ParameterGroup]:
        """Group what is trained by its learning rate; by default all are one group.

        All groups are in the optimiser from the first step, frozen ones too.
        """
        trained = [p for p in self.parameters() if p.requires_grad]  # no teacher's
        return [ParameterGroup(name="all", parameters=trained)]

    def project(self, features: Tensor) -> Tensor:
        """Map (B, D) features to what the loss compares; collapse shows there first."""
        return features

    def after_step(self, done: float) -> None:
        """Do what follows an optimiser step; ``done``: share of the training."""
        del done

    def after_epoch(self, epoch: int) -> dict[str, float]:
        """Measure after an epoch, in eval mode; ``epoch`` counts from 1."""
        del epoch
        return {}
