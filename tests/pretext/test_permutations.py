"""Tests of pretext.methods.permutations."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from data_prep.errors import UserError
from pretext.methods.permutations import check_orders, spread_orders

SEEDS = range(5)
GOLDEN_4 = [[1, 3, 0, 2], [3, 0, 2, 1], [2, 1, 3, 0], [0, 2, 1, 3]]
GOLDEN_9 = [[1, 3, 7, 2, 8, 5, 4, 6, 0], [2, 7, 1, 6, 5, 3, 8, 0, 4]]
GOLDEN_16 = [
    [6, 7, 12, 8, 14, 9, 5, 0, 3, 13, 4, 2, 10, 11, 15, 1],
    [2, 12, 11, 13, 6, 7, 15, 4, 14, 8, 10, 3, 1, 9, 5, 0],
]


def distances(orders: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count for each two orders the places at which they differ."""
    both = np.array([(a != b).sum() for a, b in itertools.combinations(orders, 2)])
    return both.astype(np.int64)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_tiles", [4, 9, 16])
@pytest.mark.parametrize("n_orders", [2, 24])
def test_orders_are_permutations_and_none_comes_twice(
    n_orders: int, n_tiles: int, seed: int
) -> None:
    orders = spread_orders(n_orders, n_tiles, seed)
    assert orders.shape == (n_orders, n_tiles)
    assert orders.dtype == np.int64
    assert (np.sort(orders, axis=1) == np.arange(n_tiles)).all()
    assert len(set(map(tuple, orders.tolist()))) == n_orders


@pytest.mark.parametrize("seed", range(10))
def test_each_next_order_is_the_farthest_by_brute_force(seed: int) -> None:
    orders = [tuple(order) for order in spread_orders(24, 4, seed).tolist()]
    everything = set(itertools.permutations(range(4)))

    def merit(order: tuple[int, ...], chosen: list[tuple[int, ...]]) -> tuple[int, int]:
        apart = [sum(a != b for a, b in zip(order, c, strict=True)) for c in chosen]
        return min(apart), sum(apart)

    for n in range(1, 24):
        rest = everything - set(orders[:n])
        best = max(merit(order, orders[:n]) for order in rest)
        assert merit(orders[n], orders[:n]) == best


@pytest.mark.parametrize("seed", SEEDS)
def test_a_hundred_orders_of_nine_are_farther_apart_than_drawn_ones(seed: int) -> None:
    apart = distances(spread_orders(100, 9, seed))
    rng = np.random.default_rng(seed)
    drawn = distances(np.array([rng.permutation(9) for _ in range(100)]))
    assert apart.min() >= 6
    assert drawn.min() <= 5
    assert apart.mean() > drawn.mean() + 0.05


def test_the_first_nine_of_nine_share_no_tile_at_any_place() -> None:
    assert (distances(spread_orders(9, 9, 0)) == 9).all()


def test_above_nine_tiles_a_sample_does() -> None:
    assert distances(spread_orders(100, 16, 0)).min() >= 12


def test_the_seed_decides_and_the_number_only_adds() -> None:
    few, again, other = (spread_orders(10, 9, seed) for seed in (0, 0, 1))
    assert (few == again).all()
    assert (few != other).any()
    assert (spread_orders(20, 9, 0)[:10] == few).all()


def test_a_set_stays_the_same_for_good() -> None:
    # weights of an interrupted training would not know another one
    assert spread_orders(4, 4, seed=0).tolist() == GOLDEN_4
    assert spread_orders(2, 9, seed=0).tolist() == GOLDEN_9
    assert spread_orders(2, 16, seed=0).tolist() == GOLDEN_16


@pytest.mark.parametrize(
    ("n_orders", "n_tiles", "message"),
    [
        (25, 4, "orders = 25: give 2 to 24, as many as 4 tiles have"),
        (1, 4, "orders = 1: give 2 to 24, as many as 4 tiles have"),
        (-3, 9, "orders = -3: give 2 to 10000"),
        (10_001, 9, "orders = 10001: give 2 to 10000"),
        (10_001, 16, "orders = 10001: give 2 to 10000"),
    ],
)
def test_more_orders_than_there_are_are_refused(
    n_orders: int, n_tiles: int, message: str
) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        check_orders(n_orders, n_tiles)
    with pytest.raises(UserError, match=f"^{message}$"):
        spread_orders(n_orders, n_tiles, 0)
