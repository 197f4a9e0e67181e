"""Rotation: pretrain a backbone by asking which way up a picture is.

    python -m pretext.rotation --experiment experiments/demo.toml --epochs 20

Reads ``data_prep.prepare``; writes ``pretext.rotation/backbone.safetensors``.

Source: Gidaris, Singh & Komodakis 2018, arXiv 1803.07728.
Differs: a picture is seen in one of its four turns at a time, not in all at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Ints
from data_prep.command import open_command, run_command
from data_prep.errors import UserError
from data_prep.ranges import Area
from pretext.data.training_data import TrainingData
from pretext.pretext_settings import PretextSettings, Questions
from pretext.pretraining import pretrain

if TYPE_CHECKING:
    from torch import Tensor, nn

    from data_prep.outlook import Outlook
    from pretext.engine.learner import Learner

STAGE = "pretext.rotation"


@dataclass(frozen=True, kw_only=True)
class RotationSettings(PretextSettings):
    """Pretrain a backbone on all pictures by their turns; no labels are read."""

    min_area: Annotated[Area, "smallest share of the picture in a view"] = 0.6

    held_out = 0.05

    def check_data(self, outlook: "Outlook") -> None:
        """Check what the tables and the other stages decide.

        Raises:
            UserError: A setting does not fit them, or nothing is up in the pictures.
        """
        if outlook.experiment.data.up is False:
            raise UserError(
                "the task is to tell which way up a picture is, but [data] up = false"
                " says that pictures have no up; take pretext.jigsaw, or take up out"
            )
        super().check_data(outlook)

    def build_learner(self, backbone: "nn.Module", data: TrainingData) -> "Learner":
        """Make the learner, which says by how much a picture is turned."""
        import torch

        from pretext.data.augment import crop_boxes, resample
        from pretext.methods.classification import ClassificationLearner
        from pretext.networks.backbones import feature_width

        quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
        orientations = torch.stack([quarter.matrix_power(k) for k in range(4)])

        def make_examples(
            images: "Tensor", u: NDArray[np.float32], rows: Ints, scale: float
        ) -> "tuple[Tensor, Tensor]":
            u_B5 = torch.from_numpy(u)
            labels = (4 * u_B5[:, :1]).long()
            # the middle square: the padding of an oblong picture would tell its turn
            square = torch.from_numpy(data.fill_frac[rows].min(axis=1, keepdims=True))
            boxes = square * crop_boxes(u_B5[:, 1:], self.min_area, ratio=1.0)
            side_px = round(data.pictures.side_px * scale)
            views = resample(images, boxes, orientations[labels[:, 0]], side_px)
            return data.normalise(views), labels.to(images.device)

        return ClassificationLearner(
            backbone,
            torch.nn.Linear(feature_width(backbone), 4),
            make_examples,
            n_random=5,
            purpose="rotation",
            pictures=data.pictures,
            val_idx=data.val_idx,
            val_keys=data.keys[data.val_idx],
            seed=self.seed,
        )

    @property
    def questions(self) -> Questions:
        """Each picture is asked for its turn."""
        return Questions(per_picture=1, choices=4)

    def summary(self, last: Mapping[str, float]) -> str:
        """Say how often the net is right, on held-out pictures if there are any."""
        accuracy = last.get("held_out", last["accuracy"])
        return f"{accuracy:.1%} of the turns told right (chance 25.0%)"


def main(argv: Sequence[str] | None = None) -> Path:
    """Pretrain as the command line says, and return the folder of the stage."""
    settings, run, experiment = open_command(RotationSettings, STAGE, argv)
    return pretrain(STAGE, settings, run, experiment)


if __name__ == "__main__":
    run_command(main)
