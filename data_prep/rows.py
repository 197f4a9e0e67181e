"""Rows: the tables and the pictures joined by id, with classes, clusters and folds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    clusters,
    is_grouped,
    strata,
)

if TYPE_CHECKING:
    from data_prep.images import Decoded

COLUMNS = (  # of table.parquet; after them come the user's further columns
    *("id", "part", "image_row", "target", "class_index", "group", "cluster"),
    *("date", "fold", "weight", "sha256", "width", "height"),
)


@dataclass(frozen=True)
class LeftOut:
    """An id that is in no later stage: its file, if there is one, and why."""

    id: str
    file: str
    reason: str


def match_pictures(
    rows: pd.DataFrame, pictures: Mapping[str, Path], data: DataSettings
) -> tuple[pd.DataFrame, list[LeftOut]]:
    """Keep the rows that have a picture, and add the pictures that have no row.

    Returns:
        The rows in id order, and the ids that are left out.

    Raises:
        UserError: No row of the training table, or none of the test table, has one.
    """
    has_picture = rows["id"].isin(list(pictures))
    for part, path in _parts(data):
        is_part = rows["part"] == part
        if not has_picture[is_part].any():
            raise UserError(
                f"{path}: none of its {is_part.sum():,} ids has a picture in"
                f" {', '.join(map(str, data.images))};"
                f" {_difference(list(rows['id'][is_part]), list(pictures))}"
            )
    left_out = [LeftOut(id_, "", "no picture") for id_ in rows["id"][~has_picture]]
    others = sorted(set(pictures) - set(rows["id"]))
    unlabelled = pd.DataFrame({"id": others, "part": "unlabelled", "group": ""})
    unlabelled["is_excluded"], unlabelled["weight"] = False, 1.0
    parts = [part for part in (rows[has_picture], unlabelled) if len(part)]
    joined = pd.concat(parts).reindex(columns=rows.columns)
    return joined.sort_values("id", ignore_index=True), left_out


def keep_readable(
    rows: pd.DataFrame, decoded: Sequence["Decoded"], pictures: Mapping[str, Path]
) -> tuple[pd.DataFrame, list[LeftOut]]:
    """Add what was found out about the files, and leave the unreadable ones out.

    Args:
        rows: N rows.
        decoded: N, in the order of the rows.
        pictures: The file of each id.

    Returns:
        The rows with image_row, sha256, width and height; and those left out.
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
    )
    kept = found[is_readable].reset_index(drop=True)
    return kept.assign(image_row=np.arange(len(kept), dtype=np.int64)), left_out


def check_what_is_left(
    rows: pd.DataFrame, left_out: Sequence[LeftOut], data: DataSettings
) -> None:
    """Check that the rows with a readable picture still make a task.

    Raises:
        UserError: A part is gone, or the target has a single value left.
    """
    first = f"; {left_out[0].id}: {left_out[0].reason}" if left_out else ""
    for part, path in _parts(data):
        if not (rows["part"] == part).any():
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
    classes = sorted(values.unique().tolist())
    index = pd.Categorical(rows["target"], categories=classes).codes
    return rows.assign(class_index=index.astype(np.int64)), classes


def check_groups(cv: str, rows: pd.DataFrame) -> None:
    """Refuse too few groups before any picture is decoded.

    Raises:
        UserError: There are fewer groups than folds.
    """
    is_dealt = (rows["part"] == "train") & ~rows["is_excluded"]
    if is_grouped(cv):
        groups = rows.loc[is_dealt, "group"]
        n_alone = int((groups == "").sum())  # each of these is a group of its own
        check_count(cv, groups[groups != ""].nunique() + n_alone)


def with_folds(
    rows: pd.DataFrame, cv: str | None, *, has_group: bool, seed: int
) -> pd.DataFrame:
    """Deal the rows of the training part to folds; all others get -1.

    A cluster is what a fold must not tear: the user's groups, joined where pictures
    are the same byte by byte.

    Args:
        rows: With group ("" for none), sha256, is_excluded, date, maybe target.
        cv: The scheme; None: no folds.
        has_group: The groups are the user's.
        seed: Of the deal.

    Returns:
        The rows with cluster and fold, and the id as group where there was none.
    """
    groups, digests = list(rows["group"]), list(rows["sha256"])
    rows = rows.assign(
        cluster=clusters(groups if has_group else None, digests),
        group=rows["group"].where(rows["group"] != "", rows["id"]),
        fold=np.int64(-1),
    )
    if cv is None:
        return rows
    is_dealt = (rows["part"] == "train") & ~rows["is_excluded"]
    dealt = rows[is_dealt]
    if dealt.empty:
        raise UserError("every row is excluded from validation; leave some of them in")
    labels = strata(dealt["target" if "target" in dealt else "date"])
    kept = dealt["cluster"]
    rows.loc[is_dealt, "fold"] = assign_folds(cv, labels, kept, seed)
    return rows


def weights_of(table: pd.DataFrame) -> NDArray[np.float64]:
    """Give what the (N,) rows of a prepared table weigh in training, from 0 to 1.

    Scores never ask for it: a doubted row is held out with its label, like any other.
    Tables that were prepared before there was such a column weigh 1.
    """
    if "weight" not in table:
        return np.ones(len(table))
    return table["weight"].to_numpy(dtype=np.float64)


def _parts(data: DataSettings) -> list[tuple[str, Path]]:
    named = (("train", data.train), ("test", data.test or data.sample))
    return [(part, path) for part, path in named if path]


def _difference(ids: Sequence[str], stems: Sequence[str]) -> str:
    """Guess why no id of a table is the name of a picture."""
    seen = f"an id is {ids[0]!r}, a picture {stems[0]!r}"
    known, asked = set(stems), set(ids)
    if {id_.rpartition(".")[0] for id_ in asked} & known:
        return f"an id is without extension ({seen})"
    if {stem.lstrip("0") for stem in known} & {id_.lstrip("0") for id_ in asked}:
        return f"the ids have lost their leading zeros ({seen})"
    if {stem.lower() for stem in known} & {id_.lower() for id_ in asked}:
        return f"upper and lower case differ ({seen})"
    return f"{seen}; the id is the file's name without extension"
