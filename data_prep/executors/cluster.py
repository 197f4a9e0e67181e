"""A Ray cluster: reached or started here, its nodes, and whether they fit the work."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.errors import UserError
from data_prep.executor_settings import address_of, check_answer, unreachable
from data_prep.processes import n_cores

HERE = "local"  # for Ray: start one
MANY = 1 << 30  # pieces of work, where they need none of a resource
ROUNDING = 1e-9  # 1 / 0.1 pieces are ten


@dataclass(frozen=True, kw_only=True)
class Node:
    """A machine of the cluster.

    Attributes:
        id: By which Ray knows it.
        name: For people.
        cpus: How many pieces of one thread it does at once.
        gpus: How many it has.
    """

    id: str
    name: str
    cpus: float
    gpus: float

    @property
    def text(self) -> str:
        """Its name and what it has."""
        gpus = f", {self.gpus:g} GPUs" if self.gpus else ""
        return f"{self.name} ({self.cpus:g} CPUs{gpus})"

    def room(self, cpus: int, gpu_share: float) -> int:
        """Count the pieces of work that it can do at once."""
        by_cpus = int(self.cpus // cpus) if cpus else MANY
        by_gpus = int(self.gpus / gpu_share + ROUNDING) if gpu_share else MANY
        return min(by_cpus, by_gpus)


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Be the driver of a cluster; its work ends with this.

    Args:
        address: Of it; empty: by RAY_ADDRESS, and without that one is started here.

    Raises:
        UserError: No cluster answers, or none can be started.
    """
    import ray

    if ray.is_initialized():  # by a notebook, which goes on with it
        yield
        return
    address = address_of(address) or HERE
    check_answer(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster started here
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == HERE:
        options |= {"num_cpus": n_cores(), "include_dashboard": False}
    # Ray prints a page of its own log for each node that dies
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        try:
            ray.init(address, **options)
        except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
            raise unreachable(address, str(error)) from None
        try:
            yield
        finally:
            ray.shutdown()


def nodes_of_cluster() -> list[Node]:
    """List the machines that are alive, by name."""
    import ray

    nodes = []
    for entry in ray.nodes():
        if entry["Alive"]:
            resources = entry["Resources"]
            node = Node(
                id=entry["NodeID"],
                name=f"{entry['NodeManagerHostname']} {entry['NodeID'][:4]}",
                cpus=resources.get("CPU", 0.0),
                gpus=resources.get("GPU", 0.0),
            )
            nodes.append(node)
    return sorted(nodes, key=lambda node: node.name)


def fitting(nodes: Sequence[Node], cpus: int, gpu_share: float) -> list[Node]:
    """Give the nodes that have room for a piece of work."""
    return [node for node in nodes if node.room(cpus, gpu_share)]


def check_fit(nodes: Sequence[Node], cpus: int, gpu_share: float) -> None:
    """Check that some node has room for a piece of work.

    Raises:
        UserError: None has.
    """
    if fitting(nodes, cpus, gpu_share):
        return
    shown = "; ".join(node.text for node in nodes) or "none"
    if not fitting(nodes, 0, gpu_share):
        raise UserError(
            f"gpu_share = {gpu_share:g}, but no node of the cluster has a GPU: {shown};"
            " give --gpu-share 0, or add one that has"
        )
    raise UserError(
        f"threads = {cpus}, but no node of the cluster has as many CPUs"
        f"{' and a GPU' if gpu_share else ''}: {shown}; give fewer --threads"
    )


def on_each(function: Any, nodes: Sequence[Node], *args: Any) -> Mapping[Node, Any]:
    """Call a function on each node, also on those whose CPUs are all at work.

    Args:
        function: That Ray can send.
        nodes: Where.
        args: Of it.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(function)
    references = []
    for node in nodes:
        strategy = NodeAffinitySchedulingStrategy(node.id, soft=False)
        references.append(task.options(scheduling_strategy=strategy).remote(*args))
    answers = {}
    for node, reference in zip(nodes, references, strict=True):
        try:
            answers[node] = ray.get(reference)
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, UserError):
                raise UserError(f"node {node.text}: {cause}") from None
            first = str(error).strip().splitlines()[-1]
            raise UserError(
                f"node {node.text} does not answer: {first}; take it out of the"
                " cluster, or start it anew"
            ) from None
    return answers
