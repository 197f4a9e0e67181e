"""Check the pictures and tables, and store them for all later stages.

    python -m data_prep.prepare --experiment experiments/leaves.toml

Reads the folders and tables of ``[data]``; writes ``data_prep.prepare/``: table.parquet
(a row per usable picture), images.npy (its pixels), words.parquet and
attributes.parquet (if there are attributes), folds.csv (id and fold, which ``--folds``
takes; of folds dealt twice fold_1 too), left_out.csv, near_copies.csv (if pictures
nearly repeat another), report.html, sample.csv (or test_ids.csv if there is a test
table and no sample), and in logs/ the witness by which a changed picture is noticed.

Folds are made here, once; every stage that sees a label obeys them. Only rows of the
training table that have something to be learned are assigned to folds: a folder of
pictures alone is prepared without.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Le

from data_prep.command import open_command, run_command
from data_prep.effort import Workload
from data_prep.errors import UserError
from data_prep.experiment import Experiment
from data_prep.file_paths import MayBePath
from data_prep.pictures.fit import Fit
from data_prep.pictures.pages import Pages
from data_prep.processes import n_cores
from data_prep.ranges import Ranged
from data_prep.run_folders.damage import PIXELS, map_array
from data_prep.run_folders.runs import Run, Stage
from data_prep.schemes import USUAL_CV, check_cv, is_in_time, is_table
from data_prep.settings import NOT_HASHED, Example, recorded

if TYPE_CHECKING:
    import pandas as pd

    from data_prep.inputs import Inputs
    from data_prep.outlook import Outlook
    from data_prep.pictures.copies import NearCopies, Repeat
    from data_prep.pictures.folders import LeftOut
    from data_prep.pictures.reuse import Earlier

STAGE = "data_prep.prepare"
START_S = 3.0  # folders, tables, report
PIXEL_S = 1.6e-8  # to measure a stored pixel for the report
OF_PAGES = 'page = "all" in [data_prep.prepare] makes a picture of each page'
KEPT = "kept.npy"  # pixels without placeholders, until they take the store's place
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PrepareSettings(Ranged):
    """Check the pictures and tables, store the pixels, and assign the folds.

    python -m data_prep.prepare --experiment experiments/demo.toml
    """

    side: Annotated[int, "side of the stored pictures, px", Ge(16), Le(2048)] = 128
    fit: Annotated[
        Fit,
        "how it becomes square: padded (edges, mirrored, a colour), stretched, or cut",
    ] = "pad"
    page: Annotated[
        Pages,
        "of a file of several pages or frames: the first is the picture, or all are,"
        " each with an id of its own (scan@2), and the file is what is predicted",
    ] = "first"
    cv: Annotated[
        str,
        "[s][g]kfoldN: s equal shares of the target, g groups kept together, N folds;"
        " timeN: each of N folds is later than all that its net learns from; x2 after a"
        " drawn one: dealt twice, so 2 N nets, averaged",
    ] = USUAL_CV
    gap: Annotated[
        float, "of cv = timeN: years before a fold that are not learned from", Ge(0)
    ] = 0.0
    folds: Annotated[
        str,
        "your own folds in place of cv: a table of id and fold, or a column of the"
        " training table; where the cell is empty, a row is never held out",
        MayBePath(is_path=is_table),
        Example("folds.csv"),
    ] = ""
    seed: Annotated[int, "seed of the folds and the word vectors", Ge(0)] = 0
    word_dimensions: Annotated[int, "length of the word vectors", Ge(1)] = 20
    min_count: Annotated[
        int, "pictures that a name must have to get a word vector", Ge(1)
    ] = 1
    placeholders: Annotated[
        Literal["keep", "leave_out"],
        "one picture under many ids, such as 'no photograph yet': keep it in one fold,"
        " or leave all its ids out",
    ] = "keep"
    copies: Annotated[
        Literal["near", "equal", "none"],
        "which copies of a picture are kept in one fold: those that are recompressed,"
        " resized, turned or cropped a little too, those with equal pixels, or none",
    ] = "near"
    likeness: Annotated[
        float, "likeness from which two are near copies; see the report", Ge(0.6), Le(1)
    ] = 0.85
    workers: Annotated[
        int, "processes that decode; 0: all cores", NOT_HASHED, Ge(0)
    ] = 0

    def __post_init__(self) -> None:
        """Check the ranges and the scheme of the folds."""
        super().__post_init__()
        check_cv(self.cv, self.folds)
        if self.gap and not is_in_time(self.cv):
            raise UserError(
                f"gap = {self.gap:g} leaves years out before a fold in time, and cv ="
                f" {self.cv!r} is none; take it out, or set cv = 'time3' or the like"
            )

    def made_from(self, inputs: "Inputs") -> dict[str, Any]:
        """Say what decides the result but for the bytes of the pictures."""
        from data_prep.sources import named_data, source_digests

        settings = recorded(self)
        for name, default in (("gap", 0.0), ("folds", ""), ("page", "first")):
            if settings[name] == default:  # so was what earlier versions made
                del settings[name]
        folds = inputs.user_folds
        return settings | {
            "data": named_data(inputs.data),
            "source": source_digests(
                inputs.data,
                inputs.folders,
                folds.path if folds else None,
                inputs.paged,
            ),
            "has_folds": inputs.cv is not None,
        }

    def workload(self, outlook: "Outlook") -> Workload:
        """Say what there is to decode; a few files are, to see how long it takes."""
        from data_prep.decoding import earlier_pictures
        from data_prep.pictures.copies import LEAST_SIDE_PX, search_seconds
        from data_prep.pictures.decoded import time_decoding
        from data_prep.pictures.folders import search_folders
        from data_prep.pictures.pages import PagedPictures, ids_of_files

        ids = set(outlook.table["id"])
        if self.page == "all":
            ids = ids_of_files(ids)
        folders = search_folders(outlook.experiment.data.images, ids=ids)
        pictures = PagedPictures.find(folders.pictures, self.page).pictures
        decoding_s = time_decoding(list(pictures.values()), self.side)
        earlier = earlier_pictures(outlook.run, pictures, self.side, self.fit)
        n, n_workers = len(outlook.table), self.workers or n_cores()
        n_to_decode = n - len(earlier.squares) if earlier else n
        seconds = START_S + n_to_decode * decoding_s / n_workers
        seconds += n * self.side**2 * PIXEL_S
        if self.copies == "near" and self.side >= LEAST_SIDE_PX:
            seconds += search_seconds(n, n_workers)
        return Workload(seconds=seconds, n_bytes=n * 3 * self.side**2)

    def config(self, experiment: Experiment, run: Run) -> dict[str, Any]:
        """Read tables and names of pictures, and say what decides the result.

        Raises:
            UserError: A folder or table is missing, or has problems.
        """
        return self.made_from(self.read(experiment, run))

    def read(self, experiment: Experiment, run: Run) -> "Inputs":
        """Read the tables and the names of pictures.

        Raises:
            UserError: A folder or table is missing, or has problems.
        """
        from data_prep.inputs import Inputs

        return Inputs.read(
            experiment, run, cv=self.cv, folds=self.folds, page=self.page
        )


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
