"""What is seen of trainings side by side: a table that is drawn anew, or lines.

On a terminal the table shows every net, or those that run where all would not fit.
Elsewhere, in a file or a notebook, each epoch of a net is a line of the log.
"""

import logging
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TextIO

from data_prep.reporting.numerals import four_digits
from pretext.engine.epochs import HELD_OUT
from pretext.engine.progress import Progress, duration

State = Literal["waiting", "running", "done", "failed"]
DRAW_EVERY_S = 0.4
UP_AND_CLEAR = "\x1b[{}F\x1b[J"
log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _Row:
    """What is known of a training."""

    state: State = "waiting"
    progress: Progress | None = None
    first_step: int = -1  # of this attempt
    score: str = ""
    failure: str = ""


class LiveTable:
    """Shows trainings side by side.

    Args:
        names: Of all of them, in the order of the table.
        stream: Where it is drawn, if that is a terminal.
    """

    def __init__(self, names: Sequence[str], stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.is_drawn = self.stream.isatty()
        self.rows = {name: _Row() for name in names}
        self.began = time.monotonic()
        self._n_lines, self._drawn_at = 0, 0.0

    def begin(self, name: str) -> None:
        """Show that a training runs."""
        self.rows[name].state = "running"
        self._drawn_at = 0.0  # shown at once
        if not self.is_drawn:
            log.info("%s: begun", name)

    def report(self, name: str, progress: Progress) -> None:
        """Take note of how far a training is."""
        row = self.rows[name]
        row.progress = progress
        if row.first_step < 0:
            row.first_step = progress.step
        row.score = _score_of(progress.metrics) or row.score
        if progress.is_epoch_end and not self.is_drawn:
            seconds = progress.seconds_left
            left = f"{duration(seconds)} to go" if seconds else ""
            loss = f"loss {_loss_of(row)}"
            texts = (f"epoch {_epoch_of(row)}", loss, row.score, left)
            log.info("%s: %s", name, ", ".join(filter(None, texts)))

    def end(self, name: str, scores: Mapping[str, float], failure: str) -> None:
        """Show that a training has ended."""
        row = self.rows[name]
        row.state, row.failure = "failed" if failure else "done", failure
        self._drawn_at = 0.0
        row.score = _score_of({f"{HELD_OUT}{k}": v for k, v in scores.items()})
        if not self.is_drawn:
            if failure:
                log.warning("%s failed: %s", name, failure)
            else:
                log.info("%s: done%s", name, f", {row.score}" if row.score else "")
            log.info("%s", self.summary())

    def tick(self) -> None:
        """Draw the table anew, if it was not drawn only just now."""
        moment = time.monotonic()
        if not self.is_drawn or moment - self._drawn_at < DRAW_EVERY_S:
            return
        self._drawn_at = moment
        width, height = shutil.get_terminal_size()
        most = height - 1
        lines = [line[: width - 1] for line in self.lines(most)[:most]]
        up = UP_AND_CLEAR.format(self._n_lines) if self._n_lines else ""
        self.stream.write(up + "".join(f"{line}\n" for line in lines))
        self.stream.flush()
        self._n_lines = len(lines)

    def lines(self, most: int) -> list[str]:
        """Give the lines of the table, ``most`` at most if that many tell enough."""
        rows = self.rows
        if len(rows) + 2 > most:
            rows = {n: row for n, row in rows.items() if row.state != "waiting"}
        if len(rows) + 2 > most:
            rows = {n: row for n, row in rows.items() if row.state != "done"}
        cells = [("net", "epoch", "loss", "score", "to go")]
        for name, row in rows.items():
            left = row.progress.seconds_left if row.progress else 0.0
            is_known = row.state == "running" and left > 0
            cells.append(
                (
                    name,
                    _epoch_of(row) if row.state == "running" else row.state,
                    _loss_of(row),
                    row.score,
                    row.failure or (duration(left) if is_known else ""),
                )
            )
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        form = "  ".join(f"{{:<{width}}}" for width in widths)
        return [*(form.format(*line).rstrip() for line in cells), self.summary()]

    def summary(self) -> str:
        """Say how many are done, and how long the others will take at this pace."""
        states = [row.state for row in self.rows.values()]
        counts = [f"{states.count('done')} of {len(states)} nets done"]
        if n_failed := states.count("failed"):
            counts.append(f"{n_failed} failed")
        done_frac = left_frac = 0.0
        for row in self.rows.values():
            if row.state == "failed":
                continue
            n_steps = row.progress.n_steps if row.progress else 1
            step = row.progress.step if row.progress else 0
            first_step = max(0, row.first_step)
            is_done = row.state == "done"
            done_frac += (n_steps if is_done else step) / n_steps - first_step / n_steps
            left_frac += 0 if is_done else 1 - step / n_steps
        if done_frac > 0 and left_frac > 0:
            left_s = (time.monotonic() - self.began) / done_frac * left_frac
            counts.append(f"about {duration(left_s)} to go")
        return ", ".join(counts)


def _epoch_of(row: _Row) -> str:
    if row.progress is None:
        return "begins"
    return f"{row.progress.epoch} of {row.progress.n_epochs}"


def _loss_of(row: _Row) -> str:
    loss = row.progress.metrics.get("loss") if row.progress else None
    return "" if loss is None else four_digits(loss)


def _score_of(metrics: Mapping[str, float]) -> str:
    """Name the first score that was measured, such as that of the target."""
    for name, value in metrics.items():
        group, _, score = name.rpartition("/")
        if group and group != "learning_rate":
            return f"{score} {four_digits(value)}"
    return ""
