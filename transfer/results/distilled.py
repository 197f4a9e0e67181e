"""How good a distilled net is: the nets of all folds, each on the rows it held out.

What is scored is what is served: the mean over the views, clipped to the range of the
targets, or the probabilities of the classes; of an object, the mean over its pictures.
One net is served. So where folds are dealt several times, a picture is scored once in
each deal: the mean of its nets would be better than the one that nobody averages.

Shapes: n rows of the table, m of what is predicted (pictures or objects, in each deal),
K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.arrays import Floats, Ints
from data_prep.folds import ALL, FOLD
from data_prep.reporting.numerals import style_for
from data_prep.scoring.metrics import METRICS
from data_prep.scoring.scores import Interval, group_bootstrap, paired_bootstrap
from data_prep.task_types.base import TargetOutputs
from data_prep.tasks import Task
from transfer.jobs import Job
from transfer.results.teaching import ViewedNets, lesson
from transfer.teacher import Outputs, PseudoRows
from transfer.training.finetune_data import FinetuneData

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class TargetTasks:
    """Which tasks predict the target, as the stack finds them.

    Attributes:
        regression: The task that gives it as a number; None: there is none.
        proba: The task that gives the probabilities of its classes; None: none does.
        class_values: (K,) numbers of the classes; none: they are names.
        target_range: Lowest and highest number; None: it is no number.
    """

    regression: Task | None
    proba: Task | None
    class_values: Floats
    target_range: tuple[float, float] | None

    @classmethod
    def of(cls, pseudo: PseudoRows, jobs: Sequence[Job]) -> "TargetTasks":
        """Find them among the tasks that are taught.

        Args:
            pseudo: What is taught.
            jobs: Nets with the tasks.
        """
        prepared = pseudo.teacher.prepared
        by_name = {task.name: task for job in jobs for task in job.tasks}
        tasks = [by_name[name] for name in pseudo.tasks]

        def first(output: TargetOutputs) -> Task | None:
            fitting = [
                task for task in tasks if output in task.task_type.target_outputs
            ]
            return fitting[0] if fitting else None

        is_number = prepared.target_range is not None
        values = [float(name) for name in prepared.classes] if is_number else []
        return cls(
            regression=first("number") if is_number else None,
            proba=first("probabilities"),
            class_values=np.array(values),
            target_range=prepared.target_range,
        )

    @property
    def names(self) -> dict[str, str]:
        """Their names for a record; empty: there is none."""
        return {
            "regression_task": self.regression.name if self.regression else "",
            "proba_task": self.proba.name if self.proba else "",
        }

    def predict(self, outputs: Outputs) -> Floats:
        """Read the (n,) numbers, or (n, K) probabilities, of (n, F) outputs."""
        if self.target_range is not None and self.regression is not None:
            task = self.regression
            pred = outputs[task.name][:, task.outputs.index("")].astype(np.float64)
            return np.clip(pred, *self.target_range)
        assert self.proba is not None
        suffixes = [output for output in self.proba.outputs if output]
        first = len(self.proba.outputs) - len(suffixes)
        columns = outputs[self.proba.name][:, first:].astype(np.float64)
        proba = np.maximum(columns[:, np.argsort([int(k) for k in suffixes])], 0)
        proba /= proba.sum(axis=1, keepdims=True)
        if self.target_range is None:
            return proba
        return np.clip(proba @ self.class_values, *self.target_range)


@dataclass(frozen=True, kw_only=True)
class HeldOutRows:
    """What nets say of the rows that they held out.

    Attributes:
        rows: (n,) of the table; of several deals of folds a row is there several times.
        folds: (n,) number of the fold of the net.
        pred: (n, ...) of the net.
        teacher_pred: (n, ...) of the net that taught it.
    """

    rows: Ints
    folds: Ints
    pred: Floats
    teacher_pred: Floats

    @classmethod
    def of(
        cls,
        jobs: Sequence[Job],
        pseudo: PseudoRows,
        data: FinetuneData,
        *,
        nets: Sequence[dict[str, Any]],
        target: TargetTasks,
    ) -> "HeldOutRows":
        """Ask each net about the rows that it held out, and the one that taught it.

        Args:
            jobs: The nets.
            pseudo: Who taught them.
            data: What they are made from.
            nets: What the record is to say of each.
            target: What is predicted.
        """
        rows, folds, pred, teacher_pred = [], [], [], []
        for job in jobs:
            if job.fold == ALL:
                continue
            tasks = [task for task in job.tasks if task.name in pseudo.tasks]
            is_known = np.logical_or.reduce([task.has_label for task in tasks])
            held_out = job.val_idx[is_known[job.val_idx]]
            if not len(held_out):
                continue
            ids = [data.ids[row] for row in held_out]
            viewed = ViewedNets.of_fold(nets, job.fold, data)
            outputs = lesson(pseudo, job.fold, data, jobs=jobs)
            rows.append(held_out)
            folds.append(np.full(len(held_out), int(job.fold)))
            pred.append(target.predict(viewed.outputs(ids, tasks)))
            teacher_pred.append(target.predict(pseudo.of_rows(outputs, held_out)))
        return cls(
            rows=np.concatenate(rows),
            folds=np.concatenate(folds),
            pred=np.concatenate(pred),
            teacher_pred=np.concatenate(teacher_pred),
        )

    def by_name(self, table: "pd.DataFrame") -> "tuple[pd.DataFrame, HeldOutRows]":
        """Average the rows of each picture, or of each object, within a deal.

        Args:
            table: Rows as prepared.

        Returns:
            Their first rows of the table, with ``name``; and m rows, deal by deal.
        """
        chosen = table.iloc[self.rows]
        names = chosen["object" if "object" in table else "id"].to_numpy()
        unique, code = np.unique(names, return_inverse=True)
        code += len(unique) * (self.folds // (int(table[FOLD].max()) + 1))
        _, first_idx, code = np.unique(code, return_index=True, return_inverse=True)
        n_rows = np.bincount(code)

        def mean(values: Floats) -> Floats:
            sums = np.zeros((len(n_rows), *values.shape[1:]))
            np.add.at(sums, code, values)
            return sums / n_rows.reshape(-1, *[1] * (values.ndim - 1))

        return chosen.iloc[first_idx].assign(name=names[first_idx]), HeldOutRows(
            rows=self.rows[first_idx],
            folds=self.folds[first_idx],
            pred=mean(self.pred),
            teacher_pred=mean(self.teacher_pred),
        )


def oof_table(
    held_out: HeldOutRows, table: "pd.DataFrame", classes: Sequence[str]
) -> "pd.DataFrame":
    """Give the out-of-fold predictions as ``stacking.fit`` keeps its own.

    Args:
        held_out: What the nets say.
        table: Rows as prepared.
        classes: K names, in the order of the probabilities.

    Returns:
        ``id, fold, target, prediction``, and ``probability_CLASS`` of classes; a row
        for each deal of folds.
    """
    import pandas as pd

    first, averaged = held_out.by_name(table)
    pred = averaged.pred
    oof = pd.DataFrame(
        {
            "id": first["name"].to_numpy(),
            "fold": averaged.folds,
            "target": first["target"].to_numpy(),
            "prediction": pred
            if pred.ndim == 1
            else np.array(classes, dtype=object)[pred.argmax(axis=1)],
        }
    )
    for k, name in enumerate(classes if pred.ndim == 2 else ()):
        oof[f"probability_{name}"] = pred[:, k]
    return oof


@dataclass(frozen=True, kw_only=True)
class DistilledScore:
    """The score of the distilled nets, beside that of the nets that taught them.

    Attributes:
        metric: Name of it.
        distilled: Of the distilled nets, each on the fold that it held out.
        teacher: Of the nets that taught them, on the same rows.
        difference: The first less the second, with its interval by cv groups.
    """

    metric: str
    distilled: Interval
    teacher: float
    difference: Interval

    @classmethod
    def of(cls, held_out: HeldOutRows, table: "pd.DataFrame") -> "DistilledScore":
        """Score by RMSE, or by the log-loss of classes."""
        first, averaged = held_out.by_name(table)
        is_number = averaged.pred.ndim == 1
        metric = METRICS["rmse" if is_number else "log_loss"]
        y_true = first["target" if is_number else "class_index"].to_numpy()
        groups = first["cv_group"].to_numpy()
        return cls(
            metric="rmse" if is_number else "log_loss",
            distilled=group_bootstrap(metric, y_true, averaged.pred, groups),
            teacher=metric(y_true, averaged.teacher_pred),
            difference=paired_bootstrap(
                metric=metric,
                y_true=y_true,
                first_pred=averaged.pred,
                second_pred=averaged.teacher_pred,
                groups=groups,
            ),
        )

    def to_json(self) -> Mapping[str, Any]:
        """Give it for a record."""
        difference = self.difference
        return {
            "metric": self.metric,
            "score": self.distilled.value,
            "interval": [self.distilled.low, self.distilled.high],
            "teacher": self.teacher,
            "difference": [difference.value, difference.low, difference.high],
        }

    def text(self) -> str:
        """Say it in a sentence."""
        score, difference = self.distilled, self.difference
        style = style_for(score.value, self.teacher)
        return (
            f"distilled nets on the folds they hold out: {self.metric}"
            f" {score.value:{style}} ({score.low:{style}}..{score.high:{style}}); the"
            f" net of the same fold that taught each: {self.teacher:{style}},"
            f" difference {difference.value:+{style}}"
            f" ({difference.low:+{style}}..{difference.high:+{style}}). The net that is"
            " served learned all rows, by the mean of those nets"
        )
