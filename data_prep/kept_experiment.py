"""What a run keeps of its experiment: a copy of the file, and where that lies.

Paths in the copy are relative to the folder of the file it was copied from, which is
noted in ``run.json``, relative to the run: both may be moved together.
"""

import logging
import os
from pathlib import Path

from data_prep.errors import UserError
from data_prep.run_folders.damage import DamagedFileError, digest_file
from data_prep.run_folders.drafts import drafted
from data_prep.run_folders.origin import KEPT, ORIGIN, read_origin
from data_prep.run_folders.runs import json_text

log = logging.getLogger(__name__)


def check_origin(file: Path, run: Path, *, is_chosen: bool) -> None:
    """Check that a run named after an experiment file is not that of another file.

    Two files of one name in two folders would otherwise take turns in one run. A file
    that was moved, together with its run or without, is still the same.

    Args:
        file: The experiment file.
        run: Folder of the run.
        is_chosen: The user named the folder, so two files may share it.

    Raises:
        UserError: The run was made by another file that is still there.
    """
    if not (run / ORIGIN).is_file() or is_kept(file, run):
        return
    try:
        base, name, _ = read_origin(run)
    except UserError:
        if is_chosen:  # and so the broken note is written anew
            return
        raise
    origin = base / name
    if not origin.is_file() or origin.samefile(file):
        return
    if not is_chosen:
        raise UserError(
            f"{run} is the run of {origin}, and {file} is another file of that name;"
            f" give --run FOLDER: another one for its own run, or {run} to go on here"
        )
    log.info("%s: until now of %s, now of %s", run, origin, file)


def is_kept(file: Path, run: Path) -> bool:
    """Tell whether an experiment file is the copy that the run itself keeps."""
    kept_file = run / KEPT
    return file.is_file() and kept_file.is_file() and kept_file.samefile(file)


def is_run_of(run: Path, file: Path) -> bool:
    """Tell whether a folder is a run that was made by this very experiment file."""
    try:
        base, name, _ = read_origin(run)
    except (UserError, OSError):
        return False
    origin = base / name
    return origin.is_file() and file.is_file() and origin.samefile(file)


def keep_experiment(file: Path, run: Path) -> None:
    """Keep the file in the run, with the folder that its paths are relative to."""
    write_changed(run / KEPT, file.read_bytes())
    write_origin(run, file.parent, file.name)


def write_origin(run: Path, base: Path, name: str) -> None:
    """Note where the paths of the kept copy begin, and what it is a copy of."""
    origin = {
        "base": os.path.relpath(base.resolve(), run.resolve()),
        "experiment": name,
        "sha256": digest_file(run / KEPT),
    }
    write_changed(run / ORIGIN, json_text(origin).encode())


def write_changed(path: Path, content: bytes) -> None:
    """Write what is not there yet: a finished run may lie where nobody can write."""
    if not path.is_file() or path.read_bytes() != content:
        with drafted(path) as file:
            file.write(content)


def check_kept(run: Path) -> tuple[Path, Path]:
    """Check that the copy of the experiment that a run keeps is as it was kept.

    Returns:
        The folder that its paths are relative to, and the file it was copied from.

    Raises:
        UserError: It is not, or the note of its origin is missing or broken.
    """
    kept_file = run / KEPT
    base, name, digest = read_origin(run)
    file = base / name
    if digest not in (None, digest_file(kept_file)):
        raise DamagedFileError(
            f"{kept_file} is cut or changed since the run kept it; to bring it back:"
            f" --experiment {file} --run {run}, to take it as it is:"
            f" --experiment {kept_file} --run {run}"
        )
    return base, file


def mended_by(run: Path) -> str:
    """Say where to mend what a run kept of an older version, and how to give it."""
    base, name, _ = read_origin(run)
    file = base / name if (base / name).is_file() else run / KEPT
    return f"mend that in {file} and give it: --experiment {file} --run {run}"
