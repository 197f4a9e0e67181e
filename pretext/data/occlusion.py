"""Holes in views, and views whose cells are shuffled: a whole batch at once.

Both keep to the picture where a view shows padding too.

Shapes: B pictures, of which n are changed; S side of the views, px; H holes, G cells
per side, T = G * G. Boxes are left, top, right, bottom in [-1, 1]^2 of a view.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pretext.device import moved


@dataclass(frozen=True, kw_only=True)
class HoleParams:
    """How many rectangles of a view are hidden, and how large they are.

    Source: CoarseDropout of Albumentations; DeVries & Taylor 2017, arXiv 1708.04552.
    Differs: a hole has the mean colour of its view, and lies within the picture.

    Attributes:
        p: Probability that a view has holes.
        n: Most holes; there are 1 to n.
        smallest: Smallest side of a hole, as a share of the picture's.
        largest: Largest side.
    """

    p: float
    n: int
    smallest: float
    largest: float

    @property
    def n_random(self) -> int:
        """Random numbers that one view takes."""
        return 2 + 4 * self.n


@dataclass(frozen=True, kw_only=True)
class ShuffleParams:
    """How often the cells of a view change places.

    Source: RandomGridShuffle of Albumentations.

    Attributes:
        p: Probability that they do.
        cells: G, cells per side.
    """

    p: float
    cells: int = 4

    @property
    def n_random(self) -> int:
        """Random numbers that one view takes."""
        return 1 + self.cells**2


def with_holes(
    views: Tensor, u_BR: Tensor, params: HoleParams, boxes_B4: Tensor | None = None
) -> Tensor:
    """Hide rectangles of a share of the (B, 3, S, S) views.

    Args:
        views: Grey levels; changed in place.
        u_BR: On the CPU: whether, how many, and of each hole x, y, width and height.
        params: Probability, number and size.
        boxes_B4: Of each view, where the picture is; None: everywhere.
    """
    idx = (u_BR[:, 0] < params.p).nonzero()[:, 0]
    if len(idx) == 0:
        return views
    u_nR = u_BR[idx]
    u_nH4 = u_nR[:, 2:].view(len(idx), params.n, 4)
    boxes_n4 = _whole(len(idx)) if boxes_B4 is None else boxes_B4[idx]
    corner_n12, side_n12 = boxes_n4[:, None, :2], boxes_n4[:, None, 2:]
    side_n12 = side_n12 - corner_n12
    size_nH2 = params.smallest + (params.largest - params.smallest) * u_nH4[:, :, 2:]
    is_there_nH1 = torch.arange(params.n)[:, None] < (u_nR[:, 1] * params.n).ceil()[
        :, None, None
    ].clamp(min=1)
    size_nH2 = size_nH2 * is_there_nH1
    start_nH2 = corner_n12 + u_nH4[:, :, :2] * (1 - size_nH2) * side_n12
    holes_nH4 = torch.cat([start_nH2, start_nH2 + size_nH2 * side_n12], dim=2)
    idx, holes_nH4 = moved(idx, views.device), moved(holes_nH4, views.device)
    chosen = views[idx]
    mean_n311 = chosen.mean(dim=(2, 3), keepdim=True)
    is_hidden = _inside(holes_nH4, views.shape[-1])[:, None]
    views[idx] = torch.where(is_hidden, mean_n311, chosen)
    return views


def _whole(n: int) -> Tensor:
    return torch.tensor([[-1.0, -1.0, 1.0, 1.0]]).expand(n, 4)


def _inside(boxes_nH4: Tensor, side_px: int) -> Tensor:
    """Say which of (n, S, S) pixels have their middle in one of H boxes."""
    places_S = (2 * torch.arange(side_px, device=boxes_nH4.device) + 1) / side_px - 1
    low_nH21, high_nH21 = boxes_nH4[:, :, :2, None], boxes_nH4[:, :, 2:, None]
    is_in_nH2S = ((places_S >= low_nH21) & (places_S < high_nH21)).float()
    counts_nSS = torch.einsum("nhi,nhj->nij", is_in_nH2S[:, :, 1], is_in_nH2S[:, :, 0])
    return counts_nSS > 0


def with_shuffled_cells(
    views: Tensor, u_BR: Tensor, params: ShuffleParams, boxes_B4: Tensor | None = None
) -> Tensor:
    """Let the cells of a share of the (B, 3, S, S) views change places.

    All G x G cells of a picture are of one size; what is left over of it at its edges,
    less than a pixel a cell, stays.

    Args:
        views: Grey levels; changed in place.
        u_BR: On the CPU: whether, and the order of the cells.
        params: Probability, and cells per side.
        boxes_B4: Of each view, where the picture is; None: everywhere.
    """
    idx = (u_BR[:, 0] < params.p).nonzero()[:, 0]
    if len(idx) == 0:
        return views
    side_px, cells = views.shape[-1], params.cells
    boxes_n4 = _whole(len(idx)) if boxes_B4 is None else boxes_B4[idx]
    # whole pixels within the box
    low_n2 = ((boxes_n4[:, :2] + 1) / 2 * side_px).ceil().long()
    high_n2 = ((boxes_n4[:, 2:] + 1) / 2 * side_px).floor().long()
    cell_n2 = (high_n2 - low_n2).clamp(min=0) // cells
    low_n2 = low_n2 + (high_n2 - low_n2 - cells * cell_n2) // 2
    order_nT = u_BR[idx, 1 : params.n_random].argsort(dim=1)
    device = views.device
    pixels_nSS = _shuffled_pixels(
        moved(low_n2, device), moved(cell_n2, device), moved(order_nT, device), side_px
    )
    idx = moved(idx, device)
    flat = views[idx].flatten(2)
    index = pixels_nSS.flatten(1)[:, None].expand_as(flat)
    views[idx] = flat.gather(2, index).view(-1, *views.shape[1:])
    return views


def _shuffled_pixels(
    low_n2: Tensor, cell_n2: Tensor, order_nT: Tensor, side_px: int
) -> Tensor:
    """Say from which pixel of its view each of (n, S, S) pixels is taken.

    Args:
        low_n2: First pixel of the cells, by x and y.
        cell_n2: Sides of a cell, px; 0: the picture is too small for any.
        order_nT: The cell that comes to each place.
        side_px: S.
    """
    cells = round(order_nT.shape[1] ** 0.5)
    pixels_S = torch.arange(side_px, device=low_n2.device)
    within_n2S = pixels_S - low_n2[:, :, None]
    size_n21 = cell_n2[:, :, None].clamp(min=1)
    is_in_n2S = (within_n2S >= 0) & (within_n2S < cells * cell_n2[:, :, None])
    place_n2S = (within_n2S // size_n21).clamp(0, cells - 1)
    rest_n2S = within_n2S % size_n21
    place_nSS = place_n2S[:, 1, :, None] * cells + place_n2S[:, 0, None, :]
    from_nSS = order_nT.gather(1, place_nSS.flatten(1)).view_as(place_nSS)
    row_nSS = low_n2[:, 1, None, None] + from_nSS // cells * cell_n2[:, 1, None, None]
    row_nSS = row_nSS + rest_n2S[:, 1, :, None]
    col_nSS = low_n2[:, 0, None, None] + from_nSS % cells * cell_n2[:, 0, None, None]
    col_nSS = col_nSS + rest_n2S[:, 0, None, :]
    is_in_nSS = is_in_n2S[:, 1, :, None] & is_in_n2S[:, 0, None, :]
    stays_SS = pixels_S[:, None] * side_px + pixels_S
    return torch.where(is_in_nSS, row_nSS * side_px + col_nSS, stays_SS)
