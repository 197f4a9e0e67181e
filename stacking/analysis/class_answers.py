"""How often the class of a row is told right, and by which way of telling it.

A number is rounded to the class nearest to it, which is the best guess of how far it is
off. The nets' probabilities name the most probable class, which may be another: between
two likely classes lies a number that is neither. Shares stand beside that of the most
frequent class, which needs no picture, and have intervals over cv groups.

Shapes: N rows, K classes.
"""

from dataclasses import dataclass

import numpy as np

from data_prep.arrays import Floats, Ints
from data_prep.scoring.scores import Interval
from stacking.analysis.residuals import mean_interval, nearest_classes, share_interval
from stacking.ensemble.objective import nearest_class
from stacking.ensemble.score_table import Line
from stacking.ensemble.stack import Stacked

ROUNDED, PROBABLE = "the class nearest to the number", "the nets' most probable class"


@dataclass(frozen=True, kw_only=True)
class ClassAnswers:
    """The classes that one way of telling them gives.

    Attributes:
        title: For people.
        class_idx: (N,) class of each row.
        hits: (N,) 1 where it is right, else 0.
        share: Share of the rows that are right, from 0 to 1.
    """

    title: str
    class_idx: Ints
    hits: Floats
    share: Interval


def class_answers(stacked: Stacked) -> list[ClassAnswers]:
    """Give the classes of the final prediction, and those told in other ways.

    Of a target of numbers: rounded, where a step after the nets' average makes the
    final classes, and the nets' most probable ones, where they have probabilities.
    """
    title = "the final prediction"
    ways = [_answers(title, nearest_classes(stacked), stacked)]
    if not stacked.objective.is_number:
        return ways
    rounded, probable = rounded_classes(stacked), probable_classes(stacked)
    for title, class_idx in ((ROUNDED, rounded), (PROBABLE, probable)):
        if class_idx is not None and (class_idx != ways[0].class_idx).any():
            ways.append(_answers(title, class_idx, stacked))
    return ways


def rounded_classes(stacked: Stacked) -> Ints:
    """Give the (N,) classes nearest to the predicted numbers."""
    values = stacked.features.target_columns.class_values
    return nearest_class(stacked.averaged.prediction, values)


def probable_classes(stacked: Stacked) -> Ints | None:
    """Give the (N,) classes that the nets call most probable; None: they call none."""
    proba = stacked.net_proba
    if proba is None:
        return None
    class_idx: Ints = proba.argmax(axis=1)
    return class_idx


def most_frequent(stacked: Stacked) -> tuple[str, float]:
    """Name the most frequent class, and give its share of the rows."""
    data = stacked.data
    counts = np.bincount(data.info.class_index, minlength=len(data.classes))
    k = int(counts.argmax())
    return data.classes[k], float(counts[k] / counts.sum())


def share_of_line(line: Line, stacked: Stacked) -> float:
    """Give the share of rows whose most probable class is right, from 0 to 1.

    Args:
        line: Of predictions that are probabilities.
        stacked: The result of the stack.
    """
    y_pred = line.prediction.argmax(axis=1)
    return float((y_pred == stacked.data.info.class_index).mean())


def share_right(answers: ClassAnswers, stacked: Stacked) -> str:
    """Say what share of the rows is right, beside that of the most frequent class."""
    share, (name, frequent) = answers.share, most_frequent(stacked)
    return (
        f"{share.value:.1%} of the rows are right (95 %: {share.low:.1%} to"
        f" {share.high:.1%});"
        f" always saying {name}, the most frequent class, would be in {frequent:.1%}."
    )


def compare_ways(stacked: Stacked, command: str) -> str:
    """Say whether rounding or the most probable class is right more often.

    Args:
        stacked: The result of the stack.
        command: What fits it once more, for the advice.

    Returns:
        A sentence or two; empty where there is no number or no probability.
    """
    probable = probable_classes(stacked)
    if not stacked.objective.is_number or probable is None:
        return ""
    first = _answers(ROUNDED, rounded_classes(stacked), stacked)
    second = _answers(PROBABLE, probable, stacked)
    sentence = (
        f"Rounding the number is right in {first.share.value:.1%} of the rows,"
        f" {PROBABLE} in {second.share.value:.1%}"
    )
    gain = mean_interval(second.hits - first.hits, stacked.data.rows.groups)
    if gain.low <= 0 <= gain.high or np.isnan(gain.low):
        return f"{sentence}: neither is surely better ({_points(gain)})."
    if gain.value < 0:  # turned round, so that sign and word agree
        turned = Interval(value=-gain.value, low=-gain.high, high=-gain.low)
        return f"{sentence}: rounding is better ({_points(turned)})."
    return (
        f"{sentence}: the most probable class is better ({_points(gain)})."
        f"{_advice(stacked, command)}"
    )


def _advice(stacked: Stacked, command: str) -> str:
    """Say what to do where the most probable class is surely better."""
    if any(step.name == "most_probable" and step.is_on for step in stacked.steps):
        return " It is what is predicted."
    if stacked.objective.is_of_ordered:
        return ""
    return (
        " If it matters which class it is, and not how far one is off:"
        f' {command} --metric accuracy, or target_kind = "classes" in [data].'
    )


def _answers(title: str, class_idx: Ints, stacked: Stacked) -> ClassAnswers:
    hits = (class_idx == stacked.data.info.class_index).astype(np.float64)
    share = share_interval(hits, stacked.data.rows.groups)
    return ClassAnswers(title=title, class_idx=class_idx, hits=hits, share=share)


def _points(gain: Interval) -> str:
    """Write a difference of two shares in points of a hundred, with its interval."""
    value, low, high = (100 * x for x in (gain.value, gain.low, gain.high))
    return f"{value:+.1f} points, 95 %: {low:+.1f} to {high:+.1f}"
