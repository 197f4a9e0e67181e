"""Probed backbones beside random weights: a table, and a plain sentence for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Floats, Ints
from data_prep.prepared import Prepared
from data_prep.scoring.scores import Interval, group_bootstrap, paired_bootstrap
from data_prep.tasks import Task
from pretext.evaluation import probing
from pretext.evaluation.probing import ProbeResult, Split

if TYPE_CHECKING:
    import pandas as pd

VERDICT_BY = "ridge"  # every task has it, and a linear head could use as much
CELL = 25  # letters: 0.123 (-0.012 to +0.034)
N_RESAMPLES = 1000  # of the intervals
UNKNOWN = Interval(value=float("nan"), low=float("nan"), high=float("nan"))


@dataclass(frozen=True, kw_only=True)
class ProbedBackbone:
    """The probes of a backbone.

    Attributes:
        name: Stage, file, or that its weights are random.
        results: By task and probe.
        splits: What was held out together.
        cv_groups: (N,) codes of what errs together.
        random: The same of random weights; None: these are they.
    """

    name: str
    results: Mapping[tuple[str, str], ProbeResult]
    splits: Sequence[Split]
    cv_groups: Ints
    random: "ProbedBackbone | None" = None

    def interval(self, task: str, probe: str) -> Interval:
        """Give the score, R2 or accuracy, and its 95 % interval over cv groups."""
        result = self.results[task, probe]
        groups = self.cv_groups[result.rows]
        if len(np.unique(groups)) < 2:
            return UNKNOWN
        return group_bootstrap(
            result.metric, result.y_true, result.y_pred, groups, n_draws=N_RESAMPLES
        )

    def gain(self, task: str, probe: str) -> Interval:
        """Give the gain in score on random weights, and its interval likewise."""
        if self.random is None:
            return UNKNOWN
        result, of_random = self.results[task, probe], self.random.results[task, probe]
        return gain_of(result, of_random, self.cv_groups)


def gain_of(result: ProbeResult, base: ProbeResult, cv_groups: Ints) -> Interval:
    """Give the gain of a probe on another one of the same rows, with its 95 % interval.

    Args:
        result: The probe.
        base: What it is compared with.
        cv_groups: (N,) codes of what errs together.
    """
    groups = cv_groups[result.rows]
    if len(np.unique(groups)) < 2:
        return UNKNOWN
    assert np.array_equal(result.rows, base.rows)
    return paired_bootstrap(
        metric=result.metric,
        y_true=result.y_true,
        first_pred=result.y_pred,
        second_pred=base.y_pred,
        groups=groups,
        n_draws=N_RESAMPLES,
    )


def gains_on(
    last: Mapping[str, ProbeResult], first: Mapping[str, ProbeResult], cv_groups: Ints
) -> dict[str, Interval]:
    """Give by task the gain of a probe of the last weights on that of the first."""
    return {
        task: gain_of(result, first[task], cv_groups)
        for task, result in last.items()
        if task in first
    }


@dataclass(frozen=True, kw_only=True)
class LabelledRows:
    """What is probed for: the rows with a label, and how they are held out.

    Attributes:
        rows: (n,) rows of the prepared table that have a label of some task.
        tasks: With the labels of these rows alone.
        splits: What is held out together, and what is learned from then.
        cv_groups: (n,) codes of what errs together.
    """

    rows: Ints
    tasks: Sequence[Task]
    splits: Sequence[Split]
    cv_groups: Ints

    @classmethod
    def of(cls, tasks: Sequence[Task], prepared: Prepared) -> Self:
        """Find them by the stored folds.

        Args:
            tasks: What to probe for, with the labels of the N rows of the table.
            prepared: The pictures and their table.
        """
        idx = np.flatnonzero(np.logical_or.reduce([task.has_label for task in tasks]))
        splits = probing.stored_splits(prepared.table, prepared.metadata["n_folds"])
        return cls(
            rows=idx,
            tasks=[probing.labels_of(task, idx) for task in tasks],
            splits=[
                (val_mask[idx], train_mask[idx]) for val_mask, train_mask in splits
            ],
            cv_groups=prepared.table["cv_group"].to_numpy(dtype=np.int64)[idx],
        )

    def predictions(
        self, features: NDArray[np.float32]
    ) -> dict[tuple[str, str], Floats]:
        """Predict every task from the features of a backbone, by each probe that fits.

        Args:
            features: (n, D).

        Returns:
            (n, F) by task and probe; NaN where a row is not held out.
        """
        return {
            (task.name, probe_name): probing.held_out_pred(
                name=probe_name,
                features=features,
                task=task,
                splits=self.splits,
                cv_groups=self.cv_groups,
            )
            for task in self.tasks
            for probe_name in probing.probes_of(task)
        }

    def judged(
        self,
        name: str,
        predictions: Mapping[tuple[str, str], Floats],
        random: ProbedBackbone | None = None,
    ) -> ProbedBackbone:
        """Score what the probes of a backbone predicted.

        Args:
            name: Stage, file, or that its weights are random.
            predictions: (n, F) by task and probe.
            random: The same of random weights; None: these are they.
        """
        tasks = {task.name: task for task in self.tasks}
        return ProbedBackbone(
            name=name,
            results={
                (task, probe): probing.judged(tasks[task], y_pred)
                for (task, probe), y_pred in predictions.items()
            },
            splits=self.splits,
            cv_groups=self.cv_groups,
            random=random,
        )


def as_table(backbones: Sequence[ProbedBackbone]) -> "pd.DataFrame":
    """Put everything into a table: a row for each backbone, task and probe."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for backbone in backbones:
        for (task, probe), result in backbone.results.items():
            score, gain = backbone.interval(task, probe), backbone.gain(task, probe)
            by_fold = result.by_split(backbone.splits)
            rows.append(
                {
                    "backbone": backbone.name,
                    "task": task,
                    "probe": probe,
                    "measure": result.measure,
                    "score": result.score,
                    "low": score.low,
                    "high": score.high,
                    "gain": gain.value,
                    "gain_low": gain.low,
                    "gain_high": gain.high,
                    "reference": result.reference,
                    "rmse": result.error,
                    "balanced_accuracy": result.balanced,
                    "rows": len(result.rows),
                    **{f"fold{k}": score for k, score in enumerate(by_fold)},
                }
            )
    return pd.DataFrame(rows)


def as_text(backbones: Sequence[ProbedBackbone]) -> str:
    """Set the table as text, a block for each task, with a sentence for each backbone.

    Beside each score stands the 95 % interval of the gain on random weights.
    """
    width = max(len(backbone.name) for backbone in backbones)
    first = backbones[0].results
    blocks = []
    for task in dict.fromkeys(task for task, _ in first):
        probes = [probe for name, probe in first if name == task]
        result = first[task, probes[0]]
        chance = (
            f"{result.reference:.3f}: always the most frequent class"
            if result.measure == "accuracy"
            else "0: always the mean"
        )
        head = "".join(f"  {probe:<{CELL}}" for probe in probes).rstrip()
        lines = [
            f"{task}: {result.measure} of {len(result.rows):,} pictures, each held out"
            f" ({chance})",
            f"  {'':{width}}{head}",
        ]
        for backbone in backbones:
            cells = [f"  {_cell(backbone, task, probe):<{CELL}}" for probe in probes]
            lines.append(f"  {backbone.name:{width}}{''.join(cells)}".rstrip())
        lines += [sentence(b, task) for b in backbones if b.random is not None]
        blocks.append("\n".join(lines))
    legend = "In brackets: the gain on random weights, 95 % interval over cv groups."
    return "\n\n".join([legend, *blocks])


def sentence(backbone: ProbedBackbone, task: str) -> str:
    """Say plainly whether a backbone helps with a task."""
    assert backbone.random is not None
    result = backbone.results[task, VERDICT_BY]
    of_random = backbone.random.results[task, VERDICT_BY]
    gain = backbone.gain(task, VERDICT_BY)
    verdict = "neither helps nor hurts"
    if gain.excludes_zero:
        verdict = "HELPS" if gain.value > 0 else "HURTS"
    return (
        f"-> {backbone.name} {verdict} {task}: {result.measure} {result.score:.3f} by"
        f" {VERDICT_BY}, {of_random.score:.3f} with random weights"
    )


def _cell(backbone: ProbedBackbone, task: str, probe: str) -> str:
    score = f"{backbone.results[task, probe].score:.3f}"
    gain = backbone.gain(task, probe)
    if backbone.random is None:
        return score
    return f"{score} ({gain.low:+.3f} to {gain.high:+.3f})"
