"""An exponential moving average of a network's weights.

Source: Polyak & Juditsky 1992; with the warm-up of the decay of TensorFlow's
ExponentialMovingAverage, so that the random first weights are soon forgotten.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightEma:
    """The average of all floating-point parameters and buffers of a module.

    Args:
        module: What is averaged; its weights now are the first ones.
        decay: Share of the average that a step keeps, in the long run.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.tensors = {
            name: tensor.detach().clone() for name, tensor in self._current().items()
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimiser step ``step``, counted from 1.

        average = d * average + (1 - d) * weights, where d is the smaller of ``decay``
        and (1 + step) / (10 + step).
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        current = self._current()
        torch._foreach_lerp_(
            list(self.tensors.values()),
            [current[name] for name in self.tensors],
            1 - decay,
        )

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the module have the average for a while."""
        weights = {name: tensor.clone() for name, tensor in self._current().items()}
        self.apply()
        try:
            yield
        finally:
            self._fill(weights)

    def apply(self) -> None:
        """Give the module the average for good."""
        self._fill(self.tensors)

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from a stored average."""
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])

    def _current(self) -> dict[str, Tensor]:
        return {
            name: tensor
            for name, tensor in self.module.state_dict().items()
            if tensor.is_floating_point()
        }

    @torch.no_grad()
    def _fill(self, tensors: dict[str, Tensor]) -> None:
        for name, tensor in self._current().items():
            tensor.copy_(tensors[name])
