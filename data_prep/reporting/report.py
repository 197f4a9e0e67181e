"""Reports: one self-contained HTML file, for the screen, the phone and the mail.

Every piece is ``Markup`` made by escaping its inputs. Charts are in
``data_prep.reporting.charts``.
"""

import io
from base64 import b64encode
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from data_prep.reporting import templating
from data_prep.reporting.numerals import with_decimals
from data_prep.run_folders.drafts import write_text

NOTHING = "—"


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Attributes:
        heading: Its title.
        body: What it shows, made by the functions of this module and of
            ``data_prep.reporting.charts``; empty: the section is left out.
        note: A sentence or two under the heading: how to read it.
    """

    heading: str
    body: Markup
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A figure that opens a report: what it is, its value, and a word about it."""

    label: str
    value: str
    note: str = ""
    is_strong: bool = False


@dataclass(frozen=True, kw_only=True)
class Slider:
    """A threshold that a reader may move: pictures whose value is less are hidden.

    Attributes:
        label: What it is, before its value.
        low: Its least value.
        high: Its greatest.
        value: Where it stands at first.
    """

    label: str
    low: float
    high: float
    value: float


def write_report(
    path: Path, title: str, subtitle: str, sections: Sequence[Section]
) -> None:
    """Write the report whole or not at all; sections without a body are left out."""
    page = templating.page(title=title, subtitle=subtitle, sections=sections)
    write_text(path, page)


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
    return templating.piece("tiles", figures=figures)


def slider(threshold: Slider) -> Markup:
    """Set a slider for the pictures of its section that have values."""
    return templating.piece("slider", threshold=threshold)


def definitions(entries: Mapping[str, Any]) -> Markup:
    """Set names and their values, such as settings."""
    shown = [(name, cell_text(value)) for name, value in entries.items()]
    return templating.piece("definitions", entries=shown)


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
        formats: How a value is written, by name of the column.
        strong: Positions of rows to set in bold.
        shows_index: Begin each row with its label.
    """
    formats = formats or {}

    def text(name: str, value: Any) -> str:
        return formats[name](value) if name in formats else cell_text(value, digits)

    is_number = [pd.api.types.is_numeric_dtype(frame[name]) for name in frame.columns]
    columns = [[text(name, v) for v in frame[name].tolist()] for name in frame.columns]
    texts = zip(*columns, strict=True)
    return templating.piece(
        "table",
        caption=caption,
        corner=frame.index.name or "",
        columns=list(zip(frame.columns, is_number, strict=True)),
        rows=[
            (label, position in strong, row)
            for position, (label, row) in enumerate(
                zip(frame.index, texts, strict=True)
            )
        ],
        shows_index=shows_index,
    )


def heat_table(
    values: NDArray[Any],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    corner: str = "",
    is_count: bool = True,
) -> Markup:
    """Set a table whose cells are coloured by their values.

    Args:
        values: (R, C) counts, such as true classes by predicted classes, which are
            coloured by their share of the row; or shares of a whole.
        rows: R names.
        columns: C names.
        corner: What rows and columns are.
        is_count: Whether the values are counts.
    """
    if is_count:
        fractions = values / np.maximum(values.sum(axis=1, keepdims=True), 1)
    else:
        fractions = values / max(float(values.max(initial=0)), 1e-300)

    def cell(value: Any, share: float) -> tuple[float, str, str]:
        texts = (f"{value:,}", f"{share:.0%}") if is_count else (f"{value:.1%}", "")
        return (share, *texts)

    return templating.piece(
        "heat_table",
        corner=corner,
        columns=columns,
        rows=[
            (name, [*map(cell, values[row].tolist(), fractions[row].tolist())])
            for row, name in enumerate(rows)
        ],
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
    image_format = "PNG" if quality >= 100 else "JPEG"
    image.save(buffer, image_format, quality=min(quality, 95), optimize=True)
    encoded = b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{image_format.lower()};base64,{encoded}"


def picture_grid(
    pixels: Sequence[NDArray[np.uint8]] | NDArray[np.uint8],
    captions: Sequence[str],
    *,
    maps: Sequence[NDArray[np.uint8] | None] = (),
    values: Sequence[float] = (),
    side: int = 128,
    quality: int = 80,
) -> Markup:
    """Set pictures in rows, each over its caption.

    Args:
        pixels: N pictures (H, W, 3), red, green, blue.
        captions: N texts; a line break in them is kept.
        maps: N second pictures (H, W, 3), of what a net looks at; None: there is none.
        values: N numbers that a ``slider`` hides pictures by; empty: none.
        side: Side they are brought down to, px.
        quality: As for ``picture_uri``.
    """
    nothing = [None] * len(captions)
    shown = zip(pixels, maps or nothing, captions, values or nothing, strict=True)
    figures = [
        (caption, [picture_uri(p, side, quality) for p in images if p is not None], v)
        for *images, caption, v in shown
    ]
    is_paired = any(len(addresses) > 1 for _, addresses, _ in figures)
    return templating.piece("picture_grid", figures=figures, is_paired=is_paired)
