"""What every command does first and last: find its run, report a mistake in a line."""

import errno
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from data_prep.errors import UserError
from data_prep.experiment import Experiment, read_experiment
from data_prep.runs import Run, write_json
from data_prep.settings import Parser, add_flags, from_table

RUNS = Path("runs")
LAST = RUNS / ".last"  # the run last worked on

Settings = TypeVar("Settings")
log = logging.getLogger(__name__)


def open_command(
    kind: type[Settings], stage: str, argv: Sequence[str] | None = None
) -> tuple[Settings, Run, Experiment]:
    """Resolve the settings of one stage, the run it writes into, and its experiment.

    The run becomes the one last worked on, and keeps a copy of the experiment file.

    Args:
        kind: Dataclass of the stage's settings; its docstring opens ``--help``.
        stage: Dotted name of the stage, such as ``"pretext.jigsaw"``.
        argv: Arguments after the program's name; None reads ``sys.argv``.

    Raises:
        UserError: The experiment file or a flag does not fit, or there is no run yet.
    """
    flags = _parser(kind, stage).parse(argv)
    file, folder = flags.pop("experiment"), flags.pop("run")
    run = Run(
        folder or (RUNS / file.stem if file else last_run(stage)), flags.pop("again")
    )
    experiment = read_experiment(file, run.folder) if file else _experiment_of(run)
    settings = from_table(
        kind, experiment.stages.get(stage, {}), f"{experiment.source} [{stage}]", flags
    )
    if file:
        _keep_experiment(file, run)
    if LAST.parent.is_dir() or not folder:
        LAST.parent.mkdir(exist_ok=True)
        draft = LAST.with_name(".last.draft")
        draft.write_text(f"{run.folder}\n", encoding="utf-8")
        draft.replace(LAST)
    return settings, run, experiment


def run_command(main: Callable[[], Any]) -> NoReturn:
    """Run ``main`` as a program: mistakes are one line, and the status says so."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    for noisy in ("gensim", "PIL", "matplotlib", "lightning", "pytorch_lightning"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        main()
    except UserError as error:
        sys.exit(_failed(str(error)))
    except KeyboardInterrupt:
        log.error("stopped; the same command goes on where it can")
        sys.exit(130)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        if _is_disk_full(error):
            sys.exit(_failed(f"{place}the disk is full; free some space and run again"))
        mistakes = (PermissionError, NotADirectoryError, FileExistsError)
        if not (error.filename and isinstance(error, mistakes)):
            raise
        sys.exit(_failed(f"{place}{error.strerror}"))
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's; not imported here
            raise
        sys.exit(_failed("the GPU has too little memory; give a smaller --batch-size"))
    sys.exit(0)


def _is_disk_full(error: OSError) -> bool:
    # numpy gives no number: "100000 requested and 8176 written"
    is_cut = re.fullmatch(r"\d+ requested and \d+ written", str(error)) is not None
    return is_cut or error.errno in (errno.ENOSPC, errno.EDQUOT)


def _failed(message: str) -> int:
    log.error("error: %s", " ".join(message.split("\n")) if message else "unknown")
    return 2


def _parser(kind: type[Any], stage: str) -> Parser:
    text = (kind.__doc__ or "").strip()
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
        help="run folder (default: runs/<name of the experiment file>;"
        " without either, the run last worked on)",
    )
    parser.add_argument(
        "--again", action="store_true", help="make the stage anew although it is done"
    )
    add_flags(parser, kind)
    return parser


def last_run(stage: str, flag: str = "--experiment FILE.toml") -> Path:
    """Give the folder of the run last worked on.

    Args:
        stage: Dotted name of the command that asks, for the message.
        flag: Of that command, by which it learns of a run.

    Raises:
        UserError: There is none, or it is gone.
    """
    if not LAST.is_file():
        raise UserError(
            "there is no run yet; begin with: python -m pipeline experiments/demo.toml,"
            f" or: python -m {stage} {flag}"
        )
    folder = Path(LAST.read_text(encoding="utf-8").strip())
    if not folder.is_dir():
        raise UserError(f"{folder}, the run last worked on, is gone; give --run FOLDER")
    log.info("run: %s (the one last worked on)", folder)
    return folder


def _keep_experiment(file: Path, run: Run) -> None:
    """Keep the file in the run, with the folder that its paths are relative to."""
    run.folder.mkdir(parents=True, exist_ok=True)
    base = os.path.relpath(file.parent.resolve(), run.folder.resolve())
    write_json(run.folder / "run.json", {"base": base, "experiment": file.name})
    kept = run.folder / "experiment.toml"
    if not (kept.exists() and kept.samefile(file)):
        draft = kept.with_name("experiment.toml.draft")
        shutil.copyfile(file, draft)
        draft.replace(kept)


def _experiment_of(run: Run) -> Experiment:
    kept = run.folder / "experiment.toml"
    if not kept.exists():
        raise UserError(
            f"{run.folder} holds no experiment yet; give --experiment FILE.toml"
        )
    origin = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    base = run.folder / origin["base"]
    file = Path(os.path.relpath(base / origin["experiment"]))
    if file.is_file() and file.read_bytes() != kept.read_bytes():
        log.warning(
            "%s has changed since this run read it; to use it: --experiment %s",
            file,
            file,
        )
    return read_experiment(kept, run.folder, base)
