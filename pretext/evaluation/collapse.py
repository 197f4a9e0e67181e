"""Collapse metrics: how much the outputs of a training differ, and rules on that.

A loss that falls does not tell: where two views are to agree, giving every picture the
same output is a perfect answer. What collapses is how much the outputs differ.

Source: the effective rank is that of Roy & Vetterli 2007, as used by Garrido et al.
2022, arXiv 2210.02885; the spread is ``pretext.methods.siamese.spread``.

Shapes: n pictures, d outputs.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

COLLAPSED = 0.25  # share of what the untrained network had
FEWEST = 20  # pictures that a verdict needs
PATIENCE = 5  # measurements without a gain
GAIN = 0.003  # of R2 or accuracy, that counts as a gain


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
    p = singular / singular.sum()
    return float(np.exp(-(p * np.log(p)).sum())) if len(p) else 0.0


def has_collapsed(
    current: Mapping[str, float], start: Mapping[str, float], n_pictures: int
) -> bool:
    """Tell whether outputs differ far less than those of the first weights did.

    The measure is what the network itself began with, because a healthy spread or rank
    depends on the network, its heads and the pictures.

    Args:
        current: ``health/spread`` and ``health/rank`` after an epoch.
        start: The same of the first weights.
        n_pictures: How many were measured; of a few no verdict is given.
    """
    if n_pictures < FEWEST:
        return False
    names = ("health/spread", "health/rank")
    return any(not current[name] >= COLLAPSED * start[name] for name in names)


def best_before_plateau(scores: Mapping[int, float], patience: int) -> int | None:
    """Give the epoch of the best score if the last ones brought no gain on it.

    Args:
        scores: By epoch, in order; higher is better.
        patience: How many last ones must all be no better by ``GAIN`` than the best of
            those before them.
    """
    epochs = list(scores)
    before, last = epochs[:-patience], epochs[-patience:]
    if not before:
        return None
    best = max(before, key=scores.__getitem__)
    if max(scores[epoch] for epoch in last) >= scores[best] + GAIN:
        return None
    return best
