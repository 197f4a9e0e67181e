"""The Lightning module: learner, pictures and settings joined, a batch for each step.

Which pictures a step sees, how they are cropped and what dropout drops follow from
(seed, step) alone, so no loader has a state to keep.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from data_prep.arrays import Ints
from data_prep.errors import UserError
from pretext.data.keyed_rng import keys_of, shuffled
from pretext.data.pictures import Pictures
from pretext.engine.ema import WeightEma
from pretext.engine.learner import Batch, Learner, ParameterGroup
from pretext.engine.optimizers import build_optimizer
from pretext.engine.ranks import ALONE, Rank
from pretext.engine.schedules import Plateau, Schedule
from pretext.engine.sharpness import uphill
from pretext.settings import TrainingSettings

LOG_EVERY_STEPS = 10
WORLD_SIZE, SYNCED = "world_size", "sync_batchnorm"  # in a checkpoint


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
        rank: Which of the processes that share the training this is.
    """

    def __init__(
        self,
        learner: Learner,
        pictures: Pictures,
        train_idx: Ints,
        ids: Sequence[str],
        settings: TrainingSettings,
        folder: Path,
        rank: Rank = ALONE,
    ) -> None:
        super().__init__()
        self.learner = learner
        self.pictures = pictures
        self.train_idx, self.ids, self.keys = train_idx, ids, keys_of(ids)
        self.settings, self.folder, self.rank = settings, folder, rank
        has_ema = settings.ema and rank.index == 0
        self.ema = WeightEma(learner, settings.ema) if has_ema else None
        self.groups = learner.groups()
        for group in self.groups:  # whose gradients no process need wait for
            if math.isinf(group.from_epoch):
                for parameter in group.parameters:
                    parameter.requires_grad_(False)
        self._norms = {group.name: norms_of(learner, group) for group in self.groups}
        self._names: list[str] = []  # of the groups of the optimiser
        self.steps_per_epoch = settings.steps_per_epoch(len(train_idx))
        self.schedule = Schedule(
            name=settings.schedule,
            total=settings.total_steps(len(train_idx)),
            warmup=settings.warmup,
            steps_per_epoch=self.steps_per_epoch,
            cycles=settings.cycles,
        )
        is_plateau = settings.schedule == "plateau"
        self.plateau = Plateau(settings.plateau_patience) if is_plateau else None
        self.fetch_s = 0.0
        self.metrics: dict[str, Tensor] = {}  # of the step that the trainer is at
        self._order: tuple[int, Ints] = (-1, train_idx)
        self._is_uphill = False  # in the second pass of a step
        if settings.compile:
            for child in learner.children():
                child.compile()

    def batch_of(self, step: int, micro_step: int = 0) -> Batch:
        """Cut out a batch, or this process's part: a function of (seed, step).

        Args:
            step: Optimiser step, from 0.
            micro_step: Which of the ``accumulate`` forwards of that step.
        """
        n_parts = self.rank.world_size
        size = self.settings.batch_size // n_parts
        start = self.rank.index * size
        # sorted, so that the memory map is read forward
        part_idx = np.sort(self.batch_idx(step, micro_step)[start : start + size])
        rows = self.train_idx[part_idx]
        return Batch(
            images=self.pictures.take(rows),
            rows=rows,
            keys=self.keys[part_idx],
            seed=self.settings.seed,
            epoch=step // self.steps_per_epoch,
            scale=self.settings.scale_at(step, self.schedule.total),
            world_size=n_parts,
        )

    def batch_idx(self, step: int, micro_step: int = 0) -> Ints:
        """Give the (B,) places in ``train_idx`` of a whole batch, in random order."""
        settings = self.settings
        size, seed = settings.batch_size, settings.seed
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, shuffled(self.keys, seed=seed, epoch=epoch))
        start = (step_in_epoch * settings.accumulate + micro_step) * size
        return self._order[1][start : start + size]

    def training_step(self, _: Any, batch_idx: int) -> Tensor:
        """Give the loss of the step that the trainer is at."""
        step, n_micro_steps = self.trainer.global_step, self.settings.accumulate
        micro_step = batch_idx % n_micro_steps
        # dropout and the like: their state need not be kept if it is a function of step
        forward = step * n_micro_steps + micro_step
        seed = self.settings.seed * 1_000_003 + forward + (self.rank.index << 40)
        torch.manual_seed(seed % 2**63)
        self.hold_still(step // self.steps_per_epoch)
        began = time.perf_counter()
        batch = self.batch_of(step, micro_step)
        self.fetch_s += time.perf_counter() - began
        metrics = self.learner.loss(batch)
        if self._is_uphill:
            return metrics["loss"]
        measured = _of_whole_batch(metrics, batch)
        # a GPU would have to wait for the answer, so it is checked less often
        is_checked = step % LOG_EVERY_STEPS == 0 or not measured["loss"].is_cuda
        if is_checked and not torch.isfinite(measured["loss"]):
            file = self._list_pictures(step, micro_step)
            problem = f"the loss is {measured['loss'].item()}"
            raise self.diverged(problem, step, f"; the pictures of that batch: {file}")
        earlier = self.metrics if micro_step else {}
        self.metrics = {
            name: earlier.get(name, 0) + value / n_micro_steps
            for name, value in measured.items()
        }
        if self.plateau and micro_step == n_micro_steps - 1:
            self.plateau.add(self.metrics["loss"])
            if (step + 1) % self.steps_per_epoch == 0:
                self.plateau.end_epoch()
        return metrics["loss"]

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Take the gradient uphill, if asked: a second pass over the batch of the step.

        Lightning calls this when all forwards of a step have left their gradients and
        before it clips them.
        """
        if not self.settings.sam_rho:
            return
        strategy, n_micro_steps = self.trainer.strategy, self.settings.accumulate
        self._is_uphill = True
        try:
            with uphill(self.learner, self.settings.sam_rho), torch.enable_grad():
                for micro_step in range(n_micro_steps):
                    is_last = micro_step == n_micro_steps - 1
                    # processes meet in the last of a step's gradients, as in the first
                    meets_later = getattr(strategy, "block_backward_sync", nullcontext)
                    with nullcontext() if is_last else meets_later():
                        loss = cast(Tensor, strategy.training_step(None, micro_step))
                        strategy.backward(loss / n_micro_steps, optimizer)
        finally:
            self._is_uphill = False

    def diverged(self, problem: str, step: int, location: str = "") -> DivergedError:
        """Word the error: what is no longer finite, at which step, what may help."""
        total = self.trainer.max_steps
        return DivergedError(
            f"{problem} at step {step} of {total}; give a smaller"
            f" --learning-rate{location}"
        )

    def _list_pictures(self, step: int, micro_step: int) -> Path:
        """List the ids of a batch in a file, with mean and deviation of levels."""
        batch_idx = np.sort(self.batch_idx(step, micro_step))
        levels = self.pictures.take(self.train_idx[batch_idx]).float().flatten(1)
        lines = [
            f"{self.ids[idx]},{mean:.1f},{std:.1f}"
            for idx, mean, std in zip(
                batch_idx.tolist(), levels.mean(1), levels.std(1), strict=True
            )
        ]
        file = self.folder / "logs" / f"diverged_at_step{step}.csv"
        if self.rank.index:
            return file  # rank 0 writes it
        file.parent.mkdir(parents=True, exist_ok=True)
        text = "\n".join(["id,mean_level,std_level", *lines, ""])
        file.write_text(text, encoding="utf-8")
        return file

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the averaged weights with the weights, and what the rate follows."""
        checkpoint[WORLD_SIZE] = self.rank.world_size
        checkpoint[SYNCED] = self.rank.is_shared and self.settings.sync_batchnorm
        if self.ema is not None:
            checkpoint["average"] = self.ema.tensors
        if self.plateau is not None:
            checkpoint["plateau"] = self.plateau.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the averaged weights, and with what the rate follows."""
        if self.ema is not None:
            self.ema.load(checkpoint["average"])
        if self.plateau is not None:
            self.plateau.load(checkpoint["plateau"])

    def hold_still(self, epoch: int) -> None:
        """Hold still what does not move in an epoch, from 0, and let go of the rest."""
        for group in self.groups:
            if group.from_epoch == 0:
                continue
            moves = epoch >= group.from_epoch
            for parameter in group.parameters:
                parameter.requires_grad_(moves)
            for norm in self._norms[group.name]:
                norm.train(moves)

    def rate_of(self, group: ParameterGroup, step: int) -> float:
        """Give the share of the peak rate that a group has at a step."""
        if step // self.steps_per_epoch < group.from_epoch:
            return 0.0
        left = self.plateau.share if self.plateau else 1.0
        share = self.schedule.at(step) * left if group.is_scheduled else 1.0
        return group.factor * share

    def rates(self) -> dict[str, float]:
        """Give the learning rate of each group now, by its name."""
        groups = self.trainer.optimizers[0].param_groups
        rates = [float(group["lr"]) for group in groups]
        return dict(zip(self._names, rates, strict=True))

    def configure_optimizers(self) -> Any:
        """Put all groups into one optimiser, each with its decay and its rate."""
        settings = self.settings
        options: list[dict[str, Any]] = []
        rates: list[Callable[[int], float]] = []
        self._names = []
        for group in self.groups:
            # no decay for biases and norms: Goyal et al. 2017, arXiv 1706.02677
            by_decay: dict[bool, list[nn.Parameter]] = {}
            for parameter in group.parameters:
                by_decay.setdefault(parameter.ndim > 1, []).append(parameter)
            for is_decayed, parameters in by_decay.items():
                decay = settings.weight_decay * is_decayed
                options.append({"params": parameters, "weight_decay": decay})
                rates.append(lambda step, group=group: self.rate_of(group, step))  # type: ignore[misc]
                self._names.append(group.name)
        optimizer = build_optimizer(settings.optimizer, options, settings.peak_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rates)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def _of_whole_batch(metrics: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
    """Give the metrics of a batch of which this process has a part, by one message."""
    if batch.world_size == 1:
        return {name: value.detach() for name, value in metrics.items()}
    stacked = torch.stack([value.detach().float() for value in metrics.values()])
    means = batch.mean_over_parts(stacked)
    return dict(zip(metrics, means.unbind(), strict=True))


def norms_of(learner: Learner, group: ParameterGroup) -> list[nn.Module]:
    """Find the batch norms whose scale and shift are of a group."""
    of_group = {id(parameter) for parameter in group.parameters}
    return [
        module
        for module in learner.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and of_group & {id(p) for p in module.parameters(recurse=False)}
    ]
