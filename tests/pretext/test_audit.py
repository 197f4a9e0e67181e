"""Tests of pretext.methods.audit and pretext.methods.cues."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pretext.data.keyed_rng import keys_of
from pretext.data.pictures import Normalisation, Pictures
from pretext.methods.audit import audit, switched_on
from pretext.methods.cues import (
    CueAccuracy,
    edge_pairs,
    measure,
    neighbours_right,
    places_right,
    tile_fringes,
    tile_levels,
)
from pretext.methods.puzzles import PuzzleRules

N, SIDE = 120, 48
KEYS = keys_of([str(number) for number in range(N)])
COLLECTION = Normalisation((128.0,) * 3, (50.0,) * 3)
CLOSED = PuzzleRules(tile_px=14)
OPEN = replace(CLOSED, tile_px=16, gap=0, grey=0, channel_shift=0, normalise=COLLECTION)
# nothing is resampled
PIXEL_BY_PIXEL = replace(OPEN, min_area=1, ratio=1)


def pictures_of(levels: NDArray[Any]) -> Pictures:
    """Store (N, S, S) or (N, S, S, 3) levels."""
    if levels.ndim == 3:
        levels = np.repeat(levels[..., None], 3, axis=3)
    return Pictures(levels.clip(0, 255).astype(np.uint8))


def noise(seed: int = 0, n: int = N) -> Pictures:
    """Pictures of which no part tells of another."""
    rng = np.random.default_rng(seed)
    return pictures_of(rng.integers(0, 256, (n, SIDE, SIDE, 3)))


def gradients(seed: int = 0) -> Pictures:
    """Pictures that brighten evenly in a direction of their own."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(*[np.linspace(-1, 1, SIDE)] * 2)
    slope = rng.uniform(-50, 50, (N, 2, 1, 1))
    levels = 128 + slope[:, 0] * x + slope[:, 1] * y
    return pictures_of(levels + rng.normal(0, 2, levels.shape))


def texture(seed: int = 0, radius: int = 1) -> NDArray[np.float32]:
    """Noise blurred a little: what is beside a pixel is like it, what is far is not."""
    rng = np.random.default_rng(seed)
    fine = torch.from_numpy(rng.normal(size=(N, 1, SIDE + 8, SIDE + 8))).float()
    smooth = F.avg_pool2d(fine, 2 * radius + 1, 1)[..., :SIDE, :SIDE]
    levels: NDArray[np.float32] = (128 + 60 * smooth / smooth.std())[:, 0].numpy()
    return levels


def vignetted(seed: int = 0) -> Pictures:
    """Pictures darker towards the corners, as by a cheap lens."""
    x, y = np.meshgrid(*[np.linspace(-1, 1, SIDE)] * 2)
    return pictures_of(texture(seed) * (1 - 0.3 * (x**2 + y**2)))


def fringed(seed: int = 0, magnified: float = 0.03) -> Pictures:
    """Pictures whose red is magnified against their blue, as by a cheap lens."""
    grey = torch.from_numpy(texture(seed))[:, None]
    places = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    grid = torch.stack(torch.meshgrid(places, places, indexing="xy"), dim=-1)
    channels = [
        F.grid_sample(
            grey,
            (grid * scale)[None].expand(N, -1, -1, -1),
            align_corners=False,
            padding_mode="border",
        )
        for scale in (1 + magnified, 1, 1 - magnified)
    ]
    return pictures_of(torch.cat(channels, dim=1).permute(0, 2, 3, 1).numpy())


def audited(
    pictures: Pictures, rules: PuzzleRules, seed: int = 0
) -> dict[str, CueAccuracy]:
    rows = np.arange(len(pictures.pixels))
    found = audit(pictures, rows, KEYS, rules, None, seed)
    return {cue: CueAccuracy(**values) for cue, values in found.items()}


SEEDS = range(2)


@pytest.mark.parametrize("grid", [2, 3])
@pytest.mark.parametrize("rules", [PIXEL_BY_PIXEL, replace(OPEN, gap=0.3), CLOSED])
def test_false_alarms_on_noise_are_rare(rules: PuzzleRules, grid: int) -> None:
    alarms = 0
    for seed in range(3):
        chosen = replace(rules, grid=grid, tile_px=SIDE // grid)
        found = audited(noise(seed), chosen, seed)
        alarms += sum(figure.beats_chance for figure in found.values())
        for figure in found.values():
            assert abs(figure.right - figure.chance) < 5 * figure.error
    assert alarms <= 1  # of 9; one in 700 is expected


def test_resampling_lets_even_noise_continue_from_tile_to_tile() -> None:
    # neighbouring pixels of an enlarged picture are mixed from the same ones
    assert audited(noise(), OPEN)["edges"].beats_chance
    assert not audited(noise(), PIXEL_BY_PIXEL)["edges"].beats_chance


@pytest.mark.parametrize("seed", SEEDS)
def test_edges_give_gradients_away_until_gap_and_tile_norm_are_on(seed: int) -> None:
    assert audited(gradients(seed), OPEN, seed)["edges"].right > 0.5
    figure = audited(gradients(seed), CLOSED, seed)["edges"]
    assert not figure.beats_chance
    assert figure.right < 0.2


@pytest.mark.parametrize("seed", SEEDS)
def test_edges_that_continue_are_found_whatever_the_levels(seed: int) -> None:
    pictures = pictures_of(texture(seed))
    without = audited(pictures, replace(CLOSED, gap=0, tile_px=16, grey=0), seed)
    assert without["edges"].right > 0.5
    gap = audited(pictures, replace(CLOSED, gap=0.4, tile_px=10), seed)
    assert gap["edges"].right < 0.25


@pytest.mark.parametrize("seed", SEEDS)
def test_a_vignette_is_found_until_tile_norm_is_on(seed: int) -> None:
    figure = audited(vignetted(seed), OPEN, seed)["levels"]
    assert figure.beats_chance
    assert figure.right > 0.2
    closed = audited(vignetted(seed), replace(OPEN, normalise=None), seed)["levels"]
    assert not closed.beats_chance


@pytest.mark.parametrize("seed", SEEDS)
def test_coloured_fringes_are_found_until_grey_and_shift_are_on(seed: int) -> None:
    open_ = replace(CLOSED, grey=0, channel_shift=0)
    figure = audited(fringed(seed), open_, seed)["fringes"]
    assert figure.right > 0.4
    plain = audited(fringed(seed, magnified=0), open_, seed)["fringes"]
    assert not plain.beats_chance
    strong = replace(CLOSED, grey=0.9, channel_shift=0.1)
    assert audited(fringed(seed), strong, seed)["fringes"].right < 0.2
    for weaker in ({"grey": 0.5}, {"channel_shift": 0.1}):
        half = audited(fringed(seed), replace(open_, **weaker), seed)["fringes"]  # type: ignore[arg-type]
        assert half.right < figure.right - 3 * figure.error


def test_the_log_says_what_to_turn_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    audited(vignetted(), OPEN)
    warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    levels, edges = warned
    title = "shortcuts, on 60 pictures: "
    assert levels.startswith(f"{title}tile means and deviations alone tell ")
    assert (
        "% of the places (chance 11.1%): turn on --tile-norm, which leaves " in levels
    )
    assert edges.startswith(f"{title}edges alone tell ")
    assert "% of the neighbours (chance 12.5%): turn on --gap 0.125, which l" in edges
    for cue in ("tile means", "colour fringes", "edges alone"):
        assert caplog.text.count(cue) == 1, "each cue is told of once"
    caplog.clear()
    audited(fringed(), replace(OPEN, channel_shift=0.03))
    assert "turn on --grey 0.3, which leaves" in caplog.text
    caplog.clear()
    audited(fringed(), OPEN)
    assert "turn on --grey 0.3 and --channel-shift 0.03, which" in caplog.text


def test_what_no_switch_hides_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    # large shapes go on across the gap, and a gap would not help
    shapes = np.random.default_rng(0).uniform(0, 255, (N, 4, 4, 1))
    large = torch.from_numpy(shapes).permute(0, 3, 1, 2)
    smooth = F.interpolate(large, (SIDE, SIDE), mode="bicubic").permute(0, 2, 3, 1)
    pictures = pictures_of(smooth.numpy().repeat(3, axis=3))
    found = audited(pictures, CLOSED)
    assert found["edges"].beats_chance
    assert "although --gap is on, as pictures go on across it; a larger" in caplog.text
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    caplog.clear()
    levels = np.random.default_rng(0).integers(0, 256, (N, 3, 1))
    bands = levels.repeat(SIDE // 3, axis=1).repeat(SIDE, axis=2)
    audited(pictures_of(bands), PIXEL_BY_PIXEL)
    assert "and would with --gap 0.125 tell " in caplog.text
    assert ": that is what the pictures show" in caplog.text


def test_quiet_where_all_is_well(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    audited(noise(), CLOSED)
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("cue", "rules", "flags"),
    [
        ("levels", OPEN, ["--tile-norm"]),
        ("fringes", OPEN, ["--grey 0.3", "--channel-shift 0.03"]),
        ("edges", OPEN, ["--gap 0.125"]),
        ("fringes", replace(OPEN, grey=0.9), ["--channel-shift 0.03"]),
        ("levels", CLOSED, []),
        ("fringes", CLOSED, []),
        ("edges", CLOSED, []),
    ],
)
def test_only_what_is_off_is_turned_on(
    cue: str, rules: PuzzleRules, flags: list[str]
) -> None:
    closed, off = switched_on(cue, rules)
    assert off == flags
    assert (closed == rules) == (not flags)
    assert switched_on(cue, closed) == (closed, [])


def test_the_flags_that_are_advised_set_the_default_values() -> None:
    usual = PuzzleRules()
    assert (usual.gap, usual.grey, usual.channel_shift) == (0.125, 0.3, 0.03)


@pytest.mark.parametrize("n", [1, 2, 39])
def test_too_few_pictures_are_not_judged(
    n: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert audited(noise(n=n), OPEN) == {}
    assert not caplog.records


def test_no_pictures_are_not_judged() -> None:
    assert audit(noise(), np.arange(0), KEYS, OPEN, None, 0) == {}


def test_blank_pictures_are_no_trouble() -> None:
    levels = np.repeat(np.arange(N)[:, None, None], SIDE, axis=1).repeat(SIDE, axis=2)
    for rules in (CLOSED, OPEN):
        found = audited(pictures_of(levels), rules)
        assert not any(figure.beats_chance for figure in found.values())


def test_the_seed_decides_and_the_rows_bound_what_is_looked_at() -> None:
    pictures = vignetted()
    first, again, other = (audited(pictures, OPEN, seed) for seed in (0, 0, 1))
    assert first == again != other
    rows = np.arange(60)
    changed = Pictures(pictures.pixels.copy())
    changed.pixels[60:] = 7
    some = [audit(p, rows, KEYS, OPEN, None, 0) for p in (pictures, changed)]
    assert some[0] == some[1]
    order = np.random.default_rng(0).permutation(60)
    assert audit(pictures, order, KEYS, OPEN, None, 0) == some[0]


def test_padding_is_not_looked_at() -> None:
    pixels = noise().pixels.copy()
    pixels[:, :16] = pixels[:, 32:] = 0  # a black band above and below
    rows, fill_frac = np.arange(N), np.tile(np.array([1, 0.3], np.float32), (N, 1))
    padded = audit(Pictures(pixels), rows, KEYS, OPEN, None, 0)
    inside = audit(Pictures(pixels), rows, KEYS, OPEN, fill_frac, 0)
    assert CueAccuracy(**padded["levels"]).beats_chance
    assert not CueAccuracy(**inside["levels"]).beats_chance


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.4, 0.0), (-0.2, 0.3)])
def test_the_shift_of_red_against_blue_is_measured(shift: tuple[float, float]) -> None:
    x, y = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="xy")

    def waves(dx: float, dy: float) -> Tensor:
        u, v = x + dx, y + dy
        return torch.sin(u * 0.9) + torch.cos(v * 0.8) + torch.sin(0.6 * u + 0.5 * v)

    coloured = torch.stack([waves(*shift), waves(0, 0), waves(0, 0)])
    plain = torch.stack([waves(0, 0)] * 3)
    shifts = tile_fringes(torch.stack([coloured, plain])[None])
    # against the mean of the two tiles
    expected = torch.tensor(shift) / 2
    assert shifts[0, 0].tolist() == pytest.approx(expected.tolist(), abs=0.05)
    assert shifts[0, 1].tolist() == pytest.approx((-expected).tolist(), abs=0.05)


def test_coarse_colours_are_no_shift() -> None:
    x, y = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="xy")
    fine = torch.sin(x * 0.9) + torch.cos(y * 0.8)
    # red less blue goes like the slope of green, but is no fringe
    coloured = torch.stack([fine + torch.cos(x / 8), fine + torch.sin(x / 8), fine])
    shifts = tile_fringes(torch.stack([coloured, torch.stack([fine] * 3)])[None])
    assert shifts.abs().max() < 0.02


def test_levels_and_edges_by_hand() -> None:
    tiles = torch.zeros(1, 2, 3, 2, 2)
    tiles[0, 0] = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    levels = tile_levels(tiles)
    assert levels[0, 0, :3].tolist() == pytest.approx([1.5] * 3)  # 3 against 0
    deviation = np.std([1, 2, 3, 6], ddof=1) / 2
    assert levels[0, 0, 3:].tolist() == pytest.approx([deviation] * 3)
    tiles[0, 1] = torch.tensor([[4.0, 0.0], [8.0, 0.0]])
    pairs = edge_pairs(tiles)
    assert pairs.shape == (1, 2, 2, 2, 3)
    # right edge of the first (2, 6) beside left edge of the second (4, 8)
    assert pairs[0, 0, 0, 1].tolist() == pytest.approx([2, 2, 1], abs=1e-4)
    # lower edge of the second (8, 0) above upper edge of the first (1, 2)
    assert pairs[0, 1, 1, 0].tolist() == pytest.approx([4.5, 2.5, -1], abs=1e-4)


def cells_of(n: int, n_tiles: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(0)
    return np.stack([rng.permutation(n_tiles) for _ in range(n)])


@pytest.mark.parametrize("n_tiles", [4, 9, 16])
def test_a_cue_that_tells_everything_is_read_on_other_pictures(n_tiles: int) -> None:
    cells = cells_of(60, n_tiles)
    told = np.eye(n_tiles, dtype=np.float32)[cells]
    assert places_right(told, cells).tolist() == [1.0] * 30
    grid = int(n_tiles**0.5)
    pairs = np.zeros((60, 2, n_tiles, n_tiles, 1), dtype=np.float32)
    for picture in range(60):
        for i in range(n_tiles):
            for j in range(n_tiles):
                one, other = cells[picture, i], cells[picture, j]
                pairs[picture, 0, i, j] = other == one + 1 and one % grid < grid - 1
                pairs[picture, 1, i, j] = other == one + grid
    assert neighbours_right(pairs, cells).tolist() == [1.0] * 30
    # what was true of the first pictures only is worth nothing
    told[30:] = told[30:, ::-1]
    assert places_right(told, cells).mean() < 2 / n_tiles


def test_the_standard_error_counts_pictures() -> None:
    cells = cells_of(200, 9)
    features = np.eye(9, dtype=np.float32)[cells]
    features[::2] = 0  # half of the pictures tell all, half nothing
    figure = measure("levels", features, cells)
    right = places_right(features, cells)
    assert figure.right == pytest.approx(right.mean())
    assert figure.chance == pytest.approx(1 / 9)
    assert figure.error == pytest.approx(right.std(ddof=1) / 10)
    nothing = measure("levels", 0 * features, cells)
    assert nothing.right == pytest.approx(1 / 9)
    assert nothing.error == pytest.approx((8 / 81 / 900) ** 0.5)
    assert not nothing.beats_chance
