"""What every pretext command does around its task: open, train, keep the weights."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.experiment import Experiment
from data_prep.prepared import PREPARED
from data_prep.run_folders.runs import Run
from data_prep.settings import recorded
from data_prep.waiting import settle_waiting
from pretext.networks.init_weights import begin_backbone, find_weights, is_stage, key_of
from pretext.preflight import check_larger_views, check_names
from pretext.settings import PretextSettings, n_held_out

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from pretext.data.pictures import Normalisation, Pictures
    from pretext.engine.learner import Learner

LOOKED_AT = 500  # pictures, to see whether there are different ones
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Material:
    """What a pretext task is made from.

    Attributes:
        backbone: Network with its first weights.
        pictures: All N prepared pictures.
        keys: (N,) keys of all pictures, by row.
        rows: Rows that are trained on.
        held_out: Rows that are not trained on.
        normalise: Statistics of the collection.
        extents: (N, 2) share of width and height that each picture fills.
    """

    backbone: "nn.Module"
    pictures: "Pictures"
    keys: NDArray[np.uint64]
    rows: NDArray[np.int64]
    held_out: NDArray[np.int64]
    normalise: "Normalisation"
    extents: NDArray[np.float32]


def pretrain(
    stage_name: str,
    settings: PretextSettings,
    run: Run,
    experiment: Experiment,
    *,
    held_out: float,
    build: Callable[[Material], "Learner"],
    summary: Callable[[dict[str, float]], str],
    facts: Callable[["Learner"], dict[str, Any]] = lambda _: {},
) -> Path:
    """Train a pretext task on all pictures and keep the backbone.

    Args:
        stage_name: Dotted name of the stage.
        settings: How to train.
        run: Where.
        experiment: What the labels are, for the health to be measured by.
        held_out: Share of the pictures that only measure, at most 512.
        build: Makes the learner; its ``backbone`` attribute is kept.
        summary: Puts the last measurements into a sentence.
        facts: What else belongs beside the weights.

    Returns:
        The folder of the finished stage, or of what ``find_lr`` wrote.
    """
    first_weights = find_weights(settings.init, run)
    reads = settings.reads
    key = recorded(settings) | key_of(settings.init, first_weights)
    if not settings.find_lr and (done := run.current(stage_name, key, reads=reads)):
        return done.folder
    prepared = run.finished(PREPARED)
    from data_prep.outlook import Outlook

    outlook = Outlook.of_prepared(prepared, run, experiment)
    settings.check_data(outlook)
    settle_waiting(settings.threads)
    check_names(settings.backbone, settings.optimizer)
    import torch

    from pretext.data.keyed_rng import keys_of
    from pretext.data.pictures import Normalisation, Pictures
    from pretext.device import pick_device
    from pretext.engine.training import train
    from pretext.evaluation.monitor import Health
    from pretext.networks.backbones import save_weights

    table = outlook.table
    ids = table["id"].tolist()
    keys = keys_of(ids)
    rows, held_out_rows = rows_of(table, keys, settings, held_out)
    settings.check_enough(len(rows), stage_name)

    device = pick_device()
    pictures = Pictures.open(prepared.folder, device)
    pictures.check_different(rows[:LOOKED_AT])
    side_px = settings.net_side_px(pictures.side_px, 1.0)
    torch.manual_seed(settings.seed)
    name, backbone, begun_from = begin_backbone(
        settings.backbone, first_weights, side_px
    )
    final_px = settings.net_side_px(pictures.side_px, settings.final_scale)
    check_final_side(
        backbone,
        name,
        final_px=final_px,
        picture_px=pictures.side_px,
        scale=settings.final_scale,
    )
    material = Material(
        backbone,
        pictures,
        keys,
        rows,
        held_out_rows,
        Normalisation(
            tuple(prepared.metadata["mean"]), tuple(prepared.metadata["std"])
        ),
        extents_of(table, prepared.metadata["fit"]),
    )
    learner = build(material)
    trained_on = [ids[row] for row in rows]
    if settings.find_lr:
        from pretext.engine.lr_finder import find_rate

        place = run.folder / "find_lr" / stage_name
        find_rate(learner, pictures, rows, trained_on, settings, place, stage_name)
        return place
    if is_stage(settings.init) or first_weights:
        log.info("%s begins from %s", stage_name, begun_from)
    with run.stage(stage_name, key, reads=reads) as stage:
        health = Health.of(
            learner, material, table, prepared, experiment, settings, stage.folder
        )
        outcome = train(
            *(learner, pictures, rows, trained_on, settings, stage.folder),
            label=stage_name,
            publish=health,
        )
        about: dict[str, Any] = {
            "format": "tessera-backbone/1",
            "stage": stage_name,
            "backbone": name,
            "side_px": final_px,
            "mean": prepared.metadata["mean"],
            "std": prepared.metadata["std"],
            "fit": prepared.metadata["fit"],
            "epochs": settings.epochs,
            "steps": outcome.steps,
            "begun_from": begun_from,
            "inductive": settings.inductive,
            "label_free": True,
            "selected_with_labels": False,
            **facts(learner),
        }
        kept = learner.backbone
        assert isinstance(kept, torch.nn.Module)
        tensors, chosen = health.choose(kept.state_dict())
        about |= chosen
        save_weights(stage.folder / "backbone.safetensors", tensors, about)
        shutil.rmtree(stage.folder / "checkpoints", ignore_errors=True)
        stage.device = str(device)
        stage.metadata = {
            "backbone": name,
            "pictures": len(rows),
            "pictures_per_step": settings.pictures_per_step,
            "steps": outcome.steps,
            "stopped": outcome.stopped,
            "images_per_s": round(outcome.images_per_s, 1),
            "data_wait": round(outcome.data_share, 4),
            **{name: round(value, 4) for name, value in outcome.last.items()},
            **chosen,
        }
    log.info("%s: %s", stage_name, summary(outcome.last))
    log.info(
        "%s: %d steps, %.0f images/s, %.1f %% of the time waiting for data -> %s",
        *(stage_name, outcome.steps, outcome.images_per_s, 100 * outcome.data_share),
        run.folder / stage_name,
    )
    return run.folder / stage_name


def rows_of(
    table: "pd.DataFrame",
    keys: NDArray[np.uint64],
    settings: PretextSettings,
    held_out: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Say which rows are trained on, and which only measure.

    Args:
        table: N rows, in the order of the pictures.
        keys: (N,) their keys.
        settings: With ``inductive``, pictures of the test table are in neither.
        held_out: Share of the rows that only measure, at most 512.
    """
    from pretext.data.keyed_rng import uniforms

    may_be_seen = np.ones(len(table), dtype=np.bool_)
    if settings.inductive:
        may_be_seen = (table["split"] != "test").to_numpy()
    seen = np.flatnonzero(may_be_seen)
    n = n_held_out(held_out, len(seen))
    chance = uniforms(keys[seen], 1, seed=settings.seed, epoch=0, purpose="held out")
    held_out_rows = np.sort(seen[np.argsort(chance[:, 0])[:n]])
    return np.setdiff1d(seen, held_out_rows), held_out_rows


def check_final_side(
    backbone: "nn.Module", name: str, *, final_px: int, picture_px: int, scale: float
) -> None:
    """Check that the larger views of the last part can be made and taken.

    Raises:
        UserError: The pictures are too small for them, or the network has a fixed side.
    """
    if scale == 1:
        return
    check_larger_views(final_px, picture_px, scale)
    import torch

    was_training = backbone.training
    try:
        backbone.eval()(torch.zeros(1, 3, final_px, final_px))
    except (AssertionError, RuntimeError) as error:
        raise UserError(
            f"final_scale = {scale}: {name} takes pictures of one size only ({error})"
        ) from None
    backbone.train(was_training)


def extents_of(table: "pd.DataFrame", fit: str) -> NDArray[np.float32]:
    """Give the (N, 2) share of width and height that each picture fills.

    Args:
        table: With the width and height of the originals, in pixels.
        fit: How they were made square: ``pad`` or ``squash``.
    """
    sides = table[["width", "height"]].to_numpy(dtype=np.float32)
    filled: NDArray[np.float32] = sides / sides.max(axis=1, keepdims=True)
    return filled if fit == "pad" else np.ones_like(filled)
