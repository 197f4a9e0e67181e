"""What every command does first and last: find its run, report a mistake in a line."""

import errno
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from data_prep.errors import UserError
from data_prep.experiment import Experiment, read_experiment
from data_prep.run_folders.damage import DamagedFileError, digest_file
from data_prep.run_folders.drafts import drafted
from data_prep.run_folders.runs import Run, json_text
from data_prep.settings import Parser, add_flags, from_table

RUNS = Path("runs")
LAST = RUNS / ".last"  # the run last worked on
ORIGIN, KEPT = "run.json", "experiment.toml"  # of a run: where its file lies, a copy

OUT_OF_MEMORY = {  # by names of errors whose packages are not imported here
    "OutOfMemoryError": "the GPU has too little memory; give a smaller --batch-size",
    "BrokenProcessPool": "a process was killed, probably for want of memory; run again",
}
NOISY = ("PIL", "gensim", "lightning", "matplotlib", "pytorch_lightning", "timm")

Settings = TypeVar("Settings")
log = logging.getLogger(__name__)


def open_command(
    settings_class: type[Settings], stage: str, argv: Sequence[str] | None = None
) -> tuple[Settings, Run, Experiment]:
    """Resolve the settings of one stage, the run it writes into, and its experiment.

    The run becomes the one last worked on, and keeps a copy of the experiment file.

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
    run = Run(folder or (run_of(file) if file else last_run(stage)), overwrite)
    if file and _is_kept(file, run.folder):
        base, name, _ = _read_origin(run.folder)
        _write_origin(run.folder, base, name)  # taken as it is now
        file = None
    try:
        experiment = read_experiment(file, run.folder) if file else _experiment_of(run)
        settings = from_table(
            settings_class,
            experiment.stages.get(stage, {}),
            f"{experiment.source} [{stage}]",
            flags,
        )
    except UserError as error:
        if not file and str(error).startswith(f"{run.folder / KEPT} ["):
            raise UserError(f"{error} ({_mended_by(run.folder)})") from None
        raise
    if file:
        check_origin(file, run.folder, is_chosen=folder is not None)
        _keep_experiment(file, run)
    if LAST.parent.is_dir() or not folder:
        _remember(run.folder)
    return settings, run, experiment


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
    if not (run / ORIGIN).is_file() or _is_kept(file, run):
        return
    try:
        base, name, _ = _read_origin(run)
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


def run_command(main: Callable[[], Any]) -> NoReturn:
    """Run ``main`` as a program: mistakes are one line, and the status says so."""
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        main()
        if sys.stdout is not None:
            sys.stdout.flush()  # or a reader that is gone would be met too late
    except KeyboardInterrupt:
        log.error("stopped; the same command goes on where it can")
        sys.exit(130)
    except Exception as error:
        if (text := _text_of(error)) is None:
            raise
        log.error("error: %s", " ".join(text.split("\n")) or "unknown")
        sys.exit(2)
    sys.exit(0)


def _text_of(error: Exception) -> str | None:
    """Say what went wrong where a person can help it; None: it is a bug."""
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
    remedies = {
        errno.EROFS: "; copy the run to where it can be written",
        errno.EIO: "; the disk fails: copy it elsewhere",
        errno.EMFILE: "; raise the limit: ulimit -n 4096",
    }
    return f"{file}{reason}{remedies.get(error.errno or 0, '')}"


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
        help="run folder (default: runs/<name of the experiment file>;"
        " without either, the run last worked on)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="make the stage anew although it is done",
    )
    add_flags(parser, settings_class)
    return parser


def run_of(file: Path | None) -> Path:
    """Give the folder of the run that is named after an experiment file.

    Args:
        file: The file; None: the run last worked on.
    """
    return RUNS / file.stem if file else last_run("pipeline")


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
    name = LAST.read_text(encoding="utf-8", errors="surrogateescape").strip()
    folder = Path(name)
    if not name or not folder.is_dir():
        gone = name or f"what {LAST} names"
        raise UserError(f"{gone}, the run last worked on, is gone; give --run FOLDER")
    log.info("run: %s (the one last worked on)", folder)
    return folder


def _remember(run: Path) -> None:
    """Note the run as the one last worked on, where that can be written."""
    try:
        _write_changed(LAST, os.fsencode(f"{run}\n"))
    except OSError as error:
        reason = error.strerror or error
        log.warning("%s: %s; it still names the run before", LAST, reason)


def _is_kept(file: Path, run: Path) -> bool:
    """Tell whether an experiment file is the copy that the run itself keeps."""
    kept_file = run / KEPT
    return file.is_file() and kept_file.is_file() and kept_file.samefile(file)


def _read_origin(run: Path) -> tuple[Path, str, str | None]:
    """Read where the experiment file of a run lies, and the digest of the kept copy.

    Older runs have no digest.

    Raises:
        UserError: The note of it is missing or broken.
    """
    sidecar = run / ORIGIN
    try:
        origin = json.loads(sidecar.read_bytes())
        # as seen from here, also where the run is a link: ".." leads out of its target
        base = Path(os.path.relpath((run / origin["base"]).resolve()))
        return base, str(origin["experiment"]), origin.get("sha256")
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{sidecar} is missing, cut or changed; write it anew:"
            f" --experiment FILE.toml --run {run}"
        ) from None


def _keep_experiment(file: Path, run: Run) -> None:
    """Keep the file in the run, with the folder that its paths are relative to."""
    _write_changed(run.folder / KEPT, file.read_bytes())
    _write_origin(run.folder, file.parent, file.name)


def _write_origin(run: Path, base: Path, name: str) -> None:
    """Note where the paths of the kept copy begin, and what it is a copy of."""
    origin = {
        "base": os.path.relpath(base.resolve(), run.resolve()),
        "experiment": name,
        "sha256": digest_file(run / KEPT),
    }
    _write_changed(run / ORIGIN, json_text(origin).encode())


def _write_changed(path: Path, content: bytes) -> None:
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
    base, name, digest = _read_origin(run)
    file = base / name
    if digest not in (None, digest_file(kept_file)):
        raise DamagedFileError(
            f"{kept_file} is cut or changed since the run kept it; to bring it back:"
            f" --experiment {file} --run {run}, to take it as it is:"
            f" --experiment {kept_file} --run {run}"
        )
    return base, file


def _mended_by(run: Path) -> str:
    """Say where to mend what a run kept of an older version, and how to give it."""
    base, name, _ = _read_origin(run)
    file = base / name if (base / name).is_file() else run / KEPT
    return f"mend that in {file} and give it: --experiment {file} --run {run}"


def _experiment_of(run: Run) -> Experiment:
    kept_file = run.folder / KEPT
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
