"""The Lightning module: learner, pictures and settings joined, a batch for each step.

Which pictures a step sees, how they are cropped and what dropout drops follow from
(seed, step) alone, so no loader has a state to keep.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from data_prep.arrays import Ints
from data_prep.errors import UserError
from pretext.data.keyed_rng import keys_of, shuffled
from pretext.data.pictures import Pictures
from pretext.engine.ema import WeightEma
from pretext.engine.learner import Batch, Learner
from pretext.engine.optimizers import build_optimizer, rate_at
from pretext.settings import TrainingSettings

LOG_EVERY_STEPS = 10


class DivergedError(UserError):
    """The loss is no longer a finite number."""


class Module(pl.LightningModule):
    """Joins learner, pictures and settings for Lightning.

    Args:
        learner: The module to train, on its device.
        pictures: All prepared pictures.
        train_idx: (N,) rows of the pictures to train on.
        ids: N ids of those rows.
        settings: How to train.
        folder: Folder of the stage or net, for ``logs/``.
    """

    def __init__(
        self,
        learner: Learner,
        pictures: Pictures,
        train_idx: Ints,
        ids: Sequence[str],
        settings: TrainingSettings,
        folder: Path,
    ) -> None:
        super().__init__()
        self.learner = learner
        self.pictures = pictures
        self.train_idx, self.ids, self.keys = train_idx, ids, keys_of(ids)
        self.settings, self.folder = settings, folder
        self.ema = WeightEma(learner, settings.ema) if settings.ema else None
        self.fetch_s = 0.0
        self.metrics: dict[str, Tensor] = {}  # of the step that the trainer is at
        self._order: tuple[int, Ints] = (-1, train_idx)
        if settings.compile:
            for child in learner.children():
                child.compile()

    def batch_of(self, step: int, micro_step: int = 0) -> Batch:
        """Cut out a batch: a function of (seed, step, micro_step).

        Args:
            step: Optimiser step, from 0.
            micro_step: Which of the ``accumulate`` forwards of that step.
        """
        settings, n = self.settings, len(self.train_idx)
        size, seed = settings.batch_size, settings.seed
        epoch, step_in_epoch = divmod(step, settings.steps_per_epoch(n))
        if self._order[0] != epoch:
            self._order = (epoch, shuffled(self.keys, seed=seed, epoch=epoch))
        start = (step_in_epoch * settings.accumulate + micro_step) * size
        # sorted, so that the memory map is read forward
        batch_idx = np.sort(self._order[1][start : start + size])
        rows = self.train_idx[batch_idx]
        return Batch(
            images=self.pictures.take(rows),
            rows=rows,
            keys=self.keys[batch_idx],
            seed=seed,
            epoch=epoch,
            scale=settings.scale_at(step, settings.total_steps(n)),
        )

    def training_step(self, _: Any, batch_idx: int) -> Tensor:
        """Give the loss of the step that the trainer is at."""
        step, n_micro_steps = self.trainer.global_step, self.settings.accumulate
        micro_step = batch_idx % n_micro_steps
        # dropout and the like: their state need not be kept if it is a function of step
        forward = step * n_micro_steps + micro_step
        torch.manual_seed((self.settings.seed * 1_000_003 + forward) % 2**63)
        began = time.perf_counter()
        batch = self.batch_of(step, micro_step)
        self.fetch_s += time.perf_counter() - began
        metrics = self.learner.loss(batch)
        # a GPU would have to wait for the answer, so it is checked less often
        is_checked = step % LOG_EVERY_STEPS == 0 or not metrics["loss"].is_cuda
        if is_checked and not torch.isfinite(metrics["loss"]):
            file = self._list_pictures(batch, step)
            problem = f"the loss is {metrics['loss'].item()}"
            raise self.diverged(problem, step, f"; the pictures of that batch: {file}")
        earlier = self.metrics if micro_step else {}
        self.metrics = {
            name: earlier.get(name, 0) + value.detach() / n_micro_steps
            for name, value in metrics.items()
        }
        return metrics["loss"]

    def diverged(self, problem: str, step: int, location: str = "") -> DivergedError:
        """Word the error: what is no longer finite, at which step, what may help."""
        total = self.trainer.max_steps
        return DivergedError(
            f"{problem} at step {step} of {total}; give a smaller"
            f" --learning-rate{location}"
        )

    def _list_pictures(self, batch: Batch, step: int) -> Path:
        """List the ids of a batch in a file, with mean and deviation of levels."""
        id_of = dict(zip(self.train_idx.tolist(), self.ids, strict=True))
        levels = batch.images.float().flatten(1)
        lines = [
            f"{id_of[row]},{mean:.1f},{std:.1f}"
            for row, mean, std in zip(
                batch.rows.tolist(), levels.mean(1), levels.std(1), strict=True
            )
        ]
        file = self.folder / "logs" / f"diverged_at_step{step}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        text = "\n".join(["id,mean_level,std_level", *lines, ""])
        file.write_text(text, encoding="utf-8")
        return file

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the averaged weights with the weights."""
        if self.ema is not None:
            checkpoint["average"] = self.ema.tensors

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the averaged weights."""
        if self.ema is not None:
            self.ema.load(checkpoint["average"])

    def configure_optimizers(self) -> Any:
        """Group the parameters by decay and by schedule."""
        settings = self.settings
        constant_ids = {id(p) for p in self.learner.constant_rate()}
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for parameter in self.learner.parameters():
            if not parameter.requires_grad:  # such as a teacher's
                continue
            # no decay for biases and norms: Goyal et al. 2017, arXiv 1706.02677
            group = (id(parameter) in constant_ids, parameter.ndim > 1)
            groups.setdefault(group, []).append(parameter)
        options: list[dict[str, Any]] = [
            {"params": parameters, "weight_decay": settings.weight_decay * is_decayed}
            for (_, is_decayed), parameters in groups.items()
        ]
        optimizer = build_optimizer(settings.optimizer, options, settings.peak_rate)
        total, warmup = settings.total_steps(len(self.train_idx)), settings.warmup
        rates = [
            (lambda _: 1.0)
            if is_constant
            else (lambda step: rate_at(settings.schedule, step, total, warmup))
            for is_constant, _ in groups
        ]
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rates)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
