"""Tables and pictures matched by id: which row has a picture, and which lacks one.

Nothing is matched by a guess. An id that misses its picture by a simple difference is
told, with the difference; see ``near_ids``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from data_prep.errors import UserError
from data_prep.experiment import DataSettings
from data_prep.pictures.folders import Folders, LeftOut, explain_missing
from data_prep.pictures.near_ids import NearIds, near_ids


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
    without_row = sorted(set(pictures) - set(rows["id"]))
    near = near_ids(missing, without_row)
    for split, path in tables_of_splits(data):
        ids = rows["id"][rows["split"] == split]
        if not has_picture[ids.index].any():
            first = explain_missing(ids[:1], folders, {})[0]
            raise UserError(
                f"{path}: none of its {len(ids):,} ids has a picture in"
                f" {', '.join(map(str, data.images))};"
                f" {_difference(list(ids), list(pictures), near)}"
                + (f"; {first.reason}" if first.file else "")
            )
        _check_near(near.of(ids[~has_picture]), path)
    left_out = explain_missing(
        missing, folders, _hints(list(missing), near, rows, pictures)
    )
    explained_files = {row.file for row in left_out}
    left_out += [
        unusable
        for id_, unusable in folders.unusable.items()
        if unusable.file not in explained_files and id_ not in pictures
    ]
    unlabelled = pd.DataFrame({"id": without_row, "split": "unlabelled", "group": ""})
    unlabelled["is_excluded"], unlabelled["weight"] = False, 1.0
    unlabelled["object"] = without_row
    tables = [table for table in (rows[has_picture], unlabelled) if len(table)]
    matched = pd.concat(tables).reindex(columns=rows.columns)
    return matched.sort_values("id", ignore_index=True), left_out


def match_attributes(
    attributes: pd.DataFrame, folders: Folders, data: DataSettings
) -> int:
    """Count the ids of the attribute tables that have no picture.

    Raises:
        UserError: None of them has one; or some would have one but for a simple
            difference.
    """
    has_picture = attributes["id"].isin(list(folders.pictures))
    unknown = attributes["id"][~has_picture]
    if unknown.empty:
        return 0
    tables = ", ".join(map(str, data.attributes))
    near = near_ids(unknown, folders.pictures)
    if not has_picture.any():
        raise UserError(
            f"{tables}: none of its {unknown.nunique():,} ids has a picture;"
            f" {_difference(list(unknown), list(folders.pictures), near)}"
        )
    _check_near(near.with_shared(), tables)
    return int(unknown.nunique())


def tables_of_splits(data: DataSettings) -> list[tuple[str, Path]]:
    """Give the splits that have a table: name and path."""
    tables = (("train", data.train), ("test", data.test or data.sample))
    return [(split, path) for split, path in tables if path]


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
    if 2 * len(shared.pairs) < len(set(ids)):  # differences explain too little
        example = f"an id is {ids[0]!r}, a picture {names[0]!r}"
        return f"{example}; the id is the file's name without extension"
    difference, _ = Counter(shared.differences.values()).most_common(1)[0]
    id_ = next(i for i, text in shared.differences.items() if text == difference)
    example = f"an id is {id_!r}, a picture {shared.pairs[id_]!r}"
    if difference == "the extension":
        return f"an id is without extension ({example})"
    if difference == "leading zeros":
        return f"the ids have lost their leading zeros ({example})"
    return f"ids and pictures differ in {difference} ({example})"
