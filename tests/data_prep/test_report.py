"""Tests of data_prep.reporting.report and of its charts."""

import base64
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jinja2 import UndefinedError
from markupsafe import Markup
from PIL import Image

from data_prep.reporting.axes import Axis, nice_ticks
from data_prep.reporting.charts import (
    ChartLine,
    ForestRow,
    Point,
    bars,
    curve_legend,
    forest_plot,
    histogram,
    lines,
    mark_legend,
    panels,
    scatter,
)
from data_prep.reporting.report import (
    Section,
    Tile,
    cell_text,
    definitions,
    folded,
    heat_table,
    picture_grid,
    picture_uri,
    prose,
    table,
    tiles,
    write_report,
)

NASTY = "<script>alert('x')</script>\"&"
RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
CALM = np.linspace(0, 255, 8 * 8 * 3).reshape(8, 8, 3).astype(np.uint8)
PIECES: dict[str, Callable[[str], Markup]] = {
    "prose": prose,
    "tiles": lambda text: tiles([Tile(label=text, value=text, note=text)]),
    "definitions": lambda text: definitions({text: text}),
    "table": lambda text: table(pd.DataFrame({text: [text]}), text, shows_index=True),
    "picture_grid": lambda text: picture_grid(PICTURES[:1], [text]),
    "forest_plot": lambda text: forest_plot(
        [ForestRow(name=text, value=1.0, note=text)], label=text
    ),
    "bars": lambda text: bars([ForestRow(name=text, value=1.0, text=text)]),
    "heat_table": lambda text: heat_table(np.eye(1), [text], [text], corner=text),
    "mark_legend": lambda text: mark_legend(dot=text, ring=text),
    "folded": lambda text: folded(text, prose(text)),
    "lines": lambda text: lines(
        [ChartLine(name=text, x=[0, 1], y=[2, 3])], x_label=text, y_label=text
    ),
    "curve_legend": lambda text: curve_legend([text]),
    "panels": lambda text: panels([(text, prose(text))]),
    "histogram": lambda text: histogram(np.arange(9.0), label=text),
    "scatter": lambda text: scatter(
        [Point(x=k, y=k, caption=text, picture=text) for k in range(2)],
        x_label=text,
        y_label=text,
    ),
}


class Nesting(HTMLParser):
    """Checks that every element is closed, in order, and collects attributes."""

    VOID = ("meta", "img", "br", "wbr")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "srcset")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def nested(html: str) -> Nesting:
    parser = Nesting()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


@pytest.mark.parametrize("piece", PIECES)
def test_text_is_shown_and_never_run(piece: str) -> None:
    html = PIECES[piece](NASTY)
    assert isinstance(html, Markup)
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    nested(html)


def write(path: Path) -> str:
    sections = [Section(NASTY, PIECES[name](NASTY), NASTY) for name in PIECES]
    write_report(path, NASTY, NASTY, sections)
    return path.read_text(encoding="utf-8")


def test_a_report_is_one_file_that_loads_nothing(tmp_path: Path) -> None:
    page = write(tmp_path / "report.html")
    addresses = [a for a in nested(page).addresses if a != NASTY]
    assert addresses
    assert all(address.startswith(("data:image/", "#s")) for address in addresses)
    assert not re.search(r"https?:|url\(|@import", page)
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert page.count("<script>") == 1  # its own


def test_a_report_follows_light_and_dark_and_narrow_screens(tmp_path: Path) -> None:
    page = write(tmp_path / "report.html")
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    assert "max-width: 40rem" in page


def test_a_report_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(UndefinedError, match="no attribute 'body'"):
        write_report(path, "title", "", [None])  # type: ignore[list-item]
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    ("quality", "kind"), [(80, "jpeg"), (100, "png")], ids=["jpeg", "png"]
)
def test_a_picture_comes_back_out_of_its_address(quality: int, kind: str) -> None:
    uri = picture_uri(CALM, quality=quality)
    head, _, data = uri.partition(",")
    assert head == f"data:image/{kind};base64"
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert image.shape == CALM.shape
    tolerance = 0 if kind == "png" else 40
    assert np.abs(image.astype(int) - CALM).max() <= tolerance


def test_a_picture_is_brought_down_to_a_side() -> None:
    wide = np.zeros((10, 40, 3), dtype=np.uint8)
    data = base64.b64decode(picture_uri(wide, side=20).partition(",")[2])
    assert Image.open(io.BytesIO(data)).size == (20, 5)


def test_a_long_report_opens_with_its_contents(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    sections = [Section(f"Part {n} & more", prose("text")) for n in range(1, 9)]
    write_report(path, "title", "", sections)
    links = re.findall(r'<a href="#(s\d)">([^<]+)</a>', path.read_text())
    assert links == [(f"s{n}", f"Part {n} &amp; more") for n in range(1, 9)]
    write_report(path, "title", "", sections[:6])
    assert "<nav" not in path.read_text()


def test_a_second_picture_stands_beside_the_first() -> None:
    html = picture_grid(PICTURES[:2], ["a", "b"], maps=[None, PICTURES[2]])
    first, second = html.split("</figure>")[:2]
    assert (first.count("<img"), second.count("<img")) == (1, 2)
    mark = 'class="pair"'
    assert (mark in first, mark in second) == (False, True)
    assert str(picture_uri(PICTURES[2], 128)) in second


def test_a_grid_needs_a_caption_for_each_picture() -> None:
    with pytest.raises(ValueError, match="zip"):
        picture_grid(PICTURES, ["only one"])


def test_a_table_sets_numbers_right_and_missing_ones_as_a_dash() -> None:
    frame = pd.DataFrame({"who": ["a", "b"], "size": [1234.5678, np.nan], "n": [1, 2]})
    html = table(frame, "a caption", digits=2, strong=[1])
    assert "<caption>a caption</caption>" in html
    assert '<td class="number">1234.57</td>' in html
    assert '<td class="number">—</td>' in html
    assert html.count('<tr class="strong">') == 1
    assert re.search(r'<tr class="strong"><td>b</td>', html)


def test_a_column_may_have_its_own_text() -> None:
    html = table(pd.DataFrame({"share": [0.25]}), formats={"share": "{:.0%}".format})
    assert '<td class="number">25%</td>' in html


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "yes"), (12345, "12,345"), (0.5, "0.500"), (float("inf"), "—"), ("", "—")],
)
def test_values_are_written_for_people(value: object, text: str) -> None:
    assert cell_text(value) == text


@pytest.mark.parametrize("seed", range(20))
def test_ticks_are_round_and_enclose_the_values(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low, width = rng.normal() * 10.0 ** rng.integers(-3, 4), 10.0 ** rng.uniform(-3, 4)
    ticks = nice_ticks(low, low + width, 5)
    assert ticks[0] <= low + 1e-9 * width
    assert ticks[-1] >= low + width * (1 - 1e-9)
    assert 4 <= len(ticks) <= 12
    texts = [*map(Axis(low=ticks[0], high=ticks[-1], ticks=ticks).text, ticks)]
    assert len(set(texts)) == len(ticks)
    assert [float(text) for text in texts] == pytest.approx(ticks)


@pytest.mark.parametrize("scale", [1e-12, 1e-9, 1e-6, 1.0, 1e6, 1e12])
@pytest.mark.parametrize("offset", [0.0, 3.0, -1e6])
def test_ticks_are_alike_in_every_unit(scale: float, offset: float) -> None:
    low, high = scale * (offset + 0.52), scale * (offset + 1.13)
    ticks = nice_ticks(low, high, 5)
    expected = [offset + place for place in (0.4, 0.6, 0.8, 1.0, 1.2)]
    assert [tick / scale for tick in ticks] == pytest.approx(expected, rel=1e-9)
    texts = [*map(Axis(low=ticks[0], high=ticks[-1], ticks=ticks).text, ticks)]
    assert [float(text) for text in texts] == pytest.approx(ticks, rel=1e-9, abs=0)
    assert max(map(len, texts)) < 20


@pytest.mark.parametrize("low", [1.0, 2.0**53 - 10, -(2.0**52)])
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_values_that_are_close_for_float64_have_a_histogram(
    low: float, steps: int
) -> None:
    values = low + np.spacing(abs(low)) * np.array([0, steps, steps])
    places = re.findall(r'class="bar" x="([^%]+)%"', histogram(values, label="x"))
    assert len(places) == 30
    assert all(0 <= float(place) <= 100 for place in places)


@pytest.mark.parametrize("value", [0.0, 1e-9, -7.0, 1.6e9, 1e17])
def test_one_value_has_ticks_beside_it(value: float) -> None:
    ticks = nice_ticks(value, value, 5)
    assert ticks[0] < value < ticks[-1]
    axis = Axis.around(value, value)
    assert axis.low < value < axis.high


def test_equal_values_have_a_span() -> None:
    axis = Axis.around(2.0, 2.0)
    assert axis.low < 2.0 < axis.high
    assert axis.ticks


def test_places_are_per_cent_of_the_span() -> None:
    assert Axis(low=1.0, high=3.0).percent(1.5) == 25.0


def numbers(html: str, attribute: str, css_class: str) -> list[float]:
    pattern = rf'class="{css_class}"[^>]*? {attribute}="([-0-9.]+)%"'
    return [float(text) for text in re.findall(pattern, html)]


def test_the_dots_of_a_forest_plot_stand_at_their_values() -> None:
    html = forest_plot(
        [
            ForestRow(name="a", value=0.0),
            ForestRow(name="b", value=1.0, low=0.5, high=2.0),
            ForestRow(name="c", value=2.0),
        ]
    )
    assert numbers(html, "cx", "dot") == [0.0, 50.0, 100.0]
    assert numbers(html, "x1", "whisker") == [25.0]
    assert numbers(html, "x2", "whisker") == [100.0]


def test_a_forest_plot_reaches_its_guide() -> None:
    html = forest_plot(
        [ForestRow(name="a", value=3.0), ForestRow(name="b", value=4.0)], guide=0.0
    )
    assert numbers(html, "x1", "guide") == [0.0, 0.0]


def test_a_ring_stands_at_the_second_value() -> None:
    html = forest_plot(
        [ForestRow(name="a", value=0.0, ring=1.0), ForestRow(name="b", value=2.0)]
    )
    assert numbers(html, "cx", "ring") == [50.0]
    assert numbers(html, "cx", "dot") == [0.0, 100.0]


def test_bars_are_as_long_as_their_values() -> None:
    html = bars(
        [ForestRow(name=n, value=v) for n, v in (("a", 50), ("b", 200), ("c", 0))]
    )
    assert re.findall(r'width="([0-9.]+)%"', html) == ["25.0", "100.0", "0.0"]


def test_higher_points_are_nearer_to_the_top() -> None:
    points = [Point(x=0.0, y=0.0), Point(x=1.0, y=9.0)]
    html = scatter(points, x_label="x", y_label="y", has_diagonal=True)
    (left, right), (low, high) = (
        numbers(html, "cx", "point"),
        re.findall(r'cy="([0-9.]+)%"', html),
    )
    assert left < right
    assert float(low) > float(high)


def test_whiskers_reach_as_far_as_their_intervals() -> None:
    points = [
        Point(x=0.0, y=5.0, low=0.0, high=10.0),
        Point(x=1.0, y=5.0, low=5.0, high=5.0),
    ]
    html = scatter(points, x_label="x", y_label="y", level=-10.0)
    (low,), (high,) = numbers(html, "y1", "whisker"), numbers(html, "y2", "whisker")
    (level,) = numbers(html, "y1", "guide")
    assert high < low < level
    assert level - low == pytest.approx(low - high, abs=0.02)


def test_curves_share_their_axes() -> None:
    curves = [
        ChartLine(name="a", x=[0, 10], y=[0, 1]),
        ChartLine(name="b", x=[10, 20], y=[1, 2]),
    ]
    html = lines(curves, x_label="step")
    drawn = re.findall(r'class="line c(\d)"[^>]*points="([^"]+)"', html)
    assert [colour for colour, _ in drawn] == ["0", "1"]
    first, second = ([p.split(",") for p in points.split()] for _, points in drawn)
    assert first[1] == second[0]
    assert float(first[0][0]) < float(first[1][0]) < float(second[1][0])
    assert float(first[0][1]) > float(first[1][1]) > float(second[1][1])


@pytest.mark.parametrize(
    ("x", "texts"),
    [([1, 12], ["5", "10"]), ([1, 3], ["1", "2", "3"]), ([0.5, 1.5], ["0.50", "0.75"])],
)
def test_ticks_of_epochs_are_whole(x: list[float], texts: list[str]) -> None:
    html = lines([ChartLine(name="a", x=x, y=[0, 1])], x_label="")
    ticks = re.findall(r'y="100%" dy="18"[^>]*>([^<]+)<', html)
    assert ticks[: len(texts)] == texts


def test_a_heat_table_colours_by_the_share_of_the_row() -> None:
    html = heat_table(np.array([[3, 1], [0, 0]]), ["a", "b"], ["a", "b"])
    assert re.findall(r"--share:([0-9.]+)", html) == ["0.75", "0.25", "0.0", "0.0"]
    assert "75%" in html


@pytest.mark.parametrize(
    "piece",
    [
        forest_plot([]),
        forest_plot([ForestRow(name="a", value=float("nan"))]),
        bars([]),
        lines([], x_label=""),
        histogram(np.array([np.nan]), label=""),
        scatter([], x_label="", y_label=""),
        heat_table(np.zeros((0, 0)), [], []),
    ],
)
def test_nothing_to_draw_is_no_error(piece: Markup) -> None:
    nested(piece)
