"""A test of the slider of a report in a browser; skipped where there is no Chromium."""

from pathlib import Path

import numpy as np

from data_prep.reporting.report import (
    Section,
    Slider,
    picture_grid,
    slider,
    together,
    write_report,
)
from tests.browser import open_browser

STATE = """(() => ({
    visible: [...document.querySelectorAll("[data-value]")]
        .filter((figure) => figure.getBoundingClientRect().height)
        .map((figure) => +figure.dataset.value),
    elsewhere: document.querySelectorAll("figure:not([hidden])").length,
    text: document.querySelector(".slider output").textContent,
}))()"""
MOVE = """(() => {
    const slider = document.querySelector(".slider input");
    slider.value = %s;
    slider.dispatchEvent(new Event("input"));
})()"""


def test_the_slider_hides_what_is_less(tmp_path: Path) -> None:
    values = [0.95, 0.9, 0.85, 0.7]
    pictures = np.zeros((4, 8, 8, 3), dtype=np.uint8)
    names = [str(value) for value in values]
    threshold = Slider(label="likeness from", low=0.6, high=1.0, value=0.85)
    sections = [
        Section(
            "Near",
            together(
                slider(threshold),
                picture_grid(pictures, names, maps=list(pictures), values=values),
            ),
        ),
        Section("Pictures", picture_grid(pictures, names)),
    ]
    write_report(tmp_path / "report.html", "run", "", sections)
    with open_browser(tmp_path / "profile") as browser:
        browser.open(tmp_path / "report.html", width=390)
        state = browser.run(STATE)
        assert state["visible"] == [0.95, 0.9, 0.85]
        assert state["text"] == "0.85: 3 of 4"
        for value, n_visible in ((0.6, 4), (0.91, 1), (1, 0), (0.7, 4)):
            browser.run(MOVE % value)
            state = browser.run(STATE)
            assert state["visible"] == values[:n_visible]
            assert state["elsewhere"] == 4 + n_visible  # of another section all stay
            assert state["text"] == f"{value:.2f}: {n_visible} of 4"
        assert browser.complaints() == []
