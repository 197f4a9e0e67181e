"""New pictures as the nets see them, and the rows that the stack predicts of those.

Shapes: M new pictures or objects, C columns, K nets, V views, F outputs, P columns of
pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_prep.arrays import Floats
from data_prep.errors import UserError, named
from data_prep.run_folders.runs import Finished
from features.earlier import PIXEL_STORE
from features.store import Store
from stacking.ensemble.deals import DealPredictors
from stacking.inputs import tta_views
from stacking.inputs.data import Column, PixelColumns
from stacking.inputs.object_pooling import pool_pictures
from stacking.inputs.objects import Objects
from stacking.inputs.sources import opened, side_by_side

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class NewRows:
    """M new pictures, or objects of several, through the nets.

    Attributes:
        ids: M ids, or names of objects.
        nets: K arrays (M, C), or one, of the net of all rows or of one without labels.
        views: K arrays (M, V, F) of single views, where a member sees those.
        pixels: (M, P) what needs no net, where a member sees that.
        first: Number of the first of the nets, for its scale.
    """

    ids: tuple[str, ...]
    nets: tuple[Floats, ...]
    views: tuple[Floats, ...] | None = None
    pixels: PixelColumns | None = None
    first: int = 0

    @classmethod
    def read(
        cls, folders: Sequence[Path], predictor: DealPredictors, fitted: Finished
    ) -> "NewRows":
        """Read the stores of ``features.fresh``, of one run or several.

        Raises:
            UserError: They do not have the columns that the models learned from.
        """
        by_run = []
        is_of_all = fitted.record["settings"]["test_nets"] == "all"
        for folder in folders:
            paths = stores_of_folds(folder / "nets")
            if is_of_all:
                paths = [folder / "nets" / "all.pkl"]
            by_run.append([opened(path) for path in paths or [folder / "features.pkl"]])
        # A picture that one run's nets fail on has no prediction, and is told of.
        every = [store for stores in by_run for store in stores]
        ids = tuple(i for i in every[0].ids if all(i in store for store in every))
        if not ids:
            raise UserError(
                f"no picture came through the nets of all {len(folders)} runs;"
                f" {folders[-1] / 'left_out.csv'} and those of the others say why"
            )
        nets = side_by_side(
            [
                [store.matrix(ids).astype(np.float64) for store in stores]
                for stores in by_run
            ]
        )
        n_columns = len(_columns_of_nets(predictor))
        if nets[0].shape[1] != n_columns:
            raise UserError(
                f"the nets give {nets[0].shape[1]} columns, and the models learned from"
                f" {n_columns}; again: python -m stacking.fit --overwrite"
            )
        views = pixels = None
        if "views" in predictor.sees:
            views = tuple(_views(folders[0], predictor, ids, len(nets)))
        if "pixels" in predictor.sees:
            pixels = opened(folders[0] / PIXEL_STORE).matrix(ids)
        first = predictor.n_nets - 1 if is_of_all else 0
        return cls(ids=ids, nets=nets, views=views, pixels=pixels, first=first)

    def with_user_columns(
        self, table: "pd.DataFrame", predictor: DealPredictors
    ) -> "NewRows":
        """Put the user's own columns beside those of the nets.

        Raises:
            UserError: The table lacks a picture.
        """
        if missing := set(self.ids) - set(table.index):
            raise UserError(f"--table has no row for {named(missing)}; add them")
        assert predictor.user_columns is not None
        columns = predictor.user_columns.apply(table.loc[list(self.ids)])
        return replace(self, nets=tuple(np.hstack([net, columns]) for net in self.nets))

    def of_objects(
        self, objects: "pd.Series[str]", predictor: DealPredictors
    ) -> "NewRows":
        """Pool the pictures of each object, as those of the run were.

        Args:
            objects: Which object each picture shows, ids as the index.
            predictor: With the columns, those of the user's table too.
        """
        shown = Objects.of_names(objects[list(self.ids)].tolist())
        columns = predictor.target_columns.columns
        nets = tuple(pool_pictures(net, columns, shown) for net in self.nets)
        pixels = self.pixels
        if pixels is not None:
            pixels = shown.mean(pixels).astype(np.float32, copy=False)
        return replace(self, ids=shown.names, nets=nets, pixels=pixels)


def stores_of_folds(folder: Path) -> list[Path]:
    """List the stores of the fold nets by their numbers: 2 comes before 10."""
    paths = folder.glob("fold*.pkl")
    return sorted(paths, key=lambda path: int(path.stem.removeprefix("fold")))


def _columns_of_nets(predictor: DealPredictors) -> list[Column]:
    """List the columns that the nets give, and not the user's table."""
    user_columns = predictor.user_columns
    names = user_columns.names if user_columns else ()
    return [c for c in predictor.target_columns.columns if c.name not in names]


def _views(
    folder: Path, predictor: DealPredictors, ids: Sequence[str], n_nets: int
) -> list[Floats]:
    """Read the single views of each fold net, (M, V, F), tasks side by side."""
    tasks = dict.fromkeys(column.task for column in _columns_of_nets(predictor))
    views = folder / "views"

    def store_of(task: str, fold: int) -> Store:
        of_one_net = views / f"{task}.pkl"  # without labels one net made all rows
        is_there = of_one_net.exists()
        return opened(of_one_net if is_there else views / f"{task}.test.fold{fold}.pkl")

    return [
        tta_views.side_by_side([store_of(task, fold) for task in tasks], ids)
        for fold in range(n_nets)
    ]
