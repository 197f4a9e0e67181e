"""Support vector regression with a radial kernel, cross-fitted over the stored folds.

A smooth curve through standardised columns: it bends where a ridge cannot, without the
steps of trees. Scikit-learn fits; a fitted model is arrays, and answers in numpy.

Classes get a column of 0 and 1 each, of which the absolute error of support vectors
would find the median: 0 for every class that is not in the majority. So they are fitted
by the squared error, as a least-squares support vector machine (Suykens and Vandewalle,
1999), whose answers become shares.

Shapes: N rows, C columns, U support vectors, D outputs (numbers: one; classes: one
each).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.tables.units import ROUNDING
from stacking.cross_fitting import CrossFit, FoldFit, TrainingRows
from stacking.models.linear import as_shares
from stacking.models.model_files import load_arrays, save_arrays
from stacking.models.stacker import Stacker

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# The target is brought to mean 0 and deviation 1, so these hold for any.
COSTS = (0.03, 0.3, 3.0)
GAMMAS = (0.1, 0.4)  # per column
EPSILON = 0.2  # from 0.05 to 0.4 it hardly matters
MAX_ROWS = 5000  # the time grows faster than with the square of the rows
AT_ONCE = 1000  # rows answered at a time


@dataclass(frozen=True)
class Svr:
    """A fitted model.

    Attributes:
        is_shares: The answers are shares of classes.
        center: (C,) mean of each column.
        scale: (C,) its standard deviation; 1 where it does not vary.
        gamma: Inverse squared width of the kernel.
        vectors: (U, C) standardised rows that the curve hangs on.
        weights: (U, D) their weights.
        offset: (D,) answer far from all of them.
    """

    is_shares: bool
    center: Floats
    scale: Floats
    gamma: float
    vectors: Floats
    weights: Floats
    offset: Floats

    def predict(self, X: Floats) -> Floats:
        """Give the (N,) numbers or (N, D) shares of (N, C) rows."""
        outputs = np.empty((len(X), len(self.offset)))
        for start in range(0, len(X), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            rows = (X[some] - self.center) / self.scale
            kernel = radial(rows, self.vectors, self.gamma)
            outputs[some] = kernel @ self.weights + self.offset
        return as_shares(outputs) if self.is_shares else outputs[:, 0]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give everything as arrays of numbers, which ``np.savez`` stores."""
        values = vars(self) | {"is_shares": int(self.is_shares)}
        return {name: np.asarray(value) for name, value in values.items()}

    def save(self, folder: Path, stem: str) -> list[str]:
        """Write itself as arrays; return the name of the file."""
        return [save_arrays(folder, stem, "Svr", self.arrays())]

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Svr":
        """Make it again from what ``arrays`` gave."""
        values: dict[str, Any] = {one.name: arrays[one.name] for one in fields(cls)}
        values["is_shares"] = bool(values["is_shares"])
        values["gamma"] = float(values["gamma"])
        return cls(**values)


def radial(left: Floats, right: Floats, gamma: float) -> Floats:
    """Give the (N, U) kernel of (N, C) and (U, C) rows."""
    kernel = left @ right.T
    kernel *= -2
    kernel += (left**2).sum(axis=1)[:, None]
    kernel += (right**2).sum(axis=1)
    np.maximum(kernel, 0, out=kernel)  # rounding, of equal rows
    kernel *= -gamma
    found: Floats = np.exp(kernel, out=kernel)
    return found


def fit_svrs(
    X: Floats,
    target: Floats,
    weights: Floats,
    gammas: tuple[float, ...] = GAMMAS,
    costs: tuple[float, ...] = COSTS,
) -> list[Svr]:
    """Fit a model for each gamma and, within it, each cost.

    Args:
        X: (N, C) columns.
        target: (N,) numbers, or (N, D) one column per class.
        weights: (N,) above 0.
        gammas: Inverse squared width of the kernel, per column.
        costs: How much the error of a row costs beside a bend of the curve.
    """
    is_shares = target.ndim == 2
    Y = target if is_shares else target[:, None]
    center, scale = X.mean(axis=0), _deviation(X)
    # A value itself is taken off first: that rounds nothing, however far Y lies off.
    middle = np.sort(Y, axis=0)[(len(Y) - 1) // 2]
    mean, spread = (Y - middle).mean(axis=0), _deviation(Y)
    rows, goals = (X - center) / scale, (Y - middle - mean) / spread
    offset = middle + mean
    models = []
    for gamma in np.array(gammas) / X.shape[1]:
        kernel = radial(rows, rows, gamma)
        for cost in costs:
            solve = _least_squares if is_shares else _absolute
            duals, start = solve(kernel, goals, cost * weights / weights.mean())
            used = duals.any(axis=1)
            models.append(
                Svr(
                    is_shares,
                    *(center, scale, float(gamma), rows[used]),
                    *(duals[used] * spread, start * spread + offset),
                )
            )
    return models


def _absolute(kernel: Floats, goals: Floats, costs: Floats) -> tuple[Floats, Floats]:
    """Fit (N, 1) goals by the absolute error beyond a tube."""
    from sklearn.svm import SVR

    svr = SVR(kernel="precomputed", C=1.0, epsilon=EPSILON, cache_size=500)
    # It stops at a tolerance that the last bits decide on; those depend on the unit.
    svr.fit(kernel, goals[:, 0].astype(np.float32), sample_weight=costs)
    duals = np.zeros(goals.shape)
    duals[svr.support_, 0] = svr.dual_coef_[0]
    return duals, svr.intercept_


def _least_squares(
    kernel: Floats, goals: Floats, costs: Floats
) -> tuple[Floats, Floats]:
    """Fit (N, D) goals of mean 0 by the squared error."""
    from scipy.linalg import solve

    system = kernel.copy()
    system.flat[:: len(system) + 1] += 1 / costs
    duals: Floats = solve(system, goals, assume_a="pos", overwrite_a=True)
    return duals, np.zeros(goals.shape[1])


def cross_fit_svr(rows: TrainingRows, *, seed: int = 0) -> CrossFit:
    """Cross-fit a regression whose cost and width are chosen among the other folds.

    Args:
        rows: With (N, C) columns, all finite; (N, K) one column per class gives
            probabilities. Rows of weight 0 are not trained on.
        seed: Seed of the inner folds, and of the drawing where there are many rows.
    """
    X, y, sample_weight = rows.X, rows.y, rows.sample_weight
    grid = list(product(GAMMAS, COSTS))

    def fit(_: int, train_idx: Ints, val_idx: Ints) -> FoldFit:
        inner_folds = rows.inner_folds(train_idx, seed)
        inner_oof = np.empty((len(grid), *y[train_idx].shape))
        for inner_fold in range(inner_folds.max() + 1):
            val_mask = inner_folds == inner_fold
            idx = draw(train_idx[~val_mask], rows.groups, sample_weight, seed)
            for which, model in enumerate(fit_svrs(X[idx], y[idx], sample_weight[idx])):
                inner_oof[which, val_mask] = model.predict(X[train_idx[val_mask]])
        squares = ((inner_oof - y[train_idx]) ** 2).reshape(
            len(grid), len(train_idx), -1
        )
        best = int((squares.sum(axis=2) @ sample_weight[train_idx]).argmin())
        gamma, cost = grid[best]
        idx = draw(train_idx, rows.groups, sample_weight, seed)
        (model,) = fit_svrs(X[idx], y[idx], sample_weight[idx], (gamma,), (cost,))
        metadata: dict[str, Any] = {"gamma_per_column": gamma, "cost": cost}
        metadata["vectors"] = len(model.vectors)
        n_weighted = int((sample_weight[train_idx] > 0).sum())
        if len(idx) < n_weighted:
            metadata["drawn"] = f"trained on {len(idx):,} of {n_weighted:,} rows"
        return FoldFit(
            inner_oof=inner_oof[best],
            val_pred=model.predict(X[val_idx]),
            model=model,
            metadata=metadata,
        )

    return CrossFit.over(fit, rows)


def draw(rows: Ints, cv_groups: Ints, weights: Floats, seed: int) -> Ints:
    """Draw whole cv groups of at most ``MAX_ROWS`` rows that have a weight.

    Args:
        rows: Positions among the N.
        cv_groups: (N,) what stays together.
        weights: (N,).
        seed: Seed of the draw.

    Returns:
        Their positions, in order; all where there are no more.
    """
    known = rows[weights[rows] > 0]
    if len(known) <= MAX_ROWS:
        return known
    _, member, sizes = np.unique(
        cv_groups[known], return_inverse=True, return_counts=True
    )
    order = np.random.default_rng(seed).permutation(len(sizes))
    is_drawn = np.zeros(len(sizes), dtype=bool)
    is_drawn[order[np.cumsum(sizes[order]) <= MAX_ROWS]] = True
    return known[is_drawn[member]]


def _deviation(values: Floats) -> Floats:
    """Give the standard deviation of each column; 1 where it does not vary."""
    center, scale = values.mean(axis=0), values.std(axis=0)
    return np.where(scale > ROUNDING * np.abs(center), scale, 1.0)


def load_svr(folder: Path, files: Sequence[str]) -> Svr:
    """Read a model from the one file that it wrote."""
    return Svr.of_arrays(load_arrays(folder, files[0])[1])


STACKER = Stacker(
    name="svr",
    title="support vectors",
    inputs="narrow",
    fit=lambda rows, context: cross_fit_svr(rows, seed=context.seed),
    load=load_svr,
    is_slow=True,
)
