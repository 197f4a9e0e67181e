"""A fine-tuning without a run: a tiny net, its tasks, a batch of pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from data_prep.tasks import Task
from pretext.data.augment import AugmentParams
from pretext.data.keyed_rng import keys_of
from pretext.data.pictures import Normalisation
from pretext.engine.learner import Batch
from pretext.networks.backbones import build_backbone
from transfer.networks.task_net import TaskNet, describe
from transfer.training.learner import FinetuneLearner

SIDE = 32
PLAIN = AugmentParams(min_area=1.0, ratio=1.0, brightness=0, contrast=0, saturation=0)


def batch_of(n: int, epoch: int = 0) -> Batch:
    """Make the batch of the first n rows."""
    rng = torch.Generator().manual_seed(1)
    return Batch(
        images=torch.randint(0, 256, (n, 3, SIDE, SIDE), generator=rng).byte(),
        rows=np.arange(n),
        keys=keys_of([f"p{k}" for k in range(n)]),
        seed=0,
        epoch=epoch,
    )


def learner_of(tasks: Sequence[Task], **options: Any) -> FinetuneLearner:
    """Make a learner in eval mode, begun at all labels."""
    torch.manual_seed(0)
    net = TaskNet(
        build_backbone("test_resnet", SIDE),
        [describe(task) for task in tasks],
        Normalisation((128.0,) * 3, (64.0,) * 3),
        SIDE,
    )
    for task in tasks:
        net.head(task.name).start_at(task, np.flatnonzero(task.has_label))
    return FinetuneLearner(net, tasks, SIDE, PLAIN, **options).eval()
