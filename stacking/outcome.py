"""What a finished run has come to: its score, its report, and what to type next."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from data_prep.reporting.numerals import style_for
from data_prep.run_folders.runs import Run

FIT, EXTRACTED = "stacking.fit", "features.extract"
PRETEXT, PROBED = "pretext.", "pretext.probe"
log = logging.getLogger(__name__)


def log_outcome(run: Run, stages: Sequence[str]) -> None:
    """Say the score, if one is made, where the last report is, and what comes next.

    Args:
        run: The finished run.
        stages: Those that leave something, in their order.
    """
    if FIT in stages:
        for text in _scores(run.finished(FIT).metadata):
            log.info("%s", text)
    for stage in reversed(stages):
        report = run.folder / stage / "report.html"
        if run.has(stage) and report.exists():
            log.info("report: %s", report)
            break
    if EXTRACTED in stages and FIT not in stages:
        for text in next_steps(run):
            log.info("%s", text)


def _scores(metadata: Mapping[str, Any]) -> list[str]:
    """Write the score of a stack; of classes the accuracy first."""
    texts = []
    if "accuracy" in metadata:
        value, low, high = metadata["accuracy"]
        name, frequent = metadata["most_frequent"]
        texts.append(
            f"accuracy {value:.1%} (95 % interval {low:.1%} to {high:.1%}, by groups;"
            f" always {name}, the most frequent class: {frequent:.1%})"
        )
    style = style_for(metadata["score"])
    low, high = metadata["interval"]
    score, constant = (f"{metadata[key]:{style}}" for key in ("score", "constant"))
    return [
        *texts,
        f"{metadata['metric']} {score} (95 % interval {low:{style}} to {high:{style}},"
        f" by groups; constant {constant})",
    ]


def next_steps(run: Run) -> list[str]:
    """Say how features are looked at that nothing is stacked of.

    Nobody has measured what those of a pretext are worth, unless they were probed.

    Args:
        run: With a finished ``features.extract``.
    """
    source = run.recorded(EXTRACTED).record["settings"]["source"]
    texts = [f"pictures that are alike: python -m features.similar --run {run.folder}"]
    if source.startswith(PRETEXT) and not run.has(PROBED):
        texts.append(
            "these features may be no better than those of random weights, which nobody"
            f" has measured; python -m {PROBED} --run {run.folder} does, by the labels"
            " of a table ([data] train and target)"
        )
    return texts
