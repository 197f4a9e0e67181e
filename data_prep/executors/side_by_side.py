"""Work side by side: each piece in a process, as many at once as there are slots.

What fails or is killed takes nothing else along: the others go on, and the pieces that
failed are named at the end, each with its log. A process ends when its parent does, so
that none goes on writing after a kill, and it leaves Ctrl-C to the parent, which ends
all of them.

"""

import functools
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from data_prep.command import reason_of, run_command
from data_prep.executors.progress import Progress
from data_prep.executors.work import Outcome, Result, Watcher, Work

TICK_S = 0.5  # between two looks at what is running
PATIENCE_S = 10.0  # for a process that was told to end


@dataclass(kw_only=True)
class _Child:
    """A piece of work in its process, and the end of the pipe that it reports by."""

    work: Work
    process: SpawnProcess
    pipe: Connection
    result: Result | None = None
    reason: str = ""
    is_open: bool = True

    def receive(self, watcher: Watcher) -> None:
        """Pass on what it has reported since."""
        try:
            while self.is_open and self.pipe.poll():
                message = self.pipe.recv()
                if isinstance(message, Progress):
                    watcher.report(self.work.name, message)
                elif isinstance(message, str):
                    self.reason = message
                else:
                    self.result = message
        except (EOFError, OSError):  # it has ended, maybe in the middle of a report
            self.is_open = False


def run_side_by_side(
    works: Sequence[Work], slots: Sequence[Mapping[str, str]], watcher: Watcher
) -> Outcome:
    """Run all the work, a piece in each slot at a time.

    Args:
        works: The pieces; they begin in this order.
        slots: For each piece that may run at once the variables of its environment,
            such as the GPU that it sees.
        watcher: Is told.

    Raises:
        KeyboardInterrupt: The user stopped it; no process is left.
    """
    resource_tracker.ensure_running()  # begun later, it would let interrupts through
    waiting, children = list(works), dict[int, _Child]()
    results: dict[str, Result] = {}
    failures: dict[str, str] = {}
    try:
        while waiting or children:
            for slot, environment in enumerate(slots):
                if waiting and slot not in children:
                    with _interrupts_held():  # until it is known to be ended
                        children[slot] = _begin(waiting.pop(0), environment)
                    watcher.begin(children[slot].work.name)
            running = children.values()
            pipes = [child.pipe for child in running if child.is_open]
            wait([*pipes, *(child.process.sentinel for child in running)], TICK_S)
            for slot, child in list(children.items()):
                has_ended = not child.process.is_alive()
                child.receive(watcher)
                if has_ended:
                    del children[slot]
                    result, failure = child.result or Result(), _failure(child)
                    watcher.end(child.work.name, result.scores, failure)
                    if failure:
                        failures[child.work.name] = failure
                    else:
                        results[child.work.name] = result
            watcher.tick()
    finally:
        _end_all(list(children.values()))
    return Outcome(results=results, failures=failures)


def _begin(work: Work, environment: Mapping[str, str]) -> _Child:
    """Start a fresh process: a fork would inherit the threads of libraries."""
    context = get_context("spawn")
    pipe, far_end = context.Pipe(duplex=False)
    parcel = pickle.dumps(work.function)  # opened there when all is ready
    process = context.Process(
        target=_run, args=(parcel, far_end, work.log_file), name=work.name
    )
    with _environment(environment):
        process.start()
    far_end.close()  # or its end would never be met
    return _Child(work=work, process=process, pipe=pipe)


def _run(parcel: bytes, pipe: Connection, log_file: Path) -> None:
    """Do a piece of work in its process, as a command would be done.

    Args:
        parcel: The function, pickled by the parent.
        pipe: The parent is told by it.
        log_file: Where the output goes.
    """
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    run_command(functools.partial(_open_and_do, parcel, pipe, log_file))


def _open_and_do(parcel: bytes, pipe: Connection, log_file: Path) -> None:
    try:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("ab") as log:
            for stream in (sys.stdout, sys.stderr):
                os.dup2(log.fileno(), stream.fileno())
        function = pickle.loads(parcel)  # which may import torch
        pipe.send(function(pipe.send))
    except Exception as error:
        pipe.send(reason_of(error))
        raise  # for the log, where the disk has room for it


def _end_with(parent: int) -> None:
    """End this process when its parent has ended, which may have been killed."""
    wait([parent])
    os._exit(1)


def _failure(child: _Child) -> str:
    """Say why a process that has ended did not do its work; empty: it did."""
    if child.result is not None:
        return ""
    return child.reason or how_it_ended(child.process.exitcode or 0)


def how_it_ended(code: int) -> str:
    """Say how a process ended that gave no reason.

    Args:
        code: Its status; below 0 the number of the signal.
    """
    if code >= 0:
        return f"it ended with status {code} before it was done"
    memory = ", perhaps for want of memory" if code == -signal.SIGKILL else ""
    return f"it was ended by {signal.Signals(-code).name}{memory}"


def _end_all(children: Sequence[_Child]) -> None:
    """End what still runs; its checkpoints are kept."""
    for child in children:
        child.process.terminate()
    for child in children:
        child.process.join(PATIENCE_S)
        if child.process.is_alive():
            child.process.kill()
            child.process.join()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the processes begun within."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let the processes begun within never hear of Ctrl-C; this one does afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
