"""How far a piece of work is, such as a training, for whoever shows it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

REPORT_EVERY_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a piece of work is.

    Attributes:
        step: Steps made, of ``n_steps``; of a training those of the optimiser.
        n_steps: Steps of the whole.
        epoch: Epochs ended, of ``n_epochs``.
        n_epochs: Epochs of the whole; 0: it has none.
        seconds_left: Until its end, as fast as it went so far; 0: not known yet.
        metrics: The means of the last epoch that ended and what was measured after it;
            before the first has ended, the last metrics logged.
        is_epoch_end: Whether an epoch has just ended.
        resumed_in: Epoch that it went on in, from 1; 0: it began, or has no epochs.
    """

    step: int
    n_steps: int
    epoch: int = 0
    n_epochs: int = 0
    seconds_left: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    is_epoch_end: bool = False
    resumed_in: int = 0

    @property
    def resumption(self) -> str:
        """Say where it went on."""
        return f"goes on in epoch {self.resumed_in} of {self.n_epochs}"


Report = Callable[[Progress], None]


class Reporter:
    """Tells of a training at the end of each epoch, and now and then in between.

    One that goes on from a checkpoint is told of at once.

    Args:
        report: Is told.
        first_step: Steps that an earlier attempt had made.
        n_steps: Steps of the whole training.
        steps_per_epoch: Steps of an epoch.
    """

    def __init__(
        self, report: Report, *, first_step: int, n_steps: int, steps_per_epoch: int
    ) -> None:
        self.report, self.first_step = report, first_step
        self.n_steps, self.steps_per_epoch = n_steps, steps_per_epoch
        self.began = self.told_at = time.monotonic()
        self.epoch_metrics: Mapping[str, float] = {}
        epochs_made = first_step // steps_per_epoch
        self.resumed_in = epochs_made + 1 if first_step else 0
        if first_step:
            self._tell(first_step, epochs_made, {})

    def after_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Tell of a step, unless the last report was only just made."""
        if time.monotonic() - self.told_at >= REPORT_EVERY_S:
            self._tell(step, step // self.steps_per_epoch, metrics)

    def after_epoch(self, step: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Tell of an epoch, from 1, that has ended with a step."""
        self.epoch_metrics = metrics
        self._tell(step, epoch, metrics, is_epoch_end=True)

    def _tell(
        self,
        step: int,
        epoch: int,
        metrics: Mapping[str, float],
        *,
        is_epoch_end: bool = False,
    ) -> None:
        self.told_at = time.monotonic()
        n_made = step - self.first_step
        elapsed_s = self.told_at - self.began
        left = self.n_steps - step
        self.report(
            Progress(
                step=step,
                n_steps=self.n_steps,
                epoch=epoch,
                n_epochs=-(-self.n_steps // self.steps_per_epoch),
                seconds_left=elapsed_s / n_made * left if n_made else 0.0,
                metrics=dict(self.epoch_metrics or metrics),
                is_epoch_end=is_epoch_end,
                resumed_in=self.resumed_in,
            )
        )


class Count:
    """Adds up what is done, such as pictures, and reports now and then.

    Args:
        report: Is told.
        total: Of the whole.
    """

    def __init__(self, report: Report, total: int) -> None:
        self.report, self.total, self.done = report, total, 0
        self.first = -1  # what an earlier attempt did, which comes at once
        self.began = self.told_at = time.monotonic()

    def __call__(self, n_more: int) -> None:
        """Take note that more is done."""
        self.done += n_more
        moment = time.monotonic()
        if self.first < 0:
            self.first, self.began = self.done, moment
        if moment - self.told_at < REPORT_EVERY_S and self.done < self.total:
            return
        self.told_at, n_new = moment, self.done - self.first
        left_s = (self.total - self.done) * (moment - self.began) / max(1, n_new)
        self.report(Progress(step=self.done, n_steps=self.total, seconds_left=left_s))


def duration(seconds: float) -> str:
    """Say a time as a person would."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
