"""Tests of data_prep.reporting.picture_sheets and data_prep.reporting.periods."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_prep.reporting.periods import stretches_of
from data_prep.reporting.picture_sheets import (
    N_IN_ROW,
    date_sheet,
    drawn_evenly,
    target_sheet,
)


@pytest.mark.parametrize("seed", range(30))
def test_stretches_are_in_order_and_about_as_large(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_levels = int(rng.integers(1, 60))
    values = rng.integers(0, n_levels, 300).astype(float)
    values[rng.random(300) < 0.2] = np.nan
    stretches = stretches_of(values)
    numbers = stretches.numbers
    assert ((numbers < 0) == np.isnan(values)).all()
    assert set(numbers[numbers >= 0]) == set(range(len(stretches.names)))
    for k in range(1, len(stretches.names)):
        assert values[numbers == k].min() > values[numbers == k - 1].max()
    largest_tie = np.unique(values[numbers >= 0], return_counts=True)[1].max()
    sizes = np.bincount(numbers[numbers >= 0])
    assert sizes.max() <= (numbers >= 0).sum() / 6 + largest_tie + 1


def test_values_far_from_zero_keep_their_own_names() -> None:
    seconds = 1_600_000_000.0 + np.arange(60)
    assert stretches_of(seconds, n_stretches=2).names == [
        "1600000000 to 1600000029",
        "1600000030 to 1600000059",
    ]
    assert stretches_of(np.full(3, np.nan)).names == []


@pytest.mark.parametrize("seed", range(20))
def test_pictures_are_drawn_of_different_groups_as_far_as_there_are(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    rows = pd.DataFrame({"cv_group": rng.integers(0, 12, n)})
    mask = rng.random(n) < 0.7
    idx = drawn_evenly(rows, mask, N_IN_ROW)
    groups = rows["cv_group"][mask]
    assert mask[idx].all()
    assert (np.diff(idx) > 0).all()
    assert len(idx) == min(N_IN_ROW, mask.sum())
    if groups.nunique() >= N_IN_ROW:
        assert not rows["cv_group"].iloc[idx].duplicated().any()


def sheet(target: Any, classes: Any = None, *, kind: str = "classes") -> str:
    """Give the text of the sheet of pictures by target."""
    n = len(target)
    rows = pd.DataFrame(
        {"id": [f"p{k}" for k in range(n)], "image_row": range(n), "target": target}
    )
    if classes is not None:
        codes = pd.Categorical(rows["target"], categories=classes).codes
        rows["class_index"] = codes.astype(np.int64)
    metadata = {"classes": classes, "target_kind": kind}
    images = np.zeros((n, 16, 16, 3), dtype=np.uint8)
    section = target_sheet(rows, images, metadata)
    return f"{section.note}\n{section.body}"


def test_classes_stand_by_size_and_numbers_in_their_order() -> None:
    text = sheet(["elm", "oak", "oak", None], ["ash", "elm", "oak"])
    assert text.index("oak (2 pictures)") < text.index("elm (1 picture)")
    assert "ash" not in text
    assert "p3" not in text
    ordered = sheet([2.0, 1.0, 2.0], [1.0, 2.0], kind="numeric")
    assert ordered.index("1 (1 picture)") < ordered.index("2 (2 pictures)")


def test_a_quantity_is_shown_by_quantiles_with_its_values() -> None:
    text = sheet(np.arange(60.0), kind="numeric")
    assert "0 to 9 (10 pictures)" in text
    assert "p59\n59" in text


def test_only_the_largest_of_many_classes_are_shown() -> None:
    classes = [f"c{k:02}" for k in range(20)]
    target = [name for k, name in enumerate(classes) for _ in range(k + 1)]
    text = sheet(target, classes)
    assert "The 12 largest of 20 classes." in text
    assert "c08 (9 pictures)" in text
    assert "c07 (" not in text


def test_pictures_by_date_are_left_out_where_dates_are_all_alike() -> None:
    rows = pd.DataFrame({"id": ["a", "b"], "image_row": [0, 1], "date": [1900.0] * 2})
    images = np.zeros((2, 16, 16, 3), dtype=np.uint8)
    assert not date_sheet(rows, images).body
    text = str(date_sheet(rows.assign(date=[1900.0, 1950.0]), images).body)
    assert text.index("1900 (1 picture)") < text.index("b\n1950")
