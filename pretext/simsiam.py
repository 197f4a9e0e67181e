"""SimSiam: pretrain a backbone by making two views of a picture agree.

    python -m pretext.simsiam --experiment experiments/demo.toml --epochs 100

Reads ``data_prep.prepare``; writes ``pretext.simsiam/backbone.safetensors``.

Source: Chen & He 2021, arXiv 2011.10566; heads and loss by lightly.
Differs: crops keep at least 30 % of the picture and colours change little, because the
colour of a work often carries the label; no blur.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from data_prep.command import open_command, run_command
from data_prep.errors import UserError
from pretext.pretraining import Material, pretrain
from pretext.settings import TrainingSettings

if TYPE_CHECKING:
    from pretext.training import Learner

STAGE = "pretext.simsiam"
COLLAPSED = 0.3  # of the spread that a sphere filled evenly has


@dataclass(frozen=True, kw_only=True)
class SimSiamSettings(TrainingSettings):
    """Pretrain a backbone on all pictures with SimSiam; no labels are read."""

    optimizer: Annotated[
        Literal["adamw", "sgd"], "optimiser: adamw, or sgd with momentum 0.9"
    ] = "sgd"
    learning_rate: Annotated[float, "peak of the cosine schedule"] = 0.025
    weight_decay: Annotated[float, "decay of all weights but biases and norms"] = 5e-4
    backbone: Annotated[str, "name of a timm network"] = "resnet34"
    side: Annotated[int, "side of the views, px; 0: that of the pictures"] = 0
    width: Annotated[int, "outputs of the projector"] = 1024
    min_area: Annotated[float, "smallest share of the picture in a view"] = 0.3
    colour: Annotated[float, "largest change of brightness, contrast, saturation"] = 0.2
    grey: Annotated[float, "share of views without colour"] = 0.1

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        if self.width < 8:
            raise UserError(f"width = {self.width}: give 8 or more")
        for name in ("colour", "grey"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} = {getattr(self, name)}: give 0 to below 1")
        if not 0 < self.min_area <= 1:
            raise UserError(f"min_area = {self.min_area}: give above 0, at most 1")
        if self.side != 0 and self.side < 32:
            raise UserError(f"side = {self.side}: give 32 px or more, or 0")


def main(argv: Sequence[str] | None = None) -> Path:
    """Pretrain as the command line says, and return the folder of the stage."""
    settings, run, _ = open_command(SimSiamSettings, STAGE, argv)

    def build(material: Material) -> "Learner":
        from pretext.learners import SimSiamLearner
        from pretext.views import Strength

        strength = Strength(
            min_area=settings.min_area,
            ratio=4 / 3,
            brightness=settings.colour,
            contrast=settings.colour,
            saturation=settings.colour,
            grey=settings.grey,
        )
        side_px = settings.side or material.pictures.side_px
        return SimSiamLearner(
            material.backbone, material.normalise, side_px, strength, settings.width
        )

    def summary(last: dict[str, float]) -> str:
        spread = last.get("spread", float("nan"))
        verdict = (
            "the outputs have COLLAPSED: try a smaller --learning-rate, stronger views"
            if spread < COLLAPSED
            else "no collapse"
        )
        return (
            f"loss {last.get('loss', float('nan')):.3f} (success and collapse both give"
            f" -1); spread of the outputs {spread:.2f} of 1/sqrt(d): {verdict}"
        )

    return pretrain(
        STAGE,
        settings,
        run,
        backbone=settings.backbone,
        net_side_px=lambda side: settings.side or side,
        held_out=0.0,
        build=build,
        summary=summary,
    )


if __name__ == "__main__":
    run_command(main)
