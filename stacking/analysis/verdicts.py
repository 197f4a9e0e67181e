"""What the numbers of a stack mean, in a sentence each, and what to do.

Each function takes numbers and gives a sentence, or nothing where there is nothing to
say.

Shapes: N scored rows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_prep.reporting.numerals import four_digits
from data_prep.scoring.scores import Interval
from data_prep.telling_columns import share_told, verdict
from stacking.ensemble.candidates import CONSTANT
from stacking.ensemble.objective import Objective
from stacking.ensemble.stack import Stacked
from stacking.inputs.assemble import USER_TASK
from stacking.inputs.data import StackingData
from stacking.models.pixel_trees import PIXELS

MUCH = 0.5  # of the time of all stages
LONG_S = 60.0  # a shorter pretext is no loss
PRETEXT = "pretext."
RIVALS = {CONSTANT: "a constant", PIXELS: "a model without nets"}
MINUTE_S = 60


def verdicts_on(stacked: Stacked, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say in plain words what to look at, and what to do.

    Args:
        stacked: The result of the stack.
        records: Of the stages before it.
    """
    sentences = [on_time(records), on_teacher(records), *on_columns(stacked.data)]
    if stacked.baseline == "plain":
        plain, metric = stacked.line("plain").scores.pooled, stacked.objective.title
        of_nets = [
            on_nets(plain, title, line.scores.pooled, gain=gain, metric=metric)
            for name, title in RIVALS.items()
            if stacked.has_line(name)
            and (gain := (line := stacked.line(name)).gain) is not None
            # close to a model that has learned something is not next to nothing
            and (name == CONSTANT or gain.value >= 0)
        ]
        sentences.insert(0, next(filter(None, of_nets), ""))
    rivals = {
        title: stacked.line(name).scores.pooled
        for name, title in RIVALS.items()
        if stacked.has_line(name)
    }
    result = on_result(stacked.final.scores.pooled, rivals, stacked.objective)
    sentences.insert(0, result)
    return [sentence for sentence in sentences if sentence]


def on_result(final: float, rivals: Mapping[str, float], objective: Objective) -> str:
    """Judge whether the final prediction beats what needs no nets.

    Args:
        final: Its nested score.
        rivals: Scores by what it should beat, the least first.
        objective: What is scored by.
    """
    for name, score in rivals.items():
        if not objective.is_better(final, score):
            advice = "do not rely on it; " if name == RIVALS[CONSTANT] else ""
            return (
                f"the final prediction is no better than {name} ({objective.title}"
                f" {four_digits(final)} against {four_digits(score)}): {advice}the nets"
                " have learned too little that holds for other groups, so train them"
                " longer (transfer.finetune --epochs), on more pictures, or from ready"
                " weights (--init timm:NAME)"
            )
    return ""


def on_nets(
    net: float, rival: str, score: float, *, gain: Interval, metric: str
) -> str:
    """Judge whether the plain nets are better than what needs none.

    Args:
        net: Score of the plain nets, nothing stacked.
        rival: What needs none, such as a constant.
        score: Its score.
        gain: How much better it is than the nets, with its interval.
        metric: Title of what is scored.
    """
    if gain.high < 0:
        return ""
    surely = "are worse" if gain.low > 0 else "are not surely better"
    return (
        f"the nets alone {surely} than {rival} ({metric} {four_digits(net)} against"
        f" {four_digits(score)}): what the stack gains is not theirs; fine-tune"
        " longer (transfer.finetune --epochs), or from ready weights (--init timm:NAME)"
    )


def on_columns(data: StackingData) -> list[str]:
    """Ask of each user's column that tells the target alone whether it is known.

    Args:
        data: The rows, with the user's columns among their features.
    """
    if data.info.user_columns is None:
        return []
    rows, is_class = data.rows, data.target_range is None
    y = rows.y.argmax(axis=1).astype(np.float64) if is_class else rows.y
    of_user = [k for k, column in enumerate(data.columns) if column.task == USER_TASK]
    sentences, start = [], 0
    for column in data.info.user_columns.columns:
        width = len(column.outputs)
        X = rows.X[:, of_user[start : start + width]]
        start += width
        share = share_told(X, y, rows.folds, is_class=is_class)
        sentences.append(verdict(column.name, share, "the target", is_class=is_class))
    return sentences


def on_teacher(records: Sequence[Mapping[str, Any]]) -> str:
    """Say what is no longer told of pictures that the nets learned without a label.

    Args:
        records: Of the stages before the stack.
    """
    teachers = [record["settings"].get("pseudo_labels") for record in records]
    names = [teacher["run"] for teacher in teachers if teacher]
    if not names:
        return ""
    return (
        f"the nets learned pictures without label by what those of the run {names[0]!r}"
        " say of them; none of that is in a score, but how much they disagree on such"
        " pictures, and how well test pictures are told from training ones, says less"
        " than of pictures that no net has learned"
    )


def on_time(records: Sequence[Mapping[str, Any]]) -> str:
    """Judge whether a pretext was worth its time.

    It was not if it took a minute and half of the time of all stages or more, and its
    features told no label surely better than its first weights. One that no other stage
    read is passed over.

    Args:
        records: Of the stages before the stack.
    """
    total = sum(record["seconds"] for record in records)
    read = {name for record in records for name in record["reads"]}
    for record in records:
        stage, seconds = record["stage"], record["seconds"]
        gains = record["facts"].get("probe_gains")
        if not (stage.startswith(PRETEXT) and stage in read and gains and total):
            continue
        helps = any(low > 0 for _, low, _ in gains.values())
        if seconds >= max(LONG_S, MUCH * total) and not helps:
            return (
                f"{stage} took {seconds / MINUTE_S:.0f} min, {seconds / total:.0%} of"
                " the time of all stages, and its features tell the labels no better"
                " than its first weights: leave it out, and begin from ready weights"
                " (transfer.finetune --init timm:NAME)"
            )
    return ""
