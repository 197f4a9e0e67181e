"""Rows of the prepared table: readable pictures with classes, cv groups and folds.

Shapes: N rows.
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from data_prep.arrays import Floats, Ints
from data_prep.deals import assign_deals, with_deals
from data_prep.errors import UserError
from data_prep.experiment import DataSettings
from data_prep.folds import (
    MAX_CLASSES,
    fold_columns,
    join_cv_groups,
    lone_cv_group,
    strata,
)
from data_prep.matching import tables_of_splits
from data_prep.pictures.copies import Repeat, count_copies, count_groups
from data_prep.pictures.folders import LeftOut
from data_prep.pictures.pages import PictureFile, files_of
from data_prep.schemes import check_count, is_grouped, is_in_time, parse_scheme
from data_prep.tables.cells import as_numbers
from data_prep.time_folds import check_dates, with_time_folds

if TYPE_CHECKING:
    from data_prep.pictures.decoded import Decoded
    from data_prep.user_folds import UserFolds

COLUMNS = (  # of table.parquet; after them come the user's further columns
    *("id", "split", "image_row", "target", "class_index", "group", "object"),
    "cv_group",
    *("date", "fold", "train_from", "weight"),
    *("sha256", "width", "height", "pixels_sha256", "same_as"),
)
PLACEHOLDER = "one picture under many ids, taken for a placeholder"


def keep_readable(
    rows: pd.DataFrame,
    decoded: Sequence["Decoded"],
    pictures: Mapping[str, PictureFile],
) -> tuple[pd.DataFrame, list[LeftOut]]:
    """Add what decoding told of the files, and leave the unreadable ones out.

    Args:
        rows: N rows.
        decoded: N, in the order of the rows.
        pictures: The file of each id.

    Returns:
        The rows with image_row, sha256, width, height (px) and pixels_sha256; and those
        left out.
    """
    reasons = {
        id_: file.reason
        for id_, file in zip(rows["id"], decoded, strict=True)
        if file.reason
    }
    files = _within(pictures, list(reasons))
    left_out = [
        LeftOut(id=id_, file=file, reason=reason)
        for (id_, reason), file in zip(reasons.items(), files, strict=True)
    ]
    is_readable = np.array([not file.reason for file in decoded])
    described = rows.assign(
        sha256=[file.sha256 for file in decoded],
        width=np.array([file.width for file in decoded], dtype=np.int64),
        height=np.array([file.height for file in decoded], dtype=np.int64),
        pixels_sha256=[file.pixels_sha256 for file in decoded],
    )
    readable = described[is_readable].reset_index(drop=True)
    return readable.assign(image_row=np.arange(len(readable), dtype=np.int64)), left_out


def _within(pictures: Mapping[str, PictureFile], ids: Sequence[str]) -> list[str]:
    """Name the files of some ids, with their folders below the one above all."""
    if not ids:
        return []
    files = files_of(pictures)
    top = os.path.commonpath({path.parent.absolute() for path in files.values()})
    return [str(files[id_].absolute().relative_to(top)) for id_ in ids]


def leave_out_placeholders(
    rows: pd.DataFrame, repeats: Sequence[Repeat], pictures: Mapping[str, PictureFile]
) -> tuple[pd.DataFrame, list[LeftOut]]:
    """Leave out the pictures that stand under so many ids that they can show none.

    Returns:
        The other rows, whose image_row is still that of all pictures; and those left
        out.
    """
    shown_as = {
        id_: repeat.file
        for repeat in repeats
        if repeat.is_placeholder
        for id_ in repeat.ids
    }
    files = _within(pictures, list(shown_as))
    left_out = [
        LeftOut(id=id_, file=file, reason=f"{PLACEHOLDER}: {first}")
        for (id_, first), file in zip(shown_as.items(), files, strict=True)
    ]
    is_kept = ~rows["id"].isin([row.id for row in left_out])
    return rows[is_kept].reset_index(drop=True), left_out


def check_what_is_left(
    rows: pd.DataFrame, left_out: Sequence[LeftOut], data: DataSettings
) -> None:
    """Check that the rows with a readable picture still make a task.

    Raises:
        UserError: A split is gone, or the target has a single value left.
    """
    first = f"; {left_out[0].id}: {left_out[0].reason}" if left_out else ""
    for split, path in tables_of_splits(data):
        if not (rows["split"] == split).any():
            raise UserError(f"{path}: no picture of its ids can be read{first}")
    if "target" in rows and rows["target"].nunique() < 2:
        raise UserError(
            f"{data.train}: without the {len(left_out)} rows left out, the target"
            f" {data.target!r} has not two values{first}"
        )


def with_classes(
    rows: pd.DataFrame, target_kind: str | None
) -> tuple[pd.DataFrame, list[Any] | None]:
    """Number the classes of the target, where it has classes.

    Args:
        rows: With target if there is one.
        target_kind: ``"numeric"``, ``"classes"`` or None.

    Returns:
        The rows with class_index, -1 for none; and the classes in that order. Without
        class_index, and None, if the target is a quantity or there is none.
    """
    if target_kind is None:
        return rows, None
    values = rows["target"].dropna()
    if target_kind == "numeric" and values.nunique() > MAX_CLASSES:
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
    """Refuse too few groups, or rows without a date, before any picture is decoded.

    Raises:
        UserError: There are fewer groups than folds, or the scheme is forward in time
            and a row has no date.
    """
    if is_in_time(cv):
        check_dates(rows, cv)
    if is_grouped(cv):
        check_count(cv, count_groups(rows.loc[_is_validated(rows), "group"]))


def with_folds(
    rows: pd.DataFrame,
    cv: str | None,
    *,
    has_group: bool,
    seed: int,
    gap: float = 0.0,
    user_folds: "UserFolds | None" = None,
    repeats: Sequence[Repeat] = (),
) -> pd.DataFrame:
    """Assign the rows of the training split to folds; all others get -1.

    A cv group is what a fold must not tear: the user's groups, joined where pictures
    show one object, or are copies.

    Args:
        rows: With group ("" for none), same_as, is_excluded, date and maybe target and
            object.
        cv: The scheme; None: no folds.
        has_group: The groups are the user's.
        seed: Of the shuffles.
        gap: Years before a fold that are not learned from, of a scheme in time.
        user_folds: The user's own folds; ``cv`` is only their name then.
        repeats: The pictures that several rows share, the most frequent first.

    Returns:
        The rows with cv_group and fold, ``train_from`` if they are forward in time, the
        folds of further deals if the scheme is dealt several times, and the id as group
        where there was none.

    Raises:
        UserError: The cv groups do not fill the folds, or one is all that a fold
            has with a target.
    """
    groups = rows["group"]
    names = names_kept_together(rows, has_group=has_group)
    before_copies = join_cv_groups(*names) if names else np.arange(len(rows))
    cv_groups = join_cv_groups(*names, list(rows["same_as"]))
    rows = rows.assign(
        cv_group=cv_groups,
        group=groups.where(groups != "", rows["id"]),
        fold=np.int64(-1),
    )
    if cv is None:
        return rows
    is_validated = _is_validated(rows)
    if not is_validated.any():
        raise UserError("every row is excluded from validation; leave some of them in")
    joined = _joined_by_copies(
        rows,
        before_copies[is_validated],
        cv_groups[is_validated],
        noun="groups" if has_group else "rows",
        repeats=repeats,
    )
    if user_folds is not None:
        rows = user_folds.assigned_to(rows)
    elif is_in_time(cv):
        rows = with_time_folds(rows, cv, is_validated.to_numpy(), gap)
    else:
        deals = _drawn_deals(rows[is_validated], cv, seed, joined)
        rows = with_deals(rows, deals, np.flatnonzero(is_validated))
    _check_lone_groups(rows, cv, has_group=has_group, user_folds=user_folds, why=joined)
    return rows


def _check_lone_groups(
    rows: pd.DataFrame,
    cv: str,
    *,
    has_group: bool,
    user_folds: "UserFolds | None",
    why: str,
) -> None:
    """Refuse a fold all of whose rows with a target are one cv group.

    Args:
        rows: With their folds; group is the id where there was none.
        cv: The scheme.
        has_group: The groups are the user's.
        user_folds: The user's own folds, if they are.
        why: How copies join what is kept together; empty: they do not.
    """
    has_target = rows["target"].notna() if "target" in rows else False
    scored = rows[(rows["fold"] >= 0) & has_target]
    for column in fold_columns(rows) if len(scored) else ():
        fault = lone_cv_group(scored[column], scored["cv_group"])
        if not fault:
            continue
        fewest = scored.groupby(column)["cv_group"].nunique().idxmin()
        lone = scored[scored[column] == fewest]
        n_joined = lone["group"].nunique() if has_group else len(lone)
        more = why if n_joined > 1 else ""
        if user_folds is not None:
            name = user_folds.names[int(lone[column].iloc[0])]
            raise UserError(
                f"{user_folds.source}: fold {name!r} has {len(lone):,}"
                f" row{'s' * (len(lone) != 1)}, of one group, so its score would tell"
                f" how one group fares, and no more; put it into another fold{more}"
            )
        raise UserError(f"cv = {cv!r}: {fault}{more}")


def names_kept_together(rows: pd.DataFrame, *, has_group: bool) -> list[list[str]]:
    """Give the user's names by which rows are kept in one fold, copies aside.

    Args:
        rows: N rows with split, group ("" for none) and maybe object.
        has_group: The groups are the user's.

    Returns:
        Lists of (N,) names, "" for none: of groups, of objects, or no list.
    """
    names = [list(rows["group"])] if has_group else []
    if "object" in rows:
        # a picture in no table may be called as an object is, and is none of its own
        in_tables = rows["split"] != "unlabelled"
        names.append(list(rows["object"].where(in_tables, "")))
    return names


def _joined_by_copies(
    rows: pd.DataFrame,
    before: Ints,
    after: Ints,
    *,
    noun: str,
    repeats: Sequence[Repeat],
) -> str:
    """Say how far copies join what is kept together; empty: they join nothing.

    Args:
        rows: All rows.
        before: (N,) what is kept together without them, of the rows held out.
        after: (N,) and with them.
        noun: What is counted.
        repeats: The pictures that several rows share.
    """
    n_before, n_after = len(np.unique(before)), len(np.unique(after))
    if n_after == n_before:
        return ""
    text = f"; copies of pictures join {n_before:,} {noun} to {n_after:,}"
    text += _remedy_of_repeats(repeats)
    if count_copies(rows).n_near:
        text += (
            '; copies = "equal" in [data_prep.prepare] joins none that are only nearly'
            " the same"
        )
    return text


def _drawn_deals(validated: pd.DataFrame, cv: str, seed: int, joined: str) -> Ints:
    """Draw the folds of the rows to hold out; ``joined`` explains a lack of groups."""
    n_cv_groups, n_folds = validated["cv_group"].nunique(), parse_scheme(cv)[1]
    if joined and n_cv_groups < n_folds:
        counted = f"{n_cv_groups} cv group{'s do' if n_cv_groups > 1 else ' does'}"
        raise UserError(f"cv = {cv!r}: {counted} not fill {n_folds} folds{joined}")
    labels = strata(validated["target" if "target" in validated else "date"])
    try:
        return assign_deals(cv, labels, validated["cv_group"], seed)
    except UserError as error:
        raise UserError(f"{error}{joined}") from None


def _is_validated(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Tell of each row whether it is held out with a fold."""
    return (rows["split"] == "train") & ~rows["is_excluded"]


def weights_of(table: pd.DataFrame) -> Floats:
    """Give the (N,) sample weights of a prepared table, from 0 to 1.

    They are of the training; scores never use them: a row of weight 0 is held out with
    its label, like any other.
    """
    return table["weight"].to_numpy(dtype=np.float64)


def _remedy_of_repeats(repeats: Sequence[Repeat]) -> str:
    """Name the picture that joins most, and what can be done about it."""
    if not repeats:
        return ""
    worst = max(repeats, key=lambda repeat: (repeat.is_placeholder, repeat.n_groups))
    if not worst.is_placeholder:
        return f": {worst}; take its rows out, or take fewer folds"
    return (
        f': {worst}; placeholders = "leave_out" in [data_prep.prepare] leaves them'
        " out; or take fewer folds"
    )
