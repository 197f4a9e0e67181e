"""The mean of the weights of several epochs, with batch norms that fit it.

Source: Izmailov et al. 2018, "Averaging weights leads to wider optima and better
generalization", arXiv 1803.05407.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from pretext.engine.learner import Batch
from pretext.networks.backbones import load_weights
from transfer.training.learner import FinetuneLearner


def mean_weights(files: Sequence[Path]) -> dict[str, Tensor]:
    """Give the mean of stored weights; counts, which have none, are the last file's.

    Raises:
        UserError: A file is missing or damaged.
    """
    tensors, _ = load_weights(files[-1])
    totals = {
        name: torch.zeros_like(tensor, dtype=torch.float64)
        for name, tensor in tensors.items()
        if tensor.is_floating_point()
    }
    for file in files:
        for name, tensor in load_weights(file)[0].items():
            if name in totals:
                totals[name] += tensor
    means = {
        name: (total / len(files)).to(tensors[name].dtype)
        for name, total in totals.items()
    }
    return tensors | means


@torch.no_grad()
def fit_norms(learner: FinetuneLearner, batches: Iterable[Batch]) -> None:
    """Estimate the means and variances of the batch norms of a net anew, in place.

    Those of the single epochs do not fit the mean of their weights. Norms that were
    not trained keep what they have. The learner is in eval mode afterwards.

    Args:
        learner: With the weights; its other layers are as when it predicts.
        batches: Of equal sizes, of training pictures.
    """
    learner.eval()
    norms = [
        module
        for module in learner.net.modules()
        if isinstance(module, _BatchNorm)
        and module.track_running_stats
        and (module.weight is None or module.weight.requires_grad)
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    if norms:
        for batch in batches:
            learner.infer(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
