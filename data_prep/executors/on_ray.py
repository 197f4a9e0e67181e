"""Work on a Ray cluster: sent to nodes, watched, done again where a node died.

The driver, which is the command, packs each piece of work with the digests of what it
reads (``parcels``); a node has those files or is brought them once (``node_files``); it
does the work in a process and sends back what that wrote (``on_node``), which the
driver puts in place whole. So neither a shared disk is needed nor anything but the
folder of the run to go on after a kill: what is in place is done.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.errors import UserError
from data_prep.executor_settings import VISIBLE
from data_prep.executors import node_check, node_files, on_node
from data_prep.executors.cluster import (
    Node,
    check_fit,
    connected,
    fitting,
    nodes_of_cluster,
    on_each,
)
from data_prep.executors.on_node import Returned, Sent
from data_prep.executors.parcels import Needed, Parcel, pack
from data_prep.executors.pool import Pool
from data_prep.executors.side_by_side import TICK_S
from data_prep.executors.work import Outcome, Result, Watcher, Work

TRIES = 3  # of a piece of work whose node dies
LOOK_EVERY_S = 5.0  # whether there are nodes left
PATIENCE_S = 60.0  # for one that comes back
PIECE_BYTES = 1 << 26  # of a file in the object store
DEATHS = {
    "OutOfMemoryError": "its node had too little memory",
    "WorkerCrashedError": "its process on the node was ended",
}
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
        parcels = [pack(work) for work in works]
        supply = Supply.of(parcels, nodes)
        log.info(
            "%d %ss on %d nodes: %s",
            len(works),
            noun,
            len(nodes),
            "; ".join(node.text for node in nodes),
        )
        return Dispatch(
            works=works,
            parcels=parcels,
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


@dataclass(frozen=True, kw_only=True)
class Supply:
    """The files that works read, for nodes that do not see them.

    Attributes:
        seen_by: By the id of a node, the sources that it reads where the driver does.
        pieces: References to the pieces of files that some node lacks, by digest.
    """

    seen_by: Mapping[str, frozenset[str]]
    pieces: Mapping[str, Sequence[Any]]

    @classmethod
    def of(cls, parcels: Sequence[Parcel], nodes: Sequence[Node]) -> "Supply":
        """Ask the nodes what they see, and offer what some lack.

        Raises:
            UserError: A node has no room for what it lacks.
        """
        needed = {file.source: file for parcel in parcels for file in parcel.needed}
        disks = on_each(on_node.look_at_disk, nodes, list(needed.values()))
        by_digest = {file.digest: file for file in needed.values()}
        for node, disk in disks.items():
            n_bytes = sum(by_digest[digest].n_bytes for digest in disk.lacking)
            if n_bytes + node_files.MARGIN_BYTES > disk.free_bytes:
                raise UserError(
                    f"node {node.name} has {_size(disk.free_bytes)} free in"
                    f" {disk.folder}, and needs {_size(n_bytes)} for what is read"
                    f" and {_size(node_files.MARGIN_BYTES)} for what is written;"
                    " free some, or start the node with TMPDIR on a larger disk"
                )
            if n_bytes:
                log.info("%s is sent to node %s", _size(n_bytes), node.name)
        lacking = {digest for disk in disks.values() for digest in disk.lacking}
        return cls(
            seen_by={node.id: disk.seen for node, disk in disks.items()},
            pieces={digest: _put(by_digest[digest]) for digest in lacking},
        )


def _put(file: Needed) -> list[Any]:
    """Put a file into the object store, from which each node takes it once."""
    import numpy as np
    import ray

    if not file.n_bytes:
        return []
    data = np.memmap(file.source, np.uint8, mode="r").view(np.ndarray)
    starts = range(0, len(data), PIECE_BYTES)
    return [ray.put(data[start : start + PIECE_BYTES]) for start in starts]


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    """Works on their way.

    Attributes:
        works: The pieces.
        parcels: Each packed.
        supply: The files that they read.
        pool: How many at once, and what each needs.
        gpu_share: GPUs of each.
        watcher: Is told what becomes of them.
    """

    works: Sequence[Work]
    parcels: Sequence[Parcel]
    supply: Supply
    pool: Pool
    gpu_share: float
    watcher: Watcher

    def run(self) -> Outcome:
        """Send the works, and put in place what comes back."""
        import ray

        board = _start_board()
        waiting = list(zip(self.works, self.parcels, strict=True))
        n_at_once = self.pool.n_at_once or len(waiting)
        tries: dict[str, int] = {}
        running: dict[Any, tuple[Work, Parcel]] = {}
        results: dict[str, Result] = {}
        failures: dict[str, str] = {}
        nodes_left = _NodesLeft(self.pool.threads, self.gpu_share)
        try:
            while waiting or running:
                while waiting and len(running) < n_at_once:
                    work, parcel = waiting.pop(0)
                    tries[work.name] = tries.get(work.name, 0) + 1
                    running[self._send(work, parcel, board)] = work, parcel
                ended, _ = ray.wait(list(running), timeout=TICK_S)
                self._tell(board)
                for reference in ended:
                    work, parcel = running.pop(reference)
                    returned = _received(reference)
                    if isinstance(returned, str) and tries[work.name] < TRIES:
                        log.warning("%s: %s; it is begun anew", work.name, returned)
                        waiting.insert(0, (work, parcel))
                        continue
                    result, failure = self._settle(work, returned)
                    self.watcher.end(work.name, result.scores, failure)
                    if failure:
                        failures[work.name] = failure
                    else:
                        results[work.name] = result
                self.watcher.tick()
                if reason := nodes_left.lack():
                    left = [work for work, _ in [*running.values(), *waiting]]
                    failures |= {work.name: reason for work in left}
                    break
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
        return Outcome(results=results, failures=failures)

    def _send(self, work: Work, parcel: Parcel, board: Any) -> Any:
        """Send a piece of work to whichever node has room first."""
        import ray

        hides_gpus = {} if self.gpu_share else {VISIBLE: ""}
        files = node_files.read_folder(work.writes) if work.writes else {}
        sent = Sent(
            parcel=parcel,
            files=files,
            seen_by=self.supply.seen_by,
            pieces={
                file.digest: self.supply.pieces[file.digest]
                for file in parcel.needed
                if file.digest in self.supply.pieces
            },
            environment=hides_gpus,
        )
        task = ray.remote(
            num_cpus=self.pool.threads, num_gpus=self.gpu_share, max_retries=0
        )(on_node.do)
        return task.options(name=work.name).remote(sent, board)

    def _tell(self, board: Any) -> None:
        """Pass on to the watcher what nodes have told."""
        import ray

        try:
            events = ray.get(board.read.remote())
        except ray.exceptions.RayError:  # its node died; it comes back elsewhere
            return
        for event in events:
            if event.progress is None:
                self.watcher.begin(event.name, event.node)
            else:
                self.watcher.report(event.name, event.progress)

    def _settle(self, work: Work, returned: Returned | str) -> tuple[Result, str]:
        """Put in place what came back, and say what became of the work."""
        if isinstance(returned, str):
            return Result(), f"{returned}, for the last of {TRIES} times"
        if work.writes is not None and returned.node:
            node_files.replace_folder(returned.files, work.writes)
        if returned.log:
            work.log_file.parent.mkdir(parents=True, exist_ok=True)
            with work.log_file.open("ab") as file:
                file.write(returned.log)
        return returned.result, returned.failure


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"


def _start_board() -> Any:
    """Start what nodes tell their progress to, beside the driver."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    node = ray.get_runtime_context().get_node_id()
    actor = ray.remote(num_cpus=0, max_restarts=-1)(on_node.Board)
    strategy = NodeAffinitySchedulingStrategy(node, soft=True)
    return actor.options(scheduling_strategy=strategy).remote()


def _received(reference: Any) -> Returned | str:
    """Give what came back; a text: a node or process of Ray died, and why."""
    import ray

    deaths = (
        ray.exceptions.NodeDiedError,
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.ObjectLostError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.LocalRayletDiedError,
    )
    try:
        returned: Returned = ray.get(reference)
    except deaths as error:
        return DEATHS.get(type(error).__name__, "its node is gone")
    except ray.exceptions.RayTaskError as error:  # of what surrounds the work
        cause = error.cause
        text = f"{type(cause).__name__}: {cause}"
        return Returned(result=Result(), failure=text, files={}, log=b"", node="")
    return returned


class _NodesLeft:
    """Looks now and then whether a node is left that has room for the work."""

    def __init__(self, threads: int, gpu_share: float) -> None:
        self.threads, self.gpu_share = threads, gpu_share
        self.looked_at = self.last_there = time.monotonic()

    def lack(self) -> str:
        """Say that none has come back for long; empty: there is one, or soon."""
        moment = time.monotonic()
        if moment - self.looked_at < LOOK_EVERY_S:
            return ""
        self.looked_at = moment
        if fitting(nodes_of_cluster(), self.threads, self.gpu_share):
            self.last_there = moment
        if moment - self.last_there < PATIENCE_S:
            return ""
        return "no node of the cluster is left that has room for it"
