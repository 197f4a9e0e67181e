"""What is nearly a number, and which names are nearly the same.

Nothing here decides: a person is told, and writes what is meant.
"""

import math
import re
from collections.abc import Mapping

from data_prep.tables.cells import COMMA_NUMBER

# Units are looked for where a number is expected; a letter alone may be half a name,
# as in class 2a, so it n_of only after a blank.
UNITS = (
    *("%", "‰", "€", "$", "£", "¥", "°", "°C", "°F", "EUR", "USD", "GBP", "CHF"),
    *("nm", "µm", "μm", "um", "mm", "cm", "dm", "km", "inch", "px", "ft"),
    *("µg", "mg", "kg", "lb", "lbs", "oz", "ml", "cl", "dl", "ms", "sec", "min"),
    *("day", "days", "year", "years", "percent", "cm2", "cm²", "m2", "m²", "km²"),
)
LETTERS = ("m", "g", "t", "l", "L", "s", "h", "d", "a", "K", "V", "W", "A")
DIGITS = r"[0-9]+([.,' \u00a0\u202f\u2009][0-9]+)*"
UNIT = "|".join(map(re.escape, sorted(UNITS, key=len, reverse=True)))
WITH_UNIT = re.compile(
    rf"[+-]?{DIGITS}\s*({UNIT})|[+-]?{DIGITS}\s+({'|'.join(LETTERS)})"
    rf"|[+-]?({UNIT})\s*[+-]?{DIGITS}",
    re.IGNORECASE,
)
GROUPS = re.compile(
    r"[+-]?[0-9]{1,3}(([ '\u2019\u00a0\u202f\u2009][0-9]{3})+([.,][0-9]+)?"
    r"|(\.[0-9]{3})+(,[0-9]+)?|(,[0-9]{2,3})*,[0-9]{3}(\.[0-9]+)?)"
)
FORCED_TEXT = re.compile(r"""=?"([^"]*)"|['\u2019]([^'\u2019]*)['\u2019]?""")
WHOLE = re.compile(r"0*([0-9]+?)(?:\.0*)?")  # 01, 1 and 1.0
INVISIBLE = re.compile(r"[\s\u200b-\u200d\u2060\ufeff]+")
WORD = re.compile(r"[^\W\d_]{5,}")  # long enough for a letter too many or too few
SHORT_WORD = re.compile(r"[^\W\d_]{3,}")  # for two letters in the wrong order
CODE_LETTERS = 3  # of a word in capitals; AUT is not ATU
PLURAL = re.compile(r"(?<=[^\W\d_]{3})(es|s)(?![^\W_])")
FEW = 5  # rows; a name of fewer may be a slip
TIMES = 3  # as many rows has the name that was meant


def near_number(text: str) -> tuple[str, str] | None:
    """Say how a text that is no number nearly is one, and how to write it.

    Args:
        text: A cell, stripped, that was not read as a number.

    Returns:
        What it is written with, and the remedy; None if it is no number at all.

    Example:
        >>> near_number("12 cm")
        ('a unit', 'write the number alone and the unit into the name of the column')
        >>> near_number("2nd")
    """
    if (cell := FORCED_TEXT.fullmatch(text)) and _is_number_of_python(
        cell[1] or cell[2] or ""
    ):
        return "the marks of a spreadsheet's texts", "write the number alone"
    if WITH_UNIT.fullmatch(text):
        return (
            "a unit",
            "write the number alone and the unit into the name of the column",
        )
    if GROUPS.fullmatch(text):
        return "thousands separators or a comma", "write 1234.5 for it, without either"
    if COMMA_NUMBER.fullmatch(text):
        return (
            "a decimal comma",
            "write points, or separate all cells of the file by semicolons",
        )
    if _is_number_of_python(text):
        return "other signs than digits", "write plain decimal digits, as in 1234.5"
    return None


def _is_number_of_python(text: str) -> bool:
    """Tell whether Python reads it: ``1_000``, ``0x10``, digits of other scripts."""
    if not re.search(r"\d", text):
        return False
    for read in (float, lambda text: int(text, 0)):
        try:
            return math.isfinite(read(text.replace("\u2212", "-")))
        except (ValueError, OverflowError):
            continue
    return False


def alike(n_of: Mapping[str, int]) -> list[list[str]]:
    """Find names that differ only by case, blanks or the form of a whole number.

    Args:
        n_of: How often each name is there.

    Returns:
        The spellings of each name that has several, the most frequent first.

    Example:
        >>> alike({"oak": 1, "Oak": 2, "elm": 5})
        [['Oak', 'oak']]
    """
    spellings: dict[str, list[str]] = {}
    for name in n_of:  # without case, blanks and needless zeros
        folded = _folded(name)
        whole = WHOLE.fullmatch(folded)
        spellings.setdefault(whole[1] if whole else folded, []).append(name)
    return sorted(
        sorted(names_alike, key=lambda name: (-n_of[name], name))
        for names_alike in spellings.values()
        if len(names_alike) > 1
    )


def alike_text(n_of: Mapping[str, int]) -> str | None:
    """Tell of names that are nearly the same, or None if there are none."""
    sets = alike(n_of)
    if not sets:
        return None
    shown = ", ".join(f"{name!r} ({n_of[name]})" for name in sets[0][:4])
    is_one = len(sets) == 1
    is_number = any(map(WHOLE.fullmatch, (spellings[0] for spellings in sets)))
    differences = "case, blanks or zeros" if is_number else "case or blanks"
    return (
        f"{len(sets)} {'name is' if is_one else 'names are each'} written in"
        f" {len(sets[0]) if is_one else 'several'} ways that differ only by"
        f" {differences}"
        f" ({shown}{'' if is_one else ' ...'}); they count as different: write them"
        " alike if they mean the same"
    )


def misspelled(n_of: Mapping[str, int]) -> dict[str, str]:
    """Find rare names that are a letter away from a frequent one, or its plural.

    Two names are a letter away if leaving out a letter of one or of both makes them the
    same, or if two neighbouring letters have changed places. The letter must be of a
    word of five or more: series A is not series B. Letters may change places in a word
    of three, but for its first: ``oka`` is ``oak``; in capitals such a word is a code,
    and needs four. Digits are never compared.

    Args:
        n_of: How often each name is there.

    Returns:
        By rare name, the most frequent that may have been meant.

    Example:
        >>> misspelled({"Pencil": 57, "Pencill": 1, "Ink": 9, "Inc": 1})
        {'Pencill': 'Pencil'}
    """
    frequent = sorted((n, name) for name, n in n_of.items() if n >= TIMES)
    by_form = {form: name for _, name in frequent for form in _forms(name)}
    pairs = {}
    for name, n in n_of.items():
        near = {by_form[form] for form in _forms(name) if form in by_form}
        meant = [
            (n_of[near_name], near_name)
            for near_name in near
            if n_of[near_name] >= TIMES * n and _folded(near_name) != _folded(name)
        ]
        if n < FEW and meant:
            pairs[name] = max(meant)[1]
    return pairs


def misspelled_text(n_of: Mapping[str, int]) -> str | None:
    """Ask whether rare names are slips of frequent ones, or None if none may be."""
    pairs = misspelled(n_of)
    if not pairs:
        return None
    # first those that were most probably meant: names of two rows may both be right
    by_count = sorted(pairs.items(), key=lambda pair: n_of[pair[1]], reverse=True)
    shown = ", ".join(
        f"{name!r} ({n_of[name]}): did you mean {meant!r} ({n_of[meant]})?"
        for name, meant in by_count[:3]
    )
    counted = "1 rare name is nearly a frequent one"
    if len(pairs) > 1:
        counted = f"{len(pairs)} rare names are nearly frequent ones"
    return (
        f"{counted} ({shown}{' ...' * (len(pairs) > 3)}); they count as different:"
        " write them alike if they mean the same"
    )


def _folded(name: str) -> str:
    """Take case and blanks away."""
    return INVISIBLE.sub("", name).casefold()


def _forms(name: str) -> set[str]:
    """Give what a name shares with its misspellings, in one case.

    That is the name, without each letter of its long words, in the singular, and with
    two letters in the order of the alphabet and a mark where they are.
    """
    plain = name.casefold()
    letters = (k for word in WORD.finditer(plain) for k in range(*word.span()))
    pairs = (
        k
        for word in SHORT_WORD.finditer(plain)
        if len(word[0]) > CODE_LETTERS or not name.isupper()
        for k in range(word.start() + 1, word.end() - 1)
    )
    return {
        plain,
        *(plain[:k] + plain[k + 1 :] for k in letters),
        *(plain[: s.start()] + plain[s.end() :] for s in PLURAL.finditer(plain)),
        *(
            f"{plain[:k]}\0{''.join(sorted(plain[k : k + 2]))}{plain[k + 2 :]}"
            for k in pairs
        ),
    }
