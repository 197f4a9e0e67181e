"""Tests of pretext.data.keyed_rng."""

import hashlib

import numpy as np
import pytest

from pretext.data.keyed_rng import keys_of, shuffled, uniforms

SEEDS = range(5)
MASK = 2**64 - 1


def keys(n: int) -> np.ndarray:
    return keys_of([f"picture{number}" for number in range(n)])


def splitmix64(state: int) -> int:
    """One output of the generator, in Python's own integers."""
    z = state & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_the_first_outputs_are_those_published_for_splitmix64() -> None:
    # seed 1234567: the test values of Vigna's splitmix64.c, as on Rosetta Code
    state, outputs = 1234567, []
    for _ in range(3):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        outputs.append(splitmix64(state))
    assert outputs == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_draws_are_the_same_by_pythons_own_integers(seed: int) -> None:
    drawn = uniforms(keys(3), 4, seed=seed, epoch=2, purpose="crop")
    salt = hashlib.sha256(f"{seed}/2/crop".encode()).digest()[:8]
    for row in range(3):
        digest = hashlib.sha256(f"picture{row}".encode()).digest()[:8]
        key = int.from_bytes(digest, "little")
        start = splitmix64(key ^ int.from_bytes(salt, "little"))
        for column in range(4):
            z = splitmix64(start + (column + 1) * 0x9E3779B97F4A7C15)
            assert drawn[row, column] == (z >> 40) / 2**24


def test_keys_are_fixed_for_ever() -> None:
    # else a training gone on with after an update would see other views
    assert keys_of(["a", "größe"]).tolist() == [
        int.from_bytes(hashlib.sha256(b"a").digest()[:8], "little"),
        int.from_bytes(hashlib.sha256("größe".encode()).digest()[:8], "little"),
    ]
    assert keys_of([]).shape == (0,)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pictures_numbers_do_not_depend_on_the_other_pictures(seed: int) -> None:
    rng = np.random.default_rng(seed)
    everyone = uniforms(keys(50), 7, seed=seed, epoch=3, purpose="x")
    for size in (1, 2, 49):
        some = rng.permutation(50)[:size]
        drawn = uniforms(keys(50)[some], 7, seed=seed, epoch=3, purpose="x")
        assert (drawn == everyone[some]).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_fewer_numbers_are_the_first_of_more(seed: int) -> None:
    few, many = (uniforms(keys(9), n, seed=seed, epoch=0, purpose="x") for n in (3, 30))
    assert (few == many[:, :3]).all()


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"epoch": 1}, {"epoch": -1}, {"purpose": "second"}]
)
def test_seed_epoch_and_purpose_each_give_other_numbers(other: dict[str, int]) -> None:
    usual = {"seed": 0, "epoch": 0, "purpose": "first"}
    first = uniforms(keys(2000), 5, **usual)  # type: ignore[arg-type]
    second = uniforms(keys(2000), 5, **(usual | other))  # type: ignore[arg-type]
    assert (first == second).mean() < 0.001
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("seed", SEEDS)
def test_numbers_are_uniform_and_independent(seed: int) -> None:
    drawn = uniforms(keys(4000), 6, seed=seed, epoch=0, purpose="x")
    assert drawn.dtype == np.float32
    assert drawn.min() >= 0
    assert drawn.max() < 1
    for column in drawn.T:
        counts = np.histogram(column, bins=16, range=(0, 1))[0]
        chi_square = ((counts - 250) ** 2 / 250).sum()
        assert chi_square < 45  # 15 degrees of freedom: once in 10,000
    correlation = np.corrcoef(drawn.T) - np.eye(6)
    assert abs(correlation).max() < 0.08


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n", [1, 2, 101])
def test_an_order_is_a_permutation_and_each_epochs_own(seed: int, n: int) -> None:
    orders = [shuffled(keys(n), seed=seed, epoch=epoch) for epoch in range(6)]
    for order in orders:
        assert sorted(order) == list(range(n))
    if n > 100:
        assert len({tuple(order) for order in orders}) == 6


def test_the_order_of_the_pictures_does_not_depend_on_that_of_the_table() -> None:
    backwards = keys(40)[::-1]
    forward = keys(40)[shuffled(keys(40), seed=0, epoch=1)]
    assert (backwards[shuffled(backwards, seed=0, epoch=1)] == forward).all()


def test_each_picture_comes_at_each_place_equally_often() -> None:
    first = [shuffled(keys(8), seed=0, epoch=epoch)[0] for epoch in range(1600)]
    counts = np.bincount(first, minlength=8)
    assert ((counts - 200) ** 2 / 200).sum() < 30  # 7 degrees of freedom
