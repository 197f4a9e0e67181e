"""Experiment files: which there are, and what is wrong with one that cannot be read."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_prep.errors import UserError
from data_prep.file_paths import listed_paths, nearest_path

EXPERIMENTS = "experiments"
NOT_HERE = "pyproject.toml"  # beside experiments, and none
AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")
FROM_PICTURES = "for a folder of pictures: python -m data_prep.start FOLDER"


def read_toml(path: Path) -> dict[str, Any]:
    """Read the tables of an experiment file.

    Raises:
        UserError: It is not there, or is not TOML; the line is shown.
    """
    if not path.is_file():
        raise UserError(_not_there(path))
    try:
        # utf-8-sig: some editors begin a file with a mark that TOML does not allow
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a TOML file: {error}; save it as UTF-8") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not a TOML file: {_fault(text, error)}") from None


def list_experiments(folder: Path) -> str:
    """List the experiment files of a folder and of ``experiments/`` in it, or above it.

    Returns:
        What there is, or what makes one.
    """
    for parent in (folder, *folder.absolute().parents):
        if files := list(experiment_files(parent)):
            return f"there are: {listed_paths(files)}"
    return f"there is none here or above; {FROM_PICTURES}"


def experiment_files(folder: Path) -> Iterator[Path]:
    """Find the experiment files in a folder and in ``experiments/`` within."""
    for holder in (folder / EXPERIMENTS, folder):
        yield from (f for f in sorted(holder.glob("*.toml")) if f.name != NOT_HERE)


def _not_there(path: Path) -> str:
    """Say that there is no such file, and which was perhaps meant."""
    if path.is_dir():
        files = list(experiment_files(path))
        listed = f"one of {listed_paths(files)}" if files else "a file"
        return (
            f"{path} is a folder and no experiment file; give {listed};"
            f" {FROM_PICTURES.replace('FOLDER', str(path))}"
        )
    files_near = [*experiment_files(path.parent), *experiment_files(Path())]
    hint = nearest_path(path, files_near)
    if not hint:
        hint = f"there are none in {path.parent.absolute()}; {FROM_PICTURES}"
    return f"{path}: there is no such experiment file; {hint}"


def _fault(text: str, error: tomllib.TOMLDecodeError) -> str:
    """Say what is wrong in which line, and the usual remedy."""
    message = str(error)
    if not (match := AT_LINE.search(message)):
        return message
    number = int(match[1])
    line = text.splitlines()[number - 1].strip()
    reason = message[: match.start()]
    return f"line {number}: {reason}: {line}{_remedy(line, reason)}"


def _remedy(line: str, reason: str) -> str:
    """Say what to write in place of a line, for the usual mistakes."""
    key, equals, value = (part.strip() for part in line.partition("="))
    if not equals:
        return "; write key = value" if reason.startswith("Expected '='") else ""
    if not value:
        return f"; write a value after {key} =, or take the line out"
    if value.lower() in ("true", "false"):
        return f"; write {key} = {value.lower()}"
    if value.lower() in ("none", "null"):
        return "; take the line out"
    if value[0] in "\"'" and value.count(value[0]) == 1:
        return f"; close the text with {value[0]}"
    if "\\" in value:
        return "; write paths with / in place of \\"
    if value[0] not in "\"'[{+-.0123456789":
        return f'; a text needs quotes: {key} = "{value}"'
    return ""
