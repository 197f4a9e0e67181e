"""Paths as settings and messages have them: in a file they are relative to it."""

import difflib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.errors import UserError

ALIKE = 0.65  # by difflib: "sise" and "side" have 0.75, "clas" and "cycles" 0.6
MAX_PATHS = 8  # in a message

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
        return shorter(locate(value))
    folder = locate(Path())
    if not _is_path(value, annotations, folder):
        return value
    path = locate(Path(value))
    if not path.exists() and Path(value).exists():
        raise UserError(
            f"{value!r}: paths in an experiment file are relative to it; write"
            f" {os.path.relpath(value, folder)!r}"
        )
    return str(shorter(path))


def shorter(path: Path) -> Path:
    """Write a path as seen from where one stands, or whole, whichever is shorter.

    A detour such as ``experiments/../pictures`` is left out, unless a link on the way
    makes another place of it.
    """
    whole = Path(os.path.normpath(path.absolute()))
    if whole.resolve() != path.resolve():
        return path
    seen = Path(os.path.relpath(whole))
    return min(whole, seen, key=lambda spelling: len(str(spelling).lstrip("/")))


def called(path: Path) -> str:
    """Give the last part of a path: the same from wherever one stands.

    A link is called as itself, and not as what it leads to, which moves more often.

    >>> called(Path("../leaves")), called(Path("leaves/..")) == called(Path())
    ('leaves', True)
    """
    is_named = path.name not in ("", "..")
    return path.name if is_named else path.resolve().name


def without_folders(value: Any, annotations: Iterable[Any]) -> Any:
    """Leave of paths what they are called, after ``./``.

    Where they lie depends on where one stands, and their content has digests.
    """
    if isinstance(value, tuple):
        return tuple(without_folders(element, annotations) for element in value)
    is_path = _is_path(value, annotations, Path())
    return f"./{called(Path(value))}" if is_path else value


def nearest_path(path: Path, choices: Iterable[Path]) -> str:
    """Say which of some paths was probably meant, by its last part, or which there are.

    Returns:
        Empty where there are none.
    """
    paths = list(dict.fromkeys(choices))
    by_name = {name.casefold(): p for p in paths for name in (p.name, p.stem)}
    close = difflib.get_close_matches(path.name.casefold(), by_name, n=1, cutoff=ALIKE)
    if close:
        return f"did you mean {by_name[close[0]]}?"
    return f"there are: {listed_paths(paths)}" if paths else ""


def listed_paths(paths: Sequence[Path]) -> str:
    """List some paths, the first of many."""
    more = ", ..." if len(paths) > MAX_PATHS else ""
    return ", ".join(map(str, paths[:MAX_PATHS])) + more


def _is_path(value: Any, annotations: Iterable[Any], folder: Path) -> bool:
    marks = [mark for mark in annotations if isinstance(mark, MayBePath)]
    return isinstance(value, str) and any(m.is_path(value, folder) for m in marks)
