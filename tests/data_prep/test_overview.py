"""The report of the preparation: notes as sentences, numbers in any unit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_prep.reporting import overview
from data_prep.reporting.overview import Preparation, write_overview


def page_of(
    place: Path,
    target: Any,
    classes: Any = None,
    notes: Any = (),
    columns: Mapping[str, Any] | None = None,
) -> str:
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
            "same_as": [f"p{k}" for k in range(8)],
            "width": 20,
            "height": 10,
            "is_excluded": False,
            **(columns or {}),
        }
    )
    if classes is not None:
        codes = pd.Categorical(rows["target"], categories=classes).codes
        rows["class_index"] = codes.astype(np.int64)
    metadata = {
        "side": 16,
        "fit": "pad",
        "target_column": "price",
        "date_column": None,
        "cv": "skfold2",
        "n_folds": 2,
        "classes": classes,
        "target_kind": "numeric" if classes is None else "classes",
        "has_group": False,
        "object_column": "house",
        "counts": {"train": 8, "test": 0},
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


def test_only_what_is_there_is_counted_and_all_of_a_few_pictures_shown(
    tmp_path: Path,
) -> None:
    page = page_of(tmp_path, np.nan, columns={"split": "unlabelled"})
    assert "All of them." in page
    assert "Drawn at random." not in page
    assert ">test<" not in page
    assert "p1\nunlabelled" not in page


def test_the_pictures_of_an_object_stand_together_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "N_EXAMPLES", 3)
    houses = {"object": ["b", "a"] * 4}
    page = page_of(tmp_path, np.arange(8.0), columns=houses)
    assert "Drawn at random." in page
    name, first = ("a", 1) if "a: p1" in page else ("b", 0)
    places = [page.index(f"{name}: p{k}\n") for k in range(first, 8, 2)]
    assert places == sorted(places)
    assert page.count(f"{'b' if name == 'a' else 'a'}: p") == 0
