"""Paths among the settings of a stage: in a file they are relative to that file."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.errors import UserError

Locate = Callable[[Path], Path]  # resolves a path of an experiment file


@dataclass(frozen=True, kw_only=True)
class MayBePath:
    """An annotation of a setting: its text may be a path, or a name.

    Attributes:
        is_path: Tells it of a text, and the folder that a path would be relative to.
    """

    is_path: Callable[[str, Path], bool]


def located(value: Any, annotations: Iterable[Any], locate: Locate) -> Any:
    """Resolve what is a path of the value of a setting, checked already.

    Args:
        value: A value, or a tuple of several.
        annotations: Of the setting.
        locate: Resolves a path.

    Raises:
        UserError: There is none, but would be one from where the user stands.
    """
    if isinstance(value, tuple):
        return tuple(located(element, annotations, locate) for element in value)
    if isinstance(value, Path):
        return locate(value)
    folder = locate(Path())
    if not _is_path(value, annotations, folder):
        return value
    path = locate(Path(value))
    if not path.exists() and Path(value).exists():
        raise UserError(
            f"{value!r}: paths in an experiment file are relative to it; write"
            f" {os.path.relpath(value, folder)!r}"
        )
    cwd = Path.cwd()  # a path of below it is easier to read in messages
    return str(path.relative_to(cwd) if path.is_relative_to(cwd) else path)


def without_folders(value: Any, annotations: Iterable[Any]) -> Any:
    """Leave of paths what they are called, after ``./``.

    Where they lie depends on where one stands, and their content has digests.
    """
    if isinstance(value, tuple):
        return tuple(without_folders(element, annotations) for element in value)
    is_path = _is_path(value, annotations, Path())
    return f"./{Path(value).name}" if is_path else value


def _is_path(value: Any, annotations: Iterable[Any], folder: Path) -> bool:
    marks = [mark for mark in annotations if isinstance(mark, MayBePath)]
    return isinstance(value, str) and any(m.is_path(value, folder) for m in marks)
