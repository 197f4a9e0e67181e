"""Pool the views of a picture into a few statistics of each output.

Shapes: N rows, V views, F outputs, S statistics.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.settings import nearest

# The variance is that of the views themselves, which are all there are: divided by V.
STATISTICS: dict[str, Callable[..., NDArray[np.floating[Any]]]] = {
    "mean": np.mean,
    "var": np.var,
    "max": np.max,
    "min": np.min,
    "median": np.median,
    "std": np.std,
    "identity": lambda values, axis: np.take(values, 0, axis),  # as the picture is
}
SPREADS = ("var", "std")
USUAL = ("mean", "var", "max", "min")


def pool(
    values: NDArray[np.floating[Any]], statistics: Sequence[str] = USUAL
) -> NDArray[np.floating[Any]]:
    """Pool the views of each row.

    Args:
        values: (N, V, F) at least one view; the first is the picture as it is.
        statistics: Names in ``STATISTICS``.

    Returns:
        (N, F * S) the statistics of an output side by side; float32, or float64 where
        the values are.

    Raises:
        UserError: A statistic is unknown or asked for twice, or there are no views.

    Example:
        >>> pool(np.array([[[1.0, 10.0], [3.0, 10.0]]]), ["mean", "var"])
        array([[ 2.,  1., 10.,  0.]])
    """
    check_statistics(statistics)
    if values.ndim != 3 or values.shape[1] == 0:
        raise UserError(
            f"values of shape {values.shape} have no views to pool; give"
            " (rows, views, outputs)"
        )
    # float16 would overflow: a deviation of 256 has a variance beyond its range.
    wide = values.astype(np.promote_types(values.dtype, np.float32), copy=False)
    pooled = np.stack([STATISTICS[name](wide, axis=1) for name in statistics], axis=-1)
    return pooled.reshape(len(values), values.shape[2] * len(statistics))


def telling(statistics: Sequence[str], n_views: int) -> tuple[str, ...]:
    """Leave out what a single view cannot tell: spreads are 0, the others the mean.

    Args:
        statistics: Names in ``STATISTICS``.
        n_views: How many views there are.

    Returns:
        Those that differ; none, if only spreads of one view were named.

    Example:
        >>> telling(["max", "mean", "var"], 1), telling(["max", "var"], 8)
        (('mean',), ('max', 'var'))
    """
    if n_views > 1:
        return tuple(statistics)
    copies = [name for name in statistics if name not in SPREADS]
    return ("mean",) if "mean" in copies else tuple(copies[:1])


def check_statistics(statistics: Sequence[str]) -> None:
    """Check that the names are known and different.

    Raises:
        UserError: One is not, or there is none.
    """
    if not statistics:
        raise UserError(f"no statistic is named; there are: {', '.join(STATISTICS)}")
    for number, name in enumerate(statistics):
        if name not in STATISTICS:
            raise UserError(f"statistic {name!r}: {nearest(name, STATISTICS)}")
        if name in statistics[:number]:
            raise UserError(f"statistic {name!r} is named twice; name it once")
