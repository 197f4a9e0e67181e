"""Compare runs: the scores of their held-out folds over the epochs, with their spread.

    python -m transfer.compare runs/scratch runs/jigsaw runs/ready

Reads ``NET/foldK/logs/epochs.csv`` of each run, also of one that is being trained, and
writes ``compare.png`` (the mean of the folds, and the band from the lowest to the
highest), ``compare.html`` and ``compare.csv`` beside the first run. Train with
``--score-every 1``, or there is the last epoch only. The best epoch stands there to be
looked at: it is seen with the labels of the folds, so it is no score of a choice.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from data_prep.command import run_command
from data_prep.reporting.numerals import four_digits
from data_prep.run_folders.drafts import drafted
from data_prep.settings import POSITIONAL, from_flags

if TYPE_CHECKING:
    from transfer.results.score_curves import RunCurves

NAME = "compare"
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """Compare the scores of several runs over their epochs."""

    runs: Annotated[tuple[Path, ...], "folders of the runs", POSITIONAL]
    out: Annotated[
        Path | None, "folder for compare.png, .html, .csv (default: that of the runs)"
    ] = None


def main(argv: Sequence[str] | None = None) -> Path:
    """Compare the runs that the command line names, and return the page."""
    settings = from_flags(CompareSettings, "transfer.compare", argv)
    from transfer.results.score_curves import RunCurves, table_of

    curves = [RunCurves.of(folder) for folder in settings.runs]
    table = table_of(curves)
    formats = dict.fromkeys(map(str, table.select_dtypes("float")), four_digits)
    log.info("%s", table.to_string(index=False, formatters=formats))
    folder = settings.out or settings.runs[0].resolve().parent
    with drafted(folder / f"{NAME}.csv") as file:
        file.write(table.to_csv(index=False, lineterminator="\n").encode())
    with drafted(folder / f"{NAME}.png") as file:
        file.write(picture_of(curves))
    page = folder / f"{NAME}.html"
    write_page(page, curves)
    log.info("-> %s", page)
    return page


def picture_of(curves: "Sequence[RunCurves]") -> bytes:
    """Draw a panel for each score: a line and a band for each run, as a PNG."""
    from io import BytesIO

    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from transfer.results.score_curves import metrics_of

    metrics = metrics_of(curves)
    n_columns = min(3, len(metrics))
    n_rows = -(-len(metrics) // n_columns)
    figure = Figure(figsize=(5 * n_columns, 3.6 * n_rows), layout="constrained")
    for number, metric in enumerate(metrics, start=1):
        axes = figure.add_subplot(n_rows, n_columns, number)
        for k, run in enumerate(curves):
            if metric not in run.by_metric or (mean := run.mean(metric)).empty:
                continue
            epochs, colour = mean.index.to_numpy(), f"C{k % 10}"
            marker = "o" if len(mean) == 1 else None
            axes.plot(epochs, mean["mean"], color=colour, label=run.run, marker=marker)
            axes.fill_between(
                epochs, mean["min"], mean["max"], color=colour, alpha=0.18, lw=0
            )
        axes.set(xlabel="epoch", ylabel=metric)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if number == 1:
            axes.legend(frameon=False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def write_page(path: Path, curves: "Sequence[RunCurves]") -> None:
    """Write the page: a chart of the means, and the table, for each score."""
    from data_prep.reporting import charts
    from data_prep.reporting.report import Section, table, together, write_report
    from transfer.results.score_curves import metrics_of, table_of

    rows, sections = table_of(curves), []
    for metric in metrics_of(curves):
        lines = [
            charts.ChartLine(
                name=run.run, x=mean.index.tolist(), y=mean["mean"].tolist()
            )
            for run in curves
            if metric in run.by_metric and not (mean := run.mean(metric)).empty
        ]
        of_metric = rows[rows["score"] == metric].drop(columns="score")
        scores = ("last", "lowest fold", "highest fold", "best")
        sections.append(
            Section(
                metric,
                together(
                    charts.curve_legend([line.name for line in lines]),
                    charts.lines(lines, x_label="epoch", y_label=metric),
                    table(of_metric, formats=dict.fromkeys(scores, four_digits)),
                ),
            )
        )
    write_report(
        path,
        "Runs compared",
        "held-out folds over the epochs, plain view; means over the folds",
        sections,
    )


if __name__ == "__main__":
    run_command(main)
