"""Which nets are trained on which rows: no net sees a label of the fold it holds out.

Torch-free, so that a plan can be made and refused before anything starts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from data_prep.arrays import Bools, Ints
from data_prep.effort import Workload
from data_prep.errors import UserError
from data_prep.folds import ALL, fold_masks
from data_prep.outlook import Outlook
from data_prep.rows import weights_of
from data_prep.schemes import count_deals, is_in_time, split_sizes
from data_prep.tasks import Task
from pretext.preflight import network_of
from transfer.inner_split import inner_split
from transfer.settings import FinetuneSettings
from transfer.teacher import PseudoRows, SoftLabels, Teacher

if TYPE_CHECKING:
    import pandas as pd

START_S, NET_S = 3.0, 1.0  # of the stage, of each net: opening and writing
JOINT = "joint"  # the name of a net that has all tasks


@dataclass(frozen=True, kw_only=True)
class Job:
    """One net to train.

    Attributes:
        net: Name of its task, or ``joint``.
        fold: Number of the fold it never sees, or ``all``.
        tasks: What it learns.
        train_idx: Rows of the table that it is trained on.
        val_idx: Rows of its fold.
        choice_idx: Rows that its epoch is chosen by; none: it is the last.
        pseudo_idx: Those of ``train_idx`` that a teacher labels, and no table does.
        soft: By task, what the teacher says of those in place of a class.
    """

    net: str
    fold: str
    tasks: Sequence[Task]
    train_idx: Ints
    val_idx: Ints
    choice_idx: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    pseudo_idx: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    soft: Mapping[str, SoftLabels] = field(default_factory=dict)

    @property
    def labelled_idx(self) -> Ints:
        """Rows that it is trained on by labels of the table."""
        return np.setdiff1d(self.train_idx, self.pseudo_idx)

    @property
    def path(self) -> str:
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
    *,
    pseudo: PseudoRows | None = None,
) -> list[Job]:
    """List the nets to train, those of a fold together.

    Rows of weight 0 are not trained on; they are held out like any other.

    Args:
        table: N rows as prepared.
        tasks: With the labels of the rows.
        settings: Of the training.
        n_folds: How many folds there are.
        pseudo: Rows without label that a teacher is to label; None: there is none.

    Raises:
        UserError: The table has no folds, a fold asked for is not one of them, or a net
            has fewer rows than a batch, or none to choose its epoch by.
    """
    has_weight = weights_of(table) > 0
    jobs = []
    for fold in folds_of(settings, n_folds):
        val_mask, train_mask = fold_masks(table, fold)
        for name, tasks_of_net in _nets(tasks, settings):
            mask = _has_any_label(tasks_of_net) & train_mask & has_weight
            job = Job(
                net=name,
                fold=fold,
                tasks=tasks_of_net,
                train_idx=np.flatnonzero(mask),
                val_idx=np.flatnonzero(val_mask),
            )
            job = _with_choice(job, table, settings)
            jobs.append(_with_pseudo(job, table, pseudo) if pseudo else job)
    check_jobs(jobs, settings)
    return jobs


def hide_labels(job: Job) -> Job:
    """Take from a net all labels but those of the rows that train it or choose by."""
    rows = np.concatenate([job.train_idx, job.choice_idx])
    tasks = []
    for task in job.tasks:
        is_known = np.isin(np.arange(len(task.has_label)), rows) & task.has_label
        values = np.where(is_known[:, None], task.values, 0)
        tasks.append(replace(task, values=values, has_label=is_known))
    return replace(job, tasks=tasks, val_idx=job.val_idx[:0])


def _with_choice(job: Job, table: "pd.DataFrame", settings: FinetuneSettings) -> Job:
    """Say which rows the epoch of a net is chosen by; inner ones do not train."""
    if settings.select == "fold":
        return replace(job, choice_idx=job.val_idx)
    if settings.select == "last":
        return job
    train_idx, inner_idx = inner_split(
        table, job.train_idx, seed=settings.seed, share=settings.inner_share
    )
    return replace(job, train_idx=train_idx, choice_idx=inner_idx)


def _with_pseudo(job: Job, table: "pd.DataFrame", pseudo: PseudoRows) -> Job:
    """Let a net learn the rows that a teacher labels, if it has a task of those.

    Not the copies of rows that it is scored or chosen by, nor what is of their group:
    such rows are not trained on, whether or not they have a label.
    """
    if not any(task.name in pseudo.tasks for task in job.tasks):
        return job
    cv_groups = table["cv_group"].to_numpy()
    held_out = cv_groups[np.union1d(job.val_idx, job.choice_idx)]
    rows = pseudo.rows[~np.isin(cv_groups[pseudo.rows], held_out)]
    return replace(job, train_idx=np.union1d(job.train_idx, rows), pseudo_idx=rows)


def find_pseudo(
    settings: FinetuneSettings, outlook: Outlook, tasks: Sequence[Task]
) -> PseudoRows | None:
    """Open the run whose nets label the pictures without label; None: there is none.

    Raises:
        UserError: It does not fit, or would know labels that are held out here.
    """
    if not settings.pseudo_labels:
        return None
    teacher = Teacher.open(settings.pseudo_labels, outlook.run)
    teacher.check_target(outlook.metadata)
    if outlook.prepared:
        folds = folds_of(settings, outlook.metadata["n_folds"])
        teacher.check_folds(outlook.table, outlook.metadata, folds)
    return teacher.teaches(
        outlook.table,
        tasks,
        outlook.metadata.get("target_column"),
        min_confidence=settings.pseudo_min_confidence,
    )


def _nets(
    tasks: Sequence[Task], settings: FinetuneSettings
) -> list[tuple[str, Sequence[Task]]]:
    """Give the tasks of each net of a fold, by its name."""
    return [(JOINT, tasks)] if settings.joint else [(t.name, [t]) for t in tasks]


def _has_any_label(tasks: Sequence[Task]) -> Bools:
    mask: Bools = np.logical_or.reduce([task.has_label for task in tasks])
    return mask


def folds_of(settings: FinetuneSettings, n_folds: int) -> list[str]:
    """List the folds to train, each once.

    Raises:
        UserError: There are no folds, or one asked for is not one of them.
    """
    stored = [str(k) for k in range(n_folds)]
    if not stored and not (settings.all or settings.folds == (ALL,)):
        raise UserError(
            "the run has no folds; give a train table and a target in [data] and"
            " prepare again, or train a single net with --all"
        )
    folds = list(dict.fromkeys([*(settings.folds or stored), *[ALL] * settings.all]))
    for fold in folds:
        if fold not in (*stored, ALL):
            raise UserError(
                f"folds = {fold!r}: give some of {', '.join([*stored, ALL])}"
            )
    return folds


def check_plan(outlook: Outlook, settings: FinetuneSettings) -> None:
    """Check tasks, folds and numbers of rows; before there are folds, what any leave.

    Raises:
        UserError: See ``plan``; or a task is unknown or its labels do not fit.
    """
    n_folds = outlook.metadata["n_folds"]
    tasks = outlook.tasks(settings.tasks)
    check_devices_of(tasks, settings)
    settings.check_mix(_nets(tasks, settings))
    pseudo = find_pseudo(settings, outlook, tasks)
    if outlook.prepared:
        plan(outlook.table, tasks, settings, n_folds, pseudo=pseudo)
        return
    folds, table = folds_of(settings, n_folds), outlook.table
    train_mask = (weights_of(table) > 0) & (table["split"] == "train").to_numpy()
    is_assigned = ~table["is_excluded"].to_numpy(dtype=np.bool_)
    for name, tasks_of_net in _nets(tasks, settings):
        mask = _has_any_label(tasks_of_net) & train_mask
        n_rows = int(mask.sum())
        is_each = n_folds and set(map(str, range(n_folds))) <= set(folds)
        if is_each and not is_in_time(outlook.metadata["cv"]):
            # some fold holds out its share of them, or more
            n_of_deal = n_folds // count_deals(outlook.metadata["cv"])
            n_rows -= -(-int((mask & is_assigned).sum()) // n_of_deal)
        settings.check_enough(n_rows, name, "labelled picture")


def check_devices_of(tasks: Sequence[Task], settings: FinetuneSettings) -> None:
    """Refuse what several devices cannot share.

    Raises:
        UserError: A loss compares features of pictures, or a norm sums up passes that
            only some parts of a batch make.
    """
    if (
        settings.world_size > 1
        and settings.sync_batchnorm
        and settings.mix == "snapmix"
    ):
        raise UserError(
            "mix = 'snapmix' sends some parts of a batch through the network once more,"
            " and sync_batchnorm = true takes all parts in each pass; leave one of the"
            " two out"
        )
    for task in tasks:
        if settings.world_size > 1 and task.task_type.head_loss().needs_features:
            raise UserError(
                f"[tasks.{task.name}] has ranksim, which compares all pictures of a"
                f" batch, but {settings.world_size} devices share each; give devices ="
                " 1, or take ranksim out"
            )


def count_work(outlook: Outlook, settings: FinetuneSettings) -> Workload:
    """Count the pictures that all nets train on and are scored by.

    Before there are folds, each holds out its share.
    """
    n_folds = outlook.metadata["n_folds"]
    tasks = outlook.tasks(settings.tasks)
    n_nets = len(_nets(tasks, settings))
    pseudo = find_pseudo(settings, outlook, tasks)
    if outlook.prepared:
        jobs = plan(outlook.table, tasks, settings, n_folds, pseudo=pseudo)
        rows = [(len(job.train_idx), len(job.val_idx)) for job in jobs]
    else:
        n = int((outlook.table["split"] == "train").sum())
        folds = folds_of(settings, n_folds) * n_nets
        cv = outlook.metadata["cv"]
        n_of_deal, in_time = n_folds // count_deals(cv), is_in_time(cv)
        rows = [
            (n, 0)
            if fold == ALL
            else split_sizes(n, n_of_deal, int(fold), in_time=in_time)
            for fold in folds
        ]
        n_pseudo = len(pseudo.rows) if pseudo else 0
        rows = [(n_trained_on + n_pseudo, n_val) for n_trained_on, n_val in rows]
    trained = scored = 0.0
    for n_trained_on, n_held_out in rows:
        seen = settings.total_steps(n_trained_on) * settings.pictures_per_step
        n_epochs = seen / max(1, n_trained_on)
        often = n_epochs / settings.score_every if settings.score_every else 0
        chosen = n_epochs * settings.inner_share if settings.select == "inner" else 0
        trained += seen * settings.work_share(n_epochs)
        scored += n_held_out * (1 + often) + n_trained_on * chosen
    return Workload(
        network=network_of(settings.init, settings.backbone, outlook) or "",
        side_px=settings.net_side_px(outlook.metadata["side"], 1.0),
        batch_size=settings.batch_size,
        trained=trained,
        inferred=scored,
        seconds=START_S + NET_S * len(rows),
        weights_kept=len(rows) * (1 + settings.keep_epochs),
        pieces=max(1, len(rows)),
    )


def check_jobs(jobs: Sequence[Job], settings: FinetuneSettings) -> None:
    """Check that each net has something to learn from, before the first is trained."""
    for job in jobs:
        label = job.path
        if settings.select == "inner":
            label += f" after inner_share = {settings.inner_share}"
        n = len(job.train_idx)
        settings.check_enough(n, label, "labelled picture")
        n_frozen_steps = settings.unfreeze_after * settings.steps_per_epoch(n)
        if settings.steps and n_frozen_steps >= settings.steps:
            raise UserError(
                f"unfreeze_after = {settings.unfreeze_after}, but {job.path} is trained"
                f" for {settings.steps} steps, {settings.steps_per_epoch(n)} to the"
                " epoch; give fewer, or 0 for never"
            )
        if settings.mix_last_plain >= settings.n_epochs(n):
            raise UserError(
                f"mix_last_plain = {settings.mix_last_plain}, but {job.path} is trained"
                f" for {settings.n_epochs(n)} epochs; give fewer, or take mix out"
            )
        for task in job.tasks:
            if not task.has_label[job.train_idx].any():
                raise UserError(
                    f"{job.path}: outside its fold no row has a label of"
                    f" [tasks.{task.name}]; name the other tasks with --tasks"
                )
        task = job.tasks[0]
        if len(job.choice_idx) and not task.has_label[job.choice_idx].any():
            raise UserError(
                f"{job.path}: select = {settings.select!r} chooses by"
                f" [tasks.{task.name}], and none of the {len(job.choice_idx)} rows to"
                " choose by has a label of it; name the other tasks with --tasks, or"
                " leave --select out"
            )
