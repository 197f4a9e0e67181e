"""What settings and tables alone decide of the stack, before any stage runs.

Each rule stands where the stack itself obeys it; here it is checked in time. What needs
the stores (roles, folds, finite values) is refused by ``stacking.inputs.leak_guards``
later.
"""

from importlib.util import find_spec

import numpy as np

from data_prep.deals import table_of_deal
from data_prep.errors import UserError
from data_prep.folds import ALL, MIN_ROWS, TRAIN_FROM
from data_prep.new_columns import SIZES
from data_prep.outlook import Outlook
from data_prep.prepared import PREPARED, TABLE
from data_prep.run_folders.runs import Run
from data_prep.schemes import count_deals, is_in_time, parse_scheme
from data_prep.user_columns import UserColumns, check_roles
from features.settings import FINETUNED
from stacking.ensemble.objective import Objective
from stacking.ensemble.postprocessors import choose_postprocessors
from stacking.inputs import leak_guards
from stacking.inputs.data import Column
from stacking.inputs.object_pooling import check_statistics
from stacking.inputs.other_runs import (
    check_folds_to_come,
    folders_of,
    is_extracted,
    other_runs,
)
from stacking.inputs.sources import EXTRACTED
from stacking.inputs.target_columns import TargetColumns
from stacking.models.registry import STACKERS
from stacking.settings import FitSettings


def check_fit(settings: FitSettings, outlook: Outlook) -> None:
    """Check what the tables and the other stages decide.

    Args:
        settings: Of the stack.
        outlook: The rows, and the stages before it.

    Raises:
        UserError: A setting does not fit them.
    """
    if outlook.metadata.get("target_kind") is None:
        raise UserError(
            "there is no target to predict; name its column in [data] target, then:"
            " python -m data_prep.prepare --experiment FILE"
        )
    objective = _objective(settings, outlook)
    _check_scheme(settings, outlook)
    _check_enough(settings, outlook)
    _check_extraction(settings, outlook)
    _check_objects(settings, outlook)
    _check_nets(settings, outlook)
    _check_others(settings, outlook)
    names = settings.columns
    if not outlook.prepared:
        names = tuple(name for name in names if name not in SIZES)
    check_roles(names, outlook.metadata)
    UserColumns.learn(outlook.scored(), outlook.predicted(), names)
    _check_postprocess(settings, outlook, objective)
    for name in settings.stackers:
        if name in STACKERS:
            STACKERS[name].check_package()
    if settings.tune and find_spec("optuna") is None:
        raise UserError(
            f"tune = {settings.tune} needs optuna, which is not installed; pip install"
            " optuna, or leave it out"
        )


def _objective(settings: FitSettings, outlook: Outlook) -> Objective:
    is_number = outlook.metadata.get("target_kind") == "numeric"
    classes = outlook.metadata.get("classes") or [] if is_number else []
    return Objective.named(
        settings.metric, list(map(float, classes)), is_number=is_number
    )


def _is_label_free(settings: FitSettings, outlook: Outlook) -> bool | None:
    """Tell whether all features come from nets without labels; None: not known."""
    source = outlook.setting(EXTRACTED, "source")
    if source == FINETUNED:
        return False
    return None if source is None or settings.also else True


def _check_scheme(settings: FitSettings, outlook: Outlook) -> None:
    is_label_free = _is_label_free(settings, outlook)
    if is_label_free is None:
        return
    stored = outlook.metadata["cv"] or ""
    leak_guards.check_protocol(
        settings.protocol,
        is_label_free=is_label_free,
        in_time=is_in_time(stored) or TRAIN_FROM in outlook.table,
    )
    if leak_guards.check_scheme(settings.cv, stored, is_label_free=is_label_free):
        leak_guards.check_groups(
            settings.cv, has_group=bool(outlook.metadata["has_group"])
        )


def _check_enough(settings: FitSettings, outlook: Outlook) -> None:
    """Check that rows and groups can fill the folds, however they are assigned."""
    rows = outlook.scored()
    n_rows = outlook.n_predictable(rows)
    if n_rows < MIN_ROWS:
        noun = "objects" if "object" in rows else "rows"
        raise UserError(
            f"{n_rows} {noun} have a target and a fold; give {MIN_ROWS} or more in the"
            " table of [data] train"
        )
    cv = settings.cv or outlook.metadata["cv"]
    n_folds, n_groups = outlook.metadata["n_folds"], outlook.n_groups(rows)
    n_folds //= count_deals(outlook.metadata["cv"])
    if settings.cv not in ("", outlook.metadata["cv"]):
        n_folds = parse_scheme(settings.cv)[1]
    if n_groups < 2 * n_folds:
        noun = "rows" if n_groups == n_rows else "groups"
        if "object" in rows and n_groups == n_rows:
            noun = "objects"
        raise UserError(
            f"cv = {cv!r}: {n_groups} {noun} leave a fold with one, whose score would"
            f" tell how that one fares, and no more; give {2 * n_folds} {noun} or more:"
            " name a finer column in [data] group, or fewer folds in"
            f" {'cv' if settings.cv else '[data_prep.prepare] cv'}"
        )
    if outlook.prepared and cv == outlook.metadata["cv"]:
        path = outlook.prepared / TABLE
        rows = rows.drop_duplicates("object") if "object" in rows else rows
        cv_groups = rows["cv_group"].to_numpy()
        for deal in range(count_deals(cv)):
            folds = table_of_deal(rows, deal)["fold"].to_numpy()
            leak_guards.check_enough(folds, cv_groups, path)


def _check_extraction(settings: FitSettings, outlook: Outlook) -> None:
    """Check that the extraction to come is one that can be stacked."""
    if EXTRACTED not in outlook.settings:
        return
    extraction = outlook.settings[EXTRACTED]
    if extraction.layer:
        raise UserError(
            f"[{EXTRACTED}] layer = {extraction.layer[0]!r}: inner layers, of which no"
            " two nets share a space, are not stacked; leave layer out"
        )
    if settings.protocol == "insample" and not extraction.insample:
        raise UserError(
            "protocol = 'insample' needs the outputs of the nets on the rows that they"
            f" were trained on; set insample = true in [{EXTRACTED}]"
        )
    pretext = outlook.settings.get(extraction.source)
    if getattr(pretext, "keep", "last") == "best-probe":
        raise UserError(
            f"[{extraction.source}] keep = 'best-probe': a probe of the labels chooses"
            " the epoch of the backbone, so every score of its features would be too"
            " good; set keep = 'last'"
        )


def _check_objects(settings: FitSettings, outlook: Outlook) -> None:
    """Check that what is asked for can be had of objects of several pictures."""
    if "object" not in outlook.table:
        return
    has_column = outlook.metadata.get("object_column")
    reason = "[data] object" if has_column else "page = 'all' of [data_prep.prepare]"
    for name in settings.stackers_of_views:
        raise UserError(
            f"stackers = {name!r} reads the views of one picture, and {reason}"
            " makes a row of several; leave it out"
        )
    columns = [
        Column(name=f"TASK__{name}", task="TASK", output="", statistic=name)
        for name in outlook.setting(EXTRACTED, "statistics") or ()
    ]
    check_statistics(columns)


def _check_nets(settings: FitSettings, outlook: Outlook) -> None:
    """Check that the nets are trained that are to predict."""
    source, finetuned = outlook.setting(EXTRACTED, "source"), FINETUNED
    folds = outlook.setting(finetuned, "folds")
    if source is not None:
        has_all = source == finetuned and (
            outlook.setting(finetuned, "all") or ALL in (folds or ())
        )
        leak_guards.check_net_of_all(settings.test_nets, is_there=bool(has_all))
    if source != finetuned or finetuned not in outlook.settings or not folds:
        return
    missing = [
        str(k) for k in range(outlook.metadata["n_folds"]) if str(k) not in folds
    ]
    if missing:
        raise UserError(
            f"[{finetuned}] folds = {','.join(folds)}: no net holds out fold"
            f" {', '.join(missing)}, whose rows are to be stacked; leave folds out"
        )


def _check_others(settings: FitSettings, outlook: Outlook) -> None:
    """Check that other runs are there, and assign the same rows to the same folds."""
    # what the pipeline makes before the stack is checked once it is there
    files = settings.also_experiments
    folders = folders_of(settings.also, outlook.run)
    also = [path for path in folders if path not in files or is_extracted(path)]
    if preparation := outlook.settings.get(PREPARED):
        for file in files:
            check_folds_to_come(file, preparation, outlook.experiment.data)
    for name, extracted in other_runs(also, outlook.run).items():
        if not outlook.prepared:
            continue
        other_run = Run(extracted.folder.parent)
        has_folds = extracted.record["settings"].get("source") == FINETUNED
        if not has_folds or not other_run.has(PREPARED):
            continue
        metadata = other_run.finished(PREPARED, check_inputs=False).metadata
        if metadata["fold_hash"] != outlook.metadata["fold_hash"]:
            raise UserError(
                f"also: the run {name!r} has other folds than this one, so its nets saw"
                " labels that are held out here; prepare both from the same tables,"
                " with the same cv and seed"
            )


def _check_postprocess(
    settings: FitSettings, outlook: Outlook, objective: Objective
) -> None:
    """Check that what the post-processing needs will be among the nets' outputs."""
    source = outlook.setting(EXTRACTED, "source")
    if not settings.postprocess or source is None:
        return
    tasks = []
    if source == FINETUNED:
        if FINETUNED not in outlook.settings:
            return  # its nets are there, and their columns say it better
        tasks = outlook.tasks(outlook.settings[FINETUNED].tasks)
    columns = [
        Column(
            name=f"{name}__{statistic}",
            task=task.name,
            output=output,
            statistic=statistic,
        )
        for task in tasks
        for name, output in zip(task.columns, task.outputs, strict=True)
        for statistic in outlook.setting(EXTRACTED, "statistics")
    ]
    experiment = outlook.experiment
    target_columns = TargetColumns.find(
        tuple(columns),
        tuple(map(str, outlook.metadata.get("classes") or [])),
        (0.0, 1.0) if objective.is_number else None,
        tasks=experiment.tasks,
        target_column=experiment.data.target,
    )
    values = np.zeros((1, len(columns)))
    choose_postprocessors(
        settings.postprocess, target_columns.net_pred(values), objective
    )
