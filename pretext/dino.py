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
from data_prep.errors import UserError
from data_prep.ranges import OR_ZERO, Area, Share
from data_prep.settings import Example
from pretext.data.training_data import TrainingData
from pretext.preflight import network_of
from pretext.pretraining import pretrain
from pretext.view_settings import ViewSettings, spread_verdict

if TYPE_CHECKING:
    from torch import nn

    from data_prep.outlook import Outlook
    from pretext.engine.learner import Learner
    from pretext.methods.distillation import Crops

STAGE = "pretext.dino"
LOCAL_MIN_AREA = 0.05  # share of the picture
WARM_SHARE = 0.3  # of the epochs


@dataclass(frozen=True, kw_only=True)
class DinoSettings(ViewSettings):
    """Pretrain a backbone on all pictures with DINO; no labels are read."""

    learning_rate: Annotated[
        float, "peak of the schedule, for a batch of 256; scaled to the batch", Gt(0)
    ] = 5e-4
    weight_decay: Annotated[
        float, "decay of all weights but biases and norms", Ge(0)
    ] = 0.04
    side: Annotated[
        int,
        "side of the global views, px; 0: that of the pictures",
        Ge(32),
        OR_ZERO,
        Example(112),
    ] = 0
    min_area: Annotated[
        Area, "smallest share of the picture in a global view, largest in a local one"
    ] = 0.4
    local_crops: Annotated[
        int, "local views of each picture, 3/7 of the side", Ge(0)
    ] = 6
    outputs: Annotated[int, "classes that the student and its teacher have", Ge(2)] = (
        2048
    )
    teacher_decay: Annotated[
        Share, "share of the teacher that a step keeps; rises to 1"
    ] = 0.99

    @property
    def views_per_picture(self) -> float:
        """Two views of the student, of the teacher without the way back, and small."""
        return 2 + 2 / FORWARDS + self.local_crops * (3 / 7) ** 2

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        if self.min_area <= LOCAL_MIN_AREA:
            raise UserError(
                f"min_area = {self.min_area}: give more than {LOCAL_MIN_AREA}, the"
                " smallest share in a local view"
            )

    def crops(self, picture_px: int) -> "Crops":
        """Say how the views of pictures of a side are cut."""
        from pretext.methods.distillation import Crops

        return Crops(
            side_px=self.side or picture_px,
            global_params=self.augment_params(self.min_area),
            local_params=self.augment_params(LOCAL_MIN_AREA, self.min_area),
            n_local=self.local_crops,
        )

    def check_libraries(self, outlook: "Outlook") -> None:
        """Try also whether the network takes the local views."""
        super().check_libraries(outlook)
        from pretext.networks.backbones import build_backbone

        name = network_of(self.init, self.backbone, outlook)
        if name is not None:
            crops = self.crops(outlook.metadata["side"])
            crops.check(build_backbone(name, crops.side_px))

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
