"""The ladder of the report: what each member scores and each step is worth."""

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
    """Show the race, the post-processing, and all figures of both."""
    return Section(
        "Step by step",
        together(
            _race(stacked),
            *_means(stacked),
            *_chain(stacked),
            *_optimism(stacked),
            folded("All figures, by fold", _all_figures(stacked)),
        ),
        "Dots are scores of all rows at once, lines their 95 % intervals over cv groups"
        " of pictures. What was tuned or chosen is scored nested, on rows that had no"
        " part in it; rings are apparent scores, on the very rows it was tuned on.",
    )


def _race(stacked: Stacked) -> Markup:
    digits, n_steps = score_digits(stacked), len(stacked.steps)
    raced = stacked.lines[: -1 - n_steps]  # before the steps and the final line
    rows = [
        ForestRow(
            name=line.title,
            value=line.scores.pooled,
            low=line.interval.low,
            high=line.interval.high,
            note="" if line.gain is None else f"gain {gain_text(line.gain, digits)}",
            is_strong=line is stacked.final,
            text=number(line.scores.pooled, digits),
            ring=np.nan if line.apparent is None else line.apparent,
        )
        for line in (*raced, stacked.final)
    ]
    has_rings = any(np.isfinite(row.ring) for row in rows)
    return together(
        forest_plot(
            rows, label=f"{stacked.objective.title}, {better(stacked.objective)}"
        ),
        mark_legend(dot="nested", ring="apparent") if has_rings else Markup(),
        prose(f"Gains are over {baseline_name(stacked)}, on the same pictures."),
    )


def _means(stacked: Stacked) -> list[Markup]:
    """Show what the means consist of, and who won where."""
    found = []
    for name, weights in stacked.means.items():
        parts = sorted(weights.items(), key=lambda item: -item[1])
        rows = [
            ForestRow(
                name=stacked.members[part].title, value=weight, text=f"{weight:.0%}"
            )
            for part, weight in parts
            if weight > 0
        ]
        title = stacked.members[name].title
        found += [subheading(f"What the {title} consists of"), bars(rows)]
    if stacked.has_line("winner"):
        found.append(prose(_winners(stacked)))
    return found


def _winners(stacked: Stacked) -> str:
    """Say who wins on all rows, and who for each fold."""
    folds: dict[str, list[str]] = {}
    for fold, selected in enumerate(stacked.selected_by_fold):
        folds.setdefault(stacked.members[selected].title, []).append(str(fold))
    won = [
        f"{title} for fold{'s' * (len(own) > 1)} {listed(own)}"
        for title, own in folds.items()
    ]
    whose = f"{listed(list(folds))} for each" if len(folds) == 1 else ", ".join(won)
    selected = stacked.members[stacked.selected].title
    return (
        "The best of many close scores is luck, so the blend wins unless a member is"
        f" surely better. On all rows the winner is {selected}. So that no"
        " label chooses its own prediction, the nested score takes for each fold what"
        f" wins on the other folds: {whose}."
    )


def _chain(stacked: Stacked) -> list[Markup]:
    """Show what each link of the post-processing and the clipping are worth."""
    found: list[ForestRow] = []
    digits = score_digits(stacked)
    for step in stacked.steps:
        found.append(
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
        )
    if stacked.clip is not None:
        clip = stacked.clip
        text = signed(clip.value, digits)
        found.append(
            ForestRow(
                name="clipped to the target's range",
                value=clip.value,
                low=clip.low,
                high=clip.high,
                note="always on",
                text=text,
            )
        )
    if not found:
        return []
    shown = [
        subheading("What post-processing is worth"),
        forest_plot(found, label=f"{stacked.objective.title} gained", guide=0.0),
    ]
    if stacked.steps:
        shown += [
            mark_legend(
                dot="in the chain, after the links before it that are on", ring="alone"
            ),
            prose(
                "Right of the dashed line a link helps on rows that had no part in its"
                " tuning. One whose interval reaches the line may help by chance, and"
                " is off."
            ),
        ]
    return shown


def rule_text(step: Step, stacked: Stacked) -> str:
    """Say what a link's rule is, and what it is for the folds where it is a number."""
    rule, others = step.rule, step.rules
    if "weight" in rule:
        texts = [f"{one['weight']:.2f}" for one in (rule, *others)]
        if set(texts) == {"1.00"}:
            return "nothing is mixed in"
        return f"{texts[0]} of it is kept{_by_fold(texts)}"
    if "thresholds" in rule:
        if min(rule["thresholds"]) > NEVER_SURE:
            return "no class is ever sure enough"
        if len(set(rule["thresholds"])) == 1:
            texts = [_sure(one["thresholds"][0]) for one in (rule, *others)]
            return f"sure from a probability of {texts[0]}{_by_fold(texts)}"
        classes = stacked.features.rows.classes
        sure = zip(classes, rule["thresholds"], strict=True)
        return "; ".join(f"{name}: {_sure(at)}" for name, at in sure)
    if "cuts" in rule:
        digits = unit_digits(stacked)
        return f"at {', '.join(number(cut, digits) for cut in rule['cuts'])}"
    return f"{len(rule['x'])} corners" if "x" in rule else ""


def _by_fold(texts: Sequence[str]) -> str:
    """Name what was chosen for the folds, where it is not all the same."""
    return f" (by fold {', '.join(texts[1:])})" if len(set(texts)) > 1 else ""


def _sure(threshold: float) -> str:
    return "never" if threshold > NEVER_SURE else f"{threshold:.2f}"


def _optimism(stacked: Stacked) -> list[Markup]:
    final, digits = stacked.final, score_digits(stacked)
    if final.apparent is None or stacked.optimism == 0:
        return []
    return [
        prose(
            "On the rows that weights and rules were chosen on, the final prediction"
            f" scores {number(final.apparent, digits)}; nested, it scores"
            f" {number(final.scores.pooled, digits)}. The difference,"
            f" {signed(stacked.optimism, digits)}, is the optimism of the choice."
        )
    ]


def _all_figures(stacked: Stacked) -> Markup:
    digits, folds = score_digits(stacked), range(stacked.features.rows.n_folds)
    figures = pd.DataFrame(
        [
            {
                "step": line.label,
                "apparent": np.nan if line.apparent is None else line.apparent,
                "nested": line.scores.pooled,
                "95 %": interval_text(line.interval, digits).replace(" to ", TO),
                "gain": "" if line.gain is None else signed(line.gain.value, digits),
                "95 % of it": "" if line.gain is None else ends_text(line.gain, digits),
                "mean of folds": line.scores.mean,
                **{f"fold {k}": line.scores.by_fold.get(k, np.nan) for k in folds},
            }
            for line in stacked.lines
        ]
    )
    caption = f"Gains are over {baseline_name(stacked)}."
    return table(figures, caption, digits=digits, strong=[len(figures) - 1])
