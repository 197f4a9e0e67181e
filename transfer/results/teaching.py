"""What a teacher's nets say of the pictures without label, fold by fold.

It is written into the stage that is taught, ``pseudo_labels/foldK.parquet``, before the
first net is trained: a training that goes on after a kill reads what it began with.

Shapes: N rows of the teacher's table, n of them, F outputs of a task.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
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
from data_prep.run_folders.runs import Finished
from data_prep.tasks import Task
from data_prep.up import LEARNED
from pretext.data.pictures import Pictures
from pretext.device import pick_device
from transfer.jobs import Job, check_jobs, fold_name
from transfer.networks.columns import columns_of
from transfer.networks.task_net import TaskNet
from transfer.pseudo_labels import add_labels, mix_labels
from transfer.results.trained_nets import MEAN, TrainedNets
from transfer.teacher import Outputs, PseudoRows, Teacher
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
    least = data.settings.pseudo_min_confidence
    lessons: dict[str, Outputs] = {}
    with_labels: list[Job] = []
    for job in jobs:
        tasks = [task for task in job.tasks if task.name in pseudo.tasks]
        if not tasks:
            with_labels.append(job)
            continue
        if job.fold not in lessons:
            lessons[job.fold] = lesson(pseudo, job.fold, data, jobs=jobs)
        outputs = lessons[job.fold]
        labelled = add_labels(job, pseudo.of_rows(outputs, job.pseudo_idx), least)
        if pseudo.share:
            outputs = pseudo.of_rows(outputs, job.labelled_idx)
            labelled = mix_labels(labelled, outputs, pseudo.share)
        with_labels.append(labelled)
        log.info(
            "%s: learns %d pictures without label of %d, by %s",
            job.path,
            len(labelled.pseudo_idx),
            len(job.pseudo_idx),
            pseudo.teacher.named,
        )
    check_jobs(with_labels, data.settings)
    return with_labels


def lesson(
    pseudo: PseudoRows, fold: str, data: FinetuneData, *, jobs: Sequence[Job]
) -> Outputs:
    """Give what the teacher of a fold says of all rows that it is asked about.

    Args:
        pseudo: The teacher, and what it is asked.
        fold: Number of the fold, or ``all``.
        data: What the nets are made from; there it is kept.
        jobs: With the tasks.
    """
    by_name = {task.name: task for job in jobs for task in job.tasks}
    tasks = [by_name[name] for name in pseudo.tasks]
    file = data.folder / FOLDER / f"{fold_name(fold)}.parquet"
    if not file.exists():
        ids = [data.ids[row] for row in pseudo.all_rows]
        outputs = ViewedNets.of_teacher(pseudo.teacher, fold).outputs(ids, tasks)
        columns = [column for task in tasks for column in task.columns]
        values = np.hstack([outputs[task.name] for task in tasks])
        table = pd.DataFrame(values, columns=columns)
        table.insert(0, "id", ids)
        with drafted(file) as stream:
            table.to_parquet(stream, index=False)
    table = read_frame(file)
    return {task.name: table[task.columns].to_numpy() for task in tasks}


@dataclass(frozen=True, kw_only=True)
class ViewedNets:
    """Nets, and the pictures that they look at in several views.

    Attributes:
        nets: One per task or a joint one; of several folds they are averaged.
        pictures: Of their run.
        ids: N ids of those.
        views: Names of the views that are averaged: those that the nets learned by.
    """

    nets: TrainedNets
    pictures: Pictures
    ids: Sequence[str]
    views: tuple[str, ...]

    @classmethod
    def of_teacher(cls, teacher: Teacher, fold: str) -> "ViewedNets":
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

    @classmethod
    def of_fold(
        cls, nets: Sequence[dict[str, Any]], fold: str, data: FinetuneData
    ) -> "ViewedNets":
        """Take the nets of a fold of a stage that is being made.

        Args:
            nets: What its record is to say of each.
            fold: Number of the fold.
            data: What they were made from.
        """
        stage = Finished(folder=data.folder, record={})
        return cls(
            nets=TrainedNets(finished=stage, nets=nets).of_fold(fold),
            pictures=data.pictures,
            ids=data.ids,
            views=VIEW_SETS[LEARNED[data.settings.turns]],
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
