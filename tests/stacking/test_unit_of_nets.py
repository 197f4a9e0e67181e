"""The stack of nets is the same whatever the unit of the target that they learned."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from data_prep.experiment import DataSettings, Experiment
from data_prep.run_folders.runs import Run
from stacking.ensemble.predictor import Predictor
from stacking.ensemble.stack import Stacked
from stacking.inputs.assemble import assemble
from stacking.inputs.data import StackingData
from stacking.settings import FitSettings
from stacking.workflow import StackingJob
from tests.drilled import in_drills
from tests.stacking.conftest import FakeRun
from tests.stacking.pixels_of_runs import without_pixels

EXPERIMENT = Experiment(data=DataSettings(target="period"))


def rows_of(folder: Path) -> StackingData:
    run = Run(folder)
    extracted = run.finished("features.extract")
    return without_pixels(assemble(run.finished("data_prep.prepare"), extracted))


def in_unit(data: StackingData, a: float, b: float) -> StackingData:
    """Give the rows as they would be if the target were ``a * target + b``.

    Grades keep whole multiples, so that what float64 rounds is the same for all.
    """

    def column(values: np.ndarray) -> np.ndarray:
        changed = values.copy()
        for place, one in enumerate(data.columns):
            if one.task == "target" and one.statistic == "var":
                changed[:, place] = a**2 * values[:, place]
            elif one.task == "target":
                changed[:, place] = a * values[:, place] + b
        return changed

    low, high = data.target_range or (0.0, 0.0)
    return replace(
        data,
        rows=replace(data.rows, X=column(data.rows.X), y=a * data.rows.y + b),
        common=replace(
            data.common, nets=tuple(column(net) for net in data.common.nets)
        ),
        classes=tuple(str(a * float(name) + b) for name in data.classes),
        target_range=(a * low + b, a * high + b),
    )


def work_of(data: StackingData, **settings: Any) -> StackingJob:
    usual: dict[str, Any] = {"seeds": 1, "max_rounds": 60} | settings
    return StackingJob.of(data, FitSettings(**usual), EXPERIMENT)


def choices(stacked: Stacked) -> list[Any]:
    means = [(name, dict(mean)) for name, mean in stacked.weights_by_mean.items()]
    steps = [(step.name, step.is_on) for step in stacked.steps]
    method = stacked.features.alignment.method
    return [means, stacked.selected, list(stacked.selected_by_fold), steps, method]


CASES: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({}, {"align": "auto"}),
    ({}, {"metric": "quadratic_kappa", "align": "moments"}),
    ({"is_continuous": True}, {"metric": "mae", "align": "rank"}),
)


@pytest.fixture(scope="module", params=CASES, ids=["rmse", "kappa", "mae"])
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[StackingData, Stacked, dict[str, Any]]:
    """Give rows, their stack, and the settings of the stack."""
    made, settings = request.param
    folder = FakeRun(**made, n_train=144, n_test=48).write(
        tmp_path_factory.mktemp("unit") / "run"
    )
    # Nets whose outputs lie above 0: LightGBM keeps a bin for 0 itself.
    data = in_unit(rows_of(folder), 1.0, 16.0)
    # Targets that float64 holds exactly in each unit: else their rounding is learned.
    y = np.round(data.rows.y * 64) / 64
    data = replace(data, rows=replace(data.rows, y=y))
    return data, work_of(data, **settings).fit(folder), settings


@pytest.mark.parametrize(
    ("a", "b"), [(40.0, 1.6e9), in_drills(1e-9, 0.0), in_drills(1e9, 1e12)]
)
def test_a_stack_of_nets_knows_no_unit(
    case: tuple[StackingData, Stacked, dict[str, Any]],
    tmp_path: Path,
    a: float,
    b: float,
) -> None:
    data, plain, settings = case
    other = in_unit(data, a, b)
    found = work_of(other, **settings).fit(tmp_path)
    assert choices(found) == choices(plain)
    noise = 1e-7 + 3e-14 * abs(b / a)
    scale = a if found.objective.name in ("rmse", "mae") else 1.0
    for first, second in zip(plain.lines, found.lines, strict=True):
        assert second.name == first.name
        scores = first.scores.pooled, second.scores.pooled / scale
        assert scores[1] == pytest.approx(scores[0], abs=10 * noise), first.name
    (tmp_path / "kept").mkdir()
    found.predictor.save(tmp_path / "kept")
    loaded = Predictor.load(tmp_path / "kept")
    for net in range(3):
        expected = plain.predictor.predict_net(net, data.common.nets[net])
        said = loaded.predict_net(net, other.common.nets[net])
        for name in ("plain", "lightgbm", "ridge", "blend"):
            assert_allclose((said[name] - b) / a, expected[name], atol=100 * noise)
