"""What is seen and kept of a training: progress bar, logs, checkpoints, epochs."""

import csv
import io
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO
from tqdm import tqdm

from data_prep.executors.progress import Report, Reporter, duration
from data_prep.run_folders.drafts import drafted, write_rows
from pretext.engine.epochs import EpochLog
from pretext.engine.history import read_rows
from pretext.engine.module import LOG_EVERY_STEPS, Module
from pretext.engine.ranks import agree, measuring_alone
from pretext.settings import TrainingSettings

CHECKPOINT_EVERY_S = 30.0  # a stop loses no more
ESTIMATE_AFTER_STEPS = 8
log = logging.getLogger(__name__)


class StopTraining(Exception):  # noqa: N818 - not a failure
    """Raised between epochs to end a training early.

    Args:
        reason: Why.
        metrics: What was measured after the epoch, to log.
    """

    def __init__(self, reason: str, metrics: Mapping[str, float] | None = None) -> None:
        super().__init__(reason)
        self.metrics = metrics or {}


class InPlace(TorchCheckpointIO):
    """Writes a checkpoint whole, where it belongs; Lightning goes by way of /tmp."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write the file at ``path``, whole or not at all."""
        del storage_options
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with drafted(Path(path)) as file:
            file.write(buffer.getbuffer())


class TrainingCallback(pl.Callback):
    """Progress bar, logs, checkpoints, and what happens between epochs.

    Args:
        label: Name for the bar.
        settings: How the training goes.
        n_pictures: How many are trained on.
        folder: Where ``checkpoints/`` and ``logs/`` go.
        device: Where the training is.
        publish: Called with the epoch after each; see ``train``.
        report: Shows the progress in place of the bar.
    """

    def __init__(
        self,
        label: str,
        settings: TrainingSettings,
        n_pictures: int,
        folder: Path,
        device: torch.device,
        publish: Callable[[int], Mapping[str, float] | None] | None,
        report: Report | None = None,
    ) -> None:
        self.label, self.accumulate = label, settings.accumulate
        self.step_size = settings.pictures_per_step
        self.steps_per_epoch = settings.steps_per_epoch(n_pictures)
        self.checkpoints = folder / "checkpoints"
        self.metrics_csv = folder / "logs" / "metrics.csv"
        self.epochs = EpochLog(folder, device)
        self.publish, self.report = publish, report
        self.bar: tqdm[Any] | None = None
        self.reporter: Reporter | None = None
        self.last: dict[str, float] = {}
        self.stopped, self.saved_step = "", 0
        self.images, self.busy_s, self.fetch_s = 0, 0.0, 0.0

    def images_per_s(self) -> float:
        """Give the pictures per second so far, of all attempts."""
        return self.images / self.busy_s if self.busy_s else 0.0

    def data_share(self) -> float:
        """Give the share of the time that went into fetching batches."""
        return self.fetch_s / self.busy_s if self.busy_s else 0.0

    def on_train_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        """Open the bar, and drop logs of steps that are made again."""
        del pl_module
        size, n_steps = self.step_size, int(trainer.max_steps)
        if self.report:
            self.reporter = Reporter(
                self.report,
                first_step=trainer.global_step,
                n_steps=n_steps,
                steps_per_epoch=self.steps_per_epoch,
            )
        else:
            self.bar = tqdm(
                total=n_steps * size,
                initial=trainer.global_step * size,
                desc=self.label,
                unit="img",
                mininterval=1.0,
                smoothing=0.05,
            )
        self.saved_at = time.monotonic()
        self.first_step = self.saved_step = trainer.global_step
        _forget_after(trainer.global_step, self.metrics_csv)
        self.began = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Log, and do what is due between epochs and every so many seconds."""
        del outputs, batch
        if (batch_idx + 1) % self.accumulate:
            return  # the optimiser has not stepped yet
        module = cast(Module, pl_module)
        step, size = trainer.global_step, self.step_size
        is_over = step >= int(trainer.max_steps)
        module.learner.after_step(step / int(trainer.max_steps))
        if module.ema is not None:
            module.ema.update(step)
        if step % LOG_EVERY_STEPS == 0 or is_over:
            self._log(trainer, {k: v.item() for k, v in module.metrics.items()})
        if self.bar is not None:
            self.bar.update(size)
        if self.reporter:
            self.reporter.after_step(step, self.last)
        step_s = time.perf_counter() - self.began  # since the last step's end
        self.epochs.add_step(module.metrics, step_s)
        if step - self.first_step > 3:  # the first steps pay for warming up
            self.images += size
            self.busy_s += step_s
            self.fetch_s += module.fetch_s
        if step - self.first_step == ESTIMATE_AFTER_STEPS and not is_over:
            left_s = (int(trainer.max_steps) - step) * size / self.images_per_s()
            log.info("%s: about %s to go", self.label, duration(left_s))
        module.fetch_s = 0.0
        # the time of what follows does not count
        if step % self.steps_per_epoch == 0 or is_over:
            with measuring_alone(module.learner):
                self._between_epochs(trainer, module)
            if module.rank.is_shared:
                agree(is_true=trainer.should_stop)
        is_over = is_over or bool(self.stopped)
        if not is_over and time.monotonic() - self.saved_at > CHECKPOINT_EVERY_S:
            self._save(trainer)
        self.began = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """Give the sums of the epoch being made and of the speed."""
        speed = [self.images, self.busy_s, self.fetch_s]
        return {**self.epochs.state_dict(), "speed": speed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the sums, so that the speed is that of all attempts."""
        self.epochs.load_state_dict(state_dict)
        # none in a checkpoint of an older version
        self.images, self.busy_s, self.fetch_s = state_dict.get("speed", (0, 0.0, 0.0))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        del trainer, pl_module
        self._close()

    def on_exception(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        exception: BaseException,
    ) -> None:
        """Close the bar, and say where the same command goes on after Ctrl-C."""
        del pl_module
        self._close()
        if not isinstance(exception, KeyboardInterrupt) or self.bar is None:
            return  # it has not begun, or is done beside others
        if not self.saved_step:
            log.info(
                "%s: it begins anew, as a checkpoint is made every %.0f s, and none was"
                " yet",
                self.label,
                CHECKPOINT_EVERY_S,
            )
            return
        log.info(
            "%s: goes on in epoch %d of %d, from step %d; it was stopped after step %d",
            self.label,
            self.saved_step // self.steps_per_epoch + 1,
            -(-int(trainer.max_steps) // self.steps_per_epoch),
            self.saved_step,
            trainer.global_step,
        )

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()

    def _log(self, trainer: pl.Trainer, metrics: Mapping[str, float]) -> None:
        """Put numbers into TensorBoard's events, the CSV file and the progress bar."""
        step = trainer.global_step
        self.last.update(metrics)
        numbers = {**metrics, **rates_of(trainer)}
        for logger in trainer.loggers:
            logger.log_metrics(numbers, step)
        with self.metrics_csv.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([step, *item] for item in numbers.items())
        if self.bar is not None:
            # those of the monitor, health/... and probe/..., would fill the line
            short = {name: v for name, v in self.last.items() if "/" not in name}
            shown = {name: f"{value:.3f}" for name, value in short.items()}
            shown["wait"] = f"{self.data_share():.1%}"
            self.bar.set_postfix(shown, refresh=False)

    def _between_epochs(self, trainer: pl.Trainer, module: Module) -> None:
        learner, step = module.learner, trainer.global_step
        if not all(bool(p.isfinite().all()) for p in learner.parameters()):
            raise module.diverged("a weight is not a finite number", step)
        epoch = -(-step // self.steps_per_epoch)
        learner.eval()
        with module.ema.in_place() if module.ema else nullcontext():
            with torch.inference_mode():
                metrics = learner.after_epoch(epoch)
            if self.publish is not None:
                try:
                    metrics = {**metrics, **(self.publish(epoch) or {})}
                except StopTraining as stop:
                    metrics = {**metrics, **stop.metrics}
                    self.stopped = str(stop)
                    trainer.should_stop = True
        if metrics:
            self._log(trainer, metrics)
        row = self.epochs.end_epoch(
            epoch, step=step, rates=rates_of(trainer), measured=metrics
        )
        means = {f"epoch/{k}": v for k, v in row.items() if k not in metrics}
        for logger in trainer.loggers:
            logger.log_metrics(means, step)
        if self.reporter:
            self.reporter.after_epoch(step, epoch, row)
        learner.train()

    def _save(self, trainer: pl.Trainer) -> None:
        """Write the whole state of the training, whole or not at all."""
        trainer.save_checkpoint(self.checkpoints / "last.ckpt")
        self.saved_at, self.saved_step = time.monotonic(), trainer.global_step


class FollowingCallback(pl.Callback):
    """What a process that is not the first does after a step: as the first one says.

    Args:
        accumulate: Forwards per optimiser step.
    """

    def __init__(self, accumulate: int) -> None:
        self.accumulate = accumulate

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Keep the learner alike, and wait where the first one measures."""
        del outputs, batch
        if (batch_idx + 1) % self.accumulate:
            return
        module, step = cast(Module, pl_module), trainer.global_step
        is_over = step >= int(trainer.max_steps)
        module.learner.after_step(step / int(trainer.max_steps))
        if step % module.steps_per_epoch == 0 or is_over:
            trainer.should_stop = agree(is_true=False)


def _forget_after(step: int, metrics_csv: Path) -> None:
    """Begin the CSV file, or drop what was logged after the checkpoint gone on from."""
    rows = [row for row in read_rows(metrics_csv) if int(row[0]) <= step]
    write_rows(metrics_csv, [["step", "name", "value"], *rows])


def rates_of(trainer: pl.Trainer) -> dict[str, float]:
    """Give the learning rates by the name they are logged under.

    ``learning_rate`` is that of the first group; several have ``learning_rate/GROUP``.
    """
    rates = cast(Module, trainer.lightning_module).rates()
    first = {"learning_rate": next(iter(rates.values()))}
    if len(rates) == 1:
        return first
    return first | {f"learning_rate/{name}": rate for name, rate in rates.items()}
