"""Check the pictures and tables, and store them for all later stages.

    python -m data_prep.prepare --experiment experiments/leaves.toml

Reads the folders and tables of ``[data]``; writes ``data_prep.prepare/``: table.parquet
(a row per usable picture), images.npy (its pixels), words.parquet and
attributes.parquet (if there are attributes), left_out.csv, report.html, sample.csv (or
test_ids.csv if there is a test table and no sample), and in logs/ the witness by which
a change of a picture is noticed.

Folds are made here, once; every stage that sees a label obeys them. Only rows of the
training table that have something to be learned are assigned to folds: a folder of
pictures alone is prepared without.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Le

from data_prep.command import open_command, run_command
from data_prep.experiment import DataSettings
from data_prep.ranges import Ranged
from data_prep.run_folders.runs import MADE_FROM, Stage
from data_prep.settings import NOT_HASHED, recorded

if TYPE_CHECKING:
    import pandas as pd

    from data_prep.inputs import Matched
    from data_prep.pictures.folders import LeftOut
    from data_prep.tables.user_tables import Tables

STAGE = "data_prep.prepare"
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PrepareSettings(Ranged):
    """Check the pictures and tables, store the pixels, and assign the folds.

    python -m data_prep.prepare --experiment experiments/demo.toml
    """

    side: Annotated[int, "side of the stored pictures, px", Ge(16), Le(2048)] = 128
    fit: Annotated[
        Literal["pad", "squash"],
        "how a picture becomes square: edges repeated, or stretched",
    ] = "pad"
    cv: Annotated[
        str,
        "[s][g]kfoldN: s equal shares of the target, g groups kept together, N folds",
    ] = "sgkfold3"
    seed: Annotated[int, "seed of the folds and the word vectors", Ge(0)] = 0
    word_dimensions: Annotated[int, "length of the word vectors", Ge(1)] = 20
    placeholders: Annotated[
        Literal["keep", "leave_out"],
        "one picture under many ids, such as 'no photograph yet': keep it in one fold,"
        " or leave all its ids out",
    ] = "keep"
    workers: Annotated[
        int, "processes that decode; 0: all cores", NOT_HASHED, Ge(0)
    ] = 0

    def __post_init__(self) -> None:
        """Check the ranges and the name of the scheme."""
        super().__post_init__()
        from data_prep.folds import parse_scheme

        parse_scheme(self.cv)


def main(argv: Sequence[str] | None = None) -> Path:
    """Prepare as the command line says, and return the folder of the stage."""
    settings, run, experiment = open_command(PrepareSettings, STAGE, argv)
    from data_prep.inputs import check_paths, match, read_inputs, scheme_of
    from data_prep.sources import current, source_digests, take_up

    data = experiment.data
    check_paths(experiment, run)
    cv = scheme_of(settings.cv, experiment)
    folders, tables = read_inputs(experiment)
    made_from = recorded(settings) | {
        "data": _named(data),
        "source": source_digests(data, folders),
        "has_folds": cv is not None,
    }
    if settings.placeholders == "keep":
        # What was prepared before there was the setting is current.
        del made_from["placeholders"]
    if done := current(run, made_from, folders.pictures):
        return done.folder
    matched = match(tables, folders, data)
    with take_up(run, made_from).stage(STAGE, made_from) as stage:
        _prepare(
            stage=stage,
            settings=settings,
            data=data,
            cv=cv,
            matched=matched,
            tables=tables,
            title=run.folder.name,
        )
    log.info("written: %s", run.folder / STAGE)
    return run.folder / STAGE


def _prepare(
    *,
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

    from data_prep.inputs import has_word_vectors, metadata_of_tables
    from data_prep.pictures.copies import repeats_of
    from data_prep.pictures.images import (
        JOURNAL,
        channel_statistics,
        keep_rows,
        store_pictures,
    )
    from data_prep.pictures.picture_info import summarise
    from data_prep.reporting.overview import Preparation, describe, write_overview
    from data_prep.rows import (
        check_groups,
        check_what_is_left,
        keep_readable,
        leave_out_placeholders,
        with_classes,
        with_folds,
    )
    from data_prep.run_folders.witness import ReadFile, write_witnesses
    from data_prep.sources import WITNESSES
    from data_prep.tables.words import notes_on_names

    rows, pictures = matched.rows, matched.pictures
    if cv:
        check_groups(cv, rows)
    store = stage.folder / "images.npy"
    journal, kept_file = store.with_suffix(JOURNAL), stage.folder / "kept.npy"
    _clear(stage.folder, but=(store, journal))
    decoded = store_pictures(
        [pictures[id_] for id_ in rows["id"]],
        target=store,
        side=settings.side,
        fit=settings.fit,
        workers=settings.workers,
    )
    files = {
        id_: ReadFile(witness=file.witness, sha256=file.sha256)
        for id_, file in zip(rows["id"], decoded, strict=True)
    }
    write_witnesses(stage.folder / WITNESSES, files)

    rows, unreadable = keep_readable(rows, decoded, pictures)
    left_out = [*matched.left_out, *unreadable]
    repeats = repeats_of(rows, pictures, has_group=tables.has_group)
    if settings.placeholders == "leave_out":
        rows, dropped = leave_out_placeholders(rows, repeats, pictures)
        left_out += dropped
        repeats = [repeat for repeat in repeats if not repeat.is_placeholder]
        if dropped:
            keep_rows(store, kept_file, rows["image_row"].tolist())
            rows = rows.assign(image_row=np.arange(len(rows), dtype=np.int64))
    check_what_is_left(rows, left_out, data)
    rows, classes = with_classes(rows, tables.target_kind)
    rows = with_folds(
        rows, cv, has_group=tables.has_group, seed=settings.seed, repeats=repeats
    )
    attributes = tables.attributes[tables.attributes["id"].isin(rows["id"])]
    has_words = has_word_vectors(attributes)
    _write_tables(
        stage.folder,
        rows=rows,
        attributes=attributes,
        left_out=left_out,
        settings=settings,
        has_words=has_words,
    )
    _write_requested_ids(stage.folder, tables, data)

    images = np.load(kept_file if kept_file.exists() else store, mmap_mode="r")
    placeholders = [repeat for repeat in repeats if repeat.is_placeholder]
    stage.metadata = {
        **metadata_of_tables(
            side_px=settings.side,
            word_dimensions=settings.word_dimensions,
            data=data,
            cv=cv,
            tables=tables,
            classes=classes,
            has_words=has_words,
        ),
        **_metadata_of_rows(rows, cv, tables.target_kind),
        "fit": settings.fit,
        "placeholders": [[repeat.file, len(repeat.ids)] for repeat in placeholders],
    }
    stage.metadata["counts"]["left_out"] = len(left_out)
    stage.metadata["mean"], stage.metadata["std"] = channel_statistics(images)
    preparation = Preparation(
        rows=rows,
        metadata=stage.metadata,
        left_out=left_out,
        attributes=attributes,
        n_unknown=matched.n_unknown,
        placeholders=placeholders,
        notes=[
            *tables.notes,
            *notes_on_names(attributes),
            *summarise([file.info for file in decoded if not file.reason]),
        ],
    )
    log.info("%s", describe(preparation))
    write_overview(stage.folder / "report.html", preparation, images, title)
    journal.unlink()  # last: until here a rerun need not decode
    if kept_file.exists():
        kept_file.replace(store)


def _write_tables(
    folder: Path,
    *,
    rows: "pd.DataFrame",
    attributes: "pd.DataFrame",
    left_out: "Sequence[LeftOut]",
    settings: PrepareSettings,
    has_words: bool,
) -> None:
    """Write attributes.parquet, words.parquet, table.parquet and left_out.csv."""
    import pandas as pd

    from data_prep.rows import COLUMNS
    from data_prep.tables.user_tables import GIVEN
    from data_prep.tables.words import word_vectors

    attributes.to_parquet(folder / "attributes.parquet", index=False)
    if has_words:
        vectors = word_vectors(attributes, settings.word_dimensions, settings.seed)
        vectors.to_parquet(folder / "words.parquet", index=False)
    columns = [name for name in COLUMNS if name in rows]
    columns += [name for name in rows.columns if name.startswith(GIVEN)]
    rows[columns].to_parquet(folder / "table.parquet", index=False)
    lines = pd.DataFrame(map(vars, left_out), columns=["id", "file", "reason"])
    lines.to_csv(folder / "left_out.csv", index=False)


def _write_requested_ids(folder: Path, tables: "Tables", data: DataSettings) -> None:
    """Write the ids to predict in the user's order, also those without a picture."""
    if tables.sample:
        _copy_sample(tables.sample, folder / "sample.csv", data.id)
    elif data.test:
        ids = tables.rows.loc[tables.rows["split"] == "test", ["id"]]
        ids.to_csv(folder / "test_ids.csv", index=False)


def _clear(folder: Path, but: Sequence[Path]) -> None:
    """Remove what an earlier attempt made after the pixels: it is made anew."""
    for path in folder.iterdir():
        if path.is_file() and path not in but and path.name != MADE_FROM:
            path.unlink()


def _metadata_of_rows(
    rows: "pd.DataFrame", cv: str | None, target_kind: str | None
) -> dict[str, Any]:
    """Record what is known of the rows once the pictures are decoded."""
    from data_prep.folds import fold_hash
    from data_prep.pictures.copies import count_copies

    weights = rows["weight"]
    target = rows["target"] if target_kind == "numeric" else None
    n_copies, n_crossing = count_copies(rows)
    return {
        "n_folds": int(rows["fold"].max()) + 1,
        "fold_hash": fold_hash(rows["id"], rows["fold"]) if cv else None,
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
    }


def _named(data: DataSettings) -> dict[str, Any]:
    """Name the files and columns without folders, so that a run can be moved."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return value.name if isinstance(value, Path) else value

    named = {name: plain(value) for name, value in vars(data).items()}
    for name in ("sample_weights", "target_kind"):
        if named[name] is None:
            del named[name]  # what was prepared before there was the key is current
    return named


def _copy_sample(sample: Path, target: Path, id_column: str) -> None:
    if sample.suffix.lower() not in (".parquet", ".pq"):
        shutil.copyfile(sample, target)
        return
    from data_prep.tables.cells import as_texts, read_table

    table = read_table(sample)
    ids = as_texts(table[id_column])  # 7 of a column of floats is not to become 7.0
    table.assign(**{id_column: ids}).to_csv(target, index=False)


if __name__ == "__main__":
    run_command(main)
