"""The nets of a finished transfer: which there are, and how one is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import UserError
from data_prep.experiment import read_tasks
from data_prep.folds import ALL
from data_prep.prepared import Prepared
from data_prep.renamed import NAMES
from data_prep.run_folders.damage import RECORD
from data_prep.run_folders.runs import Finished, Run
from data_prep.settings import nearest
from data_prep.tasks import Task

if TYPE_CHECKING:
    from transfer.networks.task_net import TaskNet

STAGE = "transfer.finetune"
MEAN = "mean"  # the nets of all folds, averaged: what the store has of test pictures


@dataclass(frozen=True, kw_only=True)
class TrainedNets:
    """What a finished ``transfer.finetune`` or ``transfer.distill`` holds.

    Attributes:
        finished: The stage.
        nets: What its record says of each net: ``net``, ``fold``, ``place``, ``tasks``.
    """

    finished: Finished
    nets: Sequence[dict[str, Any]]

    @classmethod
    def of(cls, run: Run, stage: str = STAGE) -> "TrainedNets":
        """Open those of a run.

        Args:
            run: The run.
            stage: That trained them.

        Raises:
            UserError: The stage is not finished, or was made from what is replaced.
        """
        finished = run.finished(stage)
        return cls(finished=finished, nets=finished.metadata["nets"])

    @property
    def nets_of_stage(self) -> Sequence[dict[str, Any]]:
        """All nets of the stage, whichever are kept here."""
        nets: Sequence[dict[str, Any]] = self.finished.metadata["nets"]
        return nets

    @property
    def folds(self) -> list[str]:
        """The folds that were held out, and ``all`` if there are nets of all rows."""
        return list(dict.fromkeys(str(net["fold"]) for net in self.nets))

    def tasks(self, prepared: Prepared, *names: str) -> list[Task]:
        """Give tasks that the nets learned, with the labels of the prepared table."""
        source = str(self.finished.folder / RECORD)
        recorded = {
            # a record keeps the former name of a loss, and nobody can mend it there
            name: table | {"loss": NAMES.get(str(table["loss"]), table["loss"])}
            for name, table in self.finished.record["settings"][
                "tasks_of_experiment"
            ].items()
        }
        return prepared.tasks(read_tasks(recorded, source), only=names)

    def of_fold(self, fold: str) -> "TrainedNets":
        """Keep the nets of one fold; ``mean``: those of all folds that are held out.

        Raises:
            UserError: There are none.
        """
        kept = [
            net
            for net in self.nets
            if (net["fold"] != ALL if fold == MEAN else net["fold"] == fold)
        ]
        if not kept:
            choices = self.folds + ([MEAN] if set(self.folds) - {ALL} else [])
            raise UserError(
                f"fold = {fold!r}: {self.finished.folder} has no such nets; give"
                f" {', '.join(choices)}"
            )
        return TrainedNets(finished=self.finished, nets=kept)

    def of_task(self, task: str) -> "TrainedNets":
        """Keep the nets that have a head for a task.

        Raises:
            UserError: There are none.
        """
        kept = [
            net for net in self.nets if any(t["name"] == task for t in net["tasks"])
        ]
        if not kept:
            names = dict.fromkeys(t["name"] for net in self.nets for t in net["tasks"])
            raise UserError(f"task = {task!r}: no such task; {nearest(task, names)}")
        return TrainedNets(finished=self.finished, nets=kept)

    def path_of(self, net: dict[str, Any]) -> Path:
        """Give the file of a net's weights."""
        return self.finished.folder / str(net["place"]) / "weights.safetensors"

    def load(self, net: dict[str, Any]) -> "tuple[TaskNet, dict[str, Any]]":
        """Load a net and the JSON beside it; it loads torch."""
        from transfer.networks.task_net import load_net

        return load_net(self.path_of(net))
