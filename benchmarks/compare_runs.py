"""Is a run better than another? Their stacks' predictions of the same held-out rows.

    python -m benchmarks.compare_runs runs/plain runs/without_issues

Both have finished ``stacking.fit`` of a number, by the same folds. Each line of the
table that both have is scored, with the 95 % interval of the difference, resampled by
the cv groups of the first run and paired by picture.
"""

from pathlib import Path

import numpy as np

from benchmarks.differences import told
from data_prep.command import run_command
from data_prep.errors import UserError
from data_prep.prepared import PREPARED, Prepared
from data_prep.run_folders.damage import read_frame
from data_prep.run_folders.runs import Run
from data_prep.scoring.metrics import METRICS
from data_prep.scoring.scores import paired_bootstrap
from data_prep.settings import Parser
from stacking.fit import STAGE
from stacking.oof import EXACT

NO_LINES = ("id", "fold", "target", "spread_deals")


def compare(first: Path, second: Path) -> str:
    """Write a table of the second run's gains over the first.

    Raises:
        UserError: They did not hold out the same rows by the same folds, or have
            predicted classes.
    """
    stages = [Run(folder).finished(STAGE) for folder in (first, second)]
    names = [str(stage.metadata["metric"]) for stage in stages]
    metric = METRICS[names[0]]
    if len({*names}) > 1 or metric.compared != "numbers":
        raise UserError(
            f"{first} is scored by {names[0]}, {second} by {names[1]}; give two runs of"
            " a number by the same metric"
        )
    tables = [
        read_frame(stage.folder / EXACT).set_index("id").sort_index()
        for stage in stages
    ]
    if not all(tables[0][name].equals(tables[1][name]) for name in ("fold", "target")):
        raise UserError(
            f"{first} and {second} differ in their rows, folds or targets; give both"
            " the same tables, cv and seed"
        )
    prepared = Prepared.open(Run(first).finished(PREPARED)).table.set_index("id")
    cv_groups = prepared["cv_group"].loc[tables[0].index].to_numpy()
    y_true = tables[0]["target"].to_numpy(dtype=np.float64)
    lines = [
        name
        for name in tables[0]
        if name in tables[1] and name not in NO_LINES and "probability_" not in name
    ]
    head = f"| {names[0]} | {first.name} | {second.name} | difference |"
    rows = [head, "|---|---|---|---|"]
    for name in lines:
        preds = [table[name].to_numpy(dtype=np.float64) for table in tables]
        scores = [metric(y_true, y_pred) for y_pred in preds]
        gain = paired_bootstrap(metric, y_true, preds[1], preds[0], cv_groups)
        rows.append(f"| {name} | {scores[0]:.4f} | {scores[1]:.4f} | {told(gain)} |")
    return "\n".join(rows)


def main() -> None:
    """Compare two runs."""
    parser = Parser(prog="python -m benchmarks.compare_runs", description=__doc__)
    parser.add_argument("first", type=Path, help="folder of a run")
    parser.add_argument("second", type=Path, help="the one that may be better")
    parsed = parser.parse(None)
    print(compare(parsed["first"], parsed["second"]))


if __name__ == "__main__":
    run_command(main)
