"""Charts for reports: inline SVG that follows the page's width, colours and fonts.

Here is what lies where; the drawing is ``templates/charts.html``.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup

from data_prep.arrays import Floats
from data_prep.reporting.axes import Axis
from data_prep.reporting.numerals import with_decimals
from data_prep.reporting.templating import chart

N_COLOURS = 6  # of page.css; further curves begin again with the first


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """One line of a forest plot or of a bar chart.

    Attributes:
        name: What is measured.
        value: Where its dot or the end of its bar stands.
        low: Lower end of its interval; NaN: it has none.
        high: Upper end of its interval.
        note: A smaller line under the name.
        is_strong: Set in bold and in colour.
        text: What stands to the right; empty: the value.
        ring: A second value to compare with, drawn as a ring; NaN: there is none.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    note: str = ""
    is_strong: bool = False
    text: str = ""
    ring: float = math.nan

    def value_text(self, digits: int) -> str:
        """Give what stands to the right."""
        return self.text or with_decimals(self.value, digits, ",")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One dot of a scatter plot.

    Attributes:
        x: Position to the right.
        y: Position upwards.
        low: Lower end of an interval around y; NaN: it has none.
        high: Upper end.
        caption: Shown while the pointer is on it.
        picture: Address from ``data_prep.reporting.report.picture_uri``, shown with
            the caption.
        is_warning: Drawn in the colour of warnings.
        text: Written beside it.
    """

    x: float
    y: float
    low: float = math.nan
    high: float = math.nan
    caption: str = ""
    picture: str = ""
    is_warning: bool = False
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class ChartLine:
    """One curve of a chart, such as a loss over the steps.

    Attributes:
        name: For the legend.
        x: Positions to the right.
        y: As many, upwards.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]

    def points(self) -> Iterator[tuple[float, float]]:
        """Go along the curve."""
        return zip(self.x, self.y, strict=True)


def forest_plot(
    rows: Sequence[ForestRow],
    *,
    label: str = "",
    digits: int = 3,
    guide: float = math.nan,
) -> Markup:
    """Draw values with their intervals as dots on one axis, a line each.

    Args:
        rows: The lines, from top to bottom.
        label: What the axis measures.
        digits: Decimals of the values.
        guide: A value to mark, such as 0 for differences.
    """
    ends = [guide, *(end for r in rows for end in (r.value, r.low, r.high, r.ring))]
    ends = [end for end in ends if math.isfinite(end)]
    if not ends:
        return Markup()
    x = Axis.between_ticks(min(ends), max(ends), 5, label)
    return chart("forest_plot", rows=rows, x=x, guide=guide, digits=digits)


def bars(rows: Sequence[ForestRow], *, digits: int = 0) -> Markup:
    """Draw values as horizontal bars from zero, a line each."""
    longest = max((abs(row.value) for row in rows), default=0.0) or 1.0
    return chart("bars", rows=rows, longest=longest, digits=digits)


def mark_legend(*, dot: str, ring: str) -> Markup:
    """Say what the dots and the rings of a forest plot are."""
    return chart("legend", marks=[("dot", dot), ("ring", ring)])


def scatter(
    points: Sequence[Point],
    *,
    x_label: str,
    y_label: str,
    has_diagonal: bool = False,
    level: float = math.nan,
    best: Sequence[tuple[float, float]] = (),
) -> Markup:
    """Draw points; one under the pointer shows its picture and caption.

    Args:
        points: In the order in which they are drawn.
        x_label: What x measures.
        y_label: What y measures.
        has_diagonal: Draw the line x = y.
        level: A height to mark, such as 0 for differences.
        best: Corners (x, y) of a thick line, which goes on to the right end.
    """
    if not points:
        return Markup()
    x = Axis.around(*_range([point.x for point in points]), x_label)
    heights = [end for p in points for end in (p.y, p.low, p.high)]
    y = Axis.around(*_range([*heights, level]), y_label)
    guides = []
    if has_diagonal:
        start, end = max(x.low, y.low), min(x.high, y.high)
        guides.append(((start, start), (end, end)))
    if math.isfinite(level):
        guides.append(((x.low, level), (x.high, level)))
    corners = [*best, (x.high, best[-1][1])] if best else []
    return chart("scatter", x=x, y=y, points=points, guides=guides, best=corners)


def histogram(values: Floats, *, label: str, n_bins: int = 30) -> Markup:
    """Draw how often values of each size occur."""
    values = values[np.isfinite(values)]
    if not len(values):
        return Markup()
    # Bins narrower than float64 is there are counted around zero, where it is finer.
    is_coarse = np.ptp(values) <= n_bins * np.spacing(np.abs(values).max())
    origin = float(values.min()) if is_coarse else 0.0
    counts, edges = np.histogram(values - origin, bins=n_bins)
    edges = edges + origin
    return chart(
        "histogram",
        x=Axis.between_ticks(float(edges[0]), float(edges[-1]), 6, label),
        y=Axis.between_ticks(0.0, float(counts.max()), 4),
        bins=list(
            zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
        ),
    )


def lines(curves: Sequence[ChartLine], *, x_label: str, y_label: str = "") -> Markup:
    """Draw curves on common axes.

    Args:
        curves: Each of one point or more; the first has the page's first colour.
        x_label: What x measures.
        y_label: What y measures.
    """
    if not curves:
        return Markup()
    every_x = [x for curve in curves for x in curve.x]
    x = Axis.around(*_range(every_x), x_label)
    if all(float(value).is_integer() for value in every_x):  # steps, epochs
        x = replace(x, ticks=[tick for tick in x.ticks if tick.is_integer()])
    y = Axis.around(*_range([y for curve in curves for y in curve.y]), y_label)
    return chart("lines", x=x, y=y, curves=curves, n_colours=N_COLOURS)


def curve_legend(names: Sequence[str]) -> Markup:
    """Name the curves of a chart beside their colours."""
    marks = [(f"c{number % N_COLOURS}", name) for number, name in enumerate(names)]
    return chart("legend", marks=marks)


def panels(charts: Sequence[tuple[str, Markup]]) -> Markup:
    """Set charts side by side, each under its title, as many as the width allows."""
    return chart("panels", charts=charts)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Give the least and the greatest of the values that are not NaN."""
    return float(np.nanmin(values)), float(np.nanmax(values))
