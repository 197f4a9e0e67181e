"""Models as files: boosters as text, others as arrays; nothing is pickled."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.run_folders.damage import intact
from data_prep.run_folders.drafts import write_text
from stacking.cross_fitting import Model
from stacking.models.boosting import Boosters
from stacking.models.linear import Curve, Ridge
from stacking.models.neural import Nets
from stacking.models.svr import Svr

TEXT = ".txt"
LAST_OF_TREES = "\nend of trees\n"
KIND = "kind"  # the array that names the class


def save_models(folder: Path, name: str, models: Sequence[Model]) -> list[list[str]]:
    """Write the models of a member, those of each fold; return their files by fold."""
    files = []
    for fold, model in enumerate(models):
        stem = f"{'model' if name == 'lightgbm' else name}_fold{fold}"
        if isinstance(model, Boosters):
            of_fold = []
            for number, booster in enumerate(model.boosters):
                file = f"{stem}{f'_seed{number}' if number else ''}{TEXT}"
                # by Python: LightGBM would not say that the disk is full
                write_text(folder / file, booster.model_to_string())
                of_fold.append(file)
            files.append(of_fold)
            continue
        arrays = _arrays_of(model) | {KIND: np.array(type(model).__name__)}
        np.savez(folder / f"{stem}.npz", allow_pickle=False, **arrays)
        files.append([f"{stem}.npz"])
    return files


def load_models(folder: Path, files: Sequence[Sequence[str]]) -> list[Model]:
    """Read the models of a member.

    Raises:
        DamagedFileError: A file is missing, cut or changed.
    """
    return [_load(folder, of_fold) for of_fold in files]


def _load(folder: Path, files: Sequence[str]) -> Model:
    if files[0].endswith(TEXT):
        return Boosters([_booster(folder / file) for file in files])
    with (
        intact(folder / files[0]) as path,
        np.load(path, allow_pickle=False) as stored,
    ):
        return _of_arrays({name: stored[name] for name in stored.files})


def _booster(path: Path) -> Any:
    """Read a booster; LightGBM ends the whole process over a text that is cut."""
    import lightgbm

    with intact(path):
        text = path.read_text(encoding="utf-8")
        if LAST_OF_TREES not in text:
            raise ValueError("its trees have no end")
        return lightgbm.Booster(model_str=text)


def _of_arrays(arrays: dict[str, Any]) -> Model:
    kind = str(arrays.pop(KIND))
    if kind == "Ridge":
        penalty, is_shares = arrays.pop("penalty"), arrays.pop("is_shares")
        return Ridge(**arrays, penalty=float(penalty), is_shares=bool(is_shares))
    if kind == "Curve":
        return Curve(**arrays)
    if kind == "Svr":
        return Svr.of_arrays(arrays)
    return Nets.of_arrays(arrays)


def _arrays_of(model: Any) -> dict[str, Any]:
    if isinstance(model, Ridge | Curve):
        return {name: np.asarray(value) for name, value in vars(model).items()}
    arrays: dict[str, Any] = model.arrays()
    return arrays
