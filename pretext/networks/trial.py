"""Networks tried before any stage runs: whether they take what will come to them.

It loads torch and builds networks, which takes seconds; an hour of training that ends
in a refusal would take longer.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn

from data_prep.effort import GPU_BESIDES_S, PICTURE_S_PER_PIXEL, NetworkSpeed
from data_prep.errors import UserError
from pretext.device import (
    free_bytes,
    pick_device,
    set_threads,
    trains_in_bf16,
    use_bf16,
)
from pretext.names import SCRATCH
from pretext.networks.backbones import begin_backbone, build_backbone
from pretext.preflight import check_larger_views, network_of
from pretext.ready_weights import find_ready, is_ready

if TYPE_CHECKING:
    from data_prep.outlook import Outlook

TIMED_PICTURES, TIMED_PICTURES_ON_GPU = 16, 64  # on a CPU the time grows with them
TIMED_S, MOST_TIMED = 0.3, 10


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


def time_network(
    name: str,
    side_px: int,
    *,
    threads: int = 0,
    precision: str = "auto",
) -> NetworkSpeed:
    """Time a few training steps and forwards of a network on this machine.

    Args:
        name: Of the network.
        side_px: Side of its input.
        threads: CPU threads; 0: all cores.
        precision: Arithmetic.

    Raises:
        UserError: timm has no such network.
    """
    device = pick_device()
    set_threads(threads)
    network = build_backbone(name, side_px).to(device)
    optimizer = torch.optim.AdamW(network.parameters())
    is_bf16 = trains_in_bf16(precision, device, network)
    n = TIMED_PICTURES if device.type == "cpu" else TIMED_PICTURES_ON_GPU
    shape = (n, 3, side_px, side_px)
    # numbers of any kind, without drawing some: nothing may depend on whether it ran
    images = torch.linspace(-1, 1, 3 * n * side_px**2, device=device).view(shape)
    images = images.to(memory_format=torch.channels_last)

    def forward() -> torch.Tensor:
        arithmetic = torch.autocast(device.type, torch.bfloat16)
        with arithmetic if is_bf16 else nullcontext():
            outputs: torch.Tensor = network(images)
            return outputs.float().square().mean()

    def infer() -> None:
        with torch.inference_mode():
            forward()

    network.train()
    kept_bytes = _kept_bytes(forward, network) / n
    training_s = _seconds_of(lambda: torch.autograd.backward(forward()), device)
    step_s = _seconds_of(optimizer.step, device)
    network.eval()
    is_bf16 = use_bf16(precision, device)  # of the forwards from here on
    inference_s = _seconds_of(infer, device)
    # where views are made beside the network, on the same cores
    is_cpu = device.type == "cpu"
    augment_s = PICTURE_S_PER_PIXEL * side_px**2 if is_cpu else 0.0
    return NetworkSpeed(
        picture_s=training_s / n + augment_s,
        step_s=step_s + (0.0 if is_cpu else GPU_BESIDES_S),
        view_s=inference_s / n,
        n_weights=sum(weights.numel() for weights in network.parameters()),
        kept_bytes=kept_bytes,
        free_bytes=free_bytes(device),
    )


def _kept_bytes(forward: Callable[[], torch.Tensor], network: nn.Module) -> int:
    """Count what a forward pass keeps for the backward, beside the weights."""
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = forward()
    del loss  # until now it held what is counted, so that no address came twice
    return sum(kept.values())


def _seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Time work, the quickest of some: the first builds what later ones use."""
    quickest_s, until = float("inf"), time.perf_counter() + TIMED_S
    n_timed = 0
    while n_timed < 2 or (n_timed < MOST_TIMED and time.perf_counter() < until):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        quickest_s = min(quickest_s, time.perf_counter() - began)
        n_timed += 1
    return quickest_s
