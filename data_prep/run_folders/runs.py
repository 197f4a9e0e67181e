"""Run folders: where a stage writes, and how the next stage finds it.

::

    runs/leaves/
        experiment.toml      the experiment last used here
        data_prep.prepare/   record.json  table.parquet  images.npy ...
        pretext.jigsaw/      record.json  backbone.safetensors ...

A stage is written into ``STAGE.partial`` beside its place and moved there whole, so
what was finished stays until its successor is. ``record.json`` is the last file
written. It holds the settings, the digest of the stage's own files and the digests of
the stages it read; a result made from something since replaced is refused. Digests are
of content and paths are relative, so a run can be moved to another machine.
"""

import json
import logging
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from data_prep.errors import UserError
from data_prep.run_folders.attempts import ATTEMPTS, end_attempt, noted_attempt
from data_prep.run_folders.damage import (
    RECORD,
    check_files,
    command_of,
    digest_file,
    digest_of,
    read_record,
    sealed,
)
from data_prep.run_folders.drafts import drop_drafts, write_text
from data_prep.run_folders.locks import READ_ONLY, LockedStageError, locked
from data_prep.run_folders.stale import StaleStageError, stale_of
from data_prep.run_folders.unfinished import (
    COPIED,
    MADE_FROM,
    check_may_be_dropped,
    drop,
    may_go_on,
)

# Not part of a stage's result: a rerun with the same result may differ in them.
EPHEMERAL = {"checkpoints", "epochs", "logs"}
PACKAGES = [
    "numpy",
    "pandas",
    "scikit-learn",
    "torch",
    "timm",
    "lightly",
    "pytorch-lightning",
    "gensim",
    "lightgbm",
]
log = logging.getLogger(__name__)


class UnfinishedStageError(UserError):
    """A stage reads the result of another that has not finished."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished stage.

    Attributes:
        folder: Where its files lie.
        record: Content of its ``record.json``.
    """

    folder: Path
    record: dict[str, Any]

    @property
    def metadata(self) -> dict[str, Any]:
        """What the stage recorded for later stages."""
        metadata: dict[str, Any] = self.record["facts"]
        return metadata


@dataclass(kw_only=True)
class Stage:
    """The stage being written.

    Attributes:
        folder: Where its files go until it is finished; those of an interrupted attempt
            with the same settings and inputs are there.
        metadata: JSON values for the record; fill it before the stage ends.
        device: What computed it, for the record.
        earlier_s: Seconds that interrupted attempts at it took.
        began: When this one began, by the monotonic clock.
    """

    folder: Path
    metadata: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    earlier_s: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Say how long it has taken until now, with all attempts."""
        return self.earlier_s + time.monotonic() - self.began


def _nothing() -> None:
    """Do nothing when a run is used, or a stage of it made."""


@dataclass(frozen=True)
class Run:
    """One experiment on disk: a folder with a folder per stage.

    Attributes:
        folder: Where it lies.
        overwrite: Make stages anew even where they are current.
        on_use: Called when a stage is written or is current, and not before: a start
            that fails leaves nothing behind.
        on_made: Called when a stage was made and has taken its place.
    """

    folder: Path
    overwrite: bool = False
    on_use: Callable[[], None] = field(default=_nothing, compare=False, repr=False)
    on_made: Callable[[], None] = field(default=_nothing, compare=False, repr=False)

    def finished(self, stage: str, *, check_inputs: bool = True) -> Finished:
        """Return a finished and current stage.

        Raises:
            UnfinishedStageError: The stage has not finished in this run.
            StaleStageError: Something it was made from has been replaced since.
            DamagedFileError: One of its files is missing or cut.
        """
        finished = self.recorded(stage)
        check_files(finished.folder, finished.record)
        if check_inputs and (stale := self.stale_of(stage)):
            raise StaleStageError(self.folder, stale)
        return finished

    def recorded(self, stage: str) -> Finished:
        """Read the record of a finished stage, whatever has become of its files.

        Raises:
            UnfinishedStageError: The stage has not finished in this run.
            DamagedFileError: The record itself is missing or cut.
        """
        self._recover(stage)
        path = self.folder / stage / RECORD
        if not path.exists():
            is_half = path.parent.is_dir() and any(path.parent.iterdir())
            half = f" or was copied in part, without {path}" if is_half else ""
            raise UnfinishedStageError(
                f"{path.parent} is not finished{half};"
                f" first: {command_of(stage, self.folder)}"
            )
        return Finished(folder=path.parent, record=read_record(path))

    def stale_of(self, stage: str) -> dict[str, str]:
        """Find what is stale of a finished stage; see ``stale.stale_of``."""
        return stale_of(stage, lambda name: self.recorded(name).record)

    def has(self, stage: str) -> bool:
        """Tell whether the stage is finished, current or not."""
        self._recover(stage)
        return (self.folder / stage / RECORD).exists()

    def unfinished(self, stage: str) -> tuple[Path, dict[str, Any]] | None:
        """Give the folder of a stage that is being made, and what it is made from."""
        folder = self.folder / f"{stage}.partial"
        made_from = read_state(folder / MADE_FROM)
        return (folder, made_from) if made_from else None

    def is_being_written(self, stage: str) -> bool:
        """Tell whether a process writes a stage; this holds its lock for a moment."""
        lock = self.folder / f".{stage}.lock"
        if not lock.exists():
            return False
        try:
            with locked(lock, stage):
                return False
        except LockedStageError:
            return True

    def current(
        self, stage: str, settings: Mapping[str, Any], reads: Sequence[str] = ()
    ) -> Finished | None:
        """Return a finished stage if it was made from just these; log that it is there.

        Args:
            stage: Dotted name.
            settings: Whatever decides the result, as JSON values.
            reads: Stages it is made from.

        Raises:
            DamagedFileError: It was, but one of its files is missing or cut.
        """
        if self.overwrite or not self.has(stage):
            return None
        finished = self.recorded(stage)
        has_same_settings = finished.record["settings"] == plain(settings)
        if not has_same_settings or finished.record["reads"] != self._digests(reads):
            return None
        check_files(finished.folder, finished.record)
        self.on_use()
        command = command_of(stage, self.folder, finished.record["settings"])
        log.info(
            "%s is already done; to make it anew: %s --overwrite",
            finished.folder,
            command,
        )
        return finished

    @contextmanager
    def stage(
        self,
        name: str,
        settings: Mapping[str, Any],
        reads: Sequence[str] = (),
        *,
        copied: Sequence[str] = (),
    ) -> Iterator[Stage]:
        """Open a stage for writing; it takes its place only on a clean exit.

        Args:
            name: Dotted name of the stage.
            settings: Whatever decides the result, as JSON values.
            reads: Stages it is made from.
            copied: What the caller copies from the finished stage and does not make.

        Raises:
            UnfinishedStageError: A stage it reads is not finished.
            LockedStageError: Another process is writing it.
            UserError: An unfinished attempt has other settings, and would be lost.
        """
        digests = self._digests(reads)
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / f".{name}.lock", name):
            if (self.folder / f"{name}.partial" / RECORD).exists():
                self._publish(name)
            partial = self.folder / f"{name}.partial"
            made_from = {"settings": plain(settings), "reads": digests}
            begun = read_state(partial / MADE_FROM)
            if not may_go_on(begun, made_from, copied, overwrite=self.overwrite):
                if partial.exists():
                    check_may_be_dropped(
                        partial, begun, made_from, overwrite=self.overwrite
                    )
                    log.info(
                        "an unfinished %s made from something else is dropped", name
                    )
                    drop(partial)
                partial.mkdir()
                begun = {COPIED: [*copied]}
            attempt = noted_attempt(partial, begun.get(ATTEMPTS) or {})
            note = {COPIED: begun.get(COPIED, []), ATTEMPTS: attempt}
            write_json(partial / MADE_FROM, made_from | note)
            self.on_use()
            stage = Stage(folder=partial, earlier_s=attempt["seconds"])
            try:
                yield stage
            except BaseException:
                end_attempt(partial / MADE_FROM)
                raise
            drop_drafts(partial)  # of attempts that were killed
            files = digest_files(partial)
            record = {
                "stage": name,
                **made_from,
                "facts": stage.metadata,
                "files": files,
                "sizes": {name: (partial / name).stat().st_size for name in files},
                "digest": digest_of(files),
                "command": " ".join(sys.orig_argv[1:]),
                "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": round(stage.seconds(), 1),
                "device": stage.device,
                "machine": f"{platform.system()} {platform.machine()}"
                f", {os.cpu_count()} cores",
                "versions": _versions(),
            }
            write_json(partial / RECORD, sealed(plain(record)))
            self._publish(name)
        self.on_made()

    def _digests(self, reads: Sequence[str]) -> dict[str, str]:
        return {earlier: self.finished(earlier).record["digest"] for earlier in reads}

    def _publish(self, name: str) -> None:
        """Move a complete partial folder to its place."""
        final, old = self.folder / name, self.folder / f"{name}.old"
        if final.exists():
            shutil.rmtree(old, ignore_errors=True)
            final.replace(old)
        (self.folder / f"{name}.partial").replace(final)
        (final / MADE_FROM).unlink(missing_ok=True)
        shutil.rmtree(old, ignore_errors=True)

    def _recover(self, name: str) -> None:
        """Finish a move that a crash interrupted, unless its writer is still at it."""
        complete = self.folder / f"{name}.partial" / RECORD
        if not complete.exists():
            return
        try:
            with locked(self.folder / f".{name}.lock", name):
                if complete.exists():
                    self._publish(name)
        except LockedStageError:
            pass
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            log.debug("%s: a move is left to whoever may write here", complete)


def digest_files(folder: Path) -> dict[str, str]:
    """Hash the files that are a stage's result, by relative path."""
    files = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        is_ephemeral = EPHEMERAL & set(relative.parts[:-1]) or path.suffix == ".html"
        if path.is_file() and not is_ephemeral and path.name not in (RECORD, MADE_FROM):
            files[relative.as_posix()] = digest_file(path)
    return files


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Give the text of a JSON file."""
    return f"{json.dumps(value, indent=2, default=str)}\n"


def read_state(path: Path) -> dict[str, Any]:
    """Read a JSON table that may be missing or cut; then it is empty."""
    try:
        state = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """Give a table as JSON has it, which is how records are compared."""
    table: dict[str, Any] = json.loads(json.dumps(value, default=str))
    return table


@cache  # reading what is installed takes longer than the rest of a small stage
def _versions() -> Mapping[str, str]:
    return {"python": platform.python_version(), **versions_of(PACKAGES)}


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Give the versions of those of some packages that are installed."""
    versions = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions
