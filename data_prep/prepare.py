"""Check the pictures and tables, and store them for all later stages.

    python -m data_prep.prepare --experiment experiments/leaves.toml

Reads the folders and tables of ``[data]``; writes ``data_prep.prepare/``: table.parquet
(a row per usable picture), images.npy (its pixels), attributes.parquet, names.parquet
and words.parquet (if there are attributes), folds.csv (id and fold, which ``--folds``
takes; of folds dealt twice fold_1, in time train_from too), left_out.csv,
near_copies.csv (if pictures nearly repeat another), report.html, sample.csv (or
test_ids.csv if there is a test table and no sample), and in logs/ the witness by which
a changed picture is noticed.

Folds are made here, once; every stage that sees a label obeys them. Only rows of the
training table that have something to be learned are assigned to folds: a folder of
pictures alone is prepared without.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.command import open_command, run_command
from data_prep.prepare_settings import PrepareSettings
from data_prep.run_folders.damage import PIXELS, map_array
from data_prep.run_folders.runs import Stage

if TYPE_CHECKING:
    import pandas as pd

    from data_prep.inputs import Inputs
    from data_prep.pictures.copies import NearCopies, Repeat
    from data_prep.pictures.folders import LeftOut
    from data_prep.pictures.reuse import Earlier

STAGE = "data_prep.prepare"
OF_PAGES = 'page = "all" in [data_prep.prepare] makes a picture of each page'
KEPT = "kept.npy"  # pixels without placeholders, until they take the store's place
log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> Path:
    """Prepare as the command line says, and return the folder of the stage."""
    settings, run, experiment = open_command(PrepareSettings, STAGE, argv)
    from data_prep.sources import current, take_up

    inputs = settings.read(experiment, run)
    made_from = settings.made_from(inputs)
    if done := current(run, made_from, inputs.paged.pictures):
        return done.folder
    from data_prep.decoding import earlier_pictures

    matched, pictures = inputs.match(), inputs.paged.pictures
    earlier = earlier_pictures(run, pictures, settings.side, settings.fit)
    with take_up(run, made_from).stage(STAGE, made_from) as stage:
        _prepare(
            stage,
            settings,
            inputs,
            matched=matched,
            earlier=earlier,
            title=run.folder.name,
        )
    log.info("written: %s", run.folder / STAGE)
    return run.folder / STAGE


def _prepare(
    stage: Stage,
    settings: PrepareSettings,
    inputs: "Inputs",
    *,
    matched: "tuple[pd.DataFrame, list[LeftOut], int]",
    earlier: "Earlier | None",
    title: str,
) -> None:
    """Make all files of the stage, the report last."""
    from data_prep.decoding import settle_pixels
    from data_prep.prepared_tables import write_requested_ids, write_tables
    from data_prep.reporting.overview import Preparation, describe, write_overview
    from data_prep.row_metadata import metadata_of_pictures, metadata_of_rows
    from data_prep.rows import check_groups, check_what_is_left
    from data_prep.tables.words import WordVectors, frequent

    (rows, left_out, n_unknown), tables = matched, inputs.tables
    if inputs.cv and not inputs.user_folds:
        check_groups(inputs.cv, rows)
    store = stage.folder / PIXELS
    usable = _usable_pictures(
        rows, store, settings=settings, inputs=inputs, earlier=earlier
    )
    left_out += usable.left_out
    check_what_is_left(usable.rows, left_out, inputs.data)
    rows, classes = _rows_in_folds(usable, settings, inputs)
    pixels, attributes = map_array(usable.pixels_file), inputs.attributes
    attributes = attributes[attributes["id"].isin(rows["id"])]
    of_words = frequent(attributes, settings.min_count)
    stage.metadata = {
        **inputs.metadata(
            of_words,
            classes,
            side_px=settings.side,
            word_dimensions=settings.word_dimensions,
        ),
        **metadata_of_rows(rows, inputs.cv, tables.target_kind, len(left_out)),
        **metadata_of_pictures(pixels, usable.placeholders, settings.fit),
    }
    notes = [*inputs.notes, *_notes(rows, of_words, stage.metadata), *usable.notes]
    if inputs.user_folds:
        notes += inputs.user_folds.notes_on(rows)
    preparation = Preparation(
        rows=rows,
        metadata=stage.metadata,
        left_out=left_out,
        attributes=attributes,
        words=WordVectors.learned(of_words, stage.metadata["words"], settings.seed),
        n_unknown=n_unknown,
        placeholders=usable.placeholders,
        near=usable.near,
        notes=notes,
    )
    write_tables(stage.folder, preparation, tables.rows, inputs.paged)
    write_requested_ids(stage.folder, tables.rows, inputs.data)
    log.info("%s", describe(preparation))
    report = stage.folder / "report.html"
    for sentence in write_overview(report, preparation, pixels, title):
        log.info("to do: %s", sentence)
    settle_pixels(store, usable.pixels_file)


def _rows_in_folds(
    usable: "UsablePictures", settings: PrepareSettings, inputs: "Inputs"
) -> "tuple[pd.DataFrame, list[Any] | None]":
    """Give the rows their classes and folds, and list the classes."""
    from data_prep.rows import with_classes, with_folds

    rows, classes = with_classes(usable.rows, inputs.tables.target_kind)
    rows = with_folds(
        rows,
        inputs.cv,
        has_group=inputs.has_group,
        seed=settings.seed,
        gap=settings.gap,
        user_folds=inputs.user_folds,
        repeats=usable.repeats,
    )
    return rows, classes


def _notes(
    rows: "pd.DataFrame", attributes: "pd.DataFrame", metadata: Mapping[str, Any]
) -> list[str]:
    """Note what is odd about names, and ask of columns that tell the target alone."""
    from data_prep.tables.words import notes_on_names
    from data_prep.telling_columns import given_names, target_of, verdicts_on

    notes = notes_on_names(attributes)
    if not metadata["n_folds"]:
        return notes
    is_the_date = metadata["target_column"] == metadata["date_column"]
    names = given_names(rows, but=["date"] if is_the_date else [])
    labels = target_of(rows, metadata["target_kind"])
    date = metadata["date_column"]
    return notes + verdicts_on(rows, names, labels, {"date": date} if date else {})


@dataclass(frozen=True, kw_only=True)
class UsablePictures:
    """The pictures that can be read and, if so wanted, are no placeholders.

    Attributes:
        rows: N rows, ``image_row`` and ``same_as`` among their columns.
        pixels_file: Their (N, S, S, 3) grey levels.
        left_out: The other rows.
        repeats: The pictures that several rows share.
        near: Pairs that are, or might be, near copies.
        notes: What a person should know of their files.
    """

    rows: "pd.DataFrame"
    pixels_file: Path
    left_out: "list[LeftOut]"
    repeats: "list[Repeat]"
    near: "NearCopies"
    notes: list[str]

    @property
    def placeholders(self) -> "list[Repeat]":
        """Those that show nothing."""
        return [repeat for repeat in self.repeats if repeat.is_placeholder]


def _usable_pictures(
    rows: "pd.DataFrame",
    store: Path,
    *,
    settings: PrepareSettings,
    inputs: "Inputs",
    earlier: "Earlier | None",
) -> UsablePictures:
    """Decode the pictures of the rows, leave out what cannot be used, find copies.

    Without placeholders the pixels are in another file beside the store: a rerun
    decodes nothing anew.
    """
    import numpy as np

    from data_prep.copy_groups import with_copies
    from data_prep.decoding import decode_pictures
    from data_prep.pictures.copies import repeats_of
    from data_prep.pictures.images import keep_rows
    from data_prep.pictures.picture_info import summarise
    from data_prep.rows import keep_readable, leave_out_placeholders

    pictures, pixels_file = inputs.paged.pictures, store
    of_rows = {id_: pictures[id_] for id_ in rows["id"]}
    decoded = decode_pictures(
        store,
        of_rows,
        side=settings.side,
        fit=settings.fit,
        workers=settings.workers,
        earlier=earlier,
    )
    rows, left_out = keep_readable(rows, decoded, pictures)
    has_group = inputs.has_group
    repeats = repeats_of(rows, pictures, has_group=has_group)
    if settings.placeholders == "leave_out":
        rows, dropped = leave_out_placeholders(rows, repeats, pictures)
        left_out += dropped
        repeats = [repeat for repeat in repeats if not repeat.is_placeholder]
        if dropped:
            pixels_file = store.with_name(KEPT)
            keep_rows(store, pixels_file, rows["image_row"].tolist())
            rows = rows.assign(image_row=np.arange(len(rows), dtype=np.int64))
    rows, near = with_copies(
        rows,
        map_array(pixels_file),
        copies=settings.copies,
        likeness=settings.likeness,
        fit=settings.fit,
        workers=settings.workers,
        has_group=has_group,
    )
    infos = [file.info for file in decoded if not file.reason]
    return UsablePictures(
        rows=rows,
        pixels_file=pixels_file,
        left_out=left_out,
        repeats=repeats,
        near=near,
        notes=[*summarise(infos, OF_PAGES * (settings.page == "first")), *near.notes],
    )


if __name__ == "__main__":
    run_command(main)
