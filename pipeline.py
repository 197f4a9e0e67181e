"""The whole chain: the stages of an experiment in order, skipping what is current.

    python -m pipeline experiments/demo.toml

The stages that need torch share one process, because starting it costs seconds; the
stacking has its own, because the OpenMP runtimes of torch and LightGBM do not mix.
"""

import importlib
import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from data_prep.command import check_origin, run_command, run_of
from data_prep.damage import read_frame
from data_prep.errors import UserError
from data_prep.experiment import Experiment, commands, read_experiment
from data_prep.runs import Run
from data_prep.settings import Parser, from_table, nearest
from data_prep.verify import verify_run

LEARNING = ("transfer.finetune", "features.extract", "stacking.fit")
log = logging.getLogger(__name__)


def stages_of(experiment: Experiment) -> list[str]:
    """List the stages of an experiment, in order.

    Without ``[pipeline] stages`` they are the usual ones; the pretext is the one that
    the transfer begins from.

    Raises:
        UserError: ``[pipeline] stages`` names a stage that is not there.
    """
    where = f"{experiment.source} [pipeline]"
    table = experiment.stages.get("pipeline", {})
    for key in table:
        if key != "stages":
            raise UserError(f"{where}: unknown key {key!r}; use stages")
    init = experiment.stages.get("transfer.finetune", {}).get("init", "pretext.jigsaw")
    pretexts = [init] if init in commands() else []
    stages = table.get("stages", ["data_prep.prepare", *pretexts, *LEARNING])
    if not isinstance(stages, list):
        raise UserError(f"{where}: stages = {stages!r} is not a list")
    for stage in stages:
        if stage not in commands():
            hint = nearest(str(stage), commands())
            raise UserError(f"{where}: no stage {stage!r}; {hint}")
    return stages


def check_settings(experiment: Experiment, stages: Sequence[str]) -> None:
    """Check the settings of all stages before the first one runs.

    Raises:
        UserError: A table has an unknown key or a value that does not fit.
    """
    for stage in stages:
        module = importlib.import_module(stage)
        name = stage.rpartition(".")[2] + "settings"
        kind = next(v for k, v in vars(module).items() if k.lower() == name)
        where = f"{experiment.source} [{stage}]"
        from_table(kind, experiment.stages.get(stage, {}), where, {})


def check_tasks(experiment: Experiment, run: Run) -> None:
    """Check the sub-tasks against the prepared table, before any training.

    Raises:
        UserError: A task or its column is unknown, or its labels do not fit its kind.
    """
    from data_prep.tasks import build_tasks
    from transfer.settings import FinetuneSettings

    prepared = run.finished("data_prep.prepare")
    table = read_frame(prepared.folder / "table.parquet")
    given = experiment.stages.get("transfer.finetune", {})
    settings = from_table(FinetuneSettings, given, "[transfer.finetune]", {})
    build_tasks(
        experiment.tasks, table, prepared.folder, prepared.facts, settings.tasks
    )


def main(argv: Sequence[str] | None = None) -> Path:
    """Run the stages, and return the folder of the run."""
    parser = Parser(
        prog="python -m pipeline",
        description="Run the stages of an experiment, skipping what is current.",
    )
    parser.add_argument(
        "experiment", type=Path, nargs="?", help="experiment file (TOML)"
    )
    parser.add_argument(
        "--run", type=Path, help="run folder (default: runs/<name of the file>)"
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="run nothing; compare every file of the run with its record",
    )
    given = parser.parse(argv)
    if given["verify"]:
        return verify_run(given["run"] or run_of(given["experiment"]))
    if given["experiment"] is None:
        parser.error("the following arguments are required: experiment")
    file: Path = given["experiment"]
    folder: Path = given["run"] or run_of(file)
    experiment, run = read_experiment(file, folder), Run(folder)
    check_origin(file, folder, is_chosen=given["run"] is not None)
    stages = stages_of(experiment)
    check_settings(experiment, stages)
    flags = ["--experiment", str(file), "--run", str(folder)]
    began = time.monotonic()
    for number, stage in enumerate(stages, start=1):
        log.info("\n== %d of %d: %s", number, len(stages), stage)
        if stage.startswith("stacking."):
            done = subprocess.run([sys.executable, "-m", stage, *flags], check=False)
            if done.returncode:
                raise UserError(
                    f"{stage} did not finish; what was done before it is kept;"
                    f" again: python -m {stage} --run {folder}"
                )
        else:
            importlib.import_module(stage).main(flags)
        if stage == "data_prep.prepare" and "transfer.finetune" in stages:
            check_tasks(experiment, run)
    log.info(
        "\n%d stages in %.1f minutes", len(stages), (time.monotonic() - began) / 60
    )
    if "stacking.fit" in stages:
        facts = run.finished("stacking.fit").facts
        log.info(
            "%s %.4f (95 %% interval %.4f to %.4f, by groups; constant %.4f)",
            *(facts["metric"], facts["score"], *facts["interval"], facts["constant"]),
        )
    for stage in reversed(stages):
        report = folder / stage / "report.html"
        if run.has(stage) and report.exists():
            log.info("report: %s", report)
            break
    return folder


if __name__ == "__main__":
    run_command(main)
