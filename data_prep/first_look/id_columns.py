"""Tables and the pictures that their rows are of.

The id of a row may be written as the pipeline wants it, the name of a file without
extension, or with extension, or with the folders before it, as Hugging Face's
``file_name`` is. What is written otherwise is copied with plain ids.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import UserError
from data_prep.first_look.columns import Column, look_at
from data_prep.first_look.picture_ids import PictureIds
from data_prep.settings import nearest

if TYPE_CHECKING:
    import pandas as pd

LEAST_SHARE = 0.5  # of its values that name pictures, for a column of ids
NAMELESS = re.compile(r"(Unnamed: \d+)?")  # as pandas calls what has no name
N_TRIED = 200  # values that show whether a column names pictures at all
PREFERRED = ("id", "image_id", "file_name", "filename", "image", "file", "path", "name")


@dataclass(frozen=True, kw_only=True)
class IdTable:
    """A table whose N rows are of pictures.

    Attributes:
        path: The file.
        cells: N rows, as ``data_prep.tables`` reads them.
        id_column: Name of the column that names the pictures.
        ids: (N,) their ids; an id may be there several times.
        is_plain: The cells are the ids as they are, in a table that stages read.
        n_pictures: Different ids that have a picture.
        columns: The other columns.
        counter: Name of a column that only counts the rows, and is none of those.
    """

    path: Path
    cells: "pd.DataFrame"
    id_column: str
    ids: Sequence[str]
    is_plain: bool
    n_pictures: int
    columns: Sequence[Column]
    counter: str | None = None

    @property
    def is_long(self) -> bool:
        """Whether a picture has several rows."""
        return len(set(self.ids)) < len(self.ids)

    @property
    def names(self) -> list[str]:
        """The names of the other columns."""
        return [column.name for column in self.columns]

    def column(self, name: str, flag: str) -> Column:
        """Give a column that the user named by a flag.

        Raises:
            UserError: There is no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        hint = nearest(name, self.names)
        raise UserError(f"{flag} {name}: no such column in {self.path}; {hint}")


def read_any(path: Path) -> "pd.DataFrame":
    """Read a csv, parquet or jsonl file; cells of csv files are text.

    Raises:
        UserError: It is no table.
    """
    from data_prep.tables.cells import read_table

    return _read_lines(path) if path.suffix.lower() == ".jsonl" else read_table(path)


def _read_lines(path: Path) -> "pd.DataFrame":
    """Read a file of a JSON object in each line; lists and objects within are dropped.

    Raises:
        UserError: A line is no JSON object.
    """
    import pandas as pd

    rows, lines = [], []
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(
                    f"{path}: line {number} is not JSON: {error}; write an object a"
                    ' line, such as {"file_name": "7.jpg", "label": "oak"}'
                ) from None
            if not isinstance(row, dict):
                raise UserError(f"{path}: line {number} is JSON, but no object {{...}}")
            rows.append(row)
            lines.append(number)
    names = list(dict.fromkeys(name for row in rows for name in row))
    plain = [
        name
        for name in names
        if not any(isinstance(row.get(name), (list, dict)) for row in rows)
    ]
    cells: dict[str, list[Any]] = {
        name: [_cell_of(row.get(name)) for row in rows] for name in plain
    }
    index = pd.Index(lines, dtype="int64", name="line")
    return pd.DataFrame(cells, index=index, dtype=object)


def _cell_of(value: Any) -> str | None:
    """Give a JSON value as the text that a csv file would have."""
    if value is None or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value)


def id_table(
    path: Path, pictures: PictureIds, named_id: str | None = None
) -> IdTable | None:
    """Read a table, and find the column that names its pictures.

    Args:
        path: The file.
        pictures: All pictures.
        named_id: The user's name of the column, if the table has it.

    Returns:
        The table; None where no column names pictures.

    Raises:
        UserError: It is no table.
    """
    from data_prep.tables.cells import as_texts

    cells = read_any(path)
    texts_of = {str(name): as_texts(cells[name]) for name in cells}
    if named_id is not None and named_id in texts_of:
        ranked = [(1.0, named_id)]
    else:
        match_fracs = {
            name: _share_of_pictures(texts, pictures)
            for name, texts in texts_of.items()
        }
        best = max(match_fracs.values(), default=0.0)
        ranked = [
            (share, name)
            for name, share in match_fracs.items()
            if share >= max(LEAST_SHARE, 0.9 * best)
        ]
    if not ranked or cells.empty:
        return None
    is_json = path.suffix.lower() == ".jsonl"

    counter = next((n for n, texts in texts_of.items() if _counts(n, texts)), None)

    def rank(candidate: tuple[float, str]) -> tuple[bool, bool, int, float]:
        share, name = candidate
        lower = name.lower()
        preference = PREFERRED.index(lower) if lower in PREFERRED else len(PREFERRED)
        is_plain = _is_plain(texts_of[name], pictures)
        return name == counter, not is_plain, preference, -share

    id_column = min(ranked, key=rank)[1] if len(ranked) > 1 else ranked[0][1]
    texts = texts_of[id_column]
    id_by_text = {text: pictures.meant_by(text) for text in set(texts)}
    ids = [id_by_text[text] for text in texts]
    return IdTable(
        path=path,
        cells=cells,
        id_column=id_column,
        ids=ids,
        is_plain=ids == texts and not is_json,
        n_pictures=len(set(ids) & pictures.ids),
        columns=[
            look_at(cells[name], str(name))
            for name in cells
            if name not in (id_column, counter)
        ],
        counter=counter if counter != id_column else None,
    )


def _counts(name: str, texts: Sequence[str]) -> bool:
    """Tell whether a column is the index that pandas writes without a name."""
    if not NAMELESS.fullmatch(name):
        return False
    return any(
        [*texts] == [str(k + first) for k in range(len(texts))] for first in (0, 1)
    )


def _is_plain(texts: Sequence[str], pictures: PictureIds) -> bool:
    """Tell whether all names of pictures are without folder and extension."""
    return all(pictures.meant_by(text) == text for text in texts)


def _share_of_pictures(texts: Sequence[str], pictures: PictureIds) -> float:
    """Give the share of a column's different values that name a picture."""
    values = list(dict.fromkeys(text for text in texts if text))
    tried = values[:: max(1, len(values) // N_TRIED)]
    n_hits = sum(pictures.meant_by(text) in pictures.ids for text in tried)
    return n_hits / max(1, len(tried))
