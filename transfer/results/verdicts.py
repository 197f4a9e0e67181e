"""What the numbers of a fine-tuning mean, in a sentence each, and what to do.

Torch-free.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.reporting.numerals import style_for
from data_prep.telling_columns import Label, verdicts_on
from pretext.engine.epochs import read_epochs
from pretext.engine.rate_verdict import losses_of, on_rate
from transfer.jobs import Job
from transfer.settings import FinetuneSettings

if TYPE_CHECKING:
    import pandas as pd

    from data_prep.tasks import Task


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The score of a net on its held-out fold, beside that of a constant.

    Attributes:
        name: Task and metric, such as ``target_rmse``.
        score: Of the net.
        constant: Of the mean label, or the most frequent class, of its training rows.
        higher_is_better: Of both.
    """

    name: str
    score: float
    constant: float
    higher_is_better: bool

    @property
    def is_gain(self) -> bool:
        """Whether the net is better."""
        gain = self.score - self.constant
        return gain > 0 if self.higher_is_better else gain < 0


def judge(
    nets: Sequence[Mapping[str, Any]],
    jobs: Sequence[Job],
    settings: FinetuneSettings,
    *,
    table: "pd.DataFrame",
    folder: Path,
) -> list[str]:
    """Say in plain words how the fine-tuning went, and what to do.

    Args:
        nets: What the record says of each.
        jobs: The same nets, with their rows and labels.
        settings: How they were trained.
        table: (N) rows as prepared.
        folder: Of the stage, with the logs of the nets.
    """
    results = {net["place"]: net for net in nets}
    scores = [s for job in jobs for s in held_out(job, results[job.path])]
    rates = {
        job.path: on_rate(
            losses_of(read_epochs(folder / job.path)),
            warmup=settings.warmup,
            learning_rate=settings.learning_rate,
        )
        for job in jobs
    }
    tasks = {task.name: task for job in jobs for task in job.tasks}
    labels = [label_of(task) for task in tasks.values() if task.values.shape[1] == 1]
    verdicts = [
        *on_constant(scores),
        on_rates(rates),
        *verdicts_on(table, settings.columns, labels),
    ]
    return [verdict for verdict in verdicts if verdict]


def held_out(job: Job, net: Mapping[str, Any]) -> list[HeldOut]:
    """Score the constant of each task of a net on its fold, beside the net.

    Args:
        job: The net.
        net: What the record says of it.
    """
    pairs = []
    for task in job.tasks:
        train_idx = job.labelled_idx[task.has_label[job.labelled_idx]]
        val_idx = job.val_idx[task.has_label[job.val_idx]]
        if not len(train_idx) or not len(val_idx):
            continue
        kind = task.task_type
        mean = kind.probe_target(task.values[train_idx], len(task.outputs)).mean(axis=0)
        y_pred = np.tile(mean, (len(val_idx), 1))
        metric, constant = kind.score(task.values[val_idx], y_pred)
        name = f"{task.name}_{metric}"
        if name in net["held_out_scores"]:
            pairs.append(
                HeldOut(
                    name=name,
                    score=net["held_out_scores"][name],
                    constant=constant,
                    higher_is_better=kind.higher_is_better,
                )
            )
    return pairs


def on_constant(scores: Sequence[HeldOut]) -> list[str]:
    """Name what is not learned better than a constant, in the mean of the folds."""
    by_name: dict[str, list[HeldOut]] = {}
    for pair in scores:
        by_name.setdefault(pair.name, []).append(pair)
    verdicts = []
    for name, folds in by_name.items():
        score = float(np.mean([fold.score for fold in folds]))
        constant = float(np.mean([fold.constant for fold in folds]))
        mean = HeldOut(
            name=name,
            score=score,
            constant=constant,
            higher_is_better=folds[0].higher_is_better,
        )
        if mean.is_gain:
            continue
        n_worse, style = sum(not fold.is_gain for fold in folds), style_for(score)
        verdicts.append(
            f"{name}: no better than a constant: {score:{style}} on held-out folds, and"
            f" always the same answer gets {constant:{style}} (worse in {n_worse} of"
            f" {len(folds)} folds); train longer (--epochs), begin from ready weights"
            " (--init timm:NAME), or ask whether the pictures can tell it"
        )
    return verdicts


def on_rates(rates: Mapping[str, str]) -> str:
    """Join the verdicts on the learning rate of some nets into one.

    Args:
        rates: By net; empty: nothing was wrong.
    """
    wrong = {net: verdict for net, verdict in rates.items() if verdict}
    if not wrong:
        return ""
    net, verdict = next(iter(wrong.items()))
    return f"{net}, and so in {len(wrong)} of {len(rates)} nets: {verdict}"


def label_of(task: "Task") -> Label:
    """Give the label of a task that has a single number or class for each row."""
    return Label(
        name="the target" if task.name == "target" else task.name,
        values=task.values[:, 0],
        is_class=task.task_type.probed_as == "classes",
        has_label=task.has_label,
    )
