"""Tests of stacking.oof."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from data_prep.run_folders.damage import read_frame
from data_prep.tables.cells import read_table
from stacking.oof import EXACT, write_oof


@pytest.mark.parametrize("scale", [1e-12, 1e-7, 1.0, 1e9])
@pytest.mark.parametrize("offset", [0.0, 1.6e9])
def test_numbers_are_read_back_as_they_were(
    tmp_path: Path, scale: float, offset: float
) -> None:
    values = offset + scale * np.random.default_rng(0).normal(size=50)
    table = pd.DataFrame({"id": [f"{k:03d}" for k in range(50)], "prediction": values})
    write_oof(tmp_path, table, "leaf")
    read = read_frame(tmp_path / EXACT)
    assert read["id"].tolist() == table["id"].tolist()
    assert_array_equal(read["prediction"], values)
    shown = read_table(tmp_path / "oof.csv")
    assert shown["leaf"].tolist() == table["id"].tolist()
    shown = shown["prediction"].astype(float)
    spread = max(np.ptp(values), 1e-15 * abs(offset))
    assert np.abs(shown - values).max() <= 1e-8 * spread


def test_a_name_that_is_taken_is_left_to_its_column(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": ["a"], "fold": [0]})
    write_oof(tmp_path, table, "fold")
    assert (tmp_path / "oof.csv").read_text() == "id,fold\na,0\n"
