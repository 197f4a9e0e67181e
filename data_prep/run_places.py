"""Where runs lie: beside the project of their experiment, wherever one stands.

::

    leaves/                  the project
        experiments/a.toml   of an experiment in a folder named experiments
        runs/a/              its run; that of leaves/b.toml would be runs/b/
        runs/.last           which run was the last worked on

The note of the last run is looked for where one stands and in the folders above, so a
command without ``--run`` and ``--experiment`` works anywhere in a project.

Any of these folders may be a link: a path is kept as the user wrote it, and only to
compare two of them links are followed.
"""

import logging
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from data_prep.errors import UserError
from data_prep.experiment_files import EXPERIMENTS
from data_prep.file_paths import nearest_path, shorter
from data_prep.kept_experiment import is_run_of, write_changed
from data_prep.run_folders.origin import KEPT, is_run

RUNS, NOTE = "runs", ".last"
DEMO = Path(__file__).parents[1] / EXPERIMENTS / "demo.toml"
log = logging.getLogger(__name__)


def project_of(folder: Path) -> Path:
    """Give the project that experiment files in a folder belong to.

    Example:
        >>> project_of(Path("/leaves/experiments")), project_of(Path("/leaves"))
        (PosixPath('/leaves'), PosixPath('/leaves'))
    """
    folder = folder.absolute()
    if folder.name == "..":
        folder = folder.resolve()
    elif ".." in folder.parts:  # the folder itself may be a link, and keeps its place
        folder = folder.parent.resolve() / folder.name
    return folder.parent if folder.name == EXPERIMENTS else folder


def run_of(file: Path | None) -> Path:
    """Give the folder of the run that is named after an experiment file.

    Earlier versions put it into ``runs/`` of the folder that one stood in. Such a run
    is gone on with where it is, until there is one at the place of today.

    Args:
        file: The file, or the copy that a run kept; None: the run last worked on.
    """
    if file is None:
        return last_run("pipeline", "FILE.toml")
    if file.name == KEPT and is_run(file.parent):
        return file.parent
    folder = project_of(file.parent) / RUNS / file.stem
    former = Path(RUNS, file.stem)
    if not folder.exists() and is_run_of(former, file):
        log.info(
            "%s was made when runs lay where one stood, and is gone on with; to have it"
            " beside its experiment: mv %s %s",
            former,
            former.absolute(),
            folder,
        )
        return former
    return _shortened(folder)


def noted_runs() -> Path | None:
    """Find the folder of runs of the project that one stands in, by its note."""
    cwd = Path.cwd()
    for project in (cwd, *cwd.parents):
        with suppress(OSError):  # a folder above that may not be looked into
            if (project / RUNS / NOTE).is_file():
                return _shortened(project / RUNS)
    return None


def last_run(stage: str, flag: str = "--experiment FILE.toml") -> Path:
    """Give the folder of the run last worked on.

    Args:
        stage: Dotted name of the command that asks, for the message.
        flag: Of that command, by which it learns of a run.

    Raises:
        UserError: There is none, or it is gone.
    """
    runs = noted_runs()
    if runs is None:
        raise UserError(
            f"there is no run yet, here or in a folder above ({Path.cwd()}); begin"
            f" with: python -m pipeline {shorter(DEMO)}, or: python -m {stage} {flag}"
        )
    note = runs / NOTE
    name = note.read_text(encoding="utf-8", errors="surrogateescape").strip()
    folder = runs.parent / name  # which is the name itself where that is absolute
    if not name or not folder.is_dir():
        gone = folder if name else f"what {note} names"
        raise UserError(f"{gone}, the run last worked on, is gone; give --run FOLDER")
    log.info("run: %s (the one last worked on)", folder.absolute())
    return folder


def chosen_run(folder: Path | None, command: str) -> Path:
    """Give the run that a command asks, and say which it is.

    Args:
        folder: As the user named it; None: the run last worked on.
        command: Dotted name, for the message.

    Raises:
        UserError: There is no such folder; or none is named, and there is no run or it
            is gone.
    """
    if folder is None:
        return last_run(command, "--run FOLDER")
    if not folder.is_dir():
        raise no_such_run(folder)
    announce(folder.absolute())
    return folder


def no_such_run(folder: Path) -> UserError:
    """Say that a folder is no run, and which was perhaps meant."""
    places = {p.resolve(): p for p in (noted_runs(), folder.parent) if p}
    runs = [path for p in places.values() for path in sorted(p.glob("*"))]
    hint = nearest_path(folder, filter(is_run, runs)) or "give --run FOLDER"
    return UserError(f"{folder}: there is no such run; {hint}")


@cache  # once a process: the stages of a pipeline share their run
def announce(run: Path) -> None:
    """Say which run is written into, by its absolute path."""
    log.info("run: %s", run)


def remember(run: Path, base: Path) -> None:
    """Note the run as the one last worked on, where that can be written.

    The note lies in the folder ``runs`` that the run is in, or else in that of its
    experiment's project, if there is one. What a command would read where one stands
    is brought up to date as well.

    Args:
        run: Folder of the run.
        base: Folder of its experiment file.
    """
    runs = run.absolute().parent
    runs = runs if runs.name == RUNS else project_of(base) / RUNS
    folders = [noted_runs(), runs]  # of one folder by two paths the last is taken
    for folder in {f.resolve(): f.absolute() for f in folders if f}.values():
        if not folder.is_dir():
            continue
        note = os.fsencode(f"{_as_seen_from(folder.parent, run)}\n")
        try:
            write_changed(folder / NOTE, note)
        except OSError as error:
            log.warning(
                "%s: %s; it still names the run before",
                _shortened(folder / NOTE),
                error.strerror or error,
            )


def _as_seen_from(project: Path, run: Path) -> Path:
    """Give a run relative to a project that it lies in, so that both may be moved."""
    for seen in (Path.absolute, Path.resolve):
        folder, top = seen(run), seen(project)
        if folder.is_relative_to(top):
            return folder.relative_to(top)
    return run.absolute()


def _shortened(path: Path) -> Path:
    """Shorten a path that lies in the folder that one stands in."""
    cwd = Path.cwd()
    return path.relative_to(cwd) if path.is_relative_to(cwd) else path
