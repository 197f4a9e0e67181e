"""DINO: pretrain a backbone by a student that follows its own average.

    python -m pretext.dino --experiment experiments/demo.toml --epochs 100

Reads ``data_prep.prepare``; writes ``pretext.dino/backbone.safetensors``: the teacher.

Source: Caron et al. 2021, arXiv 2104.14294; head and loss by lightly.
Differs: for thousands of pictures, there are 2048 classes (paper: 65536), a head of
half the width and a teacher that follows from 0.99 on (0.996). The weight decay is
constant (rises to 0.4); the teacher's temperature rises over 30 % of the epochs (30
epochs). All views have the same changes of the colour, weak ones unless ``--colour
strong``, and none is solarised.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt

from data_prep.command import open_command, run_command
from data_prep.effort import FORWARDS
from data_prep.ranges import Share
from pretext.crop_settings import MultiCropSettings
from pretext.data.training_data import TrainingData
from pretext.pretraining import pretrain
from pretext.view_settings import spread_verdict

if TYPE_CHECKING:
    from torch import nn

    from pretext.engine.learner import Learner

STAGE = "pretext.dino"
WARM_SHARE = 0.3  # of the epochs


@dataclass(frozen=True, kw_only=True)
class DinoSettings(MultiCropSettings):
    """Pretrain a backbone on all pictures with DINO; no labels are read."""

    learning_rate: Annotated[
        float, "peak of the schedule, for a batch of 256; scaled to the batch", Gt(0)
    ] = 5e-4
    weight_decay: Annotated[
        float, "decay of all weights but biases and norms", Ge(0)
    ] = 0.04
    outputs: Annotated[int, "classes that the student and its teacher have", Ge(2)] = (
        2048
    )
    teacher_decay: Annotated[
        Share, "share of the teacher that a step keeps; rises to 1"
    ] = 0.99

    @property
    def views_per_picture(self) -> float:
        """Two views of the student, of the teacher without the way back, and small."""
        return super().views_per_picture + 2 / FORWARDS

    def build_learner(self, backbone: "nn.Module", data: TrainingData) -> "Learner":
        """Make the learner: a student, and the teacher that follows it."""
        from pretext.methods.distillation import DinoLearner

        crops = self.crops(data.pictures.side_px)
        crops.check(backbone)
        n_pictures = len(data.train_idx)
        n_epochs = self.total_steps(n_pictures) / max(
            1, self.steps_per_epoch(n_pictures)
        )
        return DinoLearner(
            backbone,
            data.normalise,
            crops,
            n_classes=self.outputs,
            decay=self.teacher_decay,
            warm_epochs=round(WARM_SHARE * n_epochs),
            fill_frac=data.fill_frac,
        )

    def summary(self, last: Mapping[str, float]) -> str:
        """Give loss and entropy, and say whether the outputs have collapsed."""
        return (
            f"loss {last.get('loss', float('nan')):.3f}; mean of the outputs: entropy"
            f" {last.get('entropy', float('nan')):.2f} of log K;"
            f" {spread_verdict(last)}"
        )


def main(argv: Sequence[str] | None = None) -> Path:
    """Pretrain as the command line says, and return the folder of the stage."""
    settings, run, experiment = open_command(DinoSettings, STAGE, argv)
    return pretrain(STAGE, settings, run, experiment)


if __name__ == "__main__":
    run_command(main)
