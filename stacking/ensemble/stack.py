"""The whole stack in memory: the race of the members, post-processing, and the scores.

The members race on the same folds. Their blend is what the links of the post-processing
begin from, unless a member is surely better: the best of many close scores is luck, and
on few rows dear. For the nested score each fold's winner is chosen on inner predictions
of the other folds.

Shapes: N scored rows, F folds, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from data_prep.scoring.scores import FoldScores, Interval
from stacking.cross_fitting import CrossFit, outer_folds
from stacking.ensemble.final_step import end_prediction
from stacking.ensemble.members import AlignedFeatures, Member, constant
from stacking.ensemble.objective import Objective
from stacking.ensemble.postprocess import Start, Step, run_chain
from stacking.ensemble.postprocessors import ScoringData, choose_links, link_named
from stacking.ensemble.predictor import Learned, Predictor
from stacking.ensemble.selection import cross_select, weighted
from stacking.inputs.alignment import Alignment

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Line:
    """One line of the table of steps.

    Attributes:
        name: Short name, that of its column in oof.csv.
        title: Name for people.
        prediction: (N, ...) ended as it is scored, nested where something was tuned.
        scores: By fold and as a whole.
        interval: 95 % interval over draws of cv groups.
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


@dataclass(frozen=True)
class Stacked:
    """What came out.

    Attributes:
        features: The rows, on the nets' own scales and on the common one.
        objective: What it is judged by.
        members: Every member by name, its predictions clipped.
        means: Weights of the means, ``weighted`` and ``blend``.
        selected: The member that post-processing begins from.
        selected_by_fold: F winners of the nested score.
        steps: The links of the post-processing.
        clip: What clipping to the target's range is worth; None: it is no number.
        lines: The lines of the table, from the model without nets to the prediction.
        baseline: Name of the line that gains are measured by.
        notes: What a reader of the scores should know of.
        views: The maps between the nets' single views, where a member sees those.
    """

    features: AlignedFeatures
    objective: Objective
    members: Mapping[str, Member]
    means: Mapping[str, Mapping[str, float]]
    selected: str
    selected_by_fold: Sequence[str]
    steps: tuple[Step, ...]
    clip: Interval | None
    lines: tuple[Line, ...]
    baseline: str
    notes: tuple[str, ...] = ()
    views: Alignment | None = None

    def line(self, name: str) -> Line:
        """Find a line by its name."""
        return next(line for line in self.lines if line.name == name)

    def has_line(self, name: str) -> bool:
        """Tell whether there is such a line."""
        return any(line.name == name for line in self.lines)

    @property
    def final(self) -> Line:
        """The line of the prediction that is handed out."""
        return self.lines[-1]

    @property
    def averaged(self) -> Line:
        """The line of what is averaged over the nets, before links to classes."""
        on = [step for step in self.steps if step.is_on]
        bends = [step for step in on if not link_named(step.name).gives_classes]
        if len(bends) == len(on):
            return self.final
        name = bends[-1].name if bends else "winner"
        return self.line(name if self.has_line(name) else self.selected)

    @property
    def optimism(self) -> float:
        """How much better the apparent score is than the nested one, in the metric."""
        apparent = self.final.apparent
        if apparent is None:
            return 0.0
        better = apparent - self.final.scores.pooled
        return better if self.objective.higher_is_better else -better

    @property
    def predictor(self) -> Predictor:
        """What is stored: the models, and how they are put together."""
        learned = {
            name: Learned(member.fit.models, member.inputs, member.sees_views)
            for name, member in self.members.items()
            if member.fit.models
        }
        links = [(step.name, step.rule) for step in self.steps if step.is_on]
        alignment, of_all = self.features.alignment, self.features.rows.of_all
        return Predictor(
            self.features.target_columns,
            alignment if of_all is None else alignment.with_net(of_all),
            learned,
            self.means,
            self.selected,
            self.objective,
            links,
            self.features.rows.own,
            self.views,
        )


def stack(
    features: AlignedFeatures,
    members: Mapping[str, Member],
    objective: Objective,
    *,
    stackers: Sequence[str],
    links: tuple[str, ...] = (),
    no_net: Floats | None = None,
) -> Stacked:
    """Race the members, post-process the winner and score every step.

    Args:
        features: The rows.
        members: All but the means, by name, as they come from ``members.py``.
        objective: What is judged by.
        stackers: Which members race, with what the nets say themselves; of the means,
            ``weighted`` too. A blend of all joins where there are two or more.
        links: Names of the links to try; none: all that fit.
        no_net: (N, ...) what a model without any net predicts; None: there is none.
    """
    rows, target, target_columns = (
        features.rows,
        features.target(),
        features.target_columns,
    )
    scoring = ScoringData(target, rows.folds, rows.cv_groups, objective)
    raw = dict(members)
    means: dict[str, dict[str, float]] = {}
    apparent: dict[str, Floats] = {}

    def add_mean(name: str, title: str, parts: Sequence[str]) -> None:
        fits = {part: _clipped(raw[part].fit, features) for part in parts}
        fit, means[name], apparent[name] = cross_select(
            fits, target, rows.folds, objective
        )
        raw[name] = Member(title, fit)

    fixed = [name for name in ("plain", "expected") if name in members]
    tasks = [name for name in members if name.endswith("_alone")]
    if "weighted" in stackers and len(tasks + fixed) > 1:
        add_mean("weighted", "weighted mean of the sub-tasks", [*fixed, *tasks])
    # Of equals the first wins, so what needs no fitting comes first.
    racing = fixed + [name for name in stackers if name in raw]
    if len(racing) > 1 and not rows.in_sample:
        blended = [name for name in racing if name not in means]
        add_mean("blend", "blend of all", blended)
        racing.append("blend")
    clipped = {
        name: Member(m.title, _clipped(m.fit, features), m.inputs, m.sees_views)
        for name, m in raw.items()
    }
    if rows.in_sample:
        racing = list(stackers[:1])
    start, selected, selected_by_fold = _race(clipped, racing, apparent, scoring)
    net_pred = target_columns.net_pred(rows.X)
    chosen = choose_links(links, net_pred, objective)
    steps = run_chain(chosen, start, net_pred, scoring)
    clip = None
    if objective.is_number:
        weights = means.get(selected, {selected: 1.0})
        unclipped = weighted(weights, {n: raw[n].fit.oof_pred for n in weights})
        bound = weighted(weights, {n: clipped[n].fit.oof_pred for n in weights})
        clip = objective.gain(target, unclipped, bound, rows.cv_groups)
    on = [step for step in steps if step.is_on]
    final = on[-1].after if on else start
    write = _Lines(scoring, features, clipped)
    if no_net is not None:
        write.add("no_net", "no net: colours and tiny pixels, boosted", no_net)
    write.add("constant", "constant", constant(target, rows.folds))
    for name in [*tasks, *fixed[::-1], *(n for n in racing if n not in fixed)]:
        write.add(
            name, clipped[name].title, clipped[name].fit.oof_pred, apparent.get(name)
        )
    if len(racing) > 1:
        title = f"the winner: {clipped[selected].title}"
        write.add("winner", title, start.fit.oof_pred, start.apparent)
    for step in steps:
        title = f"+ {step.title}"
        write.add(step.name, title, *_both(step.after), is_off=not step.is_on)
    write.add("prediction", "final prediction", *_both(final))
    return Stacked(
        features,
        objective,
        clipped,
        means,
        selected,
        selected_by_fold,
        tuple(steps),
        clip,
        tuple(write.lines),
        write.baseline,
        rows.notes,
    )


def _both(start: Start) -> tuple[Floats, Floats]:
    return start.fit.oof_pred, start.apparent


def _clipped(fit: CrossFit, features: AlignedFeatures) -> CrossFit:
    clip = features.target_columns.clip
    return replace(fit, oof_pred=clip(fit.oof_pred), inner_oof=clip(fit.inner_oof))


def _race(
    members: Mapping[str, Member],
    racing: Sequence[str],
    apparent: Mapping[str, Floats],
    scoring: ScoringData,
) -> tuple[Start, str, list[str]]:
    """Choose where to begin on all rows, and for each fold on those of the others.

    Returns:
        Where post-processing begins, the winner, and the F winners of the nested score.
    """
    target, cv_groups = scoring.target, scoring.cv_groups
    nested = CrossFit.empty(target, scoring.folds)
    selected_by_fold = []
    for fold, rest, held_out in outer_folds(scoring.folds):
        inner = {name: members[name].fit.inner_oof[fold, rest] for name in racing}
        own = best_of(inner, target[rest], cv_groups[rest], scoring.objective)
        nested.inner_oof[fold, rest] = inner[own]
        nested.oof_pred[held_out] = members[own].fit.oof_pred[held_out]
        selected_by_fold.append(own)
    outer = {name: members[name].fit.oof_pred for name in racing}
    selected = best_of(outer, target, cv_groups, scoring.objective)
    said = apparent.get(selected, members[selected].fit.oof_pred)
    return Start(nested, said), selected, selected_by_fold


def best_of(
    said: Mapping[str, Floats], target: Floats, cv_groups: Ints, objective: Objective
) -> str:
    """Choose the blend, or the best of the members that are surely better.

    A member is surely better if the 95 % interval of its gain excludes zero.

    Args:
        said: (N, ...) predictions by name; without a ``blend`` the first is the one
            to beat.
        target: (N, ...) what they should be.
        cv_groups: (N,) what errs together.
        objective: What is judged by.
    """
    first = "blend" if "blend" in said else next(iter(said))
    scores = {name: objective.score(target, values) for name, values in said.items()}
    best = first
    for name, values in said.items():
        if objective.is_better(scores[name], scores[best]):
            gain = objective.gain(target, said[first], values, cv_groups)
            best = name if gain.low > 0 else best
    return best


@dataclass
class _Lines:
    """The lines of the table, as they are added."""

    scoring: ScoringData
    features: AlignedFeatures
    members: Mapping[str, Member]
    lines: list[Line] = field(default_factory=list)

    @property
    def baseline(self) -> str:
        return "plain" if "plain" in self.members else "constant"

    @cached_property
    def _base(self) -> Floats:
        if "plain" in self.members:
            return self.members["plain"].fit.oof_pred
        return constant(self.scoring.target, self.scoring.folds)

    def add(
        self,
        name: str,
        title: str,
        prediction: Floats,
        apparent: Floats | None = None,
        *,
        is_off: bool = False,
    ) -> None:
        scoring, objective = self.scoring, self.scoring.objective
        target_columns = self.features.target_columns
        prediction = end_prediction(prediction, target_columns, objective)
        if apparent is not None:
            apparent = end_prediction(apparent, target_columns, objective)
        target, cv_groups = scoring.target, scoring.cv_groups
        self.lines.append(
            Line(
                name,
                title,
                prediction,
                objective.by_fold(target, prediction, scoring.folds),
                objective.interval(target, prediction, cv_groups),
                None
                if name == self.baseline
                else objective.gain(target, self._base, prediction, cv_groups),
                None if apparent is None else objective.score(target, apparent),
                is_off,
            )
        )
