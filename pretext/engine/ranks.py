"""The processes that share one training: which one this is, and where they meet.

Each has the whole learner and a part of every batch. They meet in the gradients, which
Lightning's DDP averages, in the means of the metrics, and after each epoch, when rank 0
has measured and says whether the training goes on. Rank 0 alone writes.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments.cluster_environment import (
    ClusterEnvironment,
)
from pytorch_lightning.strategies import DDPStrategy
from torch import nn
from torch._C._distributed_c10d import Store

from pretext.engine.store import PATIENCE


@dataclass(frozen=True, kw_only=True)
class Rank:
    """Which of the processes of a training this is.

    Attributes:
        index: Among all, from 0; the first one writes.
        world_size: How many there are.
        n_local: How many each machine has.
    """

    index: int = 0
    world_size: int = 1
    n_local: int = 1

    @property
    def local_index(self) -> int:
        """Which one among those of this machine, from 0: its GPU."""
        return self.index % self.n_local

    @property
    def is_shared(self) -> bool:
        """Whether there are others."""
        return self.world_size > 1


ALONE = Rank()


@contextmanager
def joined(rank: Rank, store: Store, device: torch.device) -> Iterator[None]:
    """Have a process group for one training; it is gone afterwards.

    A group that stayed would be taken for one by libraries in trainings of one process.

    Args:
        rank: Of this process.
        store: Where the processes find each other, new for each training.
        device: Where the training is.
    """
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(
        backend,
        store=store,
        rank=rank.index,
        world_size=rank.world_size,
        timeout=PATIENCE,
    )
    try:
        yield
        dist.all_reduce(torch.zeros(1))  # nobody leaves while another still reads
    except BaseException:
        if rank.index == 0:  # the others end, and what they wait for need not be undone
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def agree(*, is_true: bool) -> bool:
    """Give all processes what rank 0 says; each waits for it without a GPU."""
    answer = torch.tensor([is_true])
    dist.broadcast(answer, src=0)
    return bool(answer.item())


def strategy_of(rank: Rank, *, may_skip: bool) -> DDPStrategy:
    """Give Lightning the strategy of a training that is shared.

    Args:
        rank: Of this process.
        may_skip: Some parameters have no gradient in some steps; DDP looks for them.
    """
    return _MeetingInGradients(
        cluster_environment=_Started(rank),
        timeout=PATIENCE,
        find_unused_parameters=may_skip,
        broadcast_buffers=False,  # those of rank 0 are kept, and none is needed before
    )


class _MeetingInGradients(DDPStrategy):
    """DDP whose processes wait for each other in the gradients and nowhere else."""

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        """Wait for nobody: rank 0 writes a checkpoint when it is due, by its clock."""


class _Started(ClusterEnvironment):
    """Tells Lightning that all processes of a training have been started."""

    def __init__(self, rank: Rank) -> None:
        super().__init__()
        self.rank = rank

    @property
    def creates_processes_externally(self) -> bool:
        """Whether Lightning has none to start."""
        return True

    @property
    def main_address(self) -> str:
        """Where they meet, which they have done already."""
        return ""

    @property
    def main_port(self) -> int:
        """By which port."""
        return 0

    @staticmethod
    def detect() -> bool:
        """Whether Lightning is to choose it unasked."""
        return False

    def world_size(self) -> int:
        """Count the processes."""
        return self.rank.world_size

    def set_world_size(self, size: int) -> None:
        """Keep what is known."""

    def global_rank(self) -> int:
        """Give the number of this process among all."""
        return self.rank.index

    def set_global_rank(self, rank: int) -> None:
        """Keep what is known."""

    def local_rank(self) -> int:
        """Give its number among those of this machine."""
        return self.rank.local_index

    def node_rank(self) -> int:
        """Give the number of this machine."""
        return self.rank.index // self.rank.n_local


class EndsAtOnce(pl.Callback):
    """SIGTERM ends a shared training like Ctrl-C.

    Lightning would tell the others by a message of its own in each step, which waits
    for the GPU, and out of turn in the handler, which may never arrive.
    """

    def on_train_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Take back what Lightning has put there."""
        del pl_module
        epoch_loop: Any = trainer.fit_loop.epoch_loop
        epoch_loop._broadcast_sigterm_tensor = lambda: None
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def measuring_alone(network: nn.Module) -> Iterator[None]:
    """Let rank 0 send pictures through a network without the other processes."""
    norms = [m for m in network.modules() if isinstance(m, nn.SyncBatchNorm)]
    if not (norms and dist.is_initialized()):
        yield
        return
    group = dist.new_group([0], use_local_synchronization=True)
    for norm in norms:
        norm.process_group = group
    try:
        yield
    finally:
        for norm in norms:
            norm.process_group = None
        dist.destroy_process_group(group)
