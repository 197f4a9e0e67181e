"""Support vector regression with a radial kernel, cross-fitted over the stored folds.

A smooth curve through standardised columns: it bends where a ridge cannot, without the
steps of trees. Scikit-learn fits; a fitted model is arrays, and predicts as

    f(x) = offset + sum_u coef_u exp(-gamma |x - vector_u|^2)

Classes get a column of 0 and 1 each, of which the absolute error of support vectors
would find the median: 0 for every class that is not in the majority. So they are fitted
by the squared error, as a kernel ridge: a least-squares support vector machine (Suykens
and Vandewalle, 1999), whose outputs become probabilities.

Shapes: N rows, C columns, U support vectors, D outputs (numbers: one; classes: one
each).
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from data_prep.arrays import Floats, Ints
from data_prep.tables.units import ROUNDING
from stacking.cross_fitting import CrossFit, TrainingRows
from stacking.models.candidates import OutputModel, cross_fit_candidates
from stacking.models.model_files import load_arrays
from stacking.models.stacker import StackerType

# The target is brought to mean 0 and deviation 1, so these hold for any.
COSTS = (0.03, 0.3, 3.0)
GAMMAS = (0.1, 0.4)  # per column
GRID = tuple(product(GAMMAS, COSTS))
EPSILON = 0.2  # from 0.05 to 0.4 it hardly matters
DECIMALS = 5  # of a standardised target: far below the tolerance of the solver
MAX_ROWS = 5000  # the time grows faster than with the square of the rows
AT_ONCE = 1000  # rows predicted at a time


@dataclass(frozen=True, kw_only=True)
class Svr(OutputModel):
    """A fitted model.

    Attributes:
        center: (C,) mean of each column.
        scale: (C,) its standard deviation; 1 where it does not vary.
        gamma_per_column: Inverse squared width of the kernel, times C.
        cost: How much the error of a row cost beside a bend of the curve.
        vectors: (U, C) standardised rows that the curve hangs on.
        coef: (U, D) how much each bends it, in the unit of the target.
        offset: (D,) output far from all of them.
    """

    center: Floats
    scale: Floats
    gamma_per_column: float
    cost: float
    vectors: Floats
    coef: Floats
    offset: Floats

    def outputs(self, X: Floats) -> Floats:
        """Give the (N, D) outputs of (N, C) rows."""
        from sklearn.metrics.pairwise import rbf_kernel

        gamma = self.gamma_per_column / X.shape[1]
        outputs = np.empty((len(X), len(self.offset)))
        for start in range(0, len(X), AT_ONCE):
            piece = slice(start, start + AT_ONCE)
            standard = (X[piece] - self.center) / self.scale
            kernel_NU = rbf_kernel(standard, self.vectors, gamma=gamma)
            outputs[piece] = kernel_NU @ self.coef + self.offset
        return outputs


def fit_svr(
    X: Floats, y: Floats, sample_weight: Floats, gamma_per_column: float, cost: float
) -> Svr:
    """Fit one model.

    Args:
        X: (N, C) columns.
        y: (N,) numbers, or (N, D) one column per class.
        sample_weight: (N,) above 0.
        gamma_per_column: Inverse squared width of the kernel, times C.
        cost: How much the error of a row costs beside a bend of the curve.
    """
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.svm import SVR

    y_ND = y.reshape(len(y), -1)
    center, scale = X.mean(axis=0), _deviation(X)
    # A value itself is taken off first: that rounds nothing, however far y lies off.
    median = np.sort(y_ND, axis=0)[(len(y) - 1) // 2]
    mean, spread = (y_ND - median).mean(axis=0), _deviation(y_ND)
    standard, target_ND = (X - center) / scale, (y_ND - median - mean) / spread
    weights, gamma = sample_weight / sample_weight.mean(), gamma_per_column / X.shape[1]
    if y.ndim == 1:
        svr = SVR(gamma=gamma, C=cost, epsilon=EPSILON, cache_size=500)
        # It stops at a tolerance that the last digits decide on, and the unit those.
        target = np.round(target_ND[:, 0], DECIMALS)
        svr.fit(standard, target, sample_weight=weights)
        vectors, coef = svr.support_vectors_, svr.dual_coef_.T
        intercept = svr.intercept_
    else:
        ridge = KernelRidge(alpha=1 / cost, kernel="rbf", gamma=gamma)
        ridge.fit(standard, target_ND, sample_weight=weights)
        vectors, coef, intercept = standard, ridge.dual_coef_, 0.0
    return Svr(
        is_proba=y.ndim == 2,
        center=center,
        scale=scale,
        gamma_per_column=gamma_per_column,
        cost=cost,
        vectors=vectors,
        coef=coef * spread,
        offset=intercept * spread + median + mean,
    )


def cross_fit_svr(rows: TrainingRows, *, seed: int = 0) -> CrossFit:
    """Cross-fit a regression whose cost and width are chosen among the other folds.

    Args:
        rows: With (N, C) columns, all finite; (N, K) one column per class gives
            probabilities. Rows of weight 0 are not trained on.
        seed: Seed of the inner folds, and of the drawing where there are many rows.
    """

    def fit_candidates(idx: Ints, only: int | None) -> list[Svr]:
        grid = GRID if only is None else GRID[only : only + 1]
        idx = draw_rows(idx, rows, seed)
        X, y, sample_weight = rows.X[idx], rows.y[idx], rows.sample_weight[idx]
        return [
            fit_svr(
                X=X, y=y, sample_weight=sample_weight, gamma_per_column=gamma, cost=cost
            )
            for gamma, cost in grid
        ]

    def describe(model: Svr, train_idx: Ints) -> dict[str, Any]:
        gamma, cost = model.gamma_per_column, model.cost
        metadata: dict[str, Any] = {"gamma_per_column": gamma, "cost": cost}
        metadata["vectors"] = len(model.vectors)
        n_drawn = len(draw_rows(train_idx, rows, seed))
        n_weighted = int((rows.sample_weight[train_idx] > 0).sum())
        if n_drawn < n_weighted:
            metadata["drawn"] = f"trained on {n_drawn:,} of {n_weighted:,} rows"
        return metadata

    return cross_fit_candidates(
        rows, fit_candidates, n_candidates=len(GRID), describe=describe, seed=seed
    )


def draw_rows(idx: Ints, rows: TrainingRows, seed: int) -> Ints:
    """Draw whole groups of at most ``MAX_ROWS`` rows that have a weight.

    Where no group is small enough, a part of one is drawn.

    Args:
        idx: Which rows to draw from.
        rows: All rows.
        seed: Seed of the drawing.

    Returns:
        (n,) indices of the drawn rows, in order; all where there are no more.
    """
    weighted = idx[rows.sample_weight[idx] > 0]
    if len(weighted) <= MAX_ROWS:
        return weighted
    _, group_codes, sizes = np.unique(
        rows.groups[weighted], return_inverse=True, return_counts=True
    )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(sizes))
    is_drawn, room = np.zeros(len(sizes), dtype=bool), MAX_ROWS
    for group in order:
        if sizes[group] <= room:
            is_drawn[group], room = True, room - sizes[group]
    if not is_drawn.any():
        of_first = weighted[group_codes == order[0]]
        return np.sort(rng.choice(of_first, MAX_ROWS, replace=False))
    return weighted[is_drawn[group_codes]]


def _deviation(values: Floats) -> Floats:
    """Give the standard deviation of each column; 1 where it does not vary."""
    center, scale = values.mean(axis=0), values.std(axis=0)
    return np.where(scale > ROUNDING * np.abs(center), scale, 1.0)


STACKER = StackerType(
    name="svr",
    title="support vectors",
    inputs="narrow",
    fit=lambda rows, context: cross_fit_svr(rows, seed=context.seed),
    load=lambda folder, files: load_arrays(folder, files, Svr),
    is_slow=True,
)
