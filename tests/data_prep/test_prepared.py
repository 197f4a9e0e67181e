"""Tests of data_prep.prepared."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_prep.errors import UserError
from data_prep.prepared import Prepared
from tests.prepared_runs import STAGE, make_run, pixels_of, table_of

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")


@pytest.mark.parametrize("seed", range(3))
def test_row_i_is_picture_i_however_the_file_is_ordered(
    tmp_path: Path, seed: int
) -> None:
    run = make_run(tmp_path)
    stored = table_of(run)
    shuffled = stored.sample(frac=1, random_state=seed)
    assert (shuffled["image_row"].to_numpy() != np.arange(len(stored))).any()
    shuffled.to_parquet(run.folder / STAGE / "table.parquet")
    prepared = Prepared.open(run.finished(STAGE))
    pd.testing.assert_frame_equal(prepared.table, stored)
    ids = shuffled["id"].iloc[:5]
    pixels = np.load(prepared.images_path)[prepared.image_rows(ids)]
    assert (pixels == pixels_of(run)[shuffled["image_row"].iloc[:5]]).all()


def test_it_knows_classes_and_range(tmp_path: Path) -> None:
    numbers = Prepared.open(make_run(tmp_path / "a", unit=(2, 1)).finished(STAGE))
    assert (numbers.target_range, numbers.classes) == ((1, 7), ("1", "3", "5", "7"))
    names = Prepared.open(make_run(tmp_path / "b", target="classes").finished(STAGE))
    assert names.target_range is None
    assert names.classes == ("class0", "class1", "class2", "class3")
    nothing = Prepared.open(make_run(tmp_path / "c", target=None).finished(STAGE))
    assert (nothing.target_range, nothing.classes) == (None, ())


def test_a_table_of_an_older_version_is_refused_in_one_line(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    old = {"split": "part", "cv_group": "cluster"}
    table_of(run).rename(columns=old).to_parquet(run.folder / STAGE / "table.parquet")
    with pytest.raises(UserError) as caught:
        Prepared.open(run.finished(STAGE))
    assert str(caught.value) == (
        f"{run.folder / STAGE / 'table.parquet'}: it has no column split, cv_group;"
        f" again: python -m data_prep.prepare --run {run.folder}"
    )


@pytest.mark.parametrize("name", ["id", "image_row", "fold"])
def test_a_table_without_a_column_is_refused(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path)
    table = table_of(run).drop(columns=name)
    table.to_parquet(run.folder / STAGE / "table.parquet")
    with pytest.raises(UserError, match=f"it has no column {name}; again"):
        Prepared.open(run.finished(STAGE))


@pytest.mark.parametrize("wrong", [lambda rows: rows + 1, lambda rows: rows // 2])
def test_rows_of_other_pictures_are_refused(tmp_path: Path, wrong: object) -> None:
    run = make_run(tmp_path)
    table = table_of(run).assign(image_row=lambda t: wrong(t["image_row"]))
    table.to_parquet(run.folder / STAGE / "table.parquet")
    with pytest.raises(UserError, match=r"does not number its .* rows from 0"):
        Prepared.open(run.finished(STAGE))
