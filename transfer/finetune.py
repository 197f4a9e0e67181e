"""Fine-tune: one net per sub-task and fold, or one joint net per fold.

    python -m transfer.finetune --experiment experiments/demo.toml --joint

Reads ``data_prep.prepare`` and the weights named by ``--init``; writes
``transfer.finetune/NET/foldK/weights.safetensors``, where NET is the name of the task,
or ``joint``. The net of fold K never sees a label of fold K; the last epoch is kept, so
nothing is chosen on those labels either, unless ``--select fold`` asks for it: the
features say so then. ``--select inner`` chooses on rows of the other folds.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.command import open_command, run_command
from data_prep.prepared import PREPARED
from data_prep.reporting.numerals import style_for
from data_prep.waiting import settle_waiting
from pretext.init_weights import SELECTED, find_weights, is_selected
from pretext.preflight import check_devices, check_names, log_ignored_tag
from transfer.kept_folds import find_kept
from transfer.settings import FinetuneSettings

if TYPE_CHECKING:
    import pandas as pd

    from data_prep.tasks import Task
    from transfer.jobs import Job
    from transfer.training.finetune_data import FinetuneData

STAGE = "transfer.finetune"
log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> Path:
    """Fine-tune as the command line says, and return the folder of the stage."""
    settings, run, experiment = open_command(FinetuneSettings, STAGE, argv)
    first_weights = find_weights(settings.init, run)
    reads = settings.reads
    kept = find_kept(settings, run, settings.config(experiment, run))
    if kept.text:
        log.info("%s", kept.text)
    settings = replace(settings, folds=kept.folds)
    config = settings.config(experiment, run)
    if not settings.find_lr and (done := run.current(STAGE, config, reads=reads)):
        return done.folder
    prepared = run.finished(PREPARED)
    from data_prep.outlook import Outlook

    outlook = Outlook.of_prepared(prepared, run, experiment)
    settings.check_data(outlook)
    settle_waiting(settings.threads * (settings.jobs or 1) * settings.devices)
    settings.check_cluster()
    check_names(settings.backbone, settings.optimizer, settings.logger)
    check_devices(settings)
    log_ignored_tag(settings.init, settings.backbone)

    from transfer.jobs import find_pseudo, plan

    metadata, table = prepared.metadata, outlook.table
    tasks = outlook.tasks(settings.tasks)
    pseudo = find_pseudo(settings, outlook, tasks)
    jobs = plan(table, tasks, settings, metadata["n_folds"], pseudo=pseudo)
    log_rows(tasks, table)

    from transfer.results.teaching import teach
    from transfer.results.verdicts import judge
    from transfer.training.finetune_data import FinetuneData
    from transfer.training.many_nets import run_jobs

    data = FinetuneData.open(
        settings,
        first_weights,
        prepared=prepared,
        table=table,
        run=run,
        folder=run.folder / "find_lr" / STAGE,
    )
    if settings.find_lr:
        try_all_rates(teach(jobs, pseudo, data), data)
        return data.folder
    with run.stage(STAGE, config, reads=reads, copied=kept.places) as stage:
        data = replace(data, folder=stage.folder)
        kept.copy(stage.folder)
        jobs = teach(jobs, pseudo, data)
        nets = run_jobs(jobs, data)
        verdicts = judge(nets, jobs, settings, table=table, folder=stage.folder)
        stage.device = str(data.pictures.device)
        stage.metadata = {**_metadata(nets, data), "verdicts": verdicts}
    for line in [*summary(nets), *verdicts]:
        log.info("%s", line)
    log.info("-> %s", run.folder / STAGE)
    return run.folder / STAGE


def try_all_rates(jobs: "Sequence[Job]", data: "FinetuneData") -> None:
    """Try learning rates on the nets of a fold: a rate for one does for all."""
    from transfer.training.train_net import try_rates

    for job in jobs:
        if job.fold == jobs[0].fold:
            try_rates(job, data)


def _metadata(
    nets: Sequence[Mapping[str, Any]], data: "FinetuneData"
) -> dict[str, Any]:
    """Say for the record what was trained, and how."""
    return {
        "nets": nets,
        "joint": data.settings.joint,
        "world_size": data.settings.world_size,
        "sync_batchnorm": data.settings.sync_batchnorm,
        "folds": list(dict.fromkeys(net["fold"] for net in nets)),
        "side_px": data.final_side_px,
        "init": data.settings.init,
        "role_of_fold": data.settings.role_of_fold,
        SELECTED: is_selected(data.first_weights),
        **({"user_columns": data.columns.to_json()} if data.columns else {}),
    }


def log_rows(tasks: "Sequence[Task]", table: "pd.DataFrame") -> None:
    """Say of how many rows nothing, or less, is learned.

    Args:
        tasks: With the labels of the rows.
        table: N rows as prepared.
    """
    from data_prep.rows import weights_of

    n_train = int((table["split"] == "train").sum())
    for task in tasks:
        if n_masked := n_train - int(task.has_label.sum()):
            log.info(
                "task %s: %d of %d training rows have no label for it",
                task.name,
                n_masked,
                n_train,
            )
    sample_weight = weights_of(table)
    if (sample_weight < 1).any():
        log.info(
            "[data] sample_weights: %d rows are not trained on, %d with less weight",
            (sample_weight == 0).sum(),
            ((sample_weight > 0) & (sample_weight < 1)).sum(),
        )


def summary(nets: Sequence[dict[str, Any]]) -> list[str]:
    """Put the held-out scores into one line per score, fold by fold."""
    scores: dict[str, list[float]] = {}
    for net in nets:
        for name, value in net["held_out_scores"].items():
            scores.setdefault(name, []).append(value)
    lines = []
    for name, values in scores.items():
        mean, style = sum(values) / len(values), style_for(*values)
        fold_texts = ", ".join(f"{value:{style}}" for value in values)
        lines.append(f"{name}: {mean:{style}} on held-out folds ({fold_texts})")
    return lines


if __name__ == "__main__":
    run_command(main)
