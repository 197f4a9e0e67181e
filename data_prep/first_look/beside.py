"""Tables that lie beside the folder of the pictures, not in it: told, never read."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from data_prep.first_look.listing import TABLES
from data_prep.pictures.printable import shown

MAX_TABLES = 5  # of a line


def tables_beside(folder: Path) -> list[Path]:
    """List the tables that lie directly beside a folder, by name."""
    is_named = folder.name not in ("", "..")
    parent = folder.parent if is_named else folder / ".."
    try:
        paths = sorted(parent.iterdir())
    except OSError:  # one may be allowed to look into the folder alone
        return []
    tables = [path for path in paths if path.suffix.lower() in TABLES]
    tables = [path for path in tables if path.name[0] != "." and path.is_file()]
    return tables[:MAX_TABLES]


def no_table(folder: Path, flags: Mapping[str, str]) -> str:
    """Say that columns are named and there is no table, and what to type.

    Args:
        folder: Of the pictures.
        flags: The columns as the user named them, by role; at least one.
    """
    text = ", ".join(f"--{role} {name}" for role, name in flags.items())
    beside = tables_beside(folder)
    remedy = _lie(beside, folder) if beside else "give one (csv, parquet, jsonl)"
    command = _command(folder, beside or [Path("TABLE")], flags)
    return (
        f"{text}: no table is given, and there is none in {shown(folder)};"
        f" {remedy}: {command}"
    )


def note_beside(folder: Path) -> str:
    """Say which tables lie beside a folder and are not used; empty: none."""
    beside = tables_beside(folder)
    if not beside:
        return ""
    pronoun, verb = ("it", "is") if len(beside) == 1 else ("them", "are")
    return (
        f"{_lie(beside, folder)} and {verb} not used; to use {pronoun}:"
        f" {_command(folder, beside, {})}"
    )


def _lie(tables: list[Path], folder: Path) -> str:
    names = ", ".join(shown(path.name) for path in tables)
    folder_text = shown(folder) if folder.name else "it"
    return f"{names} {'lies' if len(tables) == 1 else 'lie'} beside {folder_text}"


def _command(folder: Path, tables: list[Path], flags: Mapping[str, str]) -> str:
    """Write the command that takes the tables."""
    words = [str(folder), *map(str, tables)]
    for role, name in flags.items():
        words += [f"--{role}", name]
    return shown(f"python -m data_prep.start {shlex.join(words)}")
