"""Post-processing, step after step, each tuned, scored nested and made to pay.

The rule for fold k is chosen on the inner predictions of the other folds, which no
label of fold k touched. A step whose nested gain over the one before has an interval
that reaches zero is off. Each is also tried alone, straight after the stack.

Shapes: N rows, F folds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.arrays import Floats
from data_prep.scoring.scores import Interval
from stacking.cross_fitting import CrossFit, without_past
from stacking.ensemble.objective import ScoringData
from stacking.ensemble.postprocessors import Postprocessor, Rule
from stacking.inputs.target_columns import NetPredictions


@dataclass(frozen=True, kw_only=True)
class Start:
    """A prediction that is post-processed.

    Attributes:
        fit: Its cross-fitted predictions, and nested ones of the inner folds.
        apparent: (N, ...) with all that was chosen chosen on the rows themselves; the
            final rules are tuned on it.
    """

    fit: CrossFit
    apparent: Floats


@dataclass(frozen=True, kw_only=True)
class Step:
    """A postprocessor, tuned and scored.

    Attributes:
        name: Of the postprocessor.
        column: Its column in oof.csv.
        title: For people.
        after: The predictions that it gives.
        gain: How much better the nested score is than before it, in the metric.
        alone: How much better it is straight after the stack.
        is_on: Whether it pays.
        rule: What was chosen on all rows.
        rules: F rules, of the nested predictions.
    """

    name: str
    column: str
    title: str
    after: Start
    gain: Interval
    alone: Interval
    is_on: bool
    rule: Rule
    rules: list[Rule]


def run_chain(
    postprocessors: Sequence[Postprocessor],
    start: Start,
    net_pred: NetPredictions,
    scoring: ScoringData,
) -> list[Step]:
    """Try one postprocessor after the other, each on what those that pay have made.

    Args:
        postprocessors: In their order.
        start: The stack's prediction.
        net_pred: The nets' own predictions of the N rows.
        scoring: What they are scored by.
    """
    steps: list[Step] = []
    before = start
    for processor in postprocessors:
        after, rule, rules = _tuned(processor, before, net_pred, scoring)
        gain = alone = _gain(before, after, scoring)
        if before is not start:
            after_start, *_ = _tuned(processor, start, net_pred, scoring)
            alone = _gain(start, after_start, scoring)
        step = Step(
            name=processor.name,
            column=processor.column,
            title=processor.title,
            after=after,
            gain=gain,
            alone=alone,
            is_on=gain.low > 0,
            rule=rule,
            rules=rules,
        )
        steps.append(step)
        before = after if step.is_on else before
    return steps


def _tuned(
    processor: Postprocessor,
    before: Start,
    net_pred: NetPredictions,
    scoring: ScoringData,
) -> tuple[Start, Rule, list[Rule]]:
    """Tune a postprocessor for every fold, and for all rows.

    Returns:
        The predictions after it, the rule of all rows, and those of the F folds.
    """
    fit = CrossFit.empty(scoring.y_true, scoring.folds)
    rules = []
    for fold, train_idx, val_idx in scoring.each_fold():
        inner_oof = before.fit.inner(fold, train_idx)
        of_train = net_pred.take(train_idx)
        rule = processor.choose(inner_oof, of_train, scoring.take(train_idx))
        fit.inner_oof[fold, train_idx] = processor.apply(inner_oof, of_train, rule)
        fit.oof_pred[val_idx] = processor.apply(
            before.fit.oof_pred[val_idx], net_pred.take(val_idx), rule
        )
        rules.append(rule)
    # no rule can be chosen for what nothing comes before
    is_first = without_past(scoring.folds, scoring.train_from)
    fit.oof_pred[is_first] = before.fit.oof_pred[is_first]
    rule = processor.choose(before.apparent, net_pred, scoring)
    apparent = processor.apply(before.apparent, net_pred, rule)
    return Start(fit=fit, apparent=apparent), rule, rules


def _gain(before: Start, after: Start, scoring: ScoringData) -> Interval:
    return scoring.objective.gain(
        scoring.y_true, before.fit.oof_pred, after.fit.oof_pred, scoring.groups
    )
