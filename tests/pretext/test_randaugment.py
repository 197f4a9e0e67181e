"""Tests of pretext.data.randaugment, against torchvision's RandAugment."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torchvision.transforms.v2 import InterpolationMode, RandAugment
from torchvision.transforms.v2 import functional as tv

from pretext.data.augment import resample_by
from pretext.data.randaugment import BLENDS, LEVELS, MOVES, RandParams

SEEDS = range(5)
SIDE = 331  # of which a shift is a whole number of pixels
THEIRS = {"colour": "Color", "autocontrast": "AutoContrast"}
WHOLE = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])


def drawn(n: int, size: int, seed: int) -> Tensor:
    return torch.rand(n, size, generator=torch.Generator().manual_seed(seed))


def smooth(n: int, side: int, seed: int) -> Tensor:
    small = drawn(3 * n, 36, seed).view(n, 3, 6, 6)
    return 200 * tv.resize(small, [side, side]) + 20


def draws_of(params: RandParams, name: str, sign: int) -> Tensor:
    """Give the random numbers of one operation; the others do nothing."""
    n = len(params.operations)
    u = torch.full((1, 2 * params.n), 0.5 / n)  # identity
    u[0, params.n - 1] = (params.operations.index(name) + 0.5) / n
    u[0, 2 * params.n - 1] = 0.75 if sign > 0 else 0.25
    return u


def theirs(images: Tensor, name: str, magnitude: int, sign: int) -> Tensor:
    rule = RandAugment(num_ops=1, magnitude=magnitude)
    name = THEIRS.get(name, name.title().replace("_", ""))
    magnitudes, is_signed = rule._AUGMENTATION_SPACE[name]
    values: Any = magnitudes(31, *images.shape[2:])
    value = 0.0 if values is None else float(values[magnitude])
    return rule._apply_image_or_video_transform(
        images,
        name,
        value * sign if is_signed else value,
        interpolation=InterpolationMode.BILINEAR,
        fill={torch.Tensor: 0.0},
    )


@pytest.mark.parametrize("magnitude", [1, 9, 15, 30])
@pytest.mark.parametrize("name", [*BLENDS, *LEVELS])
def test_levels_change_as_torchvisions_do(name: str, magnitude: int) -> None:
    params = RandParams(n=2, magnitude=magnitude)
    images = smooth(1, 24, magnitude)
    for sign in (-1, 1):
        ours = params.with_levels_changed(images.clone(), draws_of(params, name, sign))
        expected = 255 * theirs(images / 255, name, magnitude, sign)
        assert_close(ours, expected, atol=0.01, rtol=0)
        assert (ours != images).any()


@pytest.mark.parametrize("magnitude", [2, 9, 20])
@pytest.mark.parametrize("name", MOVES[1:])
def test_pixels_move_as_torchvisions_do(name: str, magnitude: int) -> None:
    params = RandParams(n=2, magnitude=magnitude)
    images = smooth(1, SIDE, magnitude)
    for sign in (-1, 1):
        warps = params.warps(draws_of(params, name, sign))
        maps = warps.applied_to(WHOLE)
        ours = resample_by(images, maps, torch.ones(1, 2), SIDE, edge="zeros")
        both = torch.cat([images, torch.ones_like(images)])
        if name.startswith("shear"):  # theirs is about a corner
            degrees = math.degrees(math.atan(sign * 0.3 * magnitude / 30))
            expected = tv.affine(
                both,
                angle=0.0,
                translate=[0, 0],
                scale=1.0,
                shear=[degrees, 0.0] if name == "shear_x" else [0.0, degrees],
                interpolation=InterpolationMode.BILINEAR,
            )
        else:
            expected = theirs(both, name, magnitude, sign)
        inside = (expected[1] > 0.999) & (ours[0] > 0)
        assert inside.float().mean() > 0.4
        assert (ours[0] - expected[0]).abs()[inside].max() < 1.5, sign


@pytest.mark.parametrize("colours", [True, False])
@pytest.mark.parametrize("n", [1, 3])
def test_each_operation_is_as_likely_as_another(n: int, colours: bool) -> None:
    params = RandParams(n=n, colours=colours)
    which, signs = params.drawn(drawn(7000, params.n_random, 0))
    n_operations = len(params.operations)
    assert n_operations == (14 if colours else 6)
    counts = torch.bincount(which.flatten(), minlength=n_operations).float()
    expected = 7000 * n / n_operations
    assert ((counts - expected).abs() < 5 * expected**0.5).all()
    assert set(signs.flatten().tolist()) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.05
    if n > 1:
        assert abs(torch.corrcoef(which.T.float())[0, 1]) < 0.05


@pytest.mark.parametrize("seed", SEEDS)
def test_operations_are_done_in_their_order_whatever_else_is_in_the_batch(
    seed: int,
) -> None:
    params = RandParams(n=3, magnitude=12)
    images, u = smooth(12, 16, seed), drawn(12, 6, seed)
    together = params.with_levels_changed(images.clone(), u)
    for k in range(12):
        which, signs = (part[0].tolist() for part in params.drawn(u[k : k + 1]))
        expected = images[k : k + 1] / 255
        for place, sign in zip(which, signs, strict=True):
            if (name := params.operations[place]) not in MOVES:
                expected = theirs(expected, name, 12, int(sign))
        assert_close(together[k : k + 1], 255 * expected, atol=0.02, rtol=0)
    without = RandParams(n=3, magnitude=12, colours=False)
    assert torch.equal(without.with_levels_changed(images.clone(), u), images)


def test_moves_are_joined_in_their_order() -> None:
    params = RandParams(n=2, magnitude=30)
    n = len(params.operations)
    rotate, right = ((params.operations.index(k) + 0.5) / n for k in MOVES[1:5:3])
    u = torch.tensor([[rotate, right, 0.9, 0.9]])
    warps = params.warps(u)
    # rotated, then shifted: the middle of what was rotated lies to the right
    middle = torch.tensor([[300 / 331], [0.0]])
    place = warps.linear[0] @ middle + warps.shift[0][:, None]
    assert_close(place, torch.zeros(2, 1), atol=1e-6, rtol=0)
