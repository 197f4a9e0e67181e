"""Rows: the tables and the pictures joined by id, with classes, cv groups and folds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_prep.errors import UserError
from data_prep.experiment import DataSettings
from data_prep.folds import (
    MAX_CLASSES,
    assign_folds,
    check_count,
    is_grouped,
    join_cv_groups,
    lone_cv_group,
    parse_scheme,
    strata,
)
from data_prep.pictures.copies import Repeat, count_groups
from data_prep.pictures.folders import Folders, LeftOut, explain_missing
from data_prep.pictures.near_ids import NearIds, near_ids
from data_prep.tables.cells import as_numbers

if TYPE_CHECKING:
    from data_prep.pictures.images import Decoded

COLUMNS = (  # of table.parquet; after them come the user's further columns
    *("id", "split", "image_row", "target", "class_index", "group", "cv_group"),
    *("date", "fold", "weight", "sha256", "width", "height", "pixels_sha256"),
)
PLACEHOLDER = "one picture under many ids, taken for a placeholder"


def match_pictures(
    rows: pd.DataFrame, folders: Folders, data: DataSettings
) -> tuple[pd.DataFrame, list[LeftOut]]:
    """Keep the rows that have a picture, and add the pictures that have no row.

    Returns:
        The rows in id order, and the ids that are left out.

    Raises:
        UserError: No row of the training table, or none of the test table, has one; or
            some would have one but for a simple difference, such as lost zeros.
    """
    pictures = folders.pictures
    has_picture = rows["id"].isin(list(pictures))
    missing = rows["id"][~has_picture]
    others = sorted(set(pictures) - set(rows["id"]))
    near = near_ids(missing, others)
    for split, path in _splits(data):
        of_split = rows["id"][rows["split"] == split]
        if not has_picture[of_split.index].any():
            first = explain_missing(of_split[:1], folders, {})[0]
            raise UserError(
                f"{path}: none of its {len(of_split):,} ids has a picture in"
                f" {', '.join(map(str, data.images))};"
                f" {_difference(list(of_split), list(pictures), near)}"
                + (f"; {first.reason}" if first.file else "")
            )
        _check_near(near.of(of_split[~has_picture]), path)
    left_out = explain_missing(
        missing, folders, _hints(list(missing), near, rows, pictures)
    )
    known = {left.file for left in left_out}
    left_out += [
        unusable
        for id_, unusable in folders.unusable.items()
        if unusable.file not in known and id_ not in pictures
    ]
    unlabelled = pd.DataFrame({"id": others, "split": "unlabelled", "group": ""})
    unlabelled["is_excluded"], unlabelled["weight"] = False, 1.0
    frames = [frame for frame in (rows[has_picture], unlabelled) if len(frame)]
    joined = pd.concat(frames).reindex(columns=rows.columns)
    return joined.sort_values("id", ignore_index=True), left_out


def match_attributes(
    attributes: pd.DataFrame, folders: Folders, data: DataSettings
) -> int:
    """Count the ids of the attribute tables that have no picture.

    Raises:
        UserError: None of them has one; or some would have one but for a simple
            difference.
    """
    is_known = attributes["id"].isin(list(folders.pictures))
    unknown = attributes["id"][~is_known]
    if unknown.empty:
        return 0
    tables = ", ".join(map(str, data.attributes))
    near = near_ids(unknown, folders.pictures)
    if not is_known.any():
        raise UserError(
            f"{tables}: none of its {unknown.nunique():,} ids has a picture;"
            f" {_difference(list(unknown), list(folders.pictures), near)}"
        )
    _check_near(near.with_shared(), tables)
    return int(unknown.nunique())


def keep_readable(
    rows: pd.DataFrame, decoded: Sequence["Decoded"], pictures: Mapping[str, Path]
) -> tuple[pd.DataFrame, list[LeftOut]]:
    """Add what was found out about the files, and leave the unreadable ones out.

    Args:
        rows: N rows.
        decoded: N, in the order of the rows.
        pictures: The file of each id.

    Returns:
        The rows with image_row, sha256, width, height and pixels_sha256; and those
        left out.
    """
    left_out = [
        LeftOut(id_, pictures[id_].name, one.reason)
        for id_, one in zip(rows["id"], decoded, strict=True)
        if one.reason
    ]
    is_readable = np.array([not one.reason for one in decoded])
    found = rows.assign(
        sha256=[one.sha256 for one in decoded],
        width=np.array([one.width for one in decoded], dtype=np.int64),
        height=np.array([one.height for one in decoded], dtype=np.int64),
        pixels_sha256=[one.pixels_sha256 for one in decoded],
    )
    kept = found[is_readable].reset_index(drop=True)
    return kept.assign(image_row=np.arange(len(kept), dtype=np.int64)), left_out


def leave_out_placeholders(
    rows: pd.DataFrame, listed: Sequence[Repeat], pictures: Mapping[str, Path]
) -> tuple[pd.DataFrame, list[LeftOut]]:
    """Leave out the pictures that stand under so many ids that they can show none.

    Returns:
        The other rows, whose image_row is still that of all pictures; and those left
        out.
    """
    left_out = [
        LeftOut(id_, pictures[id_].name, f"{PLACEHOLDER}: {repeat.file}")
        for repeat in listed
        if repeat.is_placeholder
        for id_ in repeat.ids
    ]
    is_kept = ~rows["id"].isin([one.id for one in left_out])
    return rows[is_kept].reset_index(drop=True), left_out


def check_what_is_left(
    rows: pd.DataFrame, left_out: Sequence[LeftOut], data: DataSettings
) -> None:
    """Check that the rows with a readable picture still make a task.

    Raises:
        UserError: A split is gone, or the target has a single value left.
    """
    first = f"; {left_out[0].id}: {left_out[0].reason}" if left_out else ""
    for split, path in _splits(data):
        if not (rows["split"] == split).any():
            raise UserError(f"{path}: no picture of its ids can be read{first}")
    if "target" in rows and rows["target"].nunique() < 2:
        raise UserError(
            f"{data.train}: without the {len(left_out)} rows left out, the target"
            f" {data.target!r} has not two values{first}"
        )


def with_classes(
    rows: pd.DataFrame, kind: str | None
) -> tuple[pd.DataFrame, list[Any] | None]:
    """Number the classes of the target, where it has classes.

    Args:
        rows: With target if there is one.
        kind: ``"numeric"``, ``"classes"`` or None.

    Returns:
        The rows with class_index, -1 for none; and the classes in that order. Both
        are without if the target is a quantity or there is none.
    """
    if kind is None:
        return rows, None
    values = rows["target"].dropna()
    if kind == "numeric" and values.nunique() > MAX_CLASSES:
        return rows, None
    classes = _in_order(values.unique().tolist())
    index = pd.Categorical(rows["target"], categories=classes).codes
    return rows.assign(class_index=index.astype(np.int64)), classes


def _in_order(classes: list[Any]) -> list[Any]:
    """Sort classes: codes by their number, so that 10 comes after 9, others by text."""
    numbers = as_numbers(pd.Series(classes))
    if not np.isfinite(numbers).all():
        return sorted(classes)
    pairs = sorted(zip(numbers.tolist(), classes, strict=True))
    return [value for _, value in pairs]


def check_groups(cv: str, rows: pd.DataFrame) -> None:
    """Refuse too few groups before any picture is decoded.

    Raises:
        UserError: There are fewer groups than folds.
    """
    is_dealt = (rows["split"] == "train") & ~rows["is_excluded"]
    if is_grouped(cv):
        check_count(cv, count_groups(rows.loc[is_dealt, "group"]))


def with_folds(
    rows: pd.DataFrame,
    cv: str | None,
    *,
    has_group: bool,
    seed: int,
    listed: Sequence[Repeat] = (),
) -> pd.DataFrame:
    """Deal the rows of the training part to folds; all others get -1.

    A cv group is what a fold must not tear: the user's groups, joined where pictures
    are stored as the same pixels.

    Args:
        rows: With group ("" for none), pixels_sha256 or sha256, is_excluded, date and
            maybe target.
        cv: The scheme; None: no folds.
        has_group: The groups are the user's.
        seed: Of the deal.
        listed: The pictures that several rows share, the most frequent first.

    Returns:
        The rows with cv_group and fold, and the id as group where there was none.

    Raises:
        UserError: The cv groups do not fill the folds, or one is all that a fold
            has with a target.
    """
    # what was prepared before pixels were compared knows the same files only
    known = "pixels_sha256" if "pixels_sha256" in rows else "sha256"
    groups, digests = list(rows["group"]), list(rows[known])
    rows = rows.assign(
        cv_group=join_cv_groups(groups if has_group else None, digests),
        group=rows["group"].where(rows["group"] != "", rows["id"]),
        fold=np.int64(-1),
    )
    if cv is None:
        return rows
    is_dealt = (rows["split"] == "train") & ~rows["is_excluded"]
    dealt = rows[is_dealt]
    if dealt.empty:
        raise UserError("every row is excluded from validation; leave some of them in")
    n_cv_groups, n_folds = dealt["cv_group"].nunique(), parse_scheme(cv)[1]
    own_groups = pd.Series(groups, index=rows.index)[is_dealt]
    n_before = count_groups(own_groups) if has_group else len(dealt)
    joined = ""
    if n_cv_groups < n_before:
        noun = "groups" if has_group else "rows"
        joined = f"; copies of pictures join {n_before:,} {noun} to {n_cv_groups:,}"
        joined += _remedy_of_repeats(listed)
    if joined and n_cv_groups < n_folds:
        counted = f"{n_cv_groups} cv group{'s do' if n_cv_groups > 1 else ' does'}"
        raise UserError(f"cv = {cv!r}: {counted} not fill {n_folds} folds{joined}")
    labels = strata(dealt["target" if "target" in dealt else "date"])
    try:
        rows.loc[is_dealt, "fold"] = assign_folds(cv, labels, dealt["cv_group"], seed)
    except UserError as error:
        raise UserError(f"{error}{joined}") from None
    scored = rows[is_dealt & rows["target"].notna()] if "target" in rows else rows[:0]
    if len(scored) and (fault := lone_cv_group(scored["fold"], scored["cv_group"])):
        fewest = scored.groupby("fold")["cv_group"].nunique().idxmin()
        lone = scored[scored["fold"] == fewest]
        n_joined = own_groups[lone.index].nunique() if has_group else len(lone)
        raise UserError(f"cv = {cv!r}: {fault}{joined if n_joined > 1 else ''}")
    return rows


def weights_of(table: pd.DataFrame) -> NDArray[np.float64]:
    """Give what the (N,) rows of a prepared table weigh in training, from 0 to 1.

    Scores never ask for it: a doubted row is held out with its label, like any other.
    Tables that were prepared before there was such a column weigh 1.
    """
    if "weight" not in table:
        return np.ones(len(table))
    return table["weight"].to_numpy(dtype=np.float64)


def _splits(data: DataSettings) -> list[tuple[str, Path]]:
    named = (("train", data.train), ("test", data.test or data.sample))
    return [(split, path) for split, path in named if path]


def _check_near(near: NearIds, table: Path | str) -> None:
    """Stop where ids would have a picture but for a simple difference."""
    if near.pairs:
        n = len(near.pairs)
        counted = "1 id has" if n == 1 else f"{n:,} ids have"
        raise UserError(
            f"{table}: {counted} no picture, but would have one but for {near}; write"
            " the ids as the files are named, or rename the files; where the picture"
            " is really another, rename it or take the row out"
        )


def _hints(
    missing: Sequence[str],
    near: NearIds,
    rows: pd.DataFrame,
    pictures: Mapping[str, Path],
) -> dict[str, str]:
    """Say of ids without a picture which names are nearly theirs, and cannot be."""
    taken = near_ids(missing, [id_ for id_ in rows["id"] if id_ in pictures])
    hints = {
        id_: f"a picture of nearly this name is that of another id: {name!r}"
        for id_, name in taken.with_shared().pairs.items()
    }
    for id_, names in near.unclear.items():
        hints[id_] = (
            f"several names are nearly alike: {', '.join(map(repr, names[:3]))}"
        )
    return hints


def _difference(ids: Sequence[str], names: Sequence[str], near: NearIds) -> str:
    """Say why no id of a table is the name of a picture."""
    shared = near.of(ids).with_shared()
    if 2 * len(shared.pairs) < len(set(ids)):  # else it explains too little
        seen = f"an id is {ids[0]!r}, a picture {names[0]!r}"
        return f"{seen}; the id is the file's name without extension"
    difference, _ = Counter(shared.differences.values()).most_common(1)[0]
    id_ = next(i for i, told in shared.differences.items() if told == difference)
    seen = f"an id is {id_!r}, a picture {shared.pairs[id_]!r}"
    if difference == "the extension":
        return f"an id is without extension ({seen})"
    if difference == "leading zeros":
        return f"the ids have lost their leading zeros ({seen})"
    return f"ids and pictures differ in {difference} ({seen})"


def _remedy_of_repeats(listed: Sequence[Repeat]) -> str:
    """Name the picture that joins most, and what can be done about it."""
    if not listed:
        return ""
    worst = max(listed, key=lambda one: (one.is_placeholder, one.n_groups))
    if not worst.is_placeholder:
        return f": {worst}; take its rows out, or take fewer folds"
    return (
        f': {worst}; placeholders = "leave_out" in [data_prep.prepare] leaves them'
        " out; or take fewer folds"
    )
