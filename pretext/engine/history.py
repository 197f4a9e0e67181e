"""The looks at the health of a training, kept in a CSV file: a row for each epoch.

A training that is resumed reads its history back; a look that is repeated replaces its
row, and later ones, which are made again, are dropped.
"""

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from data_prep.run_folders.damage import intact
from data_prep.run_folders.drafts import write_rows


class History:
    """Numbers by epoch, the same on the disk.

    Args:
        path: The file; read if it is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.looks: dict[int, dict[str, float]] = {}
        if path.exists():
            with intact(path), path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    epoch = int(row.pop("epoch"))
                    self.looks[epoch] = {k: float(v) for k, v in row.items() if v}

    def add(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Put in the look after an epoch, which is now the last one."""
        kept = {e: look for e, look in self.looks.items() if e < epoch}
        self.looks = {**kept, epoch: dict(numbers)}
        names = list(dict.fromkeys(n for look in self.looks.values() for n in look))
        # all digits, so that what is read back is what was written
        rows = [
            [e, *(repr(float(look[name])) if name in look else "" for name in names)]
            for e, look in self.looks.items()
        ]
        write_rows(self.path, [["epoch", *names], *rows])

    def of(self, name: str) -> dict[int, float]:
        """Give a number by epoch, where it was measured and is one."""
        found = {e: look.get(name, math.nan) for e, look in self.looks.items()}
        return {e: value for e, value in found.items() if math.isfinite(value)}


def read_metrics(path: Path) -> dict[str, dict[int, float]]:
    """Read what the engine logged, by name and optimiser step."""
    found: dict[str, dict[int, float]] = {}
    for step, name, value in read_rows(path):
        found.setdefault(name, {})[int(step)] = float(value)
    return found


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
