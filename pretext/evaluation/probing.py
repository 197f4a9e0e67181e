"""Probes: how much of the labels plain models read from frozen features, by folds.

The neighbours need no training and no scale, the ridge and the logistic regression say
what a linear head could use. Each learns from the rows of the other folds alone and is
scored on the rows held out; its strength is chosen within the rows it learns from.
Nothing here draws from a random state that is shared. Torch-free.

scikit-learn's ``Ridge`` and ``KNeighborsRegressor`` give the same numbers (the tests
hold them to it) in four times and twice the time: the strengths share one system here,
and similarities are float32.

Source: probes of frozen features as in Chen & He 2021, arXiv 2011.10566, and Wu et al.
2018, arXiv 1805.01978.
Differs: neighbours count alike, and for numbers their mean is taken.

Shapes: N rows, D features, F outputs (of classes: one each), n rows to learn from, m
rows to predict, k neighbours, S strengths.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Bools, Floats, Ints
from data_prep.folds import fold_masks
from data_prep.scoring.metrics import METRICS, Metric
from data_prep.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

NEIGHBOURS = 20  # or a fifth of the rows, where that is fewer
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)  # of the ridge, per row
LOGISTIC_STRENGTHS = (1e-2, 1e-1, 1.0)  # per row and class
LOGISTIC_ROWS = 2000  # that a logistic regression learns from, at most
FEW = 1000  # rows
BLOCK = 1024  # rows whose neighbours are looked for at a time

Mask = Bools
Split = tuple[Mask, Mask]  # (N,) rows held out, and rows that may be learned from


def stored_splits(table: "pd.DataFrame", n_folds: int) -> list[Split]:
    """Give the splits of the prepared table, one for each fold."""
    return [fold_masks(table, str(fold)) for fold in range(n_folds)]


def labels_of(task: Task, rows: Ints) -> Task:
    """Give a task of some rows alone."""
    return replace(task, values=task.values[rows], has_label=task.has_label[rows])


def probes_of(task: Task) -> list[str]:
    """List the probes that fit a task."""
    return ["knn", "ridge", *(["logistic"] if is_of_classes(task) else [])]


def is_of_classes(task: Task) -> bool:
    """Tell whether probes of the task predict classes, and not numbers."""
    return task.task_type.probed_as == "classes"


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """The predictions of a probe for the rows that were held out, and their scores.

    A row counts by what it adds to the score: for classes ``y_true`` and ``y_pred`` are
    class numbers; else ``y_true`` is the row's position, by which the metric finds its
    label, and ``y_pred`` its squared error, summed over the F outputs.

    Attributes:
        measure: ``accuracy``, or ``R2`` over all F outputs together.
        rows: (m,) the rows, of the N.
        y_true: (m,) class numbers, or positions.
        y_pred: (m,) class numbers, or squared errors.
        metric: Scores the two; higher is better.
        reference: Score without features: of the most frequent class, or of the mean.
        error: Root mean squared error in the unit of the label; NaN for classes.
        balanced: Mean accuracy over the classes; NaN for numbers.
    """

    measure: str
    rows: Ints
    y_true: Floats
    y_pred: Floats
    metric: Metric
    reference: float
    error: float
    balanced: float

    @property
    def score(self) -> float:
        """The score over all rows held out; NaN without any or where all are equal."""
        if not len(self.rows):
            return float("nan")
        return self.metric(self.y_true, self.y_pred)

    def by_split(self, splits: Sequence[Split]) -> list[float]:
        """Score the rows of each split apart."""
        masks = [val_mask[self.rows] for val_mask, _ in splits]
        return [
            self.metric(self.y_true[mask], self.y_pred[mask])
            if mask.any()
            else float("nan")
            for mask in masks
        ]


def probe(
    name: str,
    features: NDArray[np.floating[Any]],
    task: Task,
    splits: Sequence[Split],
    cv_groups: Ints,
) -> ProbeResult:
    """Predict the rows that each split holds out, and score them.

    Args:
        name: ``knn``, ``ridge`` or ``logistic``.
        features: (N, D).
        task: Labels of the N rows.
        splits: Which rows are held out together, and what may be learned from then.
        cv_groups: (N,) what the choice of a probe's strength does not tear.
    """
    return judged(
        task,
        held_out_pred(
            name=name,
            features=features,
            task=task,
            splits=splits,
            cv_groups=cv_groups,
        ),
    )


def held_out_pred(
    name: str,
    features: NDArray[np.floating[Any]],
    task: Task,
    splits: Sequence[Split],
    cv_groups: Ints,
) -> Floats:
    """Predict the rows that each split holds out by a probe that never saw them.

    Args:
        name: ``knn``, ``ridge`` or ``logistic``.
        features: (N, D).
        task: Labels of the N rows.
        splits: Which rows are held out together, and what may be learned from then.
        cv_groups: (N,) what the choice of a probe's strength does not tear.

    Returns:
        (N, F), the mean over the splits that hold a row out; NaN where none does.
    """
    y = task.task_type.probe_target(task.values, len(task.outputs))
    total, times = np.zeros(y.shape), np.zeros((len(y), 1))
    for val_mask, train_mask in splits:
        train_idx = np.flatnonzero(task.has_label & train_mask)
        val_idx = np.flatnonzero(task.has_label & val_mask)
        if len(train_idx) < 2 or not len(val_idx):
            continue
        X, X_val = standardised(features[train_idx], features[val_idx])
        total[val_idx] += PROBES[name](X, y[train_idx], X_val, cv_groups[train_idx])
        times[val_idx] += 1
    y_pred: Floats = np.where(times > 0, total / np.maximum(times, 1), np.nan)
    return y_pred


def judged(task: Task, y_pred: Floats) -> ProbeResult:
    """Score (N, F) predictions of the rows that have one."""
    rows = np.flatnonzero(np.isfinite(y_pred).all(axis=1))
    return scored(task, rows, y_pred[rows])


def scored(task: Task, rows: Ints, y_pred: Floats) -> ProbeResult:
    """Score (m, F) predictions of (m,) rows."""
    if is_of_classes(task):
        y_true = task.values[rows, 0].astype(np.float64)
        y_class = y_pred.argmax(axis=1).astype(np.float64)
        is_right = y_true == y_class
        recalls = [is_right[y_true == k].mean() for k in np.unique(y_true)]
        frequencies = np.unique(y_true, return_counts=True)[1] / max(1, len(y_true))
        return ProbeResult(
            measure="accuracy",
            rows=rows,
            y_true=y_true,
            y_pred=y_class,
            metric=METRICS["accuracy"],
            reference=float(frequencies.max()) if len(rows) else float("nan"),
            error=float("nan"),
            balanced=float(np.mean(recalls)) if recalls else float("nan"),
        )
    y = task.task_type.probe_target(task.values, len(task.outputs))[rows]
    errors = ((y_pred - y) ** 2).sum(axis=1)
    return ProbeResult(
        measure="R2",
        rows=rows,
        y_true=np.arange(len(rows), dtype=np.float64),
        y_pred=errors,
        metric=explained(y),
        reference=0.0,
        error=float(np.sqrt(errors.mean() / y.shape[1])) if len(rows) else np.nan,
        balanced=float("nan"),
    )


def explained(y: Floats) -> Metric:
    """Make the metric R2 of (m, F) labels, for (m,) positions and squared errors.

    It is 1 - sum of squared errors / sum of squares about the mean, both over all rows
    and outputs, so that an output counts by how much it varies.
    """
    centred = y - y.mean(axis=0) if len(y) else y

    def terms(positions: NDArray[Any], errors: NDArray[Any]) -> Floats:
        labels = centred[positions.astype(np.int64)]
        ones, squares = np.ones(len(labels)), (labels**2).sum(axis=1)
        return np.column_stack([ones, labels, squares, errors])

    def of_sums(sums: Floats) -> Floats:
        totals, squares = sums[..., 1:-2], sums[..., -2]
        # sum of (y - mean)^2 = sum of y^2 - (sum of y)^2 / n, by output
        spread = squares - (totals**2).sum(axis=-1) / sums[..., 0]
        # rounding leaves a little spread where all labels are equal
        spread = np.where(spread > 1e-12 * squares, spread, np.nan)
        return np.asarray(1 - sums[..., -1] / spread)

    return Metric(higher_is_better=True, terms=terms, of_sums=of_sums)


def standardised(
    X: NDArray[np.floating[Any]], X_val: NDArray[np.floating[Any]]
) -> tuple[Floats, Floats]:
    """Standardise (n, D) and (m, D) features by the first."""
    centre = X.mean(axis=0, dtype=np.float64)
    scale = X.std(axis=0, dtype=np.float64)
    # a feature that never varied becomes 0 in both
    scale = np.where(scale > 1e-6 * np.abs(centre) + 1e-30, scale, np.inf)
    return (X - centre) / scale, (X_val - centre) / scale


def knn(X: Floats, y: Floats, X_val: Floats, cv_groups: Ints) -> Floats:
    """Give the (m, F) mean labels of the nearest rows by cosine."""
    del cv_groups
    k = min(NEIGHBOURS, max(1, len(X) // 5))
    unit, unit_val = _unit(X), _unit(X_val)
    y_pred = np.empty((len(X_val), y.shape[1]))
    for start in range(0, len(X_val), BLOCK):
        block = slice(start, start + BLOCK)
        cosines_mn = unit_val[block] @ unit.T
        nearest_mk = cosines_mn.argpartition(len(X) - k, axis=1)[:, len(X) - k :]
        # nearly alike, so that a tie of two classes goes to the nearer
        # in float64: weights that miss 1 by 1e-7 move a label of 1.6e9 by 100
        cosines_mk = np.take_along_axis(cosines_mn, nearest_mk, axis=1)
        weights_mk = 1 + 1e-3 * cosines_mk.astype(np.float64)
        weights_mk /= weights_mk.sum(axis=1, keepdims=True)
        y_pred[block] = np.einsum("mk,mkf->mf", weights_mk, y[nearest_mk])
    return y_pred


def ridge(X: Floats, y: Floats, X_val: Floats, cv_groups: Ints) -> Floats:
    """Predict (m, F) linearly, with the strength that does best within the n rows."""
    errors = np.zeros(len(STRENGTHS))
    for mask in _inner_val_masks(cv_groups):
        y_pred_smf = _ridges(X[~mask], y[~mask], X[mask], STRENGTHS)
        errors += ((y_pred_smf - y[mask]) ** 2).sum(axis=(1, 2))
    best = int(errors.argmin()) if errors.any() else len(STRENGTHS) // 2
    y_pred: Floats = _ridges(X, y, X_val, STRENGTHS[best : best + 1])[0]
    return y_pred


def logistic(X: Floats, y: Floats, X_val: Floats, cv_groups: Ints) -> Floats:
    """Give the (m, F) probabilities of the classes, from at most 2,000 rows."""
    if len(X) > LOGISTIC_ROWS:
        rows = np.random.default_rng(0).permutation(len(X))[:LOGISTIC_ROWS]
        X, y, cv_groups = X[rows], y[rows], cv_groups[rows]
    losses = np.zeros(len(LOGISTIC_STRENGTHS))
    for mask in _inner_val_masks(cv_groups):
        for index, strength in enumerate(LOGISTIC_STRENGTHS):
            proba = _logistic(X[~mask], y[~mask], X[mask], strength)
            of_true_class = proba[y[mask] > 0]
            losses[index] -= np.log(np.maximum(of_true_class, 1e-6)).sum()
    best = int(losses.argmin()) if losses.any() else len(losses) // 2
    return _logistic(X, y, X_val, LOGISTIC_STRENGTHS[best])


PROBES: Mapping[str, Callable[[Floats, Floats, Floats, Ints], Floats]] = {
    "knn": knn,
    "ridge": ridge,
    "logistic": logistic,
}


def _inner_val_masks(cv_groups: Ints) -> list[Mask]:
    """Say which of the n rows score the strengths that are fitted on the remaining.

    A quarter of the groups does, and where that is few rows, each quarter in turn.
    There is none where there are fewer than four groups.
    """
    names, group_codes = np.unique(cv_groups, return_inverse=True)
    if len(names) < 4:
        return []
    quarter = (np.random.default_rng(0).permutation(len(names)) % 4)[group_codes]
    return [quarter == k for k in range(4 if len(group_codes) <= FEW else 1)]


def _ridges(X: Floats, y: Floats, X_val: Floats, strengths: Sequence[float]) -> Floats:
    """Predict (n, F) targets of (n, D) columns by the smaller of the two systems.

    Of centred X and y, w = (X'X / n + s I)^-1 X'y / n where D <= n; else the same by
    w = X' (XX' / n + s I)^-1 y / n. With scikit-learn's ``Ridge``, alpha = s n.

    Returns:
        (S, m, F), for each of the S strengths.
    """
    n, width = X.shape
    centre, offset = X.mean(axis=0), y.mean(axis=0)
    X, y, X_val = X - centre, y - offset, X_val - centre
    if width <= n:
        system, right_side, basis = X.T @ X / n, X.T @ y / n, X_val
    else:
        system, right_side, basis = X @ X.T / n, y / n, X_val @ X.T
    eye = np.eye(len(system))
    y_pred: Floats = offset + np.stack(
        [basis @ np.linalg.solve(system + s * eye, right_side) for s in strengths]
    )
    return y_pred


def _logistic(X: Floats, y: Floats, X_val: Floats, strength: float) -> Floats:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    class_idx = y.argmax(axis=1)
    proba = np.zeros((len(X_val), y.shape[1]))
    classes = np.unique(class_idx)
    if len(classes) == 1:
        proba[:, classes] = 1
        return proba
    model = LogisticRegression(C=1 / (strength * len(X)), max_iter=100, tol=1e-3)
    with warnings.catch_warnings():  # a probe need not be solved to the last digit
        warnings.simplefilter("ignore", ConvergenceWarning)
        proba[:, classes] = model.fit(X, class_idx).predict_proba(X_val)
    return proba


def _unit(X: Floats) -> NDArray[np.float32]:
    lengths = np.linalg.norm(X, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (X / np.maximum(lengths, 1e-30)).astype(np.float32)
    return unit
