"""How the nets of a stage are trained: one after another, or side by side.

Side by side each net has a process of its own, with its share of the threads or a GPU.
The pixels are mapped, so all processes share the memory that holds them. A net is a
function of its settings, its rows and the number of threads, which may change the last
bits of a sum: with the same ``--threads`` its weights are the same either way.
"""

import functools
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from data_prep.errors import UserError
from pretext.device import USUAL_THREADS, set_threads
from pretext.engine.progress import Report
from transfer.jobs import Job
from transfer.running.live_table import LiveTable
from transfer.running.side_by_side import Scores, Work, run_side_by_side
from transfer.training.finetune_data import FinetuneData
from transfer.training.train_net import finished_net, train_net

VISIBLE = "CUDA_VISIBLE_DEVICES"
log = logging.getLogger(__name__)


def run_jobs(jobs: Sequence[Job], data: FinetuneData) -> list[dict[str, Any]]:
    """Train nets, ``settings.jobs`` at once, and only those that are missing.

    Returns:
        What the record says of each net, in the order of the jobs.

    Raises:
        UserError: A net failed. Side by side the others are trained all the same.
    """
    n_at_once = min(data.settings.jobs, len(jobs))
    if n_at_once == 1:
        return one_after_another(jobs, data)
    # by the jobs of the whole stage, so that a kill changes no net's threads
    threads = data.settings.threads or max(1, USUAL_THREADS // n_at_once)
    data = replace(data, settings=replace(data.settings, threads=threads))
    missing = [job for job in jobs if finished_net(job, data.folder) is None]
    if len(missing) > 1:
        _side_by_side(missing, data, min(n_at_once, len(missing)))
    return [finished_net(job, data.folder) or train_net(job, data) for job in jobs]


def one_after_another(jobs: Sequence[Job], data: FinetuneData) -> list[dict[str, Any]]:
    """Train nets in this process; those that are there are only read."""
    results = []
    for number, job in enumerate(jobs, start=1):
        log.info(
            "net %d of %d: %s, %d rows to train on, %d held out%s",
            number,
            len(jobs),
            job.path,
            len(job.train_idx),
            len(job.val_idx),
            _kept_back(job, data.settings.select),
        )
        results.append(train_net(job, data))
    return results


def _kept_back(job: Job, select: str) -> str:
    """Say how many rows are left out of both, to choose the epoch by."""
    n = len(job.choice_idx) if select == "inner" else 0
    return f", {n} kept back to choose the epoch by" if n else ""


def _side_by_side(jobs: Sequence[Job], data: FinetuneData, n_at_once: int) -> None:
    works = [
        Work(
            name=job.path,
            function=functools.partial(_train, job, data),
            log_file=data.folder / job.path / "logs" / "job.log",
        )
        for job in jobs
    ]
    log.info(
        "%d nets, %d at once on %d threads each; their logs: %s",
        len(jobs),
        n_at_once,
        data.settings.threads,
        data.folder / "NET" / "FOLD" / "logs" / "job.log",
    )
    table = LiveTable([job.path for job in jobs])
    failures = run_side_by_side(works, slots(n_at_once), table)
    if failures:
        shown = "; ".join(f"{path}: {reason}" for path, reason in failures.items())
        first = data.folder / next(iter(failures)) / "logs" / "job.log"
        raise UserError(
            f"{len(failures)} of {len(jobs)} nets failed ({shown}); see {first}; the"
            " others are kept, and the same command trains what is missing"
        )


def _train(job: Job, data: FinetuneData, report: Report) -> Scores:
    """Train a net in a process of its own."""
    set_threads(data.settings.threads)
    scores: Scores = train_net(job, data, report)["held_out_scores"]
    return scores


def slots(n_at_once: int) -> list[Mapping[str, str]]:
    """Deal the GPUs to processes in turn; without one a slot has no variables."""
    n_gpus = torch.cuda.device_count()
    visible = os.environ.get(VISIBLE, "").split(",")
    names = visible if len(visible) >= n_gpus > 0 and visible[0] else range(n_gpus)
    gpus = [str(name).strip() for name in names][:n_gpus]
    return [{VISIBLE: gpus[k % n_gpus]} if gpus else {} for k in range(n_at_once)]
