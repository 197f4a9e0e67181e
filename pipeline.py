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

from data_prep.command import RUNS, run_command
from data_prep.errors import UserError
from data_prep.experiment import commands, read_experiment
from data_prep.runs import Run
from data_prep.settings import Parser, nearest

USUAL = (
    *("data_prep.prepare", "pretext.jigsaw", "transfer.finetune"),
    *("features.extract", "stacking.fit"),
)
log = logging.getLogger(__name__)


def stages_of(experiment: Path, run: Path) -> list[str]:
    """List the stages of an experiment, in order.

    Raises:
        UserError: ``[pipeline] stages`` names a stage that is not there.
    """
    table = read_experiment(experiment, run).stages.get("pipeline", {})
    for key in table:
        if key != "stages":
            raise UserError(f"{experiment} [pipeline]: unknown key {key!r}; use stages")
    stages = table.get("stages", USUAL)
    if not isinstance(stages, (list, tuple)):
        raise UserError(f"{experiment} [pipeline]: stages = {stages!r} is not a list")
    for stage in stages:
        if stage not in commands():
            hint = nearest(str(stage), commands())
            raise UserError(f"{experiment} [pipeline]: no stage {stage!r}; {hint}")
    return list(stages)


def main(argv: Sequence[str] | None = None) -> Path:
    """Run the stages, and return the folder of the run."""
    parser = Parser(
        prog="python -m pipeline",
        description="Run the stages of an experiment, skipping what is current.",
    )
    parser.add_argument("experiment", type=Path, help="experiment file (TOML)")
    parser.add_argument(
        "--run", type=Path, help="run folder (default: runs/<name of the file>)"
    )
    given = parser.parse(argv)
    experiment: Path = given["experiment"]
    folder: Path = given["run"] or RUNS / experiment.stem
    stages = stages_of(experiment, folder)
    flags = ["--experiment", str(experiment), "--run", str(folder)]
    began = time.monotonic()
    for number, stage in enumerate(stages, start=1):
        log.info("\n== %d of %d: %s", number, len(stages), stage)
        if stage.startswith("stacking."):
            done = subprocess.run([sys.executable, "-m", stage, *flags], check=False)
            if done.returncode:
                raise UserError(
                    f"{stage} did not finish; what was done before it is kept"
                )
        else:
            importlib.import_module(stage).main(flags)
    log.info(
        "\n%d stages in %.1f minutes", len(stages), (time.monotonic() - began) / 60
    )
    for stage in reversed(stages):
        report = folder / stage / "report.html"
        if Run(folder).has(stage) and report.exists():
            log.info("report: %s", report)
            break
    return folder


if __name__ == "__main__":
    run_command(main)
