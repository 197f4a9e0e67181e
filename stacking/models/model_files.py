"""A model as a file of arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.run_folders.damage import intact

KIND = "kind"  # the array that names the class


def save_arrays(folder: Path, stem: str, kind: str, arrays: Mapping[str, Any]) -> str:
    """Write arrays and the name of their class; return the name of the file."""
    file = f"{stem}.npz"
    stored: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items()}
    np.savez(folder / file, allow_pickle=False, **stored, **{KIND: np.array(kind)})
    return file


def load_arrays(folder: Path, file: str) -> tuple[str, dict[str, NDArray[Any]]]:
    """Read what ``save_arrays`` wrote: the name of the class, and the arrays.

    Raises:
        DamagedFileError: The file is missing, cut or changed.
    """
    with intact(folder / file) as path, np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return str(arrays.pop(KIND)), arrays
