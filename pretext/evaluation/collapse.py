"""Symptoms of a training that goes wrong: figures of its outputs, and rules on them.

A loss that falls does not tell: where two views are to agree, giving every picture the
same output is a perfect answer. What collapses is how much the outputs differ.

Source: the spread is that of Chen & He 2021, arXiv 2011.10566, figure 2; the effective
rank that of Roy & Vetterli 2007, as used by Garrido et al. 2022, arXiv 2210.02885.

Shapes: n pictures, d outputs.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

COLLAPSED = 0.25  # share of what the untrained network had
FEWEST = 20  # pictures that a verdict needs
PATIENCE = 5  # looks without a gain
GAIN = 0.003  # of R2 or accuracy, that counts as one

Floats = NDArray[np.float64]


def spread(outputs: NDArray[np.float32]) -> float:
    """Measure how far (n, d) outputs are from being all one.

    The mean deviation of the d outputs, each picture's scaled to length 1, times
    sqrt(d): 1 when they fill the sphere, 0 when all pictures give the same.
    """
    values = outputs.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    unit = values / np.maximum(lengths, 1e-12)
    return float(unit.std(axis=0).mean() * unit.shape[1] ** 0.5)


def effective_rank(outputs: NDArray[np.float32]) -> float:
    """Measure in how many directions (n, d) outputs lie.

    The exponential of the entropy of the singular values, as shares of their sum: 1
    when all pictures give multiples of one output, at most the smaller of n and d.
    """
    values = outputs.astype(np.float64)
    if not np.isfinite(values).all():
        return float("nan")
    small = values @ values.T if len(values) < values.shape[1] else values.T @ values
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(small), 0))
    # below is what rounding leaves of squares
    singular = singular[singular > 1e-7 * singular.max(initial=0)]
    shares = singular / singular.sum()
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0


def has_collapsed(
    look: Mapping[str, float], start: Mapping[str, float], n_pictures: int
) -> bool:
    """Tell whether outputs differ far less than those of the first weights did.

    The measure is what the network itself began with, because a healthy spread or rank
    depends on the network, its heads and the pictures.

    Args:
        look: ``health/spread`` and ``health/rank`` now.
        start: The same of the first weights.
        n_pictures: How many were measured; of a few no verdict is given.
    """
    if n_pictures < FEWEST:
        return False
    figures = ("health/spread", "health/rank")
    return any(not look[name] >= COLLAPSED * start[name] for name in figures)


def best_before_plateau(figures: Mapping[int, float], patience: int) -> int | None:
    """Give the epoch of the best figure if the last ones brought no gain on it.

    Args:
        figures: By epoch, in order; higher is better.
        patience: How many last ones must all be no better by ``GAIN`` than the best of
            those before them.
    """
    epochs = list(figures)
    before, last = epochs[:-patience], epochs[-patience:]
    if not before:
        return None
    best = max(before, key=figures.__getitem__)
    if max(figures[epoch] for epoch in last) >= figures[best] + GAIN:
        return None
    return best
