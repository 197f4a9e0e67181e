"""Which nets are trained on which rows: no net sees a label of the fold it holds out.

Torch-free, so that a plan can be made and refused before anything starts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.folds import ALL, fold_masks
from data_prep.outlook import Outlook
from data_prep.rows import weights_of
from data_prep.tasks import Task
from transfer.settings import FinetuneSettings

if TYPE_CHECKING:
    import pandas as pd

JOINT = "joint"  # the name of a net that has all tasks


@dataclass(frozen=True)
class Job:
    """One net to train.

    Attributes:
        net: Name of its task, or ``joint``.
        fold: Number of the fold it never sees, or ``all``.
        tasks: What it learns.
        rows: Rows of the table that it is trained on.
        held_out: Rows of its fold.
    """

    net: str
    fold: str
    tasks: Sequence[Task]
    rows: NDArray[np.int64]
    held_out: NDArray[np.int64]

    @property
    def place(self) -> str:
        """Folder of the net, relative to the stage."""
        return f"{self.net}/{fold_name(self.fold)}"


def fold_name(fold: str) -> str:
    """Name a fold in paths: ``fold0``, or ``all``."""
    return fold if fold == ALL else f"fold{fold}"


def plan(
    table: "pd.DataFrame",
    tasks: Sequence[Task],
    settings: FinetuneSettings,
    n_folds: int,
) -> list[Job]:
    """List the nets to train, those of a fold together.

    Rows of weight 0 are not trained on; they are held out like any other.

    Raises:
        UserError: The table has no folds, a fold asked for is not one of them, or a net
            has fewer rows than a batch.
    """
    wanted = folds_of(settings, n_folds)
    is_taught = weights_of(table) > 0
    nets = [(JOINT, tasks)] if settings.joint else [(t.name, [t]) for t in tasks]
    jobs = []
    for fold in wanted:
        is_held_out, may_be_seen = fold_masks(table, fold)
        for name, members in nets:
            has_label = np.logical_or.reduce([task.has_label for task in members])
            rows = np.flatnonzero(has_label & may_be_seen & is_taught)
            jobs.append(Job(name, fold, members, rows, np.flatnonzero(is_held_out)))
    _check(jobs, settings)
    return jobs


def folds_of(settings: FinetuneSettings, n_folds: int) -> list[str]:
    """List the folds to train, each once.

    Raises:
        UserError: There are no folds, or one asked for is not one of them.
    """
    known = [str(k) for k in range(n_folds)]
    if not known and not (settings.all or settings.folds == (ALL,)):
        raise UserError(
            "the run has no folds; give a train table and a target in [data] and"
            " prepare again, or train a single net with --all"
        )
    wanted = list(dict.fromkeys([*(settings.folds or known), *[ALL] * settings.all]))
    for fold in wanted:
        if fold not in (*known, ALL):
            raise UserError(
                f"folds = {fold!r}: give some of {', '.join([*known, ALL])}"
            )
    return wanted


def check_plan(outlook: Outlook, settings: FinetuneSettings) -> None:
    """Check tasks, folds and numbers of rows; before there are folds, what any leave.

    Raises:
        UserError: See ``plan``; or a task is unknown or its labels do not fit.
    """
    n_folds = outlook.metadata["n_folds"]
    tasks = outlook.tasks(settings.tasks)
    if outlook.prepared:
        plan(outlook.table, tasks, settings, n_folds)
        return
    wanted = folds_of(settings, n_folds)
    table = outlook.table
    is_taught = (weights_of(table) > 0) & (table["split"] == "train").to_numpy()
    is_dealt = ~table["is_excluded"].to_numpy(dtype=np.bool_)
    nets = [(JOINT, tasks)] if settings.joint else [(t.name, [t]) for t in tasks]
    for name, members in nets:
        has_label = np.logical_or.reduce([task.has_label for task in members])
        n_rows = int((has_label & is_taught).sum())
        if set(map(str, range(n_folds))) <= set(wanted) and n_folds:
            # some fold holds out its share of them, or more
            n_rows -= -(-int((has_label & is_taught & is_dealt).sum()) // n_folds)
        settings.check_enough(n_rows, name, "labelled picture")


def _check(jobs: Sequence[Job], settings: FinetuneSettings) -> None:
    """Check that each net has something to learn from, before the first is trained."""
    for job in jobs:
        settings.check_enough(len(job.rows), job.place, "labelled picture")
        for task in job.tasks:
            if not task.has_label[job.rows].any():
                raise UserError(
                    f"{job.place}: outside its fold no row has a label of"
                    f" [tasks.{task.name}]; name the other tasks with --tasks"
                )
