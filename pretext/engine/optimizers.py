"""Optimisers by name."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from data_prep.errors import UserError
from pretext.names import check_optimizer


def build_optimizer(
    name: str, groups: list[dict[str, Any]], learning_rate: float
) -> Optimizer:
    """Build an optimiser over parameter groups that state their weight decay."""
    check_optimizer(name)
    if name == "sgd":
        return torch.optim.SGD(groups, learning_rate, momentum=0.9)
    if name == "adamw":
        return torch.optim.AdamW(groups, learning_rate)
    from pytorch_optimizer import load_optimizer

    optimizer: Callable[..., Optimizer] = load_optimizer(name)
    try:
        return optimizer(groups, lr=learning_rate)
    except (TypeError, ValueError) as error:
        raise UserError(f"optimizer = {name!r} cannot be used: {error}") from None
