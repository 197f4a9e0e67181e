"""The table of steps: the score of everything that was tried, line by line.

Shapes: N scored rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from data_prep.arrays import Floats
from data_prep.scoring.scores import FoldScores, Interval
from stacking.ensemble.candidates import Candidates, Selected
from stacking.ensemble.final_step import end_prediction
from stacking.ensemble.members import Member, constant
from stacking.ensemble.objective import ScoringData
from stacking.ensemble.postprocess import Step
from stacking.inputs.target_columns import TargetColumns


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table of steps; all scores are in the metric.

    Attributes:
        name: Short name, that of its column in oof.csv.
        title: Name for people.
        prediction: (N, ...) ended as it is scored, nested where something was tuned.
        scores: By fold and as a whole.
        interval: 95 % interval over bootstrap samples of cv groups.
        gain: How much better than the baseline; None: it is the baseline itself.
        apparent: Score with rules chosen on the scored rows; None: nothing was tuned.
        is_off: A step that does not pay.
    """

    name: str
    title: str
    prediction: Floats
    scores: FoldScores
    interval: Interval
    gain: Interval | None
    apparent: float | None = None
    is_off: bool = False

    @property
    def label(self) -> str:
        """Its title, and whether it is off."""
        return f"{self.title} (off)" if self.is_off else self.title


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A line before it is scored; see ``Line``.

    Attributes:
        name: Of the line.
        title: For people.
        pred: (N, ...) nested predictions, not yet ended.
        apparent: (N, ...) with rules chosen on the rows themselves; None: nothing was
            tuned.
        is_off: A step that does not pay.
    """

    name: str
    title: str
    pred: Floats
    apparent: Floats | None = None
    is_off: bool = False


def entries_of(
    candidates: Candidates,
    members: Mapping[str, Member],
    selected: Selected,
    steps: Sequence[Step],
) -> Iterator[Entry]:
    """List the lines of members and steps, from the sub-tasks to the final prediction.

    Args:
        candidates: Say which members may be selected.
        members: All members, clipped.
        selected: Where the steps begin.
        steps: Of the post-processing.
    """
    tasks = [name for name in members if name.endswith("_alone")]
    fixed = [name for name in ("expected", "plain") if name in members]
    stackers = [name for name in candidates.names if name not in fixed]
    for name in [*tasks, *fixed, *stackers]:
        yield Entry(
            name=name,
            title=members[name].title,
            pred=members[name].fit.oof_pred,
            apparent=candidates.apparent.get(name),
        )
    start = final = selected.start
    if len(candidates.names) > 1:
        yield Entry(
            name="selected",
            title=f"selected: {members[selected.name].title}",
            pred=start.fit.oof_pred,
            apparent=start.apparent,
        )
    for step in steps:
        yield Entry(
            name=step.column,
            title=f"+ {step.title}",
            pred=step.after.fit.oof_pred,
            apparent=step.after.apparent,
            is_off=not step.is_on,
        )
        final = step.after if step.is_on else final
    yield Entry(
        name="prediction",
        title="final prediction",
        pred=final.fit.oof_pred,
        apparent=final.apparent,
    )


def score_table(
    entries: Sequence[Entry],
    baseline: Floats,
    baseline_name: str,
    scoring: ScoringData,
    target_columns: TargetColumns,
) -> tuple[Line, ...]:
    """Score every line as a whole, by fold, and beside the baseline.

    Args:
        entries: The lines.
        baseline: (N, ...) what gains are measured by.
        baseline_name: Its line, which gains nothing.
        scoring: The targets, folds, groups and metric.
        target_columns: Say how predictions end.
    """
    objective, y_true, groups = scoring.objective, scoring.y_true, scoring.groups

    def line(entry: Entry) -> Line:
        y_pred = end_prediction(entry.pred, target_columns, objective)
        gain = apparent = None
        if entry.name != baseline_name:
            gain = objective.gain(y_true, baseline, y_pred, groups)
        if entry.apparent is not None:
            ended = end_prediction(entry.apparent, target_columns, objective)
            apparent = objective.score(y_true, ended)
        return Line(
            name=entry.name,
            title=entry.title,
            prediction=y_pred,
            scores=objective.by_fold(y_true, y_pred, scoring.folds),
            interval=objective.interval(y_true, y_pred, groups),
            gain=gain,
            apparent=apparent,
            is_off=entry.is_off,
        )

    return tuple(line(entry) for entry in entries)


def reference_entries(scoring: ScoringData, no_net: Floats | None) -> Iterator[Entry]:
    """List the lines that know no net: the model of colours, and the constant.

    Args:
        scoring: The targets and folds.
        no_net: (N, ...) predictions of a model without any net; None: there is none.
    """
    if no_net is not None:
        title = "no net: colours and tiny pixels, boosted"
        yield Entry(name="no_net", title=title, pred=no_net)
    pred = constant(scoring.y_true, scoring.folds)
    yield Entry(name="constant", title="constant", pred=pred)
