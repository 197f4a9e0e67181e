"""Reports: one self-contained HTML file, for the screen, the phone and the mail.

Every piece is ``Markup`` made by escaping its inputs, so a file name or a class called
``<script>`` is shown and never run. Charts are in ``data_prep.reporting.charts``,
``heat`` and ``lines``.
"""

import io
from base64 import b64encode
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from data_prep.reporting.numerals import with_decimals
from data_prep.reporting.page import SCRIPT, STYLE, TEMPLATE
from data_prep.run_folders.drafts import write_text

NOTHING = "—"


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Attributes:
        heading: Its title.
        body: What it shows, made by the functions of this module and of
            ``data_prep.reporting.charts``.
        note: A sentence or two under the heading: how to read it.
    """

    heading: str
    body: Markup
    note: str = ""


@dataclass(frozen=True)
class Tile:
    """A figure that opens a report: what it is, its value, and a word about it."""

    label: str
    value: str
    note: str = ""
    is_strong: bool = False


def write_report(
    path: Path, title: str, subtitle: str, sections: Sequence[Section]
) -> None:
    """Write the report whole or not at all."""
    pages = Environment(autoescape=True, undefined=StrictUndefined)
    page = pages.from_string(TEMPLATE)
    text = page.render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        style=Markup(STYLE),
        script=Markup(SCRIPT),
    )
    write_text(path, text)


def together(*parts: Markup) -> Markup:
    """Set pieces one below the other."""
    return Markup("\n").join(parts)


def prose(*paragraphs: str) -> Markup:
    """Set plain text, a paragraph each."""
    return together(*(Markup("<p>{}</p>").format(text) for text in paragraphs))


def subheading(text: str) -> Markup:
    """Set a small heading inside a section."""
    return Markup("<h3>{}</h3>").format(text)


def folded(summary: str, body: Markup) -> Markup:
    """Hide a long piece behind a line that opens it."""
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, body)


def tiles(figures: Sequence[Tile]) -> Markup:
    """Set the opening figures side by side, as many as the width allows."""
    tile = Markup('<div class="tile{}"><span>{}</span><b>{}</b><span>{}</span></div>')
    return Markup('<div class="tiles">{}</div>').format(
        Markup().join(
            tile.format(" strong" if f.is_strong else "", f.label, f.value, f.note)
            for f in figures
        )
    )


def definitions(entries: Mapping[str, Any]) -> Markup:
    """Set names and their values, such as settings."""
    return Markup("<dl>{}</dl>").format(
        Markup().join(
            Markup("<dt>{}</dt><dd>{}</dd>").format(name, cell_text(value))
            for name, value in entries.items()
        )
    )


def table(
    frame: pd.DataFrame,
    caption: str = "",
    *,
    digits: int = 3,
    formats: Mapping[str, Callable[[Any], str]] | None = None,
    strong: Collection[int] = (),
    shows_index: bool = False,
) -> Markup:
    """Set a table; it scrolls sideways where it is wider than the screen.

    Args:
        frame: What to show. Number columns are set to the right.
        caption: A line above it.
        digits: Decimals of the floating-point numbers.
        formats: Own text of a value, by name of the column.
        strong: Positions of rows to set in bold.
        shows_index: Begin each row with its label.
    """
    formats = formats or {}
    numeric = [pd.api.types.is_numeric_dtype(frame[name]) for name in frame.columns]
    sides = [Markup(' class="number"') if flag else Markup() for flag in numeric]
    head = Markup().join(
        Markup("<th{}>{}</th>").format(side, name)
        for side, name in zip(sides, frame.columns, strict=True)
    )
    rows = []
    columns = [frame[name].tolist() for name in frame.columns]
    for row, label in enumerate(frame.index):
        cells = Markup().join(
            Markup("<td{}>{}</td>").format(
                side,
                formats[name](column[row])
                if name in formats
                else cell_text(column[row], digits),
            )
            for name, side, column in zip(frame.columns, sides, columns, strict=True)
        )
        first = Markup("<th>{}</th>").format(label) if shows_index else Markup()
        mark = Markup(' class="strong"') if row in strong else Markup()
        rows.append(Markup("<tr{}>{}{}</tr>").format(mark, first, cells))
    corner = Markup("<th>{}</th>").format(frame.index.name or "")
    return Markup(
        '<div class="scroll"><table>{}<thead><tr>{}{}</tr></thead>'
        "<tbody>{}</tbody></table></div>"
    ).format(
        Markup("<caption>{}</caption>").format(caption) if caption else Markup(),
        corner if shows_index else Markup(),
        head,
        Markup("\n").join(rows),
    )


def cell_text(value: Any, digits: int = 3) -> str:
    """Write one value for people.

    >>> cell_text(0.12345), cell_text(12345), cell_text(True), cell_text(None)
    ('0.123', '12,345', 'yes', '—')
    """
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        return with_decimals(float(value), digits) if np.isfinite(value) else NOTHING
    if value is None or value is pd.NA or value is pd.NaT or value == "":
        return NOTHING
    return str(value)


def picture_uri(pixels: NDArray[np.uint8], side: int = 0, quality: int = 80) -> str:
    """Write a picture into a ``data:`` address.

    Args:
        pixels: (H, W, 3) red, green, blue.
        side: Length of the longer side in px that it is brought down to; 0: as it is.
        quality: That of the JPEG; 100 or more: a PNG, which loses nothing.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    kind = "PNG" if quality >= 100 else "JPEG"
    image.save(buffer, kind, quality=min(quality, 95), optimize=True)
    encoded = b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{encoded}"


def picture_grid(
    pixels: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    captions: Sequence[str],
    *,
    beside: Sequence[NDArray[np.uint8] | None] = (),
    side: int = 128,
    quality: int = 80,
) -> Markup:
    """Set pictures in rows, each over its caption.

    Args:
        pixels: N pictures (H, W, 3), red, green, blue.
        captions: N texts; a line break in them is kept.
        beside: N second pictures (H, W, 3), such as maps of what a net looks at; None:
            there is none.
        side: Side they are brought down to, px.
        quality: As for ``picture_uri``.
    """
    figure = Markup("<figure{}><div>{}</div><figcaption>{}</figcaption></figure>")
    image = Markup('<img loading="lazy" alt="{}" src="{}">')
    seconds = beside or [None] * len(captions)
    figures = []
    for first, second, caption in zip(pixels, seconds, captions, strict=True):
        shown = image.format(caption, picture_uri(first, side, quality))
        if second is not None:
            shown += image.format("map of it", picture_uri(second, side, quality))
        mark = "" if second is None else Markup(' class="pair"')
        figures.append(figure.format(mark, shown, caption))
    is_paired = any(second is not None for second in seconds)
    return Markup('<div class="pictures{}">{}</div>').format(
        " paired" if is_paired else "", Markup("\n").join(figures)
    )
