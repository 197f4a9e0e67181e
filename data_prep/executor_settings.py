"""Where a stage does its pieces of work, such as nets: the keys that say so.

A stage whose settings derive from ``ExecutorSettings`` has them as keys and flags;
``[pipeline]`` sets them for all such stages.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from data_prep.errors import UserError
from data_prep.ranges import Ranged
from data_prep.settings import NOT_HASHED, Example, fields_of, from_table, nearest

ADDRESS = "RAY_ADDRESS"
VISIBLE = "CUDA_VISIBLE_DEVICES"  # names of the GPUs that a process may use
ANSWER_S = 5.0

Executor = Literal["here", "processes", "ray"]


@dataclass(frozen=True, kw_only=True)
class ExecutorSettings(Ranged):
    """Where pieces of work are done, and how many at once. No result depends on it."""

    executor: Annotated[
        Executor | None,
        "where pieces of work, such as nets, are done: here, one after another;"
        " processes, each in one with its share of the cores, or the GPUs in turn; or"
        " ray, on a cluster; left out: processes where jobs is more than 1, else here",
        NOT_HASHED,
        Example("processes"),
    ] = None
    jobs: Annotated[
        int | None,
        "pieces of work at once; left out: with processes one for each GPU or core,"
        " with ray as many as there is room for, else 1",
        NOT_HASHED,
        Gt(0),
        Example(2),
    ] = None
    address: Annotated[
        str,
        "of the Ray cluster, such as HOST:6379, ray://HOST:10001 or auto; left out: as"
        " RAY_ADDRESS says, else one is started here",
        NOT_HASHED,
        Example("auto"),
    ] = ""
    gpu_share: Annotated[
        float | None,
        "with ray: share of a GPU for each piece of work, such as 0.25; left out: all"
        " of one, where the cluster has some",
        NOT_HASHED,
        Ge(0),
        Le(1),
        Example(0.25),
    ] = None

    def __post_init__(self) -> None:
        """Check the ranges, that one process does one piece at a time, and for Ray.

        Raises:
            UserError: They do not go together, or Ray is not installed.
        """
        super().__post_init__()
        if self.executor == "ray" and find_spec("ray") is None:
            raise UserError(
                "executor = 'ray', but Ray is not installed: pip install"
                " 'tessera-pictures[ray]', or give executor = 'processes'"
            )
        if self.executor == "here" and (self.jobs or 1) > 1:
            raise UserError(
                f"jobs = {self.jobs}, but executor = 'here' does one piece of work"
                " after another; give executor = 'processes', or take it out"
            )

    @property
    def kind(self) -> Executor:
        """The executor, chosen or by the number of jobs."""
        return self.executor or ("processes" if (self.jobs or 1) > 1 else "here")

    def check_cluster(self) -> None:
        """Check that the cluster is there, before there is anything to do on it.

        Raises:
            UserError: Nothing answers at its address.
        """
        if self.kind == "ray":
            check_answer(address_of(self.address))


def address_of(address: str) -> str:
    """Give the address of the cluster as Ray would; empty: there is none yet."""
    return address or os.environ.get(ADDRESS, "")


def check_answer(address: str) -> None:
    """Knock before Ray does, which would wait for minutes and end the process.

    Args:
        address: Of the cluster; only one with a port is knocked at.

    Raises:
        UserError: Nothing answers.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise unreachable(address, str(error)) from None


def unreachable(address: str, reason: str) -> UserError:
    """Say that there is no cluster at an address."""
    return UserError(
        f"address = {address!r}: no Ray cluster answers ({' '.join(reason.split())});"
        " start one by ray start --head and give the address that it says, or leave"
        " address (and RAY_ADDRESS) out to start one here"
    )


def of_all_stages(
    table: Mapping[str, Any], location: str, settings_class: type[Any]
) -> dict[str, Any]:
    """Give the keys of ``[pipeline]`` that a stage takes, checked.

    Args:
        table: Of the pipeline.
        location: Of it, for messages.
        settings_class: Of the stage.

    Raises:
        UserError: A key is unknown, or a value does not fit.
    """
    if not issubclass(settings_class, ExecutorSettings):
        return {}
    shared = {key: value for key, value in table.items() if key != "stages"}
    declared = fields_of(ExecutorSettings)
    for key in shared:
        if key not in declared:
            hint = nearest(key, ["stages", *declared], is_key=True)
            raise UserError(f"{location}: unknown key {key!r}; {hint}")
    from_table(ExecutorSettings, shared, location, {})
    return shared
