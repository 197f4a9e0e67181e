"""What a teacher's nets say of the pictures without label, fold by fold.

It is written into the stage that is taught, ``pseudo_labels/foldK.parquet``, before the
first net is trained: a training that goes on after a kill reads what it began with.

Shapes: N rows of the teacher's table, n of them, F outputs of a task.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from data_prep.arrays import Ints
from data_prep.dihedral import VIEW_SETS, stack_views
from data_prep.folds import ALL
from data_prep.run_folders.damage import read_frame
from data_prep.run_folders.drafts import drafted
from data_prep.tasks import Task
from data_prep.up import LEARNED
from pretext.data.pictures import Pictures
from pretext.device import pick_device
from transfer.jobs import Job, check_jobs, fold_name
from transfer.networks.columns import columns_of
from transfer.networks.task_net import TaskNet
from transfer.pseudo_labels import Outputs, add_labels
from transfer.results.trained_nets import MEAN, TrainedNets
from transfer.teacher import PseudoRows, Teacher
from transfer.training.finetune_data import FinetuneData
from transfer.training.learner import in_unit

FOLDER = "pseudo_labels"  # of the stage
BLOCK = 32  # pictures of a forward, with all their views
log = logging.getLogger(__name__)


def teach(
    jobs: Sequence[Job], pseudo: PseudoRows | None, data: FinetuneData
) -> list[Job]:
    """Give each net the labels that the teacher's net of its fold has for it.

    Args:
        jobs: With the rows to be labelled.
        pseudo: All rows that the teacher labels, and the tasks; None: no teacher.
        data: What the nets are made from.

    Raises:
        UserError: Of what the teacher is sure of a net can learn nothing.
    """
    if pseudo is None:
        return list(jobs)
    settings, teacher = data.settings, pseudo.teacher
    tasks = {task.name: task for job in jobs for task in job.tasks}
    ids = [data.ids[row] for row in pseudo.rows]
    with_labels: list[Job] = []
    outputs_by_fold: dict[str, Outputs] = {}
    for job in jobs:
        if not len(job.pseudo_idx):
            with_labels.append(job)
            continue
        if job.fold not in outputs_by_fold:
            file = data.folder / FOLDER / f"{fold_name(job.fold)}.parquet"
            outputs_by_fold[job.fold] = _read_or_ask(
                file,
                teacher,
                fold=job.fold,
                ids=ids,
                tasks=[tasks[name] for name in pseudo.tasks],
            )
        idx = np.searchsorted(pseudo.rows, job.pseudo_idx)
        outputs = {name: y[idx] for name, y in outputs_by_fold[job.fold].items()}
        job_with_labels = add_labels(job, outputs, settings.pseudo_min_confidence)
        with_labels.append(job_with_labels)
        log.info(
            "%s: learns %d pictures without label of %d, by %s",
            job.path,
            len(job_with_labels.pseudo_idx),
            len(job.pseudo_idx),
            teacher.named,
        )
    check_jobs(with_labels, settings)
    return with_labels


def _read_or_ask(
    file: Path,
    teacher: Teacher,
    *,
    fold: str,
    ids: Sequence[str],
    tasks: Sequence[Task],
) -> Outputs:
    """Read what the teacher told an earlier attempt, or ask it and write that."""
    if not file.exists():
        outputs = Lesson.of(teacher, fold).outputs(ids, tasks)
        columns = [column for task in tasks for column in task.columns]
        values = np.hstack([outputs[task.name] for task in tasks])
        table = pd.DataFrame(values, columns=columns)
        table.insert(0, "id", list(ids))
        with drafted(file) as stream:
            table.to_parquet(stream, index=False)
    table = read_frame(file)
    return {task.name: table[task.columns].to_numpy() for task in tasks}


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """The nets of a teacher that may teach a fold, and the pictures that they look at.

    Attributes:
        nets: One per task or a joint one; of the net of all rows, those of each fold.
        pictures: Of the teacher's run.
        ids: N ids of those.
        views: Names of the views that are averaged: those that the nets learned by.
    """

    nets: TrainedNets
    pictures: Pictures
    ids: Sequence[str]
    views: tuple[str, ...]

    @classmethod
    def of(cls, teacher: Teacher, fold: str) -> "Lesson":
        """Open the nets that never saw a label of a fold, and no others."""
        finetuned, prepared = teacher.finetuned, teacher.prepared
        nets = TrainedNets(finished=finetuned, nets=finetuned.metadata["nets"])
        columns = columns_of(finetuned)
        values = columns.apply(prepared.table) if columns else None
        return cls(
            nets=nets.of_fold(MEAN if fold == ALL else fold),
            pictures=Pictures.open(prepared.folder, pick_device(), values),
            ids=prepared.table["id"].tolist(),
            views=VIEW_SETS[LEARNED[finetuned.record["settings"]["turns"]]],
        )

    def outputs(self, ids: Sequence[str], tasks: Sequence[Task]) -> Outputs:
        """Give (n, F) outputs of some tasks for n ids, the mean over views and nets."""
        row_of = {id_: row for row, id_ in enumerate(self.ids)}
        rows = np.array([row_of[id_] for id_ in ids], dtype=np.int64)
        by_net: dict[str, list[NDArray[Any]]] = {task.name: [] for task in tasks}
        for described in self.nets.nets:
            learned = {task["name"] for task in described["tasks"]}
            if not learned & by_net.keys():
                continue
            net, _ = self.nets.load(described)
            for name, y in self._ask(net.to(self.pictures.device), rows).items():
                if name in by_net:
                    by_net[name].append(in_unit(net, name, y))
        return {name: np.mean(values, axis=0) for name, values in by_net.items()}

    @torch.inference_mode()
    def _ask(self, net: TaskNet, rows: Ints) -> dict[str, NDArray[np.float32]]:
        """Give the (n, F) outputs of a net's tasks for (n,) rows, the mean of views."""
        n_views, blocks = len(self.views), []
        for start in range(0, len(rows), BLOCK):
            idx = rows[start : start + BLOCK]
            images = self.pictures.take(idx).permute(0, 2, 3, 1)
            stacked = stack_views(images, axes=(-3, -2), views=self.views)
            views = stacked.flatten(0, 1).permute(0, 3, 1, 2)
            columns = self.pictures.take_columns(idx)
            if columns is not None:
                columns = columns.repeat_interleave(n_views, dim=0)
            outputs = net.predict(views, columns)
            blocks.append(
                {
                    name: y.float().view(len(idx), n_views, -1).mean(dim=1).cpu()
                    for name, y in outputs.items()
                }
            )
        return {
            name: torch.cat([block[name] for block in blocks]).numpy()
            for name in net.tasks
        }
