"""Fine-tune: one net per sub-task and fold, or one joint net per fold.

    python -m transfer.finetune --experiment experiments/demo.toml --joint

Reads ``data_prep.prepare`` and the weights named by ``--init``; writes
``transfer.finetune/NET/foldK/weights.safetensors``, where NET is the name of the task,
or ``joint``. The net of fold K never sees a label of fold K; the last epoch is kept, so
nothing is chosen on those labels either.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_prep.command import open_command, run_command
from data_prep.errors import UserError
from data_prep.experiment import Experiment, commands
from data_prep.runs import Run
from data_prep.settings import nearest, recorded
from transfer.settings import FinetuneSettings

STAGE = "transfer.finetune"
PREPARED = "data_prep.prepare"
SCRATCH = "scratch"
log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> Path:
    """Fine-tune as the command line says, and return the folder of the stage."""
    settings, run, experiment = open_command(FinetuneSettings, STAGE, argv)
    first_weights = find_weights(settings.init, run)
    reads = [PREPARED, *([settings.init] if is_stage(settings.init) else [])]
    key = _key(settings, experiment, first_weights)
    if done := run.current(STAGE, key, reads=reads):
        return done.folder
    prepared = run.finished(PREPARED)
    import pandas as pd

    from transfer.jobs import plan
    from transfer.tasks import build_tasks

    facts = prepared.facts
    table = pd.read_parquet(prepared.folder / "table.parquet")
    tasks = build_tasks(experiment.tasks, table, prepared.folder, facts, settings.tasks)
    jobs = plan(table, tasks, settings, facts["n_folds"])

    from pretext.pictures import Normalisation, Pictures
    from pretext.training import pick_device, set_threads
    from transfer.training import Material, train_net

    device = pick_device()
    set_threads(settings.threads)
    pictures = Pictures.open(prepared.folder, device)
    normalise = Normalisation(tuple(facts["mean"]), tuple(facts["std"]))
    with run.stage(STAGE, key, reads=reads) as stage:
        material = Material(
            settings,
            first_weights,
            pictures,
            table["id"].tolist(),
            normalise,
            stage.folder,
        )
        nets = []
        for number, job in enumerate(jobs, start=1):
            log.info(
                "net %d of %d: %s, %d rows to train on, %d held out",
                *(number, len(jobs), job.place, len(job.rows), len(job.held_out)),
            )
            nets.append(train_net(job, material))
        stage.device = str(device)
        stage.facts = {
            "nets": nets,
            "joint": settings.joint,
            "folds": list(dict.fromkeys(job.fold for job in jobs)),
            "side_px": material.side_px,
            "init": settings.init,
        }
    for line in summary(nets):
        log.info("%s", line)
    log.info("-> %s", run.folder / STAGE)
    return run.folder / STAGE


def is_stage(init: str) -> bool:
    """Tell whether the first weights are those of a stage of the run."""
    return init.startswith("pretext.") and not init.endswith(".safetensors")


def find_weights(init: str, run: Run) -> Path | None:
    """Find the weights to begin with; None: random ones, because the user said scratch.

    Raises:
        UserError: The stage is not finished, or there is no such stage or file.
    """
    if init == SCRATCH:
        return None
    if init.endswith(".safetensors"):
        if not Path(init).is_file():
            raise UserError(f"init = {init!r}: there is no such file")
        return Path(init)
    stages = [name for name in commands() if name.startswith("pretext.")]
    if init not in stages:
        raise UserError(
            f"init = {init!r} is no pretext stage, {SCRATCH} or .safetensors file;"
            f" {nearest(init, [*stages, SCRATCH])}"
        )
    return run.finished(init).folder / "backbone.safetensors"


def summary(nets: Sequence[dict[str, Any]]) -> list[str]:
    """Put the held-out scores into one line per score, fold by fold."""
    scores: dict[str, list[float]] = {}
    for net in nets:
        for name, value in net["held_out_scores"].items():
            scores.setdefault(name, []).append(value)
    return [
        f"{name}: {sum(values) / len(values):.4f} on held-out folds"
        f" ({', '.join(f'{value:.4f}' for value in values)})"
        for name, values in scores.items()
    ]


def _key(
    settings: FinetuneSettings, experiment: Experiment, first_weights: Path | None
) -> dict[str, Any]:
    """Say what decides the result besides the stages that are read."""
    tasks = {name: asdict(task) for name, task in experiment.tasks.items()}
    key = recorded(settings) | {"tasks_of_experiment": tasks}
    if first_weights is not None and not is_stage(settings.init):
        with first_weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        key["init"] = {"file": first_weights.name, "sha256": digest}
    return key


if __name__ == "__main__":
    run_command(main)
