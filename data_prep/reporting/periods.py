"""Values in order, cut into stretches of about as many rows: periods and quantiles.

Shapes: N rows, P stretches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.arrays import Floats, Ints
from data_prep.tables.spelling import number_texts

N_STRETCHES = 6


@dataclass(frozen=True, kw_only=True)
class Stretches:
    """Which stretch each row lies in.

    Attributes:
        numbers: (N,) from 0 by value; -1 where the value is missing.
        names: P texts, such as ``1890 to 1904``.
    """

    numbers: Ints
    names: Sequence[str]


def stretches_of(values: Floats, n_stretches: int = N_STRETCHES) -> Stretches:
    """Cut values at their quantiles; equal values stay together.

    Args:
        values: (N,) NaN where missing.
        n_stretches: P, at most; fewer where few values differ.

    Example:
        >>> stretches_of(np.array([1.0, 1.0, 2.0, 5.0, np.nan]), n_stretches=2)
        Stretches(numbers=array([ 0,  0,  1,  1, -1]), names=['1', '2 to 5'])
    """
    is_there = np.isfinite(values)
    kept = values[is_there]
    numbers = np.full(len(values), -1, dtype=np.int64)
    if not len(kept):
        return Stretches(numbers=numbers, names=[])
    levels = np.arange(1, n_stretches) / n_stretches
    cuts = np.unique(np.quantile(kept, levels, method="higher"))
    raw = np.searchsorted(cuts, kept, side="right")
    _, numbers[is_there] = np.unique(raw, return_inverse=True)  # none is empty
    ends = [
        (float(within.min()), float(within.max()))
        for within in (values[numbers == k] for k in range(int(numbers.max()) + 1))
    ]
    texts = number_texts([end for pair in ends for end in pair], digits=5)
    names = [
        low if low == high else f"{low} to {high}"
        for low, high in zip(texts[::2], texts[1::2], strict=True)
    ]
    return Stretches(numbers=numbers, names=names)
