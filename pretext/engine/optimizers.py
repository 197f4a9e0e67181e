"""Optimisers by name."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from data_prep.errors import UserError
from pretext.names import LOOKAHEAD, check_optimizer


def build_optimizer(
    name: str, groups: list[dict[str, Any]], learning_rate: float
) -> Optimizer:
    """Build an optimiser over parameter groups that state their weight decay.

    ``lookahead:NAME`` lets another optimiser make five steps and then goes halfway back
    to where it was before them: Zhang et al. 2019, arXiv 1907.08610.

    Raises:
        UserError: There is none of that name, or it does not take the rate.
    """
    check_optimizer(name)
    if name.startswith(LOOKAHEAD):
        from pytorch_optimizer import Lookahead

        base = build_optimizer(name.removeprefix(LOOKAHEAD), groups, learning_rate)
        wrapped: Optimizer = Lookahead(base)
        return wrapped
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
