"""What ``data_prep.prepare`` records of its rows and pictures, once it has them."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_prep.folds import count_folds, hash_of_folds
from data_prep.pictures.copies import Repeat, count_copies
from data_prep.pictures.images import channel_statistics

SPLITS = ("train", "test", "unlabelled")


def metadata_of_rows(
    rows: pd.DataFrame, cv: str | None, target_kind: str | None, n_left_out: int
) -> dict[str, Any]:
    """Record what is known of the rows once the pictures are decoded."""
    weights = rows["weight"]
    target = rows["target"] if target_kind == "numeric" else None
    copies = count_copies(rows)
    ends = None if target is None else [float(target.min()), float(target.max())]
    return {
        "n_folds": count_folds(rows),
        "fold_hash": hash_of_folds(rows) if cv else None,
        "label_hash": hash_of_labels(rows) if cv else None,
        "target_range": ends,
        "counts": {
            **{split: int((rows["split"] == split).sum()) for split in SPLITS},
            "left_out": n_left_out,
        },
        "copies": copies.n_equal,
        "near_copies": copies.n_near,
        "copies_of_train_in_test": copies.n_crossing,
        "dropped": int((weights == 0).sum()),
        "softened": int(((weights > 0) & (weights < 1)).sum()),
    }


def hash_of_labels(rows: pd.DataFrame) -> str:
    """Hash which row has which label, whatever the folds and the order of the rows.

    Args:
        rows: With ``id``, ``split`` and maybe ``target``.
    """
    labelled = rows[rows["split"] == "train"]
    labels = labelled["target"] if "target" in labelled else labelled["split"]
    pairs = zip(labelled["id"], labels, strict=True)
    lines = sorted(f"{id_},{label}\n" for id_, label in pairs)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def metadata_of_pictures(
    pixels: NDArray[np.uint8], placeholders: Sequence[Repeat], fit: str
) -> dict[str, Any]:
    """Record how the pixels were made, and their mean and standard deviation."""
    mean, std = channel_statistics(pixels)
    return {
        "fit": fit,
        "placeholders": [[repeat.file, len(repeat.ids)] for repeat in placeholders],
        "mean": mean,
        "std": std,
    }
