"""SwAV: pretrain a backbone by views that are assigned to the same prototypes.

    python -m pretext.swav --experiment experiments/demo.toml --epochs 100

Reads ``data_prep.prepare``; writes ``pretext.swav/backbone.safetensors``.

Source: Caron et al. 2020, arXiv 2006.09882; heads and loss by lightly.
Differs: for thousands of pictures, there are 300 prototypes (paper: 3000), a head of
half the width and no queue of earlier batches; the optimiser is AdamW (LARS), with the
rate of lightly's benchmark of Imagenette. Global views keep at least 40 % of the
picture (14 %), local ones 5 to 40 % (5 to 14 %). All views have the same changes of the
colour, weak ones unless ``--colour strong``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt

from data_prep.command import open_command, run_command
from pretext.crop_settings import MultiCropSettings
from pretext.data.training_data import TrainingData
from pretext.pretraining import pretrain
from pretext.view_settings import spread_verdict

if TYPE_CHECKING:
    from torch import nn

    from pretext.engine.learner import Learner

STAGE = "pretext.swav"


@dataclass(frozen=True, kw_only=True)
class SwavSettings(MultiCropSettings):
    """Pretrain a backbone on all pictures with SwAV; no labels are read."""

    learning_rate: Annotated[
        float, "peak of the schedule, for a batch of 256; scaled to the batch", Gt(0)
    ] = 2e-3
    weight_decay: Annotated[
        float, "decay of all weights but biases and norms", Ge(0)
    ] = 1e-6
    prototypes: Annotated[int, "clusters that the views are assigned to", Ge(2)] = 300

    def build_learner(self, backbone: "nn.Module", data: TrainingData) -> "Learner":
        """Make the learner: backbone, projector and prototypes."""
        from pretext.methods.clustering import SwavLearner

        crops = self.crops(data.pictures.side_px)
        crops.check(backbone)
        return SwavLearner(
            backbone,
            data.normalise,
            crops,
            n_prototypes=self.prototypes,
            fill_frac=data.fill_frac,
        )

    def summary(self, last: Mapping[str, float]) -> str:
        """Give loss and entropy, and say whether the outputs have collapsed."""
        return (
            f"loss {last.get('loss', float('nan')):.3f}; mean of the assignments:"
            f" entropy {last.get('entropy', float('nan')):.2f} of log K;"
            f" {spread_verdict(last)}"
        )


def main(argv: Sequence[str] | None = None) -> Path:
    """Pretrain as the command line says, and return the folder of the stage."""
    settings, run, experiment = open_command(SwavSettings, STAGE, argv)
    return pretrain(STAGE, settings, run, experiment)


if __name__ == "__main__":
    run_command(main)
