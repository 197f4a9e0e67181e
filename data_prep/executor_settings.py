"""Where a stage does its pieces of work, such as nets: the keys that say so.

A stage whose settings derive from ``ExecutorSettings`` has them as keys and flags;
``[pipeline]`` sets them for all such stages.
"""

import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from data_prep.errors import UserError
from data_prep.ranges import Ranged
from data_prep.settings import NOT_HASHED, Example, fields_of, from_table, nearest

ADDRESS = "RAY_ADDRESS"
VISIBLE = "CUDA_VISIBLE_DEVICES"  # names of the GPUs that a process may use
AUTO = "auto"  # whichever cluster this machine is of
GCS = re.compile(rb"raylet\0.*--gcs-address=([\w.:-]+)", re.DOTALL)
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
        address: Of the cluster; only one with a port is knocked at, or ``auto``.

    Raises:
        UserError: Nothing answers.
    """
    reached_at = _address_here() if address == AUTO else address
    if not reached_at:
        raise unreachable(address, "none was started on this machine")
    host, _, port = reached_at.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise unreachable(address, str(error)) from None


def _address_here() -> str:
    """Give the address of the cluster that was begun here; empty: there is none.

    Ray notes it for ``auto``; without a note it looks for processes of a cluster, which
    it may know by name alone.
    """
    if address := os.environ.get(ADDRESS, ""):
        return "" if address == AUTO else address
    note = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")
    with suppress(OSError):
        return note.read_text(encoding="utf-8").strip()
    for file in Path("/proc").glob("[0-9]*/cmdline"):  # Linux
        with suppress(OSError):  # it has ended meanwhile
            if match := GCS.search(file.read_bytes()):
                return match[1].decode()
    return "" if Path("/proc/self").exists() else AUTO


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
