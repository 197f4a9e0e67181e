"""Optimisers by name, and the learning rate of a step."""

import math
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


def rate_at(schedule: str, step: int, total: int, warmup: float) -> float:
    """Give the share of the peak learning rate at a step.

    Args:
        schedule: ``cosine``, ``linear``, ``exponential`` or ``constant``.
        step: From 0.
        total: Steps of the training.
        warmup: Share of them in which the rate rises linearly.
    """
    rising = round(total * warmup)
    if step < rising:
        return (step + 1) / rising
    done = min(1.0, (step - rising) / max(1, total - rising))
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if schedule == "linear":
        return 1 - done
    return 1e-3**done if schedule == "exponential" else 1.0
