"""What a runner is given, and what it leaves: the same for all peers.

A runner is a script for the peer's Python, so this module needs no more than numpy and
pandas. It reads ``pictures.csv`` of its folder's parent (path, id, target, group,
split; targets that are held out are empty) and writes ``predictions.csv``, a column for
each way that it predicts, and ``outcome.json`` with the score that its validation
promised.

What a user would write stands between the lines ``# user`` and ``# end``; these lines
are counted.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

RESERVE_S = 60.0  # CPU seconds that no training is planned for: to validate and predict
CLOCK_S = 5.0  # CPU seconds by which the load of the machine is told


@dataclass(frozen=True)
class Assignment:
    """What a peer is to do.

    Attributes:
        folder: Where it writes.
        variant: Which way of the peer.
        train: Rows with path, id, target, group.
        held_out: Rows with path and id.
        seconds: CPU seconds that it may take, start to end.
        side: Of the pictures, px.
        weights: Folder of ready weights in timm's form.
        repeat: Which quarter is held out.
    """

    folder: Path
    variant: str
    train: pd.DataFrame
    held_out: pd.DataFrame
    seconds: float
    side: int
    weights: Path
    repeat: int

    @classmethod
    def read(cls) -> "Assignment":
        """Read the command line and the table of pictures."""
        parser = argparse.ArgumentParser()
        parser.add_argument("folder", type=Path)
        parser.add_argument("--variant", default="")
        parser.add_argument("--seconds", type=float, required=True)
        parser.add_argument("--side", type=int, required=True)
        parser.add_argument("--weights", type=Path, required=True)
        parser.add_argument("--repeat", type=int, required=True)
        flags = parser.parse_args()
        table = pd.read_csv(flags.folder.parent / "pictures.csv", dtype={"id": str})
        is_train = table["split"] == "train"
        return cls(
            train=table[is_train].drop(columns="split").reset_index(drop=True),
            held_out=table.loc[~is_train, ["path", "id"]].reset_index(drop=True),
            **vars(flags),
        )

    @property
    def left_s(self) -> float:
        """CPU seconds that are left."""
        return self.seconds - cpu_seconds()

    @property
    def left_clock_s(self) -> float:
        """Seconds by the clock that those are, where other programs run too."""
        cpu, clock = time.process_time(), time.monotonic()
        while time.process_time() - cpu < CLOCK_S:
            pass
        return self.left_s * max(1, (time.monotonic() - clock) / CLOCK_S)

    def epochs_that_fit(self, train: Callable[[pd.DataFrame, int], Any]) -> int:
        """Say how many epochs take the CPU seconds that are left, but for the reserve.

        Three trials tell apart what a training takes besides its epochs, what an epoch
        takes whatever its rows (such as to write checkpoints), and what a row does.

        Args:
            train: Trains on rows for a number of epochs, and validates as it will.
        """
        sample = self.train.sample(min(len(self.train), 256), random_state=0)
        few, n_few = sample.iloc[: len(sample) // 4], len(sample) // 4
        train(few, 1)  # libraries are loaded, memory is taken
        seconds = []
        for rows, epochs in ((few, 1), (few, 5), (sample, 1)):
            began = cpu_seconds()
            train(rows, epochs)
            seconds.append(cpu_seconds() - began)
        of_few = max(0.0, seconds[1] - seconds[0]) / 4
        of_row = max(0.0, seconds[2] - seconds[0]) / (len(sample) - n_few)
        besides = max(0.0, seconds[0] - of_few)
        of_epoch = max(of_few + of_row * (len(self.train) - n_few), 1e-3)
        return max(1, int((self.left_s - RESERVE_S - besides) / of_epoch))

    def write(
        self,
        predictions: Mapping[str, Any],
        promised: Mapping[str, float],
        **notes: Any,
    ) -> None:
        """Write what came out.

        Args:
            predictions: (M,) predictions of the rows that are held out, by way.
            promised: RMSE by the peer's own validation, by way.
            notes: Of the run, such as epochs.
        """
        table = self.held_out[["id"]].assign(
            **{way: np.asarray(y_pred) for way, y_pred in predictions.items()}
        )
        table.to_csv(self.folder / "predictions.csv", index=False)
        outcome = {"promised": dict(promised), "notes": notes}
        (self.folder / "outcome.json").write_text(json.dumps(outcome, indent=1))


def cpu_seconds() -> float:
    """Give the CPU seconds of this process and of those that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def rmse(y_true: Any, y_pred: Any) -> float:
    """Give the root of the mean squared error."""
    return float(np.sqrt(np.mean((np.asarray(y_true) - np.asarray(y_pred)) ** 2)))
