"""A part of the report: what each member scores and each step is worth."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup

from data_prep.reporting.charts import ForestRow, bars, forest_plot, mark_legend
from data_prep.reporting.report import (
    Section,
    folded,
    prose,
    subheading,
    table,
    together,
)
from stacking.ensemble.postprocess import Step
from stacking.ensemble.score_table import distinct
from stacking.ensemble.stack import Stacked
from stacking.reporting.wording import (
    TO,
    baseline_name,
    better,
    ends_text,
    gain_text,
    interval_text,
    listed,
    number,
    score_digits,
    signed,
    unit_digits,
)

NEVER_SURE = 1.0  # a threshold above is reached by no probability


def steps(stacked: Stacked) -> Section:
    """Show the candidates, the post-processing, and all figures of both."""
    return Section(
        "Step by step",
        together(
            _candidates(stacked),
            *_means(stacked),
            *_chain(stacked),
            _optimism(stacked),
            folded("All figures, by fold", _all_figures(stacked)),
        ),
        "Dots are scores of all rows at once, lines their 95 % intervals over groups of"
        " pictures. What was tuned or chosen is scored nested, on rows that had no"
        " part in it; rings are apparent scores, on the very rows it was tuned on."
        " There is nothing to switch: what pays is on. A stacker that has no part in"
        " the blend may be left out of stackers, which saves time.",
    )


def _candidates(stacked: Stacked) -> Markup:
    digits, n_steps = score_digits(stacked), len(stacked.steps)
    # before the steps, and the final line
    candidates = distinct([*stacked.lines[: -1 - n_steps], stacked.final])
    rows = [
        ForestRow(
            name=line.title,
            value=line.scores.pooled,
            low=line.interval.low,
            high=line.interval.high,
            note="" if line.gain is None else f"gain {gain_text(line.gain, digits)}",
            is_strong=line.name == stacked.final.name,
            text=number(line.scores.pooled, digits),
            ring=np.nan if line.apparent is None else line.apparent,
        )
        for line in candidates
    ]
    has_rings = any(np.isfinite(row.ring) for row in rows)
    return together(
        forest_plot(
            rows, label=f"{stacked.objective.title}, {better(stacked.objective)}"
        ),
        mark_legend(dot="nested", ring="apparent") if has_rings else Markup(),
        prose(f"Gains are over {baseline_name(stacked)}, on the same rows."),
    )


def _means(stacked: Stacked) -> list[Markup]:
    """Show what the means consist of, and which candidate was selected where."""
    pieces = []
    for name, weights in stacked.weights_by_mean.items():
        rows = [
            ForestRow(
                name=stacked.members[member].title, value=weight, text=f"{weight:.0%}"
            )
            for member, weight in sorted(weights.items(), key=lambda item: -item[1])
            if weight > 0
        ]
        heading = f"What the {stacked.members[name].title} consists of"
        heading += ", in the first deal" if stacked.deals else ""
        pieces += [subheading(heading), bars(rows)]
    if stacked.has_line("selected"):
        pieces.append(prose(_selection(stacked)))
    return pieces


def _selection(stacked: Stacked) -> str:
    """Say what is selected on all rows, and what for each fold."""
    folds: dict[str, list[str]] = {}
    for fold, name in enumerate(stacked.selected_by_fold):
        folds.setdefault(stacked.members[name].title, []).append(str(fold))
    by_title = [
        f"{title} for fold{'s' * (len(numbers) > 1)} {listed(numbers)}"
        for title, numbers in folds.items()
    ]
    is_same = len(folds) == 1
    by_fold = f"{listed(list(folds))} for each" if is_same else ", ".join(by_title)
    selected = stacked.members[stacked.selected].title
    return (
        "The best of many close scores is luck, so the blend is selected unless a"
        f" member is surely better. On all rows {selected} is selected. So that no"
        " label chooses its own prediction, the nested score takes for each fold what"
        f" is selected on the other folds: {by_fold}."
    )


def _chain(stacked: Stacked) -> list[Markup]:
    """Show what each post-processor and the clipping are worth."""
    digits = score_digits(stacked)
    rows = [
        ForestRow(
            name=step.title,
            value=step.gain.value,
            low=step.gain.low,
            high=step.gain.high,
            note=f"{'on' if step.is_on else 'off'}; {rule_text(step, stacked)}",
            is_strong=step.is_on,
            text=signed(step.gain.value, digits),
            ring=step.alone.value,
        )
        for step in stacked.steps
    ]
    if clip := stacked.clip:
        rows.append(
            ForestRow(
                name="clipped to the target's range",
                value=clip.value,
                low=clip.low,
                high=clip.high,
                note="always on",
                text=signed(clip.value, digits),
            )
        )
    if not rows:
        return []
    shown = [
        subheading("What post-processing is worth"),
        forest_plot(rows, label=f"{stacked.objective.title} gained", guide=0.0),
    ]
    if stacked.steps:
        shown += [
            mark_legend(
                dot="in the chain, after the steps before it that are on", ring="alone"
            ),
            prose(
                "Right of the dashed line a step helps on rows that had no part in its"
                " tuning. One whose interval reaches the line may help by chance, and"
                " is off."
            ),
        ]
    return shown


def rule_text(step: Step, stacked: Stacked) -> str:
    """Say what a step's rule is, and what it is for the folds where it is a number."""
    rule, rules = step.rule, [step.rule, *step.rules]
    if "weight" in rule:
        texts = [f"{fold_rule['weight']:.2f}" for fold_rule in rules]
        if set(texts) == {"1.00"}:
            return "nothing is blended in"
        return f"{texts[0]} of it is kept{_by_fold(texts)}"
    if "min_proba" in rule:
        if min(rule["min_proba"]) > NEVER_SURE:
            return "no class is ever sure enough"
        if len(set(rule["min_proba"])) == 1:
            texts = [_proba_text(fold_rule["min_proba"][0]) for fold_rule in rules]
            return f"sure from a probability of {texts[0]}{_by_fold(texts)}"
        classes = stacked.data.classes
        by_class = zip(classes, rule["min_proba"], strict=True)
        return "; ".join(f"{name}: {_proba_text(least)}" for name, least in by_class)
    if "thresholds" in rule:
        digits = unit_digits(stacked)
        return f"at {', '.join(number(t, digits) for t in rule['thresholds'])}"
    return f"{len(rule['x'])} corners" if "x" in rule else "nothing is tuned"


def _by_fold(texts: Sequence[str]) -> str:
    """Name what was chosen for the folds, where it is not all the same."""
    return f" (by fold {', '.join(texts[1:])})" if len(set(texts)) > 1 else ""


def _proba_text(min_proba: float) -> str:
    return "never" if min_proba > NEVER_SURE else f"{min_proba:.2f}"


def _optimism(stacked: Stacked) -> Markup:
    final, digits = stacked.final, score_digits(stacked)
    if final.apparent is None or stacked.optimism == 0:
        return Markup()
    return prose(
        "On the rows that weights and rules were chosen on, the final prediction scores"
        f" {number(final.apparent, digits)}; nested, it scores"
        f" {number(final.scores.pooled, digits)}. The difference,"
        f" {signed(stacked.optimism, digits)}, is the optimism of the choice."
    )


def _all_figures(stacked: Stacked) -> Markup:
    digits, parts = score_digits(stacked), [*enumerate(stacked.parts)]
    figures = pd.DataFrame(
        [
            {
                "step": line.label,
                "apparent": np.nan if line.apparent is None else line.apparent,
                "nested": line.scores.pooled,
                "95 %": interval_text(line.interval, digits).replace(" to ", TO),
                "gain": "" if line.gain is None else signed(line.gain.value, digits),
                "95 % of it": "" if line.gain is None else ends_text(line.gain, digits),
                f"mean of {'deals' if stacked.deals else 'folds'}": line.scores.mean,
                **{name: line.scores.by_fold.get(k, np.nan) for k, name in parts},
            }
            for line in distinct(stacked.lines)
        ]
    )
    caption = f"Gains are over {baseline_name(stacked)}."
    return table(figures, caption, digits=digits, strong=[len(figures) - 1])
