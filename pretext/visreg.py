"""VISReg: pretrain a backbone by views that agree while outputs stay a normal cloud.

    python -m pretext.visreg --experiment experiments/demo.toml --epochs 100

Reads ``data_prep.prepare``; writes ``pretext.visreg/backbone.safetensors``.

Source: Wu, Balestriero & Levine 2026, arXiv 2606.02572; head and loss by lightly.
Differs: for thousands of pictures, the regulariser has a weight of 0.6 (the paper's for
small collections; for ImageNet 0.9), the head half the width and a step 1024 random
directions (4096); there are two global views (four). All views have the same changes of
the colour, weak ones unless ``--colour strong``. Rate and decay are those of LeJEPA,
arXiv 2511.08544.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Gt, Lt

from data_prep.command import open_command, run_command
from pretext.crop_settings import MultiCropSettings
from pretext.data.training_data import TrainingData
from pretext.pretraining import pretrain
from pretext.view_settings import spread_verdict

if TYPE_CHECKING:
    from torch import nn

    from pretext.engine.learner import Learner

STAGE = "pretext.visreg"


@dataclass(frozen=True, kw_only=True)
class VisRegSettings(MultiCropSettings):
    """Pretrain a backbone on all pictures with VISReg; no labels are read."""

    learning_rate: Annotated[
        float, "peak of the schedule, for a batch of 256; scaled to the batch", Gt(0)
    ] = 5e-4
    regularisation: Annotated[
        float,
        "share of the loss that keeps the outputs apart; the agreement of views has the"
        " rest",
        Gt(0),
        Lt(1),
    ] = 0.6

    def build_learner(self, backbone: "nn.Module", data: TrainingData) -> "Learner":
        """Make the learner: backbone and projector."""
        from pretext.methods.regularisation import VisRegLearner

        crops = self.crops(data.pictures.side_px)
        crops.check(backbone)
        return VisRegLearner(
            backbone,
            data.normalise,
            crops,
            weight=self.regularisation,
            fill_frac=data.fill_frac,
        )

    def summary(self, last: Mapping[str, float]) -> str:
        """Give both parts of the loss, and say whether the outputs have collapsed."""
        invariance = last.get("invariance", float("nan"))
        regulariser = last.get("regulariser", float("nan"))
        return (
            f"mean square between views {invariance:.3f}, distance from a normal cloud"
            f" {regulariser:.3f} (all outputs one: 0 and 2); {spread_verdict(last)}"
        )


def main(argv: Sequence[str] | None = None) -> Path:
    """Pretrain as the command line says, and return the folder of the stage."""
    settings, run, experiment = open_command(VisRegSettings, STAGE, argv)
    return pretrain(STAGE, settings, run, experiment)


if __name__ == "__main__":
    run_command(main)
