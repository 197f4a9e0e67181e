"""What is known before any picture is opened: folders and tables, joined by id.

``data_prep.prepare`` begins with it, and so does the pipeline, which tells what cannot
fit before the first stage runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import UserError
from data_prep.experiment import DataSettings, Experiment
from data_prep.prepared import PREPARED
from data_prep.run_folders.runs import Run

if TYPE_CHECKING:
    import pandas as pd

    from data_prep.pictures.folders import Folders, LeftOut
    from data_prep.tables.user_tables import Tables


@dataclass(frozen=True, kw_only=True)
class Matched:
    """Tables and pictures joined by id, before any picture is opened.

    Attributes:
        rows: A row per picture.
        left_out: Ids without a usable picture.
        n_unknown: Ids of the attribute tables that have no picture.
        pictures: The file of each id.
    """

    rows: "pd.DataFrame"
    left_out: "Sequence[LeftOut]"
    n_unknown: int
    pictures: Mapping[str, Path]


def check_paths(experiment: Experiment, run: Run) -> None:
    """Check that all folders and tables of the experiment are there.

    Raises:
        UserError: One is not; the message says if what it was for is done already.
    """
    data = experiment.data
    if not data.images:
        raise UserError(
            f"{experiment.source}: [data] images is missing; name the folder:"
            ' images = "pictures"'
        )
    needed: dict[str, Sequence[Path | None]] = {
        "train": [data.train],
        "test": [data.test],
        "sample": [data.sample],
        "attributes": data.attributes,
        "sample_weights": [data.sample_weights],
    }
    missing = [("folder", "images", path) for path in data.images if not path.is_dir()]
    missing += [
        ("table", name, path)
        for name, paths in needed.items()
        for path in paths
        if path is not None and not path.is_file()
    ]
    for noun, name, path in missing:
        message = (
            f"{path}: there is no such {noun} ([data] {name}; paths are relative"
            " to the experiment file)"
        )
        if run.has(PREPARED):
            message += f"; {run.folder / PREPARED} is finished and can be used as it is"
        raise UserError(message)


def scheme_of(cv: str, experiment: Experiment) -> str | None:
    """Give the scheme of the folds; None: nothing is learned from a table.

    Args:
        cv: The scheme of the settings.
        experiment: What is learned, and whether there are groups.

    Raises:
        UserError: The scheme does not fit the groups.
    """
    from data_prep.folds import check_groups

    data = experiment.data
    labels = (data.target, data.date, data.attributes, experiment.tasks)
    if data.train is None or not any(labels):
        return None
    check_groups(cv, data.group)
    return cv


def read_inputs(experiment: Experiment) -> "tuple[Folders, Tables]":
    """Search the folders and read the tables; no picture is opened.

    Raises:
        UserError: One is missing or has problems, or names of pictures teach nothing
            to a task of words.
    """
    from data_prep.pictures.folders import search_folders
    from data_prep.tables.user_tables import read_tables

    folders = search_folders(experiment.data.images)
    tables = read_tables(experiment.data)
    _check_words(experiment, tables.attributes, folders.pictures)
    return folders, tables


def match(tables: "Tables", folders: "Folders", data: DataSettings) -> Matched:
    """Join tables and pictures by id.

    Raises:
        UserError: No id of a table has a picture, or some nearly have one.
    """
    from data_prep.matching import match_attributes, match_pictures

    rows, left_out = match_pictures(tables.rows, folders, data)
    n_unknown = match_attributes(tables.attributes, folders, data)
    return Matched(
        rows=rows, left_out=left_out, n_unknown=n_unknown, pictures=folders.pictures
    )


def has_word_vectors(attributes: "pd.DataFrame") -> bool:
    """Tell whether vectors can be learned from the names of the pictures."""
    from data_prep.tables.words import why_no_vectors

    return len(attributes) > 0 and why_no_vectors(attributes) is None


def metadata_of_tables(
    *,
    side_px: int,
    word_dimensions: int,
    data: DataSettings,
    cv: str | None,
    tables: "Tables",
    classes: Sequence[Any] | None,
    has_words: bool,
) -> dict[str, Any]:
    """Record what settings and tables tell, before or after any picture is opened.

    Args:
        side_px: Side of the stored pictures.
        word_dimensions: Of the word vectors, if there are any.
        data: Where the tables lie and what their columns are called.
        cv: The scheme; None: no folds.
        tables: The tables.
        classes: Of the target, in order; None: it has none.
        has_words: Vectors are learned from the attributes.

    Returns:
        JSON values, a part of the metadata of ``data_prep.prepare``.
    """
    from data_prep.folds import parse_scheme

    return {
        "side": side_px,
        "cv": cv,
        "n_folds": parse_scheme(cv)[1] if cv else 0,
        "classes": classes,
        "target_kind": tables.target_kind,
        "has_group": tables.has_group,
        "words": word_dimensions if has_words else 0,
        "id_column": data.id,
        "target_column": data.target,
        "group_column": data.group,
        "date_column": data.date,
    }


def _check_words(
    experiment: Experiment, attributes: "pd.DataFrame", pictures: Mapping[str, Path]
) -> None:
    """Refuse a task of words where the names can teach none.

    Raises:
        UserError: There is a task of words, and names of pictures never go together,
            or are the same for all.
    """
    from data_prep.tables.words import why_no_vectors

    of_words = [
        (name, task.name)
        for name, task in experiment.tasks.items()
        if task.needs_attributes
    ]
    if not of_words or not experiment.data.attributes:
        return
    reason = why_no_vectors(attributes[attributes["id"].isin(list(pictures))])
    if reason:
        name, task_kind = of_words[0]
        raise UserError(
            f"[tasks.{name}] kind = {task_kind!r}, but of [data] attributes {reason};"
            " take the task out, or give several names to a picture, a row each"
        )
