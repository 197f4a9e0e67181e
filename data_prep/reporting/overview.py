"""What was prepared, for people: the lines of the log and the pages of the report.

Shapes: N rows, S pixels per side.
"""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from data_prep.folds import TRAIN_FROM, fold_columns, too_few_rows, unseen_classes
from data_prep.pictures.copies import NearCopies, Repeat
from data_prep.pictures.fit import MANNERS
from data_prep.pictures.folders import LeftOut
from data_prep.pictures.printable import shown
from data_prep.reporting.charts import ForestRow, bars, histogram
from data_prep.reporting.copies import copies_section, remarks_on_copies
from data_prep.reporting.fold_table import as_lines, fold_table, folds_section
from data_prep.reporting.names import names_section
from data_prep.reporting.near_copies import near_copies_section
from data_prep.reporting.next_steps import Seen, next_steps, next_steps_section
from data_prep.reporting.picture_measures import measures_section, picture_measures
from data_prep.reporting.picture_sheets import date_sheet, target_sheet
from data_prep.reporting.report import (
    Section,
    Tile,
    picture_grid,
    prose,
    table,
    tiles,
    together,
    write_report,
)
from data_prep.reporting.target_by_date import date_section, drift_of
from data_prep.reporting.target_by_group import groups_section
from data_prep.reporting.train_against_test import shift_of, shift_section
from data_prep.tables.spelling import class_text, number_texts, target_texts
from data_prep.tables.words import WordVectors

N_EXAMPLES = 35  # pictures shown in the report
MOST_SHOWN = 50  # rows of a long table
MOST_REASONS = 12  # for leaving ids out
MOST_NAMED = 3  # pictures under many ids


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """The result of the stage, as far as people are told of it.

    Attributes:
        rows: N rows, as in table.parquet, and is_excluded.
        metadata: As in the record.
        left_out: Ids without a readable picture.
        attributes: id, name.
        words: The vectors of names; None: there are none.
        n_unknown: Ids of the attribute tables that have no picture.
        placeholders: Pictures that stand under many ids.
        near: Pairs that are, or might be, near copies.
        notes: What a person should know of how tables and files were read.
    """

    rows: pd.DataFrame
    metadata: Mapping[str, Any]
    left_out: Sequence[LeftOut] = ()
    attributes: pd.DataFrame = field(default_factory=pd.DataFrame)
    words: WordVectors | None = None
    n_unknown: int = 0
    placeholders: Sequence[Repeat] = ()
    near: NearCopies = field(default_factory=NearCopies)
    notes: Sequence[str] = ()


def describe(preparation: Preparation) -> str:
    """Tell in a few lines what there is, how it is split, and what is odd."""
    rows, metadata = preparation.rows, preparation.metadata
    counts, side = metadata["counts"], metadata["side"]
    manner = MANNERS[metadata["fit"]]
    lines = [
        f"pictures: {len(rows):,}, {_sizes(rows)} px, {manner} to {side}x{side} px",
        "splits: "
        + ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in counts.items()),
    ]
    if metadata["target_kind"]:
        lines.append(f"target: {_target_text(rows, metadata)}")
    if rows["date"].notna().any():
        lines.append(
            f"dates: {rows['date'].notna().sum():,}, from {rows['date'].min():g}"
            f" to {rows['date'].max():g}"
        )
    if len(preparation.attributes):
        named = preparation.attributes
        numbers = (
            f"as {metadata['words']} numbers each"
            if metadata["words"]
            else "not learned"
        )
        lines.append(
            f"attributes: {named['name'].nunique():,} names of"
            f" {named['id'].nunique():,} pictures, {numbers}"
        )
    if metadata["n_folds"]:
        counted = as_lines(fold_table(rows, metadata["classes"]))
        lines += [f"folds: {metadata['cv']}", textwrap.indent(counted, "  ")]
    else:
        lines.append("folds: none, for there is nothing to be learned from a table")
    return "\n".join([*lines, *(f"note: {remark}" for remark in remarks(preparation))])


def remarks(preparation: Preparation) -> list[str]:
    """List what a person should know before trusting the folds and the scores."""
    rows, metadata = preparation.rows, preparation.metadata
    texts = [*_remarks_on_left_out(preparation.left_out), *preparation.notes]
    if preparation.n_unknown:
        n = _counted(preparation.n_unknown, "id")
        texts.append(f"{n} of the attribute tables without a picture")
    texts += remarks_on_copies(rows)
    for repeat in preparation.placeholders[:MOST_NAMED]:
        texts.append(
            f"one picture under many ids: {repeat}; if it is a placeholder,"
            ' placeholders = "leave_out" in [data_prep.prepare] leaves it out'
        )
    if len(preparation.placeholders) > MOST_NAMED:
        n = _counted(len(preparation.placeholders) - MOST_NAMED, "picture")
        texts.append(f"{n} more under many ids each")
    if n_weighed := metadata["dropped"] + metadata["softened"]:
        texts.append(
            f"{_counted(n_weighed, 'row')} weighed by [data] sample_weights:"
            f" {metadata['dropped']:,} dropped from training, {metadata['softened']:,}"
            " softened; all are scored, a little too well if the weights come from"
            " predictions of these folds"
        )
    if "object" in rows:
        texts += _remarks_on_objects(rows, metadata["object_column"] or "files")
    in_folds = rows[rows["fold"] >= 0]
    return texts + (
        _remarks_on_folds(rows, in_folds, metadata) if len(in_folds) else []
    )


def _remarks_on_objects(rows: pd.DataFrame, column: str) -> list[str]:
    """Count the objects of each table, and their pictures."""
    texts = []
    for split in ("train", "test"):
        sizes = rows["object"][rows["split"] == split].value_counts()
        if len(sizes):
            n_pictures = f"{sizes.min():,} to {sizes.max():,} pictures"
            if sizes.min() == sizes.max():
                n_pictures = _counted(int(sizes.max()), "picture")
            texts.append(
                f"{_counted(len(sizes), 'object')} ({column}) of the {split} table, of"
                f" {n_pictures} each; those of one are kept in one fold, and"
                " stacking.fit predicts the object"
            )
    return texts


def _remarks_on_folds(
    rows: pd.DataFrame, in_folds: pd.DataFrame, metadata: Mapping[str, Any]
) -> list[str]:
    texts = []
    if metadata["has_group"]:
        sizes = in_folds.groupby("cv_group").size()
        share = sizes[sizes > 1].sum() / len(in_folds)
        texts.append(
            f"{share:.0%} of the rows share their group or picture with another;"
            f" the largest cv group has {_counted(sizes.max(), 'row')}"
        )
    if "target" in in_folds:
        labelled = in_folds[in_folds["target"].notna()]
        if "object" in labelled:
            labelled = labelled.drop_duplicates("object")
        deals = fold_columns(rows)
        n_of_deal = metadata["n_folds"] // len(deals)
        folds = [labelled[deal] - k * n_of_deal for k, deal in enumerate(deals)]
        if fault := max(map(too_few_rows, folds)):
            texts.append(f"too little for stacking.fit: {fault}")
    if metadata["classes"] is not None:
        names = [class_text(metadata["classes"][code]) for code in unseen_classes(rows)]
        if names:
            location = f"in a single group{' each' * (len(names) > 1)}"
            if TRAIN_FROM in rows:
                location = "in a fold and in no row before it"
            texts.append(
                f"{_counted(len(names), 'class')} ({_few(names)}) {location}: the net"
                " that is judged on it has never seen it"
            )
    excluded = rows[rows["is_excluded"]]
    if len(excluded):
        texts.append(
            f"{_counted(len(excluded), 'row')} for learning only, never scored"
        )
        if n_twins := int(excluded["cv_group"].isin(in_folds["cv_group"]).sum()):
            texts.append(
                f"{_counted(n_twins, 'row')} of these in a group or of a file that is"
                " scored; the net that is judged on it must not learn from them"
            )
    return texts


def _remarks_on_left_out(left_out: Sequence[LeftOut]) -> list[str]:
    """Count the reasons, with examples of each."""
    by_reason: dict[str, list[str]] = {}
    for picture in left_out:
        names = by_reason.setdefault(picture.summary, [])
        names.append(shown(picture.file or picture.id))
    ordered = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    texts = [
        f"{_counted(len(names), 'id')} left out: {reason} ({_few(names)})"
        for reason, names in ordered[:MOST_REASONS]
    ]
    if n_more := sum(len(names) for _, names in ordered[MOST_REASONS:]):
        texts.append(
            f"{_counted(n_more, 'id')} left out for other reasons: see left_out.csv"
        )
    return texts


def write_overview(
    path: Path, preparation: Preparation, images: NDArray[np.uint8], title: str
) -> list[str]:
    """Write the report.

    Args:
        path: The HTML file.
        preparation: The result of the stage.
        images: (N, S, S, 3).
        title: Name of the run.

    Returns:
        What it says to do next.
    """
    rows, metadata = preparation.rows, preparation.metadata
    seen = _seen(preparation, images)
    advice = next_steps(seen)
    sections = [
        _what_there_is(preparation),
        next_steps_section(advice),
        *_target_sections(rows, metadata, images),
    ]
    if rows["date"].notna().any():
        dates = rows["date"].to_numpy(np.float64)
        sections.append(Section("Dates", histogram(dates, label="year")))
        sections.append(date_sheet(rows, images))
    if metadata["n_folds"]:
        sections.append(folds_section(rows, metadata))
    sections += [
        shift_section(seen.shift, rows, images, seen.measured),
        _examples(rows, images),
        measures_section(rows, images, seen.measured),
        copies_section(rows, images),
        near_copies_section(preparation.near, rows, images),
    ]
    if len(preparation.attributes):
        names = preparation.attributes["name"].value_counts().head(20)
        sections.append(Section("Names", _count_chart(names)))
    if preparation.words:
        sections.append(names_section(preparation.words.of_names))
    if preparation.left_out:
        shown = pd.DataFrame(map(vars, preparation.left_out[:MOST_SHOWN]))
        caption = (
            f"{len(shown):,} of {len(preparation.left_out):,}; all in left_out.csv"
        )
        sections.append(Section("Left out", table(shown, caption)))
    subtitle = f"{len(rows):,} pictures at {metadata['side']} px"
    write_report(path, title, subtitle, sections)
    return advice


def _seen(preparation: Preparation, images: NDArray[np.uint8]) -> Seen:
    """Measure what advice is given by."""
    rows, metadata = preparation.rows, preparation.metadata
    measured = picture_measures(rows, images, metadata["fit"])
    words = preparation.words
    return Seen(
        rows=rows,
        metadata=metadata,
        measured=measured,
        drift=drift_of(rows, metadata),
        shift=shift_of(rows, images, measured),
        near=preparation.near,
        names=pd.DataFrame() if words is None else words.of_names,
    )


def _what_there_is(preparation: Preparation) -> Section:
    """Count the pictures, and list the notes."""
    counts = preparation.metadata["counts"]
    figures = [
        Tile(label=name.replace("_", " "), value=f"{count:,}")
        for name, count in counts.items()
        if count
    ]
    notes = prose(*map(_as_sentence, remarks(preparation)))
    return Section("What there is", together(tiles(figures), notes))


def _target_sections(
    rows: pd.DataFrame, metadata: Mapping[str, Any], images: NDArray[np.uint8]
) -> list[Section]:
    """Show the target, alone and by picture, date and group; none without one."""
    if not metadata["target_kind"]:
        return []
    return [
        Section("Target", _target_chart(rows, metadata)),
        target_sheet(rows, images, metadata),
        date_section(rows, metadata),
        groups_section(rows, metadata),
    ]


def _as_sentence(remark: str) -> str:
    """Begin a note with a capital, unless a file's name is first, and end it."""
    is_word = remark.partition(" ")[0].isalpha()
    return f"{remark[0].upper() if is_word else remark[0]}{remark[1:]}."


def _target_chart(rows: pd.DataFrame, metadata: Mapping[str, Any]) -> Markup:
    if metadata["classes"] is None:
        return histogram(rows["target"].to_numpy(np.float64), label="target")
    return _count_chart(_class_counts(rows, metadata, MOST_SHOWN))


def _class_counts(
    rows: pd.DataFrame, metadata: Mapping[str, Any], n_shown: int | None = None
) -> "pd.Series[int]":
    """Count the rows of the largest classes; numbers in their own order."""
    counts = rows["class_index"].value_counts()
    shown = counts[counts.index >= 0].head(n_shown or len(counts))
    if metadata["target_kind"] == "numeric":
        shown = shown.sort_index()
    return shown.rename(lambda index: class_text(metadata["classes"][index]))


def _count_chart(counts: "pd.Series[int]") -> Markup:
    return bars(
        [ForestRow(name=str(name), value=float(n)) for name, n in counts.items()]
    )


def _examples(rows: pd.DataFrame, images: NDArray[np.uint8]) -> Section:
    """Show pictures: all of a small collection, and those of an object together."""
    shown, note = rows, "All of them."
    if len(rows) > N_EXAMPLES:
        rng, note = np.random.default_rng(0), "Drawn at random."
        units = rows["object"] if "object" in rows else pd.Series(range(len(rows)))
        codes, names = pd.factorize(units)
        places = rng.permutation(len(names))[codes]  # of the unit of each row
        sizes = np.bincount(places)
        n_before = (sizes.cumsum() - sizes)[places]
        shown = rows[n_before < N_EXAMPLES].head(2 * N_EXAMPLES)
    above = [""] * len(shown)
    if "object" in rows:
        shown = shown.sort_values("object", kind="stable")
        above = [f"{name}: " for name in shown["object"]]
    targets = target_texts(shown)
    says_split = rows["split"].nunique() > 1 or any(target_texts(rows))
    captions = [
        f"{name}{id_}\n{target or split if says_split else ''}".strip()
        for name, id_, target, split in zip(
            above, shown["id"], targets, shown["split"], strict=True
        )
    ]
    return Section(
        "Pictures", picture_grid(images[shown["image_row"].to_numpy()], captions), note
    )


def _target_text(rows: pd.DataFrame, metadata: Mapping[str, Any]) -> str:
    values = rows["target"].dropna()
    if metadata["classes"] is None:
        low, high = number_texts([values.min(), values.max()], digits=6)
        return f"{len(values):,} numbers from {low} to {high}"
    counts = _class_counts(rows, metadata)
    names = [f"{name} ({count:,})" for name, count in counts.items()]
    return f"{len(names)} classes, {_few(names, 8)}"


def _sizes(rows: pd.DataFrame) -> str:
    return " by ".join(
        f"{low}" if low == high else f"{low}-{high}"
        for low, high in (
            (rows[name].min(), rows[name].max()) for name in ("width", "height")
        )
    )


def _few(names: Sequence[str], n_shown: int = 3) -> str:
    return ", ".join(names[:n_shown]) + (" ..." if len(names) > n_shown else "")


def _counted(count: int, noun: str) -> str:
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun}{ending}"
