"""Ids that miss their picture by a simple difference, such as lost leading zeros.

A table that went through a spreadsheet, or pictures that went through a browser, differ
in little from what they were. Such an id is never matched silently: it is told, with
the difference, and whoever knows the pictures says which of the two is right.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from data_prep.pictures.decode import FORMATS

RAW = ("arw", "cr2", "cr3", "dng", "eps", "nef", "orf", "pdf", "raf", "raw", "rw2")
ENDINGS = frozenset(f".{name}" for name in (*FORMATS, *RAW, "svg"))
ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
NUMBER = re.compile(r"\d+(\.\d+)?(e\+?\d{1,2})?")  # as a spreadsheet writes it
SEPARATORS = re.compile(r"(?:[\s_-]|%20)+")
COPY_MARK = re.compile(
    r"(\s*\(\d{1,3}\)|[\s_-]+(copy|kopie|copie|copia)(\s*\(?\d{1,3}\)?)?)$", re.I
)


def _without_zeros(text: str) -> str:
    return ZEROS.sub("", text)


def _without_extension(text: str) -> str:
    head, dot, tail = text.rpartition(".")
    return head if head and f"{dot}{tail}".lower() in ENDINGS else text


def _with_one_separator(text: str) -> str:
    return SEPARATORS.sub("_", text.strip())


def _compatible(text: str) -> str:
    """Bring equal-looking letters to one form, and drop those that nobody sees."""
    if text.isascii():  # has neither; a look at each letter takes most of the time
        return text
    plain = unicodedata.normalize("NFKC", text)
    return "".join(c for c in plain if unicodedata.category(c) != "Cf")


def _without_copy_mark(text: str) -> str:
    return COPY_MARK.sub("", text) or text


def _without_folders(text: str) -> str:
    return text.replace("\\", "/").rpartition("/")[2] or text


def _as_number(text: str) -> str:
    """Write a whole number without ``.0`` or exponent, and without leading zeros."""
    if text.isdecimal():
        return text.lstrip("0") or "0"
    if not (text[:1].isdecimal() and NUMBER.fullmatch(text.lower())):
        return text
    number = Decimal(text)
    return f"{number:.0f}" if number == number.to_integral_value() else text


def _without_differences(text: str) -> str:
    """Take all differences away; blanks, hyphens and underscores become one."""
    plain = _without_folders(_compatible(text)).casefold().strip()
    plain = _without_extension(_without_copy_mark(_without_extension(plain)))
    return _with_one_separator(_as_number(_without_zeros(plain)))


def _rough_form(text: str) -> str:
    """Take more away than any difference does.

    What agrees but for a difference agrees in this form, so only ids and names of the
    same rough form need be compared.
    """
    return _without_differences(text).replace("_", "")


DIFFERENCES: dict[str, Callable[[str], str]] = {  # in the order they are tried
    "leading zeros": _without_zeros,
    "the Unicode form": _compatible,
    "upper and lower case": str.casefold,
    "the extension": _without_extension,
    "blanks": lambda text: "".join(text.split()),
    "blanks, hyphens and underscores": _with_one_separator,
    "a mark of a copy": _without_copy_mark,
    "the folder": _without_folders,
    "the form of a number": _as_number,
}
SEVERAL = "several of these differences"
TRIED = (*DIFFERENCES.items(), (SEVERAL, _without_differences))


@dataclass(frozen=True, kw_only=True)
class NearIds:
    """Ids without a picture, and the pictures whose names are nearly theirs.

    Attributes:
        pairs: The name of each id that has one such picture, which is no other id's.
        unclear: The names of each id where it is not one to one.
    """

    pairs: Mapping[str, str]
    unclear: Mapping[str, Sequence[str]]

    @property
    def differences(self) -> dict[str, str]:
        """What keeps the two of each pair apart, by id."""
        return {
            id_: next(text for text, form in TRIED if form(id_) == form(name))
            for id_, name in self.pairs.items()
        }

    def of(self, ids: Iterable[str]) -> "NearIds":
        """Take some of the ids."""
        chosen = frozenset(ids)
        return NearIds(
            pairs={id_: n for id_, n in self.pairs.items() if id_ in chosen},
            unclear={id_: n for id_, n in self.unclear.items() if id_ in chosen},
        )

    def with_shared(self) -> "NearIds":
        """Pair also what is unclear only because several ids are near one picture."""
        shared = {id_: near[0] for id_, near in self.unclear.items() if len(near) == 1}
        unclear = {id_: n for id_, n in self.unclear.items() if id_ not in shared}
        return NearIds(pairs={**self.pairs, **shared}, unclear=unclear)

    def __str__(self) -> str:
        """Tell how many ids differ in what, with two examples each."""
        return self.text("picture")

    def text(self, noun: str) -> str:
        """Tell the same where the names are of something else than pictures."""
        by_difference: dict[str, list[str]] = {}
        for id_, difference in self.differences.items():
            by_difference.setdefault(difference, []).append(id_)
        return "; ".join(
            f"{difference} ({len(ids):,}: "
            + ", ".join(f"id {id_!r}, {noun} {self.pairs[id_]!r}" for id_ in ids[:2])
            + (", ...)" if len(ids) > 2 else ")")
            for difference, ids in sorted(
                by_difference.items(), key=lambda item: -len(item[1])
            )
        )


def near_ids(ids: Iterable[str], names: Iterable[str]) -> NearIds:
    """Pair ids with names that are the same but for a simple difference.

    Args:
        ids: Those of a table that have no picture.
        names: Pictures, by their ids; those that a row has already are best left out.

    Returns:
        The pairs, one to one, and what is unclear; both in the order of the ids.

    Example:
        >>> print(near_ids(["1", "2"], ["001", "002", "x"]))
        leading zeros (2: id '1', picture '001', id '2', picture '002')
    """
    distinct = list(dict.fromkeys(ids))
    ids_by_form = _grouped(distinct, _rough_form)
    names_by_form = _grouped(dict.fromkeys(names) if distinct else (), _rough_form)
    pairs: dict[str, str] = {}
    unclear: dict[str, Sequence[str]] = {}
    for form, near_names in names_by_form.items():
        if form in ids_by_form:
            _pair_up(ids_by_form[form], near_names, pairs, unclear)
    return NearIds(
        pairs={id_: pairs[id_] for id_ in distinct if id_ in pairs},
        unclear={id_: unclear[id_] for id_ in distinct if id_ in unclear},
    )


def near_hint(ids: Iterable[str], names: Iterable[str], noun: str) -> str:
    """Tell of ids that are not there what they would be but for a simple difference.

    Args:
        ids: Those that are not there.
        names: Those that are, and that they might be.
        noun: What has these names.

    Example:
        >>> near_hint(["1", "y"], ["001", "x"], "row")
        "; nearly there but for leading zeros (1: id '1', row '001')"
        >>> near_hint(["y"], ["x"], "row")
        ''
    """
    near = near_ids(ids, names).with_shared()
    return f"; nearly there but for {near.text(noun)}" if near.pairs else ""


def _pair_up(
    ids: Sequence[str],
    names: Sequence[str],
    pairs: dict[str, str],
    unclear: dict[str, Sequence[str]],
) -> None:
    """Pair what agrees but for one difference, or for several, where it is clear.

    Args:
        ids: Ids of the same rough form.
        names: Names of that form.
        pairs: Filled: by id, the name.
        unclear: Filled: by id, the names where it is not one to one.
    """
    for _, form in TRIED:
        ids_of, names_of = _grouped(ids, form), _grouped(names, form)
        for text, same_ids in ids_of.items():
            same_names = names_of.get(text, ())
            if len(same_ids) == len(same_names) == 1:
                pairs[same_ids[0]] = same_names[0]
        paired_names = {pairs[id_] for id_ in ids if id_ in pairs}
        ids = [id_ for id_ in ids if id_ not in pairs]
        names = [name for name in names if name not in paired_names]
    names_of = _grouped(names, _without_differences)
    for id_ in ids:
        if near := names_of.get(_without_differences(id_)):
            unclear[id_] = near


def _grouped(
    texts: Iterable[str], form: Callable[[str], str]
) -> dict[str, Sequence[str]]:
    """Group texts by a form of theirs."""
    groups: dict[str, list[str]] = {}
    for text in texts:
        groups.setdefault(form(text), []).append(text)
    return dict(groups)
