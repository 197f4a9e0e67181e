"""Where the processes of shared trainings meet before they are a group.

A key for each training says that it begins, or that there are no more. torchrun has a
store already; else the first process of the command has one.
"""

import os
import socket
from datetime import timedelta

# what torch.distributed has, with its types
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

# Rank 0 may measure for hours between two epochs; what has died is noticed otherwise.
PATIENCE = timedelta(days=7)
LOCALHOST = "127.0.0.1"
WORLD = "world"  # the key by which a machine without launcher learns how many there are
END = "end"  # in place of a training; and the key by which followers say goodbye


def is_launched() -> bool:
    """Tell whether a launcher such as torchrun has started all processes."""
    return "RANK" in os.environ and "MASTER_ADDR" in os.environ


def training_key(number: int) -> str:
    """Name the key of a training of this command, from 1."""
    return f"training {number}"


def store_of_training(store: Store, number: int) -> Store:
    """Give the part of the store in which the processes of a training meet."""
    return PrefixStore(training_key(number), store)


def host_store(*, is_alone: bool) -> tuple[Store, int]:
    """Open the store as the first process.

    Args:
        is_alone: All processes are on this machine, and nobody else is let in.

    Returns:
        The store, and its port.
    """
    if is_launched() and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        return join_store(), int(os.environ["MASTER_PORT"])
    if is_launched() or not is_alone:
        port = int(os.environ["MASTER_PORT"])
        store = TCPStore(
            os.environ["MASTER_ADDR"],
            port,
            is_master=True,
            timeout=PATIENCE,
            wait_for_workers=False,
        )
        return PrefixStore("tessera", store), port
    listener = socket.create_server((LOCALHOST, 0))
    port = listener.getsockname()[1]
    store = TCPStore(
        LOCALHOST,
        port,
        is_master=True,
        timeout=PATIENCE,
        wait_for_workers=False,
        master_listen_fd=listener.detach(),
    )
    return PrefixStore("tessera", store), port


def join_store() -> Store:
    """Reach the store of the first process, as soon as it is there."""
    store = TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=False,
        timeout=PATIENCE,
        wait_for_workers=False,
    )
    return PrefixStore("tessera", store)
