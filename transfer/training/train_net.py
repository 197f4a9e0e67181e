"""Train one net of the transfer, and keep it with all that predicting needs."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from data_prep.errors import UserError
from data_prep.executors.progress import Report
from data_prep.reporting.numerals import four_digits
from data_prep.run_folders.damage import read_json
from data_prep.run_folders.runs import write_json
from pretext.data.presets import preset
from pretext.device import set_threads
from pretext.engine.callbacks import StopTraining
from pretext.engine.epochs import HELD_OUT, add_to_last_epoch
from pretext.engine.lr_finder import find_lr
from pretext.engine.module import DivergedError
from pretext.engine.training import train
from pretext.networks.backbones import begin_backbone, save_weights
from pretext.networks.trial import check_final_side
from transfer.jobs import Job
from transfer.mix_settings import can_mix
from transfer.networks.task_net import FORMAT, TaskNet, describe, load_net
from transfer.search.trials import Draft, Judge
from transfer.settings import FinetuneSettings
from transfer.training.epoch_choice import EpochChoice
from transfer.training.finetune_data import FinetuneData
from transfer.training.learner import FinetuneLearner, score_rows
from transfer.training.mixer import Mixer

WEIGHTS = "weights.safetensors"  # in the folder of a net
# in logs/, since its images/s must not make equal weights another result
RESULT = "logs/result.json"
log = logging.getLogger(__name__)


def finished_net(job: Job, stage: Path) -> dict[str, Any] | None:
    """Give what an earlier attempt said of a net; None: it is not whole, or not there.

    Args:
        job: The net.
        stage: Folder of the stage.
    """
    folder = stage / job.path
    is_trained = _trained(folder / WEIGHTS) is not None
    return _result_of(folder / RESULT) if is_trained else None


def train_net(
    job: Job, data: FinetuneData, report: Report | None = None
) -> dict[str, Any]:
    """Train one net, or go on where an earlier attempt stopped.

    Args:
        job: The net.
        data: What all nets are made from.
        report: Shows the progress in place of a bar.

    Returns:
        What the record says of the net.
    """
    folder = data.folder / job.path
    weights = folder / WEIGHTS
    trained = _trained(weights)
    if trained and (done := _result_of(folder / RESULT)):
        log.info("%s is done already", job.path)
        return done
    rate: dict[str, Any] = {}
    if trained:  # but stopped before it was scored
        net, config = trained
        net.to(data.pictures.device)
    else:
        net, config = _begin(job, data)
        log.info("%s begins from %s", job.path, config["begun_from"])
        config, rate = _train(
            net=net,
            job=job,
            data=data,
            weights=weights,
            config=config,
            report=report,
        )
    net.eval()
    scores = score_rows(net, job.tasks, data.pictures, job.val_idx)
    if config.keys().isdisjoint({"chosen", "averaged"}):
        add_to_last_epoch(folder, _held_out(scores))
    shown = ", ".join(f"{name} {four_digits(value)}" for name, value in scores.items())
    log.info("%s: held-out fold, plain view: %s", job.path, shown or "nothing to score")
    result = {
        "net": job.net,
        "fold": job.fold,
        "place": job.path,
        "tasks": config["tasks"],
        "rows": len(job.train_idx),
        **({"pseudo_rows": len(job.pseudo_idx)} if len(job.pseudo_idx) else {}),
        "begun_from": config["begun_from"],
        **({"chosen": config["chosen"]} if "chosen" in config else {}),
        "held_out_scores": scores,
        **rate,
    }
    write_json(folder / RESULT, result)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return result


def try_rates(job: Job, data: FinetuneData) -> None:
    """Try learning rates on a net, draw its loss and suggest one; no weight is kept."""
    net, config = _begin(job, data)
    log.info("%s begins from %s", job.path, config["begun_from"])
    find_lr(
        _learner(net, job, data),
        data.pictures,
        train_idx=job.train_idx,
        ids=[data.ids[row] for row in job.train_idx],
        settings=data.settings,
        folder=data.folder / job.path,
        label=job.path,
    )


def try_draft(
    job: Job, data: FinetuneData, draft: Draft, judge: Judge, report: Report
) -> str:
    """Make a trial of a search, wherever this is; only its logs are kept.

    Args:
        job: The net, scored on its ``choice_idx``.
        data: What it is made from, but for the settings.
        draft: What is tried.
        judge: Is told each epoch, from 1, and its scores; whether to go on.
        report: Shows the progress in place of a bar.

    Returns:
        Why it ended early; empty: it did not.
    """
    set_threads(draft.settings.threads)
    of_trial = replace(data, settings=draft.settings, folder=draft.folder)
    ended = try_recipe(job, of_trial, judge, report)
    shutil.rmtree(draft.folder / "checkpoints", ignore_errors=True)
    return ended


def try_recipe(job: Job, data: FinetuneData, judge: Judge, report: Report) -> str:
    """Train a net by some settings and let its epochs be judged; no weight is kept.

    Args:
        job: The net, scored on its ``choice_idx``.
        data: What it is made from; the logs go into ``folder``.
        judge: Is told each epoch, from 1, and its scores; whether to go on.
        report: Shows the progress in place of a bar.

    Returns:
        Why it ended early; empty: it did not.
    """
    net, _ = _begin(job, data)

    def publish(epoch: int) -> dict[str, float]:
        scores = score_rows(net, job.tasks, data.pictures, job.choice_idx)
        logged = {f"inner/{name}": score for name, score in scores.items()}
        if not judge(epoch, scores):
            raise StopTraining("worse than the median", logged)
        return logged

    try:
        outcome = train(
            _learner(net, job, data),
            pictures=data.pictures,
            train_idx=job.train_idx,
            ids=[data.ids[row] for row in job.train_idx],
            settings=data.settings,
            folder=data.folder,
            label=job.path,
            publish=publish,
            report=report,
        )
    except DivergedError:
        return "diverged"
    except torch.OutOfMemoryError:
        return "too little memory"
    return outcome.stopped


def _held_out(scores: Mapping[str, float]) -> dict[str, float]:
    """Name the scores of the held-out fold as the records of the epochs do."""
    return {f"{HELD_OUT}{name}": score for name, score in scores.items()}


def _trained(weights: Path) -> tuple[TaskNet, dict[str, Any]] | None:
    """Load the net of an earlier attempt; None: there is none, or not a whole one."""
    if not weights.exists():
        return None
    try:
        return load_net(weights)
    except UserError as error:
        log.warning("%s; it is trained anew", error)
        return None


def _result_of(file: Path) -> dict[str, Any] | None:
    """Read what an earlier attempt said of its net; None: nothing, or not all."""
    try:
        return read_json(file) if file.exists() else None
    except UserError as error:
        log.warning("%s; the net is scored anew", error)
        return None


def _begin(job: Job, data: FinetuneData) -> tuple[TaskNet, dict[str, Any]]:
    """Give the net before its first step, and what the JSON beside it says."""
    settings, normalise = data.settings, data.normalise
    torch.manual_seed(settings.seed)
    name, backbone, begun_from = begin_backbone(
        settings.backbone, data.first_weights, data.side_px
    )
    heads = [describe(task) for task in job.tasks]
    final_px = data.final_side_px
    check_final_side(
        backbone,
        name,
        final_px=final_px,
        picture_px=data.pictures.side_px,
        scale=settings.final_scale,
    )
    net = TaskNet(
        backbone=backbone,
        tasks=heads,
        normalise=normalise,
        side_px=final_px,
        dropout=settings.dropout,
        head_width=settings.head_width,
        columns=data.columns,
    )
    for task in job.tasks:
        rows = job.labelled_idx
        net.head(task.name).start_at(task, rows[task.has_label[rows]])
    config = {
        "format": FORMAT,
        "backbone": name,
        "side_px": final_px,
        "mean": list(normalise.mean),
        "std": list(normalise.std),
        "tasks": heads,
        "fold": job.fold,
        "epoch": settings.n_epochs(len(job.train_idx)),
        "begun_from": begun_from,
    }
    if settings.head_width:
        config["head_width"] = settings.head_width
    if data.columns:
        config["user_columns"] = data.columns.to_json()
    return net, config


def _learner(net: TaskNet, job: Job, data: FinetuneData) -> FinetuneLearner:
    """Give what is trained: a net, its labels and its views."""
    settings, kept = data.settings, data.kept_pretext
    params = preset(
        settings.augment,
        min_area=settings.min_area,
        d4=settings.turns,
        colour=settings.colour,
        rand=(settings.rand_operations, settings.rand_magnitude),
    )
    return FinetuneLearner(
        net=net,
        tasks=job.tasks,
        soft=job.soft,
        side_px=data.side_px,
        params=params,
        sample_weight=data.sample_weight,
        moving=settings.moving,
        kept=kept.begin(net.backbone, job, data.pictures) if kept else None,
        columns=data.pictures.columns,
        fill_frac=data.fill_frac,
        mixer=_mixer(net, job, settings),
    )


def _mixer(net: TaskNet, job: Job, settings: FinetuneSettings) -> Mixer | None:
    """Give what mixes the batches of a net; None: they stay plain."""
    if settings.mix == "none":
        return None
    if not can_mix(job.tasks):
        log.info("%s: mix is left out, as word vectors are never mixed", job.path)
        return None
    return Mixer(
        settings=settings,
        tasks=job.tasks,
        net=net,
        train_idx=job.train_idx,
        n_epochs=settings.n_epochs(len(job.train_idx)),
    )


def _train(
    net: TaskNet,
    job: Job,
    data: FinetuneData,
    weights: Path,
    config: dict[str, Any],
    report: Report | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train, keep the weights, and say which they are and how fast it went."""
    learner, ids = _learner(net, job, data), [data.ids[row] for row in job.train_idx]
    choice = EpochChoice(
        learner=learner,
        job=job,
        pictures=data.pictures,
        ids=ids,
        settings=data.settings,
        config=config,
        folder=weights.parent,
    )

    def publish(epoch: int) -> dict[str, float]:
        """Score the held-out fold if it is due, and let this epoch be chosen."""
        scores = {}
        if data.settings.score_every and epoch % data.settings.score_every == 0:
            rows = job.val_idx
            scores = _held_out(score_rows(net, job.tasks, data.pictures, rows))
        return {**scores, **choice(epoch)}

    outcome = train(
        learner,
        pictures=data.pictures,
        train_idx=job.train_idx,
        ids=ids,
        settings=data.settings,
        folder=weights.parent,
        label=job.path,
        publish=publish,
        report=report,
    )
    learner.to(data.pictures.device)  # Lightning leaves it on the CPU
    if outcome.stopped:
        log.info("%s: stopped: %s", job.path, outcome.stopped)
    config = config | choice.apply()
    save_weights(weights, net.state_dict(), config)  # the checkpoint is still there
    choice.tidy()
    if outcome.images_per_s:
        log.info("%s: %.0f images/s", job.path, outcome.images_per_s)
    return config, {
        "images_per_s": round(outcome.images_per_s, 1),
        "data_wait": round(outcome.data_share, 4),
    }
