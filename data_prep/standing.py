"""Which stages are current and which are to be made, and why, before any is begun.

It compares what would decide each result now with the record of the one that is there,
by the same ``config`` of the settings that the stage itself compares. What follows from
a stage that is to be made is to be made too; only if that one comes out the same, to
the byte, will it be left as it is.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.experiment import Experiment
from data_prep.prepared import PREPARED
from data_prep.run_folders.attempts import ATTEMPTS, seconds_of_attempts
from data_prep.run_folders.runs import Finished, Run, plain
from data_prep.settings import recorded
from data_prep.sources import has_other_pictures

DIGEST = re.compile("[0-9a-f]{64}")
MOST_CHANGES = 4  # told of a stage; after them how many more
MOST_LETTERS = 40  # of a value
SOURCES = {  # of what data_prep.prepare records
    "source.tables": "the tables have another content",
    "source.pictures": "there are other pictures",
}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a stage stands before the first one runs.

    Attributes:
        stage: Its name.
        reasons: Why it is to be made; none: it is current.
        finished: What is there of it, current or to be replaced; None: nothing.
        earlier_s: Seconds that interrupted attempts at it took.
        attempt: Folder of what they made; None: there was none.
    """

    stage: str
    reasons: tuple[str, ...] = ()
    finished: Finished | None = None
    earlier_s: float = 0.0
    attempt: Path | None = None

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to do."""
        return not self.reasons


def standings_of(
    settings: Mapping[str, Any], experiment: Experiment, run: Run
) -> list[Standing]:
    """Say of each stage whether it is current, in order; nothing is written.

    Args:
        settings: Of the stages that are to run, by their names.
        experiment: What the user wrote.
        run: Where they lie.

    Raises:
        UserError: A record is damaged, or a file of a stage that would stay.
    """
    standings: list[Standing] = []
    to_make: list[str] = []
    for stage, of_stage in settings.items():
        standing = _standing(stage, of_stage, experiment, run=run, to_make=to_make)
        standings.append(standing)
        if not standing.is_current:
            to_make.append(stage)
    return standings


def _standing(
    stage: str,
    settings: Any,
    experiment: Experiment,
    *,
    run: Run,
    to_make: Sequence[str],
) -> Standing:
    """Say of a stage whether it is current.

    Args:
        stage: Its name.
        settings: Its settings.
        experiment: What the user wrote.
        run: Where it lies.
        to_make: The stages before it that are to be made.
    """
    if idle := getattr(settings, "idle_by", ""):
        return Standing(stage=stage, reasons=(f"runs with {idle}",))
    if not run.has(stage):
        return _begun(stage, run)
    finished = run.recorded(stage)
    reads = finished.record["reads"]
    # the tables of a run may be drawn by a stage before it, such as the demo
    before = [name for name in to_make if stage == PREPARED or name in reads]
    reasons = [f"made anew: {', '.join(before)}"] if before else []
    if not (before and stage == PREPARED):
        reasons += _reasons(
            stage, settings, experiment, run=run, finished=finished, to_make=to_make
        )
    if not reasons:  # files of one that is made anew may be damaged
        run.finished(stage, check_inputs=False)
    return Standing(stage=stage, reasons=tuple(reasons), finished=finished)


def _begun(stage: str, run: Run) -> Standing:
    """Say what there is of a stage that is not finished."""
    unfinished = run.unfinished(stage)
    if unfinished is None:
        return Standing(stage=stage, reasons=("not there yet",))
    folder, made_from = unfinished
    seconds = seconds_of_attempts(folder, made_from.get(ATTEMPTS) or {})
    return Standing(
        stage=stage, reasons=("it was begun",), earlier_s=seconds, attempt=folder
    )


def _reasons(
    stage: str,
    settings: Any,
    experiment: Experiment,
    *,
    run: Run,
    finished: Finished,
    to_make: Sequence[str],
) -> Iterator[str]:
    """Say what a finished stage would be made from now that it was not.

    Args:
        stage: Its name.
        settings: Its settings.
        experiment: What the user wrote.
        run: Where it lies.
        finished: The stage.
        to_make: The stages before it that are to be made.
    """
    record = finished.record
    for earlier, digest in record["reads"].items():
        if earlier in to_make:
            continue
        if run.finished(earlier, check_inputs=False).record["digest"] != digest:
            yield f"{earlier} is another than it was made from"
    config = plain(
        settings.config(experiment, run)
        if hasattr(settings, "config")
        else recorded(settings)
    )
    changes = list(differences(record["settings"], config))
    n_more = len(changes) - MOST_CHANGES
    yield from changes[: MOST_CHANGES if n_more > 1 else None]
    if n_more > 1:
        yield f"and {n_more} more"
    if changes:
        return
    if hasattr(settings, "has_enough") and not settings.has_enough(finished.metadata):
        yield "more trials are asked for, and go on with it"
    if stage == PREPARED and has_other_pictures(run, experiment.data.images):
        yield "the file of a picture is another than when it was read"


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = ""
) -> Iterator[str]:
    """Say how the settings of a record differ from those of today, key by key.

    Args:
        before: As the record has them.
        after: As a record would have them.
        prefix: Of the keys, where the tables lie in others.
    """
    for key in dict.fromkeys([*before, *after]):
        name, old, new = f"{prefix}{key}", before.get(key), after.get(key)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differences(old, new, f"{name}.")
        elif name in SOURCES:
            yield SOURCES[name]
        elif DIGEST.fullmatch(str(old)) and DIGEST.fullmatch(str(new)):
            yield f"{name}: another content"
        else:
            yield f"{name} {_text(old)} -> {_text(new)}"


def _text(value: Any) -> str:
    """Write a value as an experiment file has it; what is long is cut."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        value = value.get("file", dict(value))  # of weights by path, and their digest
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 3]}..."
