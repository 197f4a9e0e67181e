"""The links of the post-processing: what may be done to a prediction after the stack.

A link chooses a rule on some rows and applies it to others; a rule is JSON values. How
links are tried, scored nested and switched off is told in
``stacking.ensemble.postprocess``.

- ``mix``: weigh the prediction with the plain net's regression.
- ``mix_expected``: weigh it with the expected value of the net's class probabilities.
- ``isotonic``: bend it by a rising curve.
- ``snap``: give a row its most probable class where the net is sure enough of it;
  ``snap_class`` has a threshold for each class.
- ``cuts``: cut the scale into the ordered classes, where the metric is one of classes.

Shapes: N rows, K classes, T thresholds.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.settings import nearest
from data_prep.tables.units import Unit
from stacking.ensemble.objective import Objective
from stacking.inputs.target_columns import NetPredictions
from stacking.models.linear import fit_curve

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rule = dict[str, Any]

WEIGHTS = np.round(np.linspace(1, 0, 21), 2)  # of the prediction, most of it first
THRESHOLDS = np.round(np.arange(0.40, 1.0, 0.01), 2)
NEVER = 2.0  # a threshold that no probability reaches
FEWEST = 20  # rows of a class that a threshold of its own is chosen by
N_CUTS = 60  # places that are tried for a cut
N_SWEEPS = 3  # over all cuts


@dataclass(frozen=True)
class ScoringData:
    """What rows are judged by.

    Attributes:
        target: (N, ...).
        folds: (N,) fold of each row.
        cv_groups: (N,) what errs together.
        objective: How.
    """

    target: Floats
    folds: Ints
    cv_groups: Ints
    objective: Objective

    def take(self, rows: Ints) -> "ScoringData":
        """Give some of the rows."""
        return ScoringData(
            self.target[rows], self.folds[rows], self.cv_groups[rows], self.objective
        )


class Postprocessor(Protocol):
    """One step of the post-processing."""

    @property
    def name(self) -> str:
        """Its name in settings and files."""
        ...

    @property
    def title(self) -> str:
        """Its name for people."""
        ...

    @property
    def gives_classes(self) -> bool:
        """Whether it gives values of classes, and so comes after the nets' average."""
        ...

    def lacks(self, net_pred: NetPredictions, objective: Objective) -> str:
        """Say what it would need and does not have; empty: nothing."""
        ...

    def choose(
        self,
        prediction: Floats,
        net_pred: NetPredictions,
        scoring: ScoringData,
    ) -> Rule:
        """Choose the rule on (N,) rows."""
        ...

    def apply(self, prediction: Floats, net_pred: NetPredictions, rule: Rule) -> Floats:
        """Give the (N,) predictions that the rule makes of others."""
        ...


@dataclass(frozen=True)
class Mix:
    """Weigh the prediction with another of the net's."""

    name: str
    title: str
    gives_classes: bool = False

    def lacks(self, net_pred: NetPredictions, objective: Objective) -> str:
        """See ``Postprocessor``."""
        if not objective.is_number or self._other(net_pred) is None:
            return (
                "a regression of the target"
                if self.name == "mix"
                else "class probabilities of a target of numbers"
            )
        return ""

    def _other(self, net_pred: NetPredictions) -> Floats | None:
        if self.name == "mix":
            return net_pred.plain
        if net_pred.shares is None:
            return None
        expected: Floats = net_pred.shares @ net_pred.class_values
        return expected

    def choose(
        self,
        prediction: Floats,
        net_pred: NetPredictions,
        scoring: ScoringData,
    ) -> Rule:
        """Choose the weight with the least mean loss."""
        unit, rows = Unit.of(scoring.target), scoring.objective.rows
        target = unit.standardise(scoring.target)
        losses = []
        for weight in WEIGHTS:
            mixed = self.apply(prediction, net_pred, {"weight": weight})
            losses.append(rows(target, unit.standardise(mixed)).mean())
        return {"weight": float(WEIGHTS[int(np.argmin(np.round(losses, 12)))])}

    def apply(self, prediction: Floats, net_pred: NetPredictions, rule: Rule) -> Floats:
        """See ``Postprocessor``."""
        other = self._other(net_pred)
        assert other is not None
        mixed: Floats = rule["weight"] * prediction + (1 - rule["weight"]) * other
        return mixed


@dataclass(frozen=True)
class Isotonic:
    """Bend the prediction by a rising curve: a calibration."""

    name: str = "isotonic"
    title: str = "a rising curve"
    gives_classes: bool = False

    def lacks(self, net_pred: NetPredictions, objective: Objective) -> str:  # noqa: ARG002
        """See ``Postprocessor``."""
        return "" if objective.is_number else "a target of numbers"

    def choose(
        self,
        prediction: Floats,
        net_pred: NetPredictions,  # noqa: ARG002
        scoring: ScoringData,
    ) -> Rule:
        """Fit the curve by its squared error."""
        curve = fit_curve(prediction, scoring.target, falls=False)
        return {"x": curve.x.tolist(), "y": curve.y.tolist()}

    def apply(
        self,
        prediction: Floats,
        net_pred: NetPredictions,  # noqa: ARG002
        rule: Rule,
    ) -> Floats:
        """See ``Postprocessor``."""
        bent: Floats = np.interp(prediction, rule["x"], rule["y"])
        return bent


@dataclass(frozen=True)
class Snap:
    """Give sure rows the value of their most probable class."""

    name: str
    title: str
    gives_classes: bool = True

    def lacks(self, net_pred: NetPredictions, objective: Objective) -> str:
        """See ``Postprocessor``."""
        has = objective.is_number and net_pred.shares is not None
        return "" if has else "class probabilities of a target of numbers"

    def choose(
        self,
        prediction: Floats,
        net_pred: NetPredictions,
        scoring: ScoringData,
    ) -> Rule:
        """Choose the middle of the plateau of thresholds, for all or each class."""
        assert net_pred.shares is not None
        top, index = _sureness(net_pred.shares)
        target, cv_groups, objective = (
            scoring.target,
            scoring.cv_groups,
            scoring.objective,
        )
        kept = objective.rows(target, prediction)
        won = objective.rows(target, net_pred.class_values[index]) - kept
        n_classes = len(net_pred.class_values)
        if self.name == "snap":
            return {"thresholds": [best_threshold(top, won, cv_groups)] * n_classes}
        thresholds = []
        for k in range(n_classes):
            own = index == k
            found = NEVER
            if own.sum() >= FEWEST:
                found = best_threshold(top[own], won[own], cv_groups[own])
                found = found if won[own][top[own] >= found].sum() < 0 else NEVER
            thresholds.append(found)
        return {"thresholds": thresholds}

    def apply(self, prediction: Floats, net_pred: NetPredictions, rule: Rule) -> Floats:
        """See ``Postprocessor``."""
        assert net_pred.shares is not None
        top, index = _sureness(net_pred.shares)
        is_sure = top >= np.array(rule["thresholds"])[index]
        return np.where(is_sure, net_pred.class_values[index], prediction)


def _sureness(shares: Floats) -> tuple[Floats, Ints]:
    """Give the (N,) largest probability and its class, the first of equals."""
    index: Ints = shares.argmax(axis=1)
    return shares[np.arange(len(shares)), index], index


def best_threshold(top: Floats, won: Floats, cv_groups: Ints) -> float:
    """Find the middle of the plateau of thresholds that are as good as the best.

    A threshold is as good if its mean loss is within one standard error of the least,
    that of their difference over cv groups; the plateau is the run of such thresholds
    around the best.

    Args:
        top: (N,) probability of the most probable class.
        won: (N,) what snapping would add to the loss of the row.
        cv_groups: (N,) what errs together.
    """
    members = np.unique(cv_groups, return_inverse=True)[1]
    changes = np.where(top[:, None] >= THRESHOLDS, won[:, None], 0.0)  # (N, T)
    best = int(changes.mean(axis=0).argmin())
    differences = np.zeros((members.max() + 1, len(THRESHOLDS)))
    np.add.at(differences, members, changes - changes[:, [best]])
    errors = differences.std(axis=0) * np.sqrt(len(differences))
    is_level = differences.sum(axis=0) <= errors
    return float(THRESHOLDS[_middle(is_level, best)])


def _middle(is_level: NDArray[np.bool_], best: int) -> int:
    """Give the middle of the run of level places around the best one."""
    first = last = best
    while first > 0 and is_level[first - 1]:
        first -= 1
    while last + 1 < len(is_level) and is_level[last + 1]:
        last += 1
    return (first + last) // 2


@dataclass(frozen=True)
class Cuts:
    """Cut the scale into the ordered classes at the best places."""

    name: str = "cuts"
    title: str = "cut points between the classes"
    gives_classes: bool = True

    def lacks(self, net_pred: NetPredictions, objective: Objective) -> str:  # noqa: ARG002
        """See ``Postprocessor``."""
        return "" if objective.is_of_ordered else "a metric of ordered classes"

    def choose(
        self,
        prediction: Floats,
        net_pred: NetPredictions,
        scoring: ScoringData,
    ) -> Rule:
        """Move one cut after the other to where the metric is best."""
        target, objective = scoring.target, scoring.objective
        values = net_pred.class_values
        cuts = (values[1:] + values[:-1]) / 2
        sign = 1 if objective.higher_is_better else -1
        for _ in range(N_SWEEPS):
            before = cuts.copy()
            for k in range(len(cuts)):
                low = cuts[k - 1] if k else -np.inf
                high = cuts[k + 1] if k + 1 < len(cuts) else np.inf
                inside = prediction[(prediction > low) & (prediction < high)]
                tried = (
                    np.append(np.quantile(inside, np.linspace(0, 1, N_CUTS)), cuts[k])
                    if len(inside)
                    else cuts[[k]]
                )
                tried = np.unique(tried)
                scores = []
                for place in tried:
                    moved = cuts.copy()
                    moved[k] = place
                    said = self.apply(prediction, net_pred, {"cuts": moved.tolist()})
                    scores.append(sign * objective.score(target, said))
                best = int(np.argmax(scores))
                level = np.array(scores) >= scores[best] - 1e-12
                cuts[k] = tried[_middle(level, best)]
            if np.array_equal(before, cuts):
                break
        return {"cuts": cuts.tolist()}

    def apply(self, prediction: Floats, net_pred: NetPredictions, rule: Rule) -> Floats:
        """See ``Postprocessor``."""
        index = np.searchsorted(rule["cuts"], prediction, side="right")
        found: Floats = net_pred.class_values[index]
        return found


LINKS: tuple[
    Postprocessor, ...
] = (  # in the order of the chain; those to classes come last
    Mix("mix", "mixed with the plain net"),
    Mix("mix_expected", "mixed with the expected value"),
    Isotonic(),
    Snap("snap", "snapped to sure classes"),
    Snap("snap_class", "snapped, a threshold per class"),
    Cuts(),
)


def link_named(name: str) -> Postprocessor:
    """Find a link by its name."""
    return next(link for link in LINKS if link.name == name)


def check_links(names: tuple[str, ...]) -> None:
    """Refuse names that no link has.

    Raises:
        UserError: There is one.
    """
    known = [link.name for link in LINKS]
    for name in names:
        if name not in known:
            raise UserError(f"links = {name!r}: {nearest(name, known)}")


def choose_links(
    names: tuple[str, ...], net_pred: NetPredictions, objective: Objective
) -> list[Postprocessor]:
    """List the links to try.

    Args:
        names: Those asked for; none: all that fit.
        net_pred: What the nets say.
        objective: What is judged by.

    Raises:
        UserError: A link is unknown, or lacks what it needs.
    """
    check_links(names)
    for name in names:
        if lack := link_named(name).lacks(net_pred, objective):
            raise UserError(
                f"links = {name!r} needs {lack}, which this run does not have;"
                " leave it out"
            )
    return [
        link
        for link in LINKS
        if (not names or link.name in names) and not link.lacks(net_pred, objective)
    ]
