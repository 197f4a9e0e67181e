"""What a node of a Ray cluster does: a look at itself, and pieces of work."""

import functools
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep.executors import node_files
from data_prep.executors.node_files import Files
from data_prep.executors.parcels import Needed, Parcel, opened
from data_prep.executors.progress import Progress, Report
from data_prep.executors.side_by_side import run_side_by_side
from data_prep.executors.work import Result, Scores, Work

Tell = Callable[["Event"], object]


@dataclass(frozen=True, kw_only=True)
class Disk:
    """What a node has of the files that works read.

    Attributes:
        seen: Sources that it reads where the driver does.
        lacking: Digests of those that are to be brought.
        folder: Where they will lie.
        free_bytes: Room there.
    """

    seen: frozenset[str]
    lacking: frozenset[str]
    folder: str
    free_bytes: int


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a node tells the driver while a piece of work is done.

    Attributes:
        name: Of the work.
        node: Where it is done.
        progress: How far it is; None: it has just begun.
    """

    name: str
    node: str
    progress: Progress | None = None


@dataclass(frozen=True, kw_only=True)
class Returned:
    """What comes back from a node.

    Attributes:
        result: Of the work.
        failure: Why it is not done; empty: it is.
        files: All that the work's folder holds.
        log: What it printed, where that is not in its folder.
        node: Where it was done.
    """

    result: Result
    failure: str
    files: Files
    log: bytes
    node: str


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A piece of work on its way, and what the node needs for it.

    Attributes:
        parcel: The work.
        files: What its folder held before.
        seen_by: By the id of a node, the sources that it reads where the driver does.
        pieces: References to the pieces of each file that some node lacks, by digest.
        environment: Variables of the process.
    """

    parcel: Parcel
    files: Files
    seen_by: Mapping[str, frozenset[str]]
    pieces: Mapping[str, Sequence[Any]]
    environment: Mapping[str, str] = field(default_factory=dict)


def look_at_disk(needed: Sequence[Needed]) -> Disk:
    """Look which files this node has, and how much room; tidy up before."""
    folder = node_files.node_folder()
    (folder / "files").mkdir(parents=True, exist_ok=True)
    node_files.tidy(folder)
    seen, lacking = node_files.lacking(needed, folder)
    return Disk(
        seen=frozenset(seen),
        lacking=frozenset(lacking),
        folder=str(folder),
        free_bytes=node_files.free_bytes(folder),
    )


def do(sent: Sent, board: Any) -> Returned:
    """Do a piece of work in a process of its own, and give back what it wrote.

    Args:
        sent: The work.
        board: Actor that is told how far it is.
    """
    import ray

    node = ray.get_runtime_context().get_node_id()
    name = f"{socket.gethostname()} {node[:4]}"
    parcel, folder = sent.parcel, node_files.node_folder()

    def bring(file: Needed) -> Iterator[memoryview]:
        if file.digest not in sent.pieces:
            raise FileNotFoundError(
                f"{file.source}: node {name} came later and does not see it; run again"
            )
        for piece in sent.pieces[file.digest]:
            yield memoryview(ray.get(piece))

    def tell(event: Event) -> None:
        board.tell.remote(event)

    tell(Event(name=parcel.name, node=name))
    with node_files.mirror(folder) as path:
        node_files.place_files(
            parcel.needed,
            path,
            seen=_seen(sent, node, folder),
            folder=folder,
            bring=bring,
        )
        written = path.joinpath(*(parcel.writes or ()))
        if parcel.writes:
            node_files.write_folder(sent.files, written)
        log_file = path.joinpath(*parcel.log_file)
        work = Work(
            name=parcel.name,
            function=functools.partial(_open_and_do, parcel.content, path),
            log_file=log_file,
        )
        watcher = _Teller(tell, name)
        with _main_hidden():
            outcome = run_side_by_side([work], [sent.environment], watcher)
        is_within = bool(parcel.writes) and log_file.is_relative_to(written)
        return Returned(
            result=outcome.results.get(parcel.name, Result()),
            failure=outcome.failures.get(parcel.name, ""),
            files=node_files.read_folder(written) if parcel.writes else {},
            log=b"" if is_within or not log_file.exists() else log_file.read_bytes(),
            node=name,
        )


def _seen(sent: Sent, node: str, folder: Path) -> frozenset[str]:
    """Give the sources that this node reads; one that came later looks only now."""
    if node in sent.seen_by:
        return sent.seen_by[node]
    seen, _ = node_files.lacking(sent.parcel.needed, folder)
    return frozenset(seen)


def _open_and_do(content: bytes, mirror: Path, report: Report | None) -> Result:
    """Unpickle a function, its paths being those of the mirror, and call it."""
    result: Result = opened(content, mirror)(report)
    return result


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Let processes begun within not import the main module, which imports Ray."""
    main = sys.modules["__main__"]
    file = main.__dict__.pop("__file__", None)
    try:
        yield
    finally:
        if file is not None:
            main.__file__ = file


class _Teller:
    """Passes on how far a piece of work is."""

    def __init__(self, tell: Tell, node: str) -> None:
        self._tell, self.node = tell, node

    def begin(self, name: str, node: str = "") -> None:
        """It was told before its files were there."""

    def report(self, name: str, progress: Progress) -> None:
        """Tell the driver."""
        self._tell(Event(name=name, node=self.node, progress=progress))

    def end(self, name: str, scores: Scores, failure: str) -> None:
        """The driver hears of it by what comes back."""

    def tick(self) -> None:
        """Nothing is shown here."""


class Board:
    """What nodes tell, until the driver reads it."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def tell(self, event: Event) -> None:
        """Note an event."""
        self._events.append(event)

    def read(self) -> list[Event]:
        """Give the events since the last time."""
        events, self._events = self._events, []
        return events
