"""Made-up runs: what earlier stages write, without their work."""

from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_prep.folds import fold_columns, hash_of_folds
from data_prep.pictures.images import channel_statistics
from data_prep.row_metadata import hash_of_labels
from data_prep.run_folders.runs import Run
from features.store import Store

STAGE = "data_prep.prepare"
PRETEXT = "pretext.jigsaw"
BACKBONE = "test_resnet"  # timm's, of 0.5 million weights
N_LEVELS = 4


def whole_header(store: Store) -> dict[str, Any]:
    """Give a header that writes the same store."""
    return store.header | {
        "ids": list(store.ids),
        "roles": store.roles.tolist(),
        "folds": store.folds.tolist(),
    }


def make_run(
    folder: Path,
    *,
    n_train: int = 24,
    n_test: int = 6,
    n_unlabelled: int = 2,
    n_excluded: int = 0,
    n_folds: int = 3,
    n_deals: int = 1,
    side: int = 32,
    target: str | None = "numeric",
    dates: bool = True,
    words: int = 3,
    relabelled_fold: int | None = None,
    unit: tuple[float, float] = (1.0, 0.0),
    experiment: str = "",
) -> Run:
    """Write a finished ``data_prep.prepare`` of pictures of noise.

    The target brightens the upper half. Some rows lack a date or a word vector.

    Args:
        folder: Folder of the run.
        n_train: Training rows, their targets 0 to 3, in turn.
        n_test: Rows to predict.
        n_unlabelled: Pictures in no table.
        n_excluded: How many training rows are not validated; each is a copy of a row
            that is, as the cv groups say.
        n_folds: Folds of a deal; 0: none.
        n_deals: How often they are dealt.
        side: Of the pictures, px.
        target: ``"numeric"``, ``"classes"`` or None.
        dates: Whether there are any.
        words: Dimensions of the word vectors; 0: none.
        relabelled_fold: All labels of this fold are others.
        unit: What a numeric target is multiplied by, and what is added then.
        experiment: Tables of the experiment file beside ``[data]``.
    """
    rng = np.random.default_rng(0)
    n = n_train + n_test + n_unlabelled
    index = np.arange(n)
    is_train, is_excluded = index < n_train, index < n_excluded
    levels = np.where(is_train, index % N_LEVELS, -1)
    years = np.where(is_train & (index % 4 != 0), rng.uniform(1800, 1900, n), np.nan)
    vectors = rng.normal(size=(n, words)).astype(np.float32)
    has_fold = is_train & ~is_excluded & (n_folds > 0)
    folds = np.where(has_fold, index % max(n_folds, 1), -1)
    pixels = rng.integers(0, 100, (n, side, side, 3), dtype=np.uint8)
    pixels[:, : side // 2] += (40 * levels.clip(0)).astype(np.uint8)[
        :, None, None, None
    ]
    if relabelled_fold is not None:
        is_other = folds == relabelled_fold
        levels = np.where(is_other, (levels + 1) % N_LEVELS, levels)
        years, vectors = years + 7 * is_other, vectors - 2 * is_other[:, None]
    table = pd.DataFrame(
        {
            "id": [f"p{number:03d}" for number in rng.permutation(n)],
            "split": np.repeat(
                ["train", "test", "unlabelled"], [n_train, n_test, n_unlabelled]
            ),
            "cv_group": np.where(is_excluded, index + n_excluded, index),
            "date": years if dates else np.nan,
            "fold": folds,
            "weight": 1.0,
            "given.kind": [f"kind{k % 3}" if k < n_train else None for k in range(n)],
            "given.rare": ["rare" if k < 4 else f"often{k % 2}" for k in range(n)],
            "given.size": [f"{k}.5" if k % 2 else None for k in range(n)],
        }
    )
    for deal in range(1, n_deals):
        others = deal * n_folds + index // n_folds**deal % n_folds
        table[f"fold_{deal}"] = np.where(has_fold, others, -1)
    if target:
        texts = [f"class{level}" if level >= 0 else None for level in levels]
        numbers = np.where(is_train, levels * unit[0] + unit[1], np.nan)
        table["target"] = numbers if target == "numeric" else np.array(texts, object)
        table["class_index"] = levels
    order = np.argsort(table["id"].to_numpy())
    table = table.iloc[order].reset_index(drop=True)
    table["group"] = table["id"]
    table["image_row"] = index
    table["width"] = table["height"] = side
    pixels, vectors = pixels[order], vectors[order]
    run = Run(folder)
    with run.stage(STAGE, {"made": "up"}) as stage:
        table.to_parquet(stage.folder / "table.parquet", index=False)
        np.save(stage.folder / "images.npy", pixels)
        if words:
            named = pd.DataFrame(vectors, columns=[f"w{k}" for k in range(words)])
            named.insert(0, "id", table["id"])
            has_words = index % 3 != 0
            named[has_words].to_parquet(stage.folder / "words.parquet", index=False)
        stage.metadata = facts_of(table, pixels, n_folds, target, words)
        if target == "numeric":
            values = [k * unit[0] + unit[1] for k in range(N_LEVELS)]
            stage.metadata |= {
                "classes": values,
                "target_range": [values[0], values[-1]],
            }
    text = f'[data]\nimages = "pictures"\n{experiment}'
    (folder / "experiment.toml").write_text(text, encoding="utf-8")
    (folder / "run.json").write_text('{"base": ".", "experiment": "made_up.toml"}')
    return run


def table_of(run: Run) -> pd.DataFrame:
    """Read the prepared table."""
    return pd.read_parquet(run.folder / STAGE / "table.parquet")


def pixels_of(run: Run) -> NDArray[np.uint8]:
    """Read the prepared pictures."""
    pixels: NDArray[np.uint8] = np.load(run.folder / STAGE / "images.npy")
    return pixels


def make_pretext(run: Run, backbone: str = BACKBONE, side_px: int = 32) -> Path:
    """Write a finished pretext stage with random weights, and return their file."""
    import torch

    from pretext.networks.backbones import build_backbone, save_weights

    torch.manual_seed(7)
    tensors = build_backbone(backbone, side_px).state_dict()
    about = {"stage": PRETEXT, "backbone": backbone, "side_px": side_px}
    with run.stage(PRETEXT, {"made": "up"}, reads=[STAGE]) as stage:
        save_weights(stage.folder / "backbone.safetensors", tensors, about)
        stage.metadata = {"backbone": backbone}
    return run.folder / PRETEXT / "backbone.safetensors"


def finetune(run: Run, *flags: str) -> Path:
    """Fine-tune tiny nets for an epoch."""
    from transfer import finetune as command

    small = ["--backbone=test_resnet", "--init=scratch", "--epochs=1", "--batch-size=8"]
    exact = ["--threads=1", "--precision=fp32"]
    with elsewhere(run):
        return command.main([f"--run={run.folder}", *small, *exact, *flags])


def extract(run: Run, *flags: str) -> Path:
    """Extract in float32."""
    from features import extract as command

    exact = ["--threads=1", "--precision=fp32"]
    with elsewhere(run):
        return command.main([f"--run={run.folder}", *exact, *flags])


@contextmanager
def elsewhere(run: Run) -> Iterator[None]:
    """Leave the run last worked on in this checkout as it is."""
    with chdir(run.folder):
        yield


def facts_of(
    table: pd.DataFrame,
    pixels: NDArray[np.uint8],
    n_folds: int,
    target: str | None,
    words: int,
) -> dict[str, Any]:
    """Say of the table what ``data_prep.prepare`` says."""
    classes: list[Any] | None = None
    if target == "numeric":
        classes = [0.0, 1.0, 2.0, 3.0]
    elif target == "classes":
        classes = [f"class{k}" for k in range(N_LEVELS)]
    mean, std = channel_statistics(pixels)
    n_deals = len(fold_columns(table))
    often = f"x{n_deals}" * (n_deals > 1)
    return {
        "side": pixels.shape[1],
        "fit": "pad",
        "cv": f"sgkfold{n_folds}{often}" if n_folds else None,
        "n_folds": n_folds * n_deals,
        "fold_hash": hash_of_folds(table) if n_folds else None,
        "label_hash": hash_of_labels(table) if n_folds else None,
        "classes": classes,
        "target_kind": target,
        "target_range": [0.0, 3.0] if target == "numeric" else None,
        "mean": mean,
        "std": std,
        "counts": {
            split: int((table["split"] == split).sum())
            for split in ("train", "test", "unlabelled")
        },
        "words": words,
        "has_group": False,
        "id_column": "id",
        "target_column": "level" if target else None,
        "group_column": None,
        "date_column": "year" if table["date"].notna().any() else None,
    }
