"""Tests of the comparison of two finished runs, row by row."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.compare_runs import compare
from data_prep.errors import UserError
from data_prep.run_folders.damage import read_frame
from stacking import fit
from stacking.oof import EXACT
from tests.stacking.conftest import FakeRun

FAST = ("--stackers=ridge", "--no-control")


def test_each_line_is_scored_with_the_paired_difference(tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for seed, folder in enumerate(folders, 1):
        FakeRun(net_seed=seed).write(folder)
        fit.main(["--run", str(folder), *FAST])
    rows = compare(*folders).splitlines()
    assert rows[0] == "| rmse | first | second | difference |"
    by_name = {row.split(" | ")[0].removeprefix("| "): row for row in rows[2:]}
    tables = [read_frame(folder / fit.STAGE / EXACT) for folder in folders]
    for name in ("plain", "ridge"):
        scores = [
            np.sqrt(np.mean((table[name] - table["target"]) ** 2)) for table in tables
        ]
        difference = scores[1] - scores[0]
        told = f"| {scores[0]:.4f} | {scores[1]:.4f} | {difference:+.4f} ("
        assert told in by_name[name]
    assert not {"id", "fold", "target"} & set(by_name)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 1}, "differ in their rows, folds or targets"),
        ({"is_text": True}, "first is scored by rmse, .*second by"),
    ],
)
def test_runs_that_cannot_be_paired_are_refused(
    tmp_path: Path, other: dict[str, int], message: str
) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for fields, folder in zip(({}, other), folders, strict=True):
        FakeRun(**fields).write(folder)
        fit.main(["--run", str(folder), *FAST])
    with pytest.raises(UserError, match=message):
        compare(*folders)
