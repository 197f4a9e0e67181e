"""Reports of made-up runs, of quick members and findings that are made up too."""

import csv
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_prep.command import open_command
from data_prep.run_folders.runs import Run, write_json
from data_prep.scoring.scores import Interval
from pretext.engine.history import History
from stacking.analysis.diagnostics import Averaging
from stacking.analysis.findings import Findings
from stacking.analysis.importance import gain_table
from stacking.analysis.shift import TaskShift
from stacking.ensemble.stack import Stacked
from stacking.inputs.assemble import assemble
from stacking.reporting.report import write
from stacking.settings import FitSettings
from stacking.workflow import StackingJob
from tests.stacking.conftest import FakeRun
from tests.stacking.pixels_of_runs import without_pixels

TASKS = ("target", "onehot")
SECONDS = 83.2
N_DRAWS = 60  # of the bootstrap
N_COPIES = 3
MAPPED = ("p0000", "p0001", "p0002")


@dataclass
class Reported:
    """A report, and what it tells of.

    Attributes:
        run: Folder of the run.
        flags: Settings of the stage, as on the command line.
        findings: What was found, in place of what would be.
        unreadable: Ids without a picture.
    """

    run: Path
    flags: tuple[str, ...] = ()
    findings: dict[str, Any] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path, *flags: str, **fields: Any) -> "Reported":
        """Make up a run, by the fields of ``FakeRun``."""
        usual = {"n_train": 90, "n_test": 24, "n_unlabelled": 30, "tasks": TASKS}
        return cls(FakeRun(**(usual | fields)).write(folder), flags)

    def stacked(self) -> Stacked:
        """Stack the run; by ridge alone, if the flags ask for nothing else."""
        stackers = () if "--stackers" in self.flags else ("--stackers", "ridge")
        quick = ("--align", "rank", "--max-rounds", "20", "--seeds", "1", *stackers)
        argv = ["--run", str(self.run), *quick, *self.flags]
        self.settings, run, experiment = open_command(FitSettings, "stacking.fit", argv)
        self.prepared = run.finished("data_prep.prepare")
        extracted = run.finished("features.extract")
        settings = self.settings
        data = assemble(self.prepared, extracted, settings.cv, settings.protocol)
        work = StackingJob.of(without_pixels(data), settings, experiment)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("stacking.ensemble.objective.N_DRAWS", N_DRAWS)
            return work.fit(self.run)

    def page(self, prefix: str = "") -> str:
        """Write the report, and give its text.

        Args:
            prefix: Put before every id.
        """
        stacked = self._with_ids(self.stacked(), prefix)
        gains = gain_table(stacked.features, stacked.members)
        found = _predictions(stacked) | {"column_gains": gains} | self.findings
        path = self.run / "report.html"
        write(
            path,
            stacked=stacked,
            findings=Findings(**found),
            unreadable=self.unreadable,
            prepared=self.prepared,
            settings=vars(self.settings),
            versions={"lightgbm": "4.0"},
            seconds=SECONDS,
        )
        self.result, self.path = stacked, path
        return path.read_text(encoding="utf-8")

    def _with_ids(self, stacked: Stacked, prefix: str) -> Stacked:
        path = self.run / "data_prep.prepare" / "table.parquet"
        table = pd.read_parquet(path)
        table.assign(id=prefix + table["id"]).to_parquet(path)
        data = stacked.data
        named = replace(
            data,
            info=replace(data.info, ids=tuple(prefix + i for i in data.info.ids)),
            common=replace(data.common, ids=tuple(prefix + i for i in data.common.ids)),
        )
        features = replace(stacked.features, data=named)
        return replace(stacked, features=features)


def _predictions(stacked: Stacked) -> dict[str, Any]:
    """Predict the pictures without label, as ``StackingJob.evaluate`` does."""
    data = stacked.data
    if not data.common.nets:
        return {"predicted": {}, "disagreement": np.array([])}
    said = stacked.predictor.predict(data.common.nets, in_fold=bool(data.in_sample))
    spread = np.array([]) if data.info.is_label_free else said.by_net.std(axis=0)
    return {"predicted": said.averaged, "disagreement": spread}


def all_there_is(run: Path) -> dict[str, Any]:
    """Add to a run all that a report may show, and give findings of every kind."""
    add_training(run)
    add_maps(run)
    add_names(run)
    add_copies(run)
    return {
        "averaging": Averaging(single_net=0.5, averaged=0.45, disagreement=0.2),
        "task_gains": {
            "target": Interval(value=0.04, low=0.01, high=0.07),
            "onehot": Interval(value=0.01, low=-0.01, high=0.03),
        },
        "shift": [
            TaskShift(task="target", std_ratio=0.97, auc=0.52),
            TaskShift(task="onehot", std_ratio=0.91, auc=0.55),
        ],
        "shift_of_all": [
            TaskShift(task="target", std_ratio=1.21, auc=0.77),
            TaskShift(task="onehot", std_ratio=1.3, auc=0.8),
        ],
        "control": Interval(value=-0.001, low=-0.004, high=0.002),
        "verdicts": ["column 'price' alone tells the target"],
    }  # fmt: skip


def add_training(run: Path, *, is_used: bool = True) -> None:
    """Add a finished training with its logs, and scores by epoch.

    Args:
        run: Folder of the run.
        is_used: The features come from it.
    """
    nets = []
    with Run(run).stage("transfer.finetune", {"epochs": 3}) as stage:
        for fold in range(3):
            place = f"joint/fold{fold}"
            logs = stage.folder / place / "logs"
            logs.mkdir(parents=True)
            with (logs / "metrics.csv").open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["step", "name", "value"])
                for step in range(10, 310, 10):
                    loss = 1 / step + fold / 100
                    named = {"target": loss, "onehot": 2 * loss, "loss": 3 * loss}
                    named["learning_rate"] = 0.001
                    writer.writerows([step, *item] for item in named.items())
            history = History(logs / "epochs.csv")
            for epoch in (1, 2, 3):
                history.add(epoch, {"step": 100 * epoch})
            nets.append({"fold": str(fold), "place": place})
        stage.metadata = {"nets": nets}
        stage.device = "a <b>GPU</b>"
    trained = Run(run).finished("transfer.finetune").record
    if is_used:
        extracted = run / "features.extract" / "record.json"
        record = json.loads(extracted.read_text())
        record["reads"]["transfer.finetune"] = trained["digest"]
        write_json(extracted, record)
    watched = run / "features.watch"
    watched.mkdir()
    write_json(
        watched / "training.json", {k: trained[k] for k in ("settings", "reads")}
    )
    lines = ["net,fold,epoch,score,value,pictures,seconds"]
    lines += [
        f"joint,{fold},{epoch},target_rmse,{1 / epoch},80,1.0"
        for epoch in (1, 2, 3)
        for fold in range(3)
    ]
    (watched / "scores.csv").write_text("\n".join(lines) + "\n")


def add_maps(run: Path) -> None:
    """Add maps of what the nets of the run look at, of some pictures."""
    trained = Run(run).finished("transfer.finetune").record
    folder = run / "transfer.explain"
    folder.mkdir()
    write_json(folder / "task.json", {"task": "date", "nets": trained["digest"]})
    for number, id_ in enumerate(MAPPED):
        ending = "png" if number else "jpg"
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(folder / f"{id_}.{ending}")


def rename(run: Path, old: str, new: str) -> None:
    """Give a class another name, in the records and tables of a run."""
    prepared = run / "data_prep.prepare"
    for path in (prepared / "record.json", run / "features.extract" / "record.json"):
        text = path.read_text()
        path.write_text(text.replace(json.dumps(old), json.dumps(new)))
    table = pd.read_parquet(prepared / "table.parquet")
    table["target"] = table["target"].replace(old, new)
    table.to_parquet(prepared / "table.parquet")


def add_names(run: Path) -> None:
    """Add columns of the user's table and attributes to a run."""
    prepared = run / "data_prep.prepare"
    table = pd.read_parquet(prepared / "table.parquet")
    numbers = np.arange(len(table))
    rooms = np.array(["kitchen", "bath", "hall"], dtype=object)[numbers % 3]
    table["given.room"], table["given.size"] = rooms, numbers + 0.5
    table.to_parquet(prepared / "table.parquet")
    pairs = [
        (id_, name)
        for id_, number in zip(table["id"], numbers, strict=True)
        for name, step in (("bright", 2), ("tiled", 3))
        if number % step == 0
    ]
    frame = pd.DataFrame(pairs, columns=["id", "name"])
    frame.to_parquet(prepared / "attributes.parquet", index=False)


def add_copies(run: Path) -> None:
    """Make the pictures of the first rows of the table one, whatever they are."""
    path = run / "data_prep.prepare" / "table.parquet"
    table = pd.read_parquet(path)
    pixels = ["same"] * N_COPIES + list(table["pixels_sha256"][N_COPIES:])
    table.assign(pixels_sha256=pixels).to_parquet(path)
