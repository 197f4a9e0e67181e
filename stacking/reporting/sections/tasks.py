"""Parts of the report: what each sub-task is worth, and what the trees look at."""

import numpy as np
import pandas as pd
from markupsafe import Markup

from data_prep.reporting.charts import ForestRow, bars, forest_plot
from data_prep.reporting.report import (
    Section,
    heat_table,
    prose,
    subheading,
    table,
    together,
)
from features.pooling import STATISTICS
from stacking.analysis.findings import Findings
from stacking.ensemble.stack import Stacked
from stacking.reporting.wording import listed, score_digits, signed

N_TOP = 12  # columns shown by name


def worth(stacked: Stacked, findings: Findings) -> Section:
    """Show what would be lost without each sub-task; one task: nothing."""
    if not findings.task_gains:
        return Section("", Markup())
    digits = score_digits(stacked)
    order = sorted(findings.task_gains.items(), key=lambda item: -item[1].value)
    rows = [
        ForestRow(
            name=task,
            value=gain.value,
            low=gain.low,
            high=gain.high,
            is_strong=gain.low > 0,
            text=signed(gain.value, digits),
        )
        for task, gain in order
    ]
    earning = [task for task, gain in order if gain.low > 0]
    idle = [task for task, gain in order if gain.high < 0]
    verdict = (
        f"{listed(earning)} {'earn their' if len(earning) > 1 else 'earns its'} keep:"
        " the interval excludes zero."
        if earning
        else "None is missed for certain: what one tells, the others tell too, or the"
        " rows are too few to say."
    )
    if idle:
        verdict += f" The trees do better without {listed(idle)}."
    return Section(
        "Which sub-task earns its keep",
        together(
            forest_plot(
                rows, label=f"{stacked.objective.title} gained by having it", guide=0.0
            ),
            prose(verdict),
        ),
        "Quick boosted trees, with all columns and without those of each sub-task in"
        " turn: what having it gains, on the same rows, with its 95 % interval. One"
        " that gains nothing may be left out of tasks, which saves its training.",
    )


def importance(stacked: Stacked, findings: Findings) -> Section:
    """Show which columns the boosters use, and how far the nets were moved."""
    gains = findings.column_gains
    if gains is None:
        return Section("", Markup())
    by_task = gains.groupby("task", sort=False)["gain"].sum()
    by_task = by_task.sort_values(ascending=False)
    grid = gains.pivot_table("gain", "task", "statistic", "sum", fill_value=0.0)
    usual = [name for name in STATISTICS if name in grid]
    shown = [*usual, *(str(name) for name in grid if name not in usual)]
    grid = grid.loc[by_task.index, shown]
    top = gains.head(N_TOP)
    pieces = [
        heat_table(
            grid.to_numpy(),
            list(grid.index),
            [name or "as it is" for name in shown],
            corner="task",
            is_count=False,
        ),
        subheading("The columns used most"),
        bars(
            [
                ForestRow(name=name, value=float(gain), text=f"{gain:.1%}")
                for name, gain in zip(
                    _column_titles(stacked, top), top["gain"], strict=True
                )
            ]
        ),
        *_alignment(stacked),
    ]
    return Section(
        "What the trees look at",
        together(*pieces),
        "Share of the boosters' gain, by sub-task and by statistic over the views of a"
        " picture. A column that is used much need not be missed: another may tell the"
        " same. So drop a sub-task by what it gains, and not by its share here.",
    )


def _column_titles(stacked: Stacked, columns: pd.DataFrame) -> list[str]:
    """Name columns; of a probability of the target by its class too."""
    task, classes = stacked.features.target_columns.proba_task, stacked.data.classes
    titles = []
    for row in columns.itertuples():
        is_of_class = bool(task) and row.task == task and str(row.output).isdecimal()
        name = f" ({classes[int(str(row.output))]})" if is_of_class else ""
        titles.append(f"{row.column}{name}")
    return titles


def _alignment(stacked: Stacked) -> list[Markup]:
    shifts = np.abs(stacked.features.alignment.shifts())
    if not shifts.any():
        return []
    tasks = [column.task for column in stacked.data.columns]
    moved = pd.DataFrame(shifts.T).groupby(tasks, sort=False).median()
    moved.columns = pd.Index([f"net {k}" for k in range(len(shifts))])
    moved.index.name = "task"
    return [
        subheading("How far alignment moved each net"),
        table(
            moved,
            "Median over the columns, in standard deviations.",
            digits=2,
            shows_index=True,
        ),
    ]
