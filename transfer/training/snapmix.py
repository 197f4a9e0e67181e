"""A box of one picture in a box of another, weighed by what shows their classes there.

Source: Huang et al. 2021, SnapMix: Semantically Proportional Mixing for Augmenting
Fine-grained Data, arXiv 2012.04846.
Differs: each picture has boxes of its own; partners of the same class are no exception.

Shapes: B pictures of a batch, S side, h w of the class maps.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from data_prep.arrays import Ints
from transfer.training.mix_masks import box_areas, box_masks, move_boxes
from transfer.training.mixing import Mixture, partners_on, tensor_of

FLAT = 1e-6  # of a map's range, added to all of it: without any range it is even


def snap(
    views: Tensor, maps_Bhw: Tensor, partner_idx: Ints, *, into_B4: Ints, from_B4: Ints
) -> Mixture:
    """Put a box of each partner into a box of each picture.

    The first label weighs what of its class map the box leaves, the partner's what of
    its map was taken. A pair with an empty box stays as it is.

    Args:
        views: (B, 3, S, S) grey levels.
        maps_Bhw: How much each place shows of the class of its picture.
        partner_idx: (B,) places of the partners.
        into_B4: Boxes of ``random_boxes`` in the pictures.
        from_B4: Boxes in the partners.
    """
    side, device = views.shape[2], views.device
    is_empty = (box_areas(into_B4, side) == 0) | (box_areas(from_B4, side) == 0)
    into_B4, from_B4 = (
        np.where(is_empty[:, None], 0, boxes) for boxes in (into_B4, from_B4)
    )
    partner = partners_on(partner_idx, device)
    moved_in = move_boxes(views[partner], from_B4=from_B4, to_B4=into_B4)
    is_into = box_masks(into_B4, side, device)
    proportions = proportions_of(maps_Bhw, side)
    of_partner = proportions[partner] * box_masks(from_B4, side, device)
    return Mixture(
        images=torch.where(is_into[:, None], moved_in, views),
        partner_idx=partner,
        share=tensor_of(1 - box_areas(into_B4, side), device),
        weight=1 - (proportions * is_into).sum(dim=(1, 2)),
        partner_weight=of_partner.sum(dim=(1, 2)),
    )


def proportions_of(maps_Bhw: Tensor, side: int) -> Tensor:
    """Bring class maps to (B, S, S) shares of a pixel, which sum to 1."""
    size = (side, side)
    maps = F.interpolate(maps_Bhw[:, None].float(), size, mode="bilinear")[:, 0]
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    positive = (maps - low) / (high - low).clamp(
        min=torch.finfo(maps.dtype).tiny
    ) + FLAT
    return positive / positive.sum(dim=(1, 2), keepdim=True)
