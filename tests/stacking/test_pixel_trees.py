"""Tests of stacking.models.pixel_trees: the model without nets as a member."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from data_prep.errors import UserError
from data_prep.experiment import DataSettings, Experiment
from data_prep.run_folders.runs import Run
from stacking.cross_fitting import TrainingRows
from stacking.ensemble.predictor import Predictor
from stacking.ensemble.stack import Stacked
from stacking.inputs.assemble import assemble
from stacking.inputs.data import StackingData
from stacking.models.pixel_trees import PIXELS, fit
from stacking.models.stacker import FitContext
from stacking.settings import FitSettings
from stacking.workflow import StackingJob

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

MakeRun = Callable[..., Path]
QUICK = {"seeds": 1, "max_rounds": 60, "align": "none"}
USUAL = FitSettings().stackers
SEEDS = range(3)


def told_by_pixels(folder: Path, seed: int = 0) -> StackingData:
    """Give rows whose pixels tell the target, and whose nets tell nothing."""
    run, rng = Run(folder), np.random.default_rng(seed)
    data = assemble(*map(run.finished, ("data_prep.prepare", "features.extract")))
    assert data.pixels is not None
    pixels = rng.normal(size=data.pixels.shape).astype(np.float32)
    pixels[:, 5] = data.rows.y + rng.normal(0, 0.1, len(pixels))
    X = rng.permutation(data.rows.X)
    return dataclasses.replace(
        data, rows=dataclasses.replace(data.rows, X=X), pixels=pixels
    )


def stacked_of(data: StackingData, stackers: tuple[str, ...] = USUAL) -> Stacked:
    settings = FitSettings(**QUICK | {"stackers": stackers})  # type: ignore[arg-type]
    experiment = Experiment(data=DataSettings(target="period"))
    return StackingJob.of(data, settings, experiment).fit(Path("unused"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> StackingData:
    from tests.stacking.conftest import FakeRun

    folder = FakeRun().write(tmp_path_factory.mktemp("pixels") / "run")
    return told_by_pixels(folder)


@pytest.fixture(scope="module")
def stacked(data: StackingData) -> Stacked:
    return stacked_of(data)


def test_where_nets_have_learned_nothing_pixels_carry_the_prediction(
    stacked: Stacked,
) -> None:
    constant, pixels, final = (
        stacked.line(name).scores.pooled for name in ("constant", PIXELS, "prediction")
    )
    assert pixels < 0.7 * constant
    assert final < 1.05 * pixels
    assert stacked.line("lightgbm").scores.pooled > 0.9 * constant
    assert stacked.weights_by_mean["blend"][PIXELS] > 0.8
    assert [line.name for line in stacked.lines].count(PIXELS) == 1


def test_left_out_of_the_stackers_it_is_compared_with_and_no_more(
    data: StackingData, stacked: Stacked
) -> None:
    without = stacked_of(data, ("lightgbm", "ridge"))
    assert PIXELS not in without.weights_by_mean["blend"]
    assert PIXELS not in without.predictor.learned
    assert without.predictor.sees == {"columns"}
    line, same = without.line(PIXELS), stacked.line(PIXELS)
    assert (line.name, line.title) == (same.name, same.title)
    constant = without.line("constant").scores.pooled
    assert line.scores.pooled < 0.8 * constant
    assert without.final.scores.pooled > 0.9 * constant


def test_a_run_whose_pixels_are_gone_has_no_such_line(data: StackingData) -> None:
    stacked = stacked_of(dataclasses.replace(data, pixels=None))
    assert not stacked.has_line(PIXELS)
    assert PIXELS not in stacked.members


@pytest.mark.parametrize("seed", SEEDS)
def test_labels_of_a_fold_change_nothing_that_is_said_of_it(
    data: StackingData, seed: int
) -> None:
    rows = dataclasses.replace(data.rows, X=data.pixels)
    is_in = rows.folds == 1
    y = np.where(is_in, np.random.default_rng(seed).normal(size=len(rows.y)), rows.y)
    context = FitContext(
        n_seeds=1, max_rounds=20, columns=[f"x{k}" for k in range(502)]
    )

    def fitted(rows: TrainingRows) -> tuple[np.ndarray, np.ndarray]:
        fit_of = fit(rows, context)
        return fit_of.oof_pred[is_in], fit_of.inner_oof[1][~is_in]

    for before, after in zip(
        fitted(rows), fitted(dataclasses.replace(rows, y=y)), strict=True
    ):
        assert_array_equal(before, after)


def test_stored_it_says_of_a_row_what_was_scored(
    data: StackingData, stacked: Stacked, tmp_path: Path
) -> None:
    stacked.predictor.save(tmp_path)
    predictor = Predictor.load(tmp_path)
    assert "pixels" in predictor.sees
    oof_pred = stacked.members[PIXELS].fit.oof_pred
    for fold, _, idx in data.rows.each_fold():
        assert data.pixels is not None
        pred = predictor.predict_net(
            fold, data.rows.X[idx], pixels=data.pixels[idx], in_fold=True
        )
        assert_allclose(pred[PIXELS], oof_pred[idx], rtol=1e-9)
    config = json.loads((tmp_path / "predictor.json").read_text())
    for member in config["members"].values():
        del member["sees"]
    (tmp_path / "predictor.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="an older version wrote it; again: python -m"):
        Predictor.load(tmp_path)


def test_classes_have_probabilities_of_it_too(make_run: MakeRun) -> None:
    run = Run(make_run(is_text=True, n_train=96, n_test=24))
    data = assemble(*map(run.finished, ("data_prep.prepare", "features.extract")))
    proba = stacked_of(data).members[PIXELS].fit.oof_pred
    assert proba.shape == data.rows.y.shape
    assert_allclose(proba.sum(axis=1), 1)
