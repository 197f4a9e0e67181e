"""Jigsaw: pretrain a backbone by asking where the nine tiles of a picture belong.

    python -m pretext.jigsaw --experiment experiments/demo.toml --epochs 20

Reads ``data_prep.prepare``; writes ``pretext.jigsaw/backbone.safetensors``.

Source: Noroozi & Favaro 2016, arXiv 1603.09246, which is ``--form orders``: a trunk for
each tile, and the answer is one of 100 orders far apart.
Differs: by default (``--form places``) the nine tiles are one picture for the backbone,
and the answer is the tile at each place (a 9 x 9 table, cross-entropy by row), so no
set of orders is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Le

from data_prep.command import open_command, run_command
from data_prep.errors import UserError
from data_prep.ranges import Area, Share
from pretext.methods.permutations import check_orders, spread_orders
from pretext.pretraining import Material, pretrain
from pretext.settings import PretextSettings

if TYPE_CHECKING:
    from pretext.engine.learner import Learner

STAGE = "pretext.jigsaw"
MIN_TILE_PX = 8
# The puzzles of the 18th place of atmaCup 11, cut by its preprocessing/j3.py.
ORIGINAL: dict[str, Any] = {
    "form": "places",
    "grid": 3,
    "gap": 0.0,
    "tile_norm": False,
    "grey": 0.0,
    "channel_shift": 0.0,
    "resize_jitter": 0.0,
    "min_area": 1.0,
    "turns": True,
}


@dataclass(frozen=True, kw_only=True)
class JigsawSettings(PretextSettings):
    """Pretrain a backbone on all pictures with jigsaw puzzles; no labels are read."""

    form: Annotated[
        Literal["places", "orders"],
        "what is asked: the tile at each place, or which of some orders it is",
    ] = "places"
    orders: Annotated[int, "orders far apart, where they are what is asked"] = 100
    grid: Annotated[int, "tiles per side of a puzzle", Ge(2), Le(4)] = 3
    side: Annotated[
        int, "side of a picture before it is cut, px; 0: as stored", Ge(0)
    ] = 0
    min_area: Annotated[Area, "smallest share of the picture in a puzzle"] = 0.6
    turns: Annotated[bool, "flip and rotate it first: pictures without an up"] = False
    gap: Annotated[Share, "share of a cell's side cut away: no edges match"] = 0.125
    tile_norm: Annotated[
        bool, "each tile has zero mean and unit deviation: no level tells its place"
    ] = True
    grey: Annotated[Share, "share of puzzles without colour"] = 0.3
    channel_shift: Annotated[Share, "largest shift of a channel, share of a tile"] = (
        0.03
    )
    resize_jitter: Annotated[
        Share, "each tile is cut smaller by up to this share: no resampling matches"
    ] = 0.0
    exact_original: Annotated[
        bool, "for comparison: squared error, whole pictures, no switch against cues"
    ] = False
    held_out: Annotated[
        Share, "share of pictures kept back to measure by, at most 512"
    ] = 0.05

    def __post_init__(self) -> None:
        """Check the ranges."""
        super().__post_init__()
        if self.exact_original:
            self._become_the_original()
        if self.form == "orders":
            check_orders(self.orders, self.grid**2)

    def _become_the_original(self) -> None:
        """Take the original's values, so that they are also what is recorded."""
        for name, value in ORIGINAL.items():
            given = getattr(self, name)
            if given not in (value, getattr(JigsawSettings, name)):
                raise UserError(
                    f"{name} = {given}, but exact_original means {name} = {value};"
                    " give one of the two"
                )
            object.__setattr__(self, name, value)

    def net_side_px(self, picture_px: int, scale: float) -> int:
        """Give the side of a whole puzzle, or of a tile where orders are told, px.

        Raises:
            UserError: The tiles would be too small, or larger than a picture.
        """
        tile_px = round(tile_side(picture_px, self) * scale)
        return tile_px if self.form == "orders" else self.grid * tile_px


def tile_side(picture_px: int, settings: JigsawSettings) -> int:
    """Give the side of a tile: what the gap leaves of a cell.

    Raises:
        UserError: The tile would be too small to show anything, or larger than the
            whole picture is stored.
    """
    side_px = settings.side or picture_px
    tile_px = round(side_px / settings.grid * (1 - settings.gap))
    if tile_px < MIN_TILE_PX and settings.side:
        raise UserError(
            f"side = {side_px} gives tiles of {tile_px} px; at least {MIN_TILE_PX} are"
            " needed: give a larger one"
        )
    if tile_px < MIN_TILE_PX:
        raise UserError(
            f"pictures of {picture_px} px give tiles of {tile_px} px; at least"
            f" {MIN_TILE_PX} are needed: prepare with a larger --side"
        )
    if tile_px > picture_px:
        raise UserError(
            f"side = {side_px} gives tiles of {tile_px} px, but whole pictures are"
            f" stored at {picture_px} px; give a smaller one"
        )
    return tile_px


def main(argv: Sequence[str] | None = None) -> Path:
    """Pretrain as the command line says, and return the folder of the stage."""
    settings, run, experiment = open_command(JigsawSettings, STAGE, argv)
    about: dict[str, Any] = {"form": settings.form, "grid": settings.grid}

    def build(material: Material) -> "Learner":
        learner, found = build_learner(material, settings)
        about.update(found)
        return learner

    def summary(last: dict[str, float]) -> str:
        if "held_out" not in last:
            return f"accuracy {last.get('accuracy', 0):.1%} on the pictures trained on"
        asked, chance = "tiles placed right", 1 / settings.grid**2
        if settings.form == "orders":
            asked, chance = "orders told right", 1 / settings.orders
        return (
            f"{last['held_out']:.1%} of the {asked} on held-out pictures"
            f" (chance {chance:.1%})"
        )

    return pretrain(
        STAGE,
        settings,
        run,
        experiment,
        held_out=settings.held_out,
        build=build,
        summary=summary,
        facts=lambda _: about,
    )


def build_learner(
    material: Material, settings: JigsawSettings
) -> "tuple[Learner, dict[str, Any]]":
    """Make the learner, audit its puzzles, and say what belongs beside the weights."""
    import numpy as np

    from pretext.methods.audit import audit
    from pretext.methods.classification import (
        JigsawLearner,
        cross_entropy,
        squared_error,
    )
    from pretext.methods.puzzles import PuzzleRules

    rules = PuzzleRules(
        grid=settings.grid,
        tile_px=tile_side(material.pictures.side_px, settings),
        gap=settings.gap,
        min_area=settings.min_area,
        ratio=1.0 if settings.exact_original else PuzzleRules.ratio,
        turns=settings.turns,
        grey=settings.grey,
        channel_shift=settings.channel_shift,
        resize_jitter=settings.resize_jitter,
        normalise=None if settings.tile_norm else material.normalise,
    )
    about: dict[str, Any] = {}
    orders = None
    if settings.form == "orders":
        orders = spread_orders(settings.orders, settings.grid**2, settings.seed)
        about["orders"] = [" ".join(map(str, order)) for order in orders.tolist()]
    about["shortcuts"] = audit(
        material.pictures,
        np.union1d(material.rows, material.held_out),
        material.keys,
        rules,
        material.extents,
        settings.seed,
        advise=not settings.exact_original,  # whose switches are fixed
    )
    learner = JigsawLearner(
        material.backbone,
        rules,
        material.pictures,
        material.held_out,
        material.keys[material.held_out],
        settings.seed,
        material.extents,
        orders=orders,
        criterion=squared_error if settings.exact_original else cross_entropy,
    )
    return learner, about


if __name__ == "__main__":
    run_command(main)
