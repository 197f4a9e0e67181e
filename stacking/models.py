"""Models as files: boosters as text, others as arrays; nothing is pickled."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.errors import UserError
from stacking.boosting import Boosters
from stacking.inner import Model
from stacking.linear import Curve, Ridge
from stacking.neural import Nets
from stacking.svr import Svr

TEXT = ".txt"
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
                booster.save_model(str(folder / file))
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
        UserError: A file is missing.
    """
    return [_load(folder, of_fold) for of_fold in files]


def _load(folder: Path, files: Sequence[str]) -> Model:
    for file in files:
        if not (folder / file).exists():
            raise UserError(
                f"{folder / file} is missing; again: python -m stacking.fit --again"
            )
    if files[0].endswith(TEXT):
        import lightgbm

        return Boosters(
            [lightgbm.Booster(model_file=str(folder / file)) for file in files]
        )
    with np.load(folder / files[0], allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
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
