"""Pseudo-labels: what a teacher says of a picture without label, as the label of a row.

A number is learned as it is, within the range of the labels that the net learns beside
it. Of classes the probabilities are learned, by the expected loss: each class's loss,
weighed by how probable the teacher finds it. For the cross-entropy that is the
cross-entropy of the probabilities, and it is defined for any other loss as well.
Torch-free.

Shapes: N rows of the table, n of them, F outputs of a task, K classes.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Bools, Floats, Ints
from data_prep.tasks import Task
from transfer.jobs import Job
from transfer.teacher import Outputs, SoftLabels


def add_labels(job: Job, outputs: Outputs, min_confidence: float = 0.0) -> Job:
    """Give the rows without label of a net the labels of its teacher.

    Rows that the teacher is not sure enough of are not learned from.

    Args:
        job: The net; its ``pseudo_idx`` are n rows.
        outputs: (n, F) of the tasks that are taught, in the unit of their labels.
        min_confidence: Least probability of the most probable class, where there are
            classes.
    """
    is_kept = confident(job, outputs, min_confidence)
    labelled = np.setdiff1d(job.train_idx, job.pseudo_idx)
    rows = job.pseudo_idx[is_kept]
    tasks, soft = [], {}
    for task in job.tasks:
        if task.name not in outputs:
            tasks.append(task)
            continue
        read = _Read.of(task, outputs[task.name][is_kept])
        y = read.number
        if read.proba is None:
            y = np.clip(y, *_range_of(task, labelled))
        else:
            proba = np.zeros((len(task.values), len(read.values)))
            proba[rows] = read.proba
            soft[task.name] = SoftLabels(proba=proba, values=read.values)
        tasks.append(_with_labels(task, rows, y))
    return replace(
        job,
        tasks=tasks,
        train_idx=np.union1d(labelled, rows),
        pseudo_idx=rows,
        soft=soft,
    )


def mix_labels(job: Job, outputs: Outputs, share: float) -> Job:
    """Mix what a teacher says into the labels of the table, where a net has both.

    A label becomes (1 - share) of itself and a share of the teacher's number, or
    probabilities. Rows that an epoch is chosen by, or that are held out, keep theirs.

    Source: Hinton, Vinyals & Dean 2015, "Distilling the knowledge in a neural network",
    arXiv 1503.02531; at a temperature of 1.

    Args:
        job: The net; its ``labelled_idx`` are n rows.
        outputs: (n, F) of the tasks that are taught, in the unit of their labels.
        share: From 0 to 1.
    """
    rows_of_table = job.labelled_idx
    tasks, soft = [], dict(job.soft)
    for task in job.tasks:
        if task.name not in outputs:
            tasks.append(task)
            continue
        is_finite = np.isfinite(outputs[task.name]).all(axis=1)
        is_mixed = task.has_label[rows_of_table] & is_finite
        rows = rows_of_table[is_mixed]
        read = _Read.of(task, outputs[task.name][is_mixed])
        y = task.values[rows, 0]
        if read.proba is None:
            number = np.clip(read.number, *_range_of(task, rows_of_table))
            tasks.append(_with_labels(task, rows, (1 - share) * y + share * number))
            continue
        proba = np.zeros((len(task.values), len(read.values)))
        if task.name in soft:
            proba = soft[task.name].proba.copy()
        one_hot = np.eye(len(read.values))[np.searchsorted(read.values, y)]
        proba[rows] = (1 - share) * one_hot + share * read.proba
        soft[task.name] = SoftLabels(proba=proba, values=read.values)
        tasks.append(task)
    return replace(job, tasks=tasks, soft=soft)


def confident(job: Job, outputs: Outputs, min_confidence: float) -> Bools:
    """Tell which of (n,) rows a teacher can say enough of."""
    is_kept = np.ones(len(job.pseudo_idx), dtype=np.bool_)
    for task in job.tasks:
        if task.name not in outputs:
            continue
        is_kept &= np.isfinite(outputs[task.name]).all(axis=1)
        proba = _Read.of(task, outputs[task.name]).proba
        if proba is not None and min_confidence:
            is_kept &= proba.max(axis=1) >= min_confidence
    return is_kept


@dataclass(frozen=True, kw_only=True)
class _Read:
    """Outputs of a task, read as labels.

    Attributes:
        number: (n,) the number, or the label of the most probable class.
        proba: (n, K); None: the label is a number.
        values: (K,) labels of the classes.
    """

    number: Floats
    proba: Floats | None
    values: Floats

    @classmethod
    def of(cls, task: Task, outputs: NDArray[np.floating[Any]]) -> "_Read":
        """Read (n, F) outputs: the probabilities, where they say more than a number."""
        if "probabilities" not in task.task_type.target_outputs:
            col_idx = task.outputs.index("")
            number = outputs[:, col_idx].astype(np.float64)
            return cls(number=number, proba=None, values=np.empty(0))
        is_class = np.array([bool(output) for output in task.outputs])
        proba = np.maximum(outputs[:, is_class].astype(np.float64), 0)
        total = proba.sum(axis=1, keepdims=True)
        proba = np.divide(proba, total, out=np.zeros_like(proba), where=total > 0)
        values = np.array(task.grades or range(proba.shape[1]), dtype=np.float64)
        return cls(number=values[proba.argmax(axis=1)], proba=proba, values=values)


def _range_of(task: Task, rows: Ints) -> tuple[float, float]:
    """Give the lowest and the highest label among some rows."""
    y = task.values[rows][task.has_label[rows], 0]
    return float(y.min()), float(y.max())


def _with_labels(task: Task, rows: Ints, y: Floats) -> Task:
    """Give a task (n,) labels of further rows."""
    values = task.values.astype(np.float64)
    values[rows, 0] = y
    has_label = task.has_label.copy()
    has_label[rows] = True
    return replace(task, values=values, has_label=has_label)
