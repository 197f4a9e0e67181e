"""What needs no net: left out of a stack's rows, and told of new pictures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from features.earlier import PIXEL_STORE
from features.pixel_columns import pixel_column_names, pixel_columns
from features.store import write_store
from stacking.inputs.data import StackingData


def without_pixels(data: StackingData) -> StackingData:
    """Give the rows of a run whose pixels are gone.

    The model without nets costs each fit half a second, and is no business of most
    tests.
    """
    return replace(data, pixels=None, common=replace(data.common, pixels=None))


def columns_of_pixels(run: Path, ids: Sequence[str]) -> np.ndarray:
    """Give (n, P) what needs no net of pictures of a run."""
    prepared = run / "data_prep.prepare"
    (pixels,) = map(np.load, prepared.glob("images*.npy"))
    table = pd.read_parquet(prepared / "table.parquet").set_index("id")
    return pixel_columns(pixels, table.loc[list(ids), "image_row"].to_numpy())


def write_pixels(run: Path, ids: Sequence[str], folder: Path) -> None:
    """Write of pictures of a run what ``features.fresh`` would, were they new."""
    header = {
        "columns": [{"name": name} for name in pixel_column_names()],
        "views": None,
        "roles": ["label_free"] * len(ids),
        "folds": [-1] * len(ids),
    }
    write_store(folder / PIXEL_STORE, ids, columns_of_pixels(run, ids), header)
