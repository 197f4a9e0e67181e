"""SimSiam: pretrain a backbone by making two views of a picture agree.

    python -m pretext.simsiam --experiment experiments/demo.toml --epochs 100

Reads ``data_prep.prepare``; writes ``pretext.simsiam/backbone.safetensors``.

Source: Chen & He 2021, arXiv 2011.10566; heads and loss by lightly.
Differs: crops keep at least 30 % of the picture (paper: 20 %); colours change little
and nothing is blurred unless ``--colour strong``, because the colour of a work often
carries the label; the rate warms up; the heads have half the width, for thousands of
pictures and not a million.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from data_prep.command import open_command, run_command
from pretext.data.training_data import TrainingData
from pretext.pretraining import pretrain
from pretext.view_settings import ViewSettings, spread_verdict

if TYPE_CHECKING:
    from torch import nn

    from pretext.engine.learner import Learner

STAGE = "pretext.simsiam"


@dataclass(frozen=True, kw_only=True)
class SimSiamSettings(ViewSettings):
    """Pretrain a backbone on all pictures with SimSiam; no labels are read."""

    optimizer: Annotated[
        str, "optimiser: adamw, sgd (momentum 0.9), or a name of pytorch-optimizer"
    ] = "sgd"
    weight_decay: Annotated[float, "decay of all weights but biases and norms"] = 5e-4
    width: Annotated[int, "outputs of the projector", Ge(8)] = 1024

    def build_learner(self, backbone: "nn.Module", data: TrainingData) -> "Learner":
        """Make the learner: backbone, projector and predictor."""
        from pretext.methods.siamese import SimSiamLearner

        return SimSiamLearner(
            backbone,
            data.normalise,
            side_px=self.side or data.pictures.side_px,
            params=self.augment_params(self.min_area),
            width=self.width,
            fill_frac=data.fill_frac,
        )

    def summary(self, last: Mapping[str, float]) -> str:
        """Give the loss, and say whether the outputs have collapsed."""
        return (
            f"loss {last.get('loss', float('nan')):.3f} (success and collapse both give"
            f" -1); {spread_verdict(last)}"
        )


def main(argv: Sequence[str] | None = None) -> Path:
    """Pretrain as the command line says, and return the folder of the stage."""
    settings, run, experiment = open_command(SimSiamSettings, STAGE, argv)
    return pretrain(STAGE, settings, run, experiment)


if __name__ == "__main__":
    run_command(main)
