"""The data of a pretraining: the pictures, their keys, and which of them only measure.

Torch-free until pictures are opened.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Ints
from data_prep.pictures.fit import PADDING
from data_prep.prepared import Prepared
from pretext.data.keyed_rng import keys_of, uniforms

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from pretext.data.pictures import Normalisation, Pictures

MAX_HELD_OUT = 512  # pictures that only measure


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What a pretext task learns from.

    Attributes:
        prepared: The stage of the N pictures, with their table.
        pictures: All N prepared pictures.
        keys: (N,) keys of all pictures, for ``pretext.data.keyed_rng``.
        train_idx: Rows that are trained on, rising.
        val_idx: Rows that are not trained on and only measure, rising.
        normalise: Statistics of the collection, or of what the first weights saw.
        fill_frac: (N, 2) share of width and height that each picture fills.
    """

    prepared: Prepared
    pictures: "Pictures"
    keys: NDArray[np.uint64]
    train_idx: Ints
    val_idx: Ints
    normalise: "Normalisation"
    fill_frac: NDArray[np.float32]

    @property
    def train_ids(self) -> list[str]:
        """Ids of the rows that are trained on."""
        return self.prepared.table["id"].iloc[self.train_idx].tolist()

    @property
    def visible_idx(self) -> Ints:
        """(n,) rows that the task may look at: trained on, or held out to measure."""
        return np.union1d(self.train_idx, self.val_idx)


def load_training_data(
    prepared: Prepared,
    device: "torch.device",
    *,
    held_out_frac: float,
    inductive: bool,
    seed: int,
) -> TrainingData:
    """Open the prepared pictures, and say which of them train.

    Args:
        prepared: The stage of the pictures.
        device: Where the batches go.
        held_out_frac: Share of the rows that only measure, at most 512.
        inductive: Pictures of the test table neither train nor measure.
        seed: Decides which rows measure.
    """
    from pretext.data.pictures import Normalisation, Pictures

    table, metadata = prepared.table, prepared.metadata
    keys = keys_of(table["id"].tolist())
    train_idx, val_idx = split_rows(
        table, keys, held_out_frac=held_out_frac, inductive=inductive, seed=seed
    )
    return TrainingData(
        prepared=prepared,
        pictures=Pictures.open(prepared.folder, device),
        keys=keys,
        train_idx=train_idx,
        val_idx=val_idx,
        normalise=Normalisation(tuple(metadata["mean"]), tuple(metadata["std"])),
        fill_frac=fill_frac_of(table, metadata["fit"]),
    )


def n_held_out(held_out_frac: float, n_pictures: int) -> int:
    """Count the pictures that only measure: a share of all, at most 512."""
    return min(MAX_HELD_OUT, round(held_out_frac * n_pictures))


def split_rows(
    table: "pd.DataFrame",
    keys: NDArray[np.uint64],
    *,
    held_out_frac: float,
    inductive: bool,
    seed: int,
) -> tuple[Ints, Ints]:
    """Draw the rows that only measure, by their keys, whatever their order.

    Args:
        table: N rows.
        keys: (N,) their keys.
        held_out_frac: Share of the rows that only measure, at most 512.
        inductive: Pictures of the test table neither train nor measure.
        seed: Of the training.

    Returns:
        The rows that train and those that measure, both rising.
    """
    visible_mask = np.ones(len(table), dtype=np.bool_)
    if inductive:
        visible_mask = (table["split"] != "test").to_numpy()
    visible_idx = np.flatnonzero(visible_mask)
    u = uniforms(keys[visible_idx], 1, seed=seed, epoch=0, purpose="held out")
    n = n_held_out(held_out_frac, len(visible_idx))
    val_idx = np.sort(visible_idx[np.argsort(u[:, 0])[:n]])
    return np.setdiff1d(visible_idx, val_idx), val_idx


def fill_frac_of(table: "pd.DataFrame", fit: str) -> NDArray[np.float32]:
    """Give the (N, 2) share of width and height that each picture fills.

    Args:
        table: With the width and height of the originals, in pixels.
        fit: How they were made square; see ``data_prep.pictures.fit``.
    """
    sides = table[["width", "height"]].to_numpy(dtype=np.float32)
    fill_frac: NDArray[np.float32] = sides / sides.max(axis=1, keepdims=True)
    return fill_frac if fit in PADDING else np.ones_like(fill_frac)
