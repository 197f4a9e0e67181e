"""Random views of whole batches: one resampling for geometry, one map for colour.

Every number is drawn per picture by ``pretext.draws`` and handed in, so that the
operations here are pure functions of tensors. They are computed in float32 whatever the
precision of the training: in bfloat16, places in the picture are a quarter pixel off.

Shapes: B pictures, H W pixels of the input, S side of the output.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Strength:
    """How far the views may leave the picture.

    Attributes:
        min_area: Smallest share of the picture's area that a crop keeps.
        ratio: Largest ratio of the sides of a crop, and its inverse.
        turns: Draw one of the eight flips and rotations; else mirror left-right only.
        brightness: Largest change of the brightness, as a share.
        contrast: Largest change of the contrast, as a share.
        saturation: Largest change of the saturation, as a share.
        grey: Probability of a grey picture.
    """

    min_area: float = 0.6
    ratio: float = 1.15
    turns: bool = True
    brightness: float = 0.1
    contrast: float = 0.1
    saturation: float = 0.1
    grey: float = 0.0


N_DRAWS = 12


def random_views(
    images: Tensor, draws: NDArray[np.float32], side_px: int, strength: Strength
) -> Tensor:
    """Crop, flip, rotate and colour each picture by its own draws.

    Args:
        images: (B, 3, H, W) grey levels 0..255.
        draws: (B, N_DRAWS) from [0, 1).
        side_px: S.
        strength: Ranges of the draws.

    Returns:
        (B, 3, S, S) float, grey levels.
    """
    u = torch.from_numpy(draws).to(images.device)
    boxes = crop_boxes(u[:, :4], strength.min_area, strength.ratio)
    turn = turn_matrices(u[:, 4:7], strength.turns)
    size = [len(images), 3, side_px, side_px]
    with torch.autocast(images.device.type, enabled=False):
        views = F.grid_sample(
            images.float(),
            F.affine_grid(boxes_and_turns(boxes, turn), size, align_corners=False),
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )
        return recolour(views, u[:, 7:12], strength)


def crop_boxes(u: Tensor, min_area: float, ratio: float) -> Tensor:
    """Turn (B, 4) draws into (B, 4) boxes (centre x, y, width, height) of [-1, 1]^2.

    The area is uniform and the ratio log-uniform as in torchvision's
    RandomResizedCrop; a side longer than the picture is cut to it, not drawn anew.
    """
    area = min_area + (1 - min_area) * u[:, 0]
    aspect = torch.exp((2 * u[:, 1] - 1) * np.log(ratio))
    width = (area * aspect).sqrt().clamp(max=1)
    height = (area / aspect).sqrt().clamp(max=1)
    x = (2 * u[:, 2] - 1) * (1 - width)
    y = (2 * u[:, 3] - 1) * (1 - height)
    return torch.stack([x, y, width, height], dim=1)


def turn_matrices(u: Tensor, all_eight: bool) -> Tensor:
    """Turn (B, 3) draws into (B, 2, 2) matrices: a mirror, or one of the eight."""
    sign_x = 1 - 2 * (u[:, 0] < 0.5).float()
    zero, one = torch.zeros_like(sign_x), torch.ones_like(sign_x)
    if not all_eight:
        return torch.stack([sign_x, zero, zero, one], dim=1).view(-1, 2, 2)
    sign_y = 1 - 2 * (u[:, 1] < 0.5).float()
    swap = (u[:, 2] < 0.5).float()
    keep = 1 - swap
    rows = [sign_x * keep, sign_x * swap, sign_y * swap, sign_y * keep]
    return torch.stack(rows, dim=1).view(-1, 2, 2)


def boxes_and_turns(boxes: Tensor, turns: Tensor) -> Tensor:
    """Join crop and turn into the (B, 2, 3) maps from output to input places."""
    linear = boxes[:, 2:, None] * turns
    return torch.cat([linear, boxes[:, :2, None]], dim=2)


def recolour(images: Tensor, u: Tensor, strength: Strength) -> Tensor:
    """Change brightness, contrast, saturation and grey as one affine map of the colour.

    Args:
        images: (B, 3, S, S) grey levels.
        u: (B, 5) draws: brightness, contrast, saturation, grey, and one to spare.
        strength: Ranges.
    """
    bright = 1 + strength.brightness * (2 * u[:, 0] - 1)
    contrast = 1 + strength.contrast * (2 * u[:, 1] - 1)
    saturation = 1 + strength.saturation * (2 * u[:, 2] - 1)
    saturation = saturation * (u[:, 3] >= strength.grey)
    luma = torch.tensor(LUMA, device=images.device)
    eye = torch.eye(3, device=images.device)
    # saturation s: s * I + (1 - s) * (every channel becomes the luma)
    matrix = saturation[:, None, None] * eye + (1 - saturation)[:, None, None] * luma
    centre = torch.einsum("bchw,c->b", images, luma) / images[0, 0].numel()
    scale = bright * contrast
    shift = (bright * (1 - contrast) * centre)[:, None, None, None]
    coloured = torch.einsum("bij,bjhw->bihw", scale[:, None, None] * matrix, images)
    return (coloured + shift).clamp(0, 255)
