"""Tests of stacking.inputs.alignment."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from stacking.inputs.alignment import (
    METHODS,
    MIN_COMMON,
    MIN_HELD_OUT,
    learn_alignment,
)

SEEDS = range(10)
MOVING = [method for method in METHODS if method != "none"]


def nets(seed: int, n: int = 400) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Three nets that say the same of n pictures, each on a scale of its own."""
    rng = np.random.default_rng(seed)
    said = rng.normal(size=(n, 4))
    features, shifts = rng.uniform(0.5, 2, (3, 4)), rng.normal(size=(3, 4))
    return (
        [said * a + b for a, b in zip(features, shifts, strict=True)],
        features,
        shifts,
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", MOVING)
def test_nets_that_differ_in_scale_alone_become_equal(method: str, seed: int) -> None:
    common, features, shifts = nets(seed)
    alignment = learn_alignment(common, method)
    said = (common[0] - shifts[0]) / features[0]
    expected = said * np.mean(features, axis=0) + np.mean(shifts, axis=0)
    tails = np.abs(said) > 2  # there a rank map knows too few pictures
    for net, values in enumerate(common):
        aligned = alignment.apply(net, values)
        assert_allclose(aligned[~tails], expected[~tails], atol=0.02)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", METHODS)
def test_order_within_a_net_is_kept(method: str, seed: int) -> None:
    common, _, _ = nets(seed)
    rng = np.random.default_rng(seed + 100)
    fresh = np.sort(rng.normal(0, 5, (50, 4)), axis=0)  # far beyond what was seen
    alignment = learn_alignment(common, method)
    assert (np.diff(alignment.apply(1, fresh), axis=0) >= 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_equal_nets_stay_as_they_are(method: str) -> None:
    common, _, _ = nets(0)
    alignment = learn_alignment([common[0]] * 3, method)
    fresh = np.random.default_rng(1).normal(0, 3, (30, 4))
    assert_allclose(alignment.apply(2, fresh), fresh, atol=1e-9)


def test_moments_by_hand() -> None:
    # Net 0 has mean 0 and deviation 1, net 1 mean 10 and deviation 3: both become
    # mean 5 and deviation 2.
    base = np.tile([-1.0, 1.0], MIN_COMMON)[:, None]
    alignment = learn_alignment([base, 10 + 3 * base], "moments")
    assert_allclose(alignment.apply(0, np.array([[1.0], [4.0]])), [[7.0], [13.0]])
    assert_allclose(alignment.apply(1, np.array([[13.0], [10.0]])), [[7.0], [5.0]])


def test_rank_by_hand() -> None:
    # Quantile functions 0..100 and 0..200 have the average 0..150.
    base = np.linspace(0, 100, 1001)[:, None]
    alignment = learn_alignment([base, 2 * base], "rank")
    assert_allclose(alignment.apply(0, np.array([[50.0], [20.0]])), [[75.0], [30.0]])
    assert_allclose(alignment.apply(1, np.array([[100.0]])), [[75.0]])


def test_beyond_the_outermost_quantile_a_value_keeps_its_distance() -> None:
    base = np.linspace(0, 100, 1001)[:, None]
    alignment = learn_alignment([base, 2 * base], "rank")
    edge = alignment.knots[0][-1]
    far, near = alignment.apply(0, np.stack([edge + 1000, edge]))
    assert_allclose(far - near, 1000)


@pytest.mark.parametrize("method", MOVING)
def test_a_column_that_never_varies_is_moved_whole(method: str) -> None:
    common = [np.full((MIN_COMMON, 1), value) for value in (1.0, 3.0)]
    alignment = learn_alignment(common, method)
    assert_allclose(alignment.apply(0, np.array([[1.0], [1.5]])), [[2.0], [2.5]])


@pytest.mark.parametrize("method", METHODS)
def test_too_few_common_pictures_align_nothing(method: str) -> None:
    common, _, _ = nets(0, MIN_COMMON - 1)
    alignment = learn_alignment(common, method)
    assert alignment.method == "none"
    assert alignment.apply(0, common[0]) is common[0]
    assert alignment.shifts().shape == (3, 4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", MOVING)
def test_nets_are_brought_together_by_rows_that_each_held_out(
    method: str, seed: int
) -> None:
    values, _, _ = nets(seed, 900)
    held_out = [net[k::3][: 300 - k] for k, net in enumerate(values)]
    moved = [True, True, False, True]
    alignment = learn_alignment(held_out, method, least=MIN_HELD_OUT, is_moved=moved)
    aligned = np.stack([alignment.apply(k, net) for k, net in enumerate(values)])
    assert_allclose(aligned[..., 2], np.stack(values)[..., 2], rtol=1e-12)
    # the same pictures through three nets: what 300 other rows leave is chance
    apart = aligned[..., moved].std(axis=0) / aligned[..., moved].std(axis=1).mean()
    before = np.stack(values)[..., moved]
    before_apart = before.std(axis=0) / before.std(axis=1).mean()
    assert np.median(apart) < 0.12
    assert np.median(apart) < np.median(before_apart) / 3
    assert learn_alignment(held_out, method, least=301).method == "none"


@pytest.mark.parametrize("method", MOVING)
def test_a_net_that_is_added_by_few_pictures_keeps_its_scale(method: str) -> None:
    common, _, _ = nets(0)
    few, many = (100 + 5 * common[0][:n] for n in (MIN_COMMON - 1, MIN_COMMON))
    alignment = learn_alignment(common, method)
    assert_allclose(alignment.with_net(few).apply(3, few), few)
    aligned = alignment.with_net(many).apply(3, many)
    assert_allclose(aligned.mean(axis=0), common[0].mean(axis=0), atol=3)


@pytest.mark.parametrize("method", METHODS)
def test_a_single_net_or_none_aligns_nothing(method: str) -> None:
    common, _, _ = nets(0)
    assert learn_alignment(common[:1], method).method == "none"
    assert learn_alignment([], method).method == "none"


def test_shifts_are_in_units_of_the_common_spread() -> None:
    base = np.tile([-1.0, 1.0], MIN_COMMON)[:, None]
    alignment = learn_alignment([base, base + 4], "moments")
    assert_allclose(alignment.shifts(), [[2.0], [-2.0]])
