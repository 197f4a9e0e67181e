"""Check the pictures and tables, and store them for all later stages.

    python -m data_prep.prepare --experiment experiments/leaves.toml

Reads the folders and tables of ``[data]``; writes ``data_prep.prepare/``: table.parquet
(a row per usable picture), images.npy (its pixels), words.parquet and
attributes.parquet (if there are attributes), left_out.csv, sample.csv, report.html.

Folds are made here, once; every stage that sees a label obeys them. Only rows of the
training table that have something to be learned are dealt to folds: a folder of
pictures alone is prepared without.
"""

import hashlib
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from data_prep.command import open_command, run_command
from data_prep.errors import UserError
from data_prep.experiment import DataSettings, Experiment
from data_prep.runs import Run, Stage, digest_of
from data_prep.settings import NEUTRAL, recorded

if TYPE_CHECKING:
    import pandas as pd

    from data_prep.tables import Tables

STAGE = "data_prep.prepare"
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """Check the pictures and tables, store the pixels, and assign the folds.

    python -m data_prep.prepare --experiment experiments/demo.toml
    """

    side: Annotated[int, "side of the stored pictures, px"] = 128
    fit: Annotated[
        Literal["pad", "squash"],
        "how a picture becomes square: edges repeated, or stretched",
    ] = "pad"
    cv: Annotated[
        str,
        "[s][g]kfoldN: s equal shares of the target, g groups kept together, N folds",
    ] = "sgkfold3"
    seed: Annotated[int, "seed of the folds and the word vectors"] = 0
    word_dimensions: Annotated[int, "length of the word vectors"] = 20
    workers: Annotated[int, "processes that decode; 0: all cores", NEUTRAL] = 0

    def __post_init__(self) -> None:
        """Check what can be checked without data."""
        from data_prep.folds import parse_scheme

        parse_scheme(self.cv)
        if not 16 <= self.side <= 2048:
            raise UserError(f"side = {self.side}: give 16 to 2048 px")
        if self.seed < 0:
            raise UserError(f"seed = {self.seed}: give 0 or more")
        if self.word_dimensions < 1:
            raise UserError(f"word_dimensions = {self.word_dimensions}: give 1 or more")
        if self.workers < 0:
            raise UserError(f"workers = {self.workers}: give 0 or more")


def main(argv: Sequence[str] | None = None) -> Path:
    """Prepare as the command line says, and return the folder of the stage."""
    settings, run, experiment = open_command(PrepareSettings, STAGE, argv)
    from data_prep.folds import check_scheme, is_grouped
    from data_prep.images import find_pictures
    from data_prep.tables import read_tables

    data = experiment.data
    check_places(data, run)
    cv = settings.cv if is_learned(experiment) else None
    if cv:
        check_scheme(cv, has_group=data.group is not None)
        if data.group is not None and not is_grouped(cv):
            grouped = cv.replace("kfold", "gkfold")
            raise UserError(
                f"cv = {cv!r} would tear the groups of column {data.group!r} apart;"
                f" set cv = {grouped!r} in [data_prep.prepare], or take group out of"
                " [data]"
            )
    pictures = find_pictures(data.images)
    tables = read_tables(data)
    check_words(experiment, tables.attributes, pictures)
    key = recorded(settings) | {
        "data": _named(data),
        "source": source_digest(data, pictures),
        "has_folds": cv is not None,
    }
    if done := run.current(STAGE, key):
        return done.folder
    with run.stage(STAGE, key) as stage:
        _prepare(stage, settings, data, cv, pictures, tables, run.folder.name)
    log.info("written: %s", run.folder / STAGE)
    return run.folder / STAGE


def check_places(data: DataSettings, run: Run) -> None:
    """Check that all folders and tables of the experiment are there.

    Raises:
        UserError: One is not; the message says if what it was for is done already.
    """
    asked: dict[str, Sequence[Path | None]] = {
        "images": [path for path in data.images if not path.is_dir()],
        "train": [data.train],
        "test": [data.test],
        "sample": [data.sample],
        "attributes": data.attributes,
        "doubts": [data.doubts],
    }
    for name, paths in asked.items():
        for path in paths:
            if path is None or path.is_file():
                continue
            kind = "folder" if name == "images" else "table"
            message = (
                f"{path}: there is no such {kind} ([data] {name}; paths are relative"
                " to the experiment file)"
            )
            if run.has(STAGE):
                message += (
                    f"; {run.folder / STAGE} is finished and can be used as it is"
                )
            raise UserError(message)


def is_learned(experiment: Experiment) -> bool:
    """Tell whether the training table says anything to be learned."""
    data = experiment.data
    labels = (data.target, data.date, data.attributes, experiment.tasks)
    return data.train is not None and any(labels)


def check_words(
    experiment: Experiment, attributes: "pd.DataFrame", pictures: Mapping[str, Path]
) -> None:
    """Refuse a task of words where the names can teach none.

    Raises:
        UserError: A task of that kind is asked for, and names of pictures never go
            together, or are the same for all.
    """
    from data_prep.words import untaught

    asked = [name for name, task in experiment.tasks.items() if task.kind == "words"]
    if not asked or not experiment.data.attributes:
        return
    reason = untaught(attributes[attributes["id"].isin(list(pictures))])
    if reason:
        raise UserError(
            f"[tasks.{asked[0]}] kind = 'words', but of [data] attributes {reason};"
            " take the task out, or give several names to a picture, a row each"
        )


def source_digest(data: DataSettings, pictures: Mapping[str, Path]) -> str:
    """Hash all that is read: the tables' bytes, the pictures' names and their ends."""
    from data_prep.images import cheap_digest

    tables = [data.train, data.test, data.sample, *data.attributes]
    tables += [data.doubts] if data.doubts else []
    return digest_of(
        {
            "tables": [
                hashlib.sha256(path.read_bytes()).hexdigest() if path else None
                for path in tables
            ],
            "pictures": [
                [id_, path.name, cheap_digest(path)] for id_, path in pictures.items()
            ],
        }
    )


def _prepare(
    stage: Stage,
    settings: PrepareSettings,
    data: DataSettings,
    cv: str | None,
    pictures: Mapping[str, Path],
    tables: "Tables",
    title: str,
) -> None:
    """Make all files of the stage, the report last."""
    import numpy as np
    import pandas as pd

    from data_prep.images import JOURNAL, channel_statistics, store_pictures
    from data_prep.overview import Prepared, describe, write_overview
    from data_prep.rows import (
        COLUMNS,
        check_groups,
        check_what_is_left,
        keep_readable,
        match_pictures,
        with_classes,
        with_folds,
    )
    from data_prep.tables import GIVEN
    from data_prep.words import notes_on_names, untaught, word_vectors

    rows, left_out = match_pictures(tables.rows, pictures, data)
    is_known = tables.attributes["id"].isin(list(pictures))
    n_unknown = tables.attributes["id"][~is_known].nunique()
    if n_unknown and not is_known.any():
        raise UserError(
            f"{data.attributes[0]}: none of its {n_unknown:,} ids has a picture;"
            f" an id is {tables.attributes['id'].iloc[0]!r}"
        )
    if cv:
        check_groups(cv, rows)
    store = stage.folder / "images.npy"
    decoded = store_pictures(
        [pictures[id_] for id_ in rows["id"]],
        store,
        settings.side,
        settings.fit,
        settings.workers,
    )
    rows, unreadable = keep_readable(rows, decoded, pictures)
    left_out += unreadable
    check_what_is_left(rows, left_out, data)
    rows, classes = with_classes(rows, tables.target_kind)
    rows = with_folds(rows, cv, has_group=tables.has_group, seed=settings.seed)
    attributes = tables.attributes[tables.attributes["id"].isin(rows["id"])]

    attributes.to_parquet(stage.folder / "attributes.parquet", index=False)
    has_words = len(attributes) > 0 and untaught(attributes) is None
    if has_words:
        vectors = word_vectors(attributes, settings.word_dimensions, settings.seed)
        vectors.to_parquet(stage.folder / "words.parquet", index=False)
    ours = [name for name in COLUMNS if name in rows]
    given = [name for name in rows.columns if name.startswith(GIVEN)]
    table = rows[[*ours, *given]]
    table.to_parquet(stage.folder / "table.parquet", index=False)
    gone = pd.DataFrame(map(vars, left_out), columns=["id", "file", "reason"])
    gone.to_csv(stage.folder / "left_out.csv", index=False)
    if tables.sample:
        _copy_sample(tables.sample, stage.folder / "sample.csv", data.id)
    stage.facts = _facts(rows, classes, cv, tables, settings, data)
    stage.facts["counts"]["left_out"] = len(left_out)
    images = np.load(store, mmap_mode="r")
    stage.facts["mean"], stage.facts["std"] = channel_statistics(images)
    stage.facts["words"] = settings.word_dimensions if has_words else 0
    prepared = Prepared(
        rows=rows,
        facts=stage.facts,
        left_out=left_out,
        attributes=attributes,
        n_unknown=n_unknown,
        notes=[*tables.notes, *notes_on_names(attributes)],
    )
    log.info("%s", describe(prepared))
    write_overview(stage.folder / "report.html", prepared, images, title)
    store.with_suffix(JOURNAL).unlink()  # last: until here a rerun need not decode


def _facts(
    rows: "pd.DataFrame",
    classes: list[Any] | None,
    cv: str | None,
    tables: "Tables",
    settings: PrepareSettings,
    data: DataSettings,
) -> dict[str, Any]:
    """Say what later stages need to know of the rows."""
    from data_prep.folds import fold_hash
    from data_prep.overview import copies

    weights = rows["weight"]
    is_numeric = tables.target_kind == "numeric"
    target = rows["target"] if is_numeric else None
    n_copies, n_crossing = copies(rows)
    return {
        "side": settings.side,
        "fit": settings.fit,
        "cv": cv,
        "n_folds": int(rows["fold"].max()) + 1,
        "fold_hash": fold_hash(rows["id"], rows["fold"]) if cv else None,
        "classes": classes,
        "target_kind": tables.target_kind,
        "target_range": None
        if target is None
        else [float(target.min()), float(target.max())],
        "counts": {
            part: int((rows["part"] == part).sum())
            for part in ("train", "test", "unlabelled")
        },
        "copies": n_copies,
        "copies_of_train_in_test": n_crossing,
        "dropped": int((weights == 0).sum()),
        "softened": int(((weights > 0) & (weights < 1)).sum()),
        "has_group": tables.has_group,
        "id_column": data.id,
        "target_column": data.target,
        "group_column": data.group,
        "date_column": data.date,
    }


def _named(data: DataSettings) -> dict[str, Any]:
    """Name the files and columns without their place, so that a run can be moved."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(part) for part in value]
        return value.name if isinstance(value, Path) else value

    named = {name: plain(value) for name, value in vars(data).items()}
    if data.doubts is None:
        del named["doubts"]  # what was prepared before there was the key stays current
    return named


def _copy_sample(sample: Path, target: Path, id_column: str) -> None:
    if sample.suffix.lower() not in (".parquet", ".pq"):
        shutil.copyfile(sample, target)
        return
    from data_prep.cells import as_ids, read_table

    table = read_table(sample)
    ids = as_ids(table[id_column])  # 7 of a column of floats is not to become 7.0
    table.assign(**{id_column: ids}).to_csv(target, index=False)


if __name__ == "__main__":
    run_command(main)
