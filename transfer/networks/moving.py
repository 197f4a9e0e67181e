"""What moves in a fine-tuning, from which epoch, and at which share of the rate.

The heads always move, at the whole rate. Of the backbone moves all, nothing, what is
named, or its last layers; a layer is what timm holds for one: a stage of a
convolutional network, a block of a transformer.
"""

import math
import os.path
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data_prep.errors import UserError
from data_prep.settings import nearest

if TYPE_CHECKING:
    from torch import nn

    from pretext.engine.learner import ParameterGroup

ALL, HEAD = "all", "head"
LAST = re.compile("last-([1-9][0-9]*)")
DEEPEST = 2  # levels of names that are offered where one is unknown


@dataclass(frozen=True, kw_only=True)
class Moving:
    """What moves of a net with heads.

    Attributes:
        train: ``all``, ``head``, ``last-2``, or parts such as ``layer3+layer4``.
        unfreeze_after: Epochs after which all else moves too; 0: never.
        layer_decay: The rate of a layer is that of the layer above it times this; the
            heads are above the last. Source: Bao et al. 2022, arXiv 2106.08254.
    """

    train: str = ALL
    unfreeze_after: int = 0
    layer_decay: float = 1.0

    @property
    def is_plain(self) -> bool:
        """All moves at one rate, whatever the network."""
        return self.train == ALL and self.layer_decay == 1

    def check(self, backbone: "nn.Module") -> None:
        """Check that the network has what is named.

        Raises:
            UserError: See ``moving_names`` and ``layers_of``.
        """
        moving_names(backbone, self.train)
        if self.layer_decay != 1:
            layers_of(backbone, coarse=False)

    def groups(
        self, backbone: "nn.Module", heads: Sequence["nn.Parameter"]
    ) -> "list[ParameterGroup]":
        """Group what is trained, the heads first, then from the last layer down.

        Args:
            backbone: Of the net.
            heads: What is above the backbone.
        """
        from pretext.engine.learner import ParameterGroup

        parameters = dict(backbone.named_parameters())
        moving = moving_names(backbone, self.train)
        layers = {"backbone": list(parameters)}
        if self.layer_decay != 1:
            layers = layers_of(backbone, coarse=False)
        later = self.unfreeze_after or math.inf
        groups = [ParameterGroup(name="heads", parameters=heads)]
        for depth, (layer, names) in enumerate(reversed(layers.items()), start=1):
            for from_epoch, suffix in ((0.0, ""), (later, "_frozen")):
                chosen = [n for n in names if (n in moving) == (from_epoch == 0)]
                if chosen:
                    group = ParameterGroup(
                        name=layer + suffix,
                        parameters=[parameters[n] for n in chosen],
                        factor=self.layer_decay**depth,
                        from_epoch=from_epoch,
                    )
                    groups.append(group)
        return groups


def check_train(train: str) -> None:
    """Refuse what names nothing in any network.

    Raises:
        UserError: It is empty, or has no number of layers.
    """
    if not all(train.split("+")):
        raise UserError(
            f"train = {train!r}: give {ALL}, {HEAD}, last-2, or parts of the network"
            " such as layer3+layer4"
        )
    if train.startswith("last-") and not LAST.fullmatch(train):
        raise UserError(f"train = {train!r}: give last-1, last-2 or more")


def moving_names(backbone: "nn.Module", train: str) -> set[str]:
    """Name the parameters of a backbone that move from the first step.

    Raises:
        UserError: The network has no such part, or not so many layers.
    """
    names = [parameter for parameter, _ in backbone.named_parameters()]
    if train in (ALL, HEAD):
        return set(names) if train == ALL else set()
    if match := LAST.fullmatch(train):
        layers, n = list(layers_of(backbone, coarse=True).values()), int(match[1])
        if n > len(layers):
            raise UserError(
                f"train = {train!r}: {_name_of(backbone)} has {len(layers)} layers;"
                f" give last-{len(layers)} or fewer, or {ALL}"
            )
        return {parameter for layer in layers[-n:] for parameter in layer}
    moving: set[str] = set()
    for part in train.split("+"):
        inside = {p for p in names if f"{p}.".startswith(f"{part}.")}
        if not inside:
            raise UserError(
                f"train = {part!r}: {_name_of(backbone)} has no such part;"
                f" {nearest(part, _parts(names))}"
            )
        moving |= inside
    return moving


def _parts(names: Sequence[str]) -> set[str]:
    """List the modules that have parameters, as deep as is worth offering."""
    return {
        ".".join(words[:depth])
        for words in (name.split(".") for name in names)
        for depth in range(1, min(DEEPEST, len(words) - 1) + 1)
    }


def layers_of(backbone: "nn.Module", *, coarse: bool) -> dict[str, list[str]]:
    """List the parameters of each layer, from the stem up, as timm groups them.

    What has only a scale and a shift at the end, the last norm of some networks, is
    part of the layer before it.

    Args:
        backbone: A network of timm.
        coarse: Layers are stages; else they are the blocks of those.

    Returns:
        Names of parameters by that of the layer, such as ``layer4.2``.

    Raises:
        UserError: The network does not say what its layers are.
    """
    matcher: Any = getattr(backbone, "group_matcher", None)
    if matcher is None:
        raise UserError(
            f"train, layer_decay: {_name_of(backbone)} does not say what its layers"
            f" are; name parts of it, or give train = {ALL!r} and layer_decay = 1"
        )
    from timm.models import group_parameters

    by_number: dict[int, list[str]] = group_parameters(backbone, matcher(coarse=coarse))
    groups = [by_number[number] for number in sorted(by_number)]
    n_axes = {key: value.ndim for key, value in backbone.named_parameters()}
    if len(groups) > 1 and all(n_axes[key] < 2 for key in groups[-1]):
        groups[-2:] = [groups[-2] + groups[-1]]
    layers: dict[str, list[str]] = {}
    for number, group in enumerate(groups):
        layer = _common(group)
        layers[f"{layer}_{number}" if layer in layers else layer] = group
    return layers


def _common(names: Sequence[str]) -> str:
    """Name a layer by the module that its first parameter and its like are in."""
    modules = [name.rpartition(".")[0] or name for name in names]
    paths = [module.replace(".", "/") for module in modules]
    top, _, _ = paths[0].partition("/")
    like = [path for path in paths if path.partition("/")[0] == top]
    return os.path.commonpath(like).replace("/", ".")


def _name_of(backbone: "nn.Module") -> str:
    """Name the architecture of a network of timm."""
    return str(backbone.pretrained_cfg["architecture"])  # type: ignore[index]
