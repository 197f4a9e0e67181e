"""Small models of few columns: ridge regression and a monotone curve.

They answer what one sub-task is worth alone, and the ridge over all columns is a second
stacker: on outputs that are smooth in the target a line may beat trees.

Shapes: N rows, C columns, D outputs, A penalties.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stacking.inner import CrossFit, deal_inner, outer_folds

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
    """

    center: Floats
    scale: Floats
    weights: Floats
    offset: Floats
    penalty: float

    def predict(self, X: Floats) -> Floats:
        """Give the (N, D) outputs of (N, C) rows."""
        outputs: Floats = (X - self.center) / self.scale @ self.weights + self.offset
        return outputs


def fit_ridges(X: Floats, Y: Floats) -> list[Ridge]:
    """Fit (N, D) outputs on (N, C) columns with each of the penalties."""
    center, scale = X.mean(axis=0), X.std(axis=0)
    scale = np.where(scale > 1e-12 * np.abs(center) + 1e-300, scale, 1.0)
    offset = Y.mean(axis=0)
    left, singular, right = np.linalg.svd((X - center) / scale, full_matrices=False)
    projected = left.T @ (Y - offset)
    ridges = []
    for penalty in PENALTIES:
        shrunk = singular / (singular**2 + penalty * len(X))
        weights = right.T @ (shrunk[:, None] * projected)
        ridges.append(Ridge(center, scale, weights, offset, float(penalty)))
    return ridges


def cross_fit_ridge(
    X: Floats, target: Floats, folds: Ints, clusters: Ints, seed: int = 0
) -> CrossFit:
    """Cross-fit a ridge whose penalty is chosen among the other folds.

    Args:
        X: (N, C) columns.
        target: (N,) numbers, or (N, D) one column per class, which gives shares.
        folds: (N,) fold of each row.
        clusters: (N,) what no inner split tears.
        seed: Seed of the inner splits.
    """
    is_shares = target.ndim == 2
    outputs = target if is_shares else target[:, None]
    found = CrossFit.empty(outputs, folds)
    for fold, rest, held_out in outer_folds(folds):
        parts = deal_inner(target[rest], clusters[rest], seed)
        tried = np.empty((len(PENALTIES), len(rest), outputs.shape[1]))
        for part in range(parts.max() + 1):
            inside, outside = rest[parts != part], parts == part
            for which, ridge in enumerate(fit_ridges(X[inside], outputs[inside])):
                tried[which, outside] = ridge.predict(X[rest[outside]])
        errors = ((tried - outputs[rest]) ** 2).mean(axis=(1, 2))
        best = int(errors.argmin())
        model = fit_ridges(X[rest], outputs[rest])[best]
        found.inner[fold, rest] = tried[best]
        found.outer[held_out] = model.predict(X[held_out])
        found.models.append(model)
        found.notes.append({"penalty": model.penalty})
    if is_shares:
        return CrossFit(
            as_shares(found.outer), as_shares(found.inner), found.models, found.notes
        )
    return CrossFit(found.outer[..., 0], found.inner[..., 0], found.models, found.notes)


def as_shares(outputs: Floats, least: float = 0.005) -> Floats:
    """Turn outputs that should be probabilities into some: positive, adding up to 1."""
    positive = np.maximum(outputs, least)
    shares: Floats = positive / positive.sum(axis=-1, keepdims=True)
    return shares


def cross_fit_monotone(x: Floats, target: Floats, folds: Ints) -> Floats:
    """Predict each fold by a rising or falling curve of the others.

    Nothing is tuned on what it says, so there are no inner predictions.

    Args:
        x: (N,) such as the date that a net read from the picture.
        target: (N,) numbers.
        folds: (N,) fold of each row.
    """
    from sklearn.isotonic import IsotonicRegression

    def fitted(rows: Ints) -> IsotonicRegression:
        falls = np.cov(x[rows], target[rows])[0, 1] < 0
        model = IsotonicRegression(increasing=not falls, out_of_bounds="clip")
        return model.fit(x[rows], target[rows])

    predicted = np.empty_like(target)
    for _, rest, held_out in outer_folds(folds):
        predicted[held_out] = fitted(rest).predict(x[held_out])
    return predicted
