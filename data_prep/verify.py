"""Verify a run: is every byte of its finished stages as it was written?

Shown by ``python -m pipeline --verify``. Opening a stage looks at sizes and at what is
small; this reads everything.
"""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from data_prep.errors import UserError
from data_prep.experiment import commands
from data_prep.kept_experiment import check_kept
from data_prep.run_folders.damage import (
    RECORD,
    DamagedFileError,
    command_of,
    fault_of,
    read_record,
    remedy_for,
)
from data_prep.run_folders.origin import KEPT
from data_prep.run_folders.runs import Run, UnfinishedStageError
from data_prep.run_folders.stale import how_to_make, reason_of
from data_prep.run_places import no_such_run

ON_THE_WAY = (".partial", ".old")  # endings of folders that hold no finished stage
# commands that write files into a folder of their name, and no record
ANSWERS = ("features.watch", "stacking.predict")
log = logging.getLogger(__name__)


def verify_run(run: Path) -> Path:
    """Compare all finished stages of a run with their records, and say what differs.

    Returns:
        The folder of the run, if nothing does.

    Raises:
        UserError: There is no such run, or nothing is finished in it.
        SystemExit: Something differs; the status is 1.
    """
    from tqdm import tqdm

    if not run.is_dir():
        raise no_such_run(run)
    for folder in run.glob("*.partial"):
        Run(run).has(folder.stem)  # which finishes a move that a crash interrupted
    unfinished = sorted(run.glob("*.partial"))
    stages = list(finished_stages(run))
    faults = faults_beside(run)
    n_files = n_bytes = 0
    total = sum(_size_of(path) for stage in stages for path in stage.rglob("*"))
    with tqdm(total=total, unit="B", unit_scale=True, leave=False, disable=None) as bar:
        for stage in stages:
            for path, fault in faults_of_stage(stage):
                size = _size_of(path)
                bar.update(size)
                n_files, n_bytes = n_files + 1, n_bytes + size
                faults += [fault] if fault else []
    for folder in unfinished:
        log.info("%s is not finished, and was not looked at", folder)
    _tell_stale(run, stages)
    for fault in faults:
        log.error("%s", fault)
    if faults:
        log.error("faults in %s: %d", run, len(faults))
        raise SystemExit(1)
    if not stages:
        raise UserError(f"{run}: no stage of it is finished, so there is nothing to do")
    log.info(
        "%s: %d stages, %d files, %.1f MB: all are as they were written",
        run,
        len(stages),
        n_files,
        n_bytes / 1e6,
    )
    return run


def finished_stages(run: Path) -> Iterator[Path]:
    """Find the folders with a record, those of ``features.fresh`` too."""
    for pattern in (f"*/{RECORD}", f"fresh/*/{RECORD}"):
        for path in sorted(run.glob(pattern)):
            if path.parent.suffix not in ON_THE_WAY:
                yield path.parent


def faults_of_stage(folder: Path) -> Iterator[tuple[Path, str]]:
    """Give each file of a stage and what is wrong with it; empty: nothing."""
    try:
        record = read_record(folder / RECORD)
    except UserError as error:
        yield folder / RECORD, str(error)
        return
    yield folder / RECORD, ""
    for name in record["files"]:
        try:
            yield folder / name, fault_of(folder, record, name)
        except OSError as error:
            path, reason = folder / name, error.strerror or error
            yield path, f"{path}: {reason}; {remedy_for(path)}"


def faults_beside(run: Path) -> list[str]:
    """Name stages without a record, and an experiment that is not as it was kept."""
    faults = []
    for stage in commands():
        folder = run / stage
        is_half = folder.is_dir() and any(folder.iterdir()) and stage not in ANSWERS
        if is_half and not (folder / RECORD).exists():
            faults.append(
                f"{folder / RECORD} is missing: the stage is half copied; copy it"
                f" again, or make it anew: {command_of(stage, run)} --overwrite"
            )
    try:
        if (run / KEPT).exists():
            check_kept(run)
    except UserError as error:
        faults.append(str(error))
    return faults


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _tell_stale(run: Path, stages: Iterable[Path]) -> None:
    """Log which stages were made from something since replaced, and what to type."""
    stale: dict[str, str] = {}
    for stage in stages:
        if stage.parent != run:
            continue
        try:
            stale = Run(run).stale_of(stage.name) | stale
        except UnfinishedStageError as error:
            log.info("%s", error)
        except DamagedFileError:
            pass  # it is among the faults
    for name, replaced in stale.items():
        log.info("%s", reason_of(run / name, replaced))
    if stale:
        log.info("again: %s", how_to_make(run, [*stale]))
