"""How values are spelled in files: numbers by what tells them apart, classes by name.

Files keep nine significant digits, and more where the numbers of a column lie close
together: of a time in seconds since 1970 the first seven say nothing. Whole numbers
are written whole. People are shown fewer digits, by the same rule.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from data_prep.run_folders.drafts import drafted

if TYPE_CHECKING:
    import pandas as pd

DIGITS, DIGITS_SHOWN = 9, 4
EXACT = 17  # significant digits that tell any two float64 apart
MOST_WHOLE = 2.0**53  # beyond, not every whole number is a float64


def class_text(value: Any) -> str:
    """Spell a class: a text as it is, a number by its shortest exact text.

    >>> class_text(2.0), class_text(0.1), class_text(1600000040.0), class_text("v1.0")
    ('2', '0.1', '1600000040', 'v1.0')
    """
    if not isinstance(value, float):
        return str(value)
    value = float(value) + 0.0  # no numpy scalar, and no "-0"
    return f"{value:.0f}" if value.is_integer() else repr(value)


def class_names(classes: Iterable[Any] | None) -> tuple[str, ...]:
    """Spell all classes of a target; none where it has none."""
    return tuple(class_text(value) for value in classes or ())


def number_texts(values: ArrayLike, digits: int = DIGITS) -> list[str]:
    """Spell numbers that belong together.

    Args:
        values: (N,) numbers; NaN: missing.
        digits: Significant digits, of the numbers or of their range, whichever needs
            more; where all are the same, they are exact.

    Returns:
        N texts, empty where missing.

    Example:
        >>> number_texts([2.0, 1 / 3, float("nan")])
        ['2', '0.333333333', '']
        >>> number_texts([1600000000.25, 1600000120.5], digits=4)
        ['1600000000.2', '1600000120.5']
    """
    numbers = np.asarray(values, dtype=np.float64) + 0.0
    finite = numbers[np.isfinite(numbers)]
    spread = float(np.ptp(finite)) if len(finite) else 0.0
    n_digits = EXACT
    if 0 < spread < math.inf:
        # Numbers that lie far from zero for their range begin with the same digits.
        n_shared = math.floor(math.log10(float(np.abs(finite).max()) / spread))
        n_digits = min(digits + max(n_shared, 0), EXACT)

    def text(number: float) -> str:
        if math.isnan(number):
            return ""
        if number.is_integer() and abs(number) < MOST_WHOLE:
            return f"{number:.0f}"
        return repr(number) if n_digits == EXACT else f"{number:.{n_digits}g}"

    return [text(number) for number in numbers.tolist()]


def target_texts(rows: "pd.DataFrame") -> list[str]:
    """Spell the targets of N prepared rows for people.

    Args:
        rows: With ``target``, and ``class_index`` where it has classes.

    Returns:
        N texts, empty where there is no target.
    """
    if "target" not in rows:
        return [""] * len(rows)
    if "class_index" not in rows:
        return number_texts(rows["target"], digits=6)
    values, is_there = rows["target"].tolist(), rows["target"].notna().tolist()
    return [
        class_text(value) if has_class else ""
        for value, has_class in zip(values, is_there, strict=True)
    ]


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """Write a table as csv, whole or not at all, spelled as ``number_texts`` does."""
    import pandas as pd

    spelled = table.copy()
    for name, column in table.items():
        if pd.api.types.is_float_dtype(column):
            texts = number_texts(column)
            spelled[name] = pd.Series(texts, index=table.index, dtype=object)
    with drafted(path) as file:
        spelled.to_csv(file, index=False, encoding="utf-8", lineterminator="\n")
