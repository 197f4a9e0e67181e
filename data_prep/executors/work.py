"""What is to be done, what comes of it, and who is told: the same wherever it is done.

A piece of work stands for itself: it can be done in any order and beside the others,
begun anew where it was stopped, and its result is in the files of a folder or small.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from data_prep.errors import UserError
from data_prep.executors.progress import Progress, Report

Scores = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a piece of work gives.

    Attributes:
        scores: Shown beside its name.
        value: For whoever had it done; has to be picklable. What is large is a file.
    """

    scores: Scores = field(default_factory=dict)
    value: Any = None


@dataclass(frozen=True, kw_only=True)
class Work:
    """A piece of work.

    Attributes:
        name: For the watcher and the messages.
        function: Called with whom to report the progress to; None: it shows it itself.
            It has to be picklable.
        log_file: Where its output goes, after what is there, unless it is done here.
        note: What is said beside its name when it begins here.
        reads: Files and folders that it reads; on another machine there are no others.
        writes: Folder that it writes; None: none. On another machine it begins with
            what the folder holds, and the folder that comes back takes its place.
    """

    name: str
    function: Callable[[Report | None], Result]
    log_file: Path
    note: str = ""
    reads: Sequence[Path] = ()
    writes: Path | None = None


class Watcher(Protocol):
    """Is told what becomes of the work."""

    def begin(self, name: str, node: str = "") -> None:
        """Hear that a piece of work has begun, anew maybe, on a node of a cluster."""

    def report(self, name: str, progress: Progress) -> None:
        """Hear how far it is."""

    def end(self, name: str, scores: Scores, failure: str) -> None:
        """Hear that it has ended; ``failure`` says why it is not done."""

    def tick(self) -> None:
        """Show what is known, a few times a second."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of the work, by the names of its pieces.

    Attributes:
        results: Of what is done.
        failures: Why each other piece is not.
    """

    results: Mapping[str, Result]
    failures: Mapping[str, str]

    def check(self, works: Sequence[Work], noun: str, remedy: str) -> None:
        """Check that all is done.

        Args:
            works: The pieces.
            noun: What they are, such as ``"net"``.
            remedy: What becomes of the others, and what to do.

        Raises:
            UserError: Some failed.
        """
        if not self.failures:
            return
        shown = "; ".join(f"{name}: {why}" for name, why in self.failures.items())
        log_file = next(w.log_file for w in works if w.name in self.failures)
        raise UserError(
            f"{len(self.failures)} of {len(works)} {noun}s failed ({shown}); see"
            f" {log_file}; {remedy}"
        )
