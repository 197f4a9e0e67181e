"""The means of members, and the one prediction that post-processing begins from.

All candidates are scored on the same folds. Their blend is taken, unless a member is
surely better: the best of many close scores is luck, and on few rows dear. For the
nested score each fold's member is selected on inner predictions of the other folds. If
what is selected on all rows scores worse than a constant, the constant is handed out;
the nested score stays, and says why.

Shapes: N rows, F folds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from data_prep.arrays import Floats
from data_prep.errors import UserError
from stacking.cross_fitting import CrossFit
from stacking.ensemble.members import Member, constant
from stacking.ensemble.objective import ScoringData
from stacking.ensemble.postprocess import Start
from stacking.ensemble.selection import cross_select

CONSTANT = "constant"
Clip = Callable[[Floats], Floats]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The members with the means of them.

    Attributes:
        members: By name, with the means.
        weights_by_mean: By name of a mean, the weights of its members, selected on all
            rows.
        apparent: By name of a mean, the (N, ...) predictions that those weights give.
        names: Those that may be selected; of equals the first is.
    """

    members: Mapping[str, Member]
    weights_by_mean: Mapping[str, Mapping[str, float]]
    apparent: Mapping[str, Floats]
    names: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Selected:
    """The candidate that post-processing begins from.

    Attributes:
        name: Selected on all rows; ``constant`` where nothing is better.
        by_fold: F names, each selected on the rows of the other folds.
        start: The predictions: nested those of ``by_fold``, apparent those of ``name``.
    """

    name: str
    by_fold: Sequence[str]
    start: Start


def add_means(
    members: Mapping[str, Member],
    scoring: ScoringData,
    clip: Clip,
    stackers: Sequence[str],
    *,
    is_leaky: bool,
) -> Candidates:
    """Add the mean of the sub-tasks, where it is among the stackers, and the blend.

    Args:
        members: By name, clipped.
        scoring: The rows, and what weights are selected by.
        clip: Brings predictions into the range of the target.
        stackers: Which members may be selected, with what the nets predict themselves.
        is_leaky: By the protocol ``insample``: only the first stacker may be.
    """
    every = dict(members)
    weights_by_mean: dict[str, Mapping[str, float]] = {}
    apparent: dict[str, Floats] = {}

    def add(name: str, title: str, names: Sequence[str]) -> None:
        fits = {name: every[name].fit for name in names}
        fit, weights_by_mean[name], apparent[name] = cross_select(fits, scoring)
        every[name] = clipped(Member(title=title, fit=fit), clip)

    fixed = [name for name in ("plain", "expected") if name in members]
    tasks = [name for name in members if name.endswith("_alone")]
    if "weighted" in stackers and len(tasks + fixed) > 1:
        add("weighted", "weighted mean of the sub-tasks", [*fixed, *tasks])
    # Of equals the first is selected, so what needs no fitting comes first.
    names = fixed + [name for name in stackers if name in every]
    every[CONSTANT] = constant(scoring)
    if not names:
        raise UserError(
            "stackers: 'weighted' is a mean of sub-tasks, and there are no two of them;"
            " name another too, such as ridge"
        )
    if is_leaky:
        names = list(stackers[:1])
    elif len(names) > 1:
        base_names = [name for name in names if name not in weights_by_mean]
        add("blend", "blend of all", base_names)
        names.append("blend")
    return Candidates(
        members=every, weights_by_mean=weights_by_mean, apparent=apparent, names=names
    )


def clipped(member: Member, clip: Clip) -> Member:
    """Bring a member's predictions into the range of the target."""
    fit = member.fit
    bounded = replace(fit, oof_pred=clip(fit.oof_pred), inner_oof=clip(fit.inner_oof))
    return replace(member, fit=bounded)


def select_candidate(candidates: Candidates, scoring: ScoringData) -> Selected:
    """Select a member on all rows, and for each fold on those of the others."""
    members = candidates.members
    fits = {name: members[name].fit for name in candidates.names}
    nested = CrossFit.empty(scoring.y_true, scoring.folds)
    by_fold = []
    for fold, train_idx, val_idx in scoring.each_fold():
        inner_oof = {name: fit.inner(fold, train_idx) for name, fit in fits.items()}
        best = best_of(inner_oof, scoring.take(train_idx))
        nested.inner_oof[fold, train_idx] = inner_oof[best]
        nested.oof_pred[val_idx] = fits[best].oof_pred[val_idx]
        by_fold.append(best)
    name = best_of({name: fit.oof_pred for name, fit in fits.items()}, scoring)
    pred_of_none = members[CONSTANT].fit.oof_pred
    scores = [
        scoring.objective.score(scoring.y_true, y_pred)
        for y_pred in (pred_of_none, fits[name].oof_pred)
    ]
    if scoring.objective.is_better(*scores):
        name = CONSTANT
    apparent = candidates.apparent.get(name, members[name].fit.oof_pred)
    start = Start(fit=nested, apparent=apparent)
    return Selected(name=name, by_fold=by_fold, start=start)


def best_of(pred: Mapping[str, Floats], scoring: ScoringData) -> str:
    """Choose the blend, or the best of the members that are surely better.

    A member is surely better if the 95 % interval of its gain excludes zero.

    Args:
        pred: (N, ...) predictions by name; without a ``blend`` the first is the one to
            beat.
        scoring: What they are scored by.
    """
    objective, y_true = scoring.objective, scoring.y_true
    first = "blend" if "blend" in pred else next(iter(pred))
    scores = {name: objective.score(y_true, y_pred) for name, y_pred in pred.items()}
    best = first
    for name, y_pred in pred.items():
        if objective.is_better(scores[name], scores[best]):
            gain = objective.gain(y_true, pred[first], y_pred, scoring.groups)
            best = name if gain.low > 0 else best
    return best
