"""Which experiment file a run is of: a copy of it, and a note of where it lies."""

import json
from pathlib import Path

from data_prep.errors import UserError
from data_prep.file_paths import shorter

ORIGIN, KEPT = "run.json", "experiment.toml"


def is_run(folder: Path) -> bool:
    """Tell whether a folder is a run that has begun."""
    return (folder / ORIGIN).is_file() and (folder / KEPT).is_file()


def read_origin(run: Path) -> tuple[Path, str, str | None]:
    """Read where the experiment file of a run lies, and the digest of the kept copy.

    Returns:
        The folder and name of the file, and the digest; older runs have none.

    Raises:
        UserError: The note of it is missing or broken.
    """
    sidecar = run / ORIGIN
    try:
        origin = json.loads(sidecar.read_bytes())
        # as seen from here, also where the run is a link: ".." leads out of its target
        base = shorter((run / origin["base"]).resolve())
        return base, str(origin["experiment"]), origin.get("sha256")
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{sidecar} is missing, cut or changed; write it anew:"
            f" --experiment FILE.toml --run {run}"
        ) from None


def pipeline_command(run: Path) -> str:
    """Say what to type to make a run current; empty: its experiment file is gone."""
    try:
        base, name, _ = read_origin(run)
    except (UserError, OSError):
        return ""
    file = base / name
    return f"python -m pipeline {file} --run {run}" if file.is_file() else ""
