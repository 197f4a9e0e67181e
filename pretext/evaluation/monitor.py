"""The health of a pretraining, looked at every few epochs.

A look sends whole pictures through the net as it is and asks how much its outputs
differ, and what plain probes read of each task's labels in its features, by the stored
folds. It costs seconds, draws no random number that the training draws, and leaves the
training as it was. A collapse or a plateau is announced in a sentence, once.

Nothing of this reaches the weights, with two exceptions, and then the weights say so:
``keep = "best-probe"`` chooses them by a probe on a split of its own, and a plateau may
end a training that has no held-out pictures to tell it by.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from data_prep.run_folders.damage import intact
from pretext.device import set_threads, use_bf16
from pretext.engine.callbacks import StopTraining
from pretext.engine.history import History, read_metrics
from pretext.engine.learner import Learner
from pretext.evaluation import collapse
from pretext.evaluation.curves import draw_curves
from pretext.evaluation.evaluate import INNER, look
from pretext.evaluation.monitor_subset import Sample, draw_sample
from pretext.networks.backbones import load_weights, save_weights

if TYPE_CHECKING:
    import pandas as pd

    from data_prep.experiment import Experiment
    from data_prep.run_folders.runs import Finished
    from pretext.pretraining import Material
    from pretext.settings import PretextSettings

EARLY = (1, 2)  # epochs that are looked after in any case: a collapse comes early
log = logging.getLogger(__name__)


@dataclass
class Health:
    """Looks at a learner between epochs.

    Attributes:
        learner: The one that is trained; on the device of the pictures.
        material: What it is made from.
        settings: How often to look, and what to do then.
        folder: Folder of the stage.
        sample: What is looked at.
        history: What was seen.
        steps_per_epoch: Optimiser steps.
        n_epochs: Epochs of the whole training.
    """

    learner: Learner
    material: "Material"
    settings: "PretextSettings"
    folder: Path
    sample: Sample
    history: History
    steps_per_epoch: int
    n_epochs: int

    def __post_init__(self) -> None:
        """Begin with nothing announced."""
        self._announced: set[str] = set()
        self._stopped_by_labels_at = 0

    @classmethod
    def of(
        cls,
        learner: Learner,
        material: "Material",
        table: "pd.DataFrame",
        prepared: "Finished",
        experiment: "Experiment",
        settings: "PretextSettings",
        folder: Path,
    ) -> "Health":
        """Prepare to look, and look at the first weights.

        Args:
            learner: With its first weights.
            material: What it is made from.
            table: N rows, in the order of the pictures.
            prepared: The stage of the table.
            experiment: What the labels are.
            settings: How often to look, and what to do then.
            folder: Folder of the stage.

        Raises:
            UserError: ``keep = "best-probe"`` has no labels to choose by.
        """
        is_seen = np.ones(len(table), dtype=np.bool_)
        if settings.inductive:
            is_seen = (table["split"] != "test").to_numpy()
        sample = draw_sample(
            table,
            material.keys,
            is_seen,
            prepared,
            experiment,
            settings.seed,
            must_choose=settings.keep == "best-probe",
        )
        n = int(is_seen.sum()) - len(material.held_out)
        steps = max(1, settings.steps_per_epoch(n))
        health = cls(
            learner.to(material.pictures.device),
            *(material, settings, folder, sample),
            History(folder / "logs" / "health.csv"),
            steps,
            -(-settings.total_steps(n) // steps),
        )
        if settings.health_every and 0 not in health.history.looks:
            set_threads(settings.threads)
            health.history.add(0, health._look())
        return health

    def __call__(self, epoch: int) -> Mapping[str, float]:
        """Look after an epoch, if it is time, and act upon what is seen.

        Returns:
            Figures to log.

        Raises:
            StopTraining: The health says so, and ``settings.stop`` asked for it.
        """
        every = self.settings.health_every
        is_due = every and (epoch % every == 0 or epoch >= self.n_epochs)
        if not (is_due or (every and epoch in EARLY)):
            return {}
        found = self._look()
        self.history.add(epoch, found)
        if self.settings.keep == "best-probe":
            self._keep_if_best(epoch)
        self._draw()
        self._judge(epoch)
        return found

    def choose(
        self, last: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Give the weights to keep, and what to say of them.

        Args:
            last: Weights of the backbone at the end.
        """
        if self.settings.health_every:
            self._draw()  # once more: the last epoch's figures are logged by now
            self._sum_up()
        by_labels = {"label_free": False, "selected_with_labels": True}
        if self.settings.keep == "best-probe":
            if self._best.exists():
                tensors, about = load_weights(self._best)
                log.info(
                    "kept: the weights after epoch %d, by the probe (%.3f)",
                    *(about["epoch"], about["score"]),
                )
                return tensors, {**by_labels, "selected_epoch": about["epoch"]}
            log.warning("keep = 'best-probe': no probe gave a score; the last are kept")
        if self._stopped_by_labels_at:
            epoch = self._stopped_by_labels_at
            return dict(last), {**by_labels, "selected_epoch": epoch}
        return dict(last), {}

    def _look(self) -> dict[str, float]:
        return look(
            *(self.learner, self.material, self.sample),
            bf16=use_bf16(self.settings.precision, self.material.pictures.device),
        )

    @property
    def _best(self) -> Path:
        return self.folder / "checkpoints" / "best.safetensors"

    @property
    def _stage(self) -> str:
        return self.folder.name.removesuffix(".partial")

    def _keep_if_best(self, epoch: int) -> None:
        score = self.history.looks[epoch][INNER]
        note = self._best.with_suffix(".json")
        best = -np.inf
        if self._best.exists():
            with intact(note):
                best = json.loads(note.read_bytes())["score"]
        if score > best:
            weights = self.learner.get_submodule("backbone").state_dict()
            save_weights(self._best, weights, {"epoch": epoch, "score": score})

    def _draw(self) -> None:
        logs = self.folder / "logs"
        draw_curves(
            self.history.looks,
            read_metrics(logs / "metrics.csv"),
            self.steps_per_epoch,
            logs / "health.png",
            self._stage,
        )

    def _sum_up(self) -> None:
        """Say what the probes said at the end and at the start."""
        said = []
        for task in self.sample.tasks:
            by_epoch = list(self.history.of(f"probe/{task.name}").values())
            if len(by_epoch) > 1:
                said.append(f"{task.name} {by_epoch[-1]:.3f} ({by_epoch[0]:.3f})")
        if said:
            log.info(
                "%s: ridge on its features, R2 or accuracy by folds, and with the first"
                " weights: %s",
                *(self._stage, ", ".join(said)),
            )

    def _judge(self, epoch: int) -> None:
        """Announce what is wrong, once, and end the training if that was asked for."""
        looks, asked = self.history.looks, self.settings.stop
        start, look = looks.get(0, {}), looks[epoch]
        if start and collapse.has_collapsed(look, start, len(self.sample.shown)):
            self._announce(
                "collapse",
                f"{self._stage} has COLLAPSED after epoch {epoch}: all pictures look"
                f" nearly alike to it (spread {look['health/spread']:.2f}, effective"
                f" rank {look['health/rank']:.1f}; at the start"
                f" {start['health/spread']:.2f} and {start['health/rank']:.1f}); try a"
                " smaller --learning-rate, a larger --batch-size or weaker views",
                must_stop=asked in ("collapse", "both"),
            )
        name, figures, patience = self._progress()
        best = collapse.best_before_plateau(figures, patience)
        if best is None or epoch >= self.n_epochs:
            return
        must_stop = asked in ("plateau", "both")
        if must_stop and name != "held_out":
            self._stopped_by_labels_at = epoch
        remedy = "" if must_stop else "; fewer --epochs or --stop plateau save the rest"
        self._announce(
            "plateau",
            f"{self._stage} gains nothing more: {name} was {figures[best]:.3f} after"
            f" epoch {best} and no higher since, up to epoch {epoch}{remedy}",
            must_stop=must_stop,
        )

    def _progress(self) -> tuple[str, dict[int, float], int]:
        """Give the figure that tells a plateau, by epoch, and how long to wait.

        It is the held-out one of the task, which no label had a part in, where there is
        one, or else the mean of the probes that decide.
        """
        every = self.settings.health_every
        held_out = read_metrics(self.folder / "logs" / "metrics.csv").get("held_out")
        if held_out:
            by_epoch = {-(-s // self.steps_per_epoch): v for s, v in held_out.items()}
            return "held_out", by_epoch, collapse.PATIENCE * every
        names = [f"probe/{task.name}" for task in self.sample.deciding]
        figures = [self.history.of(name) for name in names]
        regular = [e for e in self.history.looks if e and e % every == 0]
        common = [e for e in regular if figures and all(e in part for part in figures)]
        means = {e: float(np.mean([part[e] for part in figures])) for e in common}
        return " and ".join(names), means, collapse.PATIENCE

    def _announce(self, what: str, sentence: str, *, must_stop: bool) -> None:
        if what not in self._announced:
            log.warning("%s", sentence)
        self._announced.add(what)
        if must_stop:
            raise StopTraining(sentence)
