"""Random views of whole batches: one resampling for geometry, one map for colour.

Every number is drawn per picture by ``pretext.data.keyed_rng`` and handed in, so that
the operations here are pure functions of tensors. They are computed in float32 whatever
the precision of the training: in bfloat16, places in the picture are a quarter pixel
off.

Source: the distributions of torchvision's RandomResizedCrop, ColorJitter,
RandomGrayscale and GaussianBlur.
Differs: a crop that fits at none of its tries is cut to the picture; torchvision takes
the middle. Hue turns the colours about the grey axis in YIQ, which is linear and keeps
the luma, where torchvision turns them in HSV and keeps the largest channel. All changes
of the colour are one map, and levels are cut to 0..255 once; in torchvision after each,
which is all that its random order changes, for the four commute.

Shapes: B pictures, H W pixels of the input, S side of the output.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pretext.data.blur import gaussian_blur
from pretext.device import moved

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
# luma and two differences of colours; the rows of the differences add up to 0
YIQ = (LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
BLUR_AT_PX = 224  # the deviation of a blur is given for views of this side
N_DRAWS = 15  # with one try


@dataclass(frozen=True)
class Strength:
    """How far the views may leave the picture.

    Attributes:
        min_area: Smallest share of the picture's area that a crop keeps.
        max_area: Largest share.
        ratio: Largest ratio of the sides of a crop, and its inverse.
        tries: Crops drawn until one fits; the last is cut to the picture.
        turns: Draw one of the eight flips and rotations; else mirror left-right only.
        brightness: Largest change of the brightness, as a share.
        contrast: Largest change of the contrast, as a share.
        saturation: Largest change of the saturation, as a share.
        hue: Largest change of the hue, as a share of the circle of colours.
        colour_p: Probability that these four are changed.
        grey: Probability of a grey picture.
        blur: Probability of a blurred picture.
        sigma: Smallest and largest deviation of the blur, px of a view of 224 px.
    """

    min_area: float = 0.6
    max_area: float = 1.0
    ratio: float = 1.15
    tries: int = 1
    turns: bool = True
    brightness: float = 0.1
    contrast: float = 0.1
    saturation: float = 0.1
    hue: float = 0.0
    colour_p: float = 1.0
    grey: float = 0.0
    blur: float = 0.0
    sigma: tuple[float, float] = (0.1, 2.0)

    @property
    def n_draws(self) -> int:
        """Random numbers that one view takes."""
        return N_DRAWS + 2 * (self.tries - 1)


def random_views(
    images: Tensor, draws: NDArray[np.float32], side_px: int, strength: Strength
) -> Tensor:
    """Crop, flip, rotate, colour and blur each picture by its own draws.

    Args:
        images: (B, 3, H, W) grey levels 0..255.
        draws: (B, strength.n_draws) from [0, 1).
        side_px: S.
        strength: Ranges of the draws.

    Returns:
        (B, 3, S, S) float, grey levels.
    """
    u = torch.from_numpy(draws)  # what is small is computed where it is known at once
    of_crop = torch.cat([u[:, :4], u[:, N_DRAWS : strength.n_draws]], dim=1)
    boxes = crop_boxes(of_crop, strength.min_area, strength.ratio, strength.max_area)
    turns = turn_matrices(u[:, 4:7], strength.turns)
    with torch.autocast(images.device.type, enabled=False):
        views = resample(images, boxes, turns, side_px)
        views = recolour(views, u[:, 7:13], strength)
        return blur_some(views, u[:, 13:15], strength)


def crop_boxes(u: Tensor, min_area: float, ratio: float, max_area: float = 1) -> Tensor:
    """Turn draws into (B, 4) boxes (centre x, y, width, height) of [-1, 1]^2.

    The area is uniform and the ratio log-uniform as in torchvision's RandomResizedCrop.
    The first try whose sides are no longer than the picture's is taken; the last is cut
    to the picture.

    Args:
        u: (B, 4 + 2 * further tries) draws: area, ratio, x, y, then area and ratio of
            each further try.
        min_area: Smallest area, as a share.
        ratio: Largest ratio of the sides, and its inverse.
        max_area: Largest area.
    """
    area = min_area + (max_area - min_area) * torch.cat([u[:, :1], u[:, 4::2]], dim=1)
    drawn = torch.cat([u[:, 1:2], u[:, 5::2]], dim=1)
    aspect = torch.exp((2 * drawn - 1) * np.log(ratio))
    widths, heights = (area * aspect).sqrt(), (area / aspect).sqrt()
    fits = torch.maximum(widths, heights) <= 1
    fits[:, -1] = True
    first = fits.float().argmax(dim=1, keepdim=True)
    width = widths.gather(1, first)[:, 0].clamp(max=1)
    height = heights.gather(1, first)[:, 0].clamp(max=1)
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


def resample(images: Tensor, boxes: Tensor, turns: Tensor, side_px: int) -> Tensor:
    """Cut out, flip and rotate: (B, 3, H, W) to (B, 3, S, S).

    Bilinear sampling looks at four pixels. Where a crop has k >= 2 times the pixels
    that its view needs, the means of k x k pixels are sampled, or it would alias.

    Args:
        images: Grey levels.
        boxes: (B, 4) of ``crop_boxes``, on the CPU.
        turns: (B, 2, 2) of ``turn_matrices``, on the CPU.
        side_px: S.
    """
    maps = moved(boxes_and_turns(boxes, turns), images.device)
    height, width = images.shape[2:]
    needed = boxes[:, 2:] * torch.tensor([width, height]) / side_px
    factors = needed.amin(dim=1).long().clamp(min=1)
    kinds = sorted(set(factors.tolist()))
    if kinds == [1]:
        return _sample(images.float(), maps, side_px)
    views = torch.empty(len(images), 3, side_px, side_px, device=images.device)
    for factor in kinds:
        chosen = moved((factors == factor).nonzero()[:, 0], images.device)
        source = images[chosen].float()
        if factor > 1:
            size = (height // factor, width // factor)
            source = F.adaptive_avg_pool2d(source, size)
        views[chosen] = _sample(source, maps[chosen], side_px)
    return views


def _sample(images: Tensor, maps: Tensor, side_px: int) -> Tensor:
    size = [len(images), 3, side_px, side_px]
    return F.grid_sample(
        images,
        F.affine_grid(maps, size, align_corners=False),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )


def recolour(images: Tensor, u: Tensor, strength: Strength) -> Tensor:
    """Change brightness, contrast, saturation, hue and grey as one affine map.

    Args:
        images: (B, 3, S, S) grey levels.
        u: (B, 6) draws on the CPU: brightness, contrast, saturation, grey, hue, and
            whether the colour is changed.
        strength: Ranges.
    """
    changes = (u[:, 5] < strength.colour_p).float()

    def change(largest: float, drawn: Tensor) -> Tensor:
        return changes * (largest * (2 * drawn - 1))

    bright = 1 + change(strength.brightness, u[:, 0])
    contrast = 1 + change(strength.contrast, u[:, 1])
    saturation = 1 + change(strength.saturation, u[:, 2])
    saturation = saturation * (u[:, 3] >= strength.grey)
    luma = torch.tensor(LUMA)
    # saturation s: s * I + (1 - s) * (every channel becomes the luma)
    matrix = saturation[:, None, None] * torch.eye(3)
    matrix = matrix + (1 - saturation)[:, None, None] * luma
    if strength.hue:
        matrix = hue_matrices(change(strength.hue, u[:, 4])) @ matrix
    matrix = moved((bright * contrast)[:, None, None] * matrix, images.device)
    weight = moved(bright * (1 - contrast), images.device)
    luma = moved(luma, images.device)
    centre = torch.einsum("bchw,c->b", images, luma) / images[0, 0].numel()
    shift = (weight * centre)[:, None, None, None]
    coloured = torch.einsum("bij,bjhw->bihw", matrix, images)
    return coloured.add_(shift).clamp_(0, 255)


def hue_matrices(turns: Tensor) -> Tensor:
    """Give the (B, 3, 3) maps of colours that turn the hue by (B,) shares of a circle.

    Greys stay as they are, and the luma of every colour does.
    """
    angles = 2 * math.pi * turns.double()
    to_yiq = torch.tensor(YIQ, dtype=torch.float64)
    rotations = torch.eye(3, dtype=torch.float64).repeat(len(turns), 1, 1)
    rotations[:, 1, 1] = rotations[:, 2, 2] = angles.cos()
    rotations[:, 1, 2], rotations[:, 2, 1] = angles.sin(), -angles.sin()
    matrices: Tensor = torch.linalg.inv(to_yiq) @ rotations @ to_yiq
    return matrices.float()


def blur_some(images: Tensor, u: Tensor, strength: Strength) -> Tensor:
    """Blur a share of the (B, 3, S, S) images.

    Args:
        images: Grey levels; changed in place.
        u: (B, 2) draws on the CPU: whether, and how much.
        strength: Ranges.
    """
    chosen = (u[:, 0] < strength.blur).nonzero()[:, 0]
    side_px = min(images.shape[2:])
    lowest, highest = (sigma * side_px / BLUR_AT_PX for sigma in strength.sigma)
    radius = min(math.ceil(3 * highest), side_px - 1)
    if len(chosen) == 0 or radius == 0:
        return images
    sigmas = lowest + (highest - lowest) * u[chosen, 1]
    chosen, sigmas = moved(chosen, images.device), moved(sigmas, images.device)
    images[chosen] = gaussian_blur(images[chosen], sigmas, radius)
    return images
