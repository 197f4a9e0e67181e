"""Has pieces of work done: here, in processes, or on a cluster."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from data_prep.executors.live_table import LiveTable
from data_prep.executors.node_files import draft_of
from data_prep.executors.pool import Pool
from data_prep.executors.side_by_side import run_side_by_side
from data_prep.executors.work import Outcome, Watcher, Work

log = logging.getLogger(__name__)


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
    for work in works:  # what a driver was killed over
        if work.writes is not None:
            shutil.rmtree(draft_of(work.writes), ignore_errors=True)
    if pool.executor == "here":
        return _one_after_another(works, noun)
    table = watcher or LiveTable([work.name for work in works], noun=noun)
    if pool.executor == "ray":
        from data_prep.executors.on_ray import run_on_ray

        return run_on_ray(works, pool, noun, table)
    slots = pool.slots(len(works))
    log.info(
        "%d %ss, %d at once on %d threads each; their logs: %s",
        len(works),
        noun,
        len(slots),
        pool.threads,
        logs,
    )
    return run_side_by_side(works, slots, table)


def with_room(pool: Pool) -> Pool:
    """Give a pool that says how many pieces run at once, also on a cluster.

    Args:
        pool: Its ``n_at_once`` is 0 where only the cluster can tell.

    Raises:
        UserError: No cluster answers, or it has no room for a single piece.
    """
    if pool.n_at_once:
        return pool
    from data_prep.executors.on_ray import room_of

    return replace(pool, n_at_once=room_of(pool))


def _one_after_another(works: Sequence[Work], noun: str) -> Outcome:
    results = {}
    for number, work in enumerate(works, start=1):
        note = f", {work.note}" if work.note else ""
        log.info("%s %d of %d: %s%s", noun, number, len(works), work.name, note)
        results[work.name] = work.function(None)
    return Outcome(results=results, failures={})
