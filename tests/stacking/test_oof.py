"""Tests of stacking.oof."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from stacking.oof import oof_file, read_oof, write_oof


@pytest.mark.parametrize("scale", [1e-12, 1e-7, 1.0, 1e9])
@pytest.mark.parametrize("offset", [0.0, 1.6e9])
def test_numbers_are_read_back_as_they_were(
    tmp_path: Path, scale: float, offset: float
) -> None:
    values = offset + scale * np.random.default_rng(0).normal(size=50)
    table = pd.DataFrame({"id": [f"{k:03d}" for k in range(50)], "prediction": values})
    write_oof(tmp_path, table)
    read = read_oof(oof_file(tmp_path), {"classes": None})
    assert read["id"].tolist() == table["id"].tolist()
    assert_array_equal(read["prediction"], values)
    (tmp_path / "oof.parquet").unlink()  # as runs have it that were made before
    read = read_oof(oof_file(tmp_path), {"classes": None})
    shown = read["prediction"].astype(float)
    spread = max(np.ptp(values), 1e-15 * abs(offset))
    assert np.abs(shown - values).max() <= 1e-8 * spread


def test_older_spellings_of_classes_are_understood(tmp_path: Path) -> None:
    table = "id,target,probability_0.0,probability_0.5\na,0.5,0.25,0.75\n"
    (tmp_path / "oof.csv").write_text(table)
    read = read_oof(oof_file(tmp_path), {"classes": [0.0, 0.5]})
    assert [*read][2:] == ["probability_0", "probability_0.5"]
    (tmp_path / "oof.csv").write_text(table)
    read = read_oof(oof_file(tmp_path), {"classes": ["0.0", "0.5"]})  # texts
    assert [*read][2:] == ["probability_0.0", "probability_0.5"]
