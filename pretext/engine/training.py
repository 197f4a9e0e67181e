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
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from pretext.data.keyed_rng import keys_of, shuffled
from pretext.data.pictures import Pictures
from pretext.device import pick_device, set_threads, use_bf16
from pretext.engine.callbacks import LOG_EVERY_STEPS, InPlace, Watch
from pretext.engine.ema import Average
from pretext.engine.learner import Batch, Learner
from pretext.engine.optimizers import build_optimizer, rate_at
from pretext.names import check_optimizer
from pretext.settings import TrainingSettings

log = logging.getLogger(__name__)


class DivergedError(UserError):
    """The loss is no longer a finite number."""


@dataclass(frozen=True)
class Outcome:
    """How a training went.

    Attributes:
        steps: Optimiser steps made.
        images_per_s: Pictures per second of this process, without start and measuring.
        data_share: Share of that time spent on fetching batches.
        last: The last value of each thing logged.
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
    rows: NDArray[np.int64],
    ids: Sequence[str],
    settings: TrainingSettings,
    folder: Path,
    *,
    label: str,
    publish: Callable[[int], Mapping[str, float] | None] | None = None,
) -> Outcome:
    """Train, going on from the checkpoint in ``folder`` when there is one.

    Whoever has kept the weights deletes ``checkpoints/``; until then nothing is lost.

    Args:
        learner: The module to train, in place.
        pictures: All prepared pictures.
        rows: (N,) rows of the pictures to train on.
        ids: N ids of those rows.
        settings: How to train.
        folder: Where ``checkpoints/`` and ``logs/`` go.
        label: Name for the progress bar.
        publish: Called with the epoch (from 1) after each, in eval mode, and after the
            last step; what it returns is logged. After a crash it may be called again
            for an epoch, with the same weights. It may raise ``StopTraining``.

    Raises:
        UserError: There are fewer pictures than the batch holds.
        DivergedError: The loss or a weight stopped being finite.
        KeyboardInterrupt: The user stopped it.
    """
    settings.check_enough(len(rows), label)
    check_optimizer(settings.optimizer)
    device = pick_device()
    set_threads(settings.threads)
    module = Module(learner.to(device), pictures, rows, ids, settings, folder)
    watch = Watch(label, settings, len(rows), folder, publish)
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
            max_steps=settings.total_steps(len(rows)),
            max_epochs=-1,
            precision="bf16-mixed" if is_bf16 else "32-true",
            gradient_clip_val=settings.clip or None,
            accumulate_grad_batches=settings.accumulate,
            logger=TensorBoardLogger(folder / "logs", name="", version=""),
            callbacks=[watch],
            plugins=[InPlace()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
        )
        resume = checkpoint if _is_whole(checkpoint) else None
        if resume:
            log.info("%s: going on from %s", label, resume)
        elif checkpoint.exists():  # cut off when the machine lost its power
            log.warning("%s: %s is damaged; beginning anew", label, checkpoint)
        try:
            trainer.fit(module, _endless(), ckpt_path=resume, weights_only=True)
        except SystemExit:
            # Lightning's answer to Ctrl-C, which would tell the user nothing
            raise KeyboardInterrupt from None
    if module.average is not None:
        module.average.apply()
    return Outcome(
        *(trainer.global_step, watch.rate(), watch.data_share(), watch.last),
        watch.stopped,
    )


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


class Module(pl.LightningModule):
    """Joins learner, pictures and settings for Lightning."""

    def __init__(
        self,
        learner: Learner,
        pictures: Pictures,
        rows: NDArray[np.int64],
        ids: Sequence[str],
        settings: TrainingSettings,
        folder: Path,
    ) -> None:
        super().__init__()
        self.learner = learner
        self.pictures = pictures
        self.rows, self.ids, self.keys = rows, ids, keys_of(ids)
        self.settings, self.folder = settings, folder
        self.average = Average(learner, settings.ema) if settings.ema else None
        self.fetch_s = 0.0
        self.measured: dict[str, Tensor] = {}
        self._order: tuple[int, NDArray[np.int64]] = (-1, rows)
        if settings.compile:
            for part in learner.children():
                part.compile()

    def batch_of(self, step: int, part: int = 0) -> Batch:
        """Cut out a batch of an optimiser step: a function of (seed, step, part)."""
        settings, n = self.settings, len(self.rows)
        size, seed = settings.batch_size, settings.seed
        epoch, place = divmod(step, settings.steps_per_epoch(n))
        if self._order[0] != epoch:
            self._order = (epoch, shuffled(self.keys, seed=seed, epoch=epoch))
        start = (place * settings.accumulate + part) * size
        # sorted, so that the memory map is read forward
        chosen = np.sort(self._order[1][start : start + size])
        rows = self.rows[chosen]
        scale = settings.scale_at(step, settings.total_steps(n))
        images = self.pictures.take(rows)
        return Batch(images, rows, self.keys[chosen], seed, epoch, scale)

    def training_step(self, _: Any, batch_idx: int) -> Tensor:
        """Give the loss of the step that the trainer is at."""
        step, parts = self.trainer.global_step, self.settings.accumulate
        part = batch_idx % parts
        # dropout and the like: their state need not be kept if it is a function of step
        forward = step * parts + part
        torch.manual_seed((self.settings.seed * 1_000_003 + forward) % 2**63)
        began = time.perf_counter()
        batch = self.batch_of(step, part)
        self.fetch_s += time.perf_counter() - began
        measured = self.learner.loss(batch)
        # a GPU would have to wait for the answer, so it is asked less often
        is_asked = step % LOG_EVERY_STEPS == 0 or not measured["loss"].is_cuda
        if is_asked and not torch.isfinite(measured["loss"]):
            kept = self._keep_ids(batch, step)
            what = f"the loss is {measured['loss'].item()}"
            raise self.diverged(what, step, f"; the pictures of that batch: {kept}")
        before = self.measured if part else {}
        self.measured = {
            name: before.get(name, 0) + value.detach() / parts
            for name, value in measured.items()
        }
        return measured["loss"]

    def diverged(self, what: str, step: int, where: str = "") -> DivergedError:
        """Say what is no longer finite, where, and what may help."""
        total = self.trainer.max_steps
        return DivergedError(
            f"{what} at step {step} of {total}; give a smaller --learning-rate{where}"
        )

    def _keep_ids(self, batch: Batch, step: int) -> Path:
        """List the pictures of a batch in a file, with what may be wrong with them."""
        id_of = dict(zip(self.rows.tolist(), self.ids, strict=True))
        levels = batch.images.float().flatten(1)
        described = zip(batch.rows.tolist(), levels.mean(1), levels.std(1), strict=True)
        lines = [f"{id_of[row]},{mean:.1f},{std:.1f}" for row, mean, std in described]
        file = self.folder / "logs" / f"diverged_at_step{step}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        text = "\n".join(["id,mean_level,std_level", *lines, ""])
        file.write_text(text, encoding="utf-8")
        return file

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the average with the weights."""
        if self.average is not None:
            checkpoint["average"] = self.average.tensors

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the average."""
        if self.average is not None:
            self.average.load(checkpoint["average"])

    def configure_optimizers(self) -> Any:
        """Group the parameters by decay and by schedule."""
        settings = self.settings
        constant = {id(p) for p in self.learner.constant_rate()}
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for parameter in self.learner.parameters():
            if not parameter.requires_grad:  # such as a teacher's
                continue
            # no decay for biases and norms: Goyal et al. 2017, arXiv 1706.02677
            kind = (id(parameter) in constant, parameter.ndim > 1)
            groups.setdefault(kind, []).append(parameter)
        options: list[dict[str, Any]] = [
            {"params": members, "weight_decay": settings.weight_decay * is_decayed}
            for (_, is_decayed), members in groups.items()
        ]
        optimizer = build_optimizer(settings.optimizer, options, settings.peak_rate)
        total, warmup = settings.total_steps(len(self.rows)), settings.warmup
        curves = [
            (lambda _: 1.0)
            if is_constant
            else (lambda step: rate_at(settings.schedule, step, total, warmup))
            for is_constant, _ in groups
        ]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, curves)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
