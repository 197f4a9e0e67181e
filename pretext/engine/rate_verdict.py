"""Was the learning rate too high? Told by the losses of the epochs. Torch-free."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, variance

from data_prep.reporting.numerals import four_digits

FEWEST = 4  # epochs after the warm-up that a verdict needs
SURE = 3.0  # standard errors
JUMP = 1.1  # times the loss of the first epoch
SLOWER = 3.0  # by what the rate that is proposed is smaller


def on_rate(losses: Sequence[float], *, warmup: float, learning_rate: float) -> str:
    """Judge the learning rate; nothing where the losses do not speak against it.

    It is too high if the losses of the second half of the epochs after the warm-up are
    surely higher than those of the first half, or if two epochs or more lie a tenth
    above the very first, whatever the schedule made good afterwards.

    Args:
        losses: Of the epochs, in order, the means over their steps.
        warmup: Share of the training in which the rate rises.
        learning_rate: Its peak.
    """
    later = losses[math.ceil(len(losses) * warmup) :]
    if len(later) < FEWEST:
        return ""
    text = ""
    first, last = later[: len(later) // 2], later[-(len(later) // 2) :]
    error = math.sqrt((variance(first) + variance(last)) / len(first))
    n_jumps = sum(loss > JUMP * losses[0] for loss in losses[1:])
    if fmean(last) - fmean(first) > SURE * error:
        text = (
            f"the loss rises after the warm-up, from {four_digits(fmean(first))} to"
            f" {four_digits(fmean(last))} in the mean of the later epochs"
        )
    elif losses[0] > 0 and n_jumps > 1:
        highest = max(range(len(losses)), key=losses.__getitem__)
        text = (
            f"the loss was {four_digits(losses[0])} in the first epoch and"
            f" {four_digits(losses[highest])} in epoch {highest + 1}"
        )
    return f"{text}: {_remedy(learning_rate)}" if text else ""


def losses_of(epochs: Mapping[int, Mapping[str, float]]) -> list[float]:
    """Give the losses of the rows that ``pretext.engine.epochs`` wrote, in order."""
    return [row["loss"] for _, row in sorted(epochs.items()) if "loss" in row]


def _remedy(learning_rate: float) -> str:
    slower = f"{learning_rate / SLOWER:.1g}"
    return (
        f"learning_rate = {learning_rate:g} is too high; try --learning-rate {slower},"
        " or let --find-lr suggest one"
    )
