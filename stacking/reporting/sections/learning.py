"""A part of the report: how the nets learned, where the transfer left its logs."""

from pathlib import Path

from markupsafe import Markup

from data_prep.reporting.charts import curve_legend, lines, panels
from data_prep.reporting.report import Section, subheading, together
from stacking.analysis.learning_curves import Curves, held_out_scores, training_losses


def learning(run: Path) -> Section:
    """Show the losses of the training, and scores by epoch; no logs: nothing.

    Args:
        run: Folder of the run.
    """
    losses, scores = training_losses(run), held_out_scores(run)
    pieces = []
    if losses:
        pieces += [
            subheading("Loss on the rows that were learned from"),
            _charts(losses, "step of the optimiser"),
        ]
    if scores:
        pieces += [
            subheading("Score of the fold that was held out"),
            _charts(scores, "epoch"),
        ]
    if not pieces:
        return Section("", Markup())
    return Section(
        "How the nets learned",
        together(*pieces),
        "A line for each net. A loss that still falls at the end asks for more epochs;"
        " one that falls while the held-out score gets worse, for fewer.",
    )


def _charts(curves: Curves, x_label: str) -> Markup:
    names = [curve.name for curve in max(curves.values(), key=len)]
    return together(
        curve_legend(names) if len(names) > 1 else Markup(),
        panels([(name, lines(c, x_label=x_label)) for name, c in curves.items()]),
    )
