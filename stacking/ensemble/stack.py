"""The whole stack in memory: members, the selection, post-processing, and the scores.

Shapes: N scored rows, F folds, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.arrays import Floats
from data_prep.scoring.scores import Interval
from stacking.ensemble.aligned_features import AlignedFeatures
from stacking.ensemble.candidates import (
    CONSTANT,
    add_means,
    clipped,
    select_candidate,
)
from stacking.ensemble.members import Member
from stacking.ensemble.objective import Objective, ScoringData
from stacking.ensemble.postprocess import Step, run_chain
from stacking.ensemble.postprocessors import choose_postprocessors, postprocessor_named
from stacking.ensemble.predictor import Learned, Predictor
from stacking.ensemble.score_table import Line, Scorer, score_table
from stacking.ensemble.selection import weighted
from stacking.inputs.alignment import Alignment
from stacking.inputs.data import StackingData


@dataclass(frozen=True, kw_only=True)
class Stacked:
    """A finished stack.

    Attributes:
        features: The rows, on the nets' own scales and on the common one.
        objective: What is scored by.
        members: Every member by name, its predictions clipped.
        weights_by_mean: Weights of the means, ``weighted`` and ``blend``.
        selected: The member that post-processing begins from.
        selected_by_fold: F members, those of the nested score.
        steps: Of the post-processing.
        clip: How much better the metric is for clipping to the target's range; None:
            it is no number.
        lines: The lines of the table, from the model without nets to the prediction.
        baseline: Name of the line that gains are measured by.
        views: The maps between the nets' single views, where a member sees those.
        deals: Where folds are dealt several times, the stacks of all deals. The lines
            are then of their mean, and all else is that of the first of them.
    """

    features: AlignedFeatures
    objective: Objective
    members: Mapping[str, Member]
    weights_by_mean: Mapping[str, Mapping[str, float]]
    selected: str
    selected_by_fold: Sequence[str]
    steps: tuple[Step, ...]
    clip: Interval | None
    lines: tuple[Line, ...]
    baseline: str
    views: Alignment | None = None
    deals: tuple["Stacked", ...] = ()

    @property
    def by_deal(self) -> tuple["Stacked", ...]:
        """The stacks of all deals; itself where folds are dealt once."""
        return self.deals or (self,)

    @property
    def parts(self) -> list[str]:
        """Names of what the lines are scored by apart: folds, or deals."""
        if self.deals:
            return [f"deal {number}" for number in range(len(self.deals))]
        return [f"fold {number}" for number in range(self.data.rows.n_folds)]

    @property
    def net_proba(self) -> Floats | None:
        """(N, K) class probabilities of the nets, averaged over the deals, if any."""
        by_deal = [
            deal.features.target_columns.proba(deal.data.rows.X)
            for deal in self.by_deal
        ]
        probas = [proba for proba in by_deal if proba is not None]
        return np.mean(probas, axis=0) if probas else None

    @property
    def spread_deals(self) -> Floats:
        """(N,) deviation between the deals' predictions, before they are averaged."""
        spread: Floats = np.std([deal.final.pred for deal in self.by_deal], axis=0)
        return spread if spread.ndim == 1 else np.sqrt((spread**2).mean(axis=1))

    @property
    def data(self) -> StackingData:
        """The rows as the nets give them, and what is known of them."""
        return self.features.data

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
        """The line of what is averaged over the nets, before steps to classes."""
        on = [step for step in self.steps if step.is_on]
        bends = [s for s in on if not postprocessor_named(s.name).gives_classes]
        if len(bends) == len(on):
            return self.final
        name = bends[-1].column if bends else "selected"
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
        """What is stored of a deal: the models, and how they are put together."""
        learned = {
            name: Learned(
                models=member.fit.models,
                sees=member.sees,
                inputs=member.inputs,
            )
            for name, member in self.members.items()
            if member.fit.models and (name != CONSTANT or name == self.selected)
        }
        alignment, of_all = self.features.alignment, self.data.common.of_all
        return Predictor(
            target_columns=self.features.target_columns,
            alignment=alignment if of_all is None else alignment.with_net(of_all),
            learned=learned,
            weights_by_mean=self.weights_by_mean,
            selected=self.selected,
            objective=self.objective,
            rules=[(step.name, step.rule) for step in self.steps if step.is_on],
            user_columns=self.data.info.user_columns,
            views=self.views,
        )


def stack(
    features: AlignedFeatures,
    members: Mapping[str, Member],
    objective: Objective,
    *,
    stackers: Sequence[str],
    postprocess: tuple[str, ...] = (),
    views: Alignment | None = None,
) -> Stacked:
    """Select a member or the blend of all, post-process it and score every step.

    Args:
        features: The rows.
        members: All but the means, by name, as they come from ``members.py``.
        objective: What is scored by.
        stackers: Which members may be selected, with what the nets predict themselves;
            of the means, ``weighted`` too. A blend of all joins where there are two.
        postprocess: Names of the postprocessors to try; none: all that fit.
        views: The maps between the nets' single views, where a member sees those.
    """
    rows, target_columns = features.rows, features.target_columns
    scoring = ScoringData.of(rows, objective)
    bounded = {name: clipped(m, target_columns.clip) for name, m in members.items()}
    candidates = add_means(
        bounded,
        scoring,
        target_columns.clip,
        stackers,
        is_leaky=features.data.is_leaky,
    )
    selected = select_candidate(candidates, scoring)
    postprocessors = choose_postprocessors(postprocess, features.net_pred, objective)
    steps = run_chain(postprocessors, selected.start, features.net_pred, scoring)
    baseline, base_pred = CONSTANT, candidates.members[CONSTANT].fit.oof_pred
    if "plain" in bounded:
        baseline, base_pred = "plain", bounded["plain"].fit.oof_pred
    scorer = Scorer(
        scoring=scoring,
        target_columns=target_columns,
        baseline=base_pred,
        baseline_name=baseline,
    )
    lines = score_table(scorer, candidates, selected, steps)
    clip = None
    if objective.is_number:
        weights = candidates.weights_by_mean.get(selected.name, {selected.name: 1.0})
        before, after = (
            weighted(weights, {name: of[name].fit.oof_pred for name in weights})
            for of in ({**candidates.members, **members}, candidates.members)
        )
        clip = objective.gain(rows.y, before, after, rows.groups)
    return Stacked(
        features=features,
        objective=objective,
        members=candidates.members,
        weights_by_mean=candidates.weights_by_mean,
        selected=selected.name,
        selected_by_fold=selected.by_fold,
        steps=tuple(steps),
        clip=clip,
        lines=tuple(lines),
        baseline=baseline,
        views=views,
    )
