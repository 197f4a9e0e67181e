"""Tests of pretext.data.presets: views by name, through ``random_views``."""

from dataclasses import replace
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from data_prep.errors import UserError
from pretext.data.augment import N_RANDOM, AugmentParams, random_views
from pretext.data.keyed_rng import keys_of, uniforms
from pretext.data.occlusion import HoleParams, ShuffleParams
from pretext.data.presets import PRESETS, preset
from transfer.settings import FinetuneSettings

SEEDS = range(3)


def params_of(name: str, *, colour: float = 0.1, **changed: Any) -> AugmentParams:
    values = {"min_area": 0.6, "d4": True, "rand": (2, 9)} | changed
    return preset(name, colour=colour, **values)


def views(
    images: Tensor, ids: list[str], params: AugmentParams, seed: int = 0, **kwargs: Any
) -> Tensor:
    u = uniforms(keys_of(ids), params.n_random, seed=seed, epoch=0, purpose="test")
    return random_views(images, u, images.shape[-1], params, **kwargs)


def pictures(n: int, side: int = 24) -> Tensor:
    small = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return (255 * torch.nn.functional.interpolate(small, side)).byte()


def test_every_name_of_the_setting_is_a_preset() -> None:
    hints = get_type_hints(FinetuneSettings, include_extras=True)
    assert get_args(get_args(hints["augment"])[0]) == tuple(PRESETS)


def test_none_is_what_there_was_before() -> None:
    plain = AugmentParams(min_area=0.6, brightness=0.1, contrast=0.1, saturation=0.1)
    assert params_of("none") == plain
    assert plain.n_random == N_RANDOM


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", PRESETS)
def test_a_view_does_not_depend_on_the_others_of_its_batch(
    name: str, seed: int, padded: bool
) -> None:
    images, ids = pictures(20), [f"p{k}" for k in range(20)]
    params = params_of(name)
    fill = np.tile(np.array([1, 0.6], np.float32), (20, 1)) if padded else None
    before = images.clone()
    together = views(images, ids, params, seed, fill_frac=fill)
    assert torch.equal(images, before)
    assert together.shape == images.shape
    assert (together >= 0).all()
    assert (together <= 255).all()
    some = [17, 3, 8]
    alone = views(
        images[some],
        [ids[k] for k in some],
        params,
        seed,
        fill_frac=None if fill is None else fill[some],
    )
    assert_close(alone, together[some], atol=0.01, rtol=0)


@pytest.mark.parametrize("name", PRESETS)
def test_views_are_as_exact_in_a_bfloat16_training(name: str) -> None:
    images, ids = pictures(20), [f"p{k}" for k in range(20)]
    fill = np.tile(np.array([1, 0.6], np.float32), (20, 1))
    exact = views(images, ids, params_of(name), fill_frac=fill)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = views(images, ids, params_of(name), fill_frac=fill)
    assert torch.equal(rounded, exact)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "none"])
def test_a_name_adds_to_the_view_and_leaves_its_crop(name: str) -> None:
    images, ids = pictures(200), [f"p{k}" for k in range(200)]
    plain, changed = (
        views(images, ids, params_of(n, colour=0)) for n in ("none", name)
    )
    is_same = (plain - changed).abs().amax(dim=(1, 2, 3)) < 0.01
    # one in two is warped; one in two has holes; of two moves, 1 in 12 are none
    at_most = {"light": 0.6, "medium": 0.35, "strong": 0.3, "randaugment": 0.15}
    assert is_same.float().mean() < at_most[name]
    assert name == "randaugment" or is_same.any()


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_changes_colours_that_are_to_be_kept(name: str) -> None:
    shade = torch.tensor([200, 30, 90], dtype=torch.uint8)
    images = shade[:, None, None].expand(100, 3, 16, 16)
    ids = [f"p{k}" for k in range(100)]
    kept = views(images, ids, params_of(name, colour=0.0, rand=(3, 30)))
    assert_close(kept, images.float(), atol=0.05, rtol=0)
    changed = views(images, ids, params_of(name, colour=0.1))
    assert (changed - images).abs().mean() > 1


@pytest.mark.parametrize("part", ["holes", "shuffle"])
def test_what_is_hidden_and_shuffled_is_the_picture_not_its_padding(part: str) -> None:
    images = pictures(50)
    images[:, :, :8] = images[:, :, 16:] = 255
    parts = {
        "holes": HoleParams(p=1, n=8, smallest=0.3, largest=0.5),
        "shuffle": ShuffleParams(p=1),
    }
    plain = AugmentParams(
        min_area=1, ratio=1, d4=False, brightness=0, contrast=0, saturation=0
    )
    params = replace(plain, **{part: parts[part]})  # type: ignore[arg-type]
    ids = [f"p{k}" for k in range(50)]
    fill = np.tile(np.array([1, 1 / 3], np.float32), (50, 1))
    changed, before = (
        views(images, ids, made, fill_frac=fill) for made in (params, plain)
    )
    assert torch.equal(changed[:, :, :8], before[:, :, :8])
    assert torch.equal(changed[:, :, 16:], before[:, :, 16:])
    assert ((changed != before).any(dim=(1, 2, 3))).all()


def test_strong_changes_colours_as_simclr_does() -> None:
    strong = params_of("strong")
    assert (strong.brightness, strong.saturation, strong.hue) == (0.4, 0.4, 0.1)
    limits = params_of("strong", colour=1.0)
    assert (limits.brightness, limits.hue) == (1.0, 0.5)


@pytest.mark.parametrize("key", ["rand_operations", "rand_magnitude"])
def test_what_randaugment_alone_needs_is_refused_without(key: str) -> None:
    FinetuneSettings(init="scratch", augment="randaugment", **{key: 5})  # type: ignore[arg-type]
    message = rf"{key} = 5 is for augment = 'randaugment', but augment = 'medium'"
    with pytest.raises(UserError, match=message):
        FinetuneSettings(init="scratch", augment="medium", **{key: 5})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "value"),
    [("rand_magnitude", 31), ("rand_operations", 0)],
)
def test_out_of_range_is_refused(key: str, value: Any) -> None:
    settings: dict[str, Any] = {"init": "scratch", "augment": "randaugment", key: value}
    with pytest.raises(UserError, match=f"{key} = {value!r}"):
        FinetuneSettings(**settings)
