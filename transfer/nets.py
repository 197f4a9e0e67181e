"""A network of the transfer: one backbone, and a linear head for each of its tasks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from data_prep.errors import UserError
from data_prep.run_folders.damage import remedy_for
from data_prep.tables.units import ROUNDING
from data_prep.tasks import Task
from pretext.data.pictures import Normalisation
from pretext.evaluation.embed import at_side
from pretext.networks.backbones import build_backbone, feature_width, load_weights

FORMAT = "tessera-net/1"
DISTANCES = {"mse": F.mse_loss, "mae": F.l1_loss, "smooth_l1": F.smooth_l1_loss}
HEAD = "of_"  # before a task's name: "type" or "keys" alone would be refused by torch


class Head(nn.Module):
    """A linear head whose outputs can be brought to the unit of the labels.

    It learns standardised labels: ``centre + scale * (W x + b)`` with b = 0 and a small
    W, so that training begins near the mean of the training labels; for classes the
    bias begins at the logarithm of their shares.

    Args:
        width: D, features of the backbone.
        n_outputs: F.
        dropout: Share of the features dropped in training.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, width: int, n_outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, n_outputs)
        self.register_buffer("centre", torch.zeros(n_outputs))
        self.register_buffer("scale", torch.ones(n_outputs))
        self.exact = np.zeros(n_outputs), np.ones(n_outputs)  # both, in float64
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def start_at(self, task: Task, rows: NDArray[np.int64]) -> None:
        """Begin at the labels of the (n,) training rows that have one for the task."""
        labels = torch.from_numpy(task.counted()[rows])
        if task.kind == "classes":
            counts = torch.bincount(labels[:, 0].long(), minlength=len(task.outputs))
            # half a row more for each: a fold may lack a class, and log 0 has no end
            shares = (counts + 0.5) / (counts + 0.5).sum()
            self.linear.bias.data.copy_(shares.log())
            return
        centre, scale = labels.mean(dim=0), labels.std(dim=0, correction=0)
        # labels that are all the same differ from their mean by rounding alone
        scale = scale.masked_fill(scale <= ROUNDING * centre.abs(), 1.0)
        self.centre.copy_(centre)
        self.scale.copy_(scale)
        self.exact = centre.numpy(), scale.numpy()

    def wanted(self, task: Task) -> NDArray[np.float32]:
        """Standardise all (N, F) labels of a task, in float64: no unit is left in them.

        So the weights of a net are the same bits whatever the unit of its labels.
        """
        centre, scale = self.exact
        standard: NDArray[np.float64] = (task.counted() - centre) / scale
        return standard.astype(np.float32)

    def forward(self, features: Tensor) -> Tensor:
        """Give the (B, F) standardised outputs, or logits."""
        outputs: Tensor = self.linear(self.dropout(features))
        return outputs.float()

    def in_unit(self, outputs: Tensor) -> Tensor:
        """Bring (B, F) standardised outputs to the unit of the labels.

        They are counted from the task's origin, as the labels were: see ``origins`` of
        ``TaskNet``.
        """
        return self.centre + self.scale * outputs


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
        self.kinds = {str(task["name"]): str(task["kind"]) for task in tasks}
        self.origins = {str(t["name"]): float(t.get("origin") or 0) for t in tasks}
        width = feature_width(backbone)
        self.heads = nn.ModuleDict(
            {
                f"{HEAD}{t['name']}": Head(width, len(t["outputs"]), dropout)
                for t in tasks
            }
        )

    def head(self, task: str) -> Head:
        """Give the head of a task."""
        head = self.heads[f"{HEAD}{task}"]
        assert isinstance(head, Head)
        return head

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Give each task's (B, F) standardised outputs of (B, 3, S, S) grey levels."""
        inputs = self.normalise(images).contiguous(memory_format=torch.channels_last)
        features = self.backbone(inputs)
        return {name: self.head(name)(features) for name in self.kinds}

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """Give each task's (B, F) outputs in its own unit; probabilities for classes.

        They are float32, and counted from ``origins``.

        Args:
            images: (B, 3, H, H) grey levels of whole pictures.
        """
        outputs = self(at_side(images, self.side_px))
        return {
            name: outputs[name].softmax(dim=1)
            if kind == "classes"
            else self.head(name).in_unit(outputs[name])
            for name, kind in self.kinds.items()
        }


def describe(task: Task) -> dict[str, Any]:
    """Say what a task's head is, as JSON values."""
    return {
        "name": task.name,
        "kind": task.kind,
        "outputs": list(task.outputs),
        "columns": task.columns,
        "activation": task.activation,
        "classes": list(task.classes),
        **({"origin": task.origin} if task.origin else {}),
    }


def load_net(path: Path) -> tuple[TaskNet, dict[str, Any]]:
    """Read a network of the transfer, strictly; returns it in eval mode and its JSON.

    Raises:
        UserError: The files are missing, are of something else or do not fit each
            other.
    """
    tensors, about = load_weights(path)
    if about.get("format") != FORMAT:
        raise UserError(
            f"{path}: these are not weights of transfer.finetune: their format is"
            f" {about.get('format')!r}, and this version reads {FORMAT!r}"
        )
    if lacking := {"backbone", "side_px", "tasks", "mean", "std"} - about.keys():
        note = path.with_suffix(".json")
        raise UserError(f"{note}: no {min(lacking)} in it; {remedy_for(note)}")
    net = TaskNet(
        build_backbone(about["backbone"], about["side_px"]),
        about["tasks"],
        Normalisation(tuple(about["mean"]), tuple(about["std"])),
        about["side_px"],
    )
    try:
        net.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        faults = "; ".join(line.strip() for line in str(error).splitlines()[1:4])
        raise UserError(
            f"{path}: the weights do not fit the JSON beside them: {faults}"
        ) from None
    return net.eval(), about


def task_loss(loss: str, outputs: Tensor, labels: Tensor, head: Head) -> Tensor:
    """Give the (B,) losses of one task.

    Args:
        loss: ``mse``, ``mae``, ``smooth_l1``, ``cosine`` or ``cross_entropy``.
        outputs: (B, F) standardised outputs, or logits.
        labels: (B, F) labels in their unit, counted from the task's origin, or (B, 1)
            class numbers.
        head: Knows the unit.
    """
    if loss == "cross_entropy":
        return F.cross_entropy(outputs, labels[:, 0].long(), reduction="none")
    if loss == "cosine":
        return 1 - F.cosine_similarity(head.in_unit(outputs), labels, dim=1)
    return distance(loss, outputs, (labels - head.centre) / head.scale)


def distance(loss: str, outputs: Tensor, wanted: Tensor) -> Tensor:
    """Give the (B,) losses, one of ``DISTANCES``, of (B, F) standardised outputs."""
    return DISTANCES[loss](outputs, wanted, reduction="none").mean(dim=1)
