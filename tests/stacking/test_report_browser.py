"""Tests of the report in a browser; skipped where there is no Chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import IS_DARK, OVERFLOWING, Browser, open_browser
from tests.stacking.reported import Reported, all_there_is

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

PHONE, DESK = 390, 1200
# The dot that is furthest from all others, which no finger mistakes.
LONELY_DOT = """(() => {
    const dots = [...document.querySelectorAll("[data-picture]")];
    if (!dots.length) return null;
    dots[0].scrollIntoView({block: "center"});
    const places = dots.map((dot) => dot.getBoundingClientRect());
    const room = places.map((dot) => Math.min(...places.filter((other) => other !== dot)
        .map((other) => Math.hypot(other.x - dot.x, other.y - dot.y))));
    const k = room.indexOf(Math.max(...room)), {x, y, width, height} = places[k];
    const {picture, caption} = dots[k].dataset;
    return {x: x + width / 2, y: y + height / 2, picture, caption};
})()"""
HOVER = """(() => {
    const card = document.getElementById("hover");
    const box = card.getBoundingClientRect(), image = card.querySelector("img");
    return {
        is_hidden: card.hidden, picture: image.src, text: card.textContent.trim(),
        width: image.naturalWidth, left: box.left, right: box.right, top: box.top,
    };
})()"""
WIDTHS = """[...document.querySelectorAll(".forest")].map((plot) => new Set(
    [...plot.querySelectorAll(".track")].map(
        (track) => Math.round(track.getBoundingClientRect().width))).size)"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Make a report with all there is, and one of classes whose ids are long."""
    folder = tmp_path_factory.mktemp("reports")
    full = Reported.of(folder / "full")
    full.findings = all_there_is(full.run)
    full.page()
    text = Reported.of(folder / "text", is_text=True, tasks=("onehot",))
    text.page(prefix="an-id-as-long-as-a-path-of-many-folders-" * 3)
    return {"full": full.path, "text": text.path}


@pytest.fixture(
    scope="module",
    params=[("full", DESK), ("full", PHONE), ("text", PHONE)],
    ids=lambda page: f"{page[0]}-{page[1]}",
)
def opened(
    request: pytest.FixtureRequest, browser: Browser, pages: dict[str, Path]
) -> tuple[Browser, Path, int]:
    """Open a page in a window; give both and the width."""
    kind, width = request.param
    browser.open(pages[kind], width)
    return browser, pages[kind], width


def test_a_dot_shows_its_picture_under_pointer_or_finger(
    opened: tuple[Browser, Path, int],
) -> None:
    browser, path, width = opened
    dot = browser.run(LONELY_DOT)
    if path.parent.name == "text":  # classes have no dots
        assert dot is None
        return
    assert browser.run(HOVER)["is_hidden"]
    (browser.touch if width == PHONE else browser.move_to)(dot["x"], dot["y"])
    card = browser.run(HOVER)
    assert not card["is_hidden"]
    assert card["picture"] == dot["picture"]
    assert card["text"] == dot["caption"]
    assert card["width"] > 0
    assert 0 <= card["left"] < card["right"] <= width
    assert card["top"] >= 0
    browser.run("document.body.click()")
    assert browser.run(HOVER)["is_hidden"]


def test_a_page_fits_the_screen(opened: tuple[Browser, Path, int]) -> None:
    browser, _, width = opened
    browser.run("document.querySelectorAll('details').forEach(it => it.open = true)")
    assert browser.run("document.documentElement.scrollWidth") == width
    assert browser.run(OVERFLOWING) == []


def test_a_page_follows_light_and_dark(opened: tuple[Browser, Path, int]) -> None:
    browser, _, _ = opened
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        assert browser.run(IS_DARK) == (scheme == "dark")


def test_the_contents_lead_to_their_parts(opened: tuple[Browser, Path, int]) -> None:
    browser, _, _ = opened
    links = browser.run(
        "[...document.querySelectorAll('nav a')].map(link => [link.textContent,"
        " document.querySelector(link.hash + ' h2').textContent])"
    )
    assert len(links) > 9
    assert all(link == heading for link, heading in links)


def test_lines_of_a_forest_plot_share_one_axis(
    opened: tuple[Browser, Path, int],
) -> None:
    browser, _, _ = opened
    assert set(browser.run(WIDTHS)) == {1}


def test_a_page_is_quiet_and_asks_for_nothing(
    opened: tuple[Browser, Path, int],
) -> None:
    browser, path, _ = opened
    browser.run("document.querySelectorAll('img').forEach(it => it.loading='eager')")
    assert browser.complaints() == []
    assert browser.requests() == [path.as_uri()]
