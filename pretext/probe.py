"""Probe: did a pretext help? What plain models read of the labels, by the stored folds.

    python -m pretext.probe --experiment experiments/demo.toml

Reads ``data_prep.prepare`` and backbones: stages of the run, or any files of weights;
writes ``pretext.probe/probe.csv`` and the same as a table, ``probe.txt``. Each backbone
stands beside random weights of its architecture, and its gain on them has an interval
over resamples of whole cv groups. ``--jobs 2`` probes two at a time, and a command that
was killed goes on with those that are missing.
"""

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from data_prep.command import open_command, run_command
from data_prep.errors import UserError
from data_prep.executor_settings import ExecutorSettings
from data_prep.experiment import Experiment
from data_prep.file_paths import MayBePath
from data_prep.prepared import PREPARED, Prepared
from data_prep.run_folders.runs import Run
from data_prep.settings import NOT_HASHED, Example, nearest, recorded
from data_prep.waiting import settle_waiting
from pretext.init_weights import fingerprint_of, pretexts
from pretext.preflight import check_ready, check_unseen
from pretext.ready_weights import PACKAGE, TIMM, find_ready, is_path, is_ready

if TYPE_CHECKING:
    from data_prep.outlook import Outlook
    from data_prep.tasks import Task
    from pretext.data.pictures import Pictures
    from pretext.evaluation.comparison import LabelledRows, ProbedBackbone
    from pretext.evaluation.probe_jobs import ProbeJob

STAGE = "pretext.probe"
WORK = "checkpoints"  # folder of what each backbone leaves
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ProbeSettings(ExecutorSettings):
    """Say whether pretraining helped: probe backbones beside random weights."""

    weights: Annotated[
        tuple[str, ...],
        "pretext stages, timm:NAME, package:NAME, files or folders (default: every"
        " finished stage)",
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
                    f"weights = {name!r} is no pretext stage, {TIMM}NAME,"
                    f" {PACKAGE}NAME, file or folder of weights;"
                    f" {nearest(name, pretexts())}"
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
                check_unseen(name, outlook.metadata, "weights")

    def check_libraries(self, outlook: "Outlook") -> None:
        """Knock at the cluster.

        Raises:
            UserError: There is none.
        """
        del outlook
        self.check_cluster()


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
    settings.check_cluster()
    for name in filter(is_ready, settings.weights):
        check_unseen(name, prepared.metadata, "weights")
    tasks = prepared.tasks(experiment.tasks, settings.tasks)

    from pretext.evaluation.comparison import as_table, as_text

    with run.stage(STAGE, config, reads=reads) as stage:
        backbones, device = probe_all(
            files, tasks, prepared, settings, folder=stage.folder
        )
        text = as_text(backbones)
        as_table(backbones).to_csv(stage.folder / "probe.csv", index=False)
        (stage.folder / "probe.txt").write_text(text, encoding="utf-8")
        stage.device = device
        stage.metadata = {
            "backbones": list(files),
            "tasks": [task.name for task in tasks],
        }
    shutil.rmtree(run.folder / STAGE / WORK, ignore_errors=True)
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
    files: Mapping[str, Path],
    tasks: "Sequence[Task]",
    prepared: Prepared,
    settings: ProbeSettings,
    *,
    folder: Path,
) -> "tuple[list[ProbedBackbone], str]":
    """Embed the labelled pictures by each backbone once, and probe every task.

    Args:
        files: Weights by name.
        tasks: What to probe for, with the labels of the N rows of the table.
        prepared: The pictures and their table.
        settings: Of the command.
        folder: Of the stage; backbones that an earlier attempt has probed are there.

    Returns:
        The probed backbones, random weights before those they stand beside, and the
        device.

    Raises:
        UserError: A process failed.
    """
    settle_waiting(settings.threads * (settings.jobs or 1))
    from pretext.data.pictures import Pictures
    from pretext.device import pick_device, pool_of
    from pretext.evaluation.comparison import LabelledRows
    from pretext.evaluation.probe_jobs import run_jobs

    pictures = Pictures.open(prepared.folder, pick_device())
    labelled = LabelledRows.of(tasks, prepared)
    architectures = by_architecture(files, pictures.side_px)
    pool = pool_of(settings, len(files) + len(architectures), settings.threads)
    settings = replace(settings, threads=pool.threads)
    jobs = plan(
        files,
        architectures,
        pictures,
        labelled,
        prepared=prepared,
        settings=settings,
        folder=folder,
    )
    run_jobs(jobs, pool, title=STAGE, logs=folder / "logs")
    backbones: list[ProbedBackbone] = []
    random: ProbedBackbone | None = None
    for job in jobs:
        base = random if job.weights else None
        judged = labelled.judged(job.name, job.predictions(), base)
        random = random if job.weights else judged
        backbones.append(judged)
    return backbones, str(pictures.device)


def by_architecture(
    files: Mapping[str, Path], picture_px: int
) -> "dict[tuple[str, int], list[str]]":
    """Put backbones together that stand beside the same random weights.

    Args:
        files: Weights by name.
        picture_px: Side of the pictures.

    Returns:
        Their names, by architecture and side of the input.

    Raises:
        UserError: A file does not hold the weights of a backbone.
    """
    from pretext.evaluation.embed import load_for
    from pretext.networks.backbones import described

    architectures: dict[tuple[str, int], list[str]] = {}
    for name, path in files.items():
        architecture = str(described(path).get("backbone"))
        _, side_px = load_for(path, picture_px)
        architectures.setdefault((architecture, side_px), []).append(name)
    return architectures


def plan(
    files: Mapping[str, Path],
    architectures: Mapping[tuple[str, int], Sequence[str]],
    pictures: "Pictures",
    labelled: "LabelledRows",
    *,
    prepared: Prepared,
    settings: ProbeSettings,
    folder: Path,
) -> "list[ProbeJob]":
    """List the backbones to probe, random weights before those they stand beside.

    Args:
        files: Weights by name.
        architectures: Names by architecture and side of the input.
        pictures: All prepared pictures.
        labelled: What is probed for.
        prepared: The stage of the pictures.
        settings: Of the command, with the threads of each.
        folder: Of the stage.
    """
    from pretext.data.pictures import Normalisation
    from pretext.device import use_bf16
    from pretext.evaluation.probe_jobs import ProbeJob
    from pretext.networks.backbones import own_normalisation

    metadata = prepared.metadata
    collection = Normalisation(tuple(metadata["mean"]), tuple(metadata["std"]))
    jobs: list[ProbeJob] = []
    for (architecture, side_px), names in architectures.items():
        random = "random weights"
        random += f" of {architecture}" if len(architectures) > 1 else ""
        for name in (random, *names):
            jobs.append(
                ProbeJob(
                    name=name,
                    weights=files.get(name),
                    architecture=architecture,
                    side_px=side_px,
                    normalise=own_normalisation(files.get(name), "", collection),
                    pictures=pictures,
                    labelled=labelled,
                    bf16=use_bf16(settings.precision, pictures.device),
                    seed=settings.seed,
                    threads=settings.threads,
                    folder=folder / WORK / f"backbone{len(jobs)}",
                )
            )
    return jobs


if __name__ == "__main__":
    run_command(main)
