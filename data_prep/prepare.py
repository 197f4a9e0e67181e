"""Check the pictures and tables, and store them for all later stages.

    python -m data_prep.prepare --experiment experiments/leaves.toml

Reads the folders and tables of ``[data]``; writes ``data_prep.prepare/``: table.parquet
(a row per usable picture), images.npy (its pixels), words.parquet and
attributes.parquet (if there are attributes), left_out.csv, report.html, sample.csv (or
test_ids.csv if there is a test table and no sample), and in logs/ the witness by which
a change of a picture is noticed.

Folds are made here, once; every stage that sees a label obeys them. Only rows of the
training table that have something to be learned are dealt to folds: a folder of
pictures alone is prepared without.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from data_prep.command import open_command, run_command
from data_prep.errors import UserError
from data_prep.experiment import DataSettings
from data_prep.prepared import TABLE
from data_prep.run_folders.runs import KEY, Stage
from data_prep.settings import NOT_HASHED, recorded

if TYPE_CHECKING:
    import pandas as pd

    from data_prep.inputs import Matched
    from data_prep.tables.user_tables import Tables

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
    placeholders: Annotated[
        Literal["keep", "leave_out"],
        "one picture under many ids, such as 'no photograph yet': keep it in one fold,"
        " or leave all its ids out",
    ] = "keep"
    workers: Annotated[int, "processes that decode; 0: all cores", NOT_HASHED] = 0

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
    from data_prep.inputs import check_places, match, read_inputs, scheme_of
    from data_prep.sources import current, source_digests, take_up

    data = experiment.data
    check_places(experiment, run)
    cv = scheme_of(settings.cv, experiment)
    folders, tables = read_inputs(experiment)
    key = recorded(settings) | {
        "data": _named(data),
        "source": source_digests(data, folders),
        "has_folds": cv is not None,
    }
    if settings.placeholders == "keep":
        del key["placeholders"]  # what was prepared before there was the key is current
    if done := current(run, key, folders.pictures):
        return done.folder
    matched = match(tables, folders, data)
    with take_up(run, key).stage(STAGE, key) as stage:
        _prepare(stage, settings, data, cv, matched, tables, run.folder.name)
    log.info("written: %s", run.folder / STAGE)
    return run.folder / STAGE


def _prepare(
    stage: Stage,
    settings: PrepareSettings,
    data: DataSettings,
    cv: str | None,
    matched: "Matched",
    tables: "Tables",
    title: str,
) -> None:
    """Make all files of the stage, the report last."""
    import numpy as np
    import pandas as pd

    from data_prep.pictures.copies import repeats
    from data_prep.pictures.images import (
        JOURNAL,
        channel_statistics,
        keep_rows,
        store_pictures,
    )
    from data_prep.pictures.notes import summarise
    from data_prep.reporting.overview import Prepared, describe, write_overview
    from data_prep.rows import (
        COLUMNS,
        check_groups,
        check_what_is_left,
        keep_readable,
        leave_out_placeholders,
        with_classes,
        with_folds,
    )
    from data_prep.run_folders.witness import Read, write_witnesses
    from data_prep.sources import WITNESSES
    from data_prep.tables.user_tables import GIVEN
    from data_prep.tables.words import notes_on_names, untaught, word_vectors

    rows, pictures = matched.rows, matched.pictures
    if cv:
        check_groups(cv, rows)
    store = stage.folder / "images.npy"
    journal, kept = store.with_suffix(JOURNAL), stage.folder / "kept.npy"
    _clear(stage.folder, but=(store, journal))
    decoded = store_pictures(
        [pictures[id_] for id_ in rows["id"]],
        store,
        settings.side,
        settings.fit,
        settings.workers,
    )
    files = {
        id_: Read(one.witness, one.sha256)
        for id_, one in zip(rows["id"], decoded, strict=True)
    }
    write_witnesses(stage.folder / WITNESSES, files)
    rows, unreadable = keep_readable(rows, decoded, pictures)
    left_out = [*matched.left_out, *unreadable]
    listed = repeats(rows, pictures, has_group=tables.has_group)
    if settings.placeholders == "leave_out":
        rows, empty = leave_out_placeholders(rows, listed, pictures)
        left_out += empty
        listed = [repeat for repeat in listed if not repeat.is_placeholder]
        if empty:
            keep_rows(store, kept, rows["image_row"].tolist())
            rows = rows.assign(image_row=np.arange(len(rows), dtype=np.int64))
    check_what_is_left(rows, left_out, data)
    rows, classes = with_classes(rows, tables.target_kind)
    rows = with_folds(
        rows, cv, has_group=tables.has_group, seed=settings.seed, listed=listed
    )
    attributes = tables.attributes[tables.attributes["id"].isin(rows["id"])]

    attributes.to_parquet(stage.folder / "attributes.parquet", index=False)
    has_words = len(attributes) > 0 and untaught(attributes) is None
    if has_words:
        vectors = word_vectors(attributes, settings.word_dimensions, settings.seed)
        vectors.to_parquet(stage.folder / "words.parquet", index=False)
    ours = [name for name in COLUMNS if name in rows]
    given = [name for name in rows.columns if name.startswith(GIVEN)]
    table = rows[[*ours, *given]]
    table.to_parquet(stage.folder / TABLE, index=False)
    gone = pd.DataFrame(map(vars, left_out), columns=["id", "file", "reason"])
    gone.to_csv(stage.folder / "left_out.csv", index=False)
    if tables.sample:
        _copy_sample(tables.sample, stage.folder / "sample.csv", data.id)
    elif data.test:  # in its order, also those without a picture
        tested = tables.rows.loc[tables.rows["split"] == "test", ["id"]]
        tested.to_csv(stage.folder / "test_ids.csv", index=False)
    stage.metadata = _facts(rows, classes, cv, tables, settings, data)
    stage.metadata["counts"]["left_out"] = len(left_out)
    placeholders = [repeat for repeat in listed if repeat.is_placeholder]
    stage.metadata["placeholders"] = [[one.file, len(one.ids)] for one in placeholders]
    images = np.load(kept if kept.exists() else store, mmap_mode="r")
    stage.metadata["mean"], stage.metadata["std"] = channel_statistics(images)
    stage.metadata["words"] = settings.word_dimensions if has_words else 0
    prepared = Prepared(
        rows=rows,
        metadata=stage.metadata,
        left_out=left_out,
        attributes=attributes,
        n_unknown=matched.n_unknown,
        placeholders=placeholders,
        notes=[
            *tables.notes,
            *notes_on_names(attributes),
            *summarise([file.notes for file in decoded if not file.reason]),
        ],
    )
    log.info("%s", describe(prepared))
    write_overview(stage.folder / "report.html", prepared, images, title)
    journal.unlink()  # last: until here a rerun need not decode
    if kept.exists():
        kept.replace(store)


def _clear(folder: Path, but: Sequence[Path]) -> None:
    """Remove what an earlier attempt made after the pixels: it is made anew."""
    for path in folder.iterdir():
        if path.is_file() and path not in but and path.name != KEY:
            path.unlink()


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
    from data_prep.pictures.copies import copies

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
            split: int((rows["split"] == split).sum())
            for split in ("train", "test", "unlabelled")
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
    for name in ("sample_weights", "target_kind"):
        if named[name] is None:
            del named[name]  # what was prepared before there was the key stays current
    return named


def _copy_sample(sample: Path, target: Path, id_column: str) -> None:
    if sample.suffix.lower() not in (".parquet", ".pq"):
        shutil.copyfile(sample, target)
        return
    from data_prep.tables.cells import as_ids, read_table

    table = read_table(sample)
    ids = as_ids(table[id_column])  # 7 of a column of floats is not to become 7.0
    table.assign(**{id_column: ids}).to_csv(target, index=False)


if __name__ == "__main__":
    run_command(main)
