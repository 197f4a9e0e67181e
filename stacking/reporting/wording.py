"""How figures and names are written in the report."""

from collections.abc import Sequence
from pathlib import Path

from data_prep.reporting.numerals import MOST_DECIMALS, decimals_for, with_decimals
from data_prep.scoring.scores import Interval
from stacking.ensemble.objective import Objective
from stacking.ensemble.stack import Stacked
from stacking.inputs.data import RunInfo

TO = "\u2060\u2013\u2060"  # a dash at which no line is broken
MINUS = "\u2212"


def score_digits(stacked: Stacked) -> int:
    """Give the decimals of the scores."""
    return decimals_for(stacked.final.scores.pooled)


def unit_digits(stacked: Stacked) -> int:
    """Give the decimals of predictions and errors, two less than of scores."""
    if not stacked.objective.is_number:
        return 3
    return max(decimals_for(float(stacked.data.rows.y.std())) - 2, 0)


def better(objective: Objective) -> str:
    """Say which way is up."""
    return "higher is better" if objective.higher_is_better else "lower is better"


def number(value: float, digits: int) -> str:
    """Write a number with a true minus.

    >>> number(1234.5, 1)
    '1,234.5'
    """
    return _with_minus(with_decimals(value, digits, ","))


def signed(value: float, digits: int) -> str:
    """Write a difference, with its sign.

    >>> signed(0.5, 2)
    '+0.50'
    """
    is_plain = digits <= MOST_DECIMALS
    rounded = round(value, digits) + 0.0 if is_plain else value  # no "-0.00"
    return _with_minus(with_decimals(rounded, digits, "+,"))


def plain(value: float, stacked: Stacked) -> str:
    """Write a prediction or an error, in the unit of the target."""
    return with_decimals(value, unit_digits(stacked))


def counted_rows(info: RunInfo) -> str:
    """Count the scored rows, and the pictures of objects."""
    if not info.objects:
        return f"{len(info.ids):,} pictures"
    n_pictures = len(info.objects.of_picture)
    return f"{len(info.ids):,} objects of {n_pictures:,} pictures"


def _with_minus(text: str) -> str:
    mantissa, power, exponent = text.partition("e")
    return mantissa.replace("-", MINUS) + power + exponent


def interval_text(interval: Interval, digits: int) -> str:
    """Write the two ends of the interval of a score."""
    return f"{number(interval.low, digits)} to {number(interval.high, digits)}"


def gain_text(gain: Interval, digits: int) -> str:
    """Write a gain and its interval."""
    return f"{signed(gain.value, digits)} ({ends_text(gain, digits)})"


def ends_text(gain: Interval, digits: int) -> str:
    """Write the two ends of the interval of a gain, on one line."""
    low, high = signed(gain.low, digits), signed(gain.high, digits)
    return f"{low} to {high}".replace(" ", "\u00a0")


def listed(names: Sequence[str]) -> str:
    """Put names into a sentence.

    >>> listed(["date"]), listed(["date", "words", "onehot"])
    ('date', 'date, words and onehot')
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def baseline_name(stacked: Stacked) -> str:
    """Name what gains are measured by."""
    return "the plain net" if stacked.baseline == "plain" else "the constant"


def refit_command(run: Path, stacked: Stacked) -> str:
    """Write what fits the stack of a run once more, to put flags behind."""
    protocol = " --protocol insample" * stacked.data.is_leaky
    return f"python -m stacking.fit --run {run}{protocol}"


def before_rounding(stacked: Stacked) -> str:
    """Say that what is expected of averaging is of what is rounded only then."""
    is_last = stacked.averaged is stacked.final
    return "" if is_last else " (before it is rounded to classes)"
