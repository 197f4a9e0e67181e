"""Jigsaw puzzles: pictures of shuffled tiles, cut and assembled in one resampling.

The shortcuts by which a net could answer without looking at the picture are closed:
tiles are cut inside their cell, so that edges do not continue (gap); each tile has zero
mean and unit deviation per channel; some puzzles are grey; the colour channels of each
are shifted against each other (chromatic aberration would give the place away); each
tile may be cut at a size of its own (the beat of a resampling would give it away); the
permutation is drawn anew for every picture and epoch. Each has a switch of its own.

Source: Noroozi & Favaro 2016, arXiv 1603.09246, section 3 and its list of shortcuts.
Differs: the tiles are put back into one picture, and the answer is a place for each.
Shapes: B pictures, G cells per side, T = G * G tiles, t side of a tile.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pretext.data.augment import boxes_and_turns, crop_boxes, turn_matrices
from pretext.data.pictures import Normalisation
from pretext.device import moved


@dataclass(frozen=True)
class PuzzleRules:
    """How puzzles are made.

    Attributes:
        grid: G.
        tile_px: t, the side of a tile in the puzzle.
        gap: Share of a cell's side that is cut away; the tile lies anywhere in it.
        min_area: Smallest share of the picture that the puzzle is made of.
        ratio: Largest ratio of the sides of that part.
        turns: Flip and rotate the picture before it is cut; else mirror it only.
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
    turns: bool = False
    grey: float = 0.3
    channel_shift: float = 0.03
    resize_jitter: float = 0.0
    normalise: Normalisation | None = None

    @property
    def n_draws(self) -> int:
        """Random numbers that one puzzle takes."""
        return 4 + 3 + 3 * self.grid**2 + 1 + 6 + self.grid**2

    @property
    def side_px(self) -> int:
        """Side of a puzzle."""
        return self.grid * self.tile_px

    def scaled(self, scale: float) -> "PuzzleRules":
        """Give the same rules with larger tiles."""
        return replace(self, tile_px=round(self.tile_px * scale))


def make_puzzles(
    images: Tensor,
    draws: NDArray[np.float32],
    rules: PuzzleRules,
    extents: NDArray[np.float32] | None = None,
    orders: NDArray[np.int64] | None = None,
) -> tuple[Tensor, Tensor]:
    """Make a puzzle of each picture.

    Args:
        images: (B, 3, H, W) grey levels.
        draws: (B, rules.n_draws) from [0, 1).
        rules: How.
        extents: (B, 2) share of width and height that the picture fills, in the middle;
            None: all. What pads it would tell the outer tiles by their streaks.
        orders: (P, T) orders to draw from; None: any order.

    Returns:
        Puzzles (B, 3, G * t, G * t), and the answers, int64: (B, T), which tile, in
        reading order of the picture, lies at each place of the puzzle; or, where there
        are ``orders``, (B, 1), which of them it is.
    """
    # as in pretext.data.augment: in bfloat16 the tiles would be cut a quarter pixel off
    with torch.autocast(images.device.type, enabled=False):
        return _make_puzzles(images, draws, rules, extents, orders)


def _make_puzzles(
    images: Tensor,
    draws: NDArray[np.float32],
    rules: PuzzleRules,
    extents: NDArray[np.float32] | None,
    orders: NDArray[np.int64] | None,
) -> tuple[Tensor, Tensor]:
    size, n_tiles = len(images), rules.grid**2
    u = moved(torch.from_numpy(draws), images.device)
    view, turn, order, jitter, grey, shift, zoom = torch.split(
        u, [4, 3, n_tiles, 2 * n_tiles, 1, 6, n_tiles], dim=1
    )
    if orders is None:
        tiles = answers = order.argsort(dim=1)
    else:
        answers = (order[:, :1] * len(orders)).long()
        tiles = moved(torch.from_numpy(orders), images.device)[answers[:, 0]]

    places = tile_places(tiles, jitter.view(size, n_tiles, 2), zoom, rules)
    boxes = crop_boxes(view, rules.min_area, rules.ratio)
    if extents is not None:
        boxes = boxes * moved(torch.from_numpy(extents), images.device).repeat(1, 2)
    maps = boxes_and_turns(boxes, turn_matrices(turn, rules.turns))
    places = torch.einsum("bij,bhwj->bhwi", maps[:, :, :2], places)
    places = places + maps[:, None, None, :, 2]
    # a grid per channel: three one-channel pictures, shifted against each other
    tile = boxes[:, None, 2:] * (2 / rules.grid * (1 - rules.gap))
    offsets = (2 * shift.view(size, 3, 2) - 1) * rules.channel_shift * tile
    grids = places[:, None] + offsets[:, :, None, None, :]
    images = _enough_pixels(images.float(), rules)
    puzzles = F.grid_sample(
        images.reshape(-1, 1, *images.shape[2:]),
        grids.flatten(0, 1),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    ).view(size, 3, rules.side_px, rules.side_px)
    is_grey = (grey < rules.grey)[:, :, None, None]
    puzzles = torch.where(is_grey, puzzles.mean(dim=1, keepdim=True), puzzles)
    if rules.normalise is not None:
        return rules.normalise(puzzles), answers
    return standardise_tiles(puzzles, rules.grid), answers


def _enough_pixels(images: Tensor, rules: PuzzleRules) -> Tensor:
    """Where (B, 3, H, W) has k >= 2 times the pixels needed, take means of k x k.

    Bilinear sampling looks at four pixels and would alias.
    """
    height, width = images.shape[2:]
    needed_px = rules.side_px / (1 - rules.gap)
    k = int(min(height, width) * rules.min_area**0.5 / needed_px)
    if k < 2:
        return images
    return F.adaptive_avg_pool2d(images, (height // k, width // k))


def tile_places(
    tiles: Tensor, jitter: Tensor, zoom: Tensor, rules: PuzzleRules
) -> Tensor:
    """Say for each pixel of the puzzles which place of the view it shows.

    Args:
        tiles: (B, T) tile at each place.
        jitter: (B, T, 2) from [0, 1): where in its cell each tile is cut, by place.
        zoom: (B, T) from [0, 1): how much smaller each is cut, by place.
        rules: Grid, tile, gap and resize jitter.

    Returns:
        (B, G * t, G * t, 2) x and y in [-1, 1]^2 of the view.
    """
    size, grid, t = len(tiles), rules.grid, rules.tile_px
    cell = 1.0 / grid
    smaller = zoom * rules.resize_jitter
    free = rules.gap + (1 - rules.gap) * smaller  # share of the cell
    inside = (torch.arange(t, device=tiles.device) + 0.5) / t * cell * (1 - rules.gap)
    inside = inside * (1 - smaller[..., None])
    column, row = tiles % grid, tiles // grid
    start_x = column * cell + jitter[..., 0] * cell * free
    start_y = row * cell + jitter[..., 1] * cell * free
    x = (start_x[..., None] + inside)[:, :, None, :].expand(-1, -1, t, -1)
    y = (start_y[..., None] + inside)[:, :, :, None].expand(-1, -1, -1, t)
    pixels = torch.stack([x, y], dim=-1).view(size, grid, grid, t, t, 2)
    side = rules.side_px
    return pixels.permute(0, 1, 3, 2, 4, 5).reshape(size, side, side, 2) * 2 - 1


def split_tiles(puzzles: Tensor, grid: int) -> Tensor:
    """Take puzzles (B, 3, G * t, G * t) apart into (B, T, 3, t, t)."""
    size, channels, side, _ = puzzles.shape
    t = side // grid
    tiles = puzzles.reshape(size, channels, grid, t, grid, t)
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(size, grid**2, channels, t, t)


def standardise_tiles(puzzles: Tensor, grid: int) -> Tensor:
    """Give each tile zero mean and unit deviation per channel."""
    size, channels, side, _ = puzzles.shape
    t = side // grid
    tiles = puzzles.reshape(size, channels, grid, t, grid, t)
    deviation, mean = torch.std_mean(tiles, dim=(3, 5), keepdim=True)
    # a blank tile (paper) stays near zero instead of becoming amplified noise
    return ((tiles - mean) / deviation.clamp(min=4.0)).reshape(puzzles.shape)
