"""The one training engine: Lightning, and a batch that is a function of the step.

Which pictures a step sees, how they are cropped and what dropout drops follow from
(seed, step) alone. A training that is killed and resumed from its checkpoint therefore
ends with the same weights as one that was not, and no loader has a state to keep.

A task is a ``Learner``: a module that turns a batch into a loss. Everything else, from
precision to the progress bar, is here, for pretext and transfer alike.
"""

import logging
import time
import warnings
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from data_prep.errors import UserError
from pretext.draws import shuffled
from pretext.pictures import Pictures
from pretext.settings import TrainingSettings
from pretext.watch import LOG_EVERY_STEPS, InPlace, Watch

USUAL_THREADS = torch.get_num_threads()  # knows OMP_NUM_THREADS and the affinity
log = logging.getLogger(__name__)


class DivergedError(UserError):
    """The loss is no longer a finite number."""


@dataclass(frozen=True)
class Batch:
    """One step's pictures.

    Attributes:
        images: (B, 3, S, S) uint8 on the device.
        rows: (B,) rows of the pictures in the prepared table.
        keys: (B,) keys for ``pretext.draws``.
        seed: Seed of the training.
        epoch: Pass over the pictures, from 0.
    """

    images: Tensor
    rows: NDArray[np.int64]
    keys: NDArray[np.uint64]
    seed: int
    epoch: int


class Learner(nn.Module, ABC):
    """What is trained: give the loss of a batch."""

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return scalars to log; ``"loss"`` is minimised."""

    def constant_rate(self) -> list[nn.Parameter]:
        """List the parameters whose learning rate does not follow the schedule."""
        return []

    def after_epoch(self, epoch: int) -> dict[str, float]:
        """Measure after an epoch, in eval mode; ``epoch`` counts from 1."""
        del epoch
        return {}


@dataclass(frozen=True)
class Outcome:
    """How a training went.

    Attributes:
        steps: Optimiser steps made.
        images_per_s: Pictures per second of this process, without start and measuring.
        data_share: Share of that time spent on fetching batches.
        last: The last value of each thing logged.
    """

    steps: int
    images_per_s: float
    data_share: float
    last: dict[str, float]


def train(
    learner: Learner,
    pictures: Pictures,
    rows: NDArray[np.int64],
    keys: NDArray[np.uint64],
    settings: TrainingSettings,
    folder: Path,
    *,
    label: str,
    publish: Callable[[int], None] | None = None,
) -> Outcome:
    """Train, going on from the checkpoint in ``folder`` when there is one.

    Whoever has kept the weights deletes ``checkpoints/``; until then nothing is lost.

    Args:
        learner: The module to train, in place.
        pictures: All prepared pictures.
        rows: (N,) rows of the pictures to train on.
        keys: (N,) keys of those rows.
        settings: How to train.
        folder: Where ``checkpoints/`` and ``logs/`` go.
        label: Name for the progress bar.
        publish: Called with the epoch (from 1) after each, in eval mode. After a crash
            it may be called again for an epoch, with the same weights.

    Raises:
        UserError: There are fewer pictures than the batch holds.
        DivergedError: The loss or a weight stopped being finite.
        KeyboardInterrupt: The user stopped it.
    """
    if len(rows) < settings.batch_size:
        raise UserError(
            f"batch_size = {settings.batch_size}, but {label} has only {len(rows)}"
            f" picture{'s' * (len(rows) != 1)} to train on; give a smaller --batch-size"
        )
    device = pick_device()
    set_threads(settings.threads)
    steps_per_epoch = len(rows) // settings.batch_size
    module = Module(learner.to(device), pictures, rows, keys, settings)
    watch = Watch(label, settings.batch_size, steps_per_epoch, folder, publish)
    checkpoint = folder / "checkpoints" / "last.ckpt"
    is_bf16 = use_bf16(settings.precision, device)
    # importing Lightning sets its loggers to chatter
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Lightning's advice on loaders, and what it calls in torch the old way
        for package in ("pytorch_lightning", "lightning_fabric", "torch"):
            warnings.filterwarnings("ignore", module=package)
        trainer = pl.Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            max_steps=settings.epochs * steps_per_epoch,
            max_epochs=-1,
            precision="bf16-mixed" if is_bf16 else "32-true",
            gradient_clip_val=settings.clip or None,
            logger=TensorBoardLogger(folder / "logs", name="", version=""),
            callbacks=[watch],
            plugins=[InPlace()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
        )
        resume = checkpoint if zipfile.is_zipfile(checkpoint) else None
        if resume:
            log.info("%s: going on from %s", label, resume)
        elif checkpoint.exists():  # cut off when the machine lost its power
            log.warning("%s: %s is damaged; beginning anew", label, checkpoint)
        try:
            trainer.fit(module, _endless(), ckpt_path=resume, weights_only=True)
        except SystemExit:
            # Lightning's answer to Ctrl-C, which would tell the user nothing
            raise KeyboardInterrupt from None
    return Outcome(trainer.global_step, watch.rate(), watch.data_share(), watch.last)


def pick_device() -> torch.device:
    """Choose the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def set_threads(threads: int) -> None:
    """Give torch a number of threads; 0: as many as it takes unasked."""
    torch.set_num_threads(threads or USUAL_THREADS)


def use_bf16(precision: str, device: torch.device) -> bool:
    """Decide on bfloat16: emulated it is slower than float32, so ask the hardware."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and _has_bf16_units()


def _has_bf16_units() -> bool:
    # Linux names the units; elsewhere float32 is the safe choice
    info = Path("/proc/cpuinfo")
    flags = info.read_text(encoding="utf-8") if info.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


class _Endless(IterableDataset[int]):
    """Gives Lightning something to iterate; the step says what the batch is."""

    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0


def _endless() -> DataLoader[int]:
    return DataLoader(_Endless(), batch_size=None)


class Module(pl.LightningModule):
    """Joins learner, pictures and settings for Lightning."""

    def __init__(
        self,
        learner: Learner,
        pictures: Pictures,
        rows: NDArray[np.int64],
        keys: NDArray[np.uint64],
        settings: TrainingSettings,
    ) -> None:
        super().__init__()
        self.learner = learner
        self.pictures = pictures
        self.rows, self.keys = rows, keys
        self.settings = settings
        self.fetch_s = 0.0
        self.measured: dict[str, Tensor] = {}
        self._order: tuple[int, NDArray[np.int64]] = (-1, rows)

    def batch_of(self, step: int) -> Batch:
        """Cut out the batch of an optimiser step: a function of (seed, step)."""
        size, seed = self.settings.batch_size, self.settings.seed
        epoch, place = divmod(step, len(self.rows) // size)
        if self._order[0] != epoch:
            self._order = (epoch, shuffled(self.keys, seed=seed, epoch=epoch))
        # sorted, so that the memory map is read forward
        chosen = np.sort(self._order[1][place * size : (place + 1) * size])
        rows = self.rows[chosen]
        return Batch(self.pictures.take(rows), rows, self.keys[chosen], seed, epoch)

    def training_step(self, _: Any, batch_idx: int) -> Tensor:
        """Give the loss of the step that the trainer is at."""
        del batch_idx
        step = self.trainer.global_step
        # dropout and the like: their state need not be kept if it is a function of step
        torch.manual_seed((self.settings.seed * 1_000_003 + step) % 2**63)
        began = time.perf_counter()
        batch = self.batch_of(step)
        self.fetch_s += time.perf_counter() - began
        measured = self.learner.loss(batch)
        # a GPU would have to wait for the answer, so it is asked less often
        is_asked = step % LOG_EVERY_STEPS == 0 or not measured["loss"].is_cuda
        if is_asked and not torch.isfinite(measured["loss"]):
            raise self.diverged(f"the loss is {measured['loss'].item()}", step)
        self.measured = {name: value.detach() for name, value in measured.items()}
        return measured["loss"]

    def diverged(self, what: str, step: int) -> DivergedError:
        """Say what is no longer finite, where, and what may help."""
        total = self.trainer.max_steps
        return DivergedError(
            f"{what} at step {step} of {total}; give a smaller --learning-rate"
        )

    def configure_optimizers(self) -> Any:
        """Group the parameters by decay and by schedule."""
        settings = self.settings
        constant = {id(p) for p in self.learner.constant_rate()}
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for parameter in self.learner.parameters():
            # no decay for biases and norms: Goyal et al. 2017, arXiv 1706.02677
            kind = (id(parameter) in constant, parameter.ndim > 1)
            groups.setdefault(kind, []).append(parameter)
        options: list[dict[str, Any]] = [
            {"params": members, "weight_decay": settings.weight_decay * is_decayed}
            for (_, is_decayed), members in groups.items()
        ]
        optimizer: torch.optim.Optimizer
        if settings.optimizer == "sgd":
            optimizer = torch.optim.SGD(options, settings.learning_rate, momentum=0.9)
        else:
            optimizer = torch.optim.AdamW(options, settings.learning_rate)
        total = self.trainer.max_steps
        curves = [
            (lambda _: 1.0)
            if is_constant
            else (lambda step: cosine_with_warmup(step, total, settings.warmup))
            for is_constant, _ in groups
        ]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, curves)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def cosine_with_warmup(step: int, total: int, warmup: float) -> float:
    """Give the share of the peak learning rate at a step: linear up, cosine to 0."""
    rising = round(total * warmup)
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(1, total - rising)
    return float(0.5 * (1 + np.cos(np.pi * min(1.0, done))))
