"""A network of the transfer: one backbone, and a head for each of its tasks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data_prep.errors import UserError
from data_prep.run_folders.damage import remedy_for
from data_prep.settings import from_table, nearest
from data_prep.task_types.base import TaskType
from data_prep.task_types.registry import TASK_TYPES
from data_prep.tasks import Task, output_origins
from pretext.data.pictures import Normalisation
from pretext.evaluation.embed import at_side
from pretext.networks.backbones import build_backbone, feature_width, load_weights
from transfer.networks.columns import NetColumns
from transfer.networks.heads import Head

FORMAT = "tessera-net/1"
HEAD = "of_"  # before a task's name: "type" or "keys" alone would be refused by torch


class TaskNet(nn.Module):
    """A backbone with a head per task.

    What the F outputs of a task are counted from is in ``origins``: 0, unless they are
    in the unit of labels that lie so far off that float32 would lose them.

    Args:
        backbone: Gives (B, D) features.
        tasks: What to learn, as ``describe`` tells it.
        normalise: Statistics of the collection.
        side_px: Side of its input; ``predict`` brings pictures to it.
        dropout: Share of the features dropped before the heads.
        head_width: Hidden units of each head; 0: they are linear.
        columns: Of the user's table, which its heads are given too; None: none.
    """

    def __init__(
        self,
        backbone: nn.Module,
        tasks: Sequence[dict[str, Any]],
        normalise: Normalisation,
        side_px: int,
        dropout: float = 0.0,
        head_width: int = 0,
        columns: NetColumns | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.normalise, self.side_px = backbone, normalise, side_px
        self.columns = columns
        self.tasks = [str(task["name"]) for task in tasks]
        self.origins = {str(task["name"]): output_origins(task) for task in tasks}
        self.heads = nn.ModuleDict(
            {
                f"{HEAD}{task['name']}": Head(
                    task_type=task_type_of(task),
                    width=feature_width(backbone),
                    n_outputs=len(task["outputs"]),
                    dropout=dropout,
                    n_hidden=head_width,
                    n_columns=len(columns.names) if columns else 0,
                )
                for task in tasks
            }
        )

    def head(self, task: str) -> Head:
        """Give the head of a task."""
        head = self.heads[f"{HEAD}{task}"]
        assert isinstance(head, Head)
        return head

    def forward(
        self, images: Tensor, columns: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Give each task's (B, W) raw outputs.

        Args:
            images: (B, 3, S, S) grey levels.
            columns: (B, C) columns of the user's table, for a net that has some.
        """
        return self.outputs_of(self.features_of(images), columns)

    def features_of(self, images: Tensor) -> Tensor:
        """Give the (B, D) features of (B, 3, S, S) grey levels."""
        features: Tensor = self.backbone(self.inputs_of(images))
        return features

    def inputs_of(self, images: Tensor) -> Tensor:
        """Bring (B, 3, S, S) grey levels to what the backbone is given."""
        return self.normalise(images).contiguous(memory_format=torch.channels_last)

    def outputs_of(
        self, features: Tensor, columns: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Give each task's (B, W) raw outputs of (B, D) features."""
        assert (columns is None) == (self.columns is None)
        return {name: self.head(name)(features, columns) for name in self.tasks}

    def predict(
        self, images: Tensor, columns: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Give each task's (B, F) outputs: in the unit of its labels, or probabilities.

        They are float32, and counted from ``origins``.

        Args:
            images: (B, 3, H, H) grey levels of whole pictures.
            columns: (B, C) columns of the user's table, for a net that has some.
        """
        outputs = self(at_side(images, self.side_px), columns)
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
        head_width=config.get("head_width", 0),
        columns=NetColumns.from_json(config["user_columns"])
        if "user_columns" in config
        else None,
    )
    try:
        net.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        faults = "; ".join(line.strip() for line in str(error).splitlines()[1:4])
        raise UserError(
            f"{path}: the weights do not fit the JSON beside them: {faults}"
        ) from None
    return net.eval(), config
