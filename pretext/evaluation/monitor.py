"""The monitor of a pretraining: its health, measured every few epochs.

It sends whole pictures through the net as it is and measures how much its outputs
differ, and what plain probes read of each task's labels in its features, by the stored
folds. That costs seconds, draws no random number that the training draws, and leaves
the training as it was. A collapse or a plateau is announced in a sentence, once.

Nothing of this reaches the weights, with two exceptions, and then the weights say so:
``keep = "best-probe"`` chooses them by a probe on a split of its own, and a plateau may
end a training that has no held-out pictures to tell it by.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from data_prep.experiment import Experiment
from data_prep.run_folders.damage import intact
from data_prep.scoring.scores import Interval
from pretext.data.training_data import TrainingData
from pretext.device import set_threads, use_bf16
from pretext.engine.callbacks import StopTraining
from pretext.engine.history import History, read_metrics
from pretext.engine.learner import Learner
from pretext.evaluation import collapse
from pretext.evaluation.comparison import gains_on
from pretext.evaluation.curves import draw_curves
from pretext.evaluation.evaluate import INNER, Measurement, evaluate
from pretext.evaluation.monitor_subset import MonitorSubset, draw_subset
from pretext.networks.backbones import load_weights, save_weights
from pretext.pretext_settings import PretextSettings

EARLY = (1, 2)  # epochs that are measured after in any case: a collapse comes early
log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Monitor:
    """Measures a learner between epochs.

    Attributes:
        learner: The one that is trained; on the device of the pictures.
        data: What it learns from.
        settings: How often to measure, and what to do then.
        folder: Folder of the stage.
        subset: The pictures that are measured by.
        history: What was measured.
        steps_per_epoch: Optimiser steps in an epoch.
        n_epochs: Epochs of the whole training.
    """

    learner: Learner
    data: TrainingData
    settings: PretextSettings
    folder: Path
    subset: MonitorSubset
    history: History
    steps_per_epoch: int
    n_epochs: int
    _announced: dict[str, str] = field(default_factory=dict, init=False)
    _first: Measurement | None = field(default=None, init=False)
    _last: Measurement | None = field(default=None, init=False)
    _stopped_by_labels_at: int = field(default=0, init=False)

    @classmethod
    def begin(
        cls,
        learner: Learner,
        data: TrainingData,
        *,
        experiment: Experiment,
        settings: PretextSettings,
        folder: Path,
    ) -> "Monitor":
        """Choose the pictures to measure by, and measure the first weights.

        Args:
            learner: With its first weights.
            data: What it learns from.
            experiment: What the labels are.
            settings: How often to measure, and what to do then.
            folder: Folder of the stage.

        Raises:
            UserError: ``keep = "best-probe"`` has no labels to choose by.
        """
        n_pictures = len(data.train_idx)
        steps_per_epoch = max(1, settings.steps_per_epoch(n_pictures))
        monitor = cls(
            learner=learner.to(data.pictures.device),
            data=data,
            settings=settings,
            folder=folder,
            subset=draw_subset(
                data,
                experiment,
                settings.seed,
                must_choose=settings.keep == "best-probe",
            ),
            history=History(folder / "logs" / "health.csv"),
            steps_per_epoch=steps_per_epoch,
            n_epochs=-(-settings.total_steps(n_pictures) // steps_per_epoch),
        )
        is_begun = 0 in monitor.history.by_epoch
        # after an interruption once more, where the end is to be compared with it
        if settings.health_every and (monitor.subset.tasks or not is_begun):
            set_threads(settings.threads)
            monitor._first = monitor._evaluate()
            if not is_begun:
                monitor.history.add(0, monitor._first.metrics)
        return monitor

    def __call__(self, epoch: int) -> Mapping[str, float]:
        """Measure after an epoch, if it is time, and act upon the metrics.

        Returns:
            Metrics to log.

        Raises:
            StopTraining: The health says so, and ``settings.stop`` allows it.
        """
        every = self.settings.health_every
        is_due = every and (epoch % every == 0 or epoch >= self.n_epochs)
        if not (is_due or (every and epoch in EARLY)):
            return {}
        self._last = self._evaluate()
        metrics = self._last.metrics
        self.history.add(epoch, metrics)
        if self.settings.keep == "best-probe":
            self._keep_if_best(epoch)
        if epoch < self.n_epochs:  # after the last, ``choose`` draws
            self._draw()
        self._judge(epoch)
        return metrics

    def choose(
        self, last: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Give the weights to keep, and what to say of the choice beside them.

        Args:
            last: Weights of the backbone at the end.
        """
        if self.settings.health_every:
            self._draw()  # once more: the last epoch's metrics are logged by now
            self._sum_up()
        by_labels = {"label_free": False, "selected_with_labels": True}
        if self.settings.keep == "best-probe":
            if self._best.exists():
                tensors, metadata = load_weights(self._best)
                epoch, score = metadata["epoch"], metadata["score"]
                log.info(
                    "kept: the weights after epoch %d, by the probe (%.3f)",
                    epoch,
                    score,
                )
                return tensors, {**by_labels, "selected_epoch": epoch}
            log.warning("keep = 'best-probe': no probe gave a score; the last are kept")
        if self._stopped_by_labels_at:
            epoch = self._stopped_by_labels_at
            return dict(last), {**by_labels, "selected_epoch": epoch}
        return dict(last), {}

    @property
    def announcements(self) -> list[str]:
        """The sentences on a collapse or a plateau, if there was one."""
        return list(self._announced.values())

    def probe_gains(self) -> dict[str, Interval]:
        """Give by deciding task how much better than the first weights a ridge is.

        It is that of the last measurement; without any there is no task, nor one
        whose gain has no interval.
        """
        if self._first is None or self._last is None:
            return {}
        gains = gains_on(self._last.ridge, self._first.ridge, self.subset.cv_groups)
        deciding = {task.name for task in self.subset.deciding_tasks}
        return {
            task: gain
            for task, gain in gains.items()
            if task in deciding and np.isfinite(gain.low)
        }

    def _evaluate(self) -> Measurement:
        bf16 = use_bf16(self.settings.precision, self.data.pictures.device)
        return evaluate(self.learner, self.data, self.subset, bf16=bf16)

    @property
    def _best(self) -> Path:
        return self.folder / "checkpoints" / "best.safetensors"

    @property
    def _stage(self) -> str:
        return self.folder.name.removesuffix(".partial")

    def _keep_if_best(self, epoch: int) -> None:
        score = self.history.by_epoch[epoch][INNER]
        sidecar = self._best.with_suffix(".json")
        best = -np.inf
        if self._best.exists():
            with intact(sidecar):
                best = json.loads(sidecar.read_bytes())["score"]
        if score > best:
            weights = self.learner.get_submodule("backbone").state_dict()
            save_weights(self._best, weights, {"epoch": epoch, "score": score})

    def _draw(self) -> None:
        logs = self.folder / "logs"
        draw_curves(
            self.history.by_epoch,
            read_metrics(logs / "metrics.csv"),
            steps_per_epoch=self.steps_per_epoch,
            path=logs / "health.png",
            title=self._stage,
        )

    def _sum_up(self) -> None:
        """Log the scores of the ridge probe at the end and at the start."""
        scores = []
        for task in self.subset.tasks:
            by_epoch = list(self.history.of(f"probe/{task.name}").values())
            if len(by_epoch) > 1:
                scores.append(f"{task.name} {by_epoch[-1]:.3f} ({by_epoch[0]:.3f})")
        if scores:
            log.info(
                "%s: ridge on its features, R2 or accuracy by folds, and with the first"
                " weights: %s",
                self._stage,
                ", ".join(scores),
            )

    def _judge(self, epoch: int) -> None:
        """Announce a collapse or a plateau, once, and end the training if allowed."""
        by_epoch, stop = self.history.by_epoch, self.settings.stop
        start, current = by_epoch.get(0, {}), by_epoch[epoch]
        if start and collapse.has_collapsed(
            current, start, len(self.subset.compared_idx)
        ):
            self._announce(
                "collapse",
                f"{self._stage} has COLLAPSED after epoch {epoch}: all pictures look"
                f" nearly alike to it (spread {current['health/spread']:.2f}, effective"
                f" rank {current['health/rank']:.1f}; at the start"
                f" {start['health/spread']:.2f} and {start['health/rank']:.1f}); try a"
                " smaller --learning-rate, a larger --batch-size or weaker views",
                must_stop=stop in ("collapse", "both"),
            )
        name, scores, patience = self._progress()
        best = collapse.best_before_plateau(scores, patience)
        if best is None or epoch >= self.n_epochs:
            return
        must_stop = stop in ("plateau", "both")
        if must_stop and name != "held_out":
            self._stopped_by_labels_at = epoch
        remedy = "" if must_stop else "; fewer --epochs or --stop plateau save the rest"
        self._announce(
            "plateau",
            f"{self._stage} gains nothing more: {name} was {scores[best]:.3f} after"
            f" epoch {best} and no higher since, up to epoch {epoch}{remedy}",
            must_stop=must_stop,
        )

    def _progress(self) -> tuple[str, dict[int, float], int]:
        """Give the score that tells a plateau: its name, by epoch, and the patience.

        It is the accuracy on the held-out pictures of the task, which no label had a
        part in, where there are any, or else the mean of the deciding probes.
        """
        every = self.settings.health_every
        held_out = read_metrics(self.folder / "logs" / "metrics.csv").get("held_out")
        if held_out:
            scores = {-(-s // self.steps_per_epoch): v for s, v in held_out.items()}
            return "held_out", scores, collapse.PATIENCE * every
        names = [f"probe/{task.name}" for task in self.subset.deciding_tasks]
        by_probe = [self.history.of(name) for name in names]
        regular = [e for e in self.history.by_epoch if e and e % every == 0]
        common = [e for e in regular if by_probe and all(e in s for s in by_probe)]
        means = {e: float(np.mean([s[e] for s in by_probe])) for e in common}
        return " and ".join(names), means, collapse.PATIENCE

    def _announce(self, event: str, sentence: str, *, must_stop: bool) -> None:
        if event not in self._announced:
            log.warning("%s", sentence)
        self._announced.setdefault(event, sentence)
        if must_stop:
            raise StopTraining(sentence)
