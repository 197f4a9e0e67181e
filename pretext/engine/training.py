"""The one training engine, on Lightning, for pretext and transfer alike.

A task is a ``Learner``: a module that turns a batch into a loss. Everything else, from
precision to the progress bar, is in this room. A batch is a function of the step
(``pretext.engine.module``), so a training that is killed and resumed from its
checkpoint ends with the same weights as one that was not.
"""

import logging
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from torch.utils.data import DataLoader, IterableDataset

from data_prep.arrays import Ints
from data_prep.executors.progress import Report
from pretext.data.pictures import Pictures
from pretext.device import pick_device, set_threads, use_bf16
from pretext.engine.callbacks import InPlace, TrainingCallback
from pretext.engine.learner import Learner
from pretext.engine.loggers import open_loggers
from pretext.engine.module import Module
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
        UserError: There are fewer pictures than the batch holds.
        DivergedError: The loss or a weight stopped being finite.
        KeyboardInterrupt: The user stopped it.
    """
    settings.check_enough(len(train_idx), label)
    check_optimizer(settings.optimizer)
    device = pick_device()
    set_threads(settings.threads)
    module = Module(
        learner=learner.to(device),
        pictures=pictures,
        train_idx=train_idx,
        ids=ids,
        settings=settings,
        folder=folder,
    )
    callback = TrainingCallback(
        label=label,
        settings=settings,
        n_pictures=len(train_idx),
        folder=folder,
        device=device,
        publish=publish,
        report=report,
    )
    with _quiet(), open_loggers(settings, folder) as loggers:
        trainer = _trainer(module, device, callback, loggers)
        resume = _checkpoint_to_resume(folder, label)
        try:
            trainer.fit(module, _endless(), ckpt_path=resume, weights_only=True)
        except SystemExit:
            # Lightning's answer to Ctrl-C, which would tell the user nothing
            raise KeyboardInterrupt from None
    if module.ema is not None:
        module.ema.apply()
    return Outcome(
        steps=trainer.global_step,
        images_per_s=callback.images_per_s(),
        data_share=callback.data_share(),
        last=callback.last,
        stopped=callback.stopped,
    )


def _trainer(
    module: Module,
    device: torch.device,
    callback: TrainingCallback,
    loggers: list[Logger],
) -> pl.Trainer:
    """Build Lightning's trainer, of which the loop over the steps is used."""
    settings = module.settings
    is_bf16 = use_bf16(settings.precision, device)
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        max_steps=settings.total_steps(len(module.train_idx)),
        max_epochs=-1,
        precision="bf16-mixed" if is_bf16 else "32-true",
        gradient_clip_val=settings.clip or None,
        accumulate_grad_batches=settings.accumulate,
        logger=loggers,
        callbacks=[callback],
        plugins=[InPlace()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )


def _checkpoint_to_resume(folder: Path, label: str) -> Path | None:
    """Find the checkpoint to go on from, and say so; None: it begins anew."""
    checkpoint = folder / "checkpoints" / "last.ckpt"
    if _is_whole(checkpoint):
        log.info("%s: going on from %s", label, checkpoint)
        return checkpoint
    if checkpoint.exists():  # cut off when the machine lost its power
        log.warning("%s: %s is damaged; beginning anew", label, checkpoint)
    return None


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


def _is_whole(checkpoint: Path) -> bool:
    """Tell whether all parts of a checkpoint, which is a zip file, fit their sums."""
    try:
        with zipfile.ZipFile(checkpoint) as parts:
            return parts.testzip() is None
    except FileNotFoundError:
        return False
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError):
        return False


class _Endless(IterableDataset[int]):
    """Gives Lightning something to iterate; the step says what the batch is."""

    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0


def _endless() -> DataLoader[int]:
    return DataLoader(_Endless(), batch_size=None)
