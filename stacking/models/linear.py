"""Small models of few columns: ridge regression and a monotone curve.

They answer what one sub-task is worth alone, and the ridge over all columns is a second
stacker: on outputs that are smooth in the target a line may beat trees.

Shapes: N rows, C columns, D outputs, A penalties.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.tables.units import ROUNDING, Unit
from stacking.cross_fitting import CrossFit, FoldFit, deal_inner

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
        found: Floats = np.interp(X.reshape(len(X)), self.x, self.y)
        return found


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


def cross_fit_ridge(
    X: Floats,
    target: Floats,
    folds: Ints,
    cv_groups: Ints,
    seed: int = 0,
    weights: Floats | None = None,
) -> CrossFit:
    """Cross-fit a ridge whose penalty is chosen among the other folds.

    Args:
        X: (N, C) columns.
        target: (N,) numbers, or (N, D) one column per class, which gives shares.
        folds: (N,) fold of each row.
        cv_groups: (N,) what no inner split tears.
        seed: Seed of the inner splits.
        weights: (N,) how much each row is learned from; None: all alike.
    """
    is_shares = target.ndim == 2
    outputs = target if is_shares else target[:, None]
    counts = np.ones(len(X)) if weights is None else weights

    def fit(_: int, rest: Ints, held_out: Ints) -> FoldFit:
        parts = deal_inner(target[rest], cv_groups[rest], seed)
        tried = np.empty((len(PENALTIES), len(rest), outputs.shape[1]))
        for part in range(parts.max() + 1):
            inside, outside = rest[parts != part], parts == part
            ridges = fit_ridges(X[inside], outputs[inside], counts[inside])
            for which, ridge in enumerate(ridges):
                tried[which, outside] = ridge.outputs(X[rest[outside]])
        squares = ((tried - outputs[rest]) ** 2).mean(axis=2)
        best = int((squares @ counts[rest]).argmin())
        found = fit_ridges(X[rest], outputs[rest], counts[rest])[best]
        model = Ridge(**{**vars(found), "is_shares": is_shares})
        inner = as_shares(tried[best]) if is_shares else tried[best][:, 0]
        note = {"penalty": model.penalty}
        return FoldFit(inner, model.predict(X[held_out]), model, note)

    return CrossFit.over(fit, target, folds)


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


def cross_fit_curve(
    x: Floats,
    target: Floats,
    folds: Ints,
    cv_groups: Ints,
    seed: int = 0,
    weights: Floats | None = None,
) -> CrossFit:
    """Cross-fit a rising or falling curve.

    Args:
        x: (N,) such as the date that a net read from the picture.
        target: (N,) numbers.
        folds: (N,) fold of each row.
        cv_groups: (N,) what no inner split tears.
        seed: Seed of the inner splits.
        weights: (N,) how much each row is learned from; None: all alike.
    """
    counts = np.ones(len(x)) if weights is None else weights

    def fit(_: int, rest: Ints, held_out: Ints) -> FoldFit:
        parts = deal_inner(target[rest], cv_groups[rest], seed)
        inner = np.empty(len(rest))
        for part in range(parts.max() + 1):
            inside, outside = rest[parts != part], parts == part
            curve = fit_curve(x[inside], target[inside], counts[inside])
            inner[outside] = curve.predict(x[rest[outside]])
        model = fit_curve(x[rest], target[rest], counts[rest])
        return FoldFit(inner, model.predict(x[held_out]), model)

    return CrossFit.over(fit, target, folds)
