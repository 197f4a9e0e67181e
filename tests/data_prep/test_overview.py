"""The report of the preparation: notes as sentences, numbers in any unit."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_prep.reporting.overview import Preparation, write_overview


def page_of(place: Path, target: Any, classes: Any = None, notes: Any = ()) -> str:
    """Write the report of eight rows in two folds, and give its text."""
    rows = pd.DataFrame(
        {
            "id": [f"p{k}" for k in range(8)],
            "split": "train",
            "target": target,
            "date": np.nan,
            "fold": [0, 1] * 4,
            "cv_group": range(8),
            "image_row": range(8),
            "pixels_sha256": [str(k) for k in range(8)],
            "is_excluded": False,
        }
    )
    if classes is not None:
        codes = pd.Categorical(rows["target"], categories=classes).codes
        rows["class_index"] = codes.astype(np.int64)
    metadata = {
        "side": 16,
        "cv": "skfold2",
        "n_folds": 2,
        "classes": classes,
        "target_kind": "numeric" if classes is None else "classes",
        "has_group": False,
        "counts": {"train": 8},
        "dropped": 0,
        "softened": 0,
    }
    images = np.zeros((8, 16, 16, 3), dtype=np.uint8)
    preparation = Preparation(rows=rows, metadata=metadata, notes=notes)
    write_overview(place / "report.html", preparation, images, "run")
    return (place / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("unit", "mean", "caption"),
    [(1.0, "4.000", "p1\n2"), (1e-6, "4.000e-06", "p1\n2e-06"), (1e6, "4000000", "p1")],
)
def test_the_folds_are_told_with_four_digits_in_any_unit(
    tmp_path: Path, unit: float, mean: str, caption: str
) -> None:
    page = page_of(tmp_path, unit * np.arange(1.0, 9.0))
    assert f'<td class="number">{mean}</td>' in page
    assert caption in page


def test_times_since_1970_are_told_apart_below_the_pictures(tmp_path: Path) -> None:
    page = page_of(tmp_path, 1_600_000_000.0 + np.arange(8))
    assert "1600000001" in page
    assert "1600000002" in page


def test_a_picture_without_a_class_says_its_part(tmp_path: Path) -> None:
    page = page_of(tmp_path, ["oak", None, *["elm"] * 6], ["elm", "oak"])
    assert "p0\noak" in page
    assert "p1\ntrain" in page


def test_the_name_of_a_file_keeps_its_case(tmp_path: Path) -> None:
    notes = ["train.csv: date: 1 row without (1 empty)", "no word vectors"]
    page = page_of(tmp_path, np.arange(8.0), notes=notes)
    assert "<p>train.csv: date: 1 row without (1 empty).</p>" in page
    assert "<p>No word vectors.</p>" in page
