"""Backbones to probe, each a piece of work: embed the pictures, predict the labels.

Random weights are a backbone like any other here; what a backbone gains on them is
found out afterwards, from the predictions that each leaves in a folder of its own.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from data_prep.arrays import Floats
from data_prep.executors.pool import Pool
from data_prep.executors.progress import Count, Report
from data_prep.executors.run import run
from data_prep.executors.work import Result, Work
from data_prep.run_folders.damage import is_whole_zip
from data_prep.run_folders.drafts import drafted
from pretext.data.pictures import Normalisation, Pictures
from pretext.device import set_threads
from pretext.evaluation import embed
from pretext.evaluation.comparison import LabelledRows
from pretext.networks.backbones import build_backbone, load_backbone
from pretext.ready_weights import files_of

PREDICTIONS = "predictions.npz"
REMEDY = "the others are kept, and the same command probes what is missing"


@dataclass(frozen=True, kw_only=True)
class ProbeJob:
    """A backbone to probe.

    Attributes:
        name: Stage, file, or that its weights are random.
        weights: Its file; None: random weights of the seed.
        architecture: Name of the network.
        side_px: Side of its input.
        normalise: Statistics of the pictures that it learned from.
        pictures: All prepared pictures.
        labelled: What is probed for.
        bf16: Embed in bfloat16.
        seed: Of random weights.
        threads: Of torch and of the probes; 0: as many as they take unasked.
        folder: Of its own, for what it leaves.
    """

    name: str
    weights: Path | None
    architecture: str
    side_px: int
    normalise: Normalisation
    pictures: Pictures
    labelled: LabelledRows
    bf16: bool
    seed: int
    threads: int
    folder: Path

    @property
    def files(self) -> list[Path]:
        """The files that it reads."""
        files = [self.pictures.file]
        if self.weights:
            of_weights = files_of(self.weights)
            files += [of_weights.weights, of_weights.config]
        return [*filter(None, files)]

    @property
    def kept(self) -> Path:
        """The file of its predictions; those of another precision are others."""
        return self.folder / ("bf16" if self.bf16 else "fp32") / PREDICTIONS

    def predict(self, count: Callable[[int], object]) -> None:
        """Embed the labelled pictures and keep what each probe predicts of them.

        Args:
            count: Told how many more pictures are embedded.
        """
        set_threads(self.threads)
        with threadpool_limits(self.threads or None):
            features = embed.embed(
                self._backbone().to(self.pictures.device),
                self.pictures,
                self.labelled.rows,
                self.normalise,
                side_px=self.side_px,
                bf16=self.bf16,
                count=count,
            )
            predictions = self.labelled.predictions(features)
        arrays: dict[str, Any] = {
            f"{task} {probe}": y_pred for (task, probe), y_pred in predictions.items()
        }
        with drafted(self.kept) as file:
            np.savez(file, **arrays)

    def predictions(self) -> Mapping[tuple[str, str], Floats]:
        """Read what each probe predicted, by task and probe."""
        with np.load(self.kept) as arrays:
            named = {key.rpartition(" "): arrays[key] for key in arrays.files}
        return {(task, probe): y_pred for (task, _, probe), y_pred in named.items()}

    def _backbone(self) -> torch.nn.Module:
        if self.weights:
            return load_backbone(self.weights, self.architecture, self.side_px)[0]
        torch.manual_seed(self.seed)
        return build_backbone(self.architecture, self.side_px)


def run_jobs(jobs: Sequence[ProbeJob], pool: Pool, *, title: str, logs: Path) -> None:
    """Probe the backbones that are missing, where the pool says.

    Args:
        jobs: The backbones.
        pool: Where.
        title: Of the bar.
        logs: Folder for the logs of processes.

    Raises:
        UserError: A process failed. The other backbones are probed all the same.
    """
    missing = [job for job in jobs if not is_whole_zip(job.kept)]
    if pool.for_missing(len(missing)).executor != "here":
        works = [
            Work(
                name=job.name,
                function=functools.partial(_predict, job),
                log_file=logs / f"{job.folder.name}.log",
                reads=job.files,
                writes=job.folder,
            )
            for job in missing
        ]
        run(works, pool, noun="backbone", logs=logs).check(works, "backbone", REMEDY)
        return
    bar: tqdm[Any]
    n_rows = len(jobs[0].labelled.rows)
    with tqdm(
        total=n_rows * len(jobs),
        initial=n_rows * (len(jobs) - len(missing)),
        desc=title,
        unit="img",
        mininterval=1.0,
    ) as bar:
        for job in missing:
            job.predict(bar.update)


def _predict(job: ProbeJob, report: Report | None) -> Result:
    """Probe a backbone in its process."""
    assert report
    job.predict(Count(report, len(job.labelled.rows)))
    return Result()
