"""Tests of data_prep.tables.spelling."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_prep.tables.spelling import (
    class_names,
    class_text,
    number_texts,
    target_texts,
    write_csv,
)

STAMPS = [1600000000.0, 1600000040.0, 1600000080.0, 1600000120.0]


def test_classes_by_hand() -> None:
    assert class_names([0.0, 1.0, -0.0, 0.5, 1e-7]) == ("0", "1", "0", "0.5", "1e-07")
    assert class_names(["v1.0", "007", "0.0"]) == ("v1.0", "007", "0.0")
    assert class_names(None) == ()
    assert class_text(np.float64(2.5)) == "2.5"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("offset", [0.0, 1.6e9, 202311201530.0])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 40.0])
def test_names_of_numbers_are_distinct_and_exact(
    seed: int, offset: float, scale: float
) -> None:
    drawn = np.random.default_rng(seed).integers(0, 30, 10)
    values = np.unique(offset + scale * drawn)
    names = class_names(values.tolist())
    assert len(set(names)) == len(values)
    assert [float(name) for name in names] == values.tolist()


def test_numbers_by_hand() -> None:
    assert number_texts([0.123456789123, 2.0, float("nan"), -0.0]) == [
        *("0.123456789", "2", "", "0"),
    ]
    assert number_texts([1e-7, 2.5e-7]) == ["1e-07", "2.5e-07"]
    assert number_texts(STAMPS) == [f"{stamp:.0f}" for stamp in STAMPS]
    assert number_texts([202311201530.25, 202311201545.5]) == [
        *("202311201530.25", "202311201545.5"),
    ]
    assert number_texts([float("inf"), 0.5]) == ["inf", "0.5"]
    assert number_texts([1 / 3, 2 / 3], 4) == ["0.3333", "0.6667"]
    assert number_texts([1 / 3]) == ["0.3333333333333333"]  # of one, nothing is known
    assert number_texts([]) == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [1e-7, 1.0, 1e6])
@pytest.mark.parametrize("offset", [0.0, 10.0, 1e4, 1e7])
def test_what_is_read_back_has_nine_digits_of_what_differs(
    seed: int, scale: float, offset: float
) -> None:
    spread = np.random.default_rng(seed).uniform(size=50)
    values = scale * (offset + spread)
    read = np.array([float(text) for text in number_texts(values)])
    # A float64 has 16 digits in all: of 1e7 there are 9 left.
    assert np.abs(read - values).max() <= 2e-8 * np.ptp(values)
    assert np.abs(read / values - 1).max() <= 5.1e-9


def test_a_table_is_written_and_read_back(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "id": ["007", "ä,b"],
            "fold": [0, 1],
            "target": [2.0, 3.0],
            "said": np.array([2.25, np.nan], dtype=np.float32),
            "name": ["v1.0", None],
        }
    )
    write_csv(tmp_path / "t.csv", table)
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == (
        'id,fold,target,said,name\n007,0,2,2.25,v1.0\n"ä,b",1,3,,\n'
    )


@pytest.mark.parametrize("dtype", [object, "str"])
def test_rows_that_all_lack_a_class_are_spelled_too(dtype: str | type) -> None:
    targets = pd.Series(["oak", None, None], dtype=dtype)
    rows = pd.DataFrame({"target": targets, "class_index": [0, -1, -1]})
    assert target_texts(rows) == ["oak", "", ""]
    assert target_texts(rows.iloc[1:]) == ["", ""]
    numbers = pd.DataFrame({"target": [2.0, np.nan], "class_index": [0, -1]})
    assert target_texts(numbers) == ["2", ""]
