"""Tests of the alignment of nets that have too few pictures in common."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from data_prep.experiment import read_experiment
from data_prep.run_folders.runs import Run
from stacking.ensemble.aligned_features import AlignedFeatures
from stacking.ensemble.stack import Stacked
from stacking.inputs.alignment import MIN_HELD_OUT
from stacking.inputs.assemble import assemble
from stacking.inputs.data import StackingData
from stacking.settings import FitSettings
from stacking.workflow import StackingJob
from tests.stacking.houses import N_FOLDS, Houses
from tests.stacking.pixels_of_runs import without_pixels

# 48 houses, six to predict, and nets that have hardly been trained
FEW: dict[str, Any] = {"n_train": 48, "n_test": 6, "learned": 0.02, "shift": 5.0}


def data_of(folder: Path, **options: Any) -> StackingData:
    run = Run(folder)
    stages = [run.finished(name) for name in ("data_prep.prepare", "features.extract")]
    return without_pixels(assemble(*stages, **options))


def stacked(folder: Path, align: Any) -> Stacked:
    settings = FitSettings(align=align, seeds=1)
    experiment = read_experiment(folder / "experiment.toml", folder)
    return StackingJob.of(data_of(folder), settings, experiment).fit(folder)


def aligned_by(folder: Path, data: StackingData, method: str) -> AlignedFeatures:
    experiment = read_experiment(folder / "experiment.toml", folder)
    target_columns = StackingJob.of(data, FitSettings(), experiment).target_columns
    return AlignedFeatures.of(data, target_columns, method)


def score(fitted: Stacked, name: str) -> float:
    return fitted.line(name).scores.pooled


@pytest.mark.parametrize("seed", [3, 4])
def test_barely_trained_nets_of_few_rows_do_not_ruin_the_stack(
    tmp_path: Path, seed: int
) -> None:
    folder = Houses(**FEW, seed=seed).write(tmp_path / "run")
    before, after = (stacked(folder, align) for align in ("none", "auto"))
    constant = score(after, "constant")
    assert score(before, "ridge") > 1.5 * constant  # so it was before
    assert score(before, "prediction") > 1.2 * constant
    assert before.features.alignment.method == "none"
    assert after.features.alignment.method != "none"
    assert score(after, "ridge") < 0.9 * constant
    assert score(after, "prediction") < 0.9 * constant


@pytest.mark.parametrize("method", ["moments", "rank"])
def test_what_each_net_says_of_the_rows_it_held_out_becomes_alike(
    tmp_path: Path, method: str
) -> None:
    folder = Houses(**FEW).write(tmp_path / "run")
    data = data_of(folder, columns=("floor",))
    features = aligned_by(folder, data, method)
    folds, aligned = data.rows.folds, features.rows.X
    assert features.is_by_held_out
    assert_allclose(aligned[:, -1], data.rows.X[:, -1])  # the user's stays
    means = [
        [X[folds == k, 0].mean() for k in range(N_FOLDS)]
        for X in (data.rows.X, aligned)
    ]
    spread = aligned[:, 0].std()
    assert np.ptp(means[0]) > 2 * spread
    assert np.ptp(means[1]) < 0.2 * spread


def test_too_few_rows_in_a_fold_align_nothing(tmp_path: Path) -> None:
    n_train = N_FOLDS * (MIN_HELD_OUT - 1)
    folder = Houses(**FEW | {"n_train": n_train}).write(tmp_path / "run")
    data = data_of(folder)
    features = aligned_by(folder, data, "moments")
    assert features.alignment.method == "none"
    assert_allclose(features.rows.X, data.rows.X)


def test_one_net_without_labels_has_one_scale(tmp_path: Path) -> None:
    data = data_of(Houses(**FEW, is_label_free=True).write(tmp_path / "run"))
    features = aligned_by(tmp_path / "run", data, "moments")
    assert features.alignment.method == "none"
    assert not features.is_by_held_out
