"""Work on a Ray cluster: sent to nodes, watched, done again where a node died.

The driver, which is the command, packs each piece of work with the digests of what it
reads (``parcels``); a node has those files or is brought them once (``supply``,
``node_files``); it does the work in a process and sends back what that wrote
(``on_node``), which the driver puts in place whole (``dispatch``). So neither a shared
disk is needed nor anything but the folder of the run to go on after a kill: what is in
place is done.
"""

import logging
from collections.abc import Sequence

from data_prep.errors import UserError
from data_prep.executors import node_check
from data_prep.executors.cluster import (
    Node,
    check_fit,
    connected,
    fitting,
    nodes_of_cluster,
    on_each,
)
from data_prep.executors.dispatch import Dispatch
from data_prep.executors.pool import Pool
from data_prep.executors.supply import Supply
from data_prep.executors.work import Outcome, Watcher, Work

log = logging.getLogger(__name__)


def run_on_ray(
    works: Sequence[Work], pool: Pool, noun: str, watcher: Watcher
) -> Outcome:
    """Do all the work on a cluster.

    Args:
        works: The pieces.
        pool: Which cluster, how many at once, and what each needs.
        noun: What a piece is, for messages.
        watcher: Is told what becomes of them.

    Raises:
        UserError: No cluster answers, its nodes differ from this machine or have no
            room.
        KeyboardInterrupt: The user stopped it; no piece goes on.
    """
    with connected(pool.address):
        nodes, gpu_share = _usable(pool)
        check_versions(nodes)
        supply = Supply.of(works, nodes)
        log.info(
            "%d %ss on %d nodes: %s",
            len(works),
            noun,
            len(nodes),
            "; ".join(node.text for node in nodes),
        )
        return Dispatch(
            works=works,
            supply=supply,
            pool=pool,
            gpu_share=gpu_share,
            watcher=watcher,
        ).run()


def room_of(pool: Pool) -> int:
    """Count the pieces of work that a cluster has room for at once.

    Args:
        pool: Which cluster, and what each piece needs.

    Raises:
        UserError: No cluster answers, or it has no room for a single one.
    """
    with connected(pool.address):
        nodes, gpu_share = _usable(pool)
        return sum(node.room(pool.threads, gpu_share) for node in nodes)


def _usable(pool: Pool) -> tuple[list[Node], float]:
    """Give the nodes that have room for a piece of work, and the GPUs of each piece."""
    nodes, gpu_share = nodes_of_cluster(), pool.gpu_share
    if gpu_share is None:
        gpu_share = 1.0 if fitting(nodes, 0, 1.0) else 0.0
    check_fit(nodes, pool.threads, gpu_share)
    return fitting(nodes, pool.threads, gpu_share), gpu_share


def check_versions(nodes: Sequence[Node]) -> None:
    """Check that nodes would compute what this machine does.

    Raises:
        UserError: One has other versions or code.
    """
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(node_check)  # a node may lack it
    try:
        answers = on_each(node_check.look, nodes)
    finally:
        cloudpickle.unregister_pickle_by_value(node_check)
    needed = node_check.look()
    for node, versions in answers.items():
        if text := node_check.difference(node.name, versions, needed):
            raise UserError(text)
