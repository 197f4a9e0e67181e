"""Random views of whole batches: one resampling for geometry, one map for colour.

Random numbers are drawn per picture by ``pretext.data.keyed_rng`` and handed in as u,
so that the operations here are pure functions of tensors. They are computed in float32
whatever the precision of the training: in bfloat16, places in the picture are a quarter
pixel off.

Source: the distributions of torchvision's RandomResizedCrop, ColorJitter,
RandomGrayscale and GaussianBlur.
Differs: a crop that fits at none of its tries is cut to the picture; torchvision takes
the middle. Hue turns the colours about the grey axis in YIQ, which is linear and keeps
the luma, where torchvision turns them in HSV and keeps the largest channel. All changes
of the colour are one map, and levels are cut to 0..255 once; in torchvision after each,
which is all that its random order changes, for the four commute.

Shapes: B pictures, C = 3 channels, H W pixels of the input, S side of the output.
Places are x, y in [-1, 1]^2 of a picture or a view, as ``grid_sample`` has them.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pretext.data.blur import gaussian_blur
from pretext.data.occlusion import (
    HoleParams,
    ShuffleParams,
    with_holes,
    with_shuffled_cells,
)
from pretext.data.randaugment import RandParams
from pretext.data.warps import WarpParams, Warps, shown_content
from pretext.device import moved

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
# luma and two differences of colours; the rows of the differences add up to 0
YIQ = (LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
BLUR_AT_PX = 224  # the deviation of a blur is given for views of this side
N_RANDOM = 15  # random numbers of a view with one try


@dataclass(frozen=True, kw_only=True)
class AugmentParams:
    """How far the views may leave the picture.

    Attributes:
        min_area: Smallest share of the picture's area that a crop keeps.
        max_area: Largest share.
        ratio: Largest ratio of the sides of a crop, and its inverse.
        tries: Crops drawn until one fits; the last is cut to the picture.
        d4: Draw one of the eight flips and rotations; else mirror left-right only.
        brightness: Largest change of the brightness, as a share.
        contrast: Largest change of the contrast, as a share.
        saturation: Largest change of the saturation, as a share.
        hue: Largest change of the hue, as a share of the circle of colours.
        colour_p: Probability that these four are changed.
        grey: Probability of a grey picture.
        blur: Probability of a blurred picture.
        sigma: Smallest and largest deviation of the blur, px of a view of 224 px.
        warp: How far views are shifted, zoomed and rotated; None: they are not.
        rand: Operations of RandAugment; None: none.
        shuffle: How often cells change places; None: never.
        holes: What is hidden; None: nothing.
    """

    min_area: float = 0.6
    max_area: float = 1.0
    ratio: float = 1.15
    tries: int = 1
    d4: bool = True
    brightness: float = 0.1
    contrast: float = 0.1
    saturation: float = 0.1
    hue: float = 0.0
    colour_p: float = 1.0
    grey: float = 0.0
    blur: float = 0.0
    sigma: tuple[float, float] = (0.1, 2.0)
    warp: WarpParams | None = None
    rand: RandParams | None = None
    shuffle: ShuffleParams | None = None
    holes: HoleParams | None = None

    @property
    def n_random(self) -> int:
        """Random numbers that one view takes."""
        return sum(self.n_draws)

    @property
    def n_draws(self) -> list[int]:
        """How many of them are for crop, turn, colour and blur, and for each part."""
        parts = (self.warp, self.rand, self.shuffle, self.holes)
        further = [part.n_random if part else 0 for part in parts]
        return [N_RANDOM + 2 * (self.tries - 1), *further]

    def warps(self, u_warp: Tensor, u_rand: Tensor) -> Warps | None:
        """Give the warps of views by their random numbers; None: there are none."""
        warps = self.warp.draw(u_warp) if self.warp else None
        if self.rand is None:
            return warps
        of_rand = self.rand.warps(u_rand)
        return warps.then(of_rand) if warps else of_rand


def random_views(
    images: Tensor,
    u: NDArray[np.float32],
    side_px: int,
    params: AugmentParams,
    fill_frac: NDArray[np.float32] | None = None,
) -> Tensor:
    """Crop, flip, rotate, colour and blur each picture by its own random numbers.

    Args:
        images: (B, 3, H, W) grey levels 0..255.
        u: (B, params.n_random) random numbers of [0, 1).
        side_px: S.
        params: How far the views may leave the picture.
        fill_frac: (B, 2) share of width and height that the picture fills, in the
            middle of a padded square; None: all.

    Returns:
        (B, 3, S, S) float, grey levels.
    """
    # in bfloat16 views would be cut out a quarter pixel beside their place
    with torch.autocast(images.device.type, enabled=False):
        return _random_views(
            images, u=u, side_px=side_px, params=params, fill_frac=fill_frac
        )


def _random_views(
    images: Tensor,
    *,
    u: NDArray[np.float32],
    side_px: int,
    params: AugmentParams,
    fill_frac: NDArray[np.float32] | None,
) -> Tensor:
    # what is small is computed where it is known at once
    u_BR = torch.from_numpy(u[:, : params.n_random])
    u_view, u_warp, u_rand, u_shuffle, u_holes = torch.split(
        u_BR, params.n_draws, dim=1
    )
    fill_B2 = None if fill_frac is None else torch.from_numpy(fill_frac)
    boxes_B4 = crop_boxes(
        torch.cat([u_view[:, :4], u_view[:, N_RANDOM:]], dim=1),
        params.min_area,
        params.ratio,
        params.max_area,
        fill_B2=fill_B2,
    )
    maps_B23 = affine_maps(boxes_B4, orientation_matrices(u_view[:, 4:7], params.d4))
    size_B2, warps = boxes_B4[:, 2:], params.warps(u_warp, u_rand)
    if warps:
        maps_B23 = warps.applied_to(maps_B23, fill_B2)
        size_B2 = size_B2 * warps.stretch()
    shown_B4 = None
    if fill_B2 is not None and (params.shuffle or params.holes):
        shown_B4 = shown_content(maps_B23, fill_B2)
    edge = "reflection" if warps else "border"
    views = resample_by(images, maps_B23, size_B2, side_px, edge=edge)
    views = recolour(views, u_view[:, 7:13], params)
    if params.rand:
        views = params.rand.with_levels_changed(views, u_rand)
    views = blur_some(views, u_view[:, 13:15], params)
    if params.shuffle:
        views = with_shuffled_cells(views, u_shuffle, params.shuffle, shown_B4)
    if params.holes:
        views = with_holes(views, u_holes, params.holes, shown_B4)
    return views


def crop_boxes(
    u_BR: Tensor,
    min_area: float,
    ratio: float,
    max_area: float = 1,
    *,
    fill_B2: Tensor | None = None,
) -> Tensor:
    """Turn random numbers into boxes (centre x, y, width, height) of [-1, 1]^2.

    The area is uniform and the ratio log-uniform as in torchvision's RandomResizedCrop.
    The first try whose sides are no longer than the picture's is taken; the last is cut
    to the picture.

    A padded picture fills the middle of its square. Along each axis a crop that is no
    longer than what is filled lies within it, and a longer one shows all of it: so a
    view has as much of the picture as its size allows, in the same scale as ever.

    Args:
        u_BR: R = 4 + 2 * further tries: area, ratio, x, y, then area and ratio of each
            further try.
        min_area: Smallest area, as a share.
        ratio: Largest ratio of the sides, and its inverse.
        max_area: Largest area, as a share.
        fill_B2: Share of width and height that the picture fills; None: all.

    Returns:
        (B, 4); width and height as shares of the picture's.
    """
    u_area_BK = torch.cat([u_BR[:, :1], u_BR[:, 4::2]], dim=1)  # K tries
    u_aspect_BK = torch.cat([u_BR[:, 1:2], u_BR[:, 5::2]], dim=1)
    area_BK = min_area + (max_area - min_area) * u_area_BK
    aspect_BK = torch.exp((2 * u_aspect_BK - 1) * np.log(ratio))
    # sides w, h of the try with w * h = area and w / h = aspect
    width_BK, height_BK = (area_BK * aspect_BK).sqrt(), (area_BK / aspect_BK).sqrt()
    fits_BK = torch.maximum(width_BK, height_BK) <= 1
    fits_BK[:, -1] = True
    first_B1 = fits_BK.float().argmax(dim=1, keepdim=True)
    width = width_BK.gather(1, first_B1)[:, 0].clamp(max=1)
    height = height_BK.gather(1, first_B1)[:, 0].clamp(max=1)
    size_B2 = torch.stack([width, height], dim=1)
    # the centre lies anywhere where the box does not leave the picture
    reach_B2 = 1 - size_B2
    if fill_B2 is not None:
        reach_B2 = torch.minimum(reach_B2, (fill_B2 - size_B2).abs())
    return torch.cat([(2 * u_BR[:, 2:4] - 1) * reach_B2, size_B2], dim=1)


def orientation_matrices(u_B3: Tensor, d4: bool) -> Tensor:
    """Turn random numbers into (B, 2, 2) matrices of flips and quarter turns.

    Args:
        u_B3: Whether x is mirrored, y is mirrored, x and y are exchanged.
        d4: One of all eight, the group D4; else x is mirrored or not.
    """
    sign_x = 1 - 2 * (u_B3[:, 0] < 0.5).float()
    zeros, ones = torch.zeros_like(sign_x), torch.ones_like(sign_x)
    if not d4:
        return torch.stack([sign_x, zeros, zeros, ones], dim=1).view(-1, 2, 2)
    sign_y = 1 - 2 * (u_B3[:, 1] < 0.5).float()
    swap = (u_B3[:, 2] < 0.5).float()
    keep = 1 - swap
    rows = [sign_x * keep, sign_x * swap, sign_y * swap, sign_y * keep]
    return torch.stack(rows, dim=1).view(-1, 2, 2)


def affine_maps(boxes_B4: Tensor, orientations_B22: Tensor) -> Tensor:
    """Join crop and orientation into the (B, 2, 3) maps from output to input places."""
    linear_B22 = boxes_B4[:, 2:, None] * orientations_B22
    return torch.cat([linear_B22, boxes_B4[:, :2, None]], dim=2)


def resample(
    images: Tensor, boxes_B4: Tensor, orientations_B22: Tensor, side_px: int
) -> Tensor:
    """Cut out, flip and rotate: (B, 3, H, W) to (B, 3, S, S).

    Args:
        images: (B, 3, H, W) grey levels.
        boxes_B4: Of ``crop_boxes``, on the CPU.
        orientations_B22: Of ``orientation_matrices``, on the CPU.
        side_px: S.
    """
    maps_B23 = affine_maps(boxes_B4, orientations_B22)
    return resample_by(images, maps_B23, boxes_B4[:, 2:], side_px)


def resample_by(
    images: Tensor,
    maps_B23: Tensor,
    size_B2: Tensor,
    side_px: int,
    *,
    edge: str = "border",
) -> Tensor:
    """Sample (B, 3, S, S) views of pictures by any affine maps.

    Bilinear sampling looks at four pixels. Where a crop has k >= 2 times the pixels
    that its view needs, the means of k x k pixels are sampled, or it would alias.

    Args:
        images: (B, 3, H, W) grey levels.
        maps_B23: From places of the views to those of the pictures, on the CPU.
        size_B2: Width and height of what is shown, as shares, on the CPU.
        side_px: S.
        edge: What lies beyond a picture, of ``grid_sample``.
    """
    maps_B23 = moved(maps_B23, images.device)
    height, width = images.shape[2:]
    px_of_view_px = size_B2 * torch.tensor([width, height]) / side_px
    k_B = px_of_view_px.amin(dim=1).long().clamp(min=1)
    factors = sorted(set(k_B.tolist()))
    if factors == [1]:
        return _sample(images.float(), maps_B23, side_px, edge)
    views = torch.empty(len(images), 3, side_px, side_px, device=images.device)
    for factor in factors:
        idx = moved((k_B == factor).nonzero()[:, 0], images.device)
        source = images[idx].float()
        if factor > 1:
            size = (height // factor, width // factor)
            source = F.adaptive_avg_pool2d(source, size)
        views[idx] = _sample(source, maps_B23[idx], side_px, edge)
    return views


def _sample(images: Tensor, maps_B23: Tensor, side_px: int, edge: str) -> Tensor:
    size = [len(images), 3, side_px, side_px]
    return F.grid_sample(
        images,
        F.affine_grid(maps_B23, size, align_corners=False),
        mode="bilinear",
        padding_mode=edge,
        align_corners=False,
    )


def recolour(images_BCSS: Tensor, u_B6: Tensor, params: AugmentParams) -> Tensor:
    """Change brightness, contrast, saturation, hue and grey as one affine map.

    With brightness b, contrast c, saturation s, hue map Q, luma vector l and the mean
    luma m of the picture, a pixel x of C channels becomes

        b * (c * Q (s * x + (1 - s) * l.x) + (1 - c) * m)

    Args:
        images_BCSS: (B, 3, S, S) grey levels.
        u_B6: On the CPU: brightness, contrast, saturation, grey, hue, and whether the
            colour is changed at all.
        params: Largest changes and probabilities.
    """
    is_changed = (u_B6[:, 5] < params.colour_p).float()

    def change(largest: float, u_B: Tensor) -> Tensor:
        return is_changed * (largest * (2 * u_B - 1))

    bright = 1 + change(params.brightness, u_B6[:, 0])
    contrast = 1 + change(params.contrast, u_B6[:, 1])
    saturation = 1 + change(params.saturation, u_B6[:, 2])
    saturation = saturation * (u_B6[:, 3] >= params.grey)
    luma_C = torch.tensor(LUMA)
    # saturation s: s * I + (1 - s) * (every channel becomes the luma)
    matrix_BCC = saturation[:, None, None] * torch.eye(3)
    matrix_BCC = matrix_BCC + (1 - saturation)[:, None, None] * luma_C
    if params.hue:
        matrix_BCC = hue_matrices(change(params.hue, u_B6[:, 4])) @ matrix_BCC
    device = images_BCSS.device
    matrix_BCC = moved((bright * contrast)[:, None, None] * matrix_BCC, device)
    weight = moved(bright * (1 - contrast), device)
    luma_C = moved(luma_C, device)
    n_pixels = images_BCSS[0, 0].numel()
    mean_luma = torch.einsum("bchw,c->b", images_BCSS, luma_C) / n_pixels
    shift = (weight * mean_luma)[:, None, None, None]
    coloured = torch.einsum("bij,bjhw->bihw", matrix_BCC, images_BCSS)
    return coloured.add_(shift).clamp_(0, 255)


def hue_matrices(turns_B: Tensor) -> Tensor:
    """Give the (B, 3, 3) maps of colours that turn the hue by (B,) shares of a circle.

    In YIQ the hue is the angle of (I, Q), so the map is YIQ^-1 R YIQ with a rotation R
    of the last two. Greys stay as they are, and the luma of every colour does.
    """
    angles = 2 * math.pi * turns_B.double()
    to_yiq = torch.tensor(YIQ, dtype=torch.float64)
    rotations = torch.eye(3, dtype=torch.float64).repeat(len(turns_B), 1, 1)
    rotations[:, 1, 1] = rotations[:, 2, 2] = angles.cos()
    rotations[:, 1, 2], rotations[:, 2, 1] = angles.sin(), -angles.sin()
    matrices: Tensor = torch.linalg.inv(to_yiq) @ rotations @ to_yiq
    return matrices.float()


def blur_some(images: Tensor, u_B2: Tensor, params: AugmentParams) -> Tensor:
    """Blur a share of the (B, 3, S, S) images.

    Args:
        images: Grey levels; changed in place.
        u_B2: On the CPU: whether, and how much.
        params: Probability and deviations.
    """
    idx = (u_B2[:, 0] < params.blur).nonzero()[:, 0]
    side_px = min(images.shape[2:])
    lowest, highest = (sigma * side_px / BLUR_AT_PX for sigma in params.sigma)
    radius = min(math.ceil(3 * highest), side_px - 1)  # a Gaussian ends at 3 deviations
    if len(idx) == 0 or radius == 0:
        return images
    sigmas = lowest + (highest - lowest) * u_B2[idx, 1]
    idx, sigmas = moved(idx, images.device), moved(sigmas, images.device)
    images[idx] = gaussian_blur(images[idx], sigmas, radius)
    return images
