"""The members of the stack: predictions of every row, out of fold.

Three sorts: what the nets predict themselves (``plain``, ``expected``), each other
sub-task alone (``date_alone``), which shows what it is worth, and the stackers, which
learn from all columns, or from pixels. ``stacking.ensemble.candidates`` adds means of
them. A constant is what is left where none of them is better.

Shapes: N rows, C columns, K classes, P columns of pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from data_prep.arrays import Floats, Ints
from features.pixel_columns import pixel_column_names
from stacking.cross_fitting import CrossFit, Model, without_past
from stacking.ensemble.aligned_features import AlignedFeatures
from stacking.ensemble.objective import ScoringData
from stacking.inputs.data import PixelColumns, columns_of
from stacking.models.linear import Constant, cross_fit_curve, cross_fit_ridge
from stacking.models.registry import STACKERS
from stacking.models.stacker import FitContext, Sees

FIRST_BY_NET = (
    "No fold comes before fold 0, so nothing can be stacked for it: the net's own"
    " prediction stands for every member there, also for the model without nets. The"
    " constant learned from later folds, which is to its favour."
)
FIRST_BY_LATER = (
    "No fold comes before fold 0, and no net predicts the target itself, so what is"
    " stacked for fold 0 learned from later folds: the scores of the others alone are"
    " those of a forecast."
)


@dataclass(frozen=True, kw_only=True)
class Member:
    """One member.

    Attributes:
        title: For people.
        fit: Its predictions of every row, not yet clipped.
        sees: What its models see.
        inputs: Indices of the columns, aligned, where they see those.
    """

    title: str
    fit: CrossFit
    sees: Sees = "columns"
    inputs: Ints = field(default_factory=lambda: np.array([], dtype=np.int64))


def fit_stackers(
    features: AlignedFeatures,
    names: Sequence[str],
    context: FitContext,
    views: Floats | None = None,
) -> dict[str, Member]:
    """Cross-fit the stackers.

    Args:
        features: The rows.
        names: Those to fit; what is none of ``STACKERS`` is passed over, and what
            reads pixels where those are gone.
        context: What they are told beside the rows.
        views: (N, V, F) single views, where a stacker of them is among the names.
    """
    columns, narrow = features.column_names, features.narrow_columns
    members = {}
    stackers = [STACKERS[name] for name in names if name in STACKERS]
    for stacker in stackers:
        stacker.check_package()
    for stacker in stackers:
        title, sees = stacker.title, stacker.inputs
        if sees == "views" or sees == "pixels":
            names = pixel_column_names() if sees == "pixels" else []
            X: PixelColumns | None
            X = views if sees == "views" else features.data.pixels
            if X is None:  # of pixels; without views those that need them are refused
                continue
            context = replace(context, columns=names)
            fit = stacker.fit(features.with_inputs(X), context)
            members[stacker.name] = Member(title=title, fit=fit, sees=sees)
            continue
        col_idx = np.arange(len(columns)) if sees == "all" else narrow
        rows = features.rows if sees == "all" else features.narrow_rows
        context = replace(context, columns=[columns[idx] for idx in col_idx])
        fit = stacker.fit(rows, context)
        members[stacker.name] = Member(title=title, fit=fit, inputs=col_idx)
    return members


def fit_tasks(features: AlignedFeatures, seed: int) -> dict[str, Member]:
    """Cross-fit each sub-task alone; those of the target itself are read instead."""
    target_columns, columns = features.target_columns, features.data.columns
    of_target = {target_columns.regression_task, target_columns.proba_task}
    members = {}
    for task in dict.fromkeys(column.task for column in columns):
        means = columns_of(columns, task, "mean")
        if task in of_target or not len(means):
            continue
        X = features.rows.X[:, means]
        if len(means) == 1 and target_columns.is_number:
            shape, rows = "rising curve", features.with_inputs(X[:, 0])
            fit = cross_fit_curve(rows, seed=seed)
        else:
            shape, fit = "ridge", cross_fit_ridge(features.with_inputs(X), seed=seed)
        title = f"{task} alone, {shape}"
        members[f"{task}_alone"] = Member(title=title, fit=fit, inputs=means)
    return members


def read_fixed(features: AlignedFeatures) -> dict[str, Member]:
    """Read what the nets predict of the target themselves."""
    views = "the views of all pictures" if features.data.info.objects else "the views"
    titles = {
        "plain": f"plain net, mean of {views}",
        "expected": f"{features.target_columns.proba_task} alone, expected value",
    }
    rows = features.data.rows
    return {
        name: Member(title=titles[name], fit=CrossFit.of_fixed(pred, rows.folds))
        for name, pred in features.target_columns.fixed(rows.X).items()
    }


def first_by_net(
    members: Mapping[str, Member], features: AlignedFeatures
) -> dict[str, Member]:
    """Let the net itself predict the folds in time that have no past, as the first.

    No row comes before it, so nothing could be stacked that knows no later label.
    Where the nets predict no target, the members stay as they are.

    Args:
        members: Cross-fitted.
        features: The rows.
    """
    fixed = features.target_columns.fixed(features.data.rows.X)
    if not features.rows.in_time or not fixed:
        return dict(members)
    net_pred = next(iter(fixed.values()))
    is_first = without_past(features.rows.folds, features.rows.train_from)
    changed = {}
    for name, member in members.items():
        oof_pred = member.fit.oof_pred.copy()
        oof_pred[is_first] = net_pred[is_first]
        changed[name] = replace(member, fit=replace(member.fit, oof_pred=oof_pred))
    return changed


def constant(scoring: ScoringData) -> Member:
    """Predict each fold by the best constant of the others."""
    y, objective = scoring.y_true, scoring.objective
    pred = np.empty_like(y)
    models: list[Model] = []
    for _, train_idx, val_idx in scoring.each_fold():
        pred[val_idx] = best = objective.best_constant(y[train_idx])
        models.append(Constant(y=best))
    fit = replace(CrossFit.of_fixed(pred, scoring.folds), models=models)
    return Member(title="constant", fit=fit)
