"""Which weights of a training are kept: the last, the mean of several, or the best.

After each epoch the net that would be kept is made, scored on the rows that the epoch
is chosen by, and kept if it is the best so far. What is stored is what was scored.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from data_prep.reporting.numerals import four_digits
from data_prep.run_folders.damage import intact
from pretext.data.keyed_rng import keys_of
from pretext.data.pictures import Pictures
from pretext.engine.callbacks import StopTraining
from pretext.engine.history import History
from pretext.engine.learner import Batch
from pretext.networks.backbones import load_weights, save_weights
from transfer.jobs import Job
from transfer.settings import FinetuneSettings
from transfer.training.learner import FinetuneLearner, score_rows
from transfer.training.weight_mean import fit_norms, mean_weights

log = logging.getLogger(__name__)


class EpochChoice:
    """Keeps the weights of epochs, and chooses; the engine calls it after each.

    An attempt that goes on from a checkpoint meets epochs again that were measured
    before. They have the same weights, so nothing of them is made anew.

    Args:
        learner: What is trained.
        job: Which rows train it, and which it is chosen by.
        pictures: All prepared pictures.
        ids: Ids of the rows that train it.
        settings: What to keep.
        config: The JSON that stands beside the weights.
        folder: Of the net.
    """

    def __init__(
        self,
        *,
        learner: FinetuneLearner,
        job: Job,
        pictures: Pictures,
        ids: list[str],
        settings: FinetuneSettings,
        config: Mapping[str, Any],
        folder: Path,
    ) -> None:
        self.learner, self.job, self.pictures = learner, job, pictures
        self.settings, self.config, self.folder = settings, config, folder
        self.keys = keys_of(ids)
        self.history = History(folder / "logs" / "choice.csv")
        self.best_file = folder / "checkpoints" / "best.safetensors"
        self.last_epoch = 0

    def __call__(self, epoch: int) -> Mapping[str, float]:
        """Store the weights of an epoch, and choose by them if the settings say so.

        Returns:
            Scores to log.

        Raises:
            StopTraining: It has not become better for as long as ``patience``.
        """
        settings, self.last_epoch = self.settings, epoch
        n_files = settings.keep_epochs
        if settings.average_epochs > 1:
            n_files = max(n_files, settings.average_epochs)
        if n_files:
            config = {**self.config, "epoch": epoch}
            save_weights(self._file(epoch), self.learner.net.state_dict(), config)
            self._drop_until(epoch - n_files)
        if settings.select == "last":
            return {}
        if epoch not in self.history.by_epoch or not self.best_file.exists():
            self._measure(epoch)
        scores = self.history.by_epoch[epoch]
        logged = {f"{settings.select}/{name}": value for name, value in scores.items()}
        best_epoch, _ = self._best()
        if 0 < settings.patience <= epoch - best_epoch:
            raise StopTraining(
                f"no better {self.metric} on the {self.noun} for"
                f" {epoch - best_epoch} epochs",
                logged,
            )
        return logged

    def apply(self) -> dict[str, Any]:
        """Give the net the weights to keep; they are on the device of the pictures.

        Returns:
            What the JSON beside them says of the epoch, and of how it was chosen.
        """
        settings, epoch = self.settings, self.last_epoch
        notes: dict[str, Any] = {"epoch": epoch}
        if settings.select != "last":
            tensors, config = load_weights(self.best_file)
            self.learner.net.load_state_dict(tensors)
            notes = {name: config[name] for name in ("epoch", "chosen")}
            log.info(
                "%s: kept: epoch %d of %d, by %s %s on %d rows of the %s",
                self.job.path,
                notes["epoch"],
                epoch,
                self.metric,
                four_digits(notes["chosen"]["score"]),
                len(self.job.choice_idx),
                self.noun,
            )
        elif settings.average_epochs > 1:
            self._become_mean(epoch)
        if settings.average_epochs > 1:
            notes["averaged"] = min(settings.average_epochs, notes["epoch"])
        return notes

    def tidy(self) -> None:
        """Drop the epochs that are kept for the mean alone, once it is stored."""
        self._drop_until(self.last_epoch - self.settings.keep_epochs)

    @property
    def metric(self) -> str:
        """The score that decides: that of the net's first task."""
        return next(iter(next(iter(self.history.by_epoch.values()))))

    @property
    def noun(self) -> str:
        """What the rows are that it is chosen by."""
        return "inner split" if self.settings.select == "inner" else "held-out fold"

    def _file(self, epoch: int) -> Path:
        return self.folder / "epochs" / f"epoch{epoch:04d}.safetensors"

    def _drop_until(self, last: int) -> None:
        """Drop the files of the epochs up to one; later ones may be met again."""
        for file in (self.folder / "epochs").glob("epoch*.safetensors"):
            if int(file.stem.removeprefix("epoch")) <= last:
                file.unlink()
                file.with_suffix(".json").unlink(missing_ok=True)

    def _measure(self, epoch: int) -> None:
        """Score what would be kept if it were this epoch, and keep it if it is best."""
        net = self.learner.net
        is_mean = self.settings.average_epochs > 1
        trained = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        if is_mean:
            self._become_mean(epoch)
        tasks, rows = self.job.tasks, self.job.choice_idx
        scores = score_rows(net, tasks, self.pictures, rows)
        metric, score = next(iter(scores.items()))
        best_epoch, best_score = self._best()
        sign = 1 if tasks[0].task_type.higher_is_better else -1
        # its own again: a kill may have come between the JSON and the weights
        if best_epoch in (0, epoch) or sign * score > sign * best_score:
            chosen = {"by": self.settings.select, "metric": metric, "score": score}
            config = {**self.config, "epoch": epoch, "chosen": chosen}
            save_weights(self.best_file, net.state_dict(), config)
        if is_mean:
            net.load_state_dict(trained)
        self.history.add(epoch, scores)  # last: an epoch in it is wholly measured

    def _best(self) -> tuple[int, float]:
        """Give the best epoch so far and its score; 0: there is none."""
        sidecar = self.best_file.with_suffix(".json")
        if not self.best_file.exists():
            return 0, np.nan
        with intact(sidecar):
            config = json.loads(sidecar.read_bytes())
        return config["epoch"], config["chosen"]["score"]

    def _become_mean(self, epoch: int) -> None:
        """Give the net the mean weights of the epochs up to one."""
        first = max(1, epoch + 1 - self.settings.average_epochs)
        files = [self._file(number) for number in range(first, epoch + 1)]
        tensors: dict[str, Tensor] = mean_weights(files)
        self.learner.net.load_state_dict(tensors)
        fit_norms(self.learner, self._batches(epoch))

    def _batches(self, epoch: int) -> Iterator[Batch]:
        """Give the training pictures in the order of the table, as an epoch saw them.

        As in training, pictures that fill no batch are left out.
        """
        rows, size = self.job.train_idx, self.settings.batch_size
        for start in range(0, len(rows) - size + 1, size):
            of_batch = rows[start : start + size]
            yield Batch(
                images=self.pictures.take(of_batch),
                rows=of_batch,
                keys=self.keys[start : start + size],
                seed=self.settings.seed,
                epoch=epoch - 1,  # which counts from 0 there
                scale=self.settings.final_scale,
            )
