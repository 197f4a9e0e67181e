"""The postprocessors: what may be done to a prediction after the stack.

A postprocessor chooses a rule on some rows and applies it to others; a rule is JSON
values. How they are tried, scored nested and switched off is told in
``stacking.ensemble.postprocess``.

- ``blend``: weigh the prediction with the plain net's regression.
- ``blend_expected``: weigh it with the expected value of the net's class probabilities.
- ``isotonic``: bend it by a rising curve.
- ``thresholds``: cut the scale into the ordered classes, where the metric is one of
  classes.
- ``most_probable``: give every row the nets' most probable class, where the metric is
  one of classes.
- ``round``: give a row its most probable class where the net is sure enough of it;
  ``round_to_class`` has a least probability for each class.

Shapes: N rows, K classes, T least probabilities, G groups.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_prep.arrays import Bools, Floats, Ints
from data_prep.errors import UserError
from data_prep.settings import nearest
from data_prep.tables.units import Unit
from stacking.ensemble.objective import Objective, ScoringData
from stacking.inputs.target_columns import NetPredictions
from stacking.models.linear import fit_curve

Rule = dict[str, Any]

NUMBERS, REGRESSION = "a target of numbers", "a regression of the target"
PROBA = "class probabilities of a target of numbers"
ORDERED = "a metric of ordered classes"
ORDERED_PROBA = f"{PROBA} and {ORDERED}"

WEIGHTS = np.round(np.linspace(1, 0, 21), 2)  # of the prediction, most of it first
MIN_PROBA = np.round(np.arange(0.40, 1.0, 0.01), 2)
NEVER = 2.0  # no probability reaches it
FEWEST = 20  # rows of a class that a least probability of its own is chosen by
N_POSITIONS = 60  # that are tried for a threshold
N_SWEEPS = 3  # over all thresholds


@dataclass(frozen=True, kw_only=True)
class Postprocessor(ABC):
    """One step of the post-processing.

    Attributes:
        name: What ``[stacking.fit] postprocess`` calls it.
        column: The column of oof.csv that holds what it gives.
        title: What reports and log lines call it.
        needs: What it cannot do without.
        gives_classes: It gives values of classes, and so comes after the nets' average.
    """

    name: str
    column: str
    title: str
    needs: str = NUMBERS
    gives_classes: bool = False

    def fits(self, net_pred: NetPredictions, objective: Objective) -> bool:
        """Tell whether what it needs is there."""
        has_proba = net_pred.proba is not None
        is_there = {
            NUMBERS: True,
            REGRESSION: net_pred.regression is not None,
            PROBA: has_proba,
            ORDERED: objective.is_of_ordered,
            ORDERED_PROBA: has_proba and objective.is_of_ordered,
        }
        return objective.is_number and is_there[self.needs]

    @abstractmethod
    def choose(
        self, pred: Floats, net_pred: NetPredictions, scoring: ScoringData
    ) -> Rule:
        """Choose the rule on (N,) predictions."""

    @abstractmethod
    def apply(self, pred: Floats, net_pred: NetPredictions, rule: Rule) -> Floats:
        """Give the (N,) predictions that the rule makes of (N,) predictions."""


class Blend(Postprocessor):
    """Weigh the prediction with another of the net's."""

    def choose(
        self, pred: Floats, net_pred: NetPredictions, scoring: ScoringData
    ) -> Rule:
        """Choose the weight with the least mean loss; of equals, the largest."""
        unit, row_losses = Unit.of(scoring.y_true), scoring.objective.row_losses
        y_true = unit.standardise(scoring.y_true)
        mean_losses = []
        for weight in WEIGHTS:
            blended = self.apply(pred, net_pred, {"weight": weight})
            mean_losses.append(row_losses(y_true, unit.standardise(blended)).mean())
        best = int(np.argmin(np.round(mean_losses, 12)))
        return {"weight": float(WEIGHTS[best])}

    def apply(self, pred: Floats, net_pred: NetPredictions, rule: Rule) -> Floats:
        """Give the (N,) weighted mean of the stack and the net."""
        net, proba = net_pred.regression, net_pred.proba
        if self.name == "blend_expected":
            net = None if proba is None else proba @ net_pred.class_values
        assert net is not None
        blended: Floats = rule["weight"] * pred + (1 - rule["weight"]) * net
        return blended


class Isotonic(Postprocessor):
    """Bend the prediction by a rising curve: a calibration."""

    def choose(
        self,
        pred: Floats,
        net_pred: NetPredictions,  # noqa: ARG002
        scoring: ScoringData,
    ) -> Rule:
        """Fit the curve by its squared error."""
        curve = fit_curve(pred, scoring.y_true, falls=False)
        return {"x": curve.x.tolist(), "y": curve.y.tolist()}

    def apply(
        self,
        pred: Floats,
        net_pred: NetPredictions,  # noqa: ARG002
        rule: Rule,
    ) -> Floats:
        """Read the (N,) values off the curve; it is flat beyond its ends."""
        bent: Floats = np.interp(pred, rule["x"], rule["y"])
        return bent


class Round(Postprocessor):
    """Give sure rows the value of their most probable class."""

    def choose(
        self, pred: Floats, net_pred: NetPredictions, scoring: ScoringData
    ) -> Rule:
        """Choose the middle of the plateau of least probabilities, in all or by class.

        A class gets one of its own only where that lowers the sum of its losses.
        """
        confidence, class_idx = _likeliest(net_pred)
        row_losses, y_true = scoring.objective.row_losses, scoring.y_true
        rounded = net_pred.class_values[class_idx]
        added_loss = row_losses(y_true, rounded) - row_losses(y_true, pred)
        n_classes = len(net_pred.class_values)
        if self.name == "round":
            best = best_min_proba(confidence, added_loss, scoring.groups)
            return {"min_proba": [best] * n_classes}
        by_class = []
        for k in range(n_classes):
            is_k, best = class_idx == k, NEVER
            if is_k.sum() >= FEWEST:
                best = best_min_proba(
                    confidence[is_k], added_loss[is_k], scoring.groups[is_k]
                )
                is_sure = confidence[is_k] >= best
                best = best if added_loss[is_k][is_sure].sum() < 0 else NEVER
            by_class.append(best)
        return {"min_proba": by_class}

    def apply(self, pred: Floats, net_pred: NetPredictions, rule: Rule) -> Floats:
        """Give (N,): sure rows get the value of their class, the others stay."""
        confidence, class_idx = _likeliest(net_pred)
        is_sure = confidence >= np.array(rule["min_proba"])[class_idx]
        return np.where(is_sure, net_pred.class_values[class_idx], pred)


def _likeliest(net_pred: NetPredictions) -> tuple[Floats, Ints]:
    """Give the (N,) largest probability and its class, the first of equals."""
    proba = net_pred.proba
    assert proba is not None
    class_idx: Ints = proba.argmax(axis=1)
    return proba[np.arange(len(proba)), class_idx], class_idx


def best_min_proba(confidence: Floats, added_loss: Floats, groups: Ints) -> float:
    """Find the middle of the plateau of least probabilities as good as the best.

    A least probability is as good if its mean loss is within one standard error of the
    lowest, that of their difference over groups (Breiman's rule of one standard error);
    the plateau is the run of such values around the best.

    Args:
        confidence: (N,) probability of the most probable class.
        added_loss: (N,) what rounding would add to the loss of the row.
        groups: (N,) codes of what errs together.
    """
    group_codes = np.unique(groups, return_inverse=True)[1]
    is_sure_NT = confidence[:, None] >= MIN_PROBA
    added_NT = np.where(is_sure_NT, added_loss[:, None], 0.0)
    best = int(added_NT.mean(axis=0).argmin())
    behind_GT = np.zeros((group_codes.max() + 1, len(MIN_PROBA)))
    np.add.at(behind_GT, group_codes, added_NT - added_NT[:, [best]])
    # of a sum over G groups: the deviation of one, times sqrt(G)
    standard_error_T = behind_GT.std(axis=0) * np.sqrt(len(behind_GT))
    is_level_T = behind_GT.sum(axis=0) <= standard_error_T
    return float(MIN_PROBA[_middle(is_level_T, best)])


def _middle(is_level: Bools, best: int) -> int:
    """Give the middle of the run of level positions around the best one."""
    first = last = best
    while first > 0 and is_level[first - 1]:
        first -= 1
    while last + 1 < len(is_level) and is_level[last + 1]:
        last += 1
    return (first + last) // 2


class Thresholds(Postprocessor):
    """Cut the scale into the ordered classes at the best positions."""

    def choose(
        self, pred: Floats, net_pred: NetPredictions, scoring: ScoringData
    ) -> Rule:
        """Move one threshold after the other to where the metric is best.

        They begin halfway between the classes. A threshold is tried at quantiles of
        the predictions between its neighbours, and set in the middle of the run that
        scores best; the sweeps end when none moves.
        """
        objective, values = scoring.objective, net_pred.class_values
        sign = 1 if objective.higher_is_better else -1

        def score(thresholds: Floats) -> float:
            y_pred = self.apply(pred, net_pred, {"thresholds": thresholds.tolist()})
            return sign * objective.score(scoring.y_true, y_pred)

        thresholds = (values[1:] + values[:-1]) / 2
        for _ in range(N_SWEEPS):
            before = thresholds.copy()
            for k in range(len(thresholds)):
                positions = _positions(pred, thresholds, k)
                scores = []
                for position in positions:
                    moved = thresholds.copy()
                    moved[k] = position
                    scores.append(score(moved))
                best = int(np.argmax(scores))
                is_level = np.array(scores) >= scores[best] - 1e-12
                thresholds[k] = positions[_middle(is_level, best)]
            if np.array_equal(before, thresholds):
                break
        return {"thresholds": thresholds.tolist()}

    def apply(self, pred: Floats, net_pred: NetPredictions, rule: Rule) -> Floats:
        """Give (N,) values of the classes between whose thresholds predictions lie."""
        class_idx = np.searchsorted(rule["thresholds"], pred, side="right")
        values: Floats = net_pred.class_values[class_idx]
        return values


class MostProbable(Postprocessor):
    """Give every row its most probable class; nothing is chosen.

    The nearest class to a number is the best guess of how far one is off. Which class
    it is, the probabilities tell better where they have two peaks or a skew.
    """

    def choose(
        self,
        pred: Floats,  # noqa: ARG002
        net_pred: NetPredictions,  # noqa: ARG002
        scoring: ScoringData,  # noqa: ARG002
    ) -> Rule:
        """Choose nothing."""
        return {}

    def apply(
        self,
        pred: Floats,  # noqa: ARG002
        net_pred: NetPredictions,
        rule: Rule,  # noqa: ARG002
    ) -> Floats:
        """Give the (N,) values of the classes."""
        values: Floats = net_pred.class_values[_likeliest(net_pred)[1]]
        return values


def _positions(pred: Floats, thresholds: Floats, k: int) -> Floats:
    """Give the positions to try for threshold k: where it is, and quantiles around."""
    low = thresholds[k - 1] if k else -np.inf
    high = thresholds[k + 1] if k + 1 < len(thresholds) else np.inf
    between = pred[(pred > low) & (pred < high)]
    if not len(between):
        return thresholds[[k]]
    quantiles = np.quantile(between, np.linspace(0, 1, N_POSITIONS))
    return np.unique(np.append(quantiles, thresholds[k]))


# In the order of the chain; those that give classes come last. Of these, first what
# looks at the number as it is, then what does without it.
POSTPROCESSORS: tuple[Postprocessor, ...] = (
    Blend(
        name="blend",
        column="mix",
        title="blended with the plain net",
        needs=REGRESSION,
    ),
    Blend(
        name="blend_expected",
        column="mix_expected",
        title="blended with the expected value",
        needs=PROBA,
    ),
    Isotonic(name="isotonic", column="isotonic", title="a rising curve"),
    Thresholds(
        name="thresholds",
        column="cuts",
        title="thresholds between the classes",
        needs=ORDERED,
        gives_classes=True,
    ),
    MostProbable(
        name="most_probable",
        column="most_probable",
        title="the nets' most probable class instead",
        needs=ORDERED_PROBA,
        gives_classes=True,
    ),
    Round(
        name="round",
        column="snap",
        title="rounded to sure classes",
        needs=PROBA,
        gives_classes=True,
    ),
    Round(
        name="round_to_class",
        column="snap_class",
        title="rounded, a least probability per class",
        needs=PROBA,
        gives_classes=True,
    ),
)


def postprocessor_named(name: str) -> Postprocessor:
    """Find a postprocessor by its name."""
    return next(p for p in POSTPROCESSORS if p.name == name)


def check_postprocessors(names: tuple[str, ...]) -> None:
    """Refuse names that no postprocessor has.

    Raises:
        UserError: There is one.
    """
    known_names = [p.name for p in POSTPROCESSORS]
    for name in names:
        if name not in known_names:
            raise UserError(f"postprocess = {name!r}: {nearest(name, known_names)}")


def choose_postprocessors(
    names: tuple[str, ...], net_pred: NetPredictions, objective: Objective
) -> list[Postprocessor]:
    """List the postprocessors to try.

    Args:
        names: Those in the settings; none: all that fit.
        net_pred: The nets' own predictions.
        objective: The metric.

    Raises:
        UserError: A postprocessor is unknown, or lacks what it needs.
    """
    check_postprocessors(names)
    for name in names:
        processor = postprocessor_named(name)
        if not processor.fits(net_pred, objective):
            raise UserError(
                f"postprocess = {name!r} needs {processor.needs}, which this run does"
                " not have; leave it out"
            )
    chosen = [p for p in POSTPROCESSORS if not names or p.name in names]
    return [p for p in chosen if p.fits(net_pred, objective)]
