"""Whose outputs are extracted: the nets of the transfer, or a label-free backbone."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from data_prep.runs import Finished
from features.parts import NO_FOLD, OUTPUTS, Column

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pretext.pictures import Normalisation
    from transfer.nets import TaskNet

Forward = Callable[["Tensor"], "Tensor"]  # (B, 3, S, S) grey levels -> (B, F) outputs


class Source(ABC):
    """Nets by fold, all with the same F columns.

    Attributes:
        columns: F outputs.
        nets: ``task``, ``fold`` and ``digest`` of each net, by task.
    """

    columns: list[Column]
    nets: list[dict[str, Any]]

    @property
    def folds(self) -> list[str]:
        """The folds that have nets, in the order of their training."""
        return list(dict.fromkeys(str(net["fold"]) for net in self.nets))

    def digests(self, fold: str) -> list[str]:
        """Identify the weights of a fold's nets."""
        return [net["digest"] for net in self.nets if str(net["fold"]) == fold]

    @abstractmethod
    def load(self, fold: str, device: "torch.device") -> Forward:
        """Load the nets of a fold and join them into one function."""


class TransferSource(Source):
    """The nets of ``transfer.finetune``.

    Args:
        finished: That stage.
    """

    def __init__(self, finished: Finished) -> None:
        self._finished = finished
        self.nets = []
        by_fold: dict[str, list[Column]] = {}
        for net in finished.facts["nets"]:
            fold = net["fold"]
            digest = finished.record["files"][_weights_of(net)]
            for task in net["tasks"]:
                described = int(fold) if fold.isdecimal() else fold
                self.nets.append(
                    {"task": task["name"], "fold": described, "digest": digest}
                )
                by_fold.setdefault(fold, []).extend(_columns(task))
        self.columns = next(iter(by_fold.values()))
        assert all(columns == self.columns for columns in by_fold.values())

    def load(self, fold: str, device: "torch.device") -> Forward:
        """Load the nets of a fold; their outputs are joined side by side."""
        from transfer.nets import load_net

        nets = [
            load_net(self._finished.folder / _weights_of(net))[0].to(device)
            for net in self._finished.facts["nets"]
            if net["fold"] == fold
        ]
        return joined(nets)


class BackboneSource(Source):
    """The features of a pretext stage's backbone.

    Args:
        finished: That stage.
        side_px: Side of the pictures.
        normalise: Statistics of the collection.
    """

    def __init__(
        self, finished: Finished, side_px: int, normalise: "Normalisation"
    ) -> None:
        from pretext.backbones import feature_width
        from pretext.embed import load_for

        path = finished.folder / "backbone.safetensors"
        self._normalise = normalise
        self._backbone, self._side_px = load_for(path, side_px)
        digest = finished.record["files"][path.name]
        self.nets = [{"task": "embedding", "fold": NO_FOLD, "digest": digest}]
        self.columns = [
            Column(f"embedding_{k}", "embedding", str(k), "identity", digest)
            for k in range(feature_width(self._backbone))
        ]

    def load(self, fold: str, device: "torch.device") -> Forward:
        """Give the backbone with what comes before it."""
        from pretext.embed import forward_of

        assert fold == NO_FOLD
        backbone = self._backbone.eval().to(device)
        return forward_of(backbone, self._normalise, self._side_px)


def joined(nets: "Sequence[TaskNet]") -> Forward:
    """Join nets into one function that puts all their outputs side by side."""
    import torch

    def forward(images: "Tensor") -> "Tensor":
        outputs = [part for net in nets for part in net.predict(images).values()]
        return torch.cat(outputs, dim=1)

    return forward


def _weights_of(net: dict[str, Any]) -> str:
    return f"{net['place']}/weights.safetensors"


def _columns(task: dict[str, Any]) -> list[Column]:
    named = zip(task["columns"], task["outputs"], strict=True)
    return [
        Column(name, task["name"], output, task["activation"], OUTPUTS)
        for name, output in named
    ]
