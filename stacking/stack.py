"""The whole stack in memory: members, post-processing, scores and predictions.

Shapes: N scored rows, M pictures to predict, F folds, K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.scores import FoldScores, Interval
from stacking.inner import CrossFit
from stacking.losses import Loss
from stacking.members import Scales, constant, fit_alone, predict_net
from stacking.postprocess import (
    Step,
    Sureness,
    after_blend,
    blend_step,
    snap_step,
    snapped,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """One line of the table of steps.

    Attributes:
        name: Short name, that of its column in oof.csv.
        title: Name for people.
        prediction: (N, ...) nested where something was tuned.
        scores: By fold and as a whole.
        interval: 95 % interval over draws of clusters.
        gain: How much better than the baseline; None: it is the baseline itself.
        apparent: Score with rules chosen on the scored rows; None: nothing was tuned.
        is_off: A step that does not pay.
    """

    name: str
    title: str
    prediction: Floats
    scores: FoldScores
    interval: Interval
    gain: Interval | None
    apparent: float | None = None
    is_off: bool = False

    @property
    def label(self) -> str:
        """Its title, and whether it is off."""
        return f"{self.title} (off)" if self.is_off else self.title


@dataclass(frozen=True)
class Stacked:
    """What came out.

    Attributes:
        scales: The rows, on the nets' own scales and on the common one.
        loss: What it is judged by.
        members: The members that are blended, the boosters first.
        steps: The steps of the post-processing.
        lines: The lines of the table, from the constant to the final prediction.
        baseline: Name of the line that gains are measured by.
        shares: (N, K) class probabilities of the nets, or None.
    """

    scales: Scales
    loss: Loss
    members: Mapping[str, CrossFit]
    steps: tuple[Step, ...]
    lines: tuple[Line, ...]
    baseline: str
    shares: Floats | None

    def line(self, name: str) -> Line:
        """Find a line by its name."""
        return next(line for line in self.lines if line.name == name)

    @property
    def final(self) -> Line:
        """The line of the prediction that is handed out."""
        return self.lines[-1]

    @property
    def remark(self) -> str:
        """Where the plain net scores better than what is handed out, say so."""
        if self.baseline != "plain" or self.scales.rows.in_sample:
            return ""
        plain, final = self.line("plain").scores.pooled, self.final.scores.pooled
        if plain >= final:
            return ""
        return (
            "The plain net scores better in cross-validation than the stack"
            f" ({plain:.4f} against {final:.4f}); on averaged test nets the stack may"
            " still gain: see docs/decisions.md."
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """All that a reader of the scores should know of."""
        return (*self.scales.rows.notes, *filter(None, [self.remark]))


def stack(scales: Scales, members: Mapping[str, CrossFit], seed: int) -> Stacked:
    """Post-process the members and score every step.

    Args:
        scales: The rows.
        members: The cross-fitted members, the boosters first.
        seed: Seed of the inner splits of the tasks alone.
    """
    rows, target = scales.rows, scales.target()
    loss = Loss("rmse" if rows.target_range is not None else "log_loss")
    split = (target, rows.folds, rows.clusters)
    shares = scales.shares(rows.X)
    blend = blend_step(members, *split, loss)
    steps = [blend]
    if shares is not None and loss.is_squared:
        before = after_blend(blend, members, rows.folds)
        apparent = blend.apparent if blend.is_on else before.outer
        sure = Sureness.of(shares, scales.class_values())
        steps.append(snap_step(before, apparent, sure, *split, loss))
    baseline = "plain" if "plain" in members else "constant"
    base = members["plain"].outer if "plain" in members else constant(*split[:2])

    def line(
        name: str, title: str, prediction: Floats, step: Step | None = None
    ) -> Line:
        return Line(
            name,
            title,
            prediction,
            loss.by_fold(target, prediction, rows.folds),
            loss.interval(target, prediction, rows.clusters),
            None
            if name == baseline
            else loss.gain(target, base, prediction, rows.clusters),
            None if step is None else loss.score(target, step.apparent),
            step is not None and not step.is_on,
        )

    lines = [line("constant", "constant", constant(*split[:2]))]
    for task, (way, prediction) in fit_alone(scales, seed).items():
        lines.append(line(f"{task}_alone", f"{task} alone, {way}", prediction))
    if "expected" in members:
        title = f"{scales.roles.shares} alone, expected value"
        lines.append(line("expected", title, members["expected"].outer))
    if "plain" in members:
        lines.append(
            line("plain", "plain net, mean of 8 views", members["plain"].outer)
        )
    if "ridge" in members:
        lines.append(line("ridge", "ridge on all columns", members["ridge"].outer))
    lines.append(line("stack", "stack, boosted trees", members["stack"].outer))
    final, last = members["stack"].outer, None
    titles = {"blend": "+ blend of the members", "snap": "+ snap to sure classes"}
    for step in steps:
        lines.append(line(step.name, titles[step.name], step.nested, step))
        if step.is_on:
            final, last = step.nested, step
    lines.append(line("prediction", "final prediction", final, last))
    return Stacked(scales, loss, members, tuple(steps), tuple(lines), baseline, shares)


def post_process(
    stacked: Stacked, said: Mapping[str, Floats], shares: Floats | None
) -> Floats:
    """Apply the final rules to what the members say of other rows.

    Args:
        stacked: What came out.
        said: By member, (M, ...) predictions.
        shares: (M, K) class probabilities of the net.
    """
    prediction = said["stack"]
    for step in stacked.steps:
        if not step.is_on:
            continue
        if step.name == "blend":
            weighted = [weight * said[name] for name, weight in step.rule.items()]
            prediction = np.sum(weighted, axis=0)
        elif shares is not None:
            sure = Sureness.of(shares, stacked.scales.class_values())
            prediction = snapped(prediction, sure, step.rule["threshold"])
    return prediction


def predict_common(stacked: Stacked, *, own: bool = False) -> dict[str, Floats]:
    """Predict the pictures that all nets have in common.

    Each net's rows pass through members and post-processing as a row of its fold did;
    then the nets are averaged.

    Args:
        stacked: What came out.
        own: Only the models of fold k see net k's rows, as under ``insample``.

    Returns:
        (M, ...) by name: every member and ``prediction``.
    """
    scales = stacked.scales
    by_net: list[dict[str, Floats]] = []
    for net, values in enumerate(scales.rows.nets):
        said = predict_net(scales, stacked.members, net, own=own)
        final = post_process(stacked, said, scales.shares(values))
        by_net.append(said | {"prediction": final})
    if not by_net:
        return {}
    return {
        name: np.mean([said[name] for said in by_net], axis=0) for name in by_net[0]
    }
