"""Fine-tuning as a learner: random views, masked losses, scores of a held-out fold."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_prep.tasks import Task
from pretext.data.augment import N_DRAWS, Strength, random_views
from pretext.data.keyed_rng import uniforms
from pretext.data.pictures import Pictures
from pretext.engine.learner import Batch, Learner
from transfer.nets import DISTANCES, TaskNet, distance, task_loss

BLOCK = 256  # pictures of a forward without gradients


class FinetuneLearner(Learner):
    """Train a ``TaskNet``; a row without a label is masked for that task only.

    Args:
        net: Has a head for each task.
        tasks: What to learn, with the labels of all N rows of the prepared table.
        side_px: Side of the views.
        strength: Ranges of the views.
        weights: (N,) factors of the rows' losses; None: all are 1.
    """

    weights: Tensor

    def __init__(
        self,
        net: TaskNet,
        tasks: Sequence[Task],
        side_px: int,
        strength: Strength,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__()
        self.net, self.tasks = net, tasks
        self.side_px, self.strength = side_px, strength
        for task in tasks:
            labels = torch.tensor(task.counted(), dtype=torch.float32)
            self.register_buffer(f"{task.name}_labels", labels)
            self.register_buffer(f"{task.name}_mask", torch.tensor(task.has_label))
            if task.loss in DISTANCES:  # not in the checkpoint either: see below
                wanted = torch.tensor(net.head(task.name).wanted(task))
                self.register_buffer(f"{task.name}_wanted", wanted, persistent=False)
        factors = np.ones(len(tasks[0].values)) if weights is None else weights
        # not in the checkpoint, so that one from before there were weights still fits
        self.register_buffer(
            "weights", torch.tensor(factors, dtype=torch.float32), persistent=False
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted sum of the tasks' mean losses over the rows that have the label.

        A row's weight multiplies its loss and leaves the number of rows as it is, so
        that a row of weight 0.5 pulls half as hard whatever it shares its batch with.
        """
        draws = uniforms(
            batch.keys, N_DRAWS, seed=batch.seed, epoch=batch.epoch, purpose="finetune"
        )
        side_px = round(self.side_px * batch.scale)
        views = random_views(batch.images, draws, side_px, self.strength)
        outputs = self.net(views)
        rows = torch.from_numpy(batch.rows).to(batch.images.device)
        total = torch.zeros((), device=rows.device)
        weights = self.weights[rows]
        measured = {}
        for task in self.tasks:
            given = outputs[task.name]
            mask = getattr(self, f"{task.name}_mask")[rows].float()
            if task.loss in DISTANCES:
                wanted = getattr(self, f"{task.name}_wanted")[rows]
                losses = distance(task.loss, given, wanted)
            else:
                labels = getattr(self, f"{task.name}_labels")[rows]
                losses = task_loss(task.loss, given, labels, self.net.head(task.name))
            mean = (losses * mask * weights).sum() / mask.sum().clamp(min=1)
            total = total + task.weight * mean
            measured[task.name] = mean
        return {**measured, "loss": total}


@torch.inference_mode()
def score_rows(
    net: TaskNet,
    tasks: Sequence[Task],
    pictures: Pictures,
    rows: NDArray[np.int64],
) -> dict[str, float]:
    """Score the plain view of (n,) rows by task: RMSE, or accuracy for classes.

    Rows without a label do not count; a task without any labelled row has no score.
    """
    parts: dict[str, list[Tensor]] = {task.name: [] for task in tasks}
    for start in range(0, len(rows), BLOCK):
        outputs = net.predict(pictures.take(rows[start : start + BLOCK]))
        for name, values in outputs.items():
            parts[name].append(values.float().cpu())
    predicted = {
        name: in_unit(net, name, torch.cat(found).numpy())
        for name, found in parts.items()
        if found
    }
    return score_outputs(tasks, predicted, rows)


def in_unit(
    net: TaskNet, task: str, outputs: NDArray[np.float32]
) -> NDArray[np.floating[Any]]:
    """Count (n, F) outputs of a net from 0: float64 where they were not."""
    origin = net.origins[task]
    return outputs + np.float64(origin) if origin else outputs


def score_outputs(
    tasks: Sequence[Task],
    outputs: Mapping[str, NDArray[np.floating[Any]]],
    rows: NDArray[np.int64],
) -> dict[str, float]:
    """Score the (n, F) outputs of (n,) rows by task: RMSE, or accuracy for classes.

    Rows without a label do not count; a task without any labelled row has no score.
    """
    scores = {}
    for task in tasks:
        mask = task.has_label[rows]
        if not mask.any():
            continue
        predicted = outputs[task.name][mask]
        labels = task.values[rows][mask]
        if task.kind == "classes":
            is_right = predicted.argmax(axis=1) == labels[:, 0]
            scores[f"{task.name}_accuracy"] = float(is_right.mean())
        else:
            error = float(np.sqrt(((predicted - labels) ** 2).mean()))
            scores[f"{task.name}_rmse"] = error
    return scores
