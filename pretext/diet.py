"""DIET: pretrain a backbone by telling each picture of the collection from all others.

    python -m pretext.diet --experiment experiments/demo.toml --epochs 300

Reads ``data_prep.prepare``; writes ``pretext.diet/backbone.safetensors``. It learns
slowly, for a picture is its own class and seen once in an epoch; copies of a picture
are told apart like any others. The head has a row for each: 100,000 pictures and 512
features take 1.1 GB in a training, 2,048 features 4.2 GB.

Source: Balestriero 2023, arXiv 2302.10260.
Differs: crops keep at least 30 % of the picture (paper: 8 %); colours change little and
nothing is blurred unless ``--colour strong``.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Gt

from data_prep.command import open_command, run_command
from data_prep.ranges import Share
from pretext.data.training_data import TrainingData
from pretext.preflight import network_of
from pretext.pretraining import pretrain
from pretext.view_settings import ViewSettings, spread_verdict

if TYPE_CHECKING:
    import torch
    from torch import nn

    from data_prep.outlook import Outlook
    from pretext.engine.learner import Learner

STAGE = "pretext.diet"
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DietSettings(ViewSettings):
    """Pretrain a backbone on all pictures with DIET; no labels are read."""

    learning_rate: Annotated[
        float, "peak of the schedule, for a batch of 256; scaled to the batch", Gt(0)
    ] = 1e-3
    label_smoothing: Annotated[
        Share, "share of the target that is spread over all pictures"
    ] = 0.8

    @property
    def views_per_picture(self) -> float:
        """One view of each picture."""
        return 1.0

    def check_libraries(self, outlook: "Outlook") -> None:
        """Check also that the head can be held in memory."""
        super().check_libraries(outlook)
        from pretext.device import pick_device
        from pretext.networks.backbones import build_backbone

        name = network_of(self.init, self.backbone, outlook)
        if name is not None:
            side_px = self.net_side_px(outlook.metadata["side"], 1.0)
            backbone = build_backbone(name, side_px)
            self._check_head(backbone, self.n_trained_on(outlook), pick_device())

    def build_learner(self, backbone: "nn.Module", data: TrainingData) -> "Learner":
        """Make the learner: backbone, and a class for each picture."""
        from pretext.methods.instances import DietLearner

        self._check_head(backbone, len(data.train_idx), data.pictures.device)
        return DietLearner(
            backbone,
            data.normalise,
            side_px=self.side or data.pictures.side_px,
            params=self.augment_params(self.min_area),
            train_idx=data.train_idx,
            label_smoothing=self.label_smoothing,
            fill_frac=data.fill_frac,
        )

    def summary(self, last: Mapping[str, float]) -> str:
        """Say how many pictures are told from all others, and how far the loss fell."""
        accuracy = last.get("accuracy", float("nan"))
        excess = last.get("excess", float("nan"))
        return (
            f"{accuracy:.1%} of the pictures told from all others (chance: 1 of all);"
            f" loss {excess:.2f} (guessing 1, at best 0); {spread_verdict(last)}"
        )

    def _check_head(
        self, backbone: "nn.Module", n_pictures: int, device: "torch.device"
    ) -> None:
        """Say what the head takes, and check that there is as much memory."""
        from pretext.device import free_bytes
        from pretext.methods.instances import check_head, head_bytes
        from pretext.networks.backbones import feature_width

        n_features = feature_width(backbone)
        check_head(
            n_pictures,
            n_features,
            batch_size=self.batch_size,
            free_bytes=free_bytes(device),
        )
        needed = head_bytes(n_pictures, n_features, self.batch_size)
        log.info(
            "%s: a head of %d pictures x %d features, %.2f GB in the training",
            STAGE,
            n_pictures,
            n_features,
            needed / 1e9,
        )


def main(argv: Sequence[str] | None = None) -> Path:
    """Pretrain as the command line says, and return the folder of the stage."""
    settings, run, experiment = open_command(DietSettings, STAGE, argv)
    return pretrain(STAGE, settings, run, experiment)


if __name__ == "__main__":
    run_command(main)
