"""Charts for reports: inline SVG that follows the page's width, colours and fonts.

Positions are percentages and letters keep their size, so a chart that fills a screen
stays readable on a phone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from data_prep.reporting.axes import (
    draw_axes,
    from_top,
    nice_ticks,
    padded,
    percent,
    tick_text,
)
from data_prep.reporting.numerals import with_decimals


@dataclass(frozen=True)
class Rung:
    """One line of a ladder or of a bar chart.

    Attributes:
        name: What it is.
        value: Where its dot or the end of its bar stands.
        low: Lower end of its interval; NaN: it has none.
        high: Upper end of its interval.
        note: A smaller line under the name.
        is_strong: Set in bold and in colour.
        text: What stands to the right; empty: the value.
        other: A second value to compare with, drawn as a ring; NaN: there is none.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    note: str = ""
    is_strong: bool = False
    text: str = ""
    other: float = math.nan


def ladder(
    rungs: Sequence[Rung],
    *,
    label: str = "",
    digits: int = 3,
    guide: float = math.nan,
) -> Markup:
    """Draw values with their intervals as dots on one axis, a line each.

    Args:
        rungs: The lines, from top to bottom.
        label: What the axis measures.
        digits: Decimals of the values.
        guide: A place to mark, such as 0 for differences.
    """
    ends = [guide, *(end for r in rungs for end in (r.value, r.low, r.high, r.other))]
    ends = [end for end in ends if math.isfinite(end)]
    if not ends:
        return Markup()
    ticks = nice_ticks(min(ends), max(ends), 5)
    span = (ticks[0], ticks[-1])
    grid = Markup().join(
        Markup('<line class="grid" x1="{0}%" x2="{0}%" y1="0%" y2="100%"/>').format(
            percent(tick, span)
        )
        for tick in ticks
    )
    if math.isfinite(guide):
        grid += Markup(
            '<line class="guide" x1="{0}%" x2="{0}%" y1="0%" y2="100%"/>'
        ).format(percent(guide, span))
    lines = []
    for rung in rungs:
        marks = grid
        if math.isfinite(rung.low) and math.isfinite(rung.high):
            marks += Markup(
                '<line class="whisker" x1="{}%" x2="{}%" y1="50%" y2="50%"/>'
            ).format(percent(rung.low, span), percent(rung.high, span))
        for kind, place in (("ring", rung.other), ("dot", rung.value)):
            if math.isfinite(place):
                marks += Markup('<circle class="{}" cx="{}%" cy="50%" r="5"/>').format(
                    kind, percent(place, span)
                )
        lines.append(_rung(rung, marks, digits))
    written = Markup().join(
        Markup('<text x="{}%" y="14" text-anchor="middle">{}</text>').format(
            percent(tick, span), tick_text(tick, ticks)
        )
        for tick in ticks
    )
    axis = Markup(
        '<div class="rung axis"><div class="name">{}</div>'
        '<div class="track"><svg aria-hidden="true">{}</svg></div>'
        '<div class="value"></div></div>'
    ).format(label, written)
    return Markup('<div class="rungs" role="list">{}{}</div>').format(
        Markup("\n").join(lines), axis
    )


def key(dot: str, ring: str) -> Markup:
    """Say what the dots and the rings of a ladder are."""
    return Markup(
        '<p class="legend"><span><i class="dot"></i>{}</span>'
        '<span><i class="ring"></i>{}</span></p>'
    ).format(dot, ring)


def bars(rungs: Sequence[Rung], *, digits: int = 0) -> Markup:
    """Draw values as horizontal bars from zero, a line each."""
    longest = max((abs(rung.value) for rung in rungs), default=0.0) or 1.0
    bar = Markup('<rect class="bar" y="50%" height="12" rx="2" width="{}%"/>')
    return Markup('<div class="rungs" role="list">{}</div>').format(
        Markup("\n").join(
            _rung(rung, bar.format(round(100 * abs(rung.value) / longest, 2)), digits)
            for rung in rungs
        )
    )


def _rung(rung: Rung, marks: Markup, digits: int) -> Markup:
    note = Markup("<small>{}</small>").format(rung.note) if rung.note else Markup()
    return Markup(
        '<div class="rung{}" role="listitem"><div class="name">{}{}</div>'
        '<div class="track"><svg aria-hidden="true">{}</svg></div>'
        '<div class="value">{}</div></div>'
    ).format(
        " strong" if rung.is_strong else "",
        rung.name,
        note,
        marks,
        rung.text or with_decimals(rung.value, digits, ","),
    )


def scatter(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    *,
    x_label: str,
    y_label: str,
    captions: Sequence[str] = (),
    pictures: Sequence[str] = (),
    has_diagonal: bool = False,
    low: NDArray[np.float64] | None = None,
    high: NDArray[np.float64] | None = None,
    level: float = math.nan,
) -> Markup:
    """Draw points; one under the pointer shows its picture and caption.

    Args:
        x: (N,) positions to the right.
        y: (N,) positions upwards.
        x_label: What x measures.
        y_label: What y measures.
        captions: N texts shown for the point under the pointer.
        pictures: N addresses from ``data_prep.reporting.report.picture_uri``.
        has_diagonal: Draw the line x = y.
        low: (N,) lower ends of intervals around y; NaN: there is none.
        high: (N,) upper ends.
        level: A height to mark, such as 0 for differences.
    """
    if not len(x):
        return Markup()
    low, high = y if low is None else low, y if high is None else high
    wide, x_ticks = padded(float(x.min()), float(x.max()))
    heights = np.concatenate([y, low, high, [level] * math.isfinite(level)])
    tall, y_ticks = padded(float(np.nanmin(heights)), float(np.nanmax(heights)))
    parts = [draw_axes((wide, x_ticks, x_label), (tall, y_ticks, y_label))]

    def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> None:
        parts.append(
            Markup('<line class="{}" x1="{}%" x2="{}%" y1="{}%" y2="{}%"/>').format(
                *(kind, percent(x1, wide), percent(x2, wide)),
                *(from_top(y1, tall), from_top(y2, tall)),
            )
        )

    if has_diagonal:
        start, end = max(wide[0], tall[0]), min(wide[1], tall[1])
        line("guide", start, start, end, end)
    if math.isfinite(level):
        line("guide", wide[0], level, wide[1], level)
    for row in range(len(x)):
        if high[row] > low[row]:
            line("whisker", x[row], low[row], x[row], high[row])
        extra = Markup()
        if captions:
            extra += Markup(' tabindex="-1" data-caption="{}"').format(captions[row])
        if pictures:
            extra += Markup(' data-picture="{}"').format(pictures[row])
        parts.append(
            Markup('<circle class="point" cx="{}%" cy="{}%" r="4.5"{}/>').format(
                percent(float(x[row]), wide), from_top(float(y[row]), tall), extra
            )
        )
    return Markup(
        '<div class="plot"><svg role="img" aria-label="{}">{}</svg></div>'
    ).format(f"{y_label} against {x_label}", Markup("\n").join(parts))


def histogram(values: NDArray[np.float64], *, label: str, n_bins: int = 30) -> Markup:
    """Draw how often values of each size occur."""
    values = values[np.isfinite(values)]
    if not len(values):
        return Markup()
    # Bins narrower than float64 is there are counted around zero, where it is finer.
    is_coarse = np.ptp(values) <= n_bins * np.spacing(np.abs(values).max())
    origin = float(values.min()) if is_coarse else 0.0
    counts, edges = np.histogram(values - origin, bins=n_bins)
    edges = edges + origin
    ticks = nice_ticks(float(edges[0]), float(edges[-1]), 6)
    heights = nice_ticks(0.0, float(counts.max()), 4)
    wide, tall = (ticks[0], ticks[-1]), (heights[0], heights[-1])
    bar = Markup('<rect class="bar" x="{}%" width="{}%" y="{}%" height="{}%"/>')
    parts = [draw_axes((wide, ticks, label), (tall, heights, ""))]
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        start, end = percent(float(left), wide), percent(float(right), wide)
        top = from_top(float(count), tall)
        parts.append(
            bar.format(start, round(max(0.1, end - start - 0.15), 2), top, 100 - top)
        )
    return Markup(
        '<div class="plot low"><svg role="img" aria-label="{}">{}</svg></div>'
    ).format(f"histogram of {label}", Markup().join(parts))
