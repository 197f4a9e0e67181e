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
END = "end"  # in place of the device of a training


def training_key(number: int) -> str:
    """Name the key of a training of this command, from 1."""
    return f"training {number}"


def presence_key(rank: int) -> str:
    """Name the key by which a process says that it is ready."""
    return f"ready {rank}"


def failure_key(rank: int) -> str:
    """Name the key by which a process says why it failed."""
    return f"failure {rank}"


def store_of_training(store: Store, number: int) -> Store:
    """Give the part of the store in which the processes of a training meet."""
    return PrefixStore(training_key(number), store)


def host_store() -> tuple[Store, int]:
    """Open a store in this process, for processes of this machine.

    Returns:
        The store, and its port.
    """
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
    return _of_attempt(store), port


def join_store() -> Store:
    """Reach the store of torchrun, or of the process that started this one."""
    store = TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=False,
        timeout=PATIENCE,
        wait_for_workers=False,
    )
    return _of_attempt(store)


def _of_attempt(store: Store) -> Store:
    """Keep apart what torchrun starts again after a failure."""
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"tessera {attempt}", store)
