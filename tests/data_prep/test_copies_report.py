"""Tests of data_prep.reporting.copies: pictures that are there more than once."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_prep.reporting import copies
from data_prep.reporting.copies import copies_of, copies_section


def rows_of(pixels: str, *, split: str = "", targets: Any = None) -> pd.DataFrame:
    """Give a row for each letter of ``pixels``; equal letters are copies."""
    rows = pd.DataFrame(
        {
            "id": [f"p{number}" for number in range(len(pixels))],
            "split": list(split.replace("L", "*")) or ["train"] * len(pixels),
            "image_row": range(len(pixels)),
            "pixels_sha256": list(pixels),
        }
    )
    rows["split"] = rows["split"].replace({"*": "train", "T": "test"})
    return rows if targets is None else rows.assign(target=targets)


def text_of(rows: pd.DataFrame) -> str:
    images = np.zeros((len(rows), 8, 8, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(len(rows))
    return str(copies_section(rows, images).body)


def test_what_asks_for_action_comes_first() -> None:
    rows = rows_of(
        "aaabbccd",
        split="LLLLTLLL",
        targets=[1.0, 1.0, 1.0, 2.0, np.nan, 3.0, 4.0, 5.0],
    )
    found = [(c.ids, c.labels, c.is_crossing) for c in copies_of(rows)]
    assert found == [
        (("p5", "p6"), ("3", "4"), False),
        (("p3", "p4"), ("2",), True),
        (("p0", "p1", "p2"), ("1",), False),
    ]


def test_the_part_shows_each_once_and_says_what_to_do() -> None:
    rows = rows_of("aabbcc", split="LLLTLL", targets=["oak", "elm", "ash", *[None] * 3])
    text = text_of(rows.assign(class_index=0))
    assert "<p>3 pictures stand in 6 rows.</p>" in text
    assert "1 picture has different labels: no prediction is right" in text
    assert "1 picture is both learned from and to be predicted" in text
    assert "nothing need be done" not in text
    assert re.findall("<figcaption>([^<]*)<", text) == [
        "2 times: p0, p1\nlabels oak, elm",
        "2 times: p2, p3\nlabel ash\nto predict, and learned from",
        "2 times: p4, p5",
    ]


def test_labels_have_the_digits_that_all_rows_need() -> None:
    rows = rows_of("aab", targets=[1 / 3, 1 / 3, 2.0])
    assert "label 0.333333<" in text_of(rows)


def test_copies_that_agree_do_no_harm() -> None:
    text = text_of(rows_of("aab", targets=[1.5, 1.5, 2.0]))
    assert "1 picture stands in 2 rows." in text
    assert "nothing need be done" in text


@pytest.mark.parametrize("rows", [rows_of("abc"), rows_of("aa")[["id", "split"]]])
def test_without_copies_there_is_no_part(rows: pd.DataFrame) -> None:
    assert copies_section(rows, np.zeros((3, 8, 8, 3), np.uint8)).body == ""


def test_of_many_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "MOST_SHOWN", 1)
    monkeypatch.setattr(copies, "MOST_LISTED", 2)
    rows = rows_of("aaaaabbcc")
    section = copies_section(rows, np.zeros((9, 8, 8, 3), np.uint8))
    assert "shown once, the 1 that matter most." in section.note
    assert "5 times: p0, p1, p2 and 2 more" in section.body
    assert "The first 2 of 3" in section.body
    assert "<td>p0, p1, p2, p3, p4</td>" in section.body
    assert "p7, p8" not in section.body
