"""Jigsaw puzzles: pictures of shuffled tiles, cut and assembled in one resampling.

The shortcuts by which a net could answer without looking at the picture are closed:
tiles are cut inside their cell, so that edges do not continue (gap); each tile has zero
mean and unit deviation per channel; some puzzles are grey; the colour channels of each
are shifted against each other (chromatic aberration would give the place away); each
tile may be cut at a size of its own (the beat of a resampling would give it away); the
permutation is drawn anew for every picture and epoch. Each has a switch of its own.

Source: Noroozi & Favaro 2016, arXiv 1603.09246, section 3 and its list of shortcuts.
Differs: the tiles are put back into one picture, and the answer is a place for each.
Shapes: B pictures, C = 3 channels, H W their pixels, G cells per side, T = G * G tiles,
t side of a tile, S = G * t side of a puzzle, P orders. Places are x, y in [-1, 1]^2.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from data_prep.arrays import Ints
from pretext.data.augment import affine_maps, crop_boxes, orientation_matrices
from pretext.data.pictures import Normalisation
from pretext.device import moved


@dataclass(frozen=True, kw_only=True)
class PuzzleRules:
    """How puzzles are made.

    Attributes:
        grid: G.
        tile_px: t, the side of a tile in the puzzle.
        gap: Share of a cell's side that is cut away; the tile lies anywhere in it.
        min_area: Smallest share of the picture that the puzzle is made of.
        ratio: Largest ratio of the sides of that part.
        d4: Flip and rotate the picture before it is cut; else mirror it only.
        grey: Probability of a grey puzzle.
        channel_shift: Largest shift of a colour channel, as a share of the tile.
        resize_jitter: Each tile is cut smaller by up to this share, and enlarged to t.
        normalise: Statistics of the collection for all tiles; None: each tile has zero
            mean and unit deviation by itself.
    """

    grid: int = 3
    tile_px: int = 28
    gap: float = 0.125
    min_area: float = 0.6
    ratio: float = 1.15
    d4: bool = False
    grey: float = 0.3
    channel_shift: float = 0.03
    resize_jitter: float = 0.0
    normalise: Normalisation | None = None

    @property
    def n_random(self) -> int:
        """Random numbers that one puzzle takes."""
        return sum(self.n_random_by_use)

    @property
    def n_random_by_use(self) -> list[int]:
        """Of crop, orientation, order, jitter, grey, shift and zoom, in order."""
        n_tiles = self.grid**2
        return [4, 3, n_tiles, 2 * n_tiles, 1, 6, n_tiles]

    @property
    def side_px(self) -> int:
        """Side of a puzzle in pixels, S."""
        return self.grid * self.tile_px

    def scaled(self, scale: float) -> "PuzzleRules":
        """Give the same rules with larger tiles."""
        return replace(self, tile_px=round(self.tile_px * scale))


def make_puzzles(
    images: Tensor,
    u: NDArray[np.float32],
    rules: PuzzleRules,
    fill_frac: NDArray[np.float32] | None = None,
    orders: Ints | None = None,
) -> tuple[Tensor, Tensor]:
    """Make a puzzle of each picture.

    Args:
        images: (B, 3, H, W) grey levels.
        u: (B, rules.n_random) random numbers of [0, 1).
        rules: How the puzzles are made.
        fill_frac: (B, 2) share of width and height that the picture fills, in the
            middle; None: all. What pads it would tell the outer tiles by their streaks.
        orders: (P, T) orders to draw from; None: any order.

    Returns:
        Puzzles (B, 3, S, S), and the labels, int64: (B, T), which tile, in reading
        order of the picture, lies at each place of the puzzle; or, where there are
        ``orders``, (B, 1), which of them it is.
    """
    # as in pretext.data.augment: in bfloat16 the tiles would be cut a quarter pixel off
    with torch.autocast(images.device.type, enabled=False):
        return _make_puzzles(
            images_BCHW=images,
            u=u,
            rules=rules,
            fill_frac_B2=fill_frac,
            orders_PT=orders,
        )


def _make_puzzles(
    images_BCHW: Tensor,
    u: NDArray[np.float32],
    rules: PuzzleRules,
    fill_frac_B2: NDArray[np.float32] | None,
    orders_PT: Ints | None,
) -> tuple[Tensor, Tensor]:
    device, n_tiles = images_BCHW.device, rules.grid**2
    u_crop, u_orientation, u_order, u_jitter, u_grey, u_shift, u_zoom = torch.split(
        moved(torch.from_numpy(u), device), rules.n_random_by_use, dim=1
    )
    if orders_PT is None:  # sorting random numbers draws every order equally often
        tiles_BT = labels = u_order.argsort(dim=1)
    else:
        labels = (u_order[:, :1] * len(orders_PT)).long()
        tiles_BT = moved(torch.from_numpy(orders_PT), device)[labels[:, 0]]

    # where in the picture each pixel of the puzzle lies: first in the view that is cut
    # into tiles, then, by the map of crop and orientation, in the picture
    places_BSS2 = tile_places(tiles_BT, u_jitter.view(-1, n_tiles, 2), u_zoom, rules)
    boxes_B4 = crop_boxes(u_crop, rules.min_area, rules.ratio)
    if fill_frac_B2 is not None:
        boxes_B4 = boxes_B4 * moved(torch.from_numpy(fill_frac_B2), device).repeat(1, 2)
    maps_B23 = affine_maps(boxes_B4, orientation_matrices(u_orientation, rules.d4))
    places_BSS2 = torch.einsum("bij,bhwj->bhwi", maps_B23[:, :, :2], places_BSS2)
    places_BSS2 = places_BSS2 + maps_B23[:, None, None, :, 2]

    # the channels are shifted against each other: three pictures of one channel each
    tile_B12 = boxes_B4[:, None, 2:] * (2 / rules.grid * (1 - rules.gap))
    shift_BC2 = (2 * u_shift.view(-1, 3, 2) - 1) * rules.channel_shift * tile_B12
    places_BCSS2 = places_BSS2[:, None] + shift_BC2[:, :, None, None, :]
    images_BCHW = _enough_pixels(images_BCHW.float(), rules)
    puzzles_BCSS = F.grid_sample(
        images_BCHW.flatten(0, 1)[:, None],
        places_BCSS2.flatten(0, 1),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    ).view(*places_BCSS2.shape[:4])
    is_grey_B111 = (u_grey < rules.grey)[:, :, None, None]
    puzzles_BCSS = torch.where(
        is_grey_B111, puzzles_BCSS.mean(dim=1, keepdim=True), puzzles_BCSS
    )
    if rules.normalise is not None:
        return rules.normalise(puzzles_BCSS), labels
    return standardise_tiles(puzzles_BCSS, rules.grid), labels


def _enough_pixels(images_BCHW: Tensor, rules: PuzzleRules) -> Tensor:
    """Take means of k x k pixels, where pictures have k >= 2 times those needed.

    Bilinear sampling looks at four pixels and would alias.
    """
    height, width = images_BCHW.shape[2:]
    needed_px = rules.side_px / (1 - rules.gap)
    k = int(min(height, width) * rules.min_area**0.5 / needed_px)
    if k < 2:
        return images_BCHW
    return F.adaptive_avg_pool2d(images_BCHW, (height // k, width // k))


def tile_places(
    tiles_BT: Tensor, jitter_BT2: Tensor, zoom_BT: Tensor, rules: PuzzleRules
) -> Tensor:
    """Say for each pixel of the puzzles which place of the view it shows.

    Along each axis, in units of the view's side, a cell is 1 / G wide and a tile cut at
    its usual size (1 - gap) / G. A tile cut smaller by z = zoom * resize_jitter leaves
    gap + (1 - gap) z of its cell free, and ``jitter`` says how much of that lies before
    it. Pixel i of t is sampled at its middle:

        x = (column + jitter * free + (i + 0.5) / t * (1 - gap) * (1 - z)) / G

    Args:
        tiles_BT: Tile at each place.
        jitter_BT2: Of [0, 1): where in its cell each tile is cut, by place; x and y.
        zoom_BT: Of [0, 1): how much smaller each is cut, by place.
        rules: Grid, tile, gap and resize jitter.

    Returns:
        (B, S, S, 2) x and y in [-1, 1]^2 of the view.
    """
    n, grid, t = len(tiles_BT), rules.grid, rules.tile_px
    cell = 1.0 / grid
    z_BT = zoom_BT * rules.resize_jitter
    free_BT = rules.gap + (1 - rules.gap) * z_BT  # share of the cell
    middles_t = torch.arange(t, device=tiles_BT.device) + 0.5
    inside_t = middles_t / t * cell * (1 - rules.gap)
    inside_BTt = inside_t * (1 - z_BT[..., None])
    column_BT, row_BT = tiles_BT % grid, tiles_BT // grid
    start_x_BT = column_BT * cell + jitter_BT2[..., 0] * cell * free_BT
    start_y_BT = row_BT * cell + jitter_BT2[..., 1] * cell * free_BT
    x_BTtt = (start_x_BT[..., None] + inside_BTt)[:, :, None, :].expand(-1, -1, t, -1)
    y_BTtt = (start_y_BT[..., None] + inside_BTt)[:, :, :, None].expand(-1, -1, -1, t)
    # from (tile row, tile column, y in it, x in it) to the rows and columns of a puzzle
    places_BGGtt2 = torch.stack([x_BTtt, y_BTtt], dim=-1).view(n, grid, grid, t, t, 2)
    side_px = rules.side_px
    places_BSS2 = places_BGGtt2.permute(0, 1, 3, 2, 4, 5).reshape(
        n, side_px, side_px, 2
    )
    return places_BSS2 * 2 - 1


def split_tiles(puzzles_BCSS: Tensor, grid: int) -> Tensor:
    """Take puzzles (B, C, S, S) apart into tiles (B, T, C, t, t)."""
    tiles_BGGCtt = _by_tile(puzzles_BCSS, grid).permute(0, 2, 4, 1, 3, 5)
    return tiles_BGGCtt.flatten(1, 2)


def standardise_tiles(puzzles_BCSS: Tensor, grid: int) -> Tensor:
    """Give each tile of (B, C, S, S) zero mean and unit deviation per channel."""
    tiles_BCGtGt = _by_tile(puzzles_BCSS, grid)
    deviation, mean = torch.std_mean(tiles_BCGtGt, dim=(3, 5), keepdim=True)
    # a blank tile (paper) stays near zero instead of becoming amplified noise
    tiles_BCGtGt = (tiles_BCGtGt - mean) / deviation.clamp(min=4.0)
    return tiles_BCGtGt.reshape(puzzles_BCSS.shape)


def _by_tile(puzzles_BCSS: Tensor, grid: int) -> Tensor:
    """See puzzles as (B, C, G, t, G, t): tile row, y in it, tile column, x in it."""
    n, channels, side_px, _ = puzzles_BCSS.shape
    t = side_px // grid
    return puzzles_BCSS.reshape(n, channels, grid, t, grid, t)
