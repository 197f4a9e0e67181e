"""Networks tried before any stage runs: whether they take what will come to them.

It loads torch and builds networks, which takes seconds; an hour of training that ends
in a refusal would take longer.
"""

from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn

from data_prep.errors import UserError
from pretext.names import SCRATCH
from pretext.networks.backbones import begin_backbone, build_backbone
from pretext.preflight import check_larger_views, network_of
from pretext.ready_weights import find_ready, is_ready

if TYPE_CHECKING:
    from data_prep.outlook import Outlook


class NetSettings(Protocol):
    """What the settings of a pretext and of the transfer tell of their network."""

    @property
    def init(self) -> str:
        """What the weights are filled with first."""
        ...

    @property
    def backbone(self) -> str:
        """Name of the network; empty: that of the first weights."""
        ...

    @property
    def final_scale(self) -> float:
        """How much larger the views are in the last part of the training."""
        ...

    def net_side_px(self, picture_px: int, scale: float) -> int:
        """Give the side of the network's input in pixels."""
        ...


def try_training(settings: NetSettings, outlook: "Outlook") -> None:
    """Try the network of a training.

    Args:
        settings: Of a pretext or of the transfer.
        outlook: Where its first weights will come from, and the side of the pictures.

    Raises:
        UserError: It does not take the larger views of the last part, the weights of
            another side, or those of others.
    """
    picture_px, scale = outlook.metadata["side"], settings.final_scale
    side_px = settings.net_side_px(picture_px, 1.0)
    if is_ready(settings.init):
        begin_backbone(settings.backbone, find_ready(settings.init), side_px)
    name = network_of(settings.init, settings.backbone, outlook)
    if name is None:
        return
    if scale != 1:
        final_px = settings.net_side_px(picture_px, scale)
        check_final_side(
            build_backbone(name, side_px),
            name,
            final_px=final_px,
            picture_px=picture_px,
            scale=scale,
        )
    if settings.init != SCRATCH and settings.init in outlook.settings:
        earlier = outlook.settings[settings.init]
        origin_px = earlier.net_side_px(picture_px, earlier.final_scale)
        try_weights(name, side_px, settings.init, origin_px)


def try_weights(name: str, side_px: int, init: str, origin_px: int) -> None:
    """Compare the weights of a network at two sides: convolutions do not know theirs.

    Args:
        name: Of the network.
        side_px: Side of its input.
        init: The stage that its first weights come from.
        origin_px: Side of the input there.

    Raises:
        UserError: The weights of one side do not fit the other.
    """
    if side_px == origin_px:
        return
    shapes = [
        {
            key: value.shape
            for key, value in build_backbone(name, px).state_dict().items()
        }
        for px in (side_px, origin_px)
    ]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"init = {init!r} trains {name!r} on {origin_px} px, and its weights do not"
            f" fit pictures of {side_px} px; give both the same side"
        )


def check_final_side(
    backbone: nn.Module, name: str, *, final_px: int, picture_px: int, scale: float
) -> None:
    """Check that the larger views of the last part can be made and taken.

    Raises:
        UserError: The pictures are too small for them, or the network has a fixed side.
    """
    if scale == 1:
        return
    check_larger_views(final_px, picture_px, scale)
    was_training = backbone.training
    try:
        backbone.eval()(torch.zeros(1, 3, final_px, final_px))
    except (AssertionError, RuntimeError) as error:
        raise UserError(
            f"final_scale = {scale}: {name} takes pictures of one size only ({error})"
        ) from None
    backbone.train(was_training)
