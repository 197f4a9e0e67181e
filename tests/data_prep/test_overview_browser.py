"""The report of the preparation in a browser; skipped where there is no Chromium."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from data_prep.pictures.folders import LeftOut
from data_prep.reporting.overview import Preparation, write_overview
from tests.browser import IS_DARK, OVERFLOWING, Browser, open_browser

PHONE, DESK = 390, 1200
N_TRAIN, N_TEST, SIDE = 90, 30, 24
SECTIONS = [
    "What there is", "What to do next", "Target", "Pictures by target",
    "Target by date", "Target by group", "Dates", "Pictures by date", "Folds",
    "Test against training", "Pictures", "Measures of the pictures", "Left out",
]  # fmt: skip


def preparation(kind: str) -> tuple[Preparation, NDArray[np.uint8]]:
    """Make a collection that drifts in time, whose test part is darker.

    Args:
        kind: ``numeric``, ``classes``, or ``none`` for pictures alone.
    """
    rng, n = np.random.default_rng(0), N_TRAIN + N_TEST
    images = rng.integers(100, 250, (n, SIDE, SIDE, 3), dtype=np.uint8)
    images[N_TRAIN:] //= 4
    is_train = np.arange(n) < N_TRAIN
    dates = np.where(is_train, 1900.0 + np.arange(n), np.nan)
    groups = np.arange(n) // 3
    ids = [f"an_id_as_long_as_a_path_of_many_folders_{k}" for k in range(n)]
    rows = pd.DataFrame(
        {
            "id": ids,
            "split": np.where(is_train, "train", "test"),
            "date": dates,
            "fold": np.where(is_train, groups % 3, -1),
            "cv_group": groups,
            "group": [f"series {group}" for group in groups],
            "image_row": range(n),
            "width": rng.integers(30, 300, n),
            "height": rng.integers(30, 300, n),
            "pixels_sha256": ids,
            "same_as": ids,
            "is_excluded": False,
        }
    )
    metadata = {
        "side": SIDE, "fit": "pad", "cv": "sgkfold3", "n_folds": 3, "classes": None,
        "target_kind": "numeric", "has_group": True, "target_column": "price",
        "date_column": "year", "counts": {"train": N_TRAIN, "test": N_TEST},
        "dropped": 0, "softened": 0, "words": 0,
    }  # fmt: skip
    if kind == "numeric":
        rows["target"] = dates + rng.normal(0, 20, n)
    elif kind == "classes":
        names = [f"a_class_with_a_long_name_{k}" for k in range(9)]
        codes = np.clip(np.arange(n) // 10, 0, 8)
        rows["class_index"] = np.where(is_train, codes, -1)
        rows["target"] = [names[k] if k >= 0 else None for k in rows["class_index"]]
        metadata |= {"target_kind": "classes", "classes": names}
    else:
        rows = rows.assign(split="unlabelled", fold=-1, date=np.nan)
        counts = {"unlabelled": n}
        metadata |= {"target_kind": None, "n_folds": 0, "cv": None, "counts": counts}
    left_out = [LeftOut(id="x", file="x.png", reason="no picture")]
    return Preparation(rows=rows, metadata=metadata, left_out=left_out), images


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("overviews")
    paths = {}
    for kind in ("numeric", "classes", "none"):
        paths[kind] = folder / f"{kind}.html"
        write_overview(paths[kind], *preparation(kind), title="run")
    return paths


@pytest.mark.parametrize("kind", ["numeric", "classes"])
def test_all_that_there_is_stands_in_the_report(
    pages: dict[str, Path], kind: str
) -> None:
    text = pages[kind].read_text(encoding="utf-8")
    assert re.findall(r"<h2>(.*)</h2>", text) == SECTIONS
    assert "are of another kind" in text
    assert "name that column as group in [data]" in text
    way = "The target rises in time" if kind == "numeric" else "different times"
    assert way in text


def test_pictures_alone_have_a_report_too(pages: dict[str, Path]) -> None:
    text = pages["none"].read_text(encoding="utf-8")
    assert re.findall(r"<h2>(.*)</h2>", text) == [
        *("What there is", "What to do next", "Pictures", "Measures of the pictures"),
        "Left out",
    ]


def test_the_report_is_the_same_twice(tmp_path: Path, pages: dict[str, Path]) -> None:
    made, images = preparation("classes")
    kept = images.copy()
    rows = made.rows.copy()
    write_overview(tmp_path / "again.html", made, images, "run")
    assert (tmp_path / "again.html").read_bytes() == pages["classes"].read_bytes()
    pd.testing.assert_frame_equal(made.rows, rows)
    assert (images == kept).all()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("kind", ["numeric", "classes", "none"])
def test_nothing_is_cut_and_nothing_is_asked_of_the_network(
    browser: Browser, pages: dict[str, Path], kind: str, width: int
) -> None:
    browser.open(pages[kind], width)
    assert browser.run(OVERFLOWING) == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.requests() == [pages[kind].as_uri()]
    assert browser.complaints() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_follows_light_and_dark(
    browser: Browser, pages: dict[str, Path], scheme: str
) -> None:
    browser.open(pages["classes"], PHONE)
    browser.prefer(scheme)
    assert browser.run(IS_DARK) == (scheme == "dark")
