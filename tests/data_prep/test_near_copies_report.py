"""Tests of data_prep.reporting.near_copies: pairs with a slider."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_prep.pictures.copies import NEAR_COLUMNS, NearCopies
from data_prep.reporting import near_copies
from data_prep.reporting.copies import copies_of, remarks_on_copies
from data_prep.reporting.near_copies import near_copies_section
from data_prep.reporting.report import prose


def rows_of(n: int, **columns: Any) -> pd.DataFrame:
    ids = [f"p{k}" for k in range(n)]
    rows = {"id": ids, "split": "train", "image_row": range(n), "same_as": ids}
    return pd.DataFrame(rows | {"pixels_sha256": ids} | columns)


def near_of(*pairs: tuple[str, str, str, float, bool]) -> NearCopies:
    return NearCopies(pairs=pd.DataFrame(pairs, columns=NEAR_COLUMNS))


def section_of(near: NearCopies, rows: pd.DataFrame) -> str:
    images = np.zeros((len(rows), 8, 8, 3), dtype=np.uint8)
    return str(near_copies_section(near, rows, images).body)


def test_each_pair_says_what_asks_for_action() -> None:
    rows = rows_of(
        6, target=[1.0, 2.0, 3.0, 3.0, 4.0, np.nan], split=["train"] * 5 + ["test"]
    )
    near = near_of(
        ("p0", "p1", "h", 0.95, True),
        ("p2", "p3", "e", 0.9, False),
        ("p4", "p5", "hvr", 0.7, False),
    )
    body = section_of(near, rows)
    assert re.findall("<figcaption>([^<]*)<", body) == [
        "0.95: p0, p1, mirrored\nlabels 1, 2",
        "0.90: p2, p3",
        "0.70: p4, p5, turned left\nto predict, and learned from",
    ]
    assert re.findall('data-value="([^"]*)"', body) == ["0.95", "0.9", "0.7"]
    assert 'min="0.6" max="1.0" step="0.01" value="0.85"' in body
    assert "1 pair of likeness 0.85 or more are kept in one fold" in body
    assert "1 pair of that likeness are not kept in one fold" in body


def test_the_second_is_shown_as_it_looks_like_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    images[0, :, :2] = 255  # light on the left, and turned right: above
    images[1, :2] = 255
    shown: list[Any] = []

    def grid(pixels: Any, _: Any, **options: Any) -> Any:
        shown.extend([*pixels, *options["maps"]])
        return prose()

    monkeypatch.setattr(near_copies, "picture_grid", grid)
    near = near_of(("p0", "p1", "hvr", 0.95, True))
    near_copies_section(near, rows_of(2), images)
    assert (shown[0] == shown[1]).all()


def test_without_pairs_there_is_no_part() -> None:
    assert section_of(NearCopies(), rows_of(3)) == ""


def test_those_at_the_threshold_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_copies, "MOST_SHOWN", 2)
    levels = [0.99, 0.95, 0.9, 0.8, 0.7, 0.65]
    pairs = [(f"p{k}", f"p{k + 1}", "e", x, x > 0.85) for k, x in enumerate(levels)]
    body = section_of(near_of(*pairs), rows_of(7))
    assert re.findall('data-value="([^"]*)"', body) == ["0.95", "0.9", "0.8", "0.7"]
    assert "3 pairs of likeness 0.85 or more" in body


def test_versions_of_one_picture_are_listed_together() -> None:
    rows = rows_of(5, same_as=["p0", "p0", "p2", "p0", "p4"], target=[1, 1, 2, 3, 4.0])
    rows["pixels_sha256"] = ["a", "a", "b", "c", "d"]
    (listed,) = copies_of(rows)
    assert (listed.ids, listed.labels) == (("p0", "p1", "p3"), ("1", "3"))
    assert listed.n_versions == 2
    # a table that was prepared before knows equal ones only
    (before,) = copies_of(rows.drop(columns="same_as"))
    assert before.ids == ("p0", "p1")


def test_remarks_count_copies_and_name_a_contradiction() -> None:
    rows = rows_of(
        6,
        pixels_sha256=list("aabcde"),
        same_as=["p0", "p0", "p0", "p3", "p3", "p5"],
        split=["train"] * 4 + ["test"] * 2,
        target=[1.0, 1.0, 2.0, 1.0, np.nan, np.nan],
    )
    assert remarks_on_copies(rows) == [
        "1 picture the same as another, pixel by pixel; kept in one fold with it",
        "2 pictures nearly the same as another (recompressed, resized, turned or"
        " cropped a little); kept in one fold with it",
        "1 picture to be predicted equal to one of the training split, or nearly",
        "1 picture with copies has different labels, such as p0, p1, p2: 1, 2; see"
        " Copies in the report",
    ]
    assert remarks_on_copies(rows_of(3)) == []
    apart = rows.assign(same_as=rows["id"], target=np.nan)
    assert remarks_on_copies(apart) == [
        "1 picture the same as another, pixel by pixel; not kept in one fold with it,"
        " as copies says"
    ]
