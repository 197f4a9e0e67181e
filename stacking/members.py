"""The members of the stack: what each of them says of every row, out of fold.

``plain`` is the net's own prediction (the mean of the eight views), ``expected`` the
expected value of its class probabilities, ``stack`` the boosters and ``ridge`` a linear
model on all columns; each other sub-task is tried alone, to show what it is worth.

Shapes: N rows, M pictures to predict, C columns, K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stacking.alignment import Alignment, learn_alignment
from stacking.boosting import Boosting, cross_fit_boosters, predict
from stacking.inner import CrossFit, outer_folds
from stacking.linear import as_shares, cross_fit_monotone, cross_fit_ridge
from stacking.rows import Assembled

if TYPE_CHECKING:
    from data_prep.experiment import TaskSettings

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WIDE = 300  # columns; of more, the ridge sees the means over the views only


@dataclass(frozen=True)
class Roles:
    """Which sub-tasks speak of the target itself.

    Attributes:
        plain: The regression of the target; empty: there is none.
        shares: The class probabilities of the target; empty: there are none.
    """

    plain: str = ""
    shares: str = ""


def find_roles(
    tasks: Mapping[str, "TaskSettings"], target_column: str | None, rows: Assembled
) -> Roles:
    """Find the sub-tasks whose label is the target.

    Args:
        tasks: Tables ``[tasks.NAME]`` of the experiment; empty: the default tasks.
        target_column: The user's name of the target column.
        rows: What was assembled.
    """

    def first(kind: str, usual: str, n_outputs: int) -> str:
        own = [
            name
            for name, task in tasks.items()
            if task.kind == kind and task.column in (None, target_column)
        ]
        for name in own if tasks else [usual]:
            if n_outputs and len(rows.columns_of(name, "mean")) == n_outputs:
                return name
        return ""

    is_number = rows.target_range is not None
    return Roles(
        first("regression", "target", 1) if is_number else "",
        first("classes", "onehot", len(rows.classes)),
    )


@dataclass(frozen=True)
class Scales:
    """The rows on the nets' own scales, and on the common one.

    Attributes:
        rows: What was assembled.
        roles: Which sub-tasks speak of the target.
        alignment: The maps between the nets.
        aligned: (N, C).
        nets: K arrays (M, C), aligned.
    """

    rows: Assembled
    roles: Roles
    alignment: Alignment
    aligned: Floats
    nets: tuple[Floats, ...]

    @classmethod
    def of(cls, rows: Assembled, roles: Roles, method: str) -> "Scales":
        """Align the rows by the method."""
        alignment = learn_alignment(rows.nets, method)
        aligned = rows.X.copy()
        if alignment.method != "none":
            for fold, _, own in outer_folds(rows.folds):
                aligned[own] = alignment.apply(fold, rows.X[own])
        nets = tuple(alignment.apply(k, net) for k, net in enumerate(rows.nets))
        return cls(rows, roles, alignment, aligned, nets)

    def target(self) -> Floats:
        """Give the (N,) numbers, or (N, K) with a 1 in the column of the class."""
        if self.rows.target_range is not None:
            return self.rows.target.astype(np.float64)
        return np.eye(len(self.rows.classes))[self.rows.class_index]

    def class_values(self) -> Floats:
        """Give the (K,) numbers that the classes of a numeric target stand for."""
        return np.array([float(name) for name in self.rows.classes])

    def shares(self, values: Floats) -> Floats | None:
        """Read the (..., K) class probabilities from (..., C) unaligned columns."""
        if not self.roles.shares:
            return None
        means = np.maximum(
            values[:, self.rows.columns_of(self.roles.shares, "mean")], 0
        )
        total = means.sum(axis=1, keepdims=True)
        even = np.full_like(means, 1 / means.shape[1])
        shares: Floats = np.divide(means, total, out=even, where=total > 0)
        return shares

    def fixed(self, values: Floats) -> dict[str, Floats]:
        """Read the members that need no fitting from (..., C) unaligned columns."""
        found: dict[str, Floats] = {}
        shares = self.shares(values)
        if self.rows.target_range is None:
            return {"plain": shares} if shares is not None else {}
        if self.roles.plain:
            (column,) = self.rows.columns_of(self.roles.plain, "mean")
            found["plain"] = self.clip(values[:, column])
        if shares is not None:
            found["expected"] = self.clip(shares @ self.class_values())
        return found

    def clip(self, prediction: Floats) -> Floats:
        """Bring numbers into the target's range; leave probabilities."""
        if self.rows.target_range is None:
            return prediction
        clipped: Floats = np.clip(prediction, *self.rows.target_range)
        return clipped

    def clip_fit(self, fit: CrossFit) -> CrossFit:
        """Bring the predictions of a cross-fit into the target's range."""
        return CrossFit(
            self.clip(fit.outer), self.clip(fit.inner), fit.models, fit.notes
        )

    def linear_columns(self) -> Ints:
        """Give the columns of the ridge."""
        columns = self.rows.columns
        return np.array(
            [
                place
                for place, column in enumerate(columns)
                if len(columns) <= WIDE or column.statistic in ("mean", "")
            ]
        )


def fit_members(scales: Scales, boosting: Boosting, seed: int) -> dict[str, CrossFit]:
    """Cross-fit the members, the boosters first."""
    rows, target = scales.rows, scales.target()
    names = [column.name for column in rows.columns]
    split = (rows.folds, rows.clusters)
    stack = cross_fit_boosters(scales.aligned, target, *split, boosting, names, seed)
    chosen = scales.aligned[:, scales.linear_columns()]
    ridge = cross_fit_ridge(chosen, target, *split, seed)
    return {
        "stack": scales.clip_fit(stack),
        "ridge": scales.clip_fit(ridge),
        **{
            name: CrossFit.of_fixed(values, rows.folds)
            for name, values in scales.fixed(rows.X).items()
        },
    }


def fit_alone(scales: Scales, seed: int) -> dict[str, tuple[str, Floats]]:
    """Cross-fit each sub-task alone; those of the target itself are members.

    Returns:
        By task: how its outputs become the target, and (N, ...) predictions.
    """
    rows, target = scales.rows, scales.target()
    own = {scales.roles.plain, scales.roles.shares}
    found = {}
    for task in dict.fromkeys(column.task for column in rows.columns):
        means = rows.columns_of(task, "mean")
        if task in own or not len(means):
            continue
        if len(means) == 1 and target.ndim == 1:
            column = scales.aligned[:, means[0]]
            said = cross_fit_monotone(column, target, rows.folds)
            found[task] = ("monotone curve", scales.clip(said))
        else:
            chosen = scales.aligned[:, means]
            fit = cross_fit_ridge(chosen, target, rows.folds, rows.clusters, seed)
            found[task] = ("ridge", scales.clip(fit.outer))
    return found


def constant(target: Floats, folds: Ints) -> Floats:
    """Predict each fold by the mean of the others."""
    predicted = np.empty_like(target)
    for _, rest, held_out in outer_folds(folds):
        predicted[held_out] = target[rest].mean(axis=0)
    return predicted


def predict_net(
    scales: Scales, members: Mapping[str, CrossFit], net: int, *, own: bool = False
) -> dict[str, Floats]:
    """Give what each member says of the (M) common pictures through one net.

    Args:
        scales: The rows.
        members: The cross-fitted members.
        net: Whose rows.
        own: Ask the models of the net's own fold alone, not those of all folds.
    """
    aligned = scales.nets[net]
    chosen = aligned[:, scales.linear_columns()]
    found: dict[str, Floats] = {}
    for name in members:
        models: list[Any] = members[name].models
        models = models[net : net + 1] if own else models
        if name == "stack":
            said = np.mean([predict(boosters, aligned) for boosters in models], axis=0)
        elif name == "ridge":
            said = np.mean([ridge_says(one, chosen, scales) for one in models], axis=0)
        else:
            continue
        found[name] = scales.clip(said)
    return found | scales.fixed(scales.rows.nets[net])


def ridge_says(ridge: Any, X: Floats, scales: Scales) -> Floats:
    """Give a ridge's numbers or probabilities."""
    outputs: Floats = ridge.predict(X)
    return outputs[:, 0] if scales.rows.target_range is not None else as_shares(outputs)
