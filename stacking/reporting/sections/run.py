"""A part of the report: settings of all stages, time, hardware and versions."""

import os
import platform
import re
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
STACK = "stacking.fit"
SHA256, N_SHOWN = re.compile("[0-9a-f]{64}"), 16  # letters of a hash
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
    chosen = {
        **settings,
        "metric": stacked.objective.name,
        "fold hash": stacked.data.info.fold_hash,
    }
    by_stage = {record["stage"]: record["settings"] for record in earlier}
    return Section(
        "Settings, time and versions",
        together(
            *(
                folded(f"Settings of {stage}", definitions(flat(of_stage)))
                for stage, of_stage in (by_stage | {STACK: chosen}).items()
            ),
            _times(earlier, seconds),
            folded("Versions", definitions(earlier_versions | dict(versions))),
        ),
        "All that decides the result; what only makes it faster, such as threads, is"
        " not listed. Where two runs score differently, compare these first.",
    )


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Give settings, tables of settings too, as names and values for people.

    Args:
        settings: Of a stage, as recorded.
        before: Put before each name, such as ``data.``.

    >>> flat({"side": 64, "data": {"train": "a.csv", "attributes": ["b", "c"]}})
    {'side': 64, 'data.train': 'a.csv', 'data.attributes': 'b, c'}
    """
    shown: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            shown |= flat(value, f"{before}{name}.")
        elif isinstance(value, list | tuple):
            shown[before + name] = ", ".join(map(str, value))
        elif isinstance(value, str) and SHA256.fullmatch(value):
            shown[before + name] = value[:N_SHOWN]
        else:
            shown[before + name] = value
    return shown


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
