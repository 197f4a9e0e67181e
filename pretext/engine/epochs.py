"""A row for each epoch in ``logs/epochs.csv``: losses, rates, seconds, scores.

Its columns:

* ``epoch``, from 1, and ``step``, the optimiser steps made by its end;
* ``seconds`` that its steps took, without checkpoints and measuring;
* ``learning_rate`` at its end; of further groups ``learning_rate/GROUP``;
* ``loss`` and the other metrics of the learner, of a fine-tuning the loss of each task
  by its name, or ``epoch_loss`` where a task is named as a column here: means over the
  steps of the epoch;
* names with a slash: what was measured after it. A fine-tuning has
  ``held_out/TASK_METRIC``, such as ``held_out/target_rmse``: the score of the fold that
  the net never sees, pooled over its rows. What an epoch is chosen by has ``inner/`` or
  ``fold/`` before its name. An epoch that was not measured has none.

The sums of the epoch being made are in the checkpoint, so a resumed training has the
same rows, but for ``seconds``. Whoever only reads them does not load torch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretext.engine.history import History

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FILE = "epochs.csv"  # in logs/
HELD_OUT = "held_out/"  # before the scores of a fold that the net never sees
EPOCH_COLUMNS = ("epoch", "step", "seconds", "learning_rate")  # no metric's names


class EpochLog:
    """The rows of the epochs made, and the sums of the one being made.

    Args:
        folder: Folder of the stage or net.
        device: Where the training is.
    """

    def __init__(self, folder: Path, device: "torch.device") -> None:
        self.history, self.device = History(folder / "logs" / FILE), device
        self._clear()

    def _clear(self) -> None:
        self.sums: dict[str, Tensor] = {}  # float64, on the device: nothing waits
        self.n_steps, self.seconds = 0, 0.0

    def add_step(self, metrics: "Mapping[str, Tensor]", seconds: float) -> None:
        """Count in the scalar metrics of an optimiser step and the time it took."""
        for name, value in metrics.items():
            double = value.detach().double()
            total = self.sums.get(name)
            self.sums[name] = double if total is None else total + double
        self.n_steps += 1
        self.seconds += seconds

    def end_epoch(
        self,
        epoch: int,
        *,
        step: int,
        rates: Mapping[str, float],
        measured: Mapping[str, float],
    ) -> dict[str, float]:
        """Write the row of the epoch that has ended, and begin the next.

        Args:
            epoch: Its number, from 1.
            step: Optimiser steps made.
            rates: Learning rates by the name of their group's column.
            measured: What was measured after it.

        Returns:
            The row without its number.
        """
        n_steps = max(1, self.n_steps)
        row = {
            "step": step,
            "seconds": round(self.seconds, 3),
            **rates,
            **{name: total.item() / n_steps for name, total in self.sums.items()},
            **measured,
        }
        self.history.add(epoch, row)
        self._clear()
        return row

    def state_dict(self) -> dict[str, Any]:
        """Give the sums of the epoch being made."""
        sums = {name: total.item() for name, total in self.sums.items()}
        return {"sums": sums, "n_steps": self.n_steps, "seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the sums of the epoch being made."""
        import torch

        self.sums = {
            name: torch.tensor(total, dtype=torch.float64, device=self.device)
            for name, total in state["sums"].items()
        }
        self.n_steps, self.seconds = state["n_steps"], state["seconds"]


def read_epochs(folder: Path) -> dict[int, dict[str, float]]:
    """Read the rows of a stage or net by epoch, from 1; none where there is no file.

    Args:
        folder: Folder of the stage or net.
    """
    return History(folder / "logs" / FILE).by_epoch


def add_to_last_epoch(folder: Path, measured: Mapping[str, float]) -> None:
    """Put what was measured at the end into the row of the last epoch.

    Args:
        folder: Folder of the stage or net.
        measured: By name; what the row has already is replaced.
    """
    history = History(folder / "logs" / FILE)
    if measured and history.by_epoch:
        epoch = max(history.by_epoch)
        history.add(epoch, history.by_epoch[epoch] | dict(measured))
