"""The looks at the health of a training, kept in a CSV file: a row for each epoch.

A training that is resumed reads its history back; a look that is repeated replaces its
row, and later ones, which are made again, are dropped.
"""

import csv
import math
from collections.abc import Mapping
from pathlib import Path


class History:
    """Numbers by epoch, the same on the disk.

    Args:
        path: The file; read if it is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.looks: dict[int, dict[str, float]] = {}
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    epoch = int(row.pop("epoch"))
                    self.looks[epoch] = {k: float(v) for k, v in row.items() if v}

    def add(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Put in the look after an epoch, which is now the last one."""
        kept = {e: look for e, look in self.looks.items() if e < epoch}
        self.looks = {**kept, epoch: dict(numbers)}
        names = list(dict.fromkeys(n for look in self.looks.values() for n in look))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".draft")
        with draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["epoch", *names])
            writer.writeheader()
            for e, look in self.looks.items():
                # all digits, so that what is read back is what was written
                writer.writerow(
                    {"epoch": e} | {k: repr(float(v)) for k, v in look.items()}
                )
        draft.replace(self.path)

    def of(self, name: str) -> dict[int, float]:
        """Give a number by epoch, where it was measured and is one."""
        found = {e: look.get(name, math.nan) for e, look in self.looks.items()}
        return {e: value for e, value in found.items() if math.isfinite(value)}


def read_metrics(path: Path) -> dict[str, dict[int, float]]:
    """Read what the engine logged, by name and optimiser step."""
    found: dict[str, dict[int, float]] = {}
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            for step, name, value in list(csv.reader(file))[1:]:
                found.setdefault(name, {})[int(step)] = float(value)
    return found
