"""Which pixels of a mixture are of which picture: boxes, and blots of a random field.

Random numbers come from a generator that is handed in. Shapes: B pictures, S side.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from data_prep.arrays import Floats, Ints
from pretext.device import moved

DECAY, MOST_CYCLES = 3.0, 16


def random_boxes(rng: np.random.Generator, area: Floats, side: int) -> Ints:
    """Draw boxes anywhere in a picture; what lies outside it is cut off.

    Source: Yun et al. 2019, CutMix, arXiv 1905.04899.

    Args:
        rng: Draws them.
        area: (B,) shares of the picture's area, before they are cut off.
        side: S.

    Returns:
        (B, 4) pixels x0, y0, x1, y1, of which the last two are outside.
    """
    half = side * np.sqrt(area)[:, None] / 2
    centres = rng.integers(side, size=(len(area), 2))
    low, high = np.rint(centres - half), np.rint(centres + half)
    return np.concatenate([low, high], axis=1).clip(0, side).astype(np.int64)


def box_areas(boxes_B4: Ints, side: int) -> Floats:
    """Give the (B,) shares of the picture's area that lie in boxes."""
    sides = boxes_B4[:, 2:] - boxes_B4[:, :2]
    areas: Floats = sides.prod(axis=1) / side**2
    return areas


def box_masks(boxes_B4: Ints, side: int, device: torch.device) -> Tensor:
    """Give the (B, S, S) pixels that lie in boxes."""
    boxes = moved(torch.from_numpy(boxes_B4), device)[:, :, None]
    places = torch.arange(side, device=device)
    is_x = (places >= boxes[:, 0]) & (places < boxes[:, 2])
    is_y = (places >= boxes[:, 1]) & (places < boxes[:, 3])
    return is_y[:, :, None] & is_x[:, None]


def blots(
    rng: np.random.Generator, area: Floats, side: int, device: torch.device
) -> Tensor:
    """Give pixels where a smooth random field is highest.

    Source: Harris et al. 2020, FMix: Enhancing Mixed Sample Data Augmentation, arXiv
    2002.12047.
    Differs: frequencies above 16 cycles are left out, whose amplitudes are below a
    4000th of the largest; the area is rounded, not up or down at random.

    Args:
        rng: Draws it.
        area: (B,) shares of the picture's area.
        side: S.
        device: Where the masks are to be.

    Returns:
        (B, S, S) masks, with the area rounded to whole pixels.
    """
    n_cycles = min(MOST_CYCLES, side // 2)
    y = np.arange(-n_cycles, n_cycles + 1)[:, None]
    x = np.arange(n_cycles + 1)
    amplitude = 1 / np.maximum(np.hypot(x, y), 1) ** DECAY
    size = (len(area), *amplitude.shape)
    waves = amplitude * (rng.normal(size=size) + 1j * rng.normal(size=size))
    spectrum = np.zeros((len(area), side, side // 2 + 1), dtype=np.complex64)
    # with an even side the highest wave up is the highest wave down: the last stays
    spectrum[:, y[:, 0] % side, : n_cycles + 1] = waves
    fields = torch.fft.irfft2(moved(torch.from_numpy(spectrum), device), s=(side, side))
    order = fields.flatten(1).argsort(dim=1, descending=True, stable=True)
    ranks = order.argsort(dim=1)
    n_pixels = np.rint(area * side**2).astype(np.int64)
    masks: Tensor = ranks < moved(torch.from_numpy(n_pixels), device)[:, None]
    return masks.view(-1, side, side)


def move_boxes(images: Tensor, from_B4: Ints, to_B4: Ints) -> Tensor:
    """Show what lies in boxes of pictures in other boxes, brought to their size.

    Args:
        images: (B, 3, S, S).
        from_B4: Boxes in these pictures.
        to_B4: Where they go; elsewhere the result means nothing.

    Returns:
        (B, 3, S, S).
    """
    side = images.shape[2]
    boxes = [torch.from_numpy(box).float() for box in (from_B4, to_B4)]
    sizes = [(box[:, 2:] - box[:, :2]).clamp(min=1) for box in boxes]
    centres = [(box[:, 2:] + box[:, :2]) / side - 1 for box in boxes]  # of [-1, 1]
    scale = sizes[0] / sizes[1]
    shift = centres[0] - scale * centres[1]
    maps = torch.cat([torch.diag_embed(scale), shift[:, :, None]], dim=2)
    grid = F.affine_grid(
        moved(maps, images.device), list(images.shape), align_corners=False
    )
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
