"""What is seen of work side by side: a table that is drawn anew, or lines.

On a terminal the table shows every piece, or those that run where all would not fit.
Elsewhere, in a file or a notebook, each epoch of a training is a line of the log.
"""

import logging
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TextIO

from data_prep.executors.progress import Progress, duration
from data_prep.reporting.numerals import four_digits

State = Literal["waiting", "running", "done", "failed"]
DRAW_EVERY_S = 0.4
UP_AND_CLEAR = "\x1b[{}F\x1b[J"
log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _Row:
    """What is known of a piece of work."""

    state: State = "waiting"
    progress: Progress | None = None
    first_step: int = -1  # of this attempt
    score: str = ""
    failure: str = ""
    node: str = ""


class LiveTable:
    """Shows work side by side.

    Args:
        names: Of all pieces, in the order of the table.
        noun: What a piece is.
        stream: Where it is drawn, if that is a terminal.
    """

    def __init__(
        self, names: Sequence[str], *, noun: str, stream: TextIO | None = None
    ) -> None:
        self.noun, self.stream = noun, stream or sys.stderr
        self.is_drawn = self.stream.isatty()
        self.rows = {name: _Row() for name in names}
        self.began = time.monotonic()
        self._n_lines, self._drawn_at = 0, 0.0

    def begin(self, name: str, node: str = "") -> None:
        """Show that a piece runs, and on which node of a cluster."""
        self.rows[name].state, self.rows[name].node = "running", node
        self._drawn_at = 0.0  # shown at once
        if not self.is_drawn:
            log.info("%s: begun%s", name, f" on {node}" if node else "")

    def report(self, name: str, progress: Progress) -> None:
        """Take note of how far a piece is."""
        row = self.rows[name]
        row.progress = progress
        if row.first_step < 0:
            row.first_step = progress.step
            if progress.resumed_in and not self.is_drawn:
                log.info("%s: %s", name, progress.resumption)
        row.score = _score_of(progress.metrics) or row.score
        if progress.is_epoch_end and not self.is_drawn:
            seconds = progress.seconds_left
            left = f"{duration(seconds)} to go" if seconds else ""
            loss = f"loss {_loss_of(row)}"
            epoch = f"epoch {progress.epoch} of {progress.n_epochs}"
            texts = (epoch, loss, row.score, left)
            log.info("%s: %s", name, ", ".join(filter(None, texts)))

    def end(self, name: str, scores: Mapping[str, float], failure: str) -> None:
        """Show that a piece has ended."""
        row = self.rows[name]
        row.state, row.failure = "failed" if failure else "done", failure
        self._drawn_at = 0.0
        row.score = next((_score_text(k, v) for k, v in scores.items()), "")
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
        has_epochs = any(r.progress and r.progress.n_epochs for r in rows.values())
        cells = [
            (
                self.noun,
                "epoch" if has_epochs else "state",
                "loss",
                "score",
                "to go",
                "node",
            )
        ]
        for name, row in rows.items():
            left = row.progress.seconds_left if row.progress else 0.0
            is_known = row.state == "running" and left > 0
            cells.append(
                (
                    name,
                    _state_of(row),
                    _loss_of(row),
                    row.score,
                    row.failure or (duration(left) if is_known else ""),
                    row.node,
                )
            )
        columns = [c for c in zip(*cells, strict=True) if any(c[1:])]
        widths = [max(map(len, column)) for column in columns]
        form = "  ".join(f"{{:<{width}}}" for width in widths)
        lines = zip(*columns, strict=True)
        return [*(form.format(*line).rstrip() for line in lines), self.summary()]

    def summary(self) -> str:
        """Say how many are done, and how long the others will take at this pace."""
        states = [row.state for row in self.rows.values()]
        counts = [f"{states.count('done')} of {len(states)} {self.noun}s done"]
        if n_failed := states.count("failed"):
            counts.append(f"{n_failed} failed")
        done_frac = left_frac = 0.0
        for row in self.rows.values():
            if row.state == "failed":
                continue
            n_steps = max(1, row.progress.n_steps) if row.progress else 1
            step = row.progress.step if row.progress else 0
            first_step = max(0, row.first_step)
            is_done = row.state == "done"
            done_frac += (n_steps if is_done else step) / n_steps - first_step / n_steps
            left_frac += 0 if is_done else 1 - step / n_steps
        if done_frac > 0 and left_frac > 0:
            left_s = (time.monotonic() - self.began) / done_frac * left_frac
            counts.append(f"about {duration(left_s)} to go")
        return ", ".join(counts)


def _state_of(row: _Row) -> str:
    """Say how far a piece is: in epochs, if it has some, or in steps."""
    progress = row.progress
    if row.state != "running":
        return row.state
    if progress is None:
        return "begins"
    if progress.n_epochs:
        resumed = f", from {progress.resumed_in}" if progress.resumed_in else ""
        return f"{progress.epoch} of {progress.n_epochs}{resumed}"
    return f"{progress.step} of {progress.n_steps}"


def _loss_of(row: _Row) -> str:
    loss = row.progress.metrics.get("loss") if row.progress else None
    return "" if loss is None else four_digits(loss)


def _score_of(metrics: Mapping[str, float]) -> str:
    """Name the first score that was measured, such as that of the target."""
    for name, value in metrics.items():
        group, _, score = name.rpartition("/")
        if group and group != "learning_rate":
            return _score_text(score, value)
    return ""


def _score_text(name: str, value: float) -> str:
    return f"{name} {four_digits(value)}"
