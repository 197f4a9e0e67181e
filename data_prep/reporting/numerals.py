"""Numbers as people read them: four digits, whatever the unit.

Files keep more digits; this is not for them.
"""

import math

MOST_DECIMALS = 7  # 0.0001234; a smaller number is written 1.234e-05
MOST_DIGITS = 16  # of a float64


def decimals_for(size: float) -> int:
    """Give the decimals that show four digits or five of a figure of this size.

    >>> decimals_for(0.4757), decimals_for(1.2), decimals_for(25_000.0)
    (4, 4, 0)
    >>> decimals_for(1.234e-7)
    10
    """
    if not math.isfinite(size) or size == 0:
        return 4
    power = math.floor(math.log10(abs(size)))
    return max(3 - power + (power >= 0), 0)


def with_decimals(value: float, decimals: int, options: str = "") -> str:
    """Write a number with so many decimals, or with a power of ten if they are many.

    Args:
        value: The number.
        decimals: As ``decimals_for`` gives them of a figure beside it.
        options: What stands in a format before the decimals, such as ``+`` or ``,``.

    >>> with_decimals(0.4509, 4), with_decimals(1234.5, 1, ","), with_decimals(1e-9, 12)
    ('0.4509', '1,234.5', '1.000e-09')
    """
    if decimals > MOST_DECIMALS:
        return format(value, f"{options}.3e" if value else f"{options}.0f")
    return format(value, f"{options}.{decimals}f")


def style_for(*values: float) -> str:
    """Give a format that shows four digits of the largest of some numbers.

    Numbers of one table are written alike, so that they line up.

    >>> style_for(0.4509, -0.02), style_for(1234.4), style_for(1.234e-7)
    ('.4f', '.0f', '.3e')
    """
    size = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if not size > 0:
        return ".4f"
    power = math.floor(math.log10(size))
    if not 3 - MOST_DECIMALS <= power < MOST_DIGITS:
        return ".3e"
    # of numbers from 0.1 to 10, which most scores are, four decimals
    return f".{4 if power == 0 else max(3 - power, 0)}f"


def four_digits(value: float) -> str:
    """Write a number with four digits.

    >>> four_digits(0.4509), four_digits(1234.4), four_digits(1.234e-7)
    ('0.4509', '1234', '1.234e-07')
    """
    return format(value, style_for(value))
