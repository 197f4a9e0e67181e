"""The page of the leaderboard: a table of the runs, and their scores over time."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from data_prep.reporting.charts import Point, scatter
from data_prep.reporting.numerals import decimals_for, four_digits, with_decimals
from data_prep.reporting.report import Section, table, together, write_report
from stacking.reporting.leaderboard_entries import (
    LeaderboardEntry,
    MissingRun,
    column_name,
    columns_of,
)

TO = "\u2060\u2013\u2060"  # a dash at which no line is broken
HOUR_S, DAY_S = 3600, 86_400


def write_page(
    path: Path, entries: Sequence[LeaderboardEntry], missing: Sequence[MissingRun]
) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        entries: The scores, best first by metric.
        missing: The runs that have none.
    """
    sections = []
    for metric, group in groupby(entries, key=lambda entry: entry.metric):
        same_metric = list(group)
        better = "Higher" if same_metric[0].is_higher_better else "Lower"
        sections.append(
            Section(
                metric,
                together(over_time(same_metric), _table(same_metric)),
                f"Nested cross-validation of each run. {better} is better. The line is"
                " the best so far, leaky runs apart. Settings that are the same in all"
                " these runs are left out; a dash: there is no such setting.",
            )
        )
    if missing:
        rows = pd.DataFrame([vars(run) for run in missing])
        sections.append(Section("Not in the table", table(rows)))
    n_runs = len({entry.run for entry in entries} | {run.run for run in missing})
    subtitle = "1 run" if n_runs == 1 else f"{n_runs} runs"
    write_report(path, "Leaderboard", subtitle, sections)


def over_time(entries: Sequence[LeaderboardEntry]) -> Markup:
    """Draw the scores over time, with a line of the best so far.

    Args:
        entries: One or more of one metric.
    """
    ordered = sorted(entries, key=lambda entry: entry.finished_at)
    first = ordered[0].finished_at
    seconds = [(entry.finished_at - first).total_seconds() for entry in ordered]
    is_long = seconds[-1] > 2 * DAY_S
    x = [second / (DAY_S if is_long else HOUR_S) for second in seconds]

    corners: list[tuple[float, float]] = []
    best: LeaderboardEntry | None = None
    for at, entry in zip(x, ordered, strict=True):
        if entry.is_leaky or (best is not None and entry.loss >= best.loss):
            continue
        corners += [(at, best.score)] if best else []
        best = entry
        corners.append((at, best.score))
    return scatter(
        [
            Point(
                x=at, y=entry.score, caption=_caption(entry), is_warning=entry.is_leaky
            )
            for at, entry in zip(x, ordered, strict=True)
        ],
        x_label=f"{'days' if is_long else 'hours'} since {first:%Y-%m-%d %H:%M}",
        y_label=ordered[0].metric,
        best=corners,
    )


def _caption(entry: LeaderboardEntry) -> str:
    date = f"{entry.finished_at:%Y-%m-%d %H:%M}"
    parts = [entry.run, four_digits(entry.score), date, entry.remark]
    return "\n".join(filter(None, parts))


def _table(entries: Sequence[LeaderboardEntry]) -> Markup:
    columns = columns_of(entries)
    digits = decimals_for(entries[0].score)
    rows = [
        {
            "run": entry.run,
            "finished, UTC": f"{entry.finished_at:%Y-%m-%d\u00a0%H:%M}",
            "nested": entry.score,
            "95 %": TO.join(
                with_decimals(end, digits) for end in (entry.low, entry.high)
            ),
            "plain net": entry.plain,
            "constant": entry.constant,
            "minutes": entry.minutes,
            **{column_name(column): entry.text_of(column) for column in columns},
            "note": entry.remark,
        }
        for entry in entries
    ]
    frame = pd.DataFrame(rows).astype({"plain net": float, "constant": float})
    frame = frame if frame["note"].any() else frame.drop(columns="note")
    best = [] if entries[0].is_leaky else [0]
    formats = {"minutes": "{:.1f}".format}
    return table(frame, digits=digits, formats=formats, strong=best)
