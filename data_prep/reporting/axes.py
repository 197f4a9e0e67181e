"""Axes of charts: round tick marks, their texts, positions in per cent."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.reporting.numerals import MOST_DECIMALS


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What lies where along one side of a chart.

    Attributes:
        low: Value at the left or lower end.
        high: Value at the other end.
        ticks: Values that are marked.
        label: What is measured.
    """

    low: float
    high: float
    ticks: Sequence[float] = ()
    label: str = ""

    @classmethod
    def around(cls, low: float, high: float, label: str = "") -> "Axis":
        """Make an axis a little longer than from ``low`` to ``high``."""
        margin = (high - low) * 0.04 or _margin(low)
        low, high = low - margin, high + margin
        ticks = [tick for tick in nice_ticks(low, high, 5) if low <= tick <= high]
        return cls(low=low, high=high, ticks=ticks, label=label)

    @classmethod
    def between_ticks(
        cls, low: float, high: float, n_ticks: int, label: str = ""
    ) -> "Axis":
        """Make an axis that begins and ends with a tick, with about ``n_ticks``."""
        ticks = nice_ticks(low, high, n_ticks)
        return cls(low=ticks[0], high=ticks[-1], ticks=ticks, label=label)

    def percent(self, value: float) -> float:
        """Give the position of a value from the low end, in per cent."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    def from_top(self, value: float) -> float:
        """Give the position of a value from the high end, in per cent."""
        return round(100 - self.percent(value), 2)

    def text(self, tick: float) -> str:
        """Write a tick with the decimals that its neighbours need.

        >>> Axis(low=0, high=1, ticks=[0.0, 0.25, 0.5]).text(0.5)
        '0.50'
        """
        if len(self.ticks) < 2:
            return f"{tick:g}"
        step = self.ticks[1] - self.ticks[0]
        mantissa, _, power = f"{step:.1e}".partition("e")
        digits = (not mantissa.endswith("0")) - int(power)
        if digits <= MOST_DECIMALS:
            return f"{tick:.{max(0, digits)}f}"
        if not tick:
            return "0"
        return f"{tick:.{max(0, digits + math.floor(math.log10(abs(tick))))}e}"


def nice_ticks(low: float, high: float, n_ticks: int) -> list[float]:
    """Give about ``n_ticks`` round positions that span ``low`` to ``high``.

    >>> nice_ticks(0.52, 1.13, 5)
    [0.4, 0.6, 0.8, 1.0, 1.2]
    """
    if not high > low:
        margin = _margin(low)
        low, high = low - margin, high + margin
    rough = (high - low) / n_ticks
    exponent = math.floor(math.log10(rough))
    power = 10.0**exponent
    step = power * next(s for s in (1, 2, 2.5, 5, 10) if s * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    decimals = 12 + max(0, -3 - exponent)
    return [round(i * step, decimals) for i in range(first, last + 1)]


def _margin(value: float) -> float:
    """Give a margin around equal values that a float64 of their size can tell."""
    return max(0.5, 1e-6 * abs(value))
