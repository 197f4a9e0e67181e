"""A network of the transfer: one backbone, and a linear head for each of its tasks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data_prep.arrays import Ints
from data_prep.errors import UserError
from data_prep.run_folders.damage import remedy_for
from data_prep.settings import from_table, nearest
from data_prep.task_types.base import TaskType
from data_prep.task_types.registry import TASK_TYPES
from data_prep.tasks import Task
from pretext.data.pictures import Normalisation
from pretext.evaluation.embed import at_side
from pretext.networks.backbones import build_backbone, feature_width, load_weights

FORMAT = "tessera-net/1"
HEAD = "of_"  # before a task's name: "type" or "keys" alone would be refused by torch


class Head(nn.Module):
    """A linear head, and the state by which its type brings outputs to their unit.

    It begins with a small W, so that training begins near what the labels are without
    looking: near their mean, or at the frequencies of the classes.

    Args:
        task_type: What the head is for.
        width: D, features of the backbone.
        n_outputs: F, outputs that are stored.
        dropout: Share of the features dropped in training.
    """

    def __init__(
        self, task_type: TaskType, width: int, n_outputs: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.head_loss = task_type.head_loss()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, self.head_loss.width(n_outputs))
        self.exact_state = self.head_loss.initial_state(n_outputs)  # float64 when begun
        for name, value in self.exact_state.items():
            self.register_buffer(name, value.float())
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    @property
    def state(self) -> dict[str, Tensor]:
        """What the type knows of the labels, as it is stored with the weights."""
        return dict(self.named_buffers(recurse=False))

    def start_at(self, task: Task, rows: Ints) -> None:
        """Begin at the labels of the (n,) training rows that have one for the task."""
        y = torch.from_numpy(task.from_origin()[rows])
        self.exact_state = self.head_loss.fit_state(y, task)
        for name, value in self.exact_state.items():
            self.get_buffer(name).copy_(value)
        bias = self.head_loss.initial_bias(y, task)
        if bias is not None:
            self.linear.bias.data.copy_(bias)

    def loss_target(self, task: Task) -> Tensor:
        """Give the (N, ...) targets of the loss, for all N rows of the table."""
        y = torch.from_numpy(task.from_origin())
        return self.head_loss.target(y, self.exact_state)

    def row_losses(self, outputs: Tensor, y_true: Tensor) -> Tensor:
        """Give the (B,) losses of (B, W) outputs and rows of ``loss_target``."""
        return self.head_loss.row_losses(outputs, y_true, self.state)

    def forward(self, features: Tensor) -> Tensor:
        """Give the (B, W) raw outputs of (B, D) features, such as logits."""
        outputs: Tensor = self.linear(self.dropout(features))
        return outputs.float()

    def predict(self, outputs: Tensor) -> Tensor:
        """Bring (B, W) raw outputs to the (B, F) that are stored."""
        return self.head_loss.predict(outputs, self.state)


class TaskNet(nn.Module):
    """A backbone with a head per task.

    What a task's outputs are counted from is in ``origins``: 0, unless its labels lie
    so far off that float32 would lose them.

    Args:
        backbone: Gives (B, D) features.
        tasks: What to learn, as ``describe`` tells it.
        normalise: Statistics of the collection.
        side_px: Side of its input; ``predict`` brings pictures to it.
        dropout: Share of the features dropped before the heads.
    """

    def __init__(
        self,
        backbone: nn.Module,
        tasks: Sequence[dict[str, Any]],
        normalise: Normalisation,
        side_px: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone, self.normalise, self.side_px = backbone, normalise, side_px
        self.tasks = [str(task["name"]) for task in tasks]
        self.origins = {str(t["name"]): float(t.get("origin") or 0) for t in tasks}
        self.heads = nn.ModuleDict(
            {
                f"{HEAD}{task['name']}": Head(
                    task_type_of(task),
                    feature_width(backbone),
                    len(task["outputs"]),
                    dropout,
                )
                for task in tasks
            }
        )

    def head(self, task: str) -> Head:
        """Give the head of a task."""
        head = self.heads[f"{HEAD}{task}"]
        assert isinstance(head, Head)
        return head

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Give each task's (B, W) raw outputs of (B, 3, S, S) grey levels."""
        inputs = self.normalise(images).contiguous(memory_format=torch.channels_last)
        features = self.backbone(inputs)
        return {name: self.head(name)(features) for name in self.tasks}

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """Give each task's (B, F) outputs: in the unit of its labels, or probabilities.

        They are float32, and counted from ``origins``.

        Args:
            images: (B, 3, H, H) grey levels of whole pictures.
        """
        outputs = self(at_side(images, self.side_px))
        return {name: self.head(name).predict(outputs[name]) for name in self.tasks}


def describe(task: Task) -> dict[str, Any]:
    """Say what a task's head is, as JSON values."""
    return {
        "name": task.name,
        "kind": task.task_type.name,
        "outputs": list(task.outputs),
        "columns": task.columns,
        "activation": task.task_type.activation,
        "classes": list(task.classes),
        **({"origin": task.origin} if task.origin else {}),
        **({"options": options} if (options := task.task_type.options()) else {}),
    }


def task_type_of(task: dict[str, Any]) -> TaskType:
    """Give the kind with its settings that ``describe`` told of.

    Raises:
        UserError: This version does not know the kind, or a setting.
    """
    name, kind = task["name"], task["kind"]
    if kind not in TASK_TYPES:
        raise UserError(f"task {name!r}: kind = {kind!r}: {nearest(kind, TASK_TYPES)}")
    return from_table(TASK_TYPES[kind], task.get("options", {}), f"task {name!r}", {})


def load_net(path: Path) -> tuple[TaskNet, dict[str, Any]]:
    """Read a network of the transfer, strictly; returns it in eval mode and its JSON.

    Raises:
        UserError: The files are missing, are of something else or do not fit each
            other.
    """
    tensors, config = load_weights(path)
    if config.get("format") != FORMAT:
        raise UserError(
            f"{path}: these are not weights of transfer.finetune: their format is"
            f" {config.get('format')!r}, and this version reads {FORMAT!r}"
        )
    if lacking := {"backbone", "side_px", "tasks", "mean", "std"} - config.keys():
        sidecar = path.with_suffix(".json")
        raise UserError(f"{sidecar}: no {min(lacking)} in it; {remedy_for(sidecar)}")
    net = TaskNet(
        build_backbone(config["backbone"], config["side_px"]),
        config["tasks"],
        Normalisation(tuple(config["mean"]), tuple(config["std"])),
        config["side_px"],
    )
    try:
        net.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        faults = "; ".join(line.strip() for line in str(error).splitlines()[1:4])
        raise UserError(
            f"{path}: the weights do not fit the JSON beside them: {faults}"
        ) from None
    return net.eval(), config
