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
from stacking.analysis.class_answers import (
    class_answers,
    compare_ways,
    most_frequent,
    share_of_line,
    share_right,
)
from stacking.analysis.findings import Findings
from stacking.analysis.residuals import other_scores
from stacking.ensemble.candidates import CONSTANT
from stacking.ensemble.objective import Objective
from stacking.ensemble.stack import Stacked
from stacking.models.pixel_trees import PIXELS
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
    PIXELS: ("without any net", "colours and tiny pixels, boosted"),
    "constant": ("a constant", "knows nothing of the picture"),
}
OF_OBJECTS = {
    "plain": ("the plain net", "mean of all pictures, nothing stacked"),
    "constant": ("a constant", "knows nothing of the pictures"),
}
FREQUENT = "always the most frequent class"  # the constant, where it is a class


def glance(stacked: Stacked, findings: Findings, command: str) -> Section:
    """Set the headline beside what it is to be compared with.

    Args:
        stacked: The result of the stack.
        findings: All that is told beside the scores.
        command: What fits the stack once more.
    """
    objective, is_leaky = stacked.objective, stacked.data.is_leaky
    noun = stacked.data.info.noun
    figures = _accuracies(stacked) if objective.leads_with_share else _scores(stacked)
    further_scores = other_scores(stacked)
    sentences = [LEAKY] * is_leaky + _lost(stacked) + _sentences(stacked, command)
    if findings.averaging and not findings.is_by_all:
        expected = number(findings.averaging.averaged, score_digits(stacked))
        sentences.append(
            f"Of {noun}s without label the nets' predictions are averaged; from how far"
            f" they disagree, {objective.title} of about {expected} may be expected of"
            " them"
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
        else f"{_direction(objective)}. Every figure but those called apparent"
        " is of pictures whose label the nets, the stack and the tuning did not see;"
        " only whether a step is on was decided on all rows.",
    )


def _direction(objective: Objective) -> str:
    """Say which way is up, of every metric that is told."""
    if not objective.leads_with_share:
        return better(objective).capitalize()
    return f"Of the accuracy higher is better, of the {objective.title} lower"


def _label(title: str, stacked: Stacked) -> str:
    return f"{title}, {'in-sample' if stacked.data.is_leaky else 'out of fold'}"


def _baselines(stacked: Stacked) -> dict[str, tuple[str, str]]:
    """Give title and note of what there is to compare with, by line."""
    baselines = BASELINES | (OF_OBJECTS if stacked.data.info.objects else {})
    return {name: of for name, of in baselines.items() if stacked.has_line(name)}


def _scores(stacked: Stacked) -> list[Tile]:
    """Set the score of the prediction, and those of what it should beat."""
    objective, final = stacked.objective, stacked.final
    digits = max(score_digits(stacked) - 1, 0)
    return [
        Tile(
            label=_label(objective.title, stacked),
            value=number(final.scores.pooled, digits),
            note=f"95 %: {interval_text(final.interval, digits)}",
            is_strong=True,
        ),
        *(
            Tile(
                label=title,
                value=number(stacked.line(name).scores.pooled, digits),
                note=(
                    FREQUENT if name == CONSTANT and objective.counts_right else note
                ),
            )
            for name, (title, note) in _baselines(stacked).items()
        ),
    ]


def _accuracies(stacked: Stacked) -> list[Tile]:
    """Set how often the prediction is right, and what it should beat."""
    share = class_answers(stacked)[0].share
    name, frequent = most_frequent(stacked)
    return [
        Tile(
            label=_label("accuracy", stacked),
            value=f"{share.value:.1%}",
            note=f"95 %: {share.low:.1%} to {share.high:.1%}",
            is_strong=True,
        ),
        Tile(
            label="the most frequent class",
            value=f"{frequent:.1%}",
            note=f"always saying {name}",
        ),
        *(
            Tile(
                label=title,
                value=f"{share_of_line(stacked.line(line), stacked):.1%}",
                note=note,
            )
            for line, (title, note) in _baselines(stacked).items()
            if line != CONSTANT
        ),
    ]


def _on_gain(stacked: Stacked) -> str:
    """Say whether the final prediction is surely better than the baseline."""
    gain, baseline = stacked.final.gain, baseline_name(stacked)
    if gain is None:
        return ""
    if gain.value == 0:
        return (
            f"The final prediction is no better than {baseline}: nothing that was made"
            " of it pays on these rows."
        )
    shown = gain_text(gain, score_digits(stacked))
    figures = (
        f"its gain in {stacked.objective.title}, with the 95 % interval, is {shown}"
    )
    if not gain.excludes_zero:
        return (
            "The final prediction is neither surely better nor surely worse than"
            f" {baseline}: {figures}, which includes zero."
        )
    comparison = "better" if gain.value > 0 else "worse"
    return (
        f"The final prediction is {comparison} than {baseline}: {figures}, which"
        " excludes zero."
    )


def _on_metric(stacked: Stacked, command: str) -> str:
    """Say what classes are compared by, where people are told the accuracy first."""
    objective, final = stacked.objective, stacked.final
    digits = max(score_digits(stacked) - 1, 0)
    constant = ""
    if stacked.has_line(CONSTANT):
        score = stacked.line(CONSTANT).scores.pooled
        constant = f"; a constant scores {number(score, digits)}"
    return (
        f"Members and steps are compared by {objective.title}, which also judges how"
        f" sure a prediction is: {number(final.scores.pooled, digits)} (95 %:"
        f" {interval_text(final.interval, digits)}){constant}. By accuracy instead:"
        f" {command} --metric accuracy."
    )


def _sentences(stacked: Stacked, command: str) -> list[str]:
    has_share = stacked.objective.leads_with_share  # in figures, above the sentences
    sentences = [_on_metric(stacked, command)] if has_share else []
    sentences += [text] if (text := _on_gain(stacked)) else []
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
    if stacked.data.classes and not has_share:
        sentences.append(share_right(class_answers(stacked)[0], stacked))
        sentences += [text] if (text := compare_ways(stacked, command)) else []
    return sentences


def _lost(stacked: Stacked) -> list[str]:
    """Say first of all that the nets are no better than no net, if so."""
    if not stacked.has_line(PIXELS):
        return []
    digits, objective = score_digits(stacked), stacked.objective
    pixels, final = (stacked.line(n).scores.pooled for n in (PIXELS, "prediction"))
    title, without = objective.title, number(pixels, digits)
    if not np.isfinite(pixels):
        return []
    if not objective.is_better(final, pixels):
        return [
            "The final prediction is no better than a model without nets: colours and"
            f" tiny pixels alone, boosted, score {title} {without}, and the final"
            f" prediction {number(final, digits)}."
        ]
    plain = stacked.line("plain").scores.pooled if stacked.baseline == "plain" else None
    if plain is not None and not objective.is_better(plain, pixels):
        gain = stacked.line(PIXELS).gain  # over the plain nets
        surely = gain is not None and gain.low > 0
        are = "are worse" if surely else "are not surely better"
        return [
            f"The nets alone {are} than a model without nets: colours and tiny pixels,"
            f" boosted, score {title} {without}, and the plain net"
            f" {number(plain, digits)}. What the"
            " final prediction gains is the stack's; look whether the nets have learned"
            " anything."
        ]
    return []
