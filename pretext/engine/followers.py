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
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

import torch
import torch.distributed as dist

from data_prep.errors import UserError
from pretext.engine.ranks import ALONE, Rank, joined
from pretext.engine.store import (
    END,
    LOCALHOST,
    WORLD,
    host_store,
    is_launched,
    store_of_training,
    training_key,
)
from pretext.settings import TrainingSettings

GRACE_S = 30.0  # in which a process that waits for a dead one may notice by itself
NOTICED_S = 5.0  # in which a dead process is known to be dead
END_OF_LOG = 20_000  # bytes that an error is looked for in
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Follower:
    """A process that was started here, and the file that its output goes into."""

    rank: int
    process: "subprocess.Popen[bytes]"
    output: IO[bytes]

    def failure(self) -> str:
        """Say why it has ended; empty: it has not."""
        code = self.process.poll()
        if code is None:
            return ""
        self.output.seek(max(0, self.output.seek(0, os.SEEK_END) - END_OF_LOG))
        lines = self.output.read().decode(errors="replace").strip().splitlines()
        reason = f"it ended with status {code}"
        if code < 0:
            reason = f"it was ended by signal {-code}, perhaps for want of memory"
        elif lines:
            reason = lines[-1].removeprefix("error: ")
        return f"process {self.rank} of the training failed: {reason}"


class Followers:
    """The other processes, for as long as this command lasts.

    Those of this machine are started, or those that have been started are met.

    Args:
        settings: Say how many there are.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self.rank = Rank(world_size=settings.world_size, n_local=settings.devices)
        self.store, port = host_store(is_alone=settings.num_nodes == 1)
        self.n_begun, self.is_training = 0, False
        self.children: list[_Follower] = []
        if not is_launched():
            self.store.set(WORLD, f"{self.rank.world_size} {self.rank.n_local}")
            self.children = start_followers(self.rank, port)
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def training(
        self, device: torch.device, pack: Callable[[], bytes]
    ) -> Iterator[None]:
        """Have them train with this process what is packed."""
        self.n_begun += 1
        self.store.set(training_key(self.n_begun), device.type)
        meeting = store_of_training(self.store, self.n_begun)
        with joined(self.rank, meeting, device):
            dist.broadcast_object_list([pack()], device=torch.device("cpu"))
            self.is_training = True
            try:
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
        end_followers(self.children)
        n_elsewhere = self.rank.world_size - 1 - len(self.children)
        deadline = time.monotonic() + NOTICED_S
        with suppress(RuntimeError):  # they read the store of this process
            while self.store.add(END, 0) < n_elsewhere and time.monotonic() < deadline:
                time.sleep(0.1)

    def _watch(self) -> None:
        """End this process if another one has and it waits for that on a GPU.

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
    if _followers and _followers.rank.world_size != settings.world_size:
        end_all()
    if _followers is None:
        _followers = Followers(settings)
        atexit.register(end_all)
    followers = _followers
    try:
        with followers.training(device, pack):
            yield followers.rank
    except BaseException as error:
        _followers = None
        reason = ""
        if isinstance(error, RuntimeError | dist.DistError):
            reason = followers.failure()
        followers.end()
        if reason:
            raise UserError(
                f"{reason}; the same command goes on from the last checkpoint"
            ) from error
        raise


def end_all() -> None:
    """Let the processes that follow this one end, if there are any."""
    global _followers  # noqa: PLW0603
    if _followers:
        _followers.end()
        _followers = None


def start_followers(rank: Rank, port: int) -> list[_Follower]:
    """Start the other processes of this machine; each ends when this one has.

    Args:
        rank: Of this process, the first of this machine.
        port: Of the store.
    """
    followers = []
    for index in range(rank.index + 1, rank.index + rank.n_local):
        output = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        environment = {
            "RANK": str(index),
            "WORLD_SIZE": str(rank.world_size),
            "LOCAL_WORLD_SIZE": str(rank.n_local),
            "MASTER_ADDR": os.environ.get("MASTER_ADDR", LOCALHOST),
            "MASTER_PORT": str(port),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "pretext.engine.follower", "--with-parent"],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        followers.append(_Follower(rank=index, process=process, output=output))
    return followers


def end_followers(followers: Sequence[_Follower]) -> None:
    """Let processes that were started here end, and wait for it."""
    for follower in followers:
        if follower.process.stdin:
            follower.process.stdin.close()  # by which they know
    for follower in followers:
        try:
            follower.process.wait(NOTICED_S)
        except subprocess.TimeoutExpired:
            follower.process.kill()
            follower.process.wait()
        follower.output.close()
