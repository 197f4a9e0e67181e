"""Scales of charts: round tick marks, their texts, positions in per cent, axes."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from data_prep.reporting.numerals import MOST_DECIMALS

Span = tuple[float, float]
Axis = tuple[Span, Sequence[float], str]  # from where to where, ticks, label


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """Give round positions from at or below ``low`` to at or above ``high``.

    >>> nice_ticks(0.52, 1.13, 5)
    [0.4, 0.6, 0.8, 1.0, 1.2]
    """
    if not high > low:
        margin = _beside(low)
        low, high = low - margin, high + margin
    rough = (high - low) / about
    exponent = math.floor(math.log10(rough))
    power = 10.0**exponent
    step = power * next(s for s in (1, 2, 2.5, 5, 10) if s * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    decimals = 12 + max(0, -3 - exponent)
    return [round(i * step, decimals) for i in range(first, last + 1)]


def tick_text(tick: float, ticks: Sequence[float]) -> str:
    """Write a tick with the decimals that its neighbours need.

    >>> tick_text(1900.0, [1900.0, 1950.0]), tick_text(0.5, [0.0, 0.25, 0.5])
    ('1900', '0.50')
    """
    if len(ticks) < 2:
        return f"{tick:g}"
    mantissa, _, power = f"{ticks[1] - ticks[0]:.1e}".partition("e")
    digits = (not mantissa.endswith("0")) - int(power)
    if digits <= MOST_DECIMALS:
        return f"{tick:.{max(0, digits)}f}"
    if not tick:
        return "0"
    return f"{tick:.{max(0, digits + math.floor(math.log10(abs(tick))))}e}"


def percent(value: float, span: Span) -> float:
    """Give the place of a value in a span, from the left, in per cent."""
    return round(100 * (value - span[0]) / (span[1] - span[0]), 2)


def from_top(value: float, span: Span) -> float:
    """Give the place of a value in a span, from the top, in per cent."""
    return round(100 - percent(value, span), 2)


def padded(low: float, high: float) -> tuple[Span, list[float]]:
    """Give a span a little wider than the values, and the tick marks in it."""
    margin = (high - low) * 0.04 or _beside(low)
    span = (low - margin, high + margin)
    ticks = nice_ticks(*span, 5)
    return span, [tick for tick in ticks if span[0] <= tick <= span[1]]


def _beside(value: float) -> float:
    """Give a margin around equal values that a float64 of their size can tell."""
    return max(0.5, 1e-6 * abs(value))


def draw_axes(across: Axis, up: Axis) -> Markup:
    """Draw the grid, the tick texts and the labels of a plot."""
    parts = [
        Markup(
            '<line class="grid" x1="{0}%" x2="{0}%" y1="0%" y2="100%"/>'
            '<text x="{0}%" y="100%" dy="18" text-anchor="middle">{1}</text>'
        ).format(percent(tick, across[0]), tick_text(tick, across[1]))
        for tick in across[1]
    ]
    parts += [
        Markup(
            '<line class="grid" x1="0%" x2="100%" y1="{0}%" y2="{0}%"/>'
            '<text x="0%" y="{0}%" dx="-8" dy="4" text-anchor="end">{1}</text>'
        ).format(from_top(tick, up[0]), tick_text(tick, up[1]))
        for tick in up[1]
    ]
    parts.append(
        Markup('<text x="50%" y="100%" dy="38" text-anchor="middle">{}</text>').format(
            across[2]
        )
    )
    if up[2]:
        parts.append(Markup('<text x="0%" y="0%" dy="-10">↑ {}</text>').format(up[2]))
    return Markup().join(parts)
