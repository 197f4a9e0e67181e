"""Models as files of arrays; nothing is pickled."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.run_folders.damage import intact
from stacking.cross_fitting import Model

CLASS_NAME = "kind"  # the array that names the class


class ArrayModel:
    """A dataclass of arrays and plain numbers that writes itself."""

    def save(self, folder: Path, stem: str) -> list[str]:
        """Write itself; return the name of the file."""
        arrays: dict[str, Any] = {k: np.asarray(v) for k, v in vars(self).items()}
        arrays[CLASS_NAME] = np.array(type(self).__name__)
        np.savez(folder / f"{stem}.npz", allow_pickle=False, **arrays)
        return [f"{stem}.npz"]


def load_arrays(folder: Path, files: Sequence[str], *classes: type[Model]) -> Model:
    """Read what ``ArrayModel.save`` wrote.

    Args:
        folder: Where it is.
        files: What ``save`` gave.
        classes: Of which the model is one.

    Raises:
        DamagedFileError: The file is missing, cut or changed.
    """
    with intact(folder / files[0]) as path, np.load(path, allow_pickle=False) as stored:
        values = {k: v if v.ndim else v.item() for k, v in stored.items()}
    by_name = {model.__name__: model for model in classes}
    return by_name[values.pop(CLASS_NAME)](**values)
