"""What every command does first and last: find its run, report a mistake in a line."""

import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from data_prep import environment  # before what it looks for
from data_prep.chain import tell_stale
from data_prep.errors import UserError
from data_prep.experiment import Experiment, read_experiment
from data_prep.kept_experiment import (
    check_kept,
    check_origin,
    is_kept,
    keep_experiment,
    mended_by,
    write_origin,
)
from data_prep.processes import torchrun_rank
from data_prep.run_folders.origin import KEPT, read_origin
from data_prep.run_folders.runs import Run
from data_prep.run_places import (
    announce,
    last_run,
    no_such_run,
    remember,
    run_of,
)
from data_prep.settings import Parser, add_flags, recorded

OUT_OF_MEMORY = {  # by names of errors whose packages are not imported here
    "OutOfMemoryError": "the GPU has too little memory; give a smaller batch_size",
    "BrokenProcessPool": "a process was killed, probably for want of memory; run again",
}
# by name, because packages import only those before them
FOLLOWER, FOLLOWERS = "pretext.engine.follower", "pretext.engine.followers"
FIRST = "TESSERA_FIRST"  # in the environment of the first process
NOISY = (
    *("PIL", "gensim", "lightning", "matplotlib", "pytorch_lightning", "timm"),
    "torch",  # which tells at its end of caches that it had
)

Settings = TypeVar("Settings")
log = logging.getLogger(__name__)


def open_command(
    settings_class: type[Settings], stage: str, argv: Sequence[str] | None = None
) -> tuple[Settings, Run, Experiment]:
    """Resolve the settings of one stage, the run it writes into, and its experiment.

    Nothing is written yet. When the run is used, so that settings and inputs have
    passed, it keeps a copy of the experiment file and becomes the one last worked on.

    Args:
        settings_class: Of the stage's settings; its docstring opens ``--help``.
        stage: Dotted name of the stage, such as ``"pretext.jigsaw"``.
        argv: Arguments after the program's name; None reads ``sys.argv``.

    Raises:
        UserError: The experiment file or a flag does not fit, there is no run yet, or
            the run is that of another file of the same name.
    """
    flags = _parser(settings_class, stage).parse(argv)
    file, folder = flags.pop("experiment"), flags.pop("run")
    overwrite = flags.pop("overwrite")
    names_no_run = not file and not folder
    run = Run(folder or (run_of(file) if file else last_run(stage)), overwrite)
    if file and is_kept(file, run.folder):
        base, name, _ = read_origin(run.folder)
        write_origin(run.folder, base, name)  # taken as it is now
        file = None
    try:
        experiment = read_experiment(file, run.folder) if file else _experiment_of(run)
        settings = experiment.settings_of(stage, settings_class, flags)
    except UserError as error:
        if not file and str(error).startswith(f"{run.folder / KEPT} ["):
            raise UserError(f"{error} ({mended_by(run.folder)})") from None
        raise
    if file:
        check_origin(file, run.folder, is_chosen=folder is not None)
    if not names_no_run:
        announce(run.folder.absolute())
    unwritten = _unwritten(experiment, stage, settings, flags)
    run = replace(
        run,
        on_use=partial(begin_run, run.folder, file),
        on_made=partial(tell_stale, run, experiment, stage, unwritten),
    )
    return settings, run, experiment


def begin_run(folder: Path, file: Path | None) -> None:
    """Keep the experiment in the run, and note it as the one last worked on.

    Args:
        folder: Of the run.
        file: The experiment file; None: the run has a copy.
    """
    if file:
        keep_experiment(file, folder)
    base, _, _ = read_origin(folder)
    remember(folder, base)


def _unwritten(
    experiment: Experiment, stage: str, settings: Any, flags: Mapping[str, Any]
) -> dict[str, Any]:
    """Give the flags that decide the result and that the experiment does not have."""
    by_file: dict[str, Any] = {}
    with suppress(UserError):  # the flags mend what is wrong with the file
        by_file = recorded(experiment.settings_of(stage, type(settings), {}))
    decisive = recorded(settings)
    return {
        name: value
        for name, value in flags.items()
        if decisive.get(name) != by_file.get(name)
    }


def run_command(main: Callable[[], Any]) -> NoReturn:
    """Run ``main`` as a command, or follow the process that does.

    Where torchrun starts a command several times, rank 0 alone is the command; what
    the others do is ``pretext.engine.follower``, until the command has ended.
    """
    rank = torchrun_rank()
    if rank:
        os.execv(sys.executable, [sys.executable, "-m", FOLLOWER])
    if rank is None or FIRST in os.environ:
        run_main(main)
    os.environ[FIRST] = "this one"  # and none that this one starts
    try:
        run_main(main)
    finally:
        import_module(FOLLOWERS).end_all()


def run_main(main: Callable[[], Any]) -> NoReturn:
    """Run ``main`` as a program: mistakes are one line, and the status says so."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        environment.interrupt_as_usual()
        main()
        if sys.stdout is not None:
            sys.stdout.flush()  # or a reader that is gone would be met too late
    except KeyboardInterrupt:
        log.error(environment.STOPPED)
        sys.exit(environment.INTERRUPTED)
    except Exception as error:
        if (text := text_of(error)) is None:
            raise
        log.error("error: %s", " ".join(text.split("\n")) or "unknown")
        sys.exit(2)
    sys.exit(0)


def text_of(error: Exception) -> str | None:
    """Say what went wrong where a person can help it; None: it is a bug.

    Args:
        error: That ended a command or a piece of work.
    """
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is too little memory; close other programs, run again"
    if isinstance(error, BrokenPipeError):
        with suppress(OSError, ValueError):  # or Python would complain of it at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return "whoever read the output stopped; run again without that"
    if not isinstance(error, OSError):
        return OUT_OF_MEMORY.get(type(error).__name__)
    file = f"{error.filename}: " if error.filename else ""
    # numpy gives no number: "100000 requested and 8176 written"
    is_cut = re.fullmatch(r"\d+ requested and \d+ written", str(error))
    if is_cut or error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{file}the disk is full; free some space and run again"
    reason = error.strerror or str(error) or type(error).__name__
    elsewhere = "; change its rights, or give another place, such as --run FOLDER"
    remedies = {
        errno.EACCES: elsewhere,
        errno.EPERM: elsewhere,
        errno.EROFS: "; copy the run to where it can be written",
        errno.EIO: "; the disk fails: copy it elsewhere",
        errno.EMFILE: "; raise the limit: ulimit -n 4096",
    }
    return f"{file}{reason}{remedies.get(error.errno or 0, '')}"


def reason_of(error: Exception) -> str:
    """Say in a line why a piece of work or a process failed, also where it is a bug."""
    text = text_of(error) or f"{type(error).__name__}: {error}"
    return " ".join(text.split("\n"))


def _parser(settings_class: type[Any], stage: str) -> Parser:
    text = (settings_class.__doc__ or "").strip()
    parser = Parser(prog=f"python -m {stage}", description=text)
    parser.add_argument(
        "--experiment",
        type=Path,
        metavar="FILE",
        help="experiment file, TOML (default: the copy that the run kept of it)",
    )
    parser.add_argument(
        "--run",
        type=Path,
        metavar="FOLDER",
        help="run folder (default: runs/<name of the experiment file> in the project of"
        " that file; without either, the run last worked on)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="make the stage anew although it is done",
    )
    add_flags(parser, settings_class)
    return parser


def _experiment_of(run: Run) -> Experiment:
    kept_file = run.folder / KEPT
    if not run.folder.is_dir():
        raise UserError(
            f"{no_such_run(run.folder)} (for a new one there: --experiment FILE.toml)"
        )
    if not kept_file.exists():
        raise UserError(
            f"{run.folder} holds no experiment yet; give --experiment FILE.toml"
        )
    base, file = check_kept(run.folder)
    if file.is_file() and file.read_bytes() != kept_file.read_bytes():
        log.warning(
            "%s has changed since this run read it; to use it: --experiment %s",
            file,
            file,
        )
    return read_experiment(kept_file, run.folder, base)
