"""Inference by the nets of a run, from a process that must not load torch.

LightGBM and torch bring an OpenMP runtime each, and deadlock in one process. So what
predicts with the one has a child process infer with the other.
"""

import itertools
import logging
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from data_prep.errors import UserError
from data_prep.pictures.folders import Folders, search_folders
from data_prep.pictures.pages import PagedPictures
from data_prep.prepared import PREPARED, pages_of
from data_prep.ranges import Ranged
from data_prep.run_folders.damage import RECORD, digest_of
from data_prep.run_folders.runs import Run, read_state
from data_prep.run_folders.unfinished import MADE_FROM
from data_prep.settings import SEVERAL

COMMAND = "features.fresh"
Nets = Literal["folds", "distilled"]
FOLDS: Nets = "folds"
DISTILLED: Nets = "distilled"
MAX_NAME = 100  # characters of a name that is made of those of folders
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class NewPictures(Ranged):
    """What every command about new pictures is told: of which, and by which run."""

    images: Annotated[
        tuple[Path, ...],
        "folders where the pictures lie; id = file name without its extension, or with"
        " its folders where --table writes it so",
        SEVERAL,
    ]
    run: Annotated[Path | None, "run (default: that last worked on)"] = None
    table: Annotated[
        Path | None,
        "table of the ids, with the columns of yours that were learned from, if any",
    ] = None
    net: Annotated[
        Nets,
        "who is asked: the nets of all folds, or the one of transfer.distill",
    ] = FOLDS
    threads: Annotated[int, "CPU threads; 0: all cores", Ge(0)] = 0
    overwrite: Annotated[
        bool, "infer all pictures anew, also those of earlier times"
    ] = False


def name_of(images: Sequence[Path]) -> str:
    """Name what is made of folders of pictures after them."""
    name = "+".join(folder.resolve().name for folder in images) or "pictures"
    if len(name) > MAX_NAME:  # no disk takes it
        name = f"{name[:MAX_NAME]}-{digest_of(name)[:8]}"
    return name


def default_path(run_folder: Path, images: Sequence[Path], net: Nets = FOLDS) -> Path:
    """Give the folder of the run where the features of folders of pictures lie.

    It has their name, and a number where other folders of that name came first.

    Args:
        run_folder: Of the run.
        images: Folders of the pictures.
        net: Whose features they are.
    """
    room = "fresh" if net == FOLDS else f"fresh.{net}"
    name, folders = name_of(images), resolved(images)
    free: list[Path] = []
    for number in itertools.count(1):
        path = run_folder / room / (name if number == 1 else f"{name}-{number}")
        claims = claims_of(path)
        if any(claim.get("folders") == folders for claim in claims.values()):
            return path
        if not is_of_other_folders(path, folders):
            free.append(path)
        if not claims:
            break
    if free[0].name != name:
        log.info("%s/%s is of another folder, so this is %s", room, name, free[0])
    elif any("folders" in claim for claim in claims_of(free[0]).values()):
        log.info("%s was of a folder that is gone; this takes its place", free[0])
    return free[0]


def is_of_other_folders(path: Path, folders: Sequence[str]) -> bool:
    """Tell whether something there was not made, or not of these folders.

    Folders that are gone have no claim: they or the run may have been moved.
    """
    for settings in claims_of(path).values():
        if settings.get("made_by") != COMMAND:
            return True
        earlier = settings.get("folders", folders)
        if earlier != folders and any(Path(folder).is_dir() for folder in earlier):
            return True
    return False


def claims_of(path: Path) -> dict[Path, dict[str, Any]]:
    """Give the finished and the unfinished folder that are there.

    Returns:
        What each was made from, by its path; empty where it is none of ours.
    """
    partial = path.with_name(f"{path.name}.partial")
    return {
        folder: settings
        if isinstance(settings := read_state(folder / name).get("settings"), dict)
        else {}
        for folder, name in ((path, RECORD), (partial, MADE_FROM))
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
    }


def resolved(images: Sequence[Path]) -> list[str]:
    """Tell which folders of pictures these are."""
    return [str(folder.resolve()) for folder in images]


def find_pictures(images: Sequence[Path], table: Path | None, run: Run) -> Folders:
    """Search folders as ``data_prep.prepare`` did, by the ids of the user's table.

    Args:
        images: Folders of the pictures.
        table: The table; None: there is none, and an id is the name of a file, with
            its folders where several have that name.
        run: Whose tables call their column of ids as this one does.

    Raises:
        UserError: A folder or the table is missing or has problems, or two pictures
            share an id.
    """
    ids: Collection[str] = ()
    if table is not None:
        from data_prep.tables.id_tables import read_id_table

        id_column = run.recorded(PREPARED).metadata["id_column"]
        ids = frozenset(read_id_table(table, id_column)[id_column])
    return search_folders(images, "--images", ids=ids)


def paged_pictures(folders: Folders, run: Run) -> PagedPictures:
    """Give the pictures of what was found: files, or their pages where the run's are.

    Raises:
        UserError: A file has the id of a page.
    """
    page = pages_of(run.recorded(PREPARED).record)
    return PagedPictures.find(folders.pictures, page)


def infer_features(
    run_folder: Path,
    images: Sequence[Path],
    out: Path,
    threads: int = 0,
    *,
    table: Path | None = None,
    net: Nets = FOLDS,
    overwrite: bool = False,
) -> Path:
    """Run ``features.fresh`` as a child; what it says goes to the standard error.

    Args:
        run_folder: A run with a finished ``features.extract``.
        images: Folders of the pictures.
        out: Folder for the features.
        threads: Of torch; 0: as many as it takes by itself.
        table: Of the ids, with the columns that the nets learned from; None: an id is
            the name of a file, and they did from none.
        net: Whose features.
        overwrite: Infer all pictures anew, and replace what is in ``out``.

    Returns:
        ``out``; see ``features.fresh`` for what is in it.

    Raises:
        UserError: The folders hold no pictures, or the child failed and has said why.
    """
    find_pictures(images, table, Run(run_folder))  # so that one line says what is wrong
    command = [sys.executable, "-m", COMMAND]
    command += ["--run", str(run_folder), "--out", str(out), "--threads", str(threads)]
    command += ["--overwrite"] if overwrite else []
    command += ["--net", net] if net != FOLDS else []
    command += ["--table", str(table)] if table else []
    command += ["--images", *map(str, images)]
    status = subprocess.run(command, check=False).returncode
    if status < 0:
        raise UserError(
            f"{COMMAND} was killed by signal {-status}, probably for want of memory;"
            " what it has done is kept: run again with --threads 1"
        )
    if status:
        raise UserError(f"{COMMAND} did not finish, for the reason above")
    return out
