"""Inner layers: what a named module of a network gives, pooled over the picture.

Shapes: B pictures, S side of the input, C channels, H W places of a map, N tokens.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from data_prep.errors import UserError
from data_prep.settings import nearest

DEEPEST = 2  # levels of modules that are listed
GEM_POWER = 3.0  # Radenovic et al. 2018, arXiv 1711.02512


class Layers:
    """Reads some inner layers of a network in one forward.

    Args:
        backbone: Gets (B, 3, S, S) inputs.
        names: Modules of it, such as ``layer3``.
        pooling: ``avg``, or ``gem``: the cubic mean of what is positive.
        side_px: S.

    Attributes:
        widths: C of each.

    Raises:
        UserError: There is no such module, or it gives nothing that can be pooled.
    """

    def __init__(
        self, backbone: nn.Module, names: Sequence[str], pooling: str, side_px: int
    ) -> None:
        modules = dict(backbone.named_modules())
        self._backbone, self._names, self._pooling = backbone, names, pooling
        self._is_nhwc = getattr(backbone, "output_fmt", "") == "NHWC"  # timm's swin
        self._kept: dict[str, Tensor] = {}
        for name in names:
            if not name or name not in modules:
                raise UserError(
                    f"layer = {name!r}: {nearest(name, list(modules)[1:])};"
                    " --layers lists them"
                )
            modules[name].register_forward_hook(partial(self._keep, name))
        outputs = self._pooled(input_for(backbone, side_px))
        self.widths = [output.shape[1] for output in outputs]

    def __call__(self, inputs: Tensor) -> Tensor:
        """Give the (B, all C) pooled outputs of the layers, side by side."""
        return torch.cat(self._pooled(inputs), dim=1)

    def _keep(self, name: str, _: nn.Module, __: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim not in (2, 3, 4):
            raise UserError(
                f"layer = {name!r} gives no map of features; --layers lists others"
            )
        self._kept[name] = output

    @torch.inference_mode()
    def _pooled(self, inputs: Tensor) -> list[Tensor]:
        self._backbone(inputs)
        if missing := [name for name in self._names if name not in self._kept]:
            raise UserError(f"layer = {missing[0]!r} is not used by the network")
        maps = [self._kept.pop(name).float() for name in self._names]
        return [pool_places(map_, self._pooling, self._is_nhwc) for map_ in maps]


def pool_places(map_: Tensor, pooling: str, is_nhwc: bool = False) -> Tensor:
    """Pool a map of features over its places.

    Args:
        map_: (B, C, H, W), (B, H, W, C), tokens (B, N, C), or (B, C) as it is.
        pooling: ``avg`` or ``gem``.
        is_nhwc: Four dimensions are (B, H, W, C).

    Returns:
        (B, C).
    """
    if map_.ndim == 2:
        return map_
    if map_.ndim == 4 and not is_nhwc:
        map_ = map_.permute(0, 2, 3, 1)
    places = map_.flatten(1, -2)  # (B, H W or N, C)
    if pooling == "gem":  # (mean of x^p)^(1/p) with p = 3, between mean and maximum
        return places.clamp(min=1e-6).pow(GEM_POWER).mean(dim=1).pow(1 / GEM_POWER)
    return places.mean(dim=1)


def list_layers(backbone: nn.Module, side_px: int) -> list[tuple[str, str]]:
    """List the modules that can be read, with the shape each gives of one picture."""
    layers: dict[tuple[str, str], None] = {}

    def keep(name: str, _: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim in (2, 3, 4):
            layers[name, " x ".join(map(str, output.shape[1:]))] = None

    handles = [
        module.register_forward_hook(partial(keep, name))
        for name, module in backbone.named_modules()
        if name and name.count(".") < DEEPEST
    ]
    with torch.inference_mode():
        backbone.eval()(input_for(backbone, side_px))
    for handle in handles:
        handle.remove()
    return list(layers)


def input_for(backbone: nn.Module, side_px: int) -> Tensor:
    """Give a blank (1, 3, S, S) input where the network is."""
    device = next(backbone.parameters()).device
    return torch.zeros(1, 3, side_px, side_px, device=device)
