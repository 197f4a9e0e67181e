"""A part of the report: settings, time, hardware and versions."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from data_prep.reporting.report import (
    Section,
    definitions,
    folded,
    subheading,
    table,
    together,
)
from stacking.ensemble.stack import Stacked
from stacking.reporting.run_files import records

MINUTE_S, HOUR_MIN = 60, 60
NARROW = "\u202f"  # a space at which no line is broken


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
