"""What is proposed for an experiment file: tables of keys, each with its reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

Value = str | int | float | bool | Path | Sequence[Path] | Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A key of the file.

    Attributes:
        key: Its name.
        value: Its value; paths as seen from where one stands.
        reason: Why this one; empty: nothing to say.
        is_offered: It is written as a comment, for the user to switch on.
    """

    key: str
    value: Value
    reason: str = ""
    is_offered: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """A table of the file, such as ``[data]``."""

    name: str
    entries: Sequence[Entry]


@dataclass(frozen=True, kw_only=True)
class CopiedTable:
    """A table to be written beside the file, with the ids as the stages want them.

    Attributes:
        name: Of the file.
        header: Names of the columns.
        rows: The cells, as text.
    """

    name: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
