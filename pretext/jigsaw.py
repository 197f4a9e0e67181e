"""Jigsaw: pretrain a backbone by asking where the nine tiles of a picture belong.

    python -m pretext.jigsaw --experiment experiments/demo.toml --epochs 20

Reads ``data_prep.prepare``; writes ``pretext.jigsaw/backbone.safetensors``.

Source: Noroozi & Favaro 2016, arXiv 1603.09246, which is ``--form orders``: a trunk for
each tile, and the answer is one of 100 orders far apart.
Differs: by default (``--form places``) the nine tiles are one picture for the backbone,
and the answer is the tile at each place (a 9 x 9 table, cross-entropy by row), so no
set of orders is needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Le

from data_prep.arrays import Ints
from data_prep.command import open_command, run_command
from data_prep.errors import UserError
from data_prep.ranges import Area, Share
from data_prep.settings import Example
from pretext.data.training_data import TrainingData
from pretext.methods.permutations import check_orders, spread_orders
from pretext.pretext_settings import PretextSettings, Questions
from pretext.pretraining import pretrain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from pretext.data.pictures import Normalisation, Pictures
    from pretext.engine.learner import Learner
    from pretext.methods.classification import JigsawLearner
    from pretext.methods.puzzles import PuzzleRules

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
        int, "side of a picture before it is cut, px; 0: as stored", Ge(0), Example(160)
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
        Share,
        "each tile is cut smaller by up to this share: no resampling matches",
        Example(0.1),
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
            setting = getattr(self, name)
            if setting not in (value, getattr(JigsawSettings, name)):
                raise UserError(
                    f"{name} = {setting}, but exact_original means {name} = {value};"
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

    def build_learner(self, backbone: "nn.Module", data: TrainingData) -> "Learner":
        """Make the learner, and audit its puzzles."""
        from pretext.methods.audit import audit

        orders = self.order_set()
        metadata: dict[str, Any] = {"form": self.form, "grid": self.grid}
        if orders is not None:
            metadata["orders"] = [
                " ".join(map(str, order)) for order in orders.tolist()
            ]
        metadata["shortcuts"] = audit(
            pictures=data.pictures,
            rows=data.visible_idx,
            keys=data.keys,
            rules=self.rules(data.pictures.side_px, data.normalise),
            fill_frac=data.fill_frac,
            seed=self.seed,
            advise=not self.exact_original,  # whose switches are fixed
        )
        learner = self.learner_of(
            backbone,
            data.pictures,
            normalise=data.normalise,
            fill_frac=data.fill_frac,
            val_idx=data.val_idx,
            val_keys=data.keys[data.val_idx],
        )
        learner.metadata = metadata
        return learner

    def learner_of(
        self,
        backbone: "nn.Module",
        pictures: "Pictures",
        *,
        normalise: "Normalisation",
        fill_frac: "NDArray[np.float32]",
        val_idx: Ints,
        val_keys: "NDArray[np.uint64]",
    ) -> "JigsawLearner":
        """Make what answers the puzzles, with a new head.

        Args:
            backbone: Gives the features.
            pictures: All N prepared pictures.
            normalise: Their statistics.
            fill_frac: (N, 2) share of width and height that each fills.
            val_idx: (V,) rows that only measure.
            val_keys: (V,) their keys.
        """
        from pretext.methods.classification import (
            JigsawLearner,
            cross_entropy,
            squared_error,
        )

        return JigsawLearner(
            backbone,
            self.rules(pictures.side_px, normalise),
            pictures=pictures,
            val_idx=val_idx,
            val_keys=val_keys,
            seed=self.seed,
            fill_frac=fill_frac,
            orders=self.order_set(),
            criterion=squared_error if self.exact_original else cross_entropy,
        )

    def order_set(self) -> Ints | None:
        """Give the (P, T) orders of which one is asked; None: places are."""
        if self.form == "places":
            return None
        return spread_orders(self.orders, self.grid**2, self.seed)

    def rules(self, picture_px: int, normalise: "Normalisation") -> "PuzzleRules":
        """Say how the puzzles of pictures of a side in pixels are made."""
        from pretext.methods.puzzles import PuzzleRules

        return PuzzleRules(
            grid=self.grid,
            tile_px=tile_side(picture_px, self),
            gap=self.gap,
            min_area=self.min_area,
            ratio=1.0 if self.exact_original else PuzzleRules.ratio,
            d4=self.turns,
            grey=self.grey,
            channel_shift=self.channel_shift,
            resize_jitter=self.resize_jitter,
            normalise=None if self.tile_norm else normalise,
        )

    @property
    def questions(self) -> Questions:
        """Each place is asked for its tile, or the puzzle for its order."""
        n_tiles = self.grid**2
        if self.form == "orders":
            return Questions(per_picture=1, choices=self.orders)
        return Questions(per_picture=n_tiles, choices=n_tiles)

    def summary(self, last: Mapping[str, float]) -> str:
        """Say how often the net is right, on held-out pictures if there are any."""
        if "held_out" not in last:
            return f"accuracy {last.get('accuracy', 0):.1%} on the pictures trained on"
        is_of_orders = self.form == "orders"
        answers = "orders told right" if is_of_orders else "tiles placed right"
        return (
            f"{last['held_out']:.1%} of the {answers} on held-out pictures"
            f" (chance {self.questions.chance:.1%})"
        )


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
    return pretrain(STAGE, settings, run, experiment)


if __name__ == "__main__":
    run_command(main)
