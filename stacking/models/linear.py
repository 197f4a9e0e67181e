"""Small models of few columns: ridge regression and a monotone curve.

They answer what one sub-task is worth alone, and the ridge over all columns is a second
stacker: on outputs that are smooth in the target a line may beat trees.

Shapes: N rows, C columns, D outputs, A penalties.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_prep.arrays import Floats, Ints
from data_prep.tables.units import ROUNDING, Unit
from stacking.cross_fitting import CrossFit, FoldFit, Model, TrainingRows, each_fold
from stacking.models.candidates import OutputModel, cross_fit_candidates
from stacking.models.model_files import ArrayModel, load_arrays
from stacking.models.stacker import StackerType

PENALTIES = np.logspace(-4, 2, 13)  # per row
AT_ONCE = 8192  # rows that are standardised at a time


@dataclass(frozen=True, kw_only=True)
class Ridge(OutputModel):
    """A linear model of standardised columns.

    Attributes:
        center: (C,) mean of each column.
        scale: (C,) its standard deviation; 1 where it does not vary.
        coef: (C, D).
        offset: (D,) mean of each output.
        penalty: What was chosen of ``PENALTIES``.
    """

    center: Floats
    scale: Floats
    coef: Floats
    offset: Floats
    penalty: float

    def outputs(self, X: Floats) -> Floats:
        """Give the (N, D) outputs of (N, C) rows."""
        outputs: Floats = (X - self.center) / self.scale @ self.coef + self.offset
        return outputs


@dataclass(frozen=True, kw_only=True)
class Curve(ArrayModel):
    """A rising or falling curve of one column.

    Attributes:
        x: (Q,) knots, rising.
        y: (Q,) their values.
    """

    x: Floats
    y: Floats

    def predict(self, X: Floats) -> Floats:
        """Give the (N,) values at (N,) or (N, 1) numbers; flat beyond the knots."""
        y_pred: Floats = np.interp(X.reshape(len(X)), self.x, self.y)
        return y_pred


@dataclass(frozen=True, kw_only=True)
class Constant(ArrayModel):
    """The same prediction for every row.

    Attributes:
        y: () number, or (K,) probabilities.
    """

    y: Floats

    def predict(self, X: Floats) -> Floats:
        """Give it (N, ...) times, once for each row."""
        return np.broadcast_to(self.y, (len(X), *np.shape(self.y))).copy()


def fit_ridges(
    X: Floats, y_ND: Floats, sample_weight: Floats | None = None
) -> list[Ridge]:
    """Fit outputs with each of the penalties, by one decomposition of the columns.

    With roots of the weights w in rows of X and y, X = U S V', and a penalty p per row,

        coef = V diag(s / (s^2 + p sum(w))) U' y

    It is taken of the triangle R of X and y, X = Q R, which has their S, V and U' y and
    is made of some rows at a time, so that no second table of all rows is needed.

    Args:
        X: (N, C) columns.
        y_ND: (N, D) outputs.
        sample_weight: (N,) how much each row is learned from; None: all alike.
    """
    n_columns = X.shape[1]
    center, scale = X.mean(axis=0), _spread(X)
    scale = np.where(scale > ROUNDING * np.abs(center), scale, 1.0)
    if sample_weight is None:
        sample_weight = np.ones(len(X))
    offset = np.average(y_ND, axis=0, weights=sample_weight)
    center = sample_weight @ X / sample_weight.sum()
    roots_N1 = np.sqrt(sample_weight)[:, None]
    triangle = np.empty((0, n_columns + y_ND.shape[1]))
    for start in range(0, len(X), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        block = np.hstack([(X[rows] - center) / scale, y_ND[rows] - offset])
        stacked = np.vstack([triangle, block * roots_N1[rows]])
        triangle = np.asarray(np.linalg.qr(stacked, mode="r"))
    U_RS, s_S, Vt_SC = np.linalg.svd(triangle[:, :n_columns], full_matrices=False)
    projected_SD = U_RS.T @ triangle[:, n_columns:]
    ridges = []
    for penalty in PENALTIES:
        shrunk_S = s_S / (s_S**2 + penalty * sample_weight.sum())
        ridges.append(
            Ridge(
                center=center,
                scale=scale,
                coef=Vt_SC.T @ (shrunk_S[:, None] * projected_SD),
                offset=offset,
                penalty=float(penalty),
            )
        )
    return ridges


def _spread(X: Floats) -> Floats:
    """Give the (C,) standard deviations of (N, C) columns, some rows at a time."""
    center, squares = X.mean(axis=0), np.zeros(X.shape[1])
    for start in range(0, len(X), AT_ONCE):
        squares += ((X[start : start + AT_ONCE] - center) ** 2).sum(axis=0)
    return np.sqrt(squares / len(X))


def cross_fit_ridge(rows: TrainingRows, *, seed: int = 0) -> CrossFit:
    """Cross-fit a ridge whose penalty is chosen among the other folds.

    Args:
        rows: With (N, C) columns; (N, K) one column per class gives probabilities.
        seed: Seed of the inner folds.
    """
    y_ND = rows.y.reshape(len(rows.y), -1)

    def fit_candidates(idx: Ints, only: int | None) -> list[Ridge]:
        ridges = fit_ridges(rows.X[idx], y_ND[idx], rows.sample_weight[idx])
        if only is not None:
            ridges = ridges[only : only + 1]
        return [replace(ridge, is_proba=rows.y.ndim == 2) for ridge in ridges]

    return cross_fit_candidates(
        rows,
        fit_candidates,
        n_candidates=len(PENALTIES),
        describe=lambda ridge, _: {"penalty": ridge.penalty},
        seed=seed,
    )


def fit_curve(
    x: Floats,
    y: Floats,
    sample_weight: Floats | None = None,
    *,
    falls: bool | None = None,
) -> Curve:
    """Fit numbers by a monotone curve of one column.

    Args:
        x: (N,) the column.
        y: (N,) numbers.
        sample_weight: (N,) how much each row is learned from; None: all alike.
        falls: Whether the curve falls; None: as the numbers do.
    """
    from sklearn.isotonic import IsotonicRegression

    weights = np.ones(len(x)) if sample_weight is None else sample_weight
    is_weighted = weights > 0  # an end of the curve would be theirs, at any weight
    if is_weighted.any():
        x, y, weights = x[is_weighted], y[is_weighted], weights[is_weighted]
    else:
        weights = np.ones(len(x))
    # scikit-learn takes numbers for equal that lie 1e-15 apart
    x_unit, y_unit = Unit.of(x), Unit.of(y)
    x, y = x_unit.standardise(x), y_unit.standardise(y)
    if falls is None:
        falls = bool(np.cov(x, y, aweights=weights)[0, 1] < 0)
    model = IsotonicRegression(increasing=not falls, out_of_bounds="clip")
    model.fit(x, y, sample_weight=weights)
    return Curve(
        x=x_unit.restore(model.X_thresholds_.astype(np.float64)),
        y=y_unit.restore(model.y_thresholds_.astype(np.float64)),
    )


def cross_fit_curve(rows: TrainingRows, *, seed: int = 0) -> CrossFit:
    """Cross-fit a rising or falling curve.

    Args:
        rows: With (N,) one column, such as the date that a net read from the picture,
            and (N,) numbers.
        seed: Seed of the inner folds.
    """

    def fit_on(idx: Ints) -> Curve:
        return fit_curve(rows.X[idx], rows.y[idx], rows.sample_weight[idx])

    def fit(_: int, train_idx: Ints, val_idx: Ints) -> FoldFit:
        inner_oof = np.empty(len(train_idx))
        for _, inner_idx, idx in each_fold(rows.inner_folds(train_idx, seed)):
            curve = fit_on(train_idx[inner_idx])
            inner_oof[idx] = curve.predict(rows.X[train_idx[idx]])
        model = fit_on(train_idx)
        val_pred = model.predict(rows.X[val_idx])
        return FoldFit(inner_oof=inner_oof, val_pred=val_pred, model=model)

    return CrossFit.over(fit, rows)


def load_linear(folder: Path, files: Sequence[str]) -> Model:
    """Read a model of this module from the one file that it wrote."""
    return load_arrays(folder, files, Ridge, Curve, Constant)


STACKER = StackerType(
    name="ridge",
    title="ridge on all columns",
    inputs="narrow",
    fit=lambda rows, context: cross_fit_ridge(rows, seed=context.seed),
    load=load_linear,
)
