"""The table of steps: the score of everything that was tried, line by line.

Shapes: N scored rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from operator import not_

import numpy as np

from data_prep.arrays import Floats
from data_prep.scoring.scores import FoldScores, Interval
from stacking.ensemble.candidates import CONSTANT, Candidates, Selected
from stacking.ensemble.final_step import end_prediction
from stacking.ensemble.objective import ScoringData
from stacking.ensemble.postprocess import Step
from stacking.inputs.target_columns import TargetColumns
from stacking.models.pixel_trees import PIXELS

SAME = " = "  # between titles of lines with the same predictions


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table of steps; all scores are in the metric.

    Attributes:
        name: Short name, that of its column in oof.csv.
        title: Name for people.
        pred: (N, ...) nested where something was tuned, not yet ended.
        prediction: (N, ...) the same, ended as it is scored.
        scores: By fold and as a whole.
        interval: 95 % interval over bootstrap samples of cv groups.
        gain: How much better than the baseline; None: it is the baseline itself.
        apparent: Score with rules chosen on the scored rows; None: nothing was tuned.
        apparent_pred: (N, ...) what scores so, not yet ended.
        is_off: A step that does not pay.
    """

    name: str
    title: str
    pred: Floats
    prediction: Floats
    scores: FoldScores
    interval: Interval
    gain: Interval | None
    apparent: float | None = None
    apparent_pred: Floats | None = None
    is_off: bool = False

    @property
    def label(self) -> str:
        """Its title, and whether it is off."""
        return f"{self.title} (off)" if self.is_off else self.title


def distinct(lines: Sequence[Line]) -> list[Line]:
    """Put lines of the same predictions into one, whose title names them all.

    It stands where the last of them did. A step that is off stays a line of its own.

    Args:
        lines: The lines of a table.
    """
    kept: list[Line] = []
    for line in lines:
        same = [_is_same(earlier, line) for earlier in kept]
        joined = _joined([*compress(kept, same), line]) if any(same) else line
        kept = [*compress(kept, map(not_, same)), joined]
    return kept


def _is_same(first: Line, second: Line) -> bool:
    """Tell whether one line could stand for both."""
    if first.is_off or second.is_off:
        return False
    # of what was not tuned, the apparent score is the score
    apparent, second_apparent = (
        line.scores.pooled if line.apparent is None else line.apparent
        for line in (first, second)
    )
    return apparent == second_apparent and np.array_equal(
        first.prediction, second.prediction
    )


def _joined(lines: Sequence[Line]) -> Line:
    """Name several lines in the title of the last; that of the baseline gains nothing.

    The title of what is selected ends with that of a member, which need not come twice.
    """
    titles: list[str] = []
    for line in lines:
        first, _, name = line.title.partition(": ")
        titles += [first] if name in titles else line.title.split(SAME)
    is_baseline = any(line.gain is None for line in lines)
    gain = None if is_baseline else lines[-1].gain
    return replace(lines[-1], title=SAME.join(titles), gain=gain)


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """What makes a line of predictions.

    Attributes:
        scoring: The targets, folds, groups and metric.
        target_columns: Say how predictions end.
        baseline: (N, ...) what gains are measured by.
        baseline_name: Its line, which gains nothing.
    """

    scoring: ScoringData
    target_columns: TargetColumns
    baseline: Floats
    baseline_name: str

    def line(
        self,
        name: str,
        title: str,
        pred: Floats,
        apparent: Floats | None = None,
        *,
        is_off: bool = False,
    ) -> Line:
        """Score (N, ...) predictions as a whole, by fold, and beside the baseline.

        Args:
            name: See ``Line``.
            title: For people.
            pred: Nested, not yet ended.
            apparent: With rules chosen on the rows themselves; None: nothing was tuned.
            is_off: A step that does not pay.
        """
        scoring, objective = self.scoring, self.scoring.objective
        y_true, groups = scoring.y_true, scoring.groups
        y_pred = end_prediction(pred, self.target_columns, objective)
        gain = apparent_score = None
        if name != self.baseline_name:
            gain = objective.gain(y_true, self.baseline, y_pred, groups)
        if apparent is not None:
            ended = end_prediction(apparent, self.target_columns, objective)
            apparent_score = objective.score(y_true, ended)
        return Line(
            name=name,
            title=title,
            pred=pred,
            prediction=y_pred,
            scores=objective.by_fold(y_true, y_pred, scoring.folds),
            interval=objective.interval(y_true, y_pred, groups),
            gain=gain,
            apparent=apparent_score,
            apparent_pred=apparent,
            is_off=is_off,
        )


def score_table(
    scorer: Scorer,
    candidates: Candidates,
    selected: Selected,
    steps: Sequence[Step],
) -> Iterator[Line]:
    """Score all lines, from what knows no net to the final prediction.

    Args:
        scorer: Makes the lines.
        candidates: All members, and which of them may be selected.
        selected: Where the steps begin.
        steps: Of the post-processing.
    """
    line, members, scoring = scorer.line, candidates.members, scorer.scoring
    if PIXELS in members:
        member = members[PIXELS]
        yield line(PIXELS, member.title, member.fit.oof_pred)
    of_class = ", the most frequent class" * scoring.objective.counts_right
    yield line(CONSTANT, f"constant{of_class}", members[CONSTANT].fit.oof_pred)
    tasks = [name for name in members if name.endswith("_alone")]
    fixed = [name for name in ("expected", "plain") if name in members]
    stackers = [name for name in candidates.names if name not in (*fixed, PIXELS)]
    for name in [*tasks, *fixed, *stackers]:
        member, apparent = members[name], candidates.apparent.get(name)
        yield line(name, member.title, member.fit.oof_pred, apparent)
    start = final = selected.start
    if len(candidates.names) > 1:
        title = f"selected: {members[selected.name].title}"
        yield line("selected", title, start.fit.oof_pred, start.apparent)
    for step in steps:
        after, is_off = step.after, not step.is_on
        title = f"+ {step.title}"
        yield line(
            step.column, title, after.fit.oof_pred, after.apparent, is_off=is_off
        )
        final = final if is_off else after
    yield line("prediction", "final prediction", final.fit.oof_pred, final.apparent)
