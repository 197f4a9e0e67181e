"""Fine-tuning as a learner: random views, masked losses, scores of a held-out fold."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_prep.arrays import Floats, Ints
from data_prep.head_losses.base import BatchRows
from data_prep.tasks import Task
from pretext.data.augment import AugmentParams, random_views
from pretext.data.keyed_rng import uniforms
from pretext.data.pictures import Pictures
from pretext.device import moved
from pretext.engine.epochs import EPOCH_COLUMNS
from pretext.engine.learner import Batch, Learner, ParameterGroup
from transfer.networks.moving import Moving
from transfer.networks.task_net import TaskNet
from transfer.teacher import SoftLabels
from transfer.training.kept_pretext import PUZZLES, KeptPuzzles
from transfer.training.mixer import Mixer

BLOCK = 256  # pictures of a forward without gradients
SMALLEST_WEIGHT = 1e-12  # of a batch without labels


class FinetuneLearner(Learner):
    """Train a ``TaskNet``; a row without a label is masked for that task only.

    Args:
        net: Has a head for each task.
        tasks: What to learn, with the labels of all N rows of the prepared table.
        side_px: Side of the views.
        params: How far they may leave the picture.
        sample_weight: (N,) factors of the rows' losses; None: all are 1.
        moving: Which parts of the net move, and when.
        kept: The puzzles that it goes on solving; None: none.
        columns: (N, C) of the user's table, for a net that is given some.
        fill_frac: (N, 2) share of width and height that each picture fills; None: all.
        mixer: Mixes its batches; None: they stay plain.
        soft: By task, probabilities of classes in place of the labels of some rows.
    """

    sample_weight: Tensor
    columns: Tensor | None

    def __init__(
        self,
        net: TaskNet,
        tasks: Sequence[Task],
        side_px: int,
        params: AugmentParams,
        sample_weight: Floats | None = None,
        moving: Moving | None = None,
        kept: KeptPuzzles | None = None,
        columns: NDArray[np.float32] | None = None,
        fill_frac: NDArray[np.float32] | None = None,
        soft: Mapping[str, SoftLabels] | None = None,
        mixer: Mixer | None = None,
    ) -> None:
        super().__init__()
        self.mixer = mixer
        self.kept, self.soft = kept, soft or {}
        self.moving = moving or Moving()
        self.net, self.tasks = net, tasks
        self.side_px, self.params, self.fill_frac = side_px, params, fill_frac
        heads = [net.head(task.name) for task in tasks]
        self.needs_features = any(head.head_loss.needs_features for head in heads)
        # not in the checkpoint: they follow from the table
        if sample_weight is None:
            sample_weight = np.ones(len(tasks[0].values))
        buffers = {"sample_weight": torch.tensor(sample_weight, dtype=torch.float32)}
        for task in tasks:
            buffers[f"{task.name}_y_true"] = net.head(task.name).loss_target(task)
            buffers[f"{task.name}_mask"] = torch.tensor(task.has_label)
            if task.name in self.soft:
                buffers |= _soft_buffers(net, task, self.soft[task.name])
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)
        tensor = None if columns is None else torch.from_numpy(columns)
        self.register_buffer("columns", tensor, persistent=False)

    def groups(self) -> list[ParameterGroup]:
        """Group the parameters by layer and by whether they move."""
        (every,) = super().groups()
        if self.moving.is_plain:
            return [every]
        backbone = self.net.backbone
        of_backbone = {id(parameter) for parameter in backbone.parameters()}
        heads = [p for p in every.parameters if id(p) not in of_backbone]
        return self.moving.groups(backbone, heads)

    def views(self, batch: Batch) -> Tensor:
        """Give a random view of each picture, (B, 3, S, S)."""
        n = self.params.n_random
        u = uniforms(
            batch.keys, n, seed=batch.seed, epoch=batch.epoch, purpose="finetune"
        )
        side_px = round(self.side_px * batch.scale)
        fill = None if self.fill_frac is None else self.fill_frac[batch.rows]
        return random_views(
            batch.images, u, side_px=side_px, params=self.params, fill_frac=fill
        )

    def infer(self, batch: Batch) -> dict[str, Tensor]:
        """Give each task's raw outputs of a random view of each picture."""
        return self._outputs(self.views(batch), self._columns(batch))[0]

    def _columns(self, batch: Batch) -> Tensor | None:
        columns = self.columns
        if columns is None:
            return None
        return columns[moved(torch.from_numpy(batch.rows), columns.device)]

    def _outputs(
        self, views: Tensor, columns: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Give the raw outputs, and the (B, D) features if a loss compares them."""
        if self.needs_features:
            features = self.net.features_of(views)
            return self.net.outputs_of(features, columns), features
        outputs: dict[str, Tensor] = self.net(views, columns)
        return outputs, None

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted sum of the tasks' mean losses over the rows that have the label.

        A row's weight multiplies its loss and leaves the number of rows as it is, so
        that a row of weight 0.5 pulls half as hard whatever it shares its batch with.
        A mixture has the losses by both labels, each times its weight, and so that of
        the labels which there are: each label has a weight of 1 on average, whether its
        partners have one or not; of cmixup all labels together, and rare numbers, which
        are seldom a partner, have less. The loss of the kept puzzles is added.
        """
        views, columns = self.views(batch), self._columns(batch)
        row_idx = moved(torch.from_numpy(batch.rows), batch.images.device)
        mixture = self.mixer.mix(batch, views) if self.mixer else None
        factor = None
        if mixture is not None:
            views = mixture.images
            columns = None if columns is None else mixture.blend(columns)
            row_idx = torch.cat([row_idx, row_idx[mixture.partner_idx]])
            factor = torch.cat([mixture.weight, mixture.partner_weight])
        outputs, features = self._outputs(views, columns)
        total = torch.zeros((), device=row_idx.device)
        measured = {}
        for task in self.tasks:
            mean = self._mean_loss(
                batch=batch,
                task=task,
                outputs=outputs[task.name],
                row_idx=row_idx,
                factor=factor,
                features=features,
            )
            total = total + task.task_type.weight * mean
            measured[logged_name(task.name)] = mean
        if self.kept is not None:
            puzzles = self.kept.loss(batch)
            total = total + self.kept.weight * puzzles["jigsaw"]
            measured |= puzzles
        return {**measured, "loss": total}

    def _mean_loss(
        self,
        *,
        batch: Batch,
        task: Task,
        outputs: Tensor,
        row_idx: Tensor,
        factor: Tensor | None,
        features: Tensor | None,
    ) -> Tensor:
        """Give the mean loss of a task over the rows of a batch that have its label.

        Args:
            batch: Of B pictures.
            task: What is learned.
            outputs: (B, W) of its head.
            row_idx: (B,) rows of the labels; of mixtures (2 B,), the partners' last.
            factor: (2 B,) of the losses of mixtures; None: of plain pictures.
            features: (B, D) of plain pictures, if a loss compares them.
        """
        mask = self.get_buffer(f"{task.name}_mask")[row_idx].float()
        # of the whole batch, which may have another number of labels in each part
        n_labelled = batch.mean_over_parts(mask[: len(outputs)].sum())
        n_labelled = n_labelled.clamp(min=1 / batch.world_size)
        weight = mask * self.sample_weight[row_idx]
        if factor is not None:
            outputs, features = torch.cat([outputs, outputs]), None
            weight = weight * factor * task.task_type.mixes
        losses = self.row_losses(task.name, outputs, row_idx)
        rows = BatchRows(
            weight=weight,
            mean=partial(weighted_mean, batch, weight),
            features=features,
        )
        y_true = self.get_buffer(f"{task.name}_y_true")[row_idx]
        further = self.net.head(task.name).batch_losses(outputs, y_true, rows)
        if further is not None:
            losses = losses + further
        return (losses * weight).sum() / n_labelled

    def row_losses(self, task: str, outputs: Tensor, idx: Tensor) -> Tensor:
        """Give the (B,) losses of a task's (B, W) outputs by the labels of (B,) rows.

        Of probabilities in place of a label it is the expected loss: that of each
        class, weighed by how probable it is.
        """
        head = self.net.head(task)
        losses = head.row_losses(outputs, self.get_buffer(f"{task}_y_true")[idx])
        if task not in self.soft:
            return losses
        proba_BK = self.get_buffer(f"{task}_proba")[idx]
        losses_BK = head.losses_of_each(outputs, self.get_buffer(f"{task}_of_classes"))
        expected = (proba_BK * losses_BK).sum(dim=1)
        return torch.where(proba_BK.any(dim=1), expected, losses)


def _soft_buffers(net: TaskNet, task: Task, soft: SoftLabels) -> dict[str, Tensor]:
    """Give the (N, K) probabilities of a task, and the (K, ...) targets of its loss."""
    of_classes = replace(
        task,
        values=soft.values[:, None],
        has_label=np.ones(len(soft.values), dtype=np.bool_),
    )
    return {
        f"{task.name}_proba": torch.tensor(soft.proba, dtype=torch.float32),
        f"{task.name}_of_classes": net.head(task.name).loss_target(of_classes),
    }


def weighted_mean(batch: Batch, weight: Tensor, values: Tensor) -> Tensor:
    """Give the mean of (B,) values by (B,) weights, over all parts of a batch.

    It has no gradient; 0 where there is no weight.
    """
    total = batch.mean_over_parts((values * weight).sum())
    return total / batch.mean_over_parts(weight.sum()).clamp(min=SMALLEST_WEIGHT)


def logged_name(task: str) -> str:
    """Name the loss of a task in the logs, where some names have a meaning already.

    >>> logged_name("target"), logged_name("epoch")
    ('target', 'epoch_loss')
    """
    return f"{task}_loss" if task in (*EPOCH_COLUMNS, "loss", *PUZZLES) else task


def score_rows(
    net: TaskNet, tasks: Sequence[Task], pictures: Pictures, rows: Ints
) -> dict[str, float]:
    """Score the plain view of (n,) rows, the metrics of ``score_outputs``."""
    return score_outputs(tasks, predict_rows(net, pictures, rows), rows)


@torch.inference_mode()
def predict_rows(
    net: TaskNet, pictures: Pictures, rows: Ints
) -> dict[str, NDArray[np.floating[Any]]]:
    """Give the (n, F) outputs of each task for the plain view of (n,) rows.

    They are in the unit of the labels; without any row there are none.

    Args:
        net: On the device of the pictures, in eval mode.
        pictures: All prepared pictures.
        rows: Of the pictures.
    """
    blocks: dict[str, list[Tensor]] = {name: [] for name in net.tasks}
    for start in range(0, len(rows), BLOCK):
        idx = rows[start : start + BLOCK]
        outputs = net.predict(pictures.take(idx), pictures.take_columns(idx))
        for name, values in outputs.items():
            blocks[name].append(values.float().cpu())
    return {
        name: in_unit(net, name, torch.cat(values).numpy())
        for name, values in blocks.items()
        if values
    }


def in_unit(
    net: TaskNet, task: str, outputs: NDArray[np.float32]
) -> NDArray[np.floating[Any]]:
    """Count (n, F) outputs of a net from 0: float64 where they were not."""
    origins = net.origins[task]
    return outputs + np.array(origins) if any(origins) else outputs


def score_outputs(
    tasks: Sequence[Task], y_pred: Mapping[str, NDArray[np.floating[Any]]], rows: Ints
) -> dict[str, float]:
    """Score the (n, F) outputs of (n,) rows, as each task's type does.

    Rows without a label do not count; a task without any labelled row has no score.

    Returns:
        Scores by task and metric, such as ``target_rmse``.
    """
    scores = {}
    for task in tasks:
        mask = task.has_label[rows]
        if mask.any():
            y_true = task.values[rows][mask]
            metric, score = task.task_type.score(y_true, y_pred[task.name][mask])
            scores[f"{task.name}_{metric}"] = score
    return scores
