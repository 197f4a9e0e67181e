"""Which stages an experiment runs, in which order, and which of a run are stale."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from data_prep.errors import UserError
from data_prep.executor_settings import ExecutorSettings, of_all_stages
from data_prep.experiment import Experiment, commands, settings_class, stage_names
from data_prep.prepared import PREPARED
from data_prep.run_folders import stale
from data_prep.run_folders.damage import RECORD
from data_prep.run_folders.origin import pipeline_command
from data_prep.run_folders.runs import Run
from data_prep.settings import nearest
from data_prep.within_pipeline import is_pipeline_at_work

FINETUNE = "transfer.finetune"
LEARNING = (FINETUNE, "features.extract", "stacking.fit")
JIGSAW, PROBE = "pretext.jigsaw", "pretext.probe"
log = logging.getLogger(__name__)


def stages_of(experiment: Experiment) -> list[str]:
    """List the stages of an experiment, in order.

    Without ``[pipeline] stages`` they are the usual ones; the pretext is the one that
    the transfer begins from.

    Raises:
        UserError: ``[pipeline] stages`` names a stage that is not there, or is left out
            where the pretext of the file would be passed over.
    """
    location = f"{experiment.source} [pipeline]"
    table = experiment.stages.get("pipeline", {})
    of_all_stages(table, location, ExecutorSettings)
    init = experiment.stages.get(FINETUNE, {}).get("init", JIGSAW)
    if "stages" not in table and "init" not in experiment.stages.get(FINETUNE, {}):
        _check_pretexts(experiment)
    pretexts = [init] if init in stage_names() else []
    stages = table.get("stages", [PREPARED, *pretexts, *LEARNING])
    if not isinstance(stages, list):
        raise UserError(f"{location}: stages = {stages!r} is not a list")
    if not stages:
        raise UserError(f"{location}: stages is empty; name some, or leave it out")
    for stage in stages:
        if stage in stage_names():
            continue
        if stage in commands():
            raise UserError(
                f"{location}: {stage} is a command and no stage: it takes flags only;"
                f" stages are {', '.join(stage_names())}"
            )
        hint = nearest(str(stage), stage_names())
        raise UserError(f"{location}: no stage {stage!r}; {hint}")
    return stages


def pretexts_among(stages: Iterable[str]) -> list[str]:
    """Give those of the stages that train a backbone."""
    return [name for name in stages if name.startswith("pretext.") and name != PROBE]


def _check_pretexts(experiment: Experiment) -> None:
    """Refuse a file with settings of another pretext than the one that would be run."""
    tables = pretexts_among(experiment.stages)
    if tables and JIGSAW not in tables:
        raise UserError(
            f"{experiment.source} [{tables[0]}]: it would not be run, as the nets begin"
            f" from {JIGSAW}; set init = {tables[0]!r} in [{FINETUNE}], or name all"
            " stages in [pipeline] stages"
        )


def or_begin_from(stage: str, earlier: str, before: Sequence[str]) -> str:
    """Say what else may be meant where another pretext is made than the one read.

    Args:
        stage: The stage that reads.
        earlier: What it reads, which is not there.
        before: The stages that are run before it.
    """
    pretexts = pretexts_among(before)
    if not pretexts or not pretexts_among([earlier]):
        return ""
    key = "source" if stage.startswith("features.") else "init"
    return f", or set {key} = {pretexts[-1]!r} in [{stage}]"


def stale_stages(run: Run) -> list[str]:
    """List the finished stages of a run that are stale, the first to be made first."""
    names: list[str] = []
    for path in sorted(run.folder.glob(f"*/{RECORD}")):
        with suppress(UserError):  # of what is broken or half there others tell
            names += run.stale_of(path.parent.name)
    return list(dict.fromkeys(names))


def tell_stale(
    run: Run,
    experiment: Experiment,
    stage: str = "",
    flags: Mapping[str, Any] | None = None,
) -> None:
    """Say which stages of a run are stale, if any are, by what, and what to type.

    Args:
        run: The run.
        experiment: What it is of.
        stage: That has just been made: only what is stale by it is told; empty: all is.
        flags: Settings of that stage that the experiment file does not have.
    """
    if is_pipeline_at_work():
        return
    by_name = {
        name: stale.replaced_under(name, lambda earlier: run.recorded(earlier).record)
        for name in stale_stages(run)
    }
    names = [name for name, by in by_name.items() if not stage or stage in by]
    replaced = [stage] if stage else sorted(set().union(*by_name.values()))
    if names:
        log.warning(
            "%s %s stale now, made from an earlier %s; again: %s",
            stale.listed(names),
            "is" if len(names) == 1 else "are",
            stale.listed(replaced),
            _how_to_make(run, experiment, names, stage=stage, flags=flags or {}),
        )


def _how_to_make(
    run: Run,
    experiment: Experiment,
    names: Sequence[str],
    *,
    stage: str,
    flags: Mapping[str, Any],
) -> str:
    """Say what to type: the pipeline, if it makes them, and the stage as it is."""
    by_pipeline, of_pipeline = pipeline_command(run.folder), set[str]()
    with suppress(UserError):  # what is wrong with its list the pipeline tells
        of_pipeline.update(stages_of(experiment))
    if not by_pipeline or not set(names) <= of_pipeline:
        return stale.commands(run.folder, names)
    if not flags or stage not in of_pipeline:
        return by_pipeline
    keys = ", ".join(
        f"{key} = {json.dumps(value, default=str, ensure_ascii=False)}"
        for key, value in flags.items()
    )
    return f"write {keys} under [{stage}] in the experiment file, then: {by_pipeline}"


def check_settings(experiment: Experiment, stages: Sequence[str]) -> dict[str, Any]:
    """Check the settings of all stages before the first one runs, each by itself.

    Tables of stages that will not run are checked too: a mistake there waits for the
    day when they do.

    Returns:
        The settings of the stages that will, by their names.

    Raises:
        UserError: A table has an unknown key or a value that does not fit.
    """
    settings = {}
    tables = [name for name in experiment.stages if name != "pipeline"]
    for stage in dict.fromkeys([*stages, *tables]):
        settings[stage] = experiment.settings_of(stage, settings_class(stage), {})
    return {stage: settings[stage] for stage in stages}


def check_order(experiment: Experiment, settings: Mapping[str, Any], run: Run) -> None:
    """Check that each stage comes after those that it reads.

    Args:
        experiment: For the messages.
        settings: Of the stages, in their order.
        run: Where stages may have finished that are not among them.

    Raises:
        UserError: One is later, makes nothing, or is not among them and neither there
            nor whole and current.
    """
    stages = list(settings)
    for number, stage in enumerate(stages):
        for earlier in getattr(settings[stage], "reads", []):
            location = f"{experiment.source} [pipeline]"
            if earlier == stage:
                raise UserError(
                    f"{experiment.source} [{stage}]: it would begin from itself; name"
                    " another stage"
                )
            if earlier in stages[:number]:
                idle = getattr(settings[earlier], "idle_by", "")
                if idle and not run.has(earlier):
                    raise UserError(
                        f"{experiment.source} [{earlier}]: with {idle} the stage makes"
                        f" nothing that {stage} could read; take it out"
                    )
                continue
            if earlier in stages[number + 1 :]:
                raise UserError(
                    f"{location}: {stage} reads {earlier}, which comes after it; name"
                    f" {earlier} first"
                )
            if not run.has(earlier):
                raise UserError(
                    f"{location}: {stage} reads {earlier}, which is not finished in"
                    f" {run.folder} and not among the stages; name it before {stage}"
                    f"{or_begin_from(stage, earlier, stages[:number])}"
                )
            try:  # nothing makes it anew before it is read
                run.finished(earlier)
            except stale.StaleStageError as error:
                raise UserError(
                    f"{location}: {stage} reads {earlier}, but {error.reason}; name"
                    f" {stale.listed(error.stages)} before {stage}, or first:"
                    f" {stale.commands(run.folder, error.stages)}"
                ) from None
