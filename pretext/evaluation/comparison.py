"""Probed backbones beside random weights: a table, and a plain sentence for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.scoring.scores import Interval, group_bootstrap, paired_bootstrap
from pretext.evaluation.probing import ProbeResult, Split

if TYPE_CHECKING:
    import pandas as pd

VERDICT_BY = "ridge"  # every task has it, and a linear head could use as much
CELL = 25  # letters: 0.123 (-0.012 to +0.034)
N_DRAWS = 1000  # of the intervals
UNKNOWN = Interval(value=float("nan"), low=float("nan"), high=float("nan"))


@dataclass(frozen=True)
class Probed:
    """What was found of one backbone.

    Attributes:
        name: Stage, file, or that its weights are random.
        found: Results by task and probe.
        splits: What was held out together.
        cv_groups: (N,) what errs together.
        random: The same of random weights; None: these are they.
    """

    name: str
    found: Mapping[tuple[str, str], ProbeResult]
    splits: Sequence[Split]
    cv_groups: NDArray[np.int64]
    random: "Probed | None" = None

    def beside(self, random: "Probed") -> "Probed":
        """Give the same with what it is compared with."""
        return replace(self, random=random)

    def interval(self, task: str, probe: str) -> Interval:
        """Give the score and its 95 % interval over cv groups."""
        own = self.found[task, probe]
        groups = self.cv_groups[own.rows]
        if len(np.unique(groups)) < 2:
            return UNKNOWN
        return group_bootstrap(
            own.metric, own.y_true, own.y_pred, groups, n_draws=N_DRAWS
        )

    def gain(self, task: str, probe: str) -> Interval:
        """Give the gain on random weights and its 95 % interval over cv groups."""
        own = self.found[task, probe]
        groups = self.cv_groups[own.rows]
        if self.random is None or len(np.unique(groups)) < 2:
            return UNKNOWN
        other = self.random.found[task, probe]
        assert np.array_equal(own.rows, other.rows)
        return paired_bootstrap(
            own.metric, own.y_true, own.y_pred, other.y_pred, groups, n_draws=N_DRAWS
        )


def as_table(probed: Sequence[Probed]) -> "pd.DataFrame":
    """Put everything into a table: a row for each backbone, task and probe."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for one in probed:
        for (task, kind), answers in one.found.items():
            score, gain = one.interval(task, kind), one.gain(task, kind)
            by_fold = answers.by_split(one.splits)
            rows.append(
                {
                    "backbone": one.name,
                    "task": task,
                    "probe": kind,
                    "measure": answers.measure,
                    "score": answers.score,
                    "low": score.low,
                    "high": score.high,
                    "gain": gain.value,
                    "gain_low": gain.low,
                    "gain_high": gain.high,
                    "reference": answers.reference,
                    "rmse": answers.error,
                    "balanced_accuracy": answers.balanced,
                    "rows": len(answers.rows),
                    **{f"fold{k}": score for k, score in enumerate(by_fold)},
                }
            )
    return pd.DataFrame(rows)


def as_text(probed: Sequence[Probed]) -> str:
    """Set the table as text, a block for each task, with a sentence for each backbone.

    Beside each score stands the 95 % interval of the gain on random weights.
    """
    names = max(len(one.name) for one in probed)
    tasks = list(dict.fromkeys(task for task, _ in probed[0].found))
    blocks = []
    for task in tasks:
        kinds = [kind for name, kind in probed[0].found if name == task]
        first = probed[0].found[task, kinds[0]]
        chance = (
            f"{first.reference:.3f}: always the most frequent class"
            if first.measure == "accuracy"
            else "0: always the mean"
        )
        head = "".join(f"  {kind:<{CELL}}" for kind in kinds).rstrip()
        lines = [
            f"{task}: {first.measure} of {len(first.rows):,} pictures, each held out"
            f" ({chance})",
            f"  {'':{names}}{head}",
        ]
        for one in probed:
            cells = "".join(f"  {_cell(one, task, kind):<{CELL}}" for kind in kinds)
            lines.append(f"  {one.name:{names}}{cells}".rstrip())
        lines += [sentence(one, task) for one in probed if one.random is not None]
        blocks.append("\n".join(lines))
    note = "In brackets: the gain on random weights, 95 % interval over cv groups."
    return "\n\n".join([note, *blocks])


def sentence(one: Probed, task: str) -> str:
    """Say plainly whether a backbone helps with a task."""
    assert one.random is not None
    own, other = (who.found[task, VERDICT_BY] for who in (one, one.random))
    gain = one.gain(task, VERDICT_BY)
    what = "neither helps nor hurts"
    if gain.excludes_zero:
        what = "HELPS" if gain.value > 0 else "HURTS"
    return (
        f"-> {one.name} {what} {task}: {own.measure} {own.score:.3f} by {VERDICT_BY},"
        f" {other.score:.3f} with random weights"
    )


def _cell(one: Probed, task: str, kind: str) -> str:
    score = f"{one.found[task, kind].score:.3f}"
    gain = one.gain(task, kind)
    if one.random is None:
        return score
    return f"{score} ({gain.low:+.3f} to {gain.high:+.3f})"
