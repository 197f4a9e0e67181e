"""A proposal as the text of an experiment file: keys, with the reasons as comments."""

import json
import os
import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_prep.errors import UserError
from data_prep.first_look.proposal import Entry, Section, Value
from data_prep.pictures.printable import shown

WIDTH = 88
# flags with a value, paths, and words in capitals, which are to be filled in
COMMAND = re.compile(
    r"python -m [\w.]+(?: (?:--[\w-]+(?: [^\s;,]+)?|'[^']*'|[^\s;,]*[/.][^\s;,]+"
    r"|[A-Z]{2,}(?![a-z])))*|--[\w-]+ [^\s;,]+"
)
JOINED = "\0"  # for a blank at which no line may end


def toml_text(sections: Sequence[Section], head: Sequence[str], base: Path) -> str:
    """Write an experiment file.

    Args:
        sections: Its tables.
        head: What is to stand above them, as comments.
        base: Folder of the file, which paths are relative to.

    Raises:
        UserError: A path is not in UTF-8.
    """
    blocks = [[line for text in head for line in comment(text)]]
    for section in sections:
        lines = [f"[{section.name}]"]
        for entry in section.entries:
            lines += _lines_of(entry, base)
        blocks.append(lines)
    return "\n\n".join("\n".join(lines) for lines in blocks) + "\n"


def comment(text: str) -> list[str]:
    """Wrap a text into lines of comment; no command is torn, as it is to be copied."""
    whole = COMMAND.sub(lambda match: match[0].replace(" ", JOINED), text)
    lines = textwrap.wrap(
        whole, WIDTH - 2, break_long_words=False, break_on_hyphens=False
    )
    return [f"# {line.replace(JOINED, ' ')}" for line in lines]


def value_text(value: Value, base: Path) -> str:
    """Write a value as TOML does.

    Raises:
        UserError: It is a path that is not in UTF-8.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Path):
        return _quoted(_path_text(value.absolute(), base.absolute()))
    if isinstance(value, str):
        return _quoted(value)
    items = [value_text(item, base) for item in value]
    line = f"[{', '.join(items)}]"
    if len(line) <= WIDTH - 20:
        return line
    return "\n".join(["[", *(f"    {item}," for item in items), "]"])


def _path_text(path: Path, base: Path) -> str:
    """Write a path as seen from a folder, or whole if only the root is above both.

    >>> _path_text(Path("/home/me/pictures"), Path("/home/me/experiments"))
    '../pictures'
    >>> _path_text(Path("/data/pictures"), Path("/home/me/experiments"))
    '/data/pictures'
    """
    if Path(os.path.commonpath([path, base])) == Path(path.anchor):
        return str(path)
    return os.path.relpath(path, base)


def _lines_of(entry: Entry, base: Path) -> Iterator[str]:
    """Give the lines of a key: its reason, then itself, switched on or off."""
    yield from comment(entry.reason)
    for line in f"{entry.key} = {value_text(entry.value, base)}".splitlines():
        yield f"# {line}" if entry.is_offered else line


def _quoted(text: str) -> str:
    """Write a text between quotes; JSON's marks are TOML's."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(
            f"{shown(text)}: its name is not in UTF-8, and an experiment file is;"
            " rename it"
        ) from None
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
