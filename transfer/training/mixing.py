"""Pictures mixed in pairs: who is mixed with whom, and what comes of it.

Random numbers come from a generator that is handed in.

Sources: Zhang et al. 2018, mixup, arXiv 1710.09412; Yun et al. 2019, CutMix, arXiv
1905.04899; Harris et al. 2020, FMix, arXiv 2002.12047; Yao et al. 2022, C-Mixup, arXiv
2210.05775.
Differs: each picture has a share of its own, none is its own partner, and near partners
are of the same batch. The losses are mixed, not the labels: of cross-entropy and of
squared errors that is the same up to a constant, and it needs no labels that mix. The
shares are of the square, padding included: where pictures are padded, a box may show
less of a partner than its label weighs.

Shapes: B pictures of a batch, S side.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_prep.arrays import Floats, Ints
from pretext.device import moved
from transfer.training.mix_masks import blots, box_areas, box_masks, random_boxes

BANDWIDTH = 0.5  # of near partners, in standard deviations of the number


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Pictures of a batch, each mixed with another.

    Attributes:
        images: (B, 3, S, S) grey levels.
        partner_idx: (B,) places of the partners in the batch.
        share: (B,) share of a mixture that is its first picture.
        weight: (B,) factor of the loss by the first picture's label.
        partner_weight: (B,) factor of the loss by the partner's.
    """

    images: Tensor
    partner_idx: Tensor
    share: Tensor
    weight: Tensor
    partner_weight: Tensor

    def blend(self, columns: Tensor) -> Tensor:
        """Mix (B, C) columns of the user's table as the pictures are."""
        return columns[self.partner_idx].lerp(columns, self.share[:, None])


def next_in_turn(rng: np.random.Generator, n: int) -> Ints:
    """Give each of n pictures the next of a random circle, (n,) places."""
    circle = rng.permutation(n)
    partner_idx = np.empty(n, dtype=np.int64)
    partner_idx[circle] = np.roll(circle, 1)
    return partner_idx


def near_partners(rng: np.random.Generator, numbers: Floats) -> Ints:
    """Give each picture one with a near number, by a Gaussian of their distance.

    A picture without a number has another without one, or a label would weigh more than
    it does alone; where there is none of its kind, either has any partner.

    Args:
        rng: Draws them.
        numbers: (B,) in standard deviations; NaN where there is none.

    Returns:
        (B,) places of the partners.
    """
    distance_BB = np.abs(numbers[:, None] - numbers)
    has_none = np.isnan(numbers)
    distance_BB[np.isnan(distance_BB)] = np.inf
    distance_BB[np.ix_(has_none, has_none)] = 0
    np.fill_diagonal(distance_BB, np.inf)
    # those that have nobody near take anybody, but themselves
    is_alone = np.isinf(distance_BB).all(axis=1)
    distance_BB[is_alone] = 0
    distance_BB[is_alone, np.flatnonzero(is_alone)] = np.inf
    # counted from the nearest, or far ones would all be 0
    squares = distance_BB**2 - distance_BB.min(axis=1, keepdims=True) ** 2
    odds = np.exp(-squares / (2 * BANDWIDTH**2)).cumsum(axis=1)
    draws = rng.random(len(numbers))[:, None] * odds[:, -1:]
    partner_idx: Ints = (odds <= draws).sum(axis=1)
    return partner_idx


def mix_pictures(
    rng: np.random.Generator,
    method: str,
    views: Tensor,
    partner_idx: Ints,
    share: Floats,
) -> Mixture:
    """Mix pictures by their shares: as a whole, by boxes or by blots.

    Args:
        rng: Draws the boxes or blots.
        method: ``mixup``, ``cmixup``, ``cutmix`` or ``fmix``.
        views: (B, 3, S, S) grey levels.
        partner_idx: (B,) places of the partners.
        share: (B,) shares of the first pictures; what is cut off the box of a partner
            is added to them.
    """
    side, device = views.shape[2], views.device
    partners = views[partners_on(partner_idx, device)]
    if method in ("mixup", "cmixup"):
        images = partners.lerp(views, tensor_of(share, device)[:, None, None, None])
    elif method == "cutmix":
        boxes = random_boxes(rng, 1 - share, side)
        share = 1 - box_areas(boxes, side)
        images = torch.where(box_masks(boxes, side, device)[:, None], partners, views)
    else:
        share = np.rint(share * side**2) / side**2
        images = torch.where(blots(rng, share, side, device)[:, None], views, partners)
    return Mixture(
        images=images,
        partner_idx=partners_on(partner_idx, device),
        share=tensor_of(share, device),
        weight=tensor_of(share, device),
        partner_weight=tensor_of(1 - share, device),
    )


def partners_on(partner_idx: Ints, device: torch.device) -> Tensor:
    """Send (B,) places to the device."""
    return moved(torch.from_numpy(partner_idx), device)


def tensor_of(values: Floats, device: torch.device) -> Tensor:
    """Send (B,) numbers to the device, as float32."""
    return moved(torch.from_numpy(values).float(), device)
