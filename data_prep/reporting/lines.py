"""Charts of curves: what changes along an axis, such as a loss over the steps."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from data_prep.reporting.axes import draw_axes, from_top, padded, percent

N_COLOURS = 6  # of data_prep.reporting.page; further curves begin again with the first


@dataclass(frozen=True)
class Curve:
    """One line of a chart.

    Attributes:
        name: For the legend.
        x: Places to the right.
        y: As many, upwards.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]


def lines(curves: Sequence[Curve], *, x_label: str, y_label: str = "") -> Markup:
    """Draw curves on common axes.

    Args:
        curves: Each of one point or more; the first has the page's first colour.
        x_label: What x measures.
        y_label: What y measures.
    """
    if not curves:
        return Markup()
    every_x = [x for curve in curves for x in curve.x]
    every_y = [y for curve in curves for y in curve.y]
    wide, x_ticks = padded(min(every_x), max(every_x))
    if all(float(x).is_integer() for x in every_x):
        x_ticks = [tick for tick in x_ticks if tick.is_integer()]  # of steps, epochs
    tall, y_ticks = padded(min(every_y), max(every_y))
    # A polyline takes no percentages, so these stand in a drawing of their own that is
    # stretched to the chart; the stroke is not stretched with it.
    line = Markup(
        '<polyline class="line c{}" vector-effect="non-scaling-stroke" points="{}"/>'
    )
    drawn = Markup().join(
        line.format(
            number % N_COLOURS,
            " ".join(
                f"{percent(x, wide)},{from_top(y, tall)}"
                for x, y in zip(curve.x, curve.y, strict=True)
            ),
        )
        for number, curve in enumerate(curves)
    )
    return Markup(
        '<div class="plot"><svg role="img" aria-label="{}">{}'
        '<svg width="100%" height="100%" viewBox="0 0 100 100"'
        ' preserveAspectRatio="none">{}</svg></svg></div>'
    ).format(
        f"{y_label or 'curves'} over {x_label}",
        draw_axes((wide, x_ticks, x_label), (tall, y_ticks, y_label)),
        drawn,
    )


def legend(names: Sequence[str]) -> Markup:
    """Name the curves of a chart beside their colours."""
    entry = Markup('<span><i class="c{}"></i>{}</span>')
    return Markup('<p class="legend">{}</p>').format(
        Markup().join(
            entry.format(number % N_COLOURS, name) for number, name in enumerate(names)
        )
    )


def panels(charts: Sequence[tuple[str, Markup]]) -> Markup:
    """Set charts side by side, each under its title, as many as the width allows."""
    panel = Markup("<div><h4>{}</h4>{}</div>")
    return Markup('<div class="panels">{}</div>').format(
        Markup("\n").join(panel.format(title, chart) for title, chart in charts)
    )
