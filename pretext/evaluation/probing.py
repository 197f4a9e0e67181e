"""Probes: how much of the labels plain models read from frozen features, by folds.

The neighbours need no training and no scale, the ridge and the logistic regression say
what a linear head could use. Each learns from the rows of the other folds alone and is
scored on the rows held out; its strength is chosen within the rows it learns from.
Nothing here draws from a random state that others use. Torch-free.

Source: probes of frozen features as in Chen & He 2021, arXiv 2011.10566, and Wu et al.
2018, arXiv 1805.01978.
Differs: neighbours count alike, and for numbers their mean is taken.

Shapes: N rows, D features, F outputs (of classes: one each), n rows to learn from, m to
be asked about.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.folds import fold_masks
from data_prep.scoring.scores import METRICS, Metric
from data_prep.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

NEIGHBOURS = 20  # or a fifth of the rows, where that is fewer
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)  # of the ridge, per row
LOGISTIC_STRENGTHS = (1e-2, 1e-1, 1.0)  # per row and class
LOGISTIC_ROWS = 2000  # that a logistic regression learns from, at most
FEW = 1000  # rows
BLOCK = 1024  # rows whose neighbours are looked for at a time

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Split = tuple[Mask, Mask]  # (N,) rows held out, and rows that may be learned from


def stored_splits(table: "pd.DataFrame", n_folds: int) -> list[Split]:
    """Give the splits of the prepared table, one for each fold."""
    return [fold_masks(table, str(fold)) for fold in range(n_folds)]


def labels_of(task: Task, rows: Ints) -> Task:
    """Cut a task down to some rows."""
    return replace(task, values=task.values[rows], has_label=task.has_label[rows])


def probes_of(task: Task) -> list[str]:
    """List the probes that fit a task."""
    return ["knn", "ridge", *(["logistic"] if task.kind == "classes" else [])]


@dataclass(frozen=True)
class Answers:
    """What a probe said of the rows that were held out.

    A row counts by what it adds to the score: for classes ``target`` and ``said`` are
    numbers of classes; else ``target`` is the row's place, whose label the metric
    knows, and ``said`` its squared error over the F outputs.

    Attributes:
        measure: ``accuracy``, or ``R2`` over all F outputs together.
        rows: (m,) the rows, of the N.
        target: (m,).
        said: (m,).
        metric: Scores the two; higher is better.
        reference: Score of an answer without features: the most frequent class, or the
            mean.
        error: Root mean squared error in the unit of the label; NaN for classes.
        balanced: Mean accuracy over the classes; NaN for numbers.
    """

    measure: str
    rows: Ints
    target: Floats
    said: Floats
    metric: Metric
    reference: float
    error: float
    balanced: float

    @property
    def score(self) -> float:
        """The score over all rows held out; NaN without any or where all are equal."""
        return self.metric(self.target, self.said) if len(self.rows) else float("nan")

    def by_split(self, splits: Sequence[Split]) -> list[float]:
        """Score the rows of each split apart."""
        scores = []
        for held_out, _ in splits:
            inside = held_out[self.rows]
            is_any = inside.any()
            scores.append(
                self.metric(self.target[inside], self.said[inside])
                if is_any
                else float("nan")
            )
        return scores


def probe(
    name: str,
    features: NDArray[np.floating[Any]],
    task: Task,
    splits: Sequence[Split],
    cv_groups: Ints,
) -> Answers:
    """Ask one probe about the rows that each split holds out.

    Args:
        name: ``knn``, ``ridge`` or ``logistic``.
        features: (N, D).
        task: Labels of the N rows.
        splits: Which rows are held out together, and what may be learned from then.
        cv_groups: (N,) what the choice of a probe's strength does not tear.
    """
    labels = wanted_of(task)
    said = np.full(labels.shape, np.nan)
    for held_out, may_be_seen in splits:
        taught = np.flatnonzero(task.has_label & may_be_seen)
        asked = np.flatnonzero(task.has_label & held_out)
        if len(taught) < 2 or not len(asked):
            continue
        x, new = standardised(features[taught], features[asked])
        said[asked] = PROBES[name](x, labels[taught], new, cv_groups[taught])
    rows = np.flatnonzero(np.isfinite(said).all(axis=1))
    return answers(task, rows, said[rows])


def wanted_of(task: Task) -> Floats:
    """Give the (N, F) labels in their unit, or 1 in the column of the class."""
    values = task.values.astype(np.float64)
    if task.kind == "classes":
        return np.eye(len(task.outputs))[values[:, 0].astype(np.int64)]
    return values


def answers(task: Task, rows: Ints, said: Floats) -> Answers:
    """Put (m, F) predictions of some rows into what they are scored by."""
    values = task.values[rows].astype(np.float64)
    if task.kind == "classes":
        truth = values[:, 0]
        chosen = said.argmax(axis=1).astype(np.float64)
        is_right = truth == chosen
        recalls = [is_right[truth == k].mean() for k in np.unique(truth)]
        shares = np.unique(truth, return_counts=True)[1] / max(1, len(truth))
        return Answers(
            *("accuracy", rows, truth, chosen, METRICS["accuracy"]),
            reference=float(shares.max()) if len(rows) else float("nan"),
            error=float("nan"),
            balanced=float(np.mean(recalls)) if recalls else float("nan"),
        )
    errors = ((said - values) ** 2).sum(axis=1)
    return Answers(
        *("R2", rows, np.arange(len(rows), dtype=np.float64), errors),
        metric=explained(values),
        reference=0.0,
        error=float(np.sqrt(errors.mean() / values.shape[1])) if len(rows) else np.nan,
        balanced=float("nan"),
    )


def explained(labels: Floats) -> Metric:
    """Make the metric R2 of (m, F) labels, for (m,) places and squared errors.

    It is 1 - sum of squared errors / sum of squares about the mean, both over all rows
    and outputs, so that an output counts by how much it varies.
    """
    centred = labels - labels.mean(axis=0) if len(labels) else labels

    def terms(places: NDArray[Any], errors: NDArray[Any]) -> Floats:
        mine = centred[places.astype(np.int64)]
        ones, squares = np.ones(len(mine)), (mine**2).sum(axis=1)
        return np.column_stack([ones, mine, squares, errors])

    def of_sums(sums: Floats) -> Floats:
        totals, squares = sums[..., 1:-2], sums[..., -2]
        spread = squares - (totals**2).sum(axis=-1) / sums[..., 0]
        # rounding leaves a little spread where all labels are equal
        spread = np.where(spread > 1e-12 * squares, spread, np.nan)
        return np.asarray(1 - sums[..., -1] / spread)

    return Metric(higher_is_better=True, terms=terms, of_sums=of_sums)


def standardised(
    taught: NDArray[np.floating[Any]], asked: NDArray[np.floating[Any]]
) -> tuple[Floats, Floats]:
    """Standardise (n, D) and (m, D) features by the first."""
    centre = taught.mean(axis=0, dtype=np.float64)
    scale = taught.std(axis=0, dtype=np.float64)
    scale = np.where(scale > 1e-6 * np.abs(centre) + 1e-30, scale, np.inf)  # says none
    return (taught - centre) / scale, (asked - centre) / scale


def knn(x: Floats, y: Floats, new: Floats, cv_groups: Ints) -> Floats:
    """Average the labels of the nearest rows by cosine."""
    del cv_groups
    k = min(NEIGHBOURS, max(1, len(x) // 5))
    taught, asked = _unit(x), _unit(new)
    said = np.empty((len(new), y.shape[1]))
    for start in range(0, len(new), BLOCK):
        part = slice(start, start + BLOCK)
        near = asked[part] @ taught.T
        nearest = near.argpartition(len(x) - k, axis=1)[:, len(x) - k :]
        # nearly alike, so that a tie of two classes goes to the nearer
        # in float64: weights that miss 1 by 1e-7 move a label of 1.6e9 by 100
        alike = np.take_along_axis(near, nearest, axis=1).astype(np.float64)
        weights = 1 + 1e-3 * alike
        weights /= weights.sum(axis=1, keepdims=True)
        said[part] = np.einsum("mk,mkf->mf", weights, y[nearest])
    return said


def ridge(x: Floats, y: Floats, new: Floats, cv_groups: Ints) -> Floats:
    """Predict linearly, with the strength that does best within the rows taught."""
    errors = np.zeros(len(STRENGTHS))
    for judging in _judges(cv_groups):
        tried = _ridges(x[~judging], y[~judging], x[judging], STRENGTHS)
        errors += ((tried - y[judging]) ** 2).sum(axis=(1, 2))
    best = int(errors.argmin()) if errors.any() else len(STRENGTHS) // 2
    predicted: Floats = _ridges(x, y, new, STRENGTHS[best : best + 1])[0]
    return predicted


def logistic(x: Floats, y: Floats, new: Floats, cv_groups: Ints) -> Floats:
    """Give the probabilities of the classes, learned from at most 2,000 rows."""
    if len(x) > LOGISTIC_ROWS:
        rows = np.random.default_rng(0).permutation(len(x))[:LOGISTIC_ROWS]
        x, y, cv_groups = x[rows], y[rows], cv_groups[rows]
    losses = np.zeros(len(LOGISTIC_STRENGTHS))
    for judging in _judges(cv_groups):
        for which, strength in enumerate(LOGISTIC_STRENGTHS):
            said = _logistic(x[~judging], y[~judging], x[judging], strength)
            of_truth = said[y[judging] > 0]
            losses[which] -= np.log(np.maximum(of_truth, 1e-6)).sum()
    best = int(losses.argmin()) if losses.any() else len(losses) // 2
    return _logistic(x, y, new, LOGISTIC_STRENGTHS[best])


PROBES: Mapping[str, Callable[[Floats, Floats, Floats, Ints], Floats]] = {
    "knn": knn,
    "ridge": ridge,
    "logistic": logistic,
}


def _judges(cv_groups: Ints) -> list[Mask]:
    """Say which (n,) rows judge the strengths that the others try.

    A quarter of the cv groups does, and where that is few rows, each quarter in turn.
    There is none where there are fewer than four cv groups.
    """
    names, members = np.unique(cv_groups, return_inverse=True)
    if len(names) < 4:
        return []
    quarter = (np.random.default_rng(0).permutation(len(names)) % 4)[members]
    return [quarter == k for k in range(4 if len(members) <= FEW else 1)]


def _ridges(x: Floats, y: Floats, new: Floats, strengths: Sequence[float]) -> Floats:
    """Predict (n, F) targets of (n, D) columns by the smaller of the two systems.

    Returns:
        (S, m, F), for each of the S strengths.
    """
    n, width = x.shape
    centre, offset = x.mean(axis=0), y.mean(axis=0)
    x, y, new = x - centre, y - offset, new - centre
    if width <= n:
        system, wanted, basis = x.T @ x / n, x.T @ y / n, new
    else:
        system, wanted, basis = x @ x.T / n, y / n, new @ x.T
    eye = np.eye(len(system))
    solved = [basis @ np.linalg.solve(system + s * eye, wanted) for s in strengths]
    predicted: Floats = offset + np.stack(solved)
    return predicted


def _logistic(x: Floats, y: Floats, new: Floats, strength: float) -> Floats:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    truth = y.argmax(axis=1)
    shares = np.zeros((len(new), y.shape[1]))
    found = np.unique(truth)
    if len(found) == 1:
        shares[:, found] = 1
        return shares
    model = LogisticRegression(C=1 / (strength * len(x)), max_iter=100, tol=1e-3)
    with warnings.catch_warnings():  # a probe need not be solved to the last digit
        warnings.simplefilter("ignore", ConvergenceWarning)
        shares[:, found] = model.fit(x, truth).predict_proba(new)
    return shares


def _unit(x: Floats) -> NDArray[np.float32]:
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (x / np.maximum(lengths, 1e-30)).astype(np.float32)
    return unit
