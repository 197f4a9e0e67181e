"""Sharpness-aware steps: the gradient is taken where the loss nearby is highest.

Source: Foret et al. 2021, "Sharpness-aware minimization", arXiv 2010.01412, with the
l2 ball. It is a way to get a gradient, whatever optimiser then uses it, so that the
optimiser, its schedule and its checkpoint stay as they are. pytorch-optimizer's ``SAM``
wraps the optimiser instead; it makes the same steps (a test).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

EPS = 1e-12  # a gradient of 0 has no direction


@contextmanager
def uphill(learner: nn.Module, rho: float) -> Iterator[None]:
    """Move the weights by rho along the gradient, and drop it; afterwards move back.

    What is added is rho * g / |g|, g being the gradient of all weights together. A
    second forward and backward within gives the gradient of the step. What a forward
    leaves in buffers, such as batch statistics, stays that of the first one: it is not
    of the weights that are kept.

    Args:
        learner: Its gradients are there.
        rho: How far, in the l2 norm.
    """
    weights: list[Tensor] = [p for p in learner.parameters() if p.grad is not None]
    gradients = [p.grad for p in weights if p.grad is not None]
    state = learner.state_dict()  # without what follows from the table
    names = state.keys() & dict(learner.named_buffers()).keys()
    buffers = {name: state[name].clone() for name in names}
    before = [p.detach().clone() for p in weights]
    with torch.no_grad():
        scale = rho / (nn.utils.get_total_norm(gradients) + EPS)
        torch._foreach_add_(weights, [*torch._foreach_mul(gradients, scale)])
    for weight in weights:
        weight.grad = None
    gradients.clear()  # else they take memory beside those of the second backward
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(weights, before)
            for name, buffer in learner.named_buffers():
                if name in buffers:
                    buffer.copy_(buffers[name])
