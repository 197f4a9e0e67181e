"""Stages made from something that has been replaced since, and what to type then."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.errors import UserError
from data_prep.run_folders.damage import command_of
from data_prep.run_folders.origin import pipeline_command

Recorded = Callable[[str], Mapping[str, Any]]  # gives the record of a finished stage


class StaleStageError(UserError):
    """A stage was made from a result that has been replaced since.

    Attributes:
        reason: What was replaced, and what follows from it.
        stages: Those to be made anew, in their order.
    """

    def __init__(self, run: Path, stale: Mapping[str, str]) -> None:
        self.stages = [*stale]
        first, *later = self.stages
        self.reason = reason_of(run / first, stale[first])
        if later:
            self.reason += f", and {listed(later)} from it"
        super().__init__(f"{self.reason}; again: {how_to_make(run, self.stages)}")


def reason_of(folder: Path, replaced: str) -> str:
    """Say why a stage is stale."""
    return f"{folder} was made from another {replaced} than the one here"


def how_to_make(run: Path, stages: Sequence[str]) -> str:
    """Say what to type for stages to be current: all by the experiment, or each."""
    by_pipeline = pipeline_command(run)
    either = f"{by_pipeline}, or " if by_pipeline else ""
    return f"{either}{commands(run, stages)}"


def stale_of(stage: str, recorded: Recorded) -> dict[str, str]:
    """Find what is stale of a finished stage and of those that it was made from.

    Args:
        stage: Its name.
        recorded: Gives the record of a stage.

    Returns:
        By stage an input of it that is another now, or is stale itself; what is to be
        made anew first comes first.
    """
    reads = recorded(stage)["reads"]
    stale: dict[str, str] = {}
    for earlier in reads:
        for name, replaced in stale_of(earlier, recorded).items():
            stale.setdefault(name, replaced)
    changed = [
        earlier
        for earlier, digest in reads.items()
        if digest != recorded(earlier)["digest"]
    ]
    if changed or stale:
        stale[stage] = [*changed, *(name for name in reads if name in stale)][0]
    return stale


def replaced_under(stage: str, recorded: Recorded) -> set[str]:
    """Find what a stage was made from, directly or not, that was replaced since.

    Args:
        stage: Name of a finished stage.
        recorded: Gives the record of a stage.

    Returns:
        Names of stages; empty: it is not stale.
    """
    reads = recorded(stage)["reads"]
    replaced = {
        earlier
        for earlier, digest in reads.items()
        if digest != recorded(earlier)["digest"]
    }
    return replaced.union(*(replaced_under(earlier, recorded) for earlier in reads))


def commands(run: Path, stages: Sequence[str]) -> str:
    """Say what to type to make stages, one after another."""
    return " && ".join(command_of(stage, run) for stage in stages)


def listed(names: Sequence[str]) -> str:
    """Write names as a sentence has them.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
