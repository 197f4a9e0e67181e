"""The stack of nets is the same whatever the unit of the target that they learned."""

from collections.abc import Callable
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
from stacking.inputs.data import Assembled
from stacking.settings import FitSettings
from stacking.workflow import Work

MakeRun = Callable[..., Path]
EXPERIMENT = Experiment(DataSettings(target="period"))


def rows_of(folder: Path) -> Assembled:
    run = Run(folder)
    extracted = run.finished("features.extract")
    return assemble(run.finished("data_prep.prepare"), extracted)


def in_unit(rows: Assembled, a: float, b: float) -> Assembled:
    """Give the rows as they would be if the target were ``a * target + b``.

    Grades keep whole multiples, so that what float64 rounds is the same for all.
    """

    def column(values: np.ndarray) -> np.ndarray:
        changed = values.copy()
        for place, one in enumerate(rows.columns):
            if one.task == "target" and one.statistic == "var":
                changed[:, place] = a**2 * values[:, place]
            elif one.task == "target":
                changed[:, place] = a * values[:, place] + b
        return changed

    low, high = rows.target_range or (0.0, 0.0)
    return replace(
        rows,
        X=column(rows.X),
        nets=tuple(column(net) for net in rows.nets),
        target=a * rows.target + b,
        classes=tuple(str(a * float(name) + b) for name in rows.classes),
        target_range=(a * low + b, a * high + b),
    )


def work_of(rows: Assembled, **settings: Any) -> Work:
    usual: dict[str, Any] = {"seeds": 1, "max_rounds": 60} | settings
    return Work.of(rows, FitSettings(**usual), EXPERIMENT)


def choices(stacked: Stacked) -> list[Any]:
    means = [(name, dict(mean)) for name, mean in stacked.means.items()]
    links = [(step.name, step.is_on) for step in stacked.steps]
    method = stacked.features.alignment.method
    return [means, stacked.selected, list(stacked.selected_by_fold), links, method]


@pytest.mark.parametrize(
    ("made", "settings"),
    [
        ({}, {"align": "auto"}),
        ({}, {"metric": "quadratic_kappa", "align": "moments"}),
        ({"is_continuous": True}, {"metric": "mae", "align": "rank"}),
    ],
)
@pytest.mark.parametrize(("a", "b"), [(1e-9, 0.0), (40.0, 1.6e9), (1e9, 1e12)])
def test_a_stack_of_nets_knows_no_unit(
    make_run: MakeRun,
    tmp_path: Path,
    made: dict[str, Any],
    settings: dict[str, Any],
    a: float,
    b: float,
) -> None:
    # Nets whose outputs lie above 0: LightGBM keeps a bin for 0 itself.
    rows = in_unit(rows_of(make_run(**made)), 1.0, 16.0)
    # Targets that float64 holds exactly in each unit: else their rounding is learned.
    rows = replace(rows, target=np.round(rows.target.astype(np.float64) * 64) / 64)
    other = in_unit(rows, a, b)
    plain, found = (work_of(one, **settings).fit(tmp_path) for one in (rows, other))
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
        expected = plain.predictor.say(net, rows.nets[net])
        said = loaded.say(net, other.nets[net])
        for name in ("plain", "lightgbm", "ridge", "blend"):
            assert_allclose((said[name] - b) / a, expected[name], atol=100 * noise)
