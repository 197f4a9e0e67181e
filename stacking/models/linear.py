"""Small models of few columns: ridge regression and a monotone curve.

They answer what one sub-task is worth alone, and the ridge over all columns is a second
stacker: on outputs that are smooth in the target a line may beat trees.

Shapes: N rows, C columns, D outputs, A penalties.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_prep.tables.units import ROUNDING, Unit
from stacking.cross_fitting import CrossFit, FoldFit, TrainingRows
from stacking.models.model_files import load_arrays, save_arrays
from stacking.models.stacker import Stacker

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PENALTIES = np.logspace(-4, 2, 13)  # per row


@dataclass(frozen=True)
class Ridge:
    """A linear model of standardised columns.

    Attributes:
        center: (C,) mean of each column.
        scale: (C,) its standard deviation; 1 where it does not vary.
        weights: (C, D).
        offset: (D,) mean of each output.
        penalty: What was chosen of ``PENALTIES``.
        is_shares: Its outputs are shares of classes.
    """

    center: Floats
    scale: Floats
    weights: Floats
    offset: Floats
    penalty: float
    is_shares: bool = False

    def outputs(self, X: Floats) -> Floats:
        """Give the (N, D) outputs of (N, C) rows."""
        outputs: Floats = (X - self.center) / self.scale @ self.weights + self.offset
        return outputs

    def predict(self, X: Floats) -> Floats:
        """Give (N,) numbers, or (N, D) shares of classes, of (N, C) rows."""
        outputs = self.outputs(X)
        return as_shares(outputs) if self.is_shares else outputs[:, 0]

    def save(self, folder: Path, stem: str) -> list[str]:
        """Write itself as arrays; return the name of the file."""
        return [save_arrays(folder, stem, "Ridge", vars(self))]


@dataclass(frozen=True)
class Curve:
    """A rising or falling curve of one column.

    Attributes:
        x: (Q,) knots, rising.
        y: (Q,) their values.
    """

    x: Floats
    y: Floats

    def predict(self, X: Floats) -> Floats:
        """Give the (N,) values at (N,) or (N, 1) places; flat beyond the knots."""
        pred: Floats = np.interp(X.reshape(len(X)), self.x, self.y)
        return pred

    def save(self, folder: Path, stem: str) -> list[str]:
        """Write itself as arrays; return the name of the file."""
        return [save_arrays(folder, stem, "Curve", vars(self))]


def fit_ridges(X: Floats, Y: Floats, weights: Floats | None = None) -> list[Ridge]:
    """Fit (N, D) outputs on (N, C) columns with each of the penalties.

    Args:
        X: (N, C) columns.
        Y: (N, D) outputs.
        weights: (N,) how much each row counts; None: all alike.
    """
    center, scale = X.mean(axis=0), X.std(axis=0)
    scale = np.where(scale > ROUNDING * np.abs(center), scale, 1.0)
    if weights is None:
        weights = np.ones(len(X))
    offset = np.average(Y, axis=0, weights=weights)
    center = np.average(X, axis=0, weights=weights)
    roots = np.sqrt(weights)[:, None]
    standard = (X - center) / scale * roots
    left, singular, right = np.linalg.svd(standard, full_matrices=False)
    projected = left.T @ ((Y - offset) * roots)
    ridges = []
    for penalty in PENALTIES:
        shrunk = singular / (singular**2 + penalty * weights.sum())
        slopes = right.T @ (shrunk[:, None] * projected)
        ridges.append(Ridge(center, scale, slopes, offset, float(penalty)))
    return ridges


def cross_fit_ridge(rows: TrainingRows, *, seed: int = 0) -> CrossFit:
    """Cross-fit a ridge whose penalty is chosen among the other folds.

    Args:
        rows: With (N, C) columns; (N, K) one column per class gives probabilities.
        seed: Seed of the inner folds.
    """
    is_shares = rows.y.ndim == 2
    X, Y = rows.X, rows.y if is_shares else rows.y[:, None]

    def fit(_: int, train_idx: Ints, val_idx: Ints) -> FoldFit:
        inner_folds = rows.inner_folds(train_idx, seed)
        sample_weight = rows.sample_weight
        oof_AND = np.empty((len(PENALTIES), len(train_idx), Y.shape[1]))
        for inner_fold in range(inner_folds.max() + 1):
            val_mask = inner_folds == inner_fold
            seen, unseen = train_idx[~val_mask], train_idx[val_mask]
            for which, ridge in enumerate(
                fit_ridges(X[seen], Y[seen], sample_weight[seen])
            ):
                oof_AND[which, val_mask] = ridge.outputs(X[unseen])
        squares_AN = ((oof_AND - Y[train_idx]) ** 2).mean(axis=2)
        best = int((squares_AN @ sample_weight[train_idx]).argmin())
        ridges = fit_ridges(X[train_idx], Y[train_idx], sample_weight[train_idx])
        model = replace(ridges[best], is_shares=is_shares)
        return FoldFit(
            inner_oof=as_shares(oof_AND[best]) if is_shares else oof_AND[best][:, 0],
            val_pred=model.predict(X[val_idx]),
            model=model,
            metadata={"penalty": model.penalty},
        )

    return CrossFit.over(fit, rows)


def as_shares(outputs: Floats, least: float = 0.005) -> Floats:
    """Turn outputs that should be probabilities into some: positive, adding up to 1."""
    positive = np.maximum(outputs, least)
    shares: Floats = positive / positive.sum(axis=-1, keepdims=True)
    return shares


def fit_curve(
    x: Floats,
    target: Floats,
    weights: Floats | None = None,
    *,
    falls: bool | None = None,
) -> Curve:
    """Fit the (N,) targets by a curve of (N,) places.

    Args:
        x: (N,) places.
        target: (N,) numbers.
        weights: (N,) how much each row counts; None: all alike.
        falls: Whether the curve falls; None: as the targets do.
    """
    from sklearn.isotonic import IsotonicRegression

    counts = np.ones(len(x)) if weights is None else weights
    # scikit-learn takes places for equal that lie 1e-15 apart
    across, up = Unit.of(x), Unit.of(target)
    x, target = across.standardise(x), up.standardise(target)
    if falls is None:
        together = np.cov(x, target, aweights=np.maximum(counts, 1e-12))
        falls = bool(together[0, 1] < 0)
    model = IsotonicRegression(increasing=not falls, out_of_bounds="clip")
    model.fit(x, target, sample_weight=np.maximum(counts, 1e-12))
    return Curve(
        across.restore(model.X_thresholds_.astype(np.float64)),
        up.restore(model.y_thresholds_.astype(np.float64)),
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
        inner_folds = rows.inner_folds(train_idx, seed)
        inner_oof = np.empty(len(train_idx))
        for inner_fold in range(inner_folds.max() + 1):
            val_mask = inner_folds == inner_fold
            curve = fit_on(train_idx[~val_mask])
            inner_oof[val_mask] = curve.predict(rows.X[train_idx[val_mask]])
        model = fit_on(train_idx)
        val_pred = model.predict(rows.X[val_idx])
        return FoldFit(inner_oof=inner_oof, val_pred=val_pred, model=model)

    return CrossFit.over(fit, rows)


def load_linear(folder: Path, files: Sequence[str]) -> Ridge | Curve:
    """Read a model of this module from the one file that it wrote.

    Raises:
        DamagedFileError: The file is missing, cut or changed.
    """
    kind, arrays = load_arrays(folder, files[0])
    if kind == "Curve":
        return Curve(**arrays)
    penalty, is_shares = float(arrays.pop("penalty")), bool(arrays.pop("is_shares"))
    return Ridge(**arrays, penalty=penalty, is_shares=is_shares)


STACKER = Stacker(
    name="ridge",
    title="ridge on all columns",
    inputs="narrow",
    fit=lambda rows, context: cross_fit_ridge(rows, seed=context.seed),
    load=load_linear,
)
