"""What the numbers of a pretraining mean, in a sentence each, and what to do.

Each function takes numbers and gives a sentence, or nothing where there is nothing to
say. Torch-free.
"""

import math
from collections.abc import Mapping

from data_prep.scoring.scores import Interval

SURE = 1.96  # standard errors on either side of a 95 % interval
HARDLY = 1.5  # times chance
MINUTE_S = 60
HELPS = "it helps"  # so begins the verdict after which there is nothing to do
READY = 'init = "timm:NAME" in [transfer.finetune]'


def on_chance(
    accuracy: float, n_answers: int, chance: float, *, helps: bool = False
) -> str:
    """Judge how often the questions of held-out pictures are answered right.

    Few right answers alone do not say that nothing is learned where the features tell a
    label better than before: then it has learned, and only the figures are told.

    Args:
        accuracy: Share of right answers.
        n_answers: How many there are.
        chance: Share that guessing gets right.
        helps: The features surely tell a label better than the first weights did.
    """
    low, high = wilson(accuracy, n_answers)
    figures = (
        f"{accuracy:.1%} of {n_answers:,} held-out answers are right (95 %:"
        f" {low:.1%} to {high:.1%}) and guessing gets {chance:.1%}"
    )
    if helps and (high < HARDLY * chance or low <= chance):
        return (
            f"its questions are hardly answered yet: {figures}; its features help all"
            " the same, and more --epochs may make them better"
        )
    if high < HARDLY * chance:
        return (
            f"it has learned next to nothing: {figures}; give it more --epochs, or"
            f" begin from ready weights: {READY}"
        )
    if low <= chance:
        return (
            f"whether it has learned anything cannot be told: {figures}; more pictures"
            " or a larger --held-out would tell"
        )
    return ""


def wilson(share: float, n: int) -> tuple[float, float]:
    """Give the 95 % interval of a share of n, by Wilson's score."""
    centre = share + SURE**2 / (2 * n)
    half = SURE * math.sqrt(share * (1 - share) / n + (SURE / (2 * n)) ** 2)
    return (centre - half) / (1 + SURE**2 / n), (centre + half) / (1 + SURE**2 / n)


def is_sure_to_help(gains: Mapping[str, Interval]) -> bool:
    """Tell whether the features surely tell a label better than the first weights.

    Args:
        gains: By task, of the score of a ridge, with its interval; NaN: unknown.
    """
    return any(gain.excludes_zero and gain.value > 0 for gain in gains.values())


def on_probe(gains: Mapping[str, Interval], seconds: float) -> str:
    """Judge whether the features tell the labels better than the first weights did.

    Args:
        gains: By task, of the score of a ridge, with its interval; NaN: unknown.
        seconds: What the training took.
    """
    sure = {task: gain for task, gain in gains.items() if gain.excludes_zero}
    texts = [
        f"{task} {_direction(gain)}({gain.value:+.3f}, 95 %: {gain.low:+.3f} to"
        f" {gain.high:+.3f})"
        for task, gain in (sure or gains).items()
        if math.isfinite(gain.low)
    ]
    if not texts:
        return ""
    if is_sure_to_help(gains):
        return (
            f"{HELPS}, so keep it: its features tell {', '.join(texts)} than the first"
            " weights"
        )
    spent = f"{seconds / MINUTE_S:.0f} min" if seconds >= 2 * MINUTE_S else (
        f"{seconds:.0f} s"
    )  # fmt: skip
    remedy = (
        f"{spent} were spent for nothing so far: give it more --epochs, or leave it out"
        f" and begin from ready weights: {READY}"
    )
    if sure:
        return (
            f"it hurts: its features tell {', '.join(texts)} than the first weights;"
            f" {remedy}"
        )
    return (
        "it does not surely help: its features tell the labels no better than the first"
        f" weights ({', '.join(texts)}); {remedy}"
    )


def _direction(gain: Interval) -> str:
    """Name the direction of a gain that is sure."""
    if not gain.excludes_zero:
        return ""
    return "better " if gain.value > 0 else "worse "
