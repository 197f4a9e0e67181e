"""The nets of ``benchmarks.optimism``: one for each pair of quarters it never sees.

Six nets serve all four repeats: with quarter h held out from everything, the fold net
of quarter a is that of the pair {a, h}, trained on the other two. They begin from the
same pretext, and have no augmentation but the eight flips and turns, as the original
trained, so that long training memorises. Short and long differ in epochs only.

Everything is kept in ``runs/NAME/benchmarks.optimism/ARM/``, so a killed training goes
on where it was. It has a process of its own: torch and LightGBM do not go together.

Shapes: N labelled rows, C pooled columns.
"""

import importlib
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.dihedral import VIEW_SETS
from data_prep.errors import UserError
from data_prep.experiment import read_experiment
from data_prep.prepared import Prepared
from data_prep.run_folders.runs import Run, write_json
from data_prep.settings import recorded

if TYPE_CHECKING:
    import pandas as pd

    from data_prep.tasks import Task
    from transfer.jobs import Job

STAGE = "benchmarks.optimism"
VIEWS = "c4"  # four of the eight that are trained on, in half the time
PREPARED, PRETEXT = "data_prep.prepare", "pretext.jigsaw"
QUARTERS = range(4)
PAIRS = [frozenset(pair) for pair in combinations(QUARTERS, 2)]


@dataclass(frozen=True)
class Arm:
    """A way to train the nets.

    Attributes:
        epochs: Passes over the training rows.
        nets: Names of the tasks of each net; ``()``: all tasks in one.
    """

    epochs: int
    nets: tuple[tuple[str, ...], ...] = ((),)

    def settings(self) -> dict[str, Any]:
        """Give the settings of ``transfer.finetune``."""
        return {
            "epochs": self.epochs,
            "init": PRETEXT,
            "batch_size": 16,  # many small steps: the net is small, and is to memorise
            "learning_rate": 2e-3,
            "min_area": 1.0,
            "colour": 0.0,
            "dropout": 0.0,
            "keep_epochs": 0,
        }


SHORT, LONG = 5, 30
ARMS = {
    "joint_short": Arm(SHORT),
    "joint_long": Arm(LONG),
    "separate_short": Arm(SHORT, (("target",), ("onehot",))),
    "separate_long": Arm(LONG, (("target",), ("onehot",))),
}


def name_of(pair: frozenset[int]) -> str:
    """Name the nets that see neither quarter, such as ``01``."""
    return "".join(str(quarter) for quarter in sorted(pair))


def outputs_of(run: Path, arm: str) -> dict[frozenset[int], Path]:
    """Give the file of each pair's outputs, trained or not."""
    folder = run / STAGE / arm / "outputs"
    return {pair: folder / f"{name_of(pair)}.npy" for pair in PAIRS}


def make_missing(experiment: Path, run: Path, arm: str) -> None:
    """Make the outputs of an arm that are not there yet, in a process of its own."""
    if all(file.exists() for file in outputs_of(run, arm).values()):
        return
    tell = partial(logging.basicConfig, level=logging.INFO, format="%(message)s")
    with ProcessPoolExecutor(1, get_context("spawn"), tell) as child:
        child.submit(begin, experiment, run).result()
        child.submit(make_outputs, experiment, run, arm).result()


def begin(experiment: Path, run: Path) -> None:
    """Prepare the pictures and train the pretext, unless that is done."""
    for stage in (PREPARED, PRETEXT):
        if not Run(run).has(stage):
            module = importlib.import_module(stage)
            module.main(["--experiment", str(experiment)])


def plan_jobs(table: "pd.DataFrame", tasks: Sequence["Task"], arm: Arm) -> list["Job"]:
    """List the nets of an arm, those of a pair together."""
    from transfer.jobs import JOINT, Job

    quarter = table["fold"].to_numpy()
    jobs = []
    for pair in PAIRS:
        val_mask = np.isin(quarter, list(pair))
        for names in arm.nets:
            chosen = [task for task in tasks if not names or task.name in names]
            has_label = np.logical_or.reduce([task.has_label for task in chosen])
            jobs.append(
                Job(
                    net="_".join(names) or JOINT,
                    fold=name_of(pair),
                    tasks=chosen,
                    train_idx=np.flatnonzero(has_label & (quarter >= 0) & ~val_mask),
                    val_idx=np.flatnonzero(val_mask),
                )
            )
    return jobs


def make_outputs(experiment: Path, run_folder: Path, arm_name: str) -> None:
    """Train the nets of an arm, and keep what those of each pair say of all rows.

    Written are ``outputs/PAIR.npy``, (N, C) pooled over the views, and columns.json.

    Raises:
        UserError: The folder holds nets of other settings or pictures.
    """
    from tqdm import tqdm

    from features.passes import run_pass
    from features.pooling import USUAL, pool
    from features.sources import joined_outputs
    from pretext.data.pictures import Normalisation, Pictures
    from pretext.device import pick_device, set_threads, use_bf16
    from transfer.networks.task_net import load_net
    from transfer.settings import FinetuneSettings
    from transfer.training.finetune_data import FinetuneData
    from transfer.training.train_net import train_net

    arm, run = ARMS[arm_name], Run(run_folder)
    prepared, pretext = run.finished(PREPARED), run.finished(PRETEXT)
    folder, metadata = run_folder / STAGE / arm_name, prepared.metadata
    settings = FinetuneSettings(**arm.settings())
    reads = [prepared.record["digest"], pretext.record["digest"]]
    _check_key(
        folder,
        {"settings": recorded(settings), "nets": arm.nets, "views": VIEWS, "of": reads},
    )
    opened = Prepared.open(prepared)
    table, tasks = opened.table, read_experiment(experiment, run_folder).tasks
    jobs = plan_jobs(table, opened.tasks(tasks), arm)
    device = pick_device()
    set_threads(settings.threads)
    pictures = Pictures.open(prepared.folder, device)
    data = FinetuneData(
        settings=settings,
        first_weights=pretext.folder / "backbone.safetensors",
        pictures=pictures,
        ids=table["id"].tolist(),
        normalise=Normalisation(tuple(metadata["mean"]), tuple(metadata["std"])),
        folder=folder,
    )
    labelled = np.flatnonzero(table["fold"] >= 0)
    for pair, file in outputs_of(run_folder, arm_name).items():
        if file.exists():
            continue
        nets, columns = [], []
        for job in jobs:
            if job.fold == name_of(pair):
                train_net(job, data)
                net, _ = load_net(folder / job.path / "weights.safetensors")
                nets.append(net.to(device))
                columns += [(task.name, o) for task in job.tasks for o in task.outputs]
        label = f"{arm_name} {name_of(pair)}"
        with tqdm(total=len(labelled), desc=label, mininterval=1.0) as bar:
            views = run_pass(
                joined_outputs(nets),
                width=len(columns),
                pictures=pictures,
                rows=labelled,
                work=folder / "checkpoints" / file.name,
                weights=name_of(pair),
                bf16=use_bf16(settings.precision, device),
                count=bar.update,
                views=VIEW_SETS[VIEWS],
            )
        file.parent.mkdir(exist_ok=True)
        described = [
            {"task": task, "output": output, "statistic": statistic}
            for task, output in columns
            for statistic in USUAL  # those of an output side by side, as pooled
        ]
        write_json(file.with_name("columns.json"), described)
        draft = file.with_name(f"{file.stem}.draft.npy")
        np.save(draft, pool(views))
        draft.replace(file)


def _check_key(folder: Path, key: dict[str, Any]) -> None:
    file, key = folder / "key.json", json.loads(json.dumps(key))
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, key)
    elif json.loads(file.read_text(encoding="utf-8")) != key:
        raise UserError(f"{folder} was made from other settings or pictures; remove it")
