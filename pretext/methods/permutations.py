"""Sets of orders that differ in as many tiles as possible: the classes of a jigsaw.

Greedy: the first order is drawn; each next one is, of all there are, the one whose
nearest among those chosen is farthest, and among equals the one farthest on average.
Distance is Hamming's: the number of places with another tile.

Source: Noroozi & Favaro 2016, arXiv 1603.09246, algorithm 1.
Differs: there the average alone decides. It is the same here to three digits, but 100
orders of 9 tiles then differ in 4 places at least, and here in 6. Above 3 x 3 the
orders are too many to list, and "all there are" is a drawn sample.

Shapes: P orders chosen of A candidates, T tiles.
"""

from math import factorial

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Ints
from data_prep.errors import UserError
from pretext.data.keyed_rng import uniforms

LISTED_TILES = 9  # 9! = 362,880 orders
SAMPLE = 50_000  # of more tiles
MAX_ORDERS = 10_000  # as many as have been tried; they take half a minute to choose


def spread_orders(n_orders: int, n_tiles: int, seed: int) -> Ints:
    """Choose (P, T) orders far apart: the tile at each place, in each order.

    Args:
        n_orders: P.
        n_tiles: T.
        seed: Decides the first order, and between equals.

    Raises:
        UserError: There are not so many orders.

    Example:
        >>> orders = spread_orders(3, n_tiles=4, seed=0)
        >>> [int((orders[0] != order).sum()) for order in orders[1:]]
        [4, 4]
    """
    check_orders(n_orders, n_tiles)
    candidates_AT = _candidates(n_tiles, seed)
    by_place_TA = np.ascontiguousarray(candidates_AT.T)  # eight times as fast
    sum_A = np.zeros(len(candidates_AT), np.int32)  # of the distances to those chosen
    nearest_A = np.full(len(candidates_AT), n_tiles, np.int32)  # of those distances
    chosen = [0]
    while len(chosen) < n_orders:
        distance_A = np.zeros(len(candidates_AT), np.uint8)
        for tiles_A in by_place_TA:
            distance_A += tiles_A != tiles_A[chosen[-1]]
        sum_A += distance_A
        np.minimum(nearest_A, distance_A, out=nearest_A)
        # both criteria in one number, as no sum exceeds n_tiles * n_orders; a nearest
        # distance of 0 keeps out what is chosen already
        merit_A = nearest_A * (n_tiles * n_orders + 1) + sum_A
        chosen.append(int(merit_A.argmax()))
    return candidates_AT[chosen].astype(np.int64)


def check_orders(n_orders: int, n_tiles: int) -> None:
    """Check that there are so many orders.

    Raises:
        UserError: There are not, or too few to ask for.
    """
    most = min(factorial(n_tiles), MAX_ORDERS)
    if not 2 <= n_orders <= most:
        why = f", as many as {n_tiles} tiles have" if most < MAX_ORDERS else ""
        raise UserError(f"orders = {n_orders}: give 2 to {most}{why}")


def _candidates(n_tiles: int, seed: int) -> NDArray[np.uint8]:
    """List (A, T) orders in a random sequence: all of them, or a sample."""
    if n_tiles > LISTED_TILES:  # a repeat does no harm, its nearest is 0
        u = _uniforms(SAMPLE, n_tiles, seed)
        return u.argsort(axis=1, kind="stable").astype(np.uint8)
    listed = np.zeros((1, 1), np.uint8)
    for tile in range(1, n_tiles):  # put the next tile at each place of each order
        longer = [
            np.insert(listed, position, tile, axis=1) for position in range(tile + 1)
        ]
        listed = np.concatenate(longer)
    return listed[_uniforms(len(listed), 1, seed)[:, 0].argsort(kind="stable")]


def _uniforms(n: int, width: int, seed: int) -> NDArray[np.float32]:
    keys = np.arange(n, dtype=np.uint64)
    return uniforms(keys, width, seed=seed, epoch=0, purpose="orders")
