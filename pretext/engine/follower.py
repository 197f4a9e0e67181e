"""What a process of a shared training does that is not the first: it follows.

It is started by ``pretext.engine.followers``, or is what becomes of a command that
torchrun has started as any rank but 0 (``data_prep.command``). It reads no settings,
writes nothing and says nothing but why it failed.
"""

import logging
import os
import pickle
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Store

from data_prep.command import reason_of, run_main
from data_prep.errors import UserError
from pretext.engine.ranks import Rank, joined
from pretext.engine.store import (
    END,
    failure_key,
    join_store,
    presence_key,
    store_of_training,
    training_key,
)
from pretext.engine.training import follow


def main() -> None:
    """Train what the first process has to train, until it has no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends all
    logging.getLogger().setLevel(logging.WARNING)
    if "--with-parent" in sys.argv:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    rank = Rank(
        index=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        n_local=int(os.environ["LOCAL_WORLD_SIZE"]),
    )
    store = join_store()
    store.set(presence_key(rank.index), "")
    try:
        _follow_all(store, rank)
    except (dist.DistNetworkError, dist.DistStoreError):
        raise UserError("the first process of the training has ended") from None
    except Exception as error:
        with suppress(dist.DistError):  # nobody is there to be told
            store.set(failure_key(rank.index), reason_of(error))
        raise


def _follow_all(store: Store, rank: Rank) -> None:
    """Train what the store announces, until there is no more."""
    number = 1
    while (kind := store.get(training_key(number)).decode()) != END:
        _follow(torch.device(kind), rank, store_of_training(store, number))
        number += 1


def _follow(device: torch.device, rank: Rank, store: Store) -> None:
    """Open a training and train."""
    if device.type == "cuda":
        torch.cuda.set_device(rank.local_index)  # where "cuda" is from now on
    with joined(rank, store, device):
        packed: list[Any] = [None]
        dist.broadcast_object_list(packed, device=torch.device("cpu"))
        follow(pickle.loads(packed[0]), device, rank)


def _end_with_parent() -> None:
    """End when the process that started this one has ended, maybe by a kill."""
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    try:
        run_main(main)
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(end.code or 0))  # a group that is torn may abort a cleaner end
