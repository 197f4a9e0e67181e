"""csv files as spreadsheets leave them: columns of text, and the line of every row.

What a spreadsheet leaves behind is read over: ``sep=;`` and blank lines before the
header, rows and columns without any content, separators at the end of a line.
"""

import csv
import io
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from data_prep.errors import UserError

SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
SEPARATOR_MARK = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)  # Excel's first line
QUOTED = re.compile(r'"[^"]*"')
N_HEAD = 1000  # lines in which the header is looked for
N_TRIED = 20  # lines that tell one separator from another
OTHER_FILES = {  # by their first bytes: what it is, and what to do
    b"PK\x03\x04": ("a workbook or another archive", "save the sheet as CSV UTF-8"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", "save the sheet as CSV UTF-8"),
    b"PAR1": ("a parquet file", "name it .parquet"),
    b"\x1f\x8b": ("a compressed file", "unpack it"),
    b"\xff\xfe": ("in UTF-16", "save it as CSV UTF-8"),
    b"\xfe\xff": ("in UTF-16", "save it as CSV UTF-8"),
}
WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods")
csv.field_size_limit(2**31 - 1)  # the file is in memory already

Rows = tuple[Sequence[int], list[list[str]]]  # first line in the file, and the cells


def read_csv(path: Path) -> pd.DataFrame:
    """Read a csv file; its cells are text, None where there is none.

    Commas, semicolons and tabs between the cells are told apart by the header.

    Returns:
        The table. Its index ``line`` is where a row begins in the file, from 1, and
        ``attrs["separator"]`` is what stands between the cells.

    Raises:
        UserError: It is not a table; the message says in which line.
    """
    text = _text_of(path)
    head = list(itertools.islice(io.StringIO(text, newline=""), N_HEAD))
    # the first line that is more than blanks and separators
    has_content = (k for k, line in enumerate(head) if line.strip('\ufeff \t\r\n,;"'))
    first = next(has_content, None)
    if first is not None and (mark := SEPARATOR_MARK.fullmatch(head[first])):
        separator, n_skipped = mark[1], first + 1
    else:
        separator, n_skipped = _separator_of(head[first or 0 :]), first or 0
    lines, rows = _rows_of(text, separator, n_skipped, path)
    if not rows:
        raise UserError(f"{path}: the first line is empty; it names the columns")
    return _frame_of(lines, rows, separator, path)


def _text_of(path: Path) -> str:
    content = path.read_bytes()
    for start, (noun, remedy) in OTHER_FILES.items():
        if content.startswith(start):
            is_workbook = path.suffix.lower() in WORKBOOKS
            description = f"a workbook ({path.suffix.lower()})" if is_workbook else noun
            raise UserError(f"{path}: not a csv file but {description}; {remedy}")
    if b"\0" in content[:1000]:
        raise UserError(
            f"{path}: not in UTF-8 but in UTF-16, or no text at all; save it as CSV"
            " UTF-8"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: not in UTF-8: byte 0x{content[error.start]:02x} in line {line},"
            " as Latin-1 or Windows-1252 have it; save it as CSV UTF-8"
        ) from None


def _separator_of(lines: Sequence[str]) -> str:
    """Find what separates the cells: the mark in the header.

    Where the header holds several, that by which most rows are as wide as the header,
    and then the one with most cells.
    """
    header = QUOTED.sub("", lines[0]) if lines else ""
    candidates = [mark for mark in SEPARATORS if mark in header]
    if len(candidates) < 2:
        return candidates[0] if candidates else ","

    def fit(mark: str) -> tuple[int, int]:
        widths = [
            len(row) for row in csv.reader(lines[:N_TRIED], delimiter=mark) if row
        ]
        return widths.count(widths[0]), widths[0]

    return max(candidates, key=fit)


def _rows_of(text: str, separator: str, n_skipped: int, path: Path) -> Rows:
    """Give all rows with any content, and the line in which each begins."""
    lines = io.StringIO(text, newline="")
    for _ in range(n_skipped):
        next(lines)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    starts, rows, start = [], [], n_skipped + 1
    try:
        for cells in reader:
            if any(map(str.strip, cells)):
                starts.append(start)
                rows.append(cells)
            start = n_skipped + reader.line_num + 1
    except csv.Error as error:
        last = n_skipped + reader.line_num
        opening = _open_quote(text, last)
        fault = (
            f"the quote that opens in line {opening} is not closed"
            if opening
            else f"text follows a closing quote in line {last}"
        )
        raise UserError(
            f"{path}: not a csv file: {fault} ({error}); close it, and write a quote"
            ' inside a cell as ""'
        ) from None
    return starts, rows


def _open_quote(text: str, last: int) -> int | None:
    """Give the line, up to ``last``, in which the quote opens that is open there."""
    opening, is_open = None, False
    lines = itertools.islice(io.StringIO(text, newline=""), last)
    for line, content in enumerate(lines, start=1):
        if content.count('"') % 2:
            is_open = not is_open
            opening = line if is_open else opening
    return opening


def _frame_of(
    lines: Sequence[int], rows: list[list[str]], separator: str, path: Path
) -> pd.DataFrame:
    """Make a table of rows, the header first, whose first lines are ``lines``."""
    header, lines, rows = rows[0], lines[1:], rows[1:]
    names = [name.strip() for name in header]
    width = len(names)
    n_named = max((k for k, name in enumerate(names, start=1) if name), default=0)
    ragged = []
    for line, cells in zip(lines, rows, strict=True):
        if len(cells) != width:
            if len(cells) < n_named or any(map(str.strip, cells[width:])):
                ragged.append(line)
            cells[width:] = [""] * (width - len(cells))
    if ragged:
        mark = SEPARATORS.get(separator, repr(separator))
        raise UserError(
            f"{path}: {len(ragged)} rows have not the {n_named} cells of the header,"
            f" the first in line {ragged[0]}; put cells that hold {mark} in quotes"
        )
    _check_single(names, rows, path)
    columns = [
        [cell if cell and not cell.isspace() else None for cell in column]
        for column in zip(*rows, strict=True)
    ] or [[] for _ in names]
    cells_of: dict[str, list[str | None]] = {}
    number_of: dict[str, int] = {}
    for number, (name, column) in enumerate(zip(names, columns, strict=True), 1):
        if not name and not any(column):
            continue
        if name and name in number_of:
            raise UserError(f"{path}: two columns are called {name!r}; rename one")
        if name in number_of:
            raise UserError(
                f"{path}: columns {number_of[name]} and {number} have no name in the"
                " header; name them"
            )
        cells_of[name], number_of[name] = column, number
    table = pd.DataFrame(
        cells_of,
        index=pd.Index(list(lines), dtype="int64", name="line"),
        dtype=object,
    )
    table.attrs["separator"] = separator
    return table


def _check_single(
    names: Sequence[str], rows: Sequence[Sequence[str]], path: Path
) -> None:
    """Refuse a single column whose cells look like several."""
    if len(names) > 1:
        return
    remedy = (
        "separate the cells by commas, semicolons or tabs, without quotes around whole"
        " lines"
    )
    if any(mark in names[0] for mark in (*SEPARATORS, "|")):
        raise UserError(f"{path}: the header is the one cell {names[0]!r}; {remedy}")
    for mark in (";", "\t"):
        if rows and all(mark in cells[0] for cells in rows):
            raise UserError(
                f"{path}: the header is the one cell {names[0]!r}, but all rows look"
                f" like several ({rows[0][0]!r}); {remedy}"
            )
