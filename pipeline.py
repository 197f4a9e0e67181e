"""The whole chain: the stages of an experiment in order, skipping what is current.

    python -m pipeline experiments/demo.toml
    python -m pipeline experiments/demo.toml --plan    # what would be made, and why

Before the first stage it says which stages are current, which are to be made and why,
and how long that takes here; after each stage, how long the others will take. A run
tries its networks and times them; a mere plan counts what they cost, without torch
where their names are known.

The stages that need torch share one process, because starting it costs seconds; the
stacking has its own, because the OpenMP runtimes of torch and LightGBM do not mix.
"""

import data_prep.environment  # noqa: F401  first, for an interrupt of what follows

# isort: split

import importlib
import logging
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from data_prep.chain import check_order, check_settings, stages_of, tell_stale
from data_prep.command import run_command
from data_prep.errors import UserError
from data_prep.experiment import Experiment, read_experiment, settings_class
from data_prep.experiment_files import list_experiments
from data_prep.kept_experiment import check_origin
from data_prep.outlook import Outlook
from data_prep.prepared import PREPARED
from data_prep.run_folders.runs import Run
from data_prep.run_places import announce, run_of
from data_prep.settings import (
    POSITIONAL,
    SEVERAL,
    Parser,
    from_flags,
)
from data_prep.stage_plan import StagePlan, cost_of, lack_of_memory, lack_of_space
from data_prep.standing import standings_of
from data_prep.verify import verify_run
from data_prep.waiting import settle_waiting
from data_prep.within_pipeline import pipeline_at_work, told_in_keys
from pretext.networks.speeds import speeds_of, told_after
from stacking.outcome import log_outcome

PLANNED = (
    "times are those of this machine when idle; a run first tries its networks, and"
    " times them"
)
STACKING, FIT = "stacking.", "stacking.fit"
log = logging.getLogger(__name__)


def check_data(outlook: Outlook) -> None:
    """Check the settings of all stages against the tables and each other.

    Raises:
        UserError: Those of a stage do not fit.
    """
    for stage in outlook.settings:
        _check(stage, "check_data", outlook)


def check_libraries(outlook: Outlook) -> None:
    """Check what the libraries of the trainings must be asked, which loads torch.

    Stages that are made already with their settings are passed over: a finished run is
    looked through in a second.

    Raises:
        UserError: A name is unknown, or a network does not take what will come to it.
    """
    settings = outlook.settings
    to_make = [stage for stage in settings if not outlook.is_made(stage)]
    threads = [
        settings[stage].threads
        for stage in to_make
        if hasattr(settings[stage], "check_libraries")
    ]
    if threads:  # once torch is loaded, nothing is settled any more
        settle_waiting(0 if 0 in threads else max(threads))
    with told_after("asking the libraries whether all networks fit ..."):
        for stage in to_make:
            _check(stage, "check_libraries", outlook)


def _check(stage: str, method: str, outlook: Outlook) -> None:
    """Call a method of the stage's settings, if there is one; name place and stage."""
    check = getattr(outlook.settings[stage], method, None)
    if check is None:
        return
    try:
        with told_in_keys(type(outlook.settings[stage])):
            check(outlook)
    except UserError as error:
        message = str(error)
        if not message.startswith("["):
            message = f"[{stage}]: {message}"
        raise UserError(f"{outlook.experiment.source} {message}") from None


@dataclass(frozen=True, kw_only=True)
class PipelineSettings:
    """Run the stages of an experiment, skipping what is current."""

    experiment: Annotated[Path | None, "experiment file (TOML)", POSITIONAL] = None
    run: Annotated[
        Path | None, "run folder (default: runs/<name of the file> in its project)"
    ] = None
    explain: Annotated[
        tuple[str, ...] | None,
        "run nothing; say what keys are for, such as lr, or all",
        SEVERAL,
    ] = None
    plan: Annotated[
        bool, "run nothing; say what is current, what is to be made, why, and how long"
    ] = False
    verify: Annotated[
        bool, "run nothing; compare every file of the run with its record"
    ] = False


def main(argv: Sequence[str] | None = None) -> Path:
    """Run the stages, and return the folder of the run."""
    chosen = from_flags(PipelineSettings, "pipeline", argv)
    if chosen.explain is not None:
        from reference import explain

        sys.stdout.write(explain(chosen.explain))
        return Path()
    if chosen.verify:
        return verify_run(chosen.run or run_of(chosen.experiment))
    if chosen.experiment is None:
        Parser(prog="python -m pipeline").error(
            f"give the experiment file; {list_experiments(Path())}"
        )
    folder = chosen.run or run_of(chosen.experiment)
    is_chosen = chosen.run is not None
    run_experiment(chosen.experiment, folder, is_plan=chosen.plan, is_chosen=is_chosen)
    return folder


def run_experiment(
    file: Path,
    folder: Path,
    *,
    is_plan: bool,
    is_chosen: bool = False,
    without_stack: bool = False,
) -> StagePlan:
    """Run the stages of an experiment that are not current.

    Args:
        file: The experiment.
        folder: Of its run.
        is_plan: Run nothing; say what would be made.
        is_chosen: The user named the folder.
        without_stack: Another experiment stacks its features.

    Returns:
        The plan of its stages.

    Raises:
        UserError: Something is wrong with the experiment, or a stage did not finish.
    """
    experiment, run = read_experiment(file, folder), Run(folder)
    check_origin(file, folder, is_chosen=is_chosen)
    stages = stages_of(experiment)
    if without_stack:
        stages = [stage for stage in stages if not stage.startswith(STACKING)]
    settings = check_settings(experiment, stages)
    check_order(experiment, settings, run)
    announce(folder.absolute())
    outlook = outlook_before(run, experiment, settings)
    if outlook and not is_plan:
        check_libraries(outlook)
    joining = make_other_features(settings, is_plan=is_plan)
    plan = plan_of(run, experiment, settings, outlook, is_timed=not is_plan)
    log.info("%s", plan.text())
    if is_plan:
        if joining and any(part.left() != (0, False) for part in [*joining, plan]):
            log.info(
                "all %d experiments: %s", len(joining) + 1, cost_of([*joining, plan])
            )
        log.info("%s", PLANNED)
        return plan
    began = time.monotonic()
    for number, stage in enumerate(stages, start=1):
        if stage == PREPARED and outlook is None:  # what stands before made the tables
            outlook = checked(Outlook.of_tables(run, experiment, settings))
            check_libraries(outlook)
            plan = plan_of(run, experiment, settings, outlook)
            log.info("\n%s", plan.text())
        log.info("\n== %d of %d: %s", number, len(stages), stage)
        stage_began = time.monotonic()
        with pipeline_at_work():
            run_stage(stage, file, folder)
        if text := plan.after(stage, time.monotonic() - stage_began):
            log.info("%s", text)
        if stage == PREPARED:
            prepared = run.finished(PREPARED)
            check_data(Outlook.of_prepared(prepared, run, experiment, settings))
    log.info(
        "\n%d stages in %.1f minutes", len(stages), (time.monotonic() - began) / 60
    )
    tell_stale(run, experiment)  # of those that it does not make
    active = [name for name in stages if not getattr(settings[name], "idle_by", "")]
    if not without_stack:
        log_outcome(run, active)
    return plan


def make_other_features(
    settings: Mapping[str, Any], *, is_plan: bool
) -> list[StagePlan]:
    """Run the experiments whose features join the stack, up to these.

    Returns:
        The plan of each.

    Raises:
        UserError: One of them is wrong, or did not finish.
    """
    files, plans = getattr(settings.get(FIT), "also_experiments", []), []
    for number, file in enumerate(files, start=1):
        log.info(
            "\n== %s joins the stack, %d of %d: its features come first",
            file,
            number,
            len(files),
        )
        plan = run_experiment(file, run_of(file), is_plan=is_plan, without_stack=True)
        plans.append(plan)
    if files:
        log.info("\n== the experiment that stacks them")
    return plans


def outlook_before(
    run: Run, experiment: Experiment, settings: Mapping[str, Any]
) -> Outlook | None:
    """Look at the tables before the first stage, and check all settings by them.

    Returns:
        What is known; None: a stage that is still to be made makes the tables.

    Raises:
        UserError: Settings do not fit, or a table is missing or has problems.
    """
    if PREPARED not in settings:
        if not run.has(PREPARED):
            return None
        prepared = run.finished(PREPARED)
        return checked(Outlook.of_prepared(prepared, run, experiment, settings))
    before = {}
    for stage in settings:
        if stage == PREPARED:
            break
        before[stage] = settings[stage]
    standings = standings_of(before, experiment, run)
    if not all(standing.is_current for standing in standings):
        return None
    return checked(Outlook.of_tables(run, experiment, settings))


def checked(outlook: Outlook) -> Outlook:
    """Check the settings of all stages by the tables, and give what is known back.

    Raises:
        UserError: Those of a stage do not fit.
    """
    check_data(outlook)
    return outlook


def plan_of(
    run: Run,
    experiment: Experiment,
    settings: Mapping[str, Any],
    outlook: Outlook | None,
    *,
    is_timed: bool = True,
) -> StagePlan:
    """Plan the stages: what is to be made, why, and how long it takes here.

    Networks are timed only if one is to work: torch need not be loaded for a run that
    is finished.

    Args:
        run: The folder of the stages.
        experiment: What the user wrote.
        settings: Of the stages, in their order.
        outlook: What is known before the first stage; None: nothing.
        is_timed: Time the networks; else those are only timed that nobody has counted.
    """
    standings = standings_of(settings, experiment, run)
    threads = [
        settings[standing.stage].threads
        for standing in standings
        if not standing.is_current and hasattr(settings[standing.stage], "precision")
    ]

    plan = StagePlan.of(standings, outlook, speeds_of(threads, is_timed=is_timed))
    if outlook and (lack := lack_of_space(plan, outlook)):
        log.warning("%s", lack)
    if lack := lack_of_memory(plan):
        log.warning("%s", lack)
    return plan


def run_stage(stage: str, experiment: Path, folder: Path) -> None:
    """Run a stage; one of stacking in a process of its own.

    Args:
        stage: Dotted name.
        experiment: File of the experiment.
        folder: Of the run.

    Raises:
        UserError: That one did not finish, for the reason that it has told.
    """
    flags = ["--experiment", str(experiment), "--run", str(folder)]
    if not stage.startswith(STACKING):
        with told_in_keys(settings_class(stage)):
            importlib.import_module(stage).main(flags)
        return
    done = subprocess.run([sys.executable, "-m", stage, *flags], check=False)
    if done.returncode:
        raise UserError(
            f"{stage} did not finish; what was done before it is kept;"
            f" again: python -m {stage} --run {folder}"
        )


if __name__ == "__main__":
    run_command(main)
