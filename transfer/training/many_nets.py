"""All nets of a stage are trained: one after another, or side by side.

Side by side each net has a process of its own, with its share of the threads or a GPU.
The pixels are mapped, so all processes share the memory that holds them. A net is a
function of its settings, its rows and the number of threads, which may change the last
bits of a sum: with the same ``--threads`` its weights are the same either way.
"""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from data_prep.executors.progress import Report
from data_prep.executors.run import run
from data_prep.executors.work import Result, Work
from pretext.device import pool_of, set_threads
from transfer.jobs import Job
from transfer.training.finetune_data import FinetuneData
from transfer.training.train_net import finished_net, train_net

REMEDY = "the others are kept, and the same command trains what is missing"


def run_jobs(jobs: Sequence[Job], data: FinetuneData) -> list[dict[str, Any]]:
    """Train nets as ``settings`` say where, and only those that are missing.

    Returns:
        What the record says of each net, in the order of the jobs.

    Raises:
        UserError: A net failed. Side by side the others are trained all the same.
    """
    pool = pool_of(data.settings, len(jobs), data.settings.threads)
    data = replace(data, settings=replace(data.settings, threads=pool.threads))
    missing = list(jobs)
    if pool.executor != "here":
        missing = [job for job in jobs if finished_net(job, data.folder) is None]
        pool = pool.for_missing(len(missing))
    works = [_work_of(job, data) for job in missing]
    logs = data.folder / "NET" / "FOLD" / "logs" / "job.log"
    outcome = run(works, pool, noun="net", logs=logs)
    outcome.check(works, "net", REMEDY)
    nets = []
    for job in jobs:
        done = outcome.results.get(job.path)
        net = done.value if done else finished_net(job, data.folder)
        nets.append(net or train_net(job, data))
    return nets


def _work_of(job: Job, data: FinetuneData) -> Work:
    note = f"{len(job.train_idx)} rows to train on, {len(job.val_idx)} held out"
    if data.settings.select == "inner":
        note += f", {len(job.choice_idx)} kept back to choose the epoch by"
    return Work(
        name=job.path,
        function=functools.partial(_train, job, data),
        log_file=data.folder / job.path / "logs" / "job.log",
        note=note,
        reads=data.files,
        writes=data.folder / job.path,
    )


def _train(job: Job, data: FinetuneData, report: Report | None) -> Result:
    """Train a net, wherever this is."""
    set_threads(data.settings.threads)
    net = train_net(job, data, report)
    return Result(scores=net["held_out_scores"], value=net)
