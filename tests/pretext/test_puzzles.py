"""Tests of pretext.methods.puzzles."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.testing import assert_close

from pretext.data.keyed_rng import keys_of, uniforms
from pretext.data.pictures import Normalisation
from pretext.methods import puzzles as puzzles_module
from pretext.methods.permutations import spread_orders
from pretext.methods.puzzles import (
    PuzzleRules,
    make_puzzles,
    split_tiles,
    standardise_tiles,
    tile_places,
)

SEEDS = range(5)
PLAIN = PuzzleRules(
    grid=3, tile_px=8, gap=0, min_area=1, ratio=1, grey=0, channel_shift=0
)
RULES = [
    PuzzleRules(tile_px=8),
    PuzzleRules(grid=2, tile_px=12, d4=True),
    PuzzleRules(grid=4, tile_px=6, gap=0.4, grey=1.0, channel_shift=0.2),
    PuzzleRules(tile_px=9, gap=0, min_area=0.3, ratio=2, grey=0),
    PuzzleRules(tile_px=8, resize_jitter=0.3),
]
NORMALISE = Normalisation((100.0, 120.0, 140.0), (50.0, 60.0, 70.0))
GOLDEN = [
    [0, 8, 5, 3, 1, 7, 6, 2, 4],
    [8, 7, 0, 5, 3, 2, 4, 1, 6],
    [0, 8, 3, 1, 5, 4, 7, 2, 6],
]
GOLDEN_LEVELS = [
    [73.73, 16.55, 16.62, 74.88, 47.66, 45.23, 76.54, 18.61, 47.51],
    [79.02, 50.48, 19.2, 78.64, 18.29, 79.79, 50.53, 48.92, 19.53],
    [24.27, 79.14, 23.85, 50.54, 79.34, 52.23, 53.06, 80.29, 24.7],
]


def pictures(n: int = 4, side: int = 24, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, side, side), generator=rng, dtype=torch.uint8)


def draws(n: int, rules: PuzzleRules, seed: int = 0, epoch: int = 0) -> np.ndarray:
    keys = keys_of([str(number) for number in range(n)])
    return uniforms(keys, rules.n_random, seed=seed, epoch=epoch, purpose="jigsaw")


def unmirrored(drawn: np.ndarray) -> np.ndarray:
    drawn = drawn.copy()
    drawn[:, 4:7] = 0.9
    return drawn


def cells(images: Tensor, grid: int) -> Tensor:
    """Cut (B, C, S, S) into (B, T, C, t, t), in reading order."""
    t = images.shape[-1] // grid
    rows = [
        images[:, :, r * t : (r + 1) * t, c * t : (c + 1) * t]
        for r in range(grid)
        for c in range(grid)
    ]
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("grid", [2, 3, 4])
def test_without_tricks_the_tiles_are_the_cells_in_the_order_of_the_answers(
    seed: int, grid: int
) -> None:
    rules = replace(PLAIN, grid=grid, tile_px=24 // grid)
    images = pictures(5, seed=seed)
    drawn = unmirrored(draws(5, rules, seed))
    puzzles, answers = make_puzzles(images, drawn, rules)
    tiles = cells(puzzles, grid)
    expected = cells(images.float(), grid)
    mean = expected.mean(dim=(3, 4), keepdim=True)
    expected = (expected - mean) / expected.std(dim=(3, 4), keepdim=True)
    for picture in range(5):
        for place in range(grid**2):
            tile = expected[picture, answers[picture, place]]
            assert_close(tiles[picture, place], tile, atol=1e-3, rtol=0)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("resize_jitter", [0.0, 0.4])
@pytest.mark.parametrize("gap", [0.0, 0.125, 0.5])
@pytest.mark.parametrize("grid", [2, 3, 4])
def test_every_tile_stays_inside_its_cell(
    seed: int, gap: float, grid: int, resize_jitter: float
) -> None:
    rules = PuzzleRules(grid=grid, tile_px=8, gap=gap, resize_jitter=resize_jitter)
    rng = torch.Generator().manual_seed(seed)
    answers = torch.rand(6, grid**2, generator=rng).argsort(dim=1)
    jitter = torch.rand(6, grid**2, 2, generator=rng)
    jitter[0], jitter[1] = 0, 1 - 2**-24
    zoom = torch.rand(6, grid**2, generator=rng)
    width = (1 - gap) * (1 - resize_jitter * zoom)
    places = cells(tile_places(answers, jitter, zoom, rules).movedim(3, 1), grid)
    column, row = answers % grid, answers // grid
    for axis, number in ((0, column), (1, row)):
        where = (places[:, :, axis] + 1) / 2 * grid - number[..., None, None]
        half_pixel = width / 8 / 2
        first, last = where.amin(dim=(2, 3)), where.amax(dim=(2, 3))
        assert (first >= half_pixel - 1e-5).all()
        assert (last <= 1 - half_pixel + 1e-5).all()
        assert_close(last - first, width * 7 / 8, atol=1e-5, rtol=0)
        assert_close(first[0], half_pixel[0], atol=1e-5, rtol=0)
        assert_close(last[1], 1 - half_pixel[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tile_lies_anywhere_in_its_cell(seed: int) -> None:
    rules = replace(PLAIN, gap=0.5)
    rng = torch.Generator().manual_seed(seed)
    answers = torch.arange(9).expand(500, 9)
    jitter = torch.rand(500, 9, 2, generator=rng)
    zoom = torch.zeros(500, 9)
    places = cells(tile_places(answers, jitter, zoom, rules).movedim(3, 1), 3)
    start = (
        places[:, 0, 0, 0, 0] + 1
    ) / 2 * 3 - 0.5 / 16  # of the first tile, in cells
    assert_close(start, jitter[:, 0, 0] * 0.5, atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rules", RULES)
def test_the_answers_are_permutations(rules: PuzzleRules, seed: int) -> None:
    puzzles, answers = make_puzzles(pictures(), draws(4, rules, seed), rules)
    n_tiles = rules.grid**2
    assert puzzles.shape == (4, 3, rules.side_px, rules.side_px)
    assert answers.dtype == torch.int64
    assert_close(answers.sort(dim=1).values, torch.arange(n_tiles).expand(4, n_tiles))


def test_every_tile_comes_to_every_place_equally_often() -> None:
    images = torch.zeros(2000, 3, 2, 2)
    rules = PuzzleRules(grid=2, tile_px=2)
    _, answers = make_puzzles(images, draws(2000, rules), rules)
    counts = torch.stack([(answers == tile).sum(dim=0) for tile in range(4)])
    assert (counts - 500).abs().max() < 90
    assert len(set(map(tuple, answers.tolist()))) == 24


@pytest.mark.parametrize("rules", RULES)
def test_each_epoch_has_puzzles_of_its_own(rules: PuzzleRules) -> None:
    first, again, other = (
        make_puzzles(pictures(), draws(4, rules, epoch=epoch), rules)
        for epoch in (0, 0, 1)
    )
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rules", RULES)
def test_a_puzzle_does_not_depend_on_its_batch(rules: PuzzleRules, seed: int) -> None:
    images, drawn = pictures(6, seed=seed), draws(6, rules, seed)
    puzzles, answers = make_puzzles(images, drawn, rules)
    for some in ([2], [5, 0, 3]):
        alone, alone_answers = make_puzzles(images[some], drawn[some], rules)
        assert torch.equal(alone_answers, answers[some])
        assert_close(alone, puzzles[some], atol=1e-3, rtol=0)


@pytest.mark.parametrize("rules", RULES)
def test_puzzles_are_as_exact_in_a_bfloat16_training(rules: PuzzleRules) -> None:
    images, drawn = pictures(side=96), draws(4, rules)
    exact, _ = make_puzzles(images, drawn, rules)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(make_puzzles(images, drawn, rules)[0], exact)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rules", RULES)
def test_tiles_have_no_mean_and_unit_deviation(rules: PuzzleRules, seed: int) -> None:
    puzzles, _ = make_puzzles(pictures(seed=seed), draws(4, rules, seed), rules)
    deviation, mean = torch.std_mean(cells(puzzles, rules.grid), dim=(3, 4))
    assert_close(mean, torch.zeros_like(mean), atol=1e-4, rtol=0)
    assert_close(deviation, torch.ones_like(deviation), atol=1e-3, rtol=0)


def test_blank_paper_does_not_become_noise() -> None:
    rng = torch.Generator().manual_seed(0)
    paper = 250 + torch.rand(2, 3, 24, 24, generator=rng)  # a level of noise at most
    assert standardise_tiles(paper, grid=3).abs().max() < 0.2
    assert torch.equal(standardise_tiles(torch.full_like(paper, 9), 3), 0 * paper)


def test_grey_puzzles_have_three_equal_channels_and_keep_their_answers() -> None:
    drawn = draws(300, PLAIN)
    images = pictures(300)
    coloured, answers = make_puzzles(images, drawn, PLAIN)
    puzzles, same = make_puzzles(images, drawn, replace(PLAIN, grey=0.3))
    assert torch.equal(same, answers)
    is_grey = (puzzles == puzzles[:, :1]).all(dim=(1, 2, 3))
    assert is_grey.float().mean().item() == pytest.approx(0.3, abs=0.08)
    assert torch.equal(puzzles[~is_grey], coloured[~is_grey])


@pytest.mark.parametrize("seed", SEEDS)
def test_channels_are_shifted_by_no_more_than_said(seed: int) -> None:
    # on a ramp the value is the place; before standardising, so through its mean
    ramp = torch.linspace(0, 255, 96).expand(96, 96)
    images = torch.stack([ramp] * 3)[None].expand(40, 3, 96, 96)
    rules = replace(PLAIN, tile_px=24, gap=0.25, min_area=0.5, channel_shift=0.1)
    plain = replace(rules, channel_shift=0.0)
    drawn = draws(40, rules, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "pretext.methods.puzzles.standardise_tiles", lambda puzzles, _: puzzles
        )
        shifted = cells(make_puzzles(images, drawn, rules)[0], 3)
        exact = cells(make_puzzles(images, drawn, plain)[0], 3)
    # of a tile as wide as it is: its pixels are 24, from the first to the last 23
    width = (exact[..., -1] - exact[..., 0]).abs().mean(dim=(2, 3)) * 24 / 23
    # the middle cell, where no border cuts the shift off
    middle = (answers_of(drawn, rules) == 4).int().argmax(dim=1)
    index = torch.arange(40)
    moved = (shifted - exact)[index, middle].mean(dim=(2, 3))
    share = moved.abs() / width[index, middle][:, None]
    assert share.max() <= 0.1 + 0.005
    assert share.max() > 0.08
    assert (moved[:, 0] - moved[:, 1]).abs().max() > 0


def answers_of(drawn: np.ndarray, rules: PuzzleRules) -> Tensor:
    return make_puzzles(torch.zeros(len(drawn), 3, 4, 4), drawn, rules)[1]


@pytest.mark.parametrize("d4", [True, False])
def test_turns_come_before_the_cutting(d4: bool) -> None:
    # a dark corner; its tile ends up at one of the corners the turn allows
    rules = replace(PLAIN, d4=d4)
    images = torch.full((200, 3, 24, 24), 200.0)
    images[:, :, :8, :8] = 0
    images[:, :, 0, 0] = 255  # marks which tile it is after standardising
    puzzles, answers = make_puzzles(images, draws(200, rules), rules)
    is_marked = cells(puzzles, 3).abs().amax(dim=(2, 3, 4)) > 0.5
    assert (is_marked.sum(dim=1) == 1).all()
    corners = set(answers[is_marked].tolist())
    assert corners == ({0, 2, 6, 8} if d4 else {0, 2})


def test_puzzles_stay_inside_the_extent_of_the_picture() -> None:
    # a padded picture: all signal in the middle half, streaks of 255 beside it
    images = torch.full((6, 3, 64, 64), 255.0)
    images[:, :, :, 16:48] = torch.arange(32).float()
    rules = replace(PLAIN, gap=0.1, min_area=0.5)
    drawn = draws(6, rules)
    fill_frac = np.tile(np.array([0.5, 1.0], np.float32), (6, 1))
    tiles = _raw(images, drawn, rules, fill_frac)
    # half of a pixel of the border may be mixed in, never a whole one
    assert tiles.max() < 31 + (255 - 31) / 2 + 1
    assert _raw(images, drawn, rules, None).max() > 254


def _raw(
    images: torch.Tensor,
    drawn: NDArray[np.float32],
    rules: PuzzleRules,
    fill_frac: NDArray[np.float32] | None,
) -> torch.Tensor:
    """Make puzzles whose tiles are not standardised."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(puzzles_module, "standardise_tiles", lambda puzzles, _: puzzles)
        return make_puzzles(images, drawn, rules, fill_frac)[0]


def test_the_same_seed_gives_the_same_puzzles_for_good() -> None:
    # whoever adds draws adds them at the end
    drawn = draws(3, PuzzleRules(), seed=7)
    rules = PuzzleRules()
    _, answers = make_puzzles(pictures(3), drawn, rules)
    assert answers.tolist() == GOLDEN
    ramp = torch.arange(96.0).expand(3, 3, 96, 96)
    middle = _raw(ramp, drawn, rules, None)[:, 1, 14::28, 14::28].flatten(1)
    assert_close(middle, torch.tensor(GOLDEN_LEVELS), atol=0.01, rtol=0)


def test_a_switch_that_is_off_hears_no_draws() -> None:
    drawn = draws(4, PLAIN)
    first, answers = make_puzzles(pictures(), drawn, PLAIN)
    used = 7 + 9
    others = np.concatenate([drawn[:, :used], drawn[::-1, used:]], axis=1)
    again, same = make_puzzles(pictures(), others, PLAIN)
    assert torch.equal(again, first)
    assert torch.equal(same, answers)


SWITCHES = [
    {"gap": 0.25},
    {"grey": 0.999},
    {"channel_shift": 0.1},
    {"resize_jitter": 0.2},
    {"normalise": NORMALISE},
    {"d4": True},
    {"min_area": 0.5},
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: next(iter(switch)))
def test_each_switch_changes_the_tiles_and_not_the_question(
    switch: dict[str, Any], seed: int
) -> None:
    drawn = draws(8, PLAIN, seed)
    images = pictures(8, seed=seed)
    first, answers = make_puzzles(images, drawn, PLAIN)
    other, same = make_puzzles(images, drawn, replace(PLAIN, **switch))
    assert torch.equal(same, answers)
    # a quarter of the turns are no more than the mirror
    assert ((first - other).abs().amax(dim=(1, 2, 3)) > 0.01).sum() >= 3


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rules", RULES)
def test_without_tile_norm_the_collection_s_statistics_are_used(
    rules: PuzzleRules, seed: int
) -> None:
    images, drawn = pictures(seed=seed), draws(4, rules, seed)
    puzzles, _ = make_puzzles(images, drawn, replace(rules, normalise=NORMALISE))
    raw = _raw(images, drawn, rules, None)
    for channel in range(3):
        mean, std = NORMALISE.mean[channel], NORMALISE.std[channel]
        expected = (raw[:, channel] - mean) / std
        assert_close(puzzles[:, channel], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_resize_jitter_cuts_each_tile_at_a_size_of_its_own(seed: int) -> None:
    # on a ramp the difference between the sides of a tile is its size
    ramp = torch.linspace(0, 255, 96).expand(20, 3, 96, 96)
    rules = replace(PLAIN, tile_px=24, gap=0.125, resize_jitter=0.4)
    tiles = split_tiles(_raw(ramp, draws(20, rules, seed), rules, None), 3)
    widths = (tiles[:, :, 0, :, -1] - tiles[:, :, 0, :, 0]).abs().mean(dim=2)
    plain = replace(rules, resize_jitter=0.0)
    whole = split_tiles(_raw(ramp, draws(20, rules, seed), plain, None), 3)
    whole_width = (whole[:, :, 0, :, -1] - whole[:, :, 0, :, 0]).abs().mean()
    share = widths / whole_width
    assert share.min() >= 0.6 - 0.01
    assert share.max() <= 1 + 0.01
    assert share.mean().item() == pytest.approx(0.8, abs=0.04)
    assert share.std(dim=1).min() > 0.03  # also within a picture


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("grid", "n_orders"), [(2, 24), (3, 10), (4, 5)])
def test_with_orders_the_answer_is_the_one_the_tiles_lie_in(
    grid: int, n_orders: int, seed: int
) -> None:
    rules = replace(PLAIN, grid=grid, tile_px=24 // grid, normalise=NORMALISE)
    orders = spread_orders(n_orders, grid**2, seed)
    images, drawn = pictures(6, seed=seed), unmirrored(draws(6, rules, seed))
    puzzles, answers = make_puzzles(images, drawn, rules, orders=orders)
    assert answers.shape == (6, 1)
    assert answers.dtype == torch.int64
    in_order = cells(NORMALISE(images), grid)
    tiles = split_tiles(puzzles, grid)
    for picture in range(6):
        order = orders[answers[picture, 0]]
        assert_close(tiles[picture], in_order[picture, order], atol=1e-3, rtol=0)


@pytest.mark.parametrize("n_orders", [3, 24])
def test_all_orders_are_asked_equally_often(n_orders: int) -> None:
    rules = PuzzleRules(grid=2, tile_px=2)
    orders = spread_orders(n_orders, 4, 0)
    _, answers = make_puzzles(
        torch.zeros(2400, 3, 2, 2), draws(2400, rules), rules, orders=orders
    )
    counts = answers.flatten().bincount(minlength=n_orders)
    expected = 2400 / n_orders
    assert len(counts) == n_orders
    assert (counts - expected).abs().max() < 4.5 * expected**0.5


def test_the_largest_draw_is_an_order_too() -> None:
    rules = PuzzleRules(grid=2, tile_px=2)
    drawn = np.full((2, rules.n_random), 1 - 2**-24, dtype=np.float32)
    for n_orders in range(2, 25):
        orders = spread_orders(n_orders, 4, 0)
        _, answers = make_puzzles(torch.zeros(2, 3, 2, 2), drawn, rules, orders=orders)
        assert answers.tolist() == [[n_orders - 1]] * 2


@pytest.mark.parametrize("grid", [2, 3, 4])
def test_splitting_gives_the_tiles_in_reading_order(grid: int) -> None:
    puzzles = pictures(3).float()
    assert torch.equal(split_tiles(puzzles, grid), cells(puzzles, grid))


@pytest.mark.parametrize("k", [4, 8])
def test_puzzles_much_smaller_than_the_picture_do_not_alias(k: int) -> None:
    # of every k pixels half are white; their mean is grey, a sample of two is white
    white = (torch.arange(96) % k >= k // 4) & (torch.arange(96) % k < 3 * k // 4)
    stripes = (white * 255.0).expand(4, 3, 96, 96)
    rules = replace(PLAIN, grid=2, tile_px=48 // k)
    raw = _raw(stripes, draws(4, rules), rules, None)
    assert_close(raw, torch.full_like(raw, 127.5), atol=1, rtol=0)


def test_pictures_that_are_just_large_enough_keep_every_pixel() -> None:
    rules = PuzzleRules(tile_px=28)
    images = pictures(side=96)
    assert puzzles_module._enough_pixels(images.float(), rules).shape == images.shape
