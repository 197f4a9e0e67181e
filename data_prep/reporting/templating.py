"""Fills the templates beside this module: HTML, styles and script of all pages.

Whatever is filled in is escaped, so a file name or a class called ``<script>`` is shown
and never run.
"""

import math
import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def page(**values: Any) -> str:
    """Fill ``page.html``, which a report is."""
    return _environment().get_template("page.html").render(values)


def piece(name: str, **values: Any) -> Markup:
    """Fill a macro of ``pieces.html``."""
    return _filled("pieces.html", name, values)


def chart(name: str, **values: Any) -> Markup:
    """Fill a macro of ``charts.html``."""
    return _filled("charts.html", name, values)


def _filled(template: str, macro: str, values: dict[str, Any]) -> Markup:
    macros = _environment().get_template(template).module
    filled: Markup = getattr(macros, macro)(**values)
    return filled.strip()


def breakable(text: str) -> Markup:
    """Let a long name break after what separates its parts, not within a number.

    >>> breakable("IMG_0123 & more")
    Markup('IMG_<wbr>0123 &amp; more')
    """
    return Markup("<wbr>").join(re.split(r"(?<=[_/])(?=\w)", text))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("data_prep.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["finite"] = math.isfinite
    environment.filters["breakable"] = breakable
    return environment
