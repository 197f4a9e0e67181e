"""The tables of tasks and stages of a proposal: what is learned, and how long."""

import re
from collections.abc import Iterator

from data_prep.effort import NETWORKS, has_gpu
from data_prep.experiment import TAKEN_NAMES
from data_prep.first_look.columns import Column
from data_prep.first_look.data_section import has_own_tasks, is_graded
from data_prep.first_look.proposal import Entry, Section
from data_prep.first_look.schedule import Load, Schedule, batch_size
from data_prep.first_look.seen import Seen
from data_prep.processes import n_cores

NOT_A_NAME = re.compile(r"[^A-Za-z0-9]+")
WITHOUT_LABELS = ("data_prep.prepare", "pretext.jigsaw", "features.extract")


def training_sections(seen: Seen, chosen: Schedule, load: Load) -> list[Section]:
    """Propose the tables beside ``[data]``.

    Args:
        seen: What there is.
        chosen: Side, network and epochs.
        load: What is to go through the nets.
    """
    sections = list(_tasks(seen)) if has_own_tasks(seen) else []
    sections += [
        Section(name="data_prep.prepare", entries=list(_prepare(seen, chosen))),
        Section(
            name="pretext.jigsaw",
            entries=list(
                _pretext(chosen, load.n_pictures, has_labels=load.n_labelled > 0)
            ),
        ),
    ]
    if not seen.n_labelled:
        reason = "no label: features of the pretext, by which features.similar compares"
        source = Entry(key="source", value="pretext.jigsaw", reason=reason)
        stages = Entry(key="stages", value=WITHOUT_LABELS, reason="without labels")
        reason = "mirrored, not turned: the puzzles are not turned either"
        views = Entry(key="views", value="flip", reason=reason)
        extract = Section(name="features.extract", entries=[source, views])
        return [Section(name="pipeline", entries=[stages]), *sections, extract]
    entries = list(_transfer(seen, chosen, load.rows_of_net))
    return [*sections, Section(name="transfer.finetune", entries=entries)]


def _tasks(seen: Seen) -> Iterator[Section]:
    """List all sub-tasks: the usual ones, and classes of further columns."""
    columns, target = seen.columns, seen.columns.target
    is_number = columns.target_kind == "numeric"
    as_classes = is_graded(seen) and _is_repeated(target)
    if is_graded(seen):
        yield _graded_target(as_classes=as_classes)
    elif is_number:
        yield _task("target", "regression", "the target as a number")
    if target and (not is_number or as_classes):
        yield _task("onehot", "classes", "each value of the target as a class")
    if columns.date:
        yield _task("date", "date", f"column {columns.date.name}")
    taken = {"target", "onehot", "date", "words", *TAKEN_NAMES}
    for column in columns.classes:
        name = NOT_A_NAME.sub("_", column.name).strip("_")
        name = name if name and name[0].isalpha() else f"column_{name}".rstrip("_")
        while name in taken:
            name += "_2"
        taken.add(name)
        reason = (
            f"{column.n_values} words, {column.n_frequent} of them frequent: learned"
            " beside the target, which often helps it; never an input"
        )
        entries = [
            Entry(key="kind", value="classes", reason=reason),
            Entry(key="column", value=column.name),
        ]
        yield Section(name=f"tasks.{name}", entries=entries)
    if seen.has_words:
        yield _task("words", "words", "names that go together lie close, as vectors")


def _is_repeated(target: Column | None) -> bool:
    """Tell whether each value has several rows: a class needs one beside a fold."""
    return target is not None and target.n_shared == target.n_values


def _graded_target(*, as_classes: bool) -> Section:
    """Learn a number of few values as bins, by what docs/results.md measured.

    Args:
        as_classes: Its values are learned as classes, too; else the reason why not.
    """
    kind_reason = "the target as a number"
    if not as_classes:
        kind_reason += "; not as classes too, as one of its values has a single row"
    reason = "of few values: bins around each, which beat a distance to the value"
    entries = [
        Entry(key="kind", value="regression", reason=kind_reason),
        Entry(key="loss", value="histogram", reason=reason),
        Entry(key="weight", value=0.3, reason="its loss begins three times as high"),
    ]
    return Section(name="tasks.target", entries=entries)


def _task(name: str, kind: str, reason: str) -> Section:
    entry = Entry(key="kind", value=kind, reason=reason)
    return Section(name=f"tasks.{name}", entries=[entry])


def _prepare(seen: Seen, chosen: Schedule) -> Iterator[Entry]:
    headers = seen.headers
    size = f" of about {headers.short_px} x {headers.long_px} px" if headers else ""
    reason = (
        f"pictures{size}, and what the time allows; larger shows more, and is slower"
    )
    yield Entry(key="side", value=chosen.side_px, reason=reason)
    if headers and not headers.is_square:
        narrow, wide = headers.shapes
        fit, reason = "squash", "all have nearly one shape: stretched to squares"
        if not headers.is_one_shape:
            fit = "pad"
            reason = f"width to height from {narrow:.2f} to {wide:.2f}: edges repeated"
        yield Entry(key="fit", value=fit, reason=reason)
    if not seen.n_labelled:
        return
    kept = [
        column.name for column in (seen.columns.group, seen.columns.object) if column
    ]
    reason = "three folds, equal shares of the target"
    reason += f", {' and '.join(kept)} kept together" if kept else "; no groups"
    yield Entry(key="cv", value="sgkfold3" if kept else "skfold3", reason=reason)
    for table in seen.roles.folds:
        counts = f"{len(set(table.ids)):,} pictures"
        reason = f"folds of your own, for {counts}; to use them in place of cv:"
        yield Entry(key="folds", value=table.path, reason=reason, is_offered=True)


def _pretext(chosen: Schedule, n_pictures: int, *, has_labels: bool) -> Iterator[Entry]:
    million = NETWORKS[chosen.backbone][2]
    reason = f"{million:.2g} million weights: the largest that can learn in the time"
    yield Entry(key="backbone", value=chosen.backbone, reason=reason)
    yield from _batch("pretext", n_pictures)
    reason = "" if has_labels else _duration(chosen)
    yield Entry(key="epochs", value=chosen.pretext_epochs, reason=reason)


def _transfer(seen: Seen, chosen: Schedule, rows_of_net: int) -> Iterator[Entry]:
    columns = seen.columns
    is_several = columns.target_kind == "numeric" or columns.date or seen.has_words
    if is_several or has_own_tasks(seen):
        reason = "a net for all tasks and not one for each: quicker, and mostly better"
        yield Entry(key="joint", value=True, reason=reason)
    yield from _batch("transfer", rows_of_net)
    yield Entry(key="epochs", value=chosen.epochs, reason=_duration(chosen))


def _duration(chosen: Schedule) -> str:
    """Say how long all stages will take, and on what."""
    cores = n_cores()
    machine = "a GPU" if has_gpu() else f"{cores} core{'s' * (cores > 1)}"
    machine_text = f"on this machine ({machine}, idle)"
    return f"about {chosen.time_text} for all stages {machine_text}"


def _batch(stage: str, n_rows: int) -> Iterator[Entry]:
    size = batch_size(stage, n_rows)
    if size != batch_size(stage, 1_000_000):
        reason = f"{n_rows:,} pictures would give an epoch few steps otherwise"
        yield Entry(key="batch_size", value=size, reason=reason)
