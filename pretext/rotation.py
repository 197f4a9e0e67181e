"""Rotation: pretrain a backbone by asking which way up a picture is.

    python -m pretext.rotation --experiment experiments/demo.toml --epochs 20

Reads ``data_prep.prepare``; writes ``pretext.rotation/backbone.safetensors``.

Source: Gidaris, Singh & Komodakis 2018, arXiv 1803.07728.
Differs: a picture is seen in one of its four turns at a time, not in all at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray

from data_prep.command import open_command, run_command
from data_prep.ranges import Area
from pretext.pretraining import Material, pretrain
from pretext.settings import PretextSettings

if TYPE_CHECKING:
    from torch import Tensor

    from pretext.engine.learner import Learner

STAGE = "pretext.rotation"


@dataclass(frozen=True, kw_only=True)
class RotationSettings(PretextSettings):
    """Pretrain a backbone on all pictures by their turns; no labels are read."""

    min_area: Annotated[Area, "smallest share of the picture in a view"] = 0.6

    held_out = 0.05


def main(argv: Sequence[str] | None = None) -> Path:
    """Pretrain as the command line says, and return the folder of the stage."""
    settings, run, experiment = open_command(RotationSettings, STAGE, argv)

    def build(material: Material) -> "Learner":
        import torch

        from pretext.data.augment import crop_boxes, resample
        from pretext.methods.classification import AnsweringLearner
        from pretext.networks.backbones import feature_width

        quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
        turns = torch.stack([quarter.matrix_power(k) for k in range(4)])

        def make_examples(
            images: "Tensor",
            draws: NDArray[np.float32],
            rows: NDArray[np.int64],
            scale: float,
        ) -> "tuple[Tensor, Tensor]":
            u = torch.from_numpy(draws)
            answers = (4 * u[:, :1]).long()
            # the middle square: the padding of an oblong picture would tell its turn
            square = torch.from_numpy(material.extents[rows].min(axis=1, keepdims=True))
            boxes = square * crop_boxes(u[:, 1:], settings.min_area, ratio=1.0)
            side_px = round(material.pictures.side_px * scale)
            views = resample(images, boxes, turns[answers[:, 0]], side_px)
            return material.normalise(views), answers.to(images.device)

        return AnsweringLearner(
            material.backbone,
            torch.nn.Linear(feature_width(material.backbone), 4),
            make_examples,
            n_draws=5,
            purpose="rotation",
            pictures=material.pictures,
            held_out=material.held_out,
            held_out_keys=material.keys[material.held_out],
            seed=settings.seed,
        )

    return pretrain(
        STAGE,
        settings,
        run,
        experiment,
        held_out=settings.held_out,
        build=build,
        summary=lambda last: (
            f"{last.get('held_out', last['accuracy']):.1%} of the turns told right"
            " (chance 25.0%)"
        ),
    )


if __name__ == "__main__":
    run_command(main)
