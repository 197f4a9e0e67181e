"""The one training engine, on Lightning, for pretext and transfer alike.

A task is a ``Learner``: a module that turns a batch into a loss. Everything else, from
precision to the progress bar, is in this room. A batch is a function of the step
(``pretext.engine.module``), so a training that is killed and resumed from its
checkpoint ends with the same weights as one that was not.
"""

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, IterableDataset

from data_prep.arrays import Ints
from data_prep.errors import UserError
from data_prep.executors.progress import Report
from data_prep.run_folders.damage import is_whole_zip
from pretext.data.pictures import Pictures
from pretext.device import USUAL_THREADS, pick_device, set_threads, trains_in_bf16
from pretext.engine.callbacks import FollowingCallback, InPlace, TrainingCallback
from pretext.engine.followers import shared
from pretext.engine.learner import Learner
from pretext.engine.loggers import open_loggers
from pretext.engine.module import SYNCED, WORLD_SIZE, Module
from pretext.engine.ranks import EndsAtOnce, Rank, strategy_of
from pretext.names import check_optimizer
from pretext.settings import TrainingSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a training went.

    Attributes:
        steps: Optimiser steps made.
        images_per_s: Pictures per second, of all attempts, without start and measuring.
        data_share: Share of that time spent on fetching batches.
        last: The last value of each metric logged, by name.
        stopped: Why it ended early; empty: it did not.
    """

    steps: int
    images_per_s: float
    data_share: float
    last: dict[str, float]
    stopped: str = ""


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training as each of the processes that share it knows it.

    Attributes:
        learner: The module to train, in place.
        pictures: All prepared pictures.
        train_idx: (N,) rows of the pictures to train on.
        ids: N ids of those rows.
        settings: How to train.
        folder: Of the stage or net.
        checkpoint: What to go on from; None: it begins.
    """

    learner: Learner
    pictures: Pictures
    train_idx: Ints
    ids: Sequence[str]
    settings: TrainingSettings
    folder: Path
    checkpoint: Path | None

    def packed(self) -> bytes:
        """Give it as another process can open it, the learner on the CPU.

        Unlike pickle alone it takes functions within functions, of which tasks make
        their examples, and classes of the module that was started.
        """
        import cloudpickle

        device = next(self.learner.parameters()).device
        self.learner.to("cpu")
        packed: bytes = cloudpickle.dumps(self)
        self.learner.to(device)
        return packed

    def module(self, device: torch.device, rank: Rank) -> Module:
        """Join it with the learner on a device."""
        set_threads(self.settings.threads)
        learner = self.learner.to(device)
        if rank.is_shared and self.settings.sync_batchnorm:
            # torch's own would lose the activations that timm has in its norms
            from timm.layers.norm_act import convert_sync_batchnorm

            learner = convert_sync_batchnorm(learner)  # type: ignore[no-untyped-call]
        return Module(
            learner=learner,
            pictures=self.pictures,
            train_idx=self.train_idx,
            ids=self.ids,
            settings=self.settings,
            folder=self.folder,
            rank=rank,
        )

    def fit(self, module: Module, trainer: pl.Trainer) -> None:
        """Train until the end.

        Raises:
            KeyboardInterrupt: The user stopped it.
        """
        try:
            trainer.fit(
                module, _endless(), ckpt_path=self.checkpoint, weights_only=True
            )
        except SystemExit:
            # Lightning's answer to Ctrl-C, which would tell the user nothing
            raise KeyboardInterrupt from None


def train(
    learner: Learner,
    pictures: Pictures,
    train_idx: Ints,
    ids: Sequence[str],
    settings: TrainingSettings,
    folder: Path,
    *,
    label: str,
    publish: Callable[[int], Mapping[str, float] | None] | None = None,
    report: Report | None = None,
) -> Outcome:
    """Train, going on from the checkpoint in ``folder`` when there is one.

    Whoever has kept the weights deletes ``checkpoints/``; until then nothing is lost.
    Where several devices share it, this process is the first, and starts the others.

    Args:
        learner: The module to train, in place.
        pictures: All prepared pictures.
        train_idx: (N,) rows of the pictures to train on.
        ids: N ids of those rows.
        settings: How to train.
        folder: Where ``checkpoints/`` and ``logs/`` go.
        label: Name for the progress bar.
        publish: Called with the epoch (from 1) after each, in eval mode, and after the
            last step; what it returns is logged. After a crash it may be called again
            for an epoch, with the same weights. It may raise ``StopTraining``.
        report: Shows the progress in place of the bar.

    Raises:
        UserError: There are fewer pictures than the batch holds, another process of the
            training failed, or the checkpoint is of another number of them.
        DivergedError: The loss or a weight stopped being finite.
        KeyboardInterrupt: The user stopped it.
    """
    settings.check_enough(len(train_idx), label)
    check_optimizer(settings.optimizer)
    device = pick_device()
    callback = TrainingCallback(
        label=label,
        settings=settings,
        n_pictures=len(train_idx),
        folder=folder,
        device=device,
        publish=publish,
        report=report,
    )
    training = Training(
        learner=learner,
        pictures=pictures,
        train_idx=train_idx,
        ids=ids,
        settings=_with_share_of_threads(settings),
        folder=folder,
        checkpoint=_checkpoint_to_resume(folder, label, settings, len(train_idx)),
    )
    if settings.world_size > 1:
        _tell_parts(training, label)
    with (
        _quiet(),
        open_loggers(settings, folder) as loggers,
        shared(settings, device, training.packed) as rank,
    ):
        module = training.module(device, rank)
        trainer = _trainer(module, device, [callback], loggers)
        training.fit(module, trainer)
    if module.ema is not None:
        module.ema.apply()
    return Outcome(
        steps=trainer.global_step,
        images_per_s=callback.images_per_s(),
        data_share=callback.data_share(),
        last=callback.last,
        stopped=callback.stopped,
    )


def follow(training: Training, device: torch.device, rank: Rank) -> None:
    """Train as a process that is not the first: the same steps, and nothing written."""
    with _quiet():
        module = training.module(device, rank)
        callback = FollowingCallback(training.settings.accumulate)
        training.fit(module, _trainer(module, device, [callback], loggers=[]))


def _tell_parts(training: Training, label: str) -> None:
    """Say how a batch is shared, and what its batch norms see of it."""
    settings = training.settings
    has_norms = any(isinstance(m, _BatchNorm) for m in training.learner.modules())
    seen = "of the whole batch" if settings.sync_batchnorm else "of its part alone"
    log.info(
        "%s: %d processes share each batch of %d pictures%s",
        label,
        settings.world_size,
        settings.batch_size,
        f"; the batch norms of each take the statistics {seen}" * has_norms,
    )


def _with_share_of_threads(settings: TrainingSettings) -> TrainingSettings:
    """Let the processes of a machine share its cores, if nothing else is asked for."""
    if settings.world_size == 1 or settings.threads:
        return settings
    return replace(settings, threads=max(1, USUAL_THREADS // settings.devices))


def _trainer(
    module: Module,
    device: torch.device,
    callbacks: list[pl.Callback],
    loggers: list[Logger],
) -> pl.Trainer:
    """Build Lightning's trainer, of which the loop over the steps is used."""
    settings, rank = module.settings, module.rank
    is_bf16 = trains_in_bf16(settings.precision, device, module.learner)
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=rank.n_local,
        num_nodes=rank.world_size // rank.n_local,
        strategy=_strategy_of(module),
        max_steps=settings.total_steps(len(module.train_idx)),
        max_epochs=-1,
        precision="bf16-mixed" if is_bf16 else "32-true",
        gradient_clip_val=settings.clip or None,
        accumulate_grad_batches=settings.accumulate,
        logger=loggers,
        callbacks=[*callbacks, EndsAtOnce()] if rank.is_shared else callbacks,
        plugins=[InPlace()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )


def _strategy_of(module: Module) -> DDPStrategy | str:
    """Choose Lightning's strategy: alone, or with others."""
    if not module.rank.is_shared:
        return "auto"
    thaws = any(0 < group.from_epoch < math.inf for group in module.groups)
    return strategy_of(module.rank, may_skip=thaws or module.learner.freezes)


def _checkpoint_to_resume(
    folder: Path, label: str, settings: TrainingSettings, n_pictures: int
) -> Path | None:
    """Find the checkpoint to go on from, and say where; None: it begins anew.

    Raises:
        UserError: Another number of processes made it, and nobody allowed that.
    """
    checkpoint = folder / "checkpoints" / "last.ckpt"
    if is_whole_zip(checkpoint):
        content = torch.load(
            checkpoint, map_location="cpu", weights_only=True, mmap=True
        )
        if not settings.allow_other_devices:
            _check_world_size(checkpoint, content, settings)
        step, n_steps = content["global_step"], settings.total_steps(n_pictures)
        per_epoch = settings.steps_per_epoch(n_pictures)
        log.info(
            "%s: goes on in epoch %d of %d (step %d of %d, by %s)",
            label,
            min(step, n_steps - 1) // per_epoch + 1,
            -(-n_steps // per_epoch),
            step,
            n_steps,
            checkpoint,
        )
        return checkpoint
    if checkpoint.exists():  # cut off when the machine lost its power
        log.warning("%s: %s is damaged; beginning anew", label, checkpoint)
    return None


def _check_world_size(
    checkpoint: Path, content: Mapping[str, Any], settings: TrainingSettings
) -> None:
    """Refuse to go on with what would end elsewhere."""
    n_before = content.get(WORLD_SIZE, 1)  # none in one of an older version
    if n_before != settings.world_size:
        raise UserError(
            f"{checkpoint}: {n_before} device{'s' * (n_before != 1)} made it, and not"
            f" devices = {settings.devices} x num_nodes = {settings.num_nodes}; give"
            " --devices as it was, or --allow-other-devices to end with other weights"
        )
    synced = settings.world_size > 1 and settings.sync_batchnorm
    if content.get(SYNCED, synced) != synced:
        before = str(not synced).lower()
        raise UserError(
            f"{checkpoint}: it was made with sync_batchnorm = {before};"
            " give that as it was, or --allow-other-devices to end with other weights"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what libraries tell those who write programs with them."""
    # importing Lightning sets its loggers to chatter
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Lightning's advice on loaders, and what it calls in torch the old way; so does
        # MLflow in SQLAlchemy
        for package in ("pytorch_lightning", "lightning_fabric", "torch", "mlflow"):
            warnings.filterwarnings("ignore", module=package)
        yield


class _Endless(IterableDataset[int]):
    """Gives Lightning something to iterate; the step says what the batch is."""

    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0


def _endless() -> DataLoader[int]:
    return DataLoader(_Endless(), batch_size=None)
