"""What opens the report: how good the prediction is, and what others score."""

import numpy as np
from markupsafe import Markup

from data_prep.reporting.report import (
    Section,
    Tile,
    definitions,
    prose,
    tiles,
    together,
)
from stacking.analysis.class_answers import class_answers, compare_ways, share_right
from stacking.analysis.findings import Findings
from stacking.analysis.residuals import other_scores
from stacking.ensemble.stack import Stacked
from stacking.reporting.wording import (
    baseline_name,
    before_rounding,
    better,
    gain_text,
    interval_text,
    listed,
    number,
    score_digits,
)

LEAKY = (
    "In-sample protocol, for comparison only: the boosters learned from the outputs of"
    " each net on its own training pictures, and stopped early on the fold that is"
    " scored. Neither figure nor prediction should be relied on."
)
BASELINES = {
    "plain": ("the plain net", "mean of its views, nothing stacked"),
    "no_net": ("without any net", "colours and tiny pixels, boosted"),
    "constant": ("a constant", "knows nothing of the picture"),
}
OF_OBJECTS = {
    "plain": ("the plain net", "mean of all pictures, nothing stacked"),
    "constant": ("a constant", "knows nothing of the pictures"),
}
FREQUENT = "always the most frequent class"  # the constant, where it is a class


def glance(stacked: Stacked, findings: Findings) -> Section:
    """Set the headline beside what it is to be compared with.

    Args:
        stacked: The result of the stack.
        findings: All that is told beside the scores.
    """
    objective, final, is_leaky = stacked.objective, stacked.final, stacked.data.is_leaky
    digits = max(score_digits(stacked) - 1, 0)
    interval = f"95 %: {interval_text(final.interval, digits)}"
    label = f"{objective.title}, {'in-sample' if is_leaky else 'out of fold'}"
    score = number(final.scores.pooled, digits)
    figures = [Tile(label=label, value=score, note=interval, is_strong=True)]
    noun = stacked.data.info.noun
    baselines = BASELINES | (OF_OBJECTS if stacked.data.info.objects else {})
    figures += [
        Tile(
            label=title,
            value=number(stacked.line(name).scores.pooled, digits),
            note=FREQUENT if name == "constant" and objective.counts_right else note,
        )
        for name, (title, note) in baselines.items()
        if stacked.has_line(name)
    ]
    further_scores = other_scores(stacked)
    sentences = [LEAKY] * is_leaky + _lost(stacked) + _sentences(stacked)
    if findings.averaging and not findings.is_by_all:
        expected = number(findings.averaging.averaged, score_digits(stacked))
        sentences.append(
            f"Of {noun}s without label the nets' predictions are averaged; from how far"
            f" they disagree, a score of about {expected} may be expected of them"
            f"{before_rounding(stacked)}."
        )
    return Section(
        "At a glance",
        together(
            tiles(figures),
            prose(*sentences),
            definitions(further_scores) if further_scores else Markup(),
        ),
        ""
        if is_leaky
        else f"{better(objective).capitalize()}. Every figure but those called apparent"
        " is of pictures whose label the nets, the stack and the tuning did not see;"
        " only whether a step is on was decided on all rows.",
    )


def _sentences(stacked: Stacked) -> list[str]:
    digits, final = score_digits(stacked), stacked.final
    sentences = []
    if final.gain is not None and final.gain.value == 0:
        sentences.append(
            f"The final prediction is no better than {baseline_name(stacked)}: nothing"
            " that was made of it pays on these rows."
        )
    elif final.gain is not None:
        verdict = (
            "That counts: the interval excludes zero."
            if final.gain.excludes_zero
            else "That does not count: the interval includes zero."
        )
        comparison = "better" if final.gain.value > 0 else "worse"
        gain = gain_text(final.gain, digits)
        sentences.append(
            f"The final prediction is {comparison} than {baseline_name(stacked)}; its"
            f" gain, with the 95 % interval, is {gain}. {verdict}"
        )
    on = [step.title for step in stacked.steps if step.is_on]
    selected = stacked.members[stacked.selected].title
    role = "the selected candidate: " if stacked.has_line("selected") else ""
    begun = f"It begins from {role}{selected}."
    if on:
        sentences.append(f"{begun} Post-processing that pays, and is on: {listed(on)}.")
    elif stacked.steps:
        sentences.append(
            f"{begun} No post-processing pays on these rows, so all of it is off."
        )
    else:
        sentences.append(begun)
    if stacked.data.classes:
        sentences.append(share_right(class_answers(stacked)[0], stacked))
        sentences += [text] if (text := compare_ways(stacked)) else []
    return sentences


def _lost(stacked: Stacked) -> list[str]:
    """Say first of all that the nets are no better than no net, if so."""
    if not stacked.has_line("no_net"):
        return []
    digits, objective = score_digits(stacked), stacked.objective
    no_net, final = (stacked.line(n).scores.pooled for n in ("no_net", "prediction"))
    title, without = objective.title, number(no_net, digits)
    if not np.isfinite(no_net):
        return []
    if not objective.is_better(final, no_net):
        return [
            "The nets lose to no net: colours and tiny pixels alone, boosted, score"
            f" {title} {without}, and the final prediction {number(final, digits)}. Do"
            " not rely on it; the nets have learned too little."
        ]
    plain = stacked.line("plain").scores.pooled if stacked.baseline == "plain" else None
    if plain is not None and not objective.is_better(plain, no_net):
        return [
            "The nets alone lose to no net: colours and tiny pixels, boosted, score"
            f" {title} {without}, and the plain net {number(plain, digits)}. What the"
            " final prediction gains is the stack's; look whether the nets have learned"
            " anything."
        ]
    return []
