"""Has pieces of work done: here, one after another, or side by side in processes."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.executor_settings import Executor, ExecutorSettings
from data_prep.executors.live_table import LiveTable
from data_prep.executors.side_by_side import run_side_by_side
from data_prep.executors.work import Outcome, Watcher, Work
from data_prep.processes import n_cores

VISIBLE = "CUDA_VISIBLE_DEVICES"
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Where work is done.

    Attributes:
        executor: Which way.
        n_at_once: Pieces at once.
        threads: Of each piece, for the message; its function sets them.
        gpus: Names of the GPUs here, dealt to processes in turn.
    """

    executor: Executor
    n_at_once: int
    threads: int
    gpus: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        settings: ExecutorSettings,
        n_works: int,
        *,
        threads: int,
        usual_threads: int,
        gpus: Sequence[str] = (),
    ) -> "Pool":
        """Choose it by the settings of a stage.

        Args:
            settings: Of the stage.
            n_works: Pieces of the whole stage, so that a kill changes no piece's
                threads, and with them the last bits of what it gives.
            threads: Of each piece; 0: its share.
            usual_threads: That one piece alone has.
            gpus: Names of the GPUs here.
        """
        if settings.kind == "here" or n_works == 0:
            return cls(executor="here", n_at_once=1, threads=threads, gpus=gpus)
        n_places = settings.jobs or len(gpus) or max(1, n_cores() // max(1, threads))
        n_at_once = min(n_places, n_works)
        if n_at_once == 1 and settings.executor is None:
            return cls(executor="here", n_at_once=1, threads=threads, gpus=gpus)
        return cls(
            executor="processes",
            n_at_once=n_at_once,
            threads=threads or max(1, usual_threads // n_at_once),
            gpus=gpus,
        )

    def slots(self, n_works: int) -> list[Mapping[str, str]]:
        """Give what the environment of each process at once says: its GPU, if any."""
        return [
            {VISIBLE: self.gpus[k % len(self.gpus)]} if self.gpus else {}
            for k in range(min(self.n_at_once, n_works))
        ]


def run(
    works: Sequence[Work],
    pool: Pool,
    *,
    noun: str,
    logs: Any,
    watcher: Watcher | None = None,
) -> Outcome:
    """Have all the work done.

    Here an error ends all of it, as it would without an executor. Elsewhere a piece
    that fails takes nothing along, and the outcome says why it failed.

    Args:
        works: The pieces, each of another name; they begin in this order.
        pool: Where.
        noun: What a piece is, for the messages, such as ``"net"``.
        logs: Where the logs of the pieces lie, for the message.
        watcher: Is told what becomes of them; None: a table shows it.

    Raises:
        KeyboardInterrupt: The user stopped it; nothing is left running.
    """
    if not works:
        return Outcome(results={}, failures={})
    if pool.executor == "here":
        return _one_after_another(works, noun)
    slots = pool.slots(len(works))
    log.info(
        "%d %ss, %d at once on %d threads each; their logs: %s",
        len(works),
        noun,
        len(slots),
        pool.threads,
        logs,
    )
    table = watcher or LiveTable([work.name for work in works], noun=noun)
    return run_side_by_side(works, slots, table)


def _one_after_another(works: Sequence[Work], noun: str) -> Outcome:
    results = {}
    for number, work in enumerate(works, start=1):
        note = f", {work.note}" if work.note else ""
        log.info("%s %d of %d: %s%s", noun, number, len(works), work.name, note)
        results[work.name] = work.function(None)
    return Outcome(results=results, failures={})
