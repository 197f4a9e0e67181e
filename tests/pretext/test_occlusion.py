"""Tests of pretext.data.occlusion."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from pretext.data.occlusion import (
    HoleParams,
    ShuffleParams,
    with_holes,
    with_shuffled_cells,
)

SEEDS = range(5)


def drawn(n: int, size: int, seed: int) -> Tensor:
    return torch.rand(n, size, generator=torch.Generator().manual_seed(seed))


def views_of(n: int, side: int, seed: int = 0) -> Tensor:
    return 255 * drawn(n, 3 * side * side, seed).view(n, 3, side, side)


def test_a_hole_by_hand() -> None:
    views = views_of(1, 8)
    # a quarter of the sides, a third of the way from left, two thirds from the top
    params = HoleParams(p=1, n=2, smallest=0.25, largest=0.5)
    u = torch.tensor([[0.5, 0.3, 1 / 3, 2 / 3, 0, 0, 0.9, 0.9, 1, 1]])
    holed = with_holes(views.clone(), u, params)
    expected = views.clone()
    expected[:, :, 4:6, 2:4] = views.mean(dim=(2, 3), keepdim=True)
    assert_close(holed, expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_holes_hide_as_much_as_said_of_a_share_of_the_views(seed: int) -> None:
    n, side = 400, 20
    views = views_of(n, side, seed)
    params = HoleParams(p=0.4, n=3, smallest=0.1, largest=0.3)
    boxes = torch.tensor([[-1.0, -0.5, 1.0, 0.5]]).expand(n, 4)  # rows 5 to 15
    holed = with_holes(views.clone(), drawn(n, params.n_random, seed), params, boxes)
    is_hidden = (holed != views).any(dim=1)
    assert torch.equal(is_hidden, (holed != views).all(dim=1))
    mean = views.mean(dim=(2, 3), keepdim=True).expand_as(views)
    assert_close(holed[holed != views], mean[holed != views])
    has_holes = is_hidden.any(dim=(1, 2))
    assert abs(has_holes.float().mean() - 0.4) < 0.1
    assert not is_hidden[:, :5].any()
    assert not is_hidden[:, 15:].any()
    shares = is_hidden[has_holes].float().mean(dim=(1, 2)) * 2  # of the picture
    assert shares.max() <= 3 * 0.4**2  # each is up to a pixel larger
    assert 0.04 < shares.mean() < 0.12  # about two holes of 0.04
    assert torch.equal(with_holes(views.clone(), torch.ones(n, 14), params), views)


def test_cells_change_places_by_hand() -> None:
    # two cells a side, of 3 px; a rim of one pixel stays, and so does what is left over
    views = torch.arange(81.0).view(1, 1, 9, 9).expand(1, 3, 9, 9).clone()
    boxes = torch.tensor([[-7 / 9, -7 / 9, 1.0, 1.0]])  # pixels 1 to 9, 8 of them
    params = ShuffleParams(p=1, cells=2)
    order = torch.tensor([[0.5, 0.9, 0.1, 0.3, 0.5]])  # cells 1, 2, 3, 0
    shuffled = with_shuffled_cells(views.clone(), order, params, boxes)
    expected = views.clone()
    a, b = slice(1, 5), slice(5, 9)
    expected[:, :, a, a] = views[:, :, a, b]
    expected[:, :, a, b] = views[:, :, b, a]
    expected[:, :, b, a] = views[:, :, b, b]
    expected[:, :, b, b] = views[:, :, a, a]
    assert torch.equal(shuffled, expected)


@pytest.mark.parametrize("side", [3, 16, 30])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_pixel_is_lost_and_padding_stays(seed: int, side: int) -> None:
    n, params = 40, ShuffleParams(p=0.5, cells=4)
    views = views_of(n, side, seed)
    corner = drawn(n, 2, seed + 9) * 0.8 - 1
    boxes = torch.cat([corner, -corner], dim=1)
    u = drawn(n, params.n_random, seed)
    shuffled = with_shuffled_cells(views.clone(), u, params, boxes)
    whole = with_shuffled_cells(views.clone(), u, params)
    for changed in (shuffled, whole):
        assert torch.equal(
            changed.flatten(2).sort(dim=2)[0], views.flatten(2).sort(dim=2)[0]
        )
    is_moved = (shuffled != views).any(dim=1)
    assert not is_moved[u[:, 0] >= 0.5].any()
    places = (2 * torch.arange(side) + 1) / side - 1
    is_in = places.abs() < -corner[:, :, None]
    assert not is_moved[~(is_in[:, 1, :, None] & is_in[:, 0, None, :])].any()
    if side == 16:
        assert (whole != views).any(dim=1)[u[:, 0] < 0.5].float().mean() > 0.8
