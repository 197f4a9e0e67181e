"""Parts of the report: how the nets learned; settings, time, hardware and versions."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from data_prep.reporting.charts import curve_legend, lines, panels
from data_prep.reporting.report import (
    Section,
    definitions,
    folded,
    subheading,
    table,
    together,
)
from stacking.analysis.learning_curves import Curves, held_out_scores, training_losses
from stacking.ensemble.stack import Stacked
from stacking.reporting.run_files import records

MINUTE_S, HOUR_MIN = 60, 60
NARROW = "\u202f"  # a space at which no line is broken


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


def settings_and_versions(
    stacked: Stacked,
    run: Path,
    *,
    settings: Mapping[str, Any],
    versions: Mapping[str, str],
    seconds: float | None,
) -> Section:
    """Say by which settings, how long it took, on what, and by which versions.

    Args:
        stacked: The result of the stack.
        run: Folder of the run.
        settings: Of this stage.
        versions: Of the packages of this stage.
        seconds: How long the stack has taken; None: unknown.
    """
    earlier = records(run)
    earlier_versions: dict[str, str] = {}
    for record in earlier:
        earlier_versions |= record.get("versions", {})
    settings = {**settings, "metric": stacked.objective.name}
    shown = {name: _text(value) for name, value in settings.items() if name != "tasks"}
    return Section(
        "Settings, time and versions",
        together(
            definitions(shown | {"fold hash": stacked.data.info.fold_hash[:16]}),
            _times(earlier, seconds),
            folded("Versions", definitions(earlier_versions | dict(versions))),
        ),
    )


def _text(value: Any) -> Any:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {entry}" for name, entry in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return value


def _times(earlier: list[dict[str, Any]], seconds: float | None) -> Markup:
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    took = "" if seconds is None else f", in {_duration(seconds)}"
    frame = pd.DataFrame(
        [
            {
                "stage": record["stage"],
                "time": _duration(record["seconds"]),
                "on": record.get("device", ""),
                "machine": record.get("machine", ""),
                "finished, UTC": record["finished_at"][:16].replace("T", " "),
            }
            for record in earlier
        ]
    )
    return together(
        subheading("Time"), table(frame, f"The stack was made on {machine}{took}.")
    )


def _duration(seconds: float) -> str:
    if seconds < 2 * MINUTE_S:
        return f"{seconds:.0f}{NARROW}s"
    minutes = seconds / MINUTE_S
    if minutes < 2 * HOUR_MIN:
        return f"{minutes:.0f}{NARROW}min"
    return f"{minutes / HOUR_MIN:.1f}{NARROW}h"
