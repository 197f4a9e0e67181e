"""What every pretext does around its task: load, build, train, keep the backbone."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.experiment import Experiment
from data_prep.outlook import Outlook
from data_prep.prepared import PREPARED, Prepared
from data_prep.run_folders.runs import Run
from data_prep.waiting import settle_waiting
from pretext.data.training_data import TrainingData, load_training_data
from pretext.init_weights import SELECTED, find_weights, is_selected
from pretext.preflight import check_devices, check_names, log_ignored_tag
from pretext.pretext_settings import PretextSettings

if TYPE_CHECKING:
    from torch import nn

    from pretext.engine.learner import Learner
    from pretext.engine.training import Outcome
    from pretext.evaluation.monitor import Monitor

N_COMPARED = 500  # pictures, to see whether there are different ones
log = logging.getLogger(__name__)


def pretrain(
    stage_name: str, settings: PretextSettings, run: Run, experiment: Experiment
) -> Path:
    """Train a pretext task on all pictures and keep the backbone.

    Args:
        stage_name: Dotted name of the stage.
        settings: The task, and how to train it.
        run: The run that the stage belongs to.
        experiment: What the labels are, for the monitor to measure by.

    Returns:
        The folder of the finished stage, or of what ``find_lr`` wrote.
    """
    weights_file = find_weights(settings.init, run)
    reads = settings.reads
    config = settings.config(experiment, run)
    if not settings.find_lr and (done := run.current(stage_name, config, reads=reads)):
        return done.folder
    log_ignored_tag(settings.init, settings.backbone)
    data = load_data(stage_name, settings, run, experiment, weights_file=weights_file)
    name, backbone, begun_from = begin(settings, data, weights_file)
    learner = settings.build_learner(backbone, data)
    if settings.find_lr:
        folder = run.folder / "find_lr" / stage_name
        find_rate(stage_name, settings, data, learner=learner, folder=folder)
        return folder
    if weights_file:
        log.info("%s begins from %s", stage_name, begun_from)
    with run.stage(stage_name, config, reads=reads) as stage:
        monitor, outcome = train(
            stage_name,
            settings,
            experiment=experiment,
            data=data,
            learner=learner,
            folder=stage.folder,
        )
        metadata = describe(
            stage_name,
            settings,
            data,
            backbone=name,
            begun_from=begun_from,
            steps=outcome.steps,
            is_selected=is_selected(weights_file),
        )
        selection = save_backbone(
            learner, monitor, {**metadata, **learner.metadata}, stage.folder
        )
        judgement = judge(settings, monitor, outcome.last, stage.seconds())
        stage.device = str(data.pictures.device)
        stage.metadata = {
            "backbone": name,
            "pictures": len(data.train_idx),
            "pictures_per_step": settings.pictures_per_step,
            "steps": outcome.steps,
            "world_size": settings.world_size,
            "sync_batchnorm": settings.sync_batchnorm,
            "stopped": outcome.stopped,
            "images_per_s": round(outcome.images_per_s, 1),
            "data_wait": round(outcome.data_share, 4),
            **{metric: round(value, 4) for metric, value in outcome.last.items()},
            **selection,
            **judgement,
        }
    log_outcome(stage_name, settings, outcome, run.folder / stage_name)
    log_verdicts(stage_name, judgement["verdicts"])
    return run.folder / stage_name


def load_data(
    stage_name: str,
    settings: PretextSettings,
    run: Run,
    experiment: Experiment,
    *,
    weights_file: Path | None,
) -> TrainingData:
    """Check the settings against what is prepared, and open the pictures.

    They are normalised as the first weights know them.

    Raises:
        UserError: A setting does not fit, there are too few pictures, or all are alike.
    """
    prepared = Prepared.open(run.finished(PREPARED))
    settings.check_data(Outlook.of_prepared(prepared, run, experiment))
    settle_waiting(settings.threads * settings.devices)
    check_names(settings.backbone, settings.optimizer, settings.logger)
    check_devices(settings)
    from pretext.device import pick_device
    from pretext.networks.backbones import own_normalisation

    data = load_training_data(
        prepared,
        pick_device(),
        held_out_frac=settings.held_out,
        inductive=settings.inductive,
        seed=settings.seed,
    )
    settings.check_enough(len(data.train_idx), stage_name)
    data.pictures.check_different(data.train_idx[:N_COMPARED])
    normalise = own_normalisation(weights_file, settings.backbone, data.normalise)
    return replace(data, normalise=normalise)


def begin(
    settings: PretextSettings, data: TrainingData, weights_file: Path | None
) -> "tuple[str, nn.Module, str]":
    """Build the backbone and fill it with its first weights.

    Returns:
        Its name, the network, and a sentence on what it was filled with.

    Raises:
        UserError: The weights do not fit, or the network does not take the larger views
            of the last part.
    """
    import torch

    from pretext.networks.backbones import begin_backbone
    from pretext.networks.trial import check_final_side

    picture_px = data.pictures.side_px
    torch.manual_seed(settings.seed)
    name, backbone, begun_from = begin_backbone(
        settings.backbone, weights_file, settings.net_side_px(picture_px, 1.0)
    )
    check_final_side(
        backbone,
        name,
        final_px=settings.net_side_px(picture_px, settings.final_scale),
        picture_px=picture_px,
        scale=settings.final_scale,
    )
    return name, backbone, begun_from


def find_rate(
    stage_name: str,
    settings: PretextSettings,
    data: TrainingData,
    learner: "Learner",
    folder: Path,
) -> None:
    """Try learning rates in place of the training, and draw the loss over them."""
    from pretext.engine.lr_finder import find_lr

    find_lr(
        learner,
        data.pictures,
        train_idx=data.train_idx,
        ids=data.train_ids,
        settings=settings,
        folder=folder,
        label=stage_name,
    )


def train(
    stage_name: str,
    settings: PretextSettings,
    experiment: Experiment,
    data: TrainingData,
    learner: "Learner",
    folder: Path,
) -> "tuple[Monitor, Outcome]":
    """Train the learner in place, with a monitor that measures between epochs."""
    from pretext.engine import training
    from pretext.evaluation.monitor import Monitor

    monitor = Monitor.begin(
        learner, data, experiment=experiment, settings=settings, folder=folder
    )
    outcome = training.train(
        learner,
        data.pictures,
        train_idx=data.train_idx,
        ids=data.train_ids,
        settings=settings,
        folder=folder,
        label=stage_name,
        publish=monitor,
    )
    return monitor, outcome


def describe(
    stage_name: str,
    settings: PretextSettings,
    data: TrainingData,
    *,
    backbone: str,
    begun_from: str,
    steps: int,
    is_selected: bool,
) -> dict[str, Any]:
    """Say what stands beside the weights of any task, as JSON values.

    Args:
        stage_name: Dotted name of the stage.
        settings: How it was trained.
        data: What it was trained on.
        backbone: Name of the network.
        begun_from: What it was filled with before.
        steps: Optimiser steps made.
        is_selected: Labels chose the epoch of what it began from.

    Returns:
        Among others ``mean`` and ``std`` of the channels in grey levels 0..255, and
        ``side_px``, the side of the input in the last steps.
    """
    prepared = data.prepared.metadata
    return {
        "format": "tessera-backbone/1",
        "stage": stage_name,
        "backbone": backbone,
        "side_px": settings.net_side_px(data.pictures.side_px, settings.final_scale),
        "mean": list(data.normalise.mean),
        "std": list(data.normalise.std),
        "fit": prepared["fit"],
        "epochs": settings.epochs,
        "steps": steps,
        "begun_from": begun_from,
        "inductive": settings.inductive,
        "label_free": True,
        SELECTED: is_selected,
    }


def save_backbone(
    learner: "Learner", monitor: "Monitor", metadata: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """Write the weights to keep, and drop the checkpoints.

    Returns:
        What the monitor says of its choice; none where the last weights are kept and no
        label had a part in it.
    """
    from pretext.networks.backbones import save_weights

    last = learner.get_submodule("backbone").state_dict()
    tensors, selection = monitor.choose(last)
    save_weights(folder / "backbone.safetensors", tensors, metadata | selection)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return selection


def judge(
    settings: PretextSettings,
    monitor: "Monitor",
    last: Mapping[str, float],
    seconds: float,
) -> dict[str, Any]:
    """Say in plain words how the training went, and what to do.

    Args:
        settings: How it was trained.
        monitor: What measured it.
        last: The last value of each metric, by name.
        seconds: What it took, all attempts together.

    Returns:
        For the record: ``verdicts``, a sentence each, and ``probe_gains`` by task, of
        the gain on the first weights its value and the ends of its interval.
    """
    from pretext.engine.epochs import read_epochs
    from pretext.engine.rate_verdict import losses_of, on_rate
    from pretext.evaluation.verdicts import is_sure_to_help, on_chance, on_probe

    losses = losses_of(read_epochs(monitor.folder))
    rate = settings.learning_rate
    verdicts = [on_rate(losses, warmup=settings.warmup, learning_rate=rate)]
    gains, n_held_out = monitor.probe_gains(), len(monitor.data.val_idx)
    if (questions := settings.questions) and "held_out" in last and n_held_out:
        n_answers = n_held_out * questions.per_picture
        helps = is_sure_to_help(gains)
        chance = questions.chance
        verdicts.append(on_chance(last["held_out"], n_answers, chance, helps=helps))
    verdicts += [*monitor.announcements, on_probe(gains, seconds)]
    return {
        "probe_gains": {k: [g.value, g.low, g.high] for k, g in gains.items()},
        "verdicts": [verdict for verdict in verdicts if verdict],
    }


def log_verdicts(stage_name: str, verdicts: Sequence[str]) -> None:
    """Say what the numbers mean, a line each."""
    for verdict in verdicts:
        log.info("%s: %s", stage_name, verdict)


def log_outcome(
    stage_name: str, settings: PretextSettings, outcome: "Outcome", folder: Path
) -> None:
    """Say what was learned, and how fast."""
    log.info("%s: %s", stage_name, settings.summary(outcome.last))
    log.info(
        "%s: %d steps, %.0f images/s, %.1f %% of the time waiting for data -> %s",
        stage_name,
        outcome.steps,
        outcome.images_per_s,
        100 * outcome.data_share,
        folder,
    )
