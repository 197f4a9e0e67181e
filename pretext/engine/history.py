"""Metrics by epoch, kept in a CSV file: a row for each epoch measured.

A training that is resumed reads its history back; an epoch that is measured again
replaces its row, and later ones, which are made again, are dropped.
"""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from data_prep.run_folders.damage import intact
from data_prep.run_folders.drafts import write_rows


class History:
    """Metrics by epoch, the same on the disk.

    Args:
        path: The file; read if it is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.by_epoch: dict[int, dict[str, float]] = {}
        if path.exists():
            with intact(path), path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    epoch = int(row.pop("epoch"))
                    self.by_epoch[epoch] = {k: float(v) for k, v in row.items() if v}

    def add(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Put in the metrics after an epoch, which is now the last one."""
        earlier = {e: values for e, values in self.by_epoch.items() if e < epoch}
        self.by_epoch = {**earlier, epoch: dict(metrics)}
        names = list(dict.fromkeys(n for m in self.by_epoch.values() for n in m))
        rows = [
            [e, *(_text_of(m[name]) if name in m else "" for name in names)]
            for e, m in self.by_epoch.items()
        ]
        write_rows(self.path, [["epoch", *names], *rows])

    def of(self, name: str) -> dict[int, float]:
        """Give a metric by epoch, where it was measured and is a number."""
        values = {e: m.get(name, math.nan) for e, m in self.by_epoch.items()}
        return {e: value for e, value in values.items() if math.isfinite(value)}


def _text_of(value: float) -> str:
    """Spell a number with all its digits, so that what is read back is the same."""
    value = float(value)
    return f"{value:.0f}" if value.is_integer() else repr(value)


def read_metrics(path: Path) -> dict[str, dict[int, float]]:
    """Read what the engine logged: metrics by name and optimiser step."""
    metrics: dict[str, dict[int, float]] = {}
    for step, name, value in read_rows(path):
        metrics.setdefault(name, {})[int(step)] = float(value)
    return metrics


def read_rows(path: Path) -> list[list[str]]:
    """Read the rows of the log: step, name, value.

    A row is left out where a full disk or a kill cut it; the log is no result.
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = csv.reader(line.replace("\0", "") for line in file)
        return [row for row in rows if _is_whole(row)]


def _is_whole(row: list[str]) -> bool:
    try:
        step, _, value = row
        return int(step) >= 0 and float(value) is not None
    except ValueError:  # the head is none either
        return False
