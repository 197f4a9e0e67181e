"""Random numbers that are a function of (seed, epoch, picture), not of what ran before.

A view then does not depend on the order of the batches, on a crash in between or on the
other pictures of the batch. The generator is SplitMix64 used as a counter: the hash of
the picture's id starts it, and the j-th number is its j-th output.

Source: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators".
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Ints

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def keys_of(ids: Sequence[str]) -> NDArray[np.uint64]:
    """Hash (N,) ids into (N,) keys that do not depend on the platform."""
    digests = b"".join(hashlib.sha256(id_.encode()).digest()[:8] for id_ in ids)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def uniforms(
    keys: NDArray[np.uint64], n: int, *, seed: int, epoch: int, purpose: str
) -> NDArray[np.float32]:
    """Draw (N, n) numbers from [0, 1), each a function of its own key alone.

    Args:
        keys: (N,) keys of the pictures.
        n: Numbers per picture.
        seed: Seed of the training.
        epoch: Pass over the pictures; each gets other numbers.
        purpose: What the numbers are for, so that two uses are independent.

    Example:
        >>> keys = keys_of(["a", "b"])
        >>> both = uniforms(keys, 3, seed=0, epoch=1, purpose="crop")
        >>> alone = uniforms(keys[1:], 3, seed=0, epoch=1, purpose="crop")
        >>> bool((both[1] == alone[0]).all())
        True
    """
    salt = hashlib.sha256(f"{seed}/{epoch}/{purpose}".encode()).digest()[:8]
    start = _mix(keys ^ np.uint64(int.from_bytes(salt, "little")))
    steps = np.arange(1, n + 1, dtype=np.uint64) * GOLDEN
    bits = _mix(start[:, None] + steps) >> np.uint64(40)
    return bits.astype(np.float32) * np.float32(2**-24)


def batch_rng(
    keys: NDArray[np.uint64], *, seed: int, epoch: int, purpose: str
) -> np.random.Generator:
    """Give the generator of what is drawn for a batch as a whole.

    Args:
        keys: (B,) keys of its pictures, in their order.
        seed: Seed of the training.
        epoch: Pass over the pictures.
        purpose: What the numbers are for.
    """
    salt = f"{seed}/{epoch}/{purpose}".encode()
    digest = hashlib.sha256(salt + keys.astype("<u8").tobytes()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def shuffled(keys: NDArray[np.uint64], *, seed: int, epoch: int) -> Ints:
    """Order the pictures of an epoch: (N,) positions, a permutation."""
    u = uniforms(keys, 2, seed=seed, epoch=epoch, purpose="order")
    return np.lexsort((keys, u[:, 1], u[:, 0]))


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix the bits of a state, so that each output bit depends on all of them."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
