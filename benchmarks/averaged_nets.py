"""Should the stack choose for one net a row, or for the mean of several?

    python -m benchmarks.averaged_nets runs/seed0 runs/seed1 runs/seed2 runs/seed3

The runs are of one preparation, so of the same folds, and differ in the seed of their
nets. Each row has then as many predictions by nets that never saw it as there are runs,
and so has each member of the stack. Their mean is scored, once where each run chose
weights, selection and rules on its own predictions, and once where these are chosen on
the mean. Both are nested: what a fold is predicted by was chosen on inner predictions
of the others, in each of the runs. Intervals are 95 %, over cv groups, paired.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.differences import told
from data_prep.command import open_command, run_command
from data_prep.errors import UserError
from data_prep.prepared import PREPARED
from data_prep.run_folders.runs import Run
from data_prep.scoring.scores import Interval
from data_prep.settings import Parser
from stacking.ensemble.candidates import CONSTANT
from stacking.ensemble.members import Member
from stacking.ensemble.stack import Stacked, stack
from stacking.fit import STAGE
from stacking.inputs.assemble import assemble
from stacking.inputs.sources import EXTRACTED
from stacking.settings import FitSettings
from stacking.workflow import StackingJob


def stack_of(folder: Path) -> tuple[StackingJob, Stacked]:
    """Stack a run in memory, as ``stacking.fit`` does with the settings of its file."""
    settings, run, experiment = open_command(FitSettings, STAGE, ["--run", str(folder)])
    prepared, extracted = run.finished(PREPARED), run.finished(EXTRACTED)
    data = assemble(prepared, extracted)
    job = StackingJob.of(data, settings, experiment, prepared, extracted=extracted)
    return job, job.fit(folder)


def mean_of_members(stacks: Sequence[Stacked]) -> dict[str, Member]:
    """Average each member's predictions over the runs, the inner ones too.

    Args:
        stacks: Of the runs.

    Returns:
        Members by name, without the means of members, which are chosen anew.
    """
    first = stacks[0].members
    means = {}
    for name, member in first.items():
        if name in stacks[0].weights_by_mean or name == CONSTANT:
            continue
        fits = [stacked.members[name].fit for stacked in stacks]
        fit = replace(
            fits[0],
            oof_pred=np.mean([of_run.oof_pred for of_run in fits], axis=0),
            inner_oof=np.mean([of_run.inner_oof for of_run in fits], axis=0),
        )
        means[name] = replace(member, fit=fit)
    return means


def row(title: str, score: float, gain: Interval | None = None) -> str:
    """Write a row of the table."""
    return f"| {title} | {score:.4f} | {told(gain) if gain else ''} |"


def main() -> None:
    """Stack each run, then both ways of choosing."""
    parser = Parser(prog="python -m benchmarks.averaged_nets", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="at least two")
    folders = parser.parse(None)["runs"]
    digests = {Run(each).finished(PREPARED).record["digest"] for each in folders}
    if len(folders) < 2 or len(digests) > 1:
        raise UserError(
            "the runs have to be two or more of one preparation; make them by hard"
            " links, as benchmarks.compare_arms does"
        )
    with threadpool_limits(1, user_api="blas"):
        fitted = [stack_of(folder) for folder in folders]
        stacks = [stacked for _, stacked in fitted]
        job, first = fitted[0][0], stacks[0]
        members = mean_of_members(stacks)
        of_mean = stack(
            first.features, members, job.objective, stackers=job.settings.stackers
        )
    rows, objective = first.data.rows, job.objective
    each = np.mean([stacked.final.pred for stacked in stacks], axis=0)
    trees = members[next(name for name in job.settings.stackers if name in members)]
    scores = [stacked.final.scores.pooled for stacked in stacks]
    print(f"{len(rows.y)} rows, {objective.title}")
    print(f"alone: {', '.join(f'{score:.4f}' for score in scores)}")
    print(f"| {len(stacks)} runs, averaged | {objective.title} | gain over the first |")
    print("|---|---|---|")
    print(row("each run by its own choice", objective.score(rows.y, each)))
    for title, y_pred in (
        ("chosen on the mean", of_mean.final.pred),
        (f"{trees.title} alone", trees.fit.oof_pred),
    ):
        gain = objective.gain(rows.y, each, y_pred, rows.groups)
        print(row(title, objective.score(rows.y, y_pred), gain))
    for name, of in (("of the first run", first), ("of the mean", of_mean)):
        weights = of.weights_by_mean.get("blend", {})
        print(f"weights {name}: {weights}")


if __name__ == "__main__":
    run_command(main)
