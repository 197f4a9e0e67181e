"""What the peers came to: scores on the pictures that nobody saw, and a table.

Shapes: M pictures that are held out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.differences import told
from data_prep.arrays import Floats
from data_prep.errors import UserError
from data_prep.scoring.metrics import METRICS
from data_prep.scoring.scores import Interval, group_bootstrap, paired_bootstrap

RMSE = METRICS["rmse"]


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way of one peer to predict, in one repeat.

    Attributes:
        peer: Its name.
        name: Of the way, such as ``ridge``.
        y_pred: (M,) predictions.
        promised: RMSE by the peer's own validation.
        cpu_minutes: All that its runner took; ways of one runner share it.
        minutes: By the clock.
        n_lines: That a user writes.
        notes: Such as its epochs.
    """

    peer: str
    name: str
    y_pred: Floats
    promised: float
    cpu_minutes: float
    minutes: float
    n_lines: int
    notes: Mapping[str, object] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What the table calls it."""
        return f"{self.peer}: {self.name}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table.

    Attributes:
        way: The way.
        score: RMSE on the pictures that are held out, intervals over groups.
        against: Its RMSE minus that of the way it is held against; None: it is that.
    """

    way: Way
    score: Interval
    against: Interval | None

    @property
    def broken_promise(self) -> float:
        """Give how much worse it is than it promised."""
        return self.score.value - self.way.promised


def in_order(ids: Sequence[str], predictions: pd.DataFrame) -> pd.DataFrame:
    """Bring predictions to the order of the M ids.

    Raises:
        UserError: Some are missing, repeated or no numbers.
    """
    if predictions["id"].duplicated().any():
        raise UserError("predictions.csv: it has an id twice")
    table = predictions.set_index("id").reindex(list(ids))
    if n := int((~np.isfinite(table.to_numpy(dtype=np.float64))).any(axis=1).sum()):
        raise UserError(f"predictions.csv: {n} of {len(table)} ids have no prediction")
    return table


def score_all(
    ways: Sequence[Way],
    y_true: Floats,
    groups: NDArray[np.generic],
    reference: str,
    target_range: tuple[float, float],
) -> list[Row]:
    """Score ways on the same pictures, the best first.

    Args:
        ways: Of all peers.
        y_true: (M,) targets.
        groups: (M,) what errs together.
        reference: Title of the way that the others are held against.
        target_range: Of the targets that were learned, to which the predictions of
            everybody are clipped.
    """
    clipped = {way.title: way.y_pred.clip(*target_range) for way in ways}
    rows = []
    for way in ways:
        y_pred, against = clipped[way.title], None
        if way.title != reference and reference in clipped:
            against = paired_bootstrap(RMSE, y_true, y_pred, clipped[reference], groups)
        score = group_bootstrap(RMSE, y_true, y_pred, groups)
        rows.append(Row(way=way, score=score, against=against))
    return sorted(rows, key=lambda row: row.score.value)


def markdown(rows: Sequence[Row], reference: str, constant: float) -> str:
    """Write the table.

    Args:
        rows: The best first.
        reference: What the differences are held against.
        constant: RMSE of the mean of the training targets.
    """
    titles = ("way", "RMSE, held out", "95 %", f"against {reference}", "promised")
    titles += ("broken by", "CPU minutes", "minutes", "lines", "what it was")
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in rows:
        way, score = row.way, row.score
        against = told(row.against) if row.against else ""
        cells = (
            way.title,
            f"{score.value:.4f}",
            _ends(score),
            against,
            f"{way.promised:.4f}",
            f"{row.broken_promise:+.4f}",
            f"{way.cpu_minutes:.1f}",
            f"{way.minutes:.1f}",
            str(way.n_lines),
            ", ".join(f"{key} {value}" for key, value in way.notes.items()),
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(f"| a constant | {constant:.4f} |" + " |" * (len(titles) - 2))
    return "\n".join(lines)


def verdict(rows: Sequence[Row], reference: str) -> str:
    """Say first what is better than the way that the others are held against.

    The best of several ways of ours would be chosen by the pictures that are held out.

    Args:
        rows: The best first.
        reference: Title of that way.
    """
    if reference not in [row.way.title for row in rows]:
        return f"{reference} has not run."
    better = [row.way.title for row in rows if row.against and row.against.high < 0]
    close = [
        row.way.title for row in rows if row.against and not row.against.excludes_zero
    ]
    page = f"Better than {reference}: {'; '.join(better) or 'nothing'}."
    if close:
        page += f" Not told apart from it: {'; '.join(close)}."
    return page


def pooled(repeats: Sequence[Sequence[Way]]) -> list[Way]:
    """Join the ways of several repeats, for all that were held out at once.

    What was promised and taken is the mean. Ways that a repeat lacks are left out.
    """
    by_title = [{way.title: way for way in ways} for ways in repeats]
    joined = []
    for title, first in by_title[0].items():
        parts = [ways[title] for ways in by_title if title in ways]
        if len(parts) < len(repeats):
            continue
        means = {
            name: float(np.mean([getattr(part, name) for part in parts]))
            for name in ("promised", "cpu_minutes", "minutes")
        }
        y_pred = np.concatenate([part.y_pred for part in parts])
        joined.append(replace(first, y_pred=y_pred, notes={}, **means))
    return joined


def _ends(interval: Interval) -> str:
    return f"{interval.low:.4f} to {interval.high:.4f}"


def user_lines(source: str) -> int:
    """Count what a user writes: lines between ``# user`` and ``# end``.

    Blank lines and comments do not count.
    """
    n, is_users = 0, False
    for line in map(str.strip, source.splitlines()):
        if line in ("# user", "# end"):
            is_users = line == "# user"
        elif is_users and line and not line.startswith("#"):
            n += 1
    return n
