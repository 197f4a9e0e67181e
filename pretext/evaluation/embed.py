"""Embeddings: the features of whole pictures, pooled, as a frozen backbone sees them.

What probes judge and what ``features.extract`` stores of a backbone come through here.

Shapes: B pictures, S side of the input, H side of the pictures, D features.
"""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from data_prep.arrays import Ints
from data_prep.errors import UserError
from pretext.data.pictures import Normalisation, Pictures
from pretext.networks.backbones import described, feature_width, load_backbone

BLOCK = 64  # pictures of a forward; fixed, as the last bits depend on it
Forward = Callable[[Tensor], Tensor]  # (B, 3, H, H) grey levels -> (B, D) features
log = logging.getLogger(__name__)


def at_side(images: Tensor, side_px: int) -> Tensor:
    """Resize (B, 3, H, H) pictures to the side a network was trained at, if need be."""
    if images.shape[-1] == side_px:
        return images
    size = (side_px, side_px)
    return F.interpolate(images.float(), size, mode="bilinear", antialias=True)


def forward_of(
    backbone: Callable[[Tensor], Tensor], normalise: Normalisation, side_px: int
) -> Forward:
    """Join a backbone with what comes before it: resizing and normalising."""

    def forward(images: Tensor) -> Tensor:
        inputs = normalise(at_side(images, side_px))
        features: Tensor = backbone(
            inputs.contiguous(memory_format=torch.channels_last)
        )
        return features

    return forward


def load_for(path: Path, picture_px: int, name: str = "") -> tuple[nn.Module, int]:
    """Load a backbone for pictures of a side, or else for the side it was trained at.

    A convolutional network takes pictures of any size; vit and swin only those of the
    size they were trained on, so pictures are brought to that.

    Args:
        path: Weights of a stage, or of others.
        picture_px: Side of the pictures.
        name: Of the network, for weights that do not name it.

    Returns:
        The backbone, and the side that ``forward_of`` is to bring pictures to.

    Raises:
        UserError: The weights are not those of a backbone, or do not fit it.
    """
    metadata = described(path, name)
    if not {"backbone", "side_px"} <= metadata.keys() or "tasks" in metadata:
        raise UserError(
            f"{path}: these are not the weights of a backbone alone but"
            f" {metadata.get('format')!r}; give backbone.safetensors of a pretext stage"
        )
    side_px = picture_px
    try:
        backbone, report = load_backbone(path, name or metadata["backbone"], side_px)
    except UserError:
        side_px = int(metadata["side_px"])
        backbone, report = load_backbone(path, name or metadata["backbone"], side_px)
    log.info("features of %s, at %d px", report, side_px)
    return backbone, side_px


def input_side(backbone: nn.Module, picture_px: int) -> int:
    """Give the side that pictures are to have: their own, unless the network has one.

    Args:
        backbone: One already built, such as in the midst of a training.
        picture_px: Side of the pictures.
    """
    fixed = getattr(getattr(backbone, "patch_embed", None), "img_size", None)
    return int(fixed[0]) if fixed else picture_px


def embed(
    backbone: nn.Module,
    pictures: Pictures,
    rows: Ints,
    normalise: Normalisation,
    *,
    side_px: int,
    bf16: bool = False,
    count: Callable[[int], object] | None = None,
) -> NDArray[np.float32]:
    """Send whole pictures through a backbone, without any random view.

    The backbone is left as it was, and no random number is drawn.

    Args:
        backbone: On the device of the pictures.
        pictures: All prepared pictures.
        rows: (n,) rows of the pictures, best in rising order.
        normalise: Statistics of the collection.
        side_px: S.
        bf16: Compute in bfloat16.
        count: Told how many more pictures are done.

    Returns:
        (n, D).
    """
    forward = forward_of(backbone, normalise, side_px)
    device = pictures.device.type
    values = np.empty((len(rows), feature_width(backbone)), np.float32)
    was_training = backbone.training
    backbone.eval()
    try:
        for start in range(0, len(rows), BLOCK):
            block = slice(start, start + BLOCK)
            precision = (
                torch.autocast(device, torch.bfloat16) if bf16 else nullcontext()
            )
            with torch.inference_mode(), precision:
                features = forward(pictures.take(rows[block]))
            values[block] = features.float().cpu().numpy()
            if count is not None:
                count(len(values[block]))
    finally:
        backbone.train(was_training)
    return values
