"""Templates of pages are found, filled and installed."""

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from data_prep.reporting import templating

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "data_prep" / "reporting" / "templates"
BUILD = "import sys, setuptools.build_meta as b; print(b.build_wheel(sys.argv[1]))"


def test_an_installed_wheel_has_the_templates(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(
        ROOT / "data_prep",
        source / "data_prep",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for name in ("pyproject.toml", "LICENSE", "pipeline.py"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-c", BUILD, str(tmp_path)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as packed:
        names = set(packed.namelist())
    folder = TEMPLATES.relative_to(ROOT)
    assert {f"{folder}/{path.name}" for path in TEMPLATES.iterdir()} <= names


def test_what_is_filled_in_is_escaped_unless_it_is_markup() -> None:
    marks = [("dot", "a < b"), ("ring", Markup("<b>c</b>"))]
    html = templating.chart("legend", marks=marks)
    assert isinstance(html, Markup)
    assert "a &lt; b" in html
    assert "<b>c</b>" in html


def test_what_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        templating.piece("tiles")
