"""Pools of processes, on the cores that this process may use."""

import math
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from data_prep.errors import UserError

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

Result = TypeVar("Result")
CHUNKS_AHEAD = 4  # of each process that works for another
MEMORY = Path("/proc/meminfo")  # Linux
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container, Linux


def n_cores() -> int:
    """Count the cores this process may use, also where a container has a quota."""
    n = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        n = len(os.sched_getaffinity(0))
    try:  # microseconds of each period, or "max"
        quota, period = CPU_QUOTA.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return n
    return n if quota == "max" else max(1, min(n, int(quota) // int(period)))


def free_memory() -> float:
    """Say how many bytes of memory are free, caches included; inf: unknown."""
    try:
        text = MEMORY.read_text(encoding="ascii")
        return 1024.0 * int(text.partition("MemAvailable:")[2].split()[0])
    except (OSError, ValueError, IndexError):
        return math.inf


def torchrun_rank() -> int | None:
    """Give this process's rank, if torchrun started several; None: it did not."""
    variables = os.environ
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= variables.keys():
        return None
    return int(variables["RANK"]) if variables["WORLD_SIZE"] != "1" else None


@contextmanager
def pool_of(n_processes: int) -> "Iterator[ProcessPoolExecutor]":
    """Give a pool of fresh processes; an error or Ctrl-C drops what has not begun."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    context = get_context("spawn")  # a fork would inherit the threads of libraries
    pool = ProcessPoolExecutor(n_processes, context, _leave_interrupts)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_processes(
    function: Callable[..., Result],
    *arguments: Iterable[Any],
    n_processes: int,
    chunk: int,
    remedy: str,
) -> Iterator[Result]:
    """Call a function for each of some arguments, and give the results in order.

    Args:
        function: Is called in fresh processes; in this one, if that is one.
        *arguments: As many values each, as of ``map``.
        n_processes: How many.
        chunk: Calls that a process takes at a time.
        remedy: What to give for fewer processes, such as ``--workers 1``.

    Raises:
        UserError: A process was killed.
    """
    if n_processes < 2:
        yield from map(function, *arguments)
        return
    from concurrent.futures.process import BrokenProcessPool

    try:
        with pool_of(n_processes) as pool:
            calls = zip(*arguments, strict=False)
            pending: deque[Future[list[Result]]] = deque()
            while True:
                # no more than that, or results would pile up where they are taken
                # more slowly than they are made
                while len(pending) < CHUNKS_AHEAD * n_processes:
                    if not (some := list(islice(calls, chunk))):
                        break
                    pending.append(pool.submit(_call_each, function, some))
                if not pending:
                    break
                yield from pending.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            f"one of {n_processes} processes was killed, probably for want of memory;"
            f" run again with fewer: {remedy}"
        ) from None


def _call_each(
    function: Callable[..., Result], calls: Sequence[tuple[Any, ...]]
) -> list[Result]:
    return [function(*arguments) for arguments in calls]


def _leave_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends them
