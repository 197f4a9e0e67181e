"""The first process of a shared training: it has the others follow.

The others know nothing of commands and runs. Each waits at a store for a training,
gets it packed, trains its part, and waits for the next; ``pretext.engine.follower`` is
what it runs. Those of this machine are started here, once for a command with however
many trainings, unless torchrun has started all. What fails here or there ends all of
them: the checkpoint is kept.
"""

import atexit
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Store

from data_prep.errors import UserError
from data_prep.executors.side_by_side import how_it_ended
from data_prep.processes import torchrun_rank
from pretext.engine.ranks import ALONE, Rank, joined
from pretext.engine.store import (
    END,
    LOCALHOST,
    failure_key,
    host_store,
    join_store,
    presence_key,
    store_of_training,
    training_key,
)
from pretext.settings import TrainingSettings

GRACE_S = 30.0  # in which a process that waits for a dead one may notice by itself
NOTICED_S = 5.0  # in which a dead process is known to be dead
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Follower:
    """A process that was started here, and the store that it tells of itself in."""

    rank: int
    process: "subprocess.Popen[bytes]"
    store: Store

    def failure(self) -> str:
        """Say why it has ended; empty: it has not."""
        code = self.process.poll()
        if code is None:
            return ""
        key = failure_key(self.rank)
        reason = how_it_ended(code)
        if self.store.check([key]):
            reason = self.store.get(key).decode()
        return f"process {self.rank} of the training failed: {reason}"

    def end(self) -> None:
        """Let it end, and wait for that."""
        if self.process.stdin:
            self.process.stdin.close()  # by which it knows
        try:
            self.process.wait(NOTICED_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Followers:
    """The other processes, for as long as this command lasts.

    They are started, or if torchrun has done so, met.

    Args:
        rank: Of this process, the first.
    """

    def __init__(self, rank: Rank) -> None:
        self.rank = rank
        self.n_begun, self.is_training = 0, False
        self.children: list[_Follower] = []
        if torchrun_rank() is not None:
            self.store = join_store()
            return
        self.store, port = host_store()
        self.children = [
            _Follower(
                rank=k,
                process=_start(k, rank, port),
                store=self.store.clone(),  # this one may be held by one that waits
            )
            for k in range(1, rank.world_size)
        ]
        if self.children:
            threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def training(
        self, device: torch.device, pack: Callable[[], bytes]
    ) -> Iterator[None]:
        """Have them train with this process what is packed."""
        self._wait_until_ready()
        self.n_begun += 1
        self.store.set(training_key(self.n_begun), device.type)
        meeting = store_of_training(self.store, self.n_begun)
        self.is_training = True
        try:
            with joined(self.rank, meeting, device):
                packed = [pack()]
                dist.broadcast_object_list(packed, device=torch.device("cpu"))
                yield
        finally:
            self.is_training = False

    def failure(self) -> str:
        """Say which of those started here failed, and why; empty: none did."""
        deadline = time.monotonic() + NOTICED_S * bool(self.children)
        while True:
            for follower in self.children:
                if reason := follower.failure():
                    return reason
            if time.monotonic() > deadline:
                return ""
            time.sleep(0.1)

    def end(self) -> None:
        """Let them end."""
        with suppress(RuntimeError):  # nobody is there any more
            self.store.set(training_key(self.n_begun + 1), END)
        for follower in self.children:
            follower.end()

    def _wait_until_ready(self) -> None:
        """Wait for those that were started here to be there.

        Raises:
            UserError: One has ended before.
        """
        for follower in self.children:
            while not self.store.check([presence_key(follower.rank)]):
                if reason := follower.failure():
                    raise UserError(reason)
                time.sleep(0.05)

    def _watch(self) -> None:
        """End this process if another one has and this waits for it on a GPU.

        Between CPUs a lost connection is an error at once; between GPUs it is none.
        """
        while all(follower.process.poll() is None for follower in self.children):
            time.sleep(1.0)
        began = self.n_begun
        time.sleep(GRACE_S)
        if self.is_training and self.n_begun == began:
            log.error("error: %s", self.failure())
            os._exit(2)


_followers: Followers | None = None


@contextmanager
def shared(
    settings: TrainingSettings, device: torch.device, pack: Callable[[], bytes]
) -> Iterator[Rank]:
    """Share a training with other processes, if the settings say so.

    Args:
        settings: Of the training.
        device: Where this process trains.
        pack: Gives the training as the others can open it.

    Yields:
        The rank of this process.

    Raises:
        UserError: Another process failed.
    """
    global _followers  # noqa: PLW0603 - they outlast a training
    if settings.world_size == 1:
        yield ALONE
        return
    rank = Rank(world_size=settings.world_size, n_local=settings.devices)
    if _followers and _followers.rank != rank:
        end_all()
    if _followers is None:
        _followers = Followers(rank)
        atexit.register(end_all)
    followers = _followers
    try:
        with followers.training(device, pack):
            yield rank
    except BaseException as error:
        _followers = None
        reason = ""
        if isinstance(error, RuntimeError | dist.DistError):
            reason = followers.failure()
            if not reason and "Connection closed by peer" in str(error):
                reason = "another process of the training has ended"
        followers.end()
        if reason:
            raise UserError(
                f"{reason}; the same command goes on from the last checkpoint"
            ) from error
        raise


def end_all() -> None:
    """Let the processes that follow this one end; those of torchrun in any case."""
    global _followers  # noqa: PLW0603
    if _followers is None and torchrun_rank() is not None:
        _followers = Followers(ALONE)
    if _followers:
        _followers.end()
        _followers = None


def _start(index: int, rank: Rank, port: int) -> "subprocess.Popen[bytes]":
    """Start a process of this machine, which ends when this one has.

    Args:
        index: Its rank.
        rank: Of this process.
        port: Of the store.
    """
    environment = {
        "RANK": str(index),
        "WORLD_SIZE": str(rank.world_size),
        "LOCAL_WORLD_SIZE": str(rank.n_local),
        "MASTER_ADDR": LOCALHOST,
        "MASTER_PORT": str(port),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "pretext.engine.follower", "--with-parent"],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
