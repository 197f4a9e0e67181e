"""What every pretext command does around its task: open, train, keep the weights."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.runs import Run
from data_prep.settings import recorded
from pretext.settings import TrainingSettings

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from pretext.pictures import Normalisation, Pictures
    from pretext.training import Learner

PREPARED = "data_prep.prepare"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Material:
    """What a pretext task is made from.

    Attributes:
        backbone: Untrained network.
        pictures: All prepared pictures.
        keys: (N,) keys of all pictures, by row.
        held_out: Rows that are not trained on.
        normalise: Statistics of the collection.
        extents: (N, 2) share of width and height that each picture fills.
    """

    backbone: "nn.Module"
    pictures: "Pictures"
    keys: NDArray[np.uint64]
    held_out: NDArray[np.int64]
    normalise: "Normalisation"
    extents: NDArray[np.float32]


def pretrain(
    stage_name: str,
    settings: TrainingSettings,
    run: Run,
    *,
    backbone: str,
    net_side_px: Callable[[int], int],
    held_out: float,
    build: Callable[[Material], "Learner"],
    summary: Callable[[dict[str, float]], str],
) -> Path:
    """Train a pretext task on all pictures and keep the backbone.

    Args:
        stage_name: Dotted name of the stage.
        settings: How to train.
        run: Where.
        backbone: Name of the network.
        net_side_px: Gives the side of the network's input from that of the pictures.
        held_out: Share of the pictures that only measure, at most 512.
        build: Makes the learner; its ``backbone`` attribute is kept.
        summary: Puts the last measurements into a sentence.

    Returns:
        The folder of the finished stage.
    """
    key = recorded(settings)
    if done := run.current(stage_name, key, reads=[PREPARED]):
        return done.folder
    prepared = run.finished(PREPARED)
    import pandas as pd
    import torch

    from pretext.backbones import build_backbone, save_weights
    from pretext.draws import keys_of, uniforms
    from pretext.pictures import Normalisation, Pictures
    from pretext.training import pick_device, train

    columns = ["id", "image_row", "width", "height"]
    table = pd.read_parquet(prepared.folder / "table.parquet", columns=columns)
    table = table.sort_values("image_row")
    keys = keys_of(table["id"].tolist())
    n_held_out = min(512, round(held_out * len(keys)))
    chance = uniforms(keys, 1, seed=settings.seed, epoch=0, purpose="held out")[:, 0]
    is_held_out = np.isin(np.arange(len(keys)), np.argsort(chance)[:n_held_out])
    rows = np.flatnonzero(~is_held_out)

    device = pick_device()
    pictures = Pictures.open(prepared.folder, device)
    side_px = net_side_px(pictures.side_px)
    torch.manual_seed(settings.seed)
    material = Material(
        build_backbone(backbone, side_px),
        pictures,
        keys,
        np.flatnonzero(is_held_out),
        Normalisation(tuple(prepared.facts["mean"]), tuple(prepared.facts["std"])),
        extents_of(table, prepared.facts["fit"]),
    )
    learner = build(material)
    with run.stage(stage_name, key, reads=[PREPARED]) as stage:
        outcome = train(
            learner,
            pictures,
            rows,
            keys[rows],
            settings,
            stage.folder,
            label=stage_name,
        )
        about: dict[str, Any] = {
            "format": "tessera-backbone/1",
            "stage": stage_name,
            "backbone": backbone,
            "side_px": side_px,
            "mean": prepared.facts["mean"],
            "std": prepared.facts["std"],
            "epochs": settings.epochs,
            "label_free": True,
        }
        kept = learner.backbone
        assert isinstance(kept, torch.nn.Module)
        save_weights(stage.folder / "backbone.safetensors", kept.state_dict(), about)
        shutil.rmtree(stage.folder / "checkpoints", ignore_errors=True)
        stage.device = str(device)
        stage.facts = {
            "backbone": backbone,
            "pictures": len(rows),
            "steps": outcome.steps,
            "images_per_s": round(outcome.images_per_s, 1),
            "data_wait": round(outcome.data_share, 4),
            **{name: round(value, 4) for name, value in outcome.last.items()},
        }
    log.info("%s: %s", stage_name, summary(outcome.last))
    log.info(
        "%s: %d steps, %.0f images/s, %.1f %% of the time waiting for data -> %s",
        *(stage_name, outcome.steps, outcome.images_per_s, 100 * outcome.data_share),
        run.folder / stage_name,
    )
    return run.folder / stage_name


def extents_of(table: "pd.DataFrame", fit: str) -> NDArray[np.float32]:
    """Give the (N, 2) share of width and height that each picture fills.

    Args:
        table: With the width and height of the originals, in pixels.
        fit: How they were made square: ``pad`` or ``squash``.
    """
    sides = table[["width", "height"]].to_numpy(dtype=np.float32)
    filled: NDArray[np.float32] = sides / sides.max(axis=1, keepdims=True)
    return filled if fit == "pad" else np.ones_like(filled)
