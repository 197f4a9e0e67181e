"""Jigsaw: pretrain a backbone by asking where the nine tiles of a picture belong.

    python -m pretext.jigsaw --experiment experiments/demo.toml --epochs 20

Reads ``data_prep.prepare``; writes ``pretext.jigsaw/backbone.safetensors``.

Source: Noroozi & Favaro 2016, arXiv 1603.09246.
Differs: the nine tiles are one picture for the backbone, and the answer is the tile at
each place (a 9 x 9 table, cross-entropy by row), so no set of permutations is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from data_prep.command import open_command, run_command
from data_prep.errors import UserError
from pretext.pretraining import Material, pretrain
from pretext.settings import TrainingSettings

if TYPE_CHECKING:
    from pretext.training import Learner

STAGE = "pretext.jigsaw"
MIN_TILE_PX = 8


@dataclass(frozen=True, kw_only=True)
class JigsawSettings(TrainingSettings):
    """Pretrain a backbone on all pictures with jigsaw puzzles; no labels are read."""

    backbone: Annotated[str, "name of a timm network"] = "resnet34"
    grid: Annotated[int, "tiles per side of a puzzle"] = 3
    gap: Annotated[float, "share of a cell's side cut away: no edges match"] = 0.125
    min_area: Annotated[float, "smallest share of the picture in a puzzle"] = 0.6
    grey: Annotated[float, "share of puzzles without colour"] = 0.3
    channel_shift: Annotated[float, "largest shift of a channel, share of a tile"] = (
        0.03
    )
    held_out: Annotated[
        float, "share of pictures kept back to measure by, at most 512"
    ] = 0.05

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        if not 2 <= self.grid <= 4:
            raise UserError(f"grid = {self.grid}: give 2, 3 or 4")
        for name in ("gap", "grey", "channel_shift", "held_out"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} = {getattr(self, name)}: give 0 to below 1")
        if not 0 < self.min_area <= 1:
            raise UserError(f"min_area = {self.min_area}: give above 0, at most 1")


def tile_side(picture_px: int, settings: JigsawSettings) -> int:
    """Give the side of a tile: what the gap leaves of a cell.

    Raises:
        UserError: The tile would be too small to show anything.
    """
    tile_px = round(picture_px / settings.grid * (1 - settings.gap))
    if tile_px < MIN_TILE_PX:
        raise UserError(
            f"pictures of {picture_px} px give tiles of {tile_px} px; at least"
            f" {MIN_TILE_PX} are needed: prepare with a larger --side"
        )
    return tile_px


def main(argv: Sequence[str] | None = None) -> Path:
    """Pretrain as the command line says, and return the folder of the stage."""
    settings, run, _ = open_command(JigsawSettings, STAGE, argv)
    n_tiles = settings.grid**2

    def build(material: Material) -> "Learner":
        from pretext.learners import JigsawLearner
        from pretext.puzzles import PuzzleRules

        rules = PuzzleRules(
            grid=settings.grid,
            tile_px=tile_side(material.pictures.side_px, settings),
            gap=settings.gap,
            min_area=settings.min_area,
            grey=settings.grey,
            channel_shift=settings.channel_shift,
        )
        held_out, keys = material.held_out, material.keys[material.held_out]
        return JigsawLearner(
            material.backbone,
            rules,
            material.pictures,
            held_out,
            keys,
            settings.seed,
            material.extents,
        )

    def summary(last: dict[str, float]) -> str:
        if "held_out" not in last:
            return f"accuracy {last.get('accuracy', 0):.1%} on the pictures trained on"
        return (
            f"{last['held_out']:.1%} of the tiles placed right on held-out pictures"
            f" (chance {1 / n_tiles:.1%})"
        )

    return pretrain(
        STAGE,
        settings,
        run,
        backbone=settings.backbone,
        net_side_px=lambda side: settings.grid * tile_side(side, settings),
        held_out=settings.held_out,
        build=build,
        summary=summary,
    )


if __name__ == "__main__":
    run_command(main)
