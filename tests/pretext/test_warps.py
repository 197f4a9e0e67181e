"""Tests of pretext.data.warps."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from pretext.data.augment import AugmentParams, random_views, resample_by
from pretext.data.warps import WarpParams, Warps, rotations, shown_content

SEEDS = range(5)
WHOLE = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])


def drawn(n: int, size: int, seed: int) -> Tensor:
    return torch.rand(n, size, generator=torch.Generator().manual_seed(seed))


def smooth(n: int, side: int, seed: int) -> Tensor:
    return 255 * tv.resize(drawn(3 * n, 36, seed).view(n, 3, 6, 6), [side, side])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rotation_with_a_zoom_is_torchvisions_affine(seed: int) -> None:
    side, params = 64, WarpParams(p=1, rotate=40, zoom=0.3, shift=0)
    u = drawn(1, 5, seed)
    images, maps = smooth(1, side, seed), params.draw(u).applied_to(WHOLE)
    ours = resample_by(images, maps, torch.ones(1, 2), side, edge="zeros")
    angle, zoom = (2 * u[0, 1:3] - 1).tolist()
    expected = tv.affine(
        torch.cat([images, torch.ones_like(images)]),
        angle=-40 * angle,
        translate=[0, 0],
        scale=1 + 0.3 * zoom,
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )
    inside = expected[1] > 0.999
    assert inside.float().mean() > 0.3
    assert_close(ours[0][inside], expected[0][inside], atol=0.05, rtol=0)


@pytest.mark.parametrize(("x", "y"), [(1.0, 0.5), (0.5, 0.0), (0.0, 1.0)])
def test_a_shifted_view_is_mirrored_at_its_edge(x: float, y: float) -> None:
    images = smooth(1, 16, 0)
    warp = WarpParams(p=1, rotate=30, zoom=0.5, shift=0.25)
    params = AugmentParams(
        min_area=1, ratio=1, d4=False, brightness=0, contrast=0, saturation=0, warp=warp
    )
    u = torch.full((1, params.n_random), 0.5)
    u[0, 4], u[0, 15], u[0, 18], u[0, 19] = 0.9, 0, x, y  # not mirrored; warped
    views = random_views(images, u.numpy(), 16, params)
    right, down = round(8 * x - 4), round(8 * y - 4)  # where the view looks, px
    padded = np.pad(images[0].numpy(), [(0, 0), (4, 4), (4, 4)], mode="symmetric")
    expected = padded[:, 4 + down : 20 + down, 4 + right : 20 + right]
    assert_close(views[0], torch.from_numpy(expected), atol=0.01, rtol=0)


def test_a_share_of_the_views_is_warped_and_no_further_than_said() -> None:
    params = WarpParams(p=0.3, rotate=10, zoom=0.2, shift=0.1)
    warps = params.draw(drawn(4000, 5, 0))
    plain = (warps.linear == torch.eye(2)).all(dim=(1, 2)) & (warps.shift == 0).all(1)
    assert abs(plain.float().mean() - 0.7) < 0.03
    size = warps.stretch()[:, 0]
    assert size.min() >= 1 / 1.2 - 1e-5
    assert size.max() <= 1 / 0.8 + 1e-5
    assert warps.shift.abs().max() <= 2 * 0.1
    cos = (warps.linear[:, 0, 0] / size).clamp(max=1)
    assert 9 < cos.arccos().max() * 180 / math.pi < 10.1


@pytest.mark.parametrize("seed", SEEDS)
def test_warps_in_turn_are_one(seed: int) -> None:
    params = WarpParams(p=1, rotate=90, zoom=0.3, shift=0.3)
    first, second = (params.draw(drawn(6, 5, seed + k)) for k in (0, 100))
    second = replace(second, linear=second.linear @ torch.tensor([[1, 0.4], [0, 1]]))
    both = first.then(second)
    places = drawn(6, 2, seed + 7)[:, :, None]
    between = second.linear @ places + second.shift[:, :, None]
    expected = first.linear @ between + first.shift[:, :, None]
    assert_close(both.linear @ places + both.shift[:, :, None], expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rotated_view_shows_as_much_of_a_padded_picture_as_it_can(seed: int) -> None:
    n = 300
    fill = drawn(n, 2, seed).clamp(min=0.05)
    size, centre = 0.1 + 0.9 * drawn(n, 2, seed + 50), drawn(n, 2, seed + 60)
    maps = torch.cat(
        [torch.diag_embed(size), ((1 - size) * (2 * centre - 1))[:, :, None]], dim=2
    )
    warps = Warps(
        linear=rotations(math.pi * drawn(n, 1, seed + 70)[:, 0]),
        shift=torch.zeros(n, 2),
    )
    warped = warps.applied_to(maps, fill)
    extent, middle = warped[:, :, :2].abs().sum(2), warped[:, :, 2]
    ends_inside = (middle.abs() + extent <= fill + 1e-5).all(1)
    fits = extent <= fill
    assert fits.all(1).any()
    assert ends_inside[fits.all(1)].all()
    # else each side shows all there is
    shows_all = middle.abs() + fill <= extent + 1e-5
    assert (fits | shows_all).all()


def test_small_rotated_views_of_padded_pictures_show_no_padding() -> None:
    images = torch.full((100, 3, 64, 64), 255.0)
    images[:, :, 16:48] = 10
    params = AugmentParams(
        min_area=0.02,
        max_area=0.04,
        ratio=1,
        brightness=0,
        contrast=0,
        saturation=0,
        warp=WarpParams(p=1, rotate=45, zoom=0.2, shift=0),
    )
    u = drawn(100, params.n_random, 0).numpy()
    fill = np.tile(np.array([1, 0.5], np.float32), (100, 1))
    assert random_views(images, u, 8, params).max() > 200
    views = random_views(images, u, 8, params, fill)
    assert (views > 10.5).float().mean() < 0.05


@pytest.mark.parametrize("rotate", [0, 25])
@pytest.mark.parametrize("seed", SEEDS)
def test_where_the_picture_is_in_its_view(seed: int, rotate: int) -> None:
    n, side = 8, 96
    fill = 0.2 + 0.7 * drawn(n, 2, seed)
    places = (2 * torch.arange(side) + 1) / side - 1
    inside = (places.abs() < fill[:, :, None]).float()
    masks = inside[:, 1, :, None] * inside[:, 0, None, :]
    warps = WarpParams(p=1, rotate=rotate, zoom=0.3, shift=0.2).draw(drawn(n, 5, seed))
    maps = warps.applied_to(WHOLE.expand(n, 2, 3), fill)
    views = resample_by(
        masks[:, None].expand(n, 3, side, side),
        maps,
        torch.ones(n, 2),
        side,
        edge="zeros",
    )
    boxes = shown_content(maps, fill)
    for view, box in zip(views[:, 0] > 0.5, boxes, strict=True):
        rows, columns = (view.any(dim).nonzero()[:, 0] for dim in (1, 0))
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        seen_places = 2 * torch.stack(seen) / side - 1
        assert_close(seen_places, box, atol=4 / side if rotate == 0 else 0.25, rtol=0)
        assert (seen_places[:2] >= box[:2] - 4 / side).all()
        assert (seen_places[2:] <= box[2:] + 4 / side).all()


def test_a_view_that_is_zoomed_out_does_not_alias() -> None:
    stripes = torch.tensor([0.0, 0.0, 255.0, 255.0]).repeat(16)
    images = stripes.expand(1, 3, 64, 64)
    warp = WarpParams(p=1, rotate=0, zoom=0.5, shift=1 / 64)
    params = AugmentParams(
        min_area=1, ratio=1, brightness=0, contrast=0, saturation=0, warp=warp
    )
    u = torch.full((1, params.n_random), 0.5)
    # twice as much as the picture, so 4 px for each of the view; a pixel to the right
    u[0, 15], u[0, 17], u[0, 18] = 0, 0, 1
    views = random_views(images, u.numpy(), 32, params)
    assert (views - 127.5).abs().max() < 1
