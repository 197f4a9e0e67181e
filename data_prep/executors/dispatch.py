"""Works on their way to the nodes of a Ray cluster and back.

No more are sent than the nodes have room for twice, so that the object store of the
driver holds few of them, and what is sent waits on the cluster for what ends next.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.executor_settings import VISIBLE
from data_prep.executors import node_files, on_node
from data_prep.executors.cluster import nodes_of_cluster
from data_prep.executors.on_node import Returned, Sent
from data_prep.executors.parcels import pack
from data_prep.executors.pool import Pool
from data_prep.executors.side_by_side import TICK_S
from data_prep.executors.supply import Supply
from data_prep.executors.work import Outcome, Result, Watcher, Work

TRIES = 3  # of a piece of work whose node dies
LOOK_EVERY_S = 5.0  # how much room there is
PATIENCE_S = 60.0  # for a node that comes back
DEATHS = {
    "OutOfMemoryError": "its node had too little memory",
    "WorkerCrashedError": "its process on the node was ended",
}
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    """Works on their way.

    Attributes:
        works: The pieces.
        supply: The files that they read.
        pool: How many at once, and what each needs.
        gpu_share: GPUs of each.
        watcher: Is told what becomes of them.
    """

    works: Sequence[Work]
    supply: Supply
    pool: Pool
    gpu_share: float
    watcher: Watcher

    def run(self) -> Outcome:
        """Send the works, and put in place what comes back."""
        import ray

        board = _start_board()
        waiting = list(self.works)
        tries: dict[str, int] = {}
        running: dict[Any, Work] = {}
        results: dict[str, Result] = {}
        failures: dict[str, str] = {}
        room = _Room(self.pool.threads, self.gpu_share)
        try:
            while waiting or running:
                # some wait on the cluster, for what ends next and for new nodes
                n_sent = max(1, self.pool.n_at_once or 2 * room.n_at_once)
                while waiting and len(running) < n_sent:
                    work = waiting.pop(0)
                    tries[work.name] = tries.get(work.name, 0) + 1
                    running[self._send(work, board)] = work
                ended, _ = ray.wait(list(running), timeout=TICK_S)
                self._tell(board)
                for reference in ended:
                    work = running.pop(reference)
                    returned = _received(reference)
                    if isinstance(returned, str) and tries[work.name] < TRIES:
                        log.warning("%s: %s; it is begun anew", work.name, returned)
                        waiting.insert(0, work)
                        continue
                    result, failure = self._settle(work, returned)
                    self.watcher.end(work.name, result.scores, failure)
                    if failure:
                        failures[work.name] = failure
                    else:
                        results[work.name] = result
                self.watcher.tick()
                if reason := room.lack():
                    left = [*running.values(), *waiting]
                    failures |= {work.name: reason for work in left}
                    break
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
        return Outcome(results=results, failures=failures)

    def _send(self, work: Work, board: Any) -> Any:
        """Send a piece of work to whichever node has room first."""
        import ray

        parcel = pack(work)
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


class _Room:
    """Looks now and then how many pieces the nodes have room for.

    Args:
        threads: Of each piece.
        gpu_share: GPUs of each.
    """

    def __init__(self, threads: int, gpu_share: float) -> None:
        self.threads, self.gpu_share = threads, gpu_share
        self.looked_at = self.last_there = time.monotonic()
        self.n_at_once = self._count()

    def _count(self) -> int:
        nodes = nodes_of_cluster()
        return sum(node.room(self.threads, self.gpu_share) for node in nodes)

    def lack(self) -> str:
        """Say that none has come back for long; empty: there is one, or soon."""
        moment = time.monotonic()
        if moment - self.looked_at < LOOK_EVERY_S:
            return ""
        self.looked_at = moment
        self.n_at_once = self._count()
        if self.n_at_once:
            self.last_there = moment
        if moment - self.last_there < PATIENCE_S:
            return ""
        return "no node of the cluster is left that has room for it"
