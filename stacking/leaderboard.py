"""Every run in one table: how well it did, what it took, and what sets it apart.

    python -m stacking.leaderboard runs/

Reads the records of all runs below a folder, prints them best first, and writes
``leaderboard.csv`` and ``leaderboard.html`` into the folder. A run that is not
finished, or whose record cannot be read, is listed with the reason.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from data_prep.command import run_command
from data_prep.reporting.numerals import style_for
from data_prep.run_folders.drafts import drafted
from data_prep.run_places import RUNS, noted_runs
from data_prep.settings import POSITIONAL, from_flags
from stacking.reporting.leaderboard_entries import (
    ABSENT,
    LeaderboardEntry,
    MissingRun,
    column_name,
    columns_of,
    read_runs,
)

FIGURES = ("metric", "score", "low", "high", "plain", "constant")
log = logging.getLogger(__name__)


def as_text(entries: Sequence[LeaderboardEntry], missing: Sequence[MissingRun]) -> str:
    """Write the table as it is read in a terminal; settings are below the figures."""
    lines, metric = [], ""
    wide = max((len(entry.run) for entry in entries), default=0)
    for number, entry in enumerate(entries, start=1):
        if entry.metric != metric:
            metric = entry.metric
            better = "higher" if entry.is_higher_better else "lower"
            lines += [
                f"{metric}, {better} is better",
                f"     {'run':{wide}}  {'finished, UTC':16}   nested  95 % interval  "
                "     plain  constant  minutes",
            ]
        style = style_for(entry.score)
        interval = f"{entry.low:{style}}..{entry.high:{style}}"
        line = (
            f"{number:3}  {entry.run:{wide}}  {entry.finished_at:%Y-%m-%d %H:%M}"
            f"  {entry.score:7{style}}  {interval:16}"
            f"  {_figure(entry.plain, style):>6}    {_figure(entry.constant, style):>6}"
            f"  {entry.minutes:7.1f}  {entry.remark}"
        )
        lines.append(line.rstrip())
    columns = columns_of(entries)
    lines += ["what sets them apart (by the numbers above)"] if columns else []
    for column in columns:
        by_text: dict[str, list[str]] = {}
        for number, entry in enumerate(entries, start=1):
            by_text.setdefault(entry.text_of(column), []).append(str(number))
        values = [f"{text} ({', '.join(runs)})" for text, runs in by_text.items()]
        lines.append(f"     {column_name(column)}: {'; '.join(values)}")
    lines += ["not in the table"] if missing else []
    return "\n".join([*lines, *(f"     {run.run}: {run.reason}" for run in missing)])


def as_csv(entries: Sequence[LeaderboardEntry], missing: Sequence[MissingRun]) -> str:
    """Write a row per entry, then the runs without any, the reason as their note."""
    import pandas as pd

    columns = columns_of(entries)
    rows: list[dict[str, Any]] = [
        {
            "run": entry.run,
            "finished_at": entry.finished_at.isoformat(),
            **{name: getattr(entry, name) for name in FIGURES},
            "minutes": round(entry.minutes, 2),
            "note": entry.remark,
            **{column_name(column): entry.text_of(column) for column in columns},
        }
        for entry in entries
    ]
    gaps = dict.fromkeys(map(column_name, columns), ABSENT)
    rows += [{"run": run.run, "note": run.reason} | gaps for run in missing]
    head = ("run", "finished_at", *FIGURES, "minutes", "note", *gaps)
    return pd.DataFrame(rows, columns=head).to_csv(index=False, lineterminator="\n")


@dataclass(frozen=True, kw_only=True)
class LeaderboardSettings:
    """List every run: its score, and the settings that set it apart."""

    folder: Annotated[
        Path | None,
        "folder of runs (default: runs/ of the project that one stands in)",
        POSITIONAL,
    ] = None


def main(argv: Sequence[str] | None = None) -> Path:
    """List the runs of the folder that the command line names; return the page."""
    chosen = from_flags(LeaderboardSettings, "stacking.leaderboard", argv).folder
    folder = chosen or noted_runs() or Path(RUNS)
    entries, missing = read_runs(folder)
    log.info("%s", as_text(entries, missing))
    from stacking.reporting.leaderboard_page import write_page

    with drafted(folder / "leaderboard.csv") as file:
        file.write(as_csv(entries, missing).encode())
    page = folder / "leaderboard.html"
    write_page(page, entries, missing)
    log.info("-> %s", page)
    return page


def _figure(value: float | None, style: str) -> str:
    return ABSENT if value is None else format(value, style)


if __name__ == "__main__":
    run_command(main)
