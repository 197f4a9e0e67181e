"""Tests of pretext.views."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close
from torchvision.transforms import RandomResizedCrop

from data_prep.dihedral import VIEWS, apply_view
from pretext.draws import keys_of, uniforms
from pretext.views import (
    LUMA,
    N_DRAWS,
    Strength,
    boxes_and_turns,
    crop_boxes,
    random_views,
    recolour,
    turn_matrices,
)

SEEDS = range(5)
NONE = Strength(
    min_area=1, ratio=1, turns=False, brightness=0, contrast=0, saturation=0, grey=0
)
STRENGTHS = [
    Strength(),
    Strength(min_area=0.1, ratio=2, turns=False),
    Strength(brightness=0.5, contrast=0.5, saturation=0.9, grey=0.5),
    Strength(min_area=1, ratio=1),
]


def pictures(n: int = 3, side: int = 16, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, side, side), generator=rng, dtype=torch.uint8)


def draws(n: int, seed: int = 0, size: int = N_DRAWS) -> np.ndarray:
    keys = keys_of([str(number) for number in range(n)])
    return uniforms(keys, size, seed=seed, epoch=0, purpose="test")


def unmirrored(drawn: np.ndarray) -> np.ndarray:
    """Make the draws of the turn those of no mirroring and no rotation."""
    drawn = drawn.copy()
    drawn[:, 4:7] = 0.9
    return drawn


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("side", [7, 16])
def test_no_strength_gives_the_picture_back(seed: int, side: int) -> None:
    images = pictures(4, side, seed)
    views = random_views(images, unmirrored(draws(4, seed)), side, NONE)
    assert_close(views, images.float(), atol=0.01, rtol=0)
    assert (views.round() == images).all()


@pytest.mark.parametrize("side", [1, 2, 7, 16])
def test_the_eight_turns_are_the_eight_views(side: int) -> None:
    images = pictures(2, side)
    corners = torch.tensor(
        [[a, b, c] for a in (0.1, 0.9) for b in (0.1, 0.9) for c in (0.1, 0.9)]
    )
    full = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    seen = set()
    for matrix in turn_matrices(corners, all_eight=True):
        maps = boxes_and_turns(full, matrix[None]).expand(2, 2, 3)
        grid = F.affine_grid(maps, list(images.shape), align_corners=False)
        turned = F.grid_sample(images.float(), grid, align_corners=False)
        names = {
            name
            for name in VIEWS
            if torch.equal(turned.round(), apply_view(name, images).float())
        }
        seen |= names
        assert names, "the turn is none of the eight views"
        assert side < 7 or len(names) == 1
    assert seen == set(VIEWS)


@pytest.mark.parametrize("seed", SEEDS)
def test_turns_come_equally_often(seed: int) -> None:
    u = torch.from_numpy(draws(4000, seed, 3))
    eight = turn_matrices(u, all_eight=True)
    assert_close(torch.linalg.det(eight).abs(), torch.ones(4000))
    counts = Counter(map(tuple, eight.flatten(1).tolist()))
    assert len(counts) == 8
    assert all(abs(count - 500) < 100 for count in counts.values())
    mirrored = turn_matrices(u, all_eight=False)
    counts = Counter(map(tuple, mirrored.flatten(1).tolist()))
    assert set(counts) == {(-1, 0, 0, 1), (1, 0, 0, 1)}  # mirrored, or as it is
    assert all(abs(count - 2000) < 150 for count in counts.values())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("min_area", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("ratio", [1.0, 4 / 3, 3.0])
def test_boxes_never_leave_the_picture(
    seed: int, min_area: float, ratio: float
) -> None:
    u = torch.from_numpy(draws(500, seed, 4))
    edges = torch.tensor(
        [[a, b, c, d] for a in (0, 1) for b in (0, 1) for c in (0, 1) for d in (0, 1)]
    )
    x, y, width, height = crop_boxes(torch.cat([u, edges]), min_area, ratio).unbind(1)
    for centre, size in ((x, width), (y, height)):
        assert (centre.abs() + size <= 1 + 1e-6).all()
        assert (size > 0).all()
    assert (width * height <= 1).all()
    assert (torch.maximum(width / height, height / width) <= ratio + 1e-4).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_areas_and_ratios_are_torchvisions_where_the_crop_fits(seed: int) -> None:
    torch.manual_seed(seed)
    side, n = 2000, 1500
    image = torch.empty(3, side, side, device="meta")
    theirs = torch.tensor(
        [
            RandomResizedCrop.get_params(image, [0.2, 0.6], [3 / 4, 4 / 3])[2:]
            for _ in range(n)
        ]
    )
    # up to 0.6 of the area every ratio fits, so nothing is cut or drawn anew
    u = torch.from_numpy(draws(n, seed, 4))
    u[:, 0] = u[:, 0] / 2  # areas 0.2 to 0.6 out of 0.2 to 1
    boxes = crop_boxes(u, 0.2, 4 / 3)
    for ours, other in (
        (boxes[:, 2] * boxes[:, 3], theirs[:, 0] * theirs[:, 1] / side**2),
        ((boxes[:, 2] / boxes[:, 3]).log(), (theirs[:, 1] / theirs[:, 0]).log()),
    ):
        shares = torch.linspace(0.02, 0.98, 25)
        distance = (ours.quantile(shares) - other.quantile(shares)).abs().max()
        assert distance < 0.08 * (other.max() - other.min())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_view_does_not_depend_on_its_batch(seed: int, strength: Strength) -> None:
    images, drawn = pictures(6, seed=seed), draws(6, seed)
    together = random_views(images, drawn, 12, strength)
    for some in ([0], [5, 2], [3, 1, 4, 0, 2]):
        alone = random_views(images[some], drawn[some], 12, strength)
        assert_close(alone, together[some], atol=1e-3, rtol=0)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_views_are_as_exact_in_a_bfloat16_training(strength: Strength) -> None:
    images, drawn = pictures(6, side=96), draws(6)
    exact = random_views(images, drawn, 64, strength)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(random_views(images, drawn, 64, strength), exact)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_views_stay_grey_levels(seed: int, strength: Strength) -> None:
    views = random_views(pictures(6, seed=seed), draws(6, seed), 20, strength)
    assert views.shape == (6, 3, 20, 20)
    assert views.dtype == torch.float32
    assert views.min() >= 0
    assert views.max() <= 255


@pytest.mark.parametrize(
    "image_layout", [torch.contiguous_format, torch.channels_last], ids=str
)
def test_the_layout_in_memory_changes_nothing(
    image_layout: torch.memory_format,
) -> None:
    images, drawn = pictures(), draws(3)
    views = random_views(images.to(memory_format=image_layout), drawn, 16, Strength())
    assert_close(views, random_views(images, drawn, 16, Strength()))


def test_a_crop_by_hand() -> None:
    # half of the width and height, in the upper left corner: u = 0 moves it there
    ramp = torch.arange(8.0).expand(8, 8)
    images = torch.stack([ramp, ramp.T, ramp + ramp.T])[None] * 10
    drawn = unmirrored(np.zeros((1, N_DRAWS), dtype=np.float32))
    drawn[0, 1] = 0.5
    views = random_views(images, drawn, 4, replace(NONE, min_area=0.25))
    assert_close(views, images[:, :, :4, :4], atol=1e-3, rtol=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_change_of_the_colour_is_the_identity(seed: int) -> None:
    images = pictures(5, seed=seed).float()
    u = torch.from_numpy(draws(5, seed, 5))
    assert torch.equal(recolour(images, u, NONE), images)


@pytest.mark.parametrize("seed", SEEDS)
def test_grey_is_the_luma(seed: int) -> None:
    images = pictures(5, seed=seed).float()
    u = torch.from_numpy(draws(5, seed, 5))
    grey = recolour(images, u, replace(NONE, grey=1.0, saturation=0.5))
    red, green, blue = images.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert_close(grey, luma[:, None].expand(5, 3, 16, 16))
    assert sum(LUMA) == pytest.approx(1)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_grey_views_is_as_asked(share: float) -> None:
    images = pictures(1, 2).float().expand(3000, 3, 2, 2)
    u = torch.from_numpy(draws(3000, 0, 5))
    coloured = recolour(images, u, replace(NONE, grey=share))
    is_grey = (coloured[:, 0] - coloured[:, 2]).abs().amax(dim=(1, 2)) < 1e-3
    assert is_grey.float().mean().item() == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize(
    ("name", "expected"),
    [  # of the pixels (100, 50, 0) and (20, 20, 20): lumas 59.25 and 20, mean 39.625
        ("brightness", [[150.0, 75, 0], [30, 30, 30]]),
        ("contrast", [[130.1875, 55.1875, 0], [10.1875] * 3]),
        ("saturation", [[120.375, 45.375, 0], [20, 20, 20]]),
    ],
)
def test_each_change_of_the_colour_by_hand(
    name: str, expected: list[list[float]]
) -> None:
    images = torch.tensor([[100.0, 50, 0], [20, 20, 20]]).T.reshape(1, 3, 1, 2)
    u = torch.full((1, 5), 0.5)  # no change
    u[0, ["brightness", "contrast", "saturation"].index(name)] = 1.0  # the most
    coloured = recolour(images, u, replace(NONE, **{name: 0.5}))  # type: ignore[arg-type]
    assert_close(coloured[0, :, 0].T, torch.tensor(expected))
