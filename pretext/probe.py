"""Probe: did a pretext help? What plain models read of the labels, by the stored folds.

    python -m pretext.probe --experiment experiments/demo.toml

Reads ``data_prep.prepare`` and backbones: stages of the run, or any files of weights;
writes ``pretext.probe/probe.csv`` and the same as a table, ``probe.txt``. Each backbone
stands beside random weights of its architecture, and its gain on them has an interval
over resamples of whole cv groups.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from data_prep.command import open_command, run_command
from data_prep.errors import UserError
from data_prep.experiment import Experiment
from data_prep.file_paths import MayBePath
from data_prep.prepared import PREPARED, Prepared
from data_prep.ranges import Ranged
from data_prep.run_folders.runs import Run
from data_prep.settings import NOT_HASHED, Example, nearest, recorded
from data_prep.waiting import settle_waiting
from pretext.init_weights import fingerprint_of, pretexts
from pretext.preflight import check_ready, check_unseen
from pretext.ready_weights import TIMM, find_ready, is_path, is_ready

if TYPE_CHECKING:
    from torch import nn

    from data_prep.outlook import Outlook
    from data_prep.tasks import Task
    from pretext.evaluation.comparison import ProbedBackbone

STAGE = "pretext.probe"
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ProbeSettings(Ranged):
    """Say whether pretraining helped: probe backbones beside random weights."""

    weights: Annotated[
        tuple[str, ...],
        "pretext stages, timm:NAME, files or folders (default: every finished stage)",
        MayBePath(is_path=is_path),
        Example(["pretext.jigsaw", "timm:resnet18.a1_in1k"]),
    ] = ()
    tasks: Annotated[
        tuple[str, ...], "names of the tasks (default: all)", Example(["target"])
    ] = ()
    precision: Annotated[
        Literal["auto", "bf16", "fp32"],
        "arithmetic: bf16 (mixed), fp32, or auto: bf16 where the hardware has it",
    ] = "auto"
    seed: Annotated[int, "seed of the random weights"] = 0
    threads: Annotated[int, "CPU threads; 0: all cores", NOT_HASHED, Ge(0)] = 0

    def __post_init__(self) -> None:
        """Check the ranges and the names."""
        super().__post_init__()
        for name in self.weights:
            if not (is_ready(name) or name in pretexts()):
                raise UserError(
                    f"weights = {name!r} is no pretext stage, {TIMM}NAME, file or"
                    f" folder of weights; {nearest(name, pretexts())}"
                )

    @property
    def reads(self) -> list[str]:
        """The stages that it reads."""
        return [PREPARED, *(name for name in self.weights if name in pretexts())]

    def config(self, experiment: Experiment, run: Run) -> dict[str, Any]:
        """Say what decides the result besides the stages that are read.

        Raises:
            UserError: There is no such file.
        """
        names = self.weights or [name for name in pretexts() if run.has(name)]
        return recorded(self) | {
            "tasks_of_experiment": {k: asdict(v) for k, v in experiment.tasks.items()},
            "files": [fingerprint_of(name, "weights")["init"] for name in names],
        }

    def check_data(self, outlook: "Outlook") -> None:
        """Check what the tables and the other stages decide.

        Raises:
            UserError: There are no folds or labels, no such task, or no such file.
        """
        check_folds(outlook.metadata)
        outlook.tasks(self.tasks)
        finished = [name for name in pretexts() if outlook.run.has(name)]
        if (
            not self.weights
            and not finished
            and not {*pretexts()} & {*outlook.settings}
        ):
            raise UserError(
                "there is no pretext stage to probe: none is to run and none has; put"
                " one before, or give files as weights"
            )
        for name in self.weights:
            if is_ready(name):
                check_ready(name, "", "weights")
                check_unseen(name, outlook.metadata.get("fold_hash"), "weights")


def main(argv: Sequence[str] | None = None) -> Path:
    """Probe as the command line says, and return the folder of the stage."""
    settings, run, experiment = open_command(ProbeSettings, STAGE, argv)
    files = find_files(settings.weights, run)
    reads = [PREPARED, *(name for name in files if name in pretexts())]
    config = settings.config(experiment, run)
    if done := run.current(STAGE, config, reads=reads):
        log.info("%s", (done.folder / "probe.txt").read_text(encoding="utf-8"))
        return done.folder
    prepared = Prepared.open(run.finished(PREPARED))
    check_folds(prepared.metadata)
    for name in filter(is_ready, settings.weights):
        check_unseen(name, prepared.metadata["fold_hash"], "weights")
    tasks = prepared.tasks(experiment.tasks, settings.tasks)

    from pretext.evaluation.comparison import as_table, as_text

    with run.stage(STAGE, config, reads=reads) as stage:
        backbones, device = probe_all(files, tasks, prepared, settings)
        text = as_text(backbones)
        as_table(backbones).to_csv(stage.folder / "probe.csv", index=False)
        (stage.folder / "probe.txt").write_text(text, encoding="utf-8")
        stage.device = device
        stage.metadata = {
            "backbones": list(files),
            "tasks": [task.name for task in tasks],
        }
    log.info("%s\n-> %s", text, run.folder / STAGE / "probe.csv")
    return run.folder / STAGE


def find_files(weights: Sequence[str], run: Run) -> dict[str, Path]:
    """Find the weights to probe, by the name they go under in the table.

    Raises:
        UserError: There is no such stage or file, or no finished stage at all.
    """
    stages, files = pretexts(), {}
    names = short_names([name for name in weights if is_path(name)])
    for name in weights or [stage for stage in stages if run.has(stage)]:
        if is_ready(name):
            files[names.get(name, name)] = find_ready(name, "weights")
        else:
            files[name] = run.finished(name).folder / "backbone.safetensors"
    if not files:
        raise UserError(
            f"{run.folder} has no finished pretext stage to probe; first: python -m"
            f" pretext.jigsaw --run {run.folder}, or give files with --weights"
        )
    return files


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Leave out what paths of weights share, so that a table of them can be read.

    >>> short_names(["runs/a/pretext.dino/b.safetensors", "runs/c/b.safetensors"])
    {'runs/a/pretext.dino/b.safetensors': 'a/pretext.dino', 'runs/c/b.safetensors': 'c'}
    """
    if len(set(paths)) < 2:
        return {path: path for path in paths}
    absolute = [Path(path).absolute() for path in paths]
    if len({path.name for path in absolute}) == 1:  # all are backbone.safetensors
        absolute = [path.parent for path in absolute]
    shared = os.path.commonpath([path.parent for path in absolute])
    names = [str(path.relative_to(shared)) for path in absolute]
    return dict(zip(paths, names, strict=True))


def check_folds(metadata: Mapping[str, Any]) -> None:
    """Check that there are folds.

    Args:
        metadata: Of ``data_prep.prepare``.
    """
    if not metadata.get("n_folds"):
        raise UserError(
            "the run has no folds to probe by; give a train table and a target in"
            " [data], then: python -m data_prep.prepare --experiment FILE"
        )


def probe_all(
    files: dict[str, Path],
    tasks: "Sequence[Task]",
    prepared: Prepared,
    settings: ProbeSettings,
) -> "tuple[list[ProbedBackbone], str]":
    """Embed the labelled pictures by each backbone once, and probe every task.

    Args:
        files: Weights by name.
        tasks: What to probe for, with the labels of the N rows of the table.
        prepared: The pictures and their table.
        settings: Of the command.

    Returns:
        The probed backbones, random weights before those they stand beside, and the
        device.
    """
    settle_waiting(settings.threads)
    import torch
    from tqdm import tqdm

    from pretext.data.pictures import Normalisation, Pictures
    from pretext.device import pick_device, set_threads, use_bf16
    from pretext.evaluation.comparison import LabelledRows
    from pretext.evaluation.embed import embed
    from pretext.networks.backbones import build_backbone, own_normalisation

    device = pick_device()
    set_threads(settings.threads)
    pictures = Pictures.open(prepared.folder, device)
    metadata = prepared.metadata
    collection = Normalisation(tuple(metadata["mean"]), tuple(metadata["std"]))
    labelled = LabelledRows.of(tasks, prepared)
    by_architecture = load_by_architecture(files, pictures.side_px)
    bar: tqdm[Any]
    total = len(labelled.rows) * (len(files) + len(by_architecture))
    with tqdm(total=total, desc=STAGE, unit="img", mininterval=1.0) as bar:

        def features_of(
            name: str, backbone: "nn.Module", side_px: int
        ) -> NDArray[np.float32]:
            return embed(
                backbone.to(device),
                pictures,
                labelled.rows,
                own_normalisation(files.get(name), "", collection),
                side_px=side_px,
                bf16=use_bf16(settings.precision, device),
                bar=bar,
            )

        backbones: list[ProbedBackbone] = []
        for (architecture, side_px), trained in by_architecture.items():
            torch.manual_seed(settings.seed)
            untrained = build_backbone(architecture, side_px)
            several = len(by_architecture) > 1
            name = "random weights" + (f" of {architecture}" if several else "")
            random = labelled.probed(name, features_of(name, untrained, side_px))
            backbones.append(random)
            for name, backbone in trained.items():
                features = features_of(name, backbone, side_px)
                backbones.append(labelled.probed(name, features, random))
    return backbones, str(device)


def load_by_architecture(
    files: Mapping[str, Path], picture_px: int
) -> "dict[tuple[str, int], dict[str, nn.Module]]":
    """Load backbones, those together that stand beside the same random weights.

    Args:
        files: Weights by name.
        picture_px: Side of the pictures.

    Returns:
        The backbones by name, by architecture and side of the input.
    """
    from pretext.evaluation.embed import load_for
    from pretext.networks.backbones import described

    by_architecture: dict[tuple[str, int], dict[str, nn.Module]] = {}
    for name, path in files.items():
        architecture = str(described(path).get("backbone"))
        backbone, side_px = load_for(path, picture_px)
        by_architecture.setdefault((architecture, side_px), {})[name] = backbone
    return by_architecture


if __name__ == "__main__":
    run_command(main)
