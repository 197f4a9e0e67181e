"""Post-processing, link after link, each tuned, scored nested and made to pay.

The rule for fold k is chosen on the inner predictions of the other folds, which no
label of fold k touched. A link whose nested gain over the link before has an interval
that reaches zero is off. Each link is also tried alone, straight after the stack.

Shapes: N rows, F folds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data_prep.scoring.scores import Interval
from stacking.cross_fitting import CrossFit, outer_folds
from stacking.ensemble.postprocessors import Postprocessor, Rule, ScoringData
from stacking.inputs.target_columns import NetPredictions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Start:
    """A prediction that is post-processed.

    Attributes:
        fit: Nested.
        apparent: (N, ...) with all that was chosen chosen on the rows themselves; the
            final rules are tuned on it.
    """

    fit: CrossFit
    apparent: Floats


@dataclass(frozen=True)
class Step:
    """A link, tuned and judged.

    Attributes:
        name: Of the link.
        title: For people.
        after: What it makes of what was before.
        gain: How much the nested score improves on the link before.
        alone: How much it improves straight after the stack.
        is_on: Whether it pays.
        rule: What was chosen on all rows.
        rules: F rules, of the nested predictions.
    """

    name: str
    title: str
    after: Start
    gain: Interval
    alone: Interval
    is_on: bool
    rule: Rule
    rules: list[Rule] = field(default_factory=list)


def run_chain(
    links: Sequence[Postprocessor],
    start: Start,
    net_pred: NetPredictions,
    scoring: ScoringData,
) -> list[Step]:
    """Try the links one after the other, each on what those that pay have made.

    Args:
        links: In their order.
        start: The stack's prediction.
        net_pred: What the nets say of the N rows.
        scoring: What they are judged by.
    """
    steps: list[Step] = []
    before = start
    for link in links:
        after, rule, rules = _tried(link, before, net_pred, scoring)
        gain = _gain(before, after, scoring)
        alone = gain
        if before is not start:
            alone = _gain(start, _tried(link, start, net_pred, scoring)[0], scoring)
        is_on = gain.low > 0
        steps.append(
            Step(link.name, link.title, after, gain, alone, is_on, rule, rules)
        )
        before = after if is_on else before
    return steps


def _tried(
    link: Postprocessor, before: Start, net_pred: NetPredictions, scoring: ScoringData
) -> tuple[Start, Rule, list[Rule]]:
    """Tune a link for every fold and for all rows."""
    nested = CrossFit.empty(scoring.target, scoring.folds)
    rules = []
    for fold, rest, held_out in outer_folds(scoring.folds):
        seen = before.fit.inner_oof[fold, rest], net_pred.take(rest)
        rule = link.choose(*seen, scoring.take(rest))
        nested.inner_oof[fold, rest] = link.apply(*seen, rule)
        nested.oof_pred[held_out] = link.apply(
            before.fit.oof_pred[held_out], net_pred.take(held_out), rule
        )
        rules.append(rule)
    rule = link.choose(before.apparent, net_pred, scoring)
    apparent = link.apply(before.apparent, net_pred, rule)
    return Start(nested, apparent), rule, rules


def _gain(before: Start, after: Start, scoring: ScoringData) -> Interval:
    return scoring.objective.gain(
        scoring.target, before.fit.oof_pred, after.fit.oof_pred, scoring.cv_groups
    )
