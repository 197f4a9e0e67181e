"""Whose outputs are extracted: the nets of the transfer, or a label-free backbone.

Shapes: B pictures, S side of the pictures, F outputs of the nets of a fold.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.run_folders.damage import read_json
from data_prep.run_folders.runs import Finished
from data_prep.tasks import output_origins
from features.plan import NO_FOLD, OUTPUTS, OutputColumn
from pretext.ready_weights import files_of
from transfer.networks.columns import NetColumns, columns_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from features.layers import Layers
    from pretext.data.pictures import Normalisation
    from transfer.networks.task_net import TaskNet

# (B, 3, S, S) grey levels, and the (B, C) columns of the user's table where the nets
# learned from some -> (B, F) outputs
Forward = Callable[..., "Tensor"]


@dataclass(frozen=True, kw_only=True)
class InnerLayers:
    """Which inner layers are extracted, instead of the outputs.

    Attributes:
        names: Modules of the backbone; none: the outputs.
        pooling: ``avg`` or ``gem``.
    """

    names: tuple[str, ...] = ()
    pooling: str = "avg"

    def of(self, backbone: "nn.Module", side_px: int) -> "Layers":
        """Wrap a backbone so that it gives these layers' outputs, pooled."""
        from features.layers import Layers

        return Layers(backbone, self.names, self.pooling, side_px)

    def columns(
        self, widths: Sequence[int], digest: str, prefix: str = ""
    ) -> list[OutputColumn]:
        """Name what the layers of a net give; its digest is their space."""
        columns = []
        for layer, width in zip(self.names, widths, strict=True):
            task = prefix + layer.replace(".", "_")
            columns += _numbered_columns(task, width, digest)
        return columns


class NetSource(ABC):
    """Nets by fold, all with columns of the same names.

    Attributes:
        columns: F outputs of the nets of each fold.
        nets: ``task``, ``fold`` and ``digest`` of each net, by task.
        user_columns: What the nets are given of the user's table; None: nothing.
        origins: What the outputs of each fold are counted from, F each; no entry: all
            from 0. Those nets give float32, and only float64 holds the sum.
        metadata: What stands beside the weights of the first net; ``mean`` and ``std``
            are those of all.
    """

    columns: dict[str, list[OutputColumn]]
    nets: list[dict[str, Any]]
    origins: dict[str, list[float]]
    metadata: dict[str, Any]
    user_columns: NetColumns | None = None

    @property
    def folds(self) -> list[str]:
        """The folds that have nets, in the order of their training."""
        return list(self.columns)

    @property
    def n_nets(self) -> int:
        """How many nets there are; a joint one has several entries in ``nets``."""
        return len({net["digest"] for net in self.nets})

    @property
    def width(self) -> int:
        """F, the number of outputs or of layer columns."""
        return len(next(iter(self.columns.values())))

    def digests(self, fold: str) -> list[str]:
        """Identify the weights of a fold's nets."""
        return [net["digest"] for net in self.nets if str(net["fold"]) == fold]

    @property
    @abstractmethod
    def files(self) -> list[Path]:
        """The files that the nets are loaded from."""

    @abstractmethod
    def load(self, fold: str, device: "torch.device") -> Forward:
        """Load the nets of a fold and join them into one function."""

    @abstractmethod
    def backbone(self) -> "tuple[nn.Module, int]":
        """Give one of the backbones, and the side of its input."""


class TransferSource(NetSource):
    """The nets of ``transfer.finetune``.

    Args:
        finished: That stage.
        inner_layers: The layers that are extracted; none: the outputs.
    """

    def __init__(self, finished: Finished, inner_layers: InnerLayers) -> None:
        self._finished, self._inner = finished, inner_layers
        if not inner_layers.names:  # those are below the heads
            self.user_columns = columns_of(finished)
        self.columns, self.nets, self.origins = {}, [], {}
        widths: dict[str, list[int]] = {}
        for net in finished.metadata["nets"]:
            fold, name = net["fold"], net["net"]
            digest = finished.record["files"][_weights_of(net)]
            if inner_layers.names:
                if name not in widths:
                    loaded = self._load(net)
                    widths[name] = inner_layers.of(
                        loaded.backbone, loaded.side_px
                    ).widths
                is_alone = len({n["net"] for n in finished.metadata["nets"]}) == 1
                prefix = "" if is_alone else f"{name}_"
                columns = inner_layers.columns(widths[name], digest, prefix)
            else:
                columns = [column for task in net["tasks"] for column in _columns(task)]
                for task in net["tasks"]:
                    origins = output_origins(task)
                    self.origins.setdefault(fold, []).extend(origins)
            self.columns.setdefault(fold, []).extend(columns)
            described = int(fold) if fold.isdecimal() else fold
            self.nets += _nets_of(columns, described, digest)
        assert len({len(columns) for columns in self.columns.values()}) == 1
        if not any(any(origins) for origins in self.origins.values()):
            self.origins = {}
        sidecar = Path(_weights_of(finished.metadata["nets"][0])).with_suffix(".json")
        self.metadata = read_json(finished.folder / sidecar)

    @property
    def files(self) -> list[Path]:
        """The weights of the nets, and what stands beside them."""
        nets = self._finished.metadata["nets"]
        weights = [self._finished.folder / _weights_of(net) for net in nets]
        return [*weights, *(file.with_suffix(".json") for file in weights)]

    def load(self, fold: str, device: "torch.device") -> Forward:
        """Load the nets of a fold; their outputs are joined side by side."""
        nets = [
            self._load(net).to(device)
            for net in self._finished.metadata["nets"]
            if net["fold"] == fold
        ]
        return self._tapped(nets) if self._inner.names else joined_outputs(nets)

    def backbone(self) -> "tuple[nn.Module, int]":
        """Give the backbone of the first net."""
        net = self._load(self._finished.metadata["nets"][0])
        return net.backbone, net.side_px

    def _load(self, net: dict[str, Any]) -> "TaskNet":
        from transfer.networks.task_net import load_net

        return load_net(self._finished.folder / _weights_of(net))[0]

    def _tapped(self, nets: "Sequence[TaskNet]") -> Forward:
        from pretext.evaluation.embed import forward_of

        return side_by_side(
            [
                forward_of(
                    self._inner.of(net.backbone, net.side_px),
                    net.normalise,
                    net.side_px,
                )
                for net in nets
            ]
        )


class BackboneSource(NetSource):
    """The features of a backbone that saw none of the labels.

    Args:
        weights: Of a pretext stage, or of others.
        name: Of the network, for weights that do not name it.
        side_px: Side of the pictures.
        collection: Its statistics, for weights that do not say theirs.
        inner_layers: The layers that are extracted; none: the outputs.
        digest: Of the weights, where they are those of a stage.
    """

    def __init__(
        self,
        weights: Path,
        *,
        name: str,
        side_px: int,
        collection: "Normalisation",
        inner_layers: InnerLayers,
        digest: str = "",
    ) -> None:
        from pretext.evaluation.embed import load_for
        from pretext.networks.backbones import (
            BACKBONE_FORMAT,
            described,
            digest_weights,
            feature_width,
            own_normalisation,
        )

        self._inner, self._weights = inner_layers, weights
        self._reopen = partial(
            BackboneSource,
            weights,
            name=name,
            side_px=side_px,
            collection=collection,
            inner_layers=inner_layers,
            digest=digest,
        )
        normalise = own_normalisation(weights, name, collection)
        self._normalise = normalise
        self._backbone, self._side_px = load_for(weights, side_px, name)
        self.metadata = described(weights, name) | {
            "format": BACKBONE_FORMAT,
            "side_px": self._side_px,
            "mean": list(normalise.mean),
            "std": list(normalise.std),
        }
        digest = digest or digest_weights(self._backbone.state_dict())
        if inner_layers.names:
            widths = inner_layers.of(self._backbone.eval(), self._side_px).widths
            columns = inner_layers.columns(widths, digest)
        else:
            width = feature_width(self._backbone)
            columns = _numbered_columns("embedding", width, digest)
        self.columns, self.origins = {NO_FOLD: columns}, {}
        self.nets = _nets_of(columns, NO_FOLD, digest)

    @property
    def files(self) -> list[Path]:
        """The weights, and what stands beside them."""
        files = files_of(self._weights)
        return [*filter(None, [files.weights, files.config])]

    def __reduce__(self) -> "tuple[partial[BackboneSource], tuple[()]]":
        """Travel to another process as the name of the file."""
        return self._reopen, ()

    def load(self, fold: str, device: "torch.device") -> Forward:
        """Give the backbone with what comes before it."""
        from pretext.evaluation.embed import forward_of

        assert fold == NO_FOLD
        network: Any = self._backbone.eval().to(device)
        if self._inner.names:
            network = self._inner.of(network, self._side_px)
        return forward_of(network, self._normalise, self._side_px)

    def backbone(self) -> "tuple[nn.Module, int]":
        """Give the backbone, and the side in pixels of what it looks at."""
        return self._backbone, self._side_px


def side_by_side(forwards: Sequence[Forward]) -> Forward:
    """Join functions into one that gives all their outputs side by side."""
    import torch

    def joined(*inputs: "Tensor") -> "Tensor":
        return torch.cat([forward(*inputs) for forward in forwards], dim=1)

    return joined


def joined_outputs(nets: "Sequence[TaskNet]") -> Forward:
    """Join nets into one function that gives the outputs of all tasks side by side."""
    import torch

    def forward(*inputs: "Tensor") -> "Tensor":
        outputs = [task for net in nets for task in net.predict(*inputs).values()]
        return torch.cat(outputs, dim=1)

    return forward


def _numbered_columns(task: str, width: int, digest: str) -> list[OutputColumn]:
    """Name (width) features of a net, which have no unit and a space of their own."""
    return [
        OutputColumn(
            name=f"{task}_{k}",
            task=task,
            output=str(k),
            activation="identity",
            space=digest,
        )
        for k in range(width)
    ]


def _nets_of(
    columns: Sequence[OutputColumn], fold: int | str, digest: str
) -> list[dict[str, Any]]:
    """Describe a net by each task that it has columns of."""
    tasks = dict.fromkeys(column.task for column in columns)
    return [{"task": task, "fold": fold, "digest": digest} for task in tasks]


def _weights_of(net: dict[str, Any]) -> str:
    return f"{net['place']}/weights.safetensors"


def _columns(task: dict[str, Any]) -> list[OutputColumn]:
    named = zip(task["columns"], task["outputs"], strict=True)
    return [
        OutputColumn(
            name=name,
            task=task["name"],
            output=output,
            activation=task["activation"] if output else "identity",
            space=OUTPUTS,
        )
        for name, output in named
    ]
