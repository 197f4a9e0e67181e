"""Show what a feature store holds: ``python -m features.inspect FILE [--verify]``.

Reads the header only, or with ``--verify`` every byte; executes nothing of the file.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from data_prep.command import run_command
from data_prep.settings import POSITIONAL, from_flags
from features.store import Store, open_store, verify

AT_MOST = 12  # columns of a task, nets and failures that are shown one by one
# Shown in rows of their own, or too long to show.
SHOWN_APART = (
    "format",
    "shape",
    "dtype",
    "index",
    "columns",
    "views",
    "nets",
    "failures",
    "versions",
    "offset",
)
log = logging.getLogger(__name__)


def table(store: Store) -> list[tuple[str, str]]:
    """Give what the header says as rows of a name and a text."""
    header = store.header
    rows = [
        ("format", header["format"]),
        (
            "shape",
            " x ".join(f"{n:,}" for n in header["shape"]) + f" {header['dtype']}",
        ),
        ("ids", _some(store.ids, 3)),
        ("views", " ".join(map(str, header.get("views") or [])) or "pooled"),
    ]
    by_task: dict[str, list[str]] = {}
    for column in header["columns"]:
        by_task.setdefault(str(column.get("task", "?")), []).append(column["name"])
    for task, names in by_task.items():
        rows.append(("columns", f"{task}: {len(names)}: {_some(names)}"))
    rows += [
        ("roles", _counted(store.roles.tolist())),
        ("folds", _counted("none" if n < 0 else str(n) for n in store.folds.tolist())),
    ]
    nets = _nets(header.get("nets") or [])
    rows += [("nets", _pairs(net)) for net in nets[:AT_MOST]]
    if len(nets) > AT_MOST:
        rows.append(("nets", f"and {len(nets) - AT_MOST} more"))
    failures = header.get("failures") or {}
    rows.append(("failures", f"{len(failures)}"))
    rows += [("", f"{id_}: {why}") for id_, why in [*failures.items()][:AT_MOST]]
    rows.append(("versions", _pairs(header.get("versions") or {}) or "not recorded"))
    further = [key for key in header if key not in SHOWN_APART]
    return rows + [(key, _pairs(header[key])) for key in further]


def _nets(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give each net once: a header has an entry for each task of a joint net."""
    nets: dict[tuple[Any, Any], dict[str, Any]] = {}
    for entry in entries:
        key = entry.get("digest"), entry.get("fold")
        net = nets.setdefault(key, {**entry, "task": ""})
        net["task"] += f"{'+' * bool(net['task'])}{entry.get('task', '?')}"
    return list(nets.values())


@dataclass(frozen=True, kw_only=True)
class InspectSettings:
    """Show what a feature store holds; nothing in it is executed."""

    file: Annotated[Path, "feature store (.pkl)", POSITIONAL]
    verify: Annotated[bool, "read and check every byte of it"] = False


def main(argv: Sequence[str] | None = None) -> Path:
    """Show the store that the command line names, and return its path."""
    settings = from_flags(InspectSettings, "features.inspect", argv)
    path = settings.file
    store = open_store(path)
    if settings.verify:
        verify(path)
    log.info("%s, %.1f MB", path, path.stat().st_size / 1e6)
    rows = table(store)
    width = max(len(name) for name, _ in rows)
    previous = ""
    for name, text in rows:
        log.info("  %-*s  %s", width, "" if name == previous else name, text)
        previous = name
    if settings.verify:
        log.info("sound: header, pickle, checksum, values and ids were checked")
    return path


def _counted(values: Iterable[str]) -> str:
    pairs = sorted(Counter(values).items())
    return ", ".join(f"{value}: {n:,}" for value, n in pairs) or "no rows"


def _some(names: Sequence[str], at_most: int = AT_MOST) -> str:
    shown = ", ".join(names[:at_most])
    n_more = len(names) - at_most
    return f"{shown} and {n_more:,} more" if n_more > 0 else shown


def _pairs(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_pairs(entry)}" for key, entry in value.items())
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    run_command(main)
