"""The mixing of a training: which batches, and with which pictures.

All that is drawn follows from (seed, epoch, pictures of the batch). Where several
devices share a batch, each mixes its part, for which it draws alone.

Shapes: N rows of the prepared table, B rows of a batch, S side of the views.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from data_prep.arrays import Floats, Ints
from data_prep.tasks import Task
from pretext.data.keyed_rng import batch_rng
from pretext.engine.learner import Batch
from transfer.mix_settings import MixSettings, number_of
from transfer.networks.class_maps import class_maps
from transfer.networks.task_net import TaskNet
from transfer.training.kept_pretext import keeping_statistics
from transfer.training.mix_masks import random_boxes
from transfer.training.mixing import Mixture, mix_pictures, near_partners, next_in_turn
from transfer.training.snapmix import snap


class Mixer:
    """Mixes the batches of a training.

    Args:
        settings: How, and how often.
        tasks: What the net learns, with the labels of all N rows.
        net: Whose maps of classes weigh the labels, for snapmix.
        train_idx: Rows that it is trained on.
        n_epochs: Of the training.
    """

    def __init__(
        self,
        settings: MixSettings,
        tasks: Sequence[Task],
        net: TaskNet,
        train_idx: Ints,
        n_epochs: int,
    ) -> None:
        self.settings, self.tasks, self.net = settings, tasks, net
        self.n_mixed_epochs = n_epochs - settings.mix_last_plain
        task = number_of(tasks) if settings.mix == "cmixup" else None
        self.numbers = None if task is None else standard_numbers(task, train_idx)

    def mix(self, batch: Batch, views: Tensor) -> Mixture | None:
        """Mix (B, 3, S, S) views of a batch; None: it stays plain."""
        rng = batch_rng(batch.keys, seed=batch.seed, epoch=batch.epoch, purpose="mix")
        settings, n = self.settings, len(views)
        if rng.random() >= settings.mix_share or batch.epoch >= self.n_mixed_epochs:
            return None
        if self.numbers is None:
            partner_idx = next_in_turn(rng, n)
        else:
            partner_idx = near_partners(rng, self.numbers[batch.rows])
        share = rng.beta(settings.alpha, settings.alpha, n)
        is_snap = settings.mix == "snapmix"
        maps = self.class_maps(batch, views) if is_snap else None
        with torch.autocast(views.device.type, enabled=False):
            if maps is None:
                return mix_pictures(rng, settings.mix, views, partner_idx, share=share)
            from_area = rng.beta(settings.alpha, settings.alpha, n)
            return snap(
                views,
                maps,
                partner_idx,
                into_B4=random_boxes(rng, 1 - share, views.shape[2]),
                from_B4=random_boxes(rng, from_area, views.shape[2]),
            )

    def class_maps(self, batch: Batch, views: Tensor) -> Tensor:
        """Give (B, h, w) maps of the classes of a batch, by the net as it is."""
        (task,) = self.tasks
        class_idx = task.values[batch.rows, 0].astype(np.int64)
        with keeping_statistics(self.net.backbone):
            return class_maps(self.net, task.name, views, class_idx)


def standard_numbers(task: Task, train_idx: Ints) -> Floats:
    """Give (N,) numbers in standard deviations of the training rows, else NaN."""
    numbers = np.where(task.has_label, task.from_origin()[:, 0], np.nan)
    is_trained = np.zeros(len(numbers), dtype=np.bool_)
    is_trained[train_idx] = True
    numbers[~is_trained] = np.nan
    deviation = float(np.nanstd(numbers))
    return numbers / (deviation or 1.0)
