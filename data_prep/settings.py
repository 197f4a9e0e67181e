"""Settings of a stage: dataclass defaults, then the experiment file, then flags.

One dotted name does for everything: ``pretext.jigsaw`` is the module, the command after
``python -m``, the table ``[pretext.jigsaw]`` of an experiment file, and the folder
inside a run.

A stage declares a frozen dataclass whose fields are ``Annotated[type, "help"]``. The
types are str, int, float, bool, Path, ``Literal``, a tuple of str or int (commas on the
command line, an array in TOML), and any of them ``| None``. Further annotations say
more: ``Ge(0)`` and the like which range a value has (``data_prep.ranges``),
``MayBePath`` that a text may be a path, ``Example(...)`` what one may write where the
default does not show it, ``NOT_HASHED`` that no stage is stale by the field, since it
changes how fast a result comes, ``SWITCH`` that none of before there was the field is:
at its default all is as it was, and no record has it.

A command that is no stage declares its flags in the same way, and reads them by
``from_flags``. There ``POSITIONAL`` makes an argument of a field, ``SEVERAL`` lets the
values of a tuple follow their flag one by one, and a field without default is required.
"""

import argparse
import difflib
import math
import re
import types
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin
from typing import get_type_hints as hints_of

from data_prep.errors import UserError
from data_prep.file_paths import ALIKE, Locate, located, without_folders
from data_prep.renamed import new_name
from data_prep.synonyms import answer

NOT_HASHED, SWITCH = "not hashed", "recorded only where it is used"
MAX_LISTED = 30  # names in a message; a table has thousands of ids
N_NEAREST = 3  # of more names
POSITIONAL, SEVERAL = "positional", "several"
FLAG = re.compile(
    r"(?P<command>python -m [^;)]*)"
    r"|(?<![\w-])(?P<flag>--[a-z][a-z0-9-]*)(?: (?P<value>[\w.+-]*[\w]))?"
)
TYPE_NAMES = {
    **{str: "a text", int: "a whole number", float: "a number", Path: "a path"},
    bool: "true or false",
}

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Example:
    """A value that one may write, for the reference; see ``data_prep.settings``."""

    value: Any


@dataclass(frozen=True, kw_only=True)
class Field:
    """One setting: its name, type, help text, default and further annotations."""

    name: str
    type: Any
    help: str
    default: Any
    is_required: bool
    annotations: tuple[Any, ...]

    @property
    def example(self) -> Any:
        """A value to show: of a switch the other one, of choices one more."""
        for annotation in self.annotations:
            if isinstance(annotation, Example):
                return annotation.value
        value_type = without_none(self.type)
        if value_type is bool:
            return not self.default
        if get_origin(value_type) is Literal:
            choices = get_args(value_type)
            return next(choice for choice in choices if choice != self.default)
        return self.default


def fields_of(settings_class: type[Any]) -> dict[str, Field]:
    """List the settings a dataclass declares, by name."""
    hints = hints_of(settings_class, include_extras=True)
    declared = {}
    for item in fields(settings_class):
        type_, *annotations = get_args(hints[item.name])
        is_required = item.default is MISSING
        declared[item.name] = Field(
            name=item.name,
            type=type_,
            help=next(text for text in annotations if isinstance(text, str)),
            default=None if is_required else item.default,
            is_required=is_required,
            annotations=tuple(annotations),
        )
    return declared


def recorded(settings: Any) -> dict[str, Any]:
    """Give the settings that decide a result, as plain JSON values.

    Of what may be a path the last part is given, after ``./``: where it lies depends on
    where one stands, and its content has a digest of its own.
    """
    declared = fields_of(type(settings))
    return {
        name: _as_json(without_folders(value, declared[name].annotations))
        for name, value in asdict(settings).items()
        if NOT_HASHED not in (marks := declared[name].annotations)
        and not (SWITCH in marks and value == declared[name].default)
    }


def nearest(name: str, choices: Iterable[str], *, is_key: bool = False) -> str:
    """Say which of some names was probably meant, or which there are.

    Args:
        name: As it was typed.
        choices: Names that there are.
        is_key: They are keys or flags, and no names of the user's.
    """
    choices = sorted(choices)
    if hint := near(name, choices, is_key=is_key):
        return hint
    n_more = len(choices) - MAX_LISTED
    if is_key or n_more <= 0:
        more = f", and {n_more:,} more" if n_more > 0 else ""
        return f"there are: {', '.join(choices[:MAX_LISTED]) or 'none'}{more}"
    by_word = {_word(choice): choice for choice in choices}
    close = difflib.get_close_matches(_word(name), by_word, n=N_NEAREST, cutoff=0.0)
    listed = ", ".join(by_word[word] for word in close)
    return f"the nearest of {len(choices):,} are: {listed}"


def near(name: str, choices: Sequence[str], *, is_key: bool = False) -> str:
    """Say which of some names was probably meant; empty: none is near.

    What others call it comes before what is spelled alike. See ``nearest``.
    """
    if new := new_name(name, choices):
        return f"it was renamed: write {new}"
    if synonym := answer(name, choices, is_key=is_key):
        return synonym
    by_form = {unicodedata.normalize("NFC", choice): choice for choice in choices}
    same = by_form.get(unicodedata.normalize("NFC", name), name)
    if same != name:
        return f"{same!r} has another Unicode form; copy the name from there"
    by_word = {_word(choice): choice for choice in choices}
    close = difflib.get_close_matches(_word(name), by_word, n=1, cutoff=ALIKE)
    return f"did you mean {by_word[close[0]]!r}?" if close else ""


def _word(name: str) -> str:
    """Give a name as it is compared: every flag has dashes, so they tell nothing."""
    return name.lstrip("-").replace("-", "_").casefold()


def from_table(
    settings_class: type[Settings],
    table: Mapping[str, Any],
    location: str,
    flags: Mapping[str, Any],
    *,
    locate: Locate | None = None,
) -> Settings:
    """Build the settings from a TOML table and the flags that override it.

    Args:
        settings_class: Dataclass of the settings.
        table: Keys and values as read from TOML.
        location: Of the table, for the messages.
        flags: Values already checked, such as those of the command line.
        locate: Resolves a path of the table; None: it stays as it is.

    Raises:
        UserError: A key is unknown, a value has the wrong type or range, or a path is
            relative to where one stands and not to the file of the table.
    """
    declared = fields_of(settings_class)
    values = {}
    for key, value in table.items():
        if key not in declared:
            hint = nearest(key, declared, is_key=True)
            raise UserError(f"{location}: unknown key {key!r}; {hint}")
        try:
            values[key] = _checked(value, declared[key].type)
            if locate:
                values[key] = located(values[key], declared[key].annotations, locate)
        except UserError as error:
            raise UserError(f"{location}: {key} = {error}") from None
    try:
        return settings_class(**{**values, **flags})
    except UserError as error:
        location = location if _refuses(settings_class, values) else "command line"
        raise UserError(f"{location}: {error}") from None


def from_flags(
    settings_class: type[Settings], command: str, argv: Sequence[str] | None = None
) -> Settings:
    """Read the settings of a command that is no stage, from its flags alone.

    Args:
        settings_class: Dataclass of the settings; its docstring opens ``--help``.
        command: What follows ``python -m``.
        argv: Arguments after the program's name; None reads ``sys.argv``.

    Raises:
        UserError: A value is out of its range.
    """
    parser = Parser(
        prog=f"python -m {command}", description=(settings_class.__doc__ or "").strip()
    )
    for field in fields_of(settings_class).values():
        options = _parsing(field.type) | _described(field)
        value_type = without_none(field.type)
        is_positional = POSITIONAL in field.annotations
        if field.type is bool:  # there is no file that said otherwise
            options = {"action": "store_true", "help": field.help.replace("%", "%%")}
        elif {POSITIONAL, SEVERAL} & {*field.annotations} and _is_tuple(value_type):
            options |= _parsing(get_args(value_type)[0])
            options["nargs"] = "+" if field.is_required else "*"
        elif is_positional and not field.is_required:
            options["nargs"] = "?"
        if is_positional:
            name, options["metavar"] = field.name, field.name.upper()
        else:
            name, options["required"] = flag_of(field), field.is_required
            options["dest"] = field.name
        parser.add_argument(name, default=field.default, **options)
    flags = parser.parse(argv)
    return settings_class(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in flags.items()}
    )


def as_keys(text: str, settings_class: type[Any]) -> str:
    """Write the flags of a stage that a text names as an experiment file has them.

    What stands in a whole command stays as it is.

    Args:
        text: Such as ``"give a smaller --batch-size, or --threads 1"``.
        settings_class: Of the stage.
    """
    by_flag = {flag_of(field): field for field in fields_of(settings_class).values()}

    def key_of(match: re.Match[str]) -> str:
        if match["command"]:
            return match["command"]
        field, value = by_flag.get(match["flag"]), match["value"]
        if field is None:
            return match[0]
        if value is None:
            return field.name
        choices = get_args(without_none(field.type))
        if value in choices:
            return f'{field.name} = "{value}"'
        is_number = re.fullmatch(r"-?[\d.]+(e-?\d+)?", value)
        return f"{field.name} {'= ' if is_number else ''}{value}"

    return FLAG.sub(key_of, text)


def add_flags(parser: argparse.ArgumentParser, settings_class: type[Any]) -> None:
    """Give the parser a flag for each setting, with help, choices and default.

    What is not given is not in the result of parsing: the file may say it.
    """
    group = parser.add_argument_group("settings")
    for field in fields_of(settings_class).values():
        options = _parsing(field.type) | _described(field)
        group.add_argument(flag_of(field), default=argparse.SUPPRESS, **options)


def flag_of(field: Field) -> str:
    """Name the flag of a setting."""
    return f"--{field.name.rstrip('_').replace('_', '-')}"  # for_ is --for


def _described(field: Field) -> dict[str, str]:
    return {"help": f"{field.help}{shown(field.default)}".replace("%", "%%")}


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are one line with the nearest name."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **options,
        )

    def parse(self, argv: Sequence[str] | None) -> dict[str, Any]:
        """Parse all of ``argv``; an unknown flag is named with its nearest relative."""
        parsed, unknown = self.parse_known_intermixed_args(argv)
        if unknown:
            flags = [text for text in self._option_string_actions if text[:2] == "--"]
            word = unknown[0].partition("=")[0]
            hint = nearest(word, flags, is_key=word[:1] == "-")
            self.error(f"unknown argument {word!r}; {hint}")
        return vars(parsed)

    def error(self, message: str) -> NoReturn:
        """Leave with one line on the standard error."""
        self.exit(2, f"{self.prog}: {message}\n")


def _refuses(settings_class: type[Any], values: Mapping[str, Any]) -> bool:
    try:
        settings_class(**values)
    except UserError:
        return True
    return False


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_as_json(element) for element in value]
    return str(value) if isinstance(value, Path) else value


def shown(value: Any) -> str:
    """Tell the default; where it is nothing, the help says what that means."""
    if value is None or value in ("", ()):
        return ""
    if isinstance(value, bool):
        text = "on" if value else "off"
    else:
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f" (default: {text})"


def without_none(value_type: Any) -> Any:
    """Give the type of what may be left out."""
    if get_origin(value_type) in (types.UnionType, Union):
        return next(arg for arg in get_args(value_type) if arg is not type(None))
    return value_type


def _is_tuple(value_type: Any) -> bool:
    return get_origin(value_type) is tuple


def _parsing(value_type: Any) -> dict[str, Any]:
    """Tell argparse how to read one value of the type."""
    value_type = without_none(value_type)
    if value_type is bool:  # type=bool would read "--flag False" as True
        return {"action": argparse.BooleanOptionalAction}
    is_tuple = _is_tuple(value_type)
    item = get_args(value_type)[0] if is_tuple else value_type
    convert = item if item in (int, float) else str

    def read(text: str) -> Any:
        value: Any = text
        with suppress(ValueError):  # then it is refused as a text
            words = (word.strip() for word in text.split(","))
            value = [convert(w) for w in words if w] if is_tuple else convert(text)
        try:
            return _checked(value, value_type)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    if get_origin(value_type) is Literal:
        return {"type": read, "metavar": f"{{{','.join(get_args(value_type))}}}"}
    return {"type": read, "metavar": item.__name__.upper() + ",..." * is_tuple}


def _checked(value: Any, value_type: Any) -> Any:
    """Check a value, of TOML or a flag, against its type."""
    value_type = without_none(value_type)
    if get_origin(value_type) is Literal:
        if value not in get_args(value_type):
            raise UserError(f"{value!r}: {nearest(str(value), get_args(value_type))}")
        return value
    if _is_tuple(value_type):
        item = get_args(value_type)[0]
        values = value if isinstance(value, list) else [value]
        if item is str:  # folds = [0, 1] means the same as ["0", "1"]
            values = [
                str(element) if type(element) is int else element for element in values
            ]
        return tuple(_checked(element, item) for element in values)
    if value_type is float and type(value) is int:
        return float(value)
    if value_type is Path and isinstance(value, str):
        return Path(value)
    if type(value) is not value_type or (
        value_type is float and not math.isfinite(value)
    ):
        raise UserError(f"{value!r} is not {TYPE_NAMES[value_type]}")
    return value
