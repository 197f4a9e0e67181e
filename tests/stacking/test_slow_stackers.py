"""A stack of all stackers of columns: scored, stored and predicted by the same path."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from features.store import open_store
from stacking.ensemble.predictor import Predictor
from stacking.fit import main
from stacking.models.registry import STACKERS
from tests.stacking.pixels_of_runs import columns_of_pixels


@pytest.mark.drill
def test_stored_models_predict_what_was_handed_out(
    make_run: Callable[..., Path],
) -> None:
    names = [
        name
        for name, stacker in STACKERS.items()
        if stacker.inputs != "views"
        and (not stacker.package or find_spec(stacker.package))
    ]
    assert {"svr", "mlp"} < set(names)
    folder = make_run(n_train=60, n_test=12)
    flags = ["--stackers", ",".join(names), "--seeds", "1", "--max-rounds", "30"]
    stage = main(["--run", str(folder), *flags])
    oof = pd.read_csv(stage / "oof.csv")
    page = (stage / "report.html").read_text(encoding="utf-8")
    for name in names:
        assert oof[name].notna().all()
        assert STACKERS[name].title.replace("'", "&#39;") in page
    predictions = pd.read_csv(stage / "predictions.csv").set_index("name")["period"]
    paths = sorted((folder / "features.extract" / "nets").glob("*.pkl"))
    nets = [open_store(path).matrix(predictions.index) for path in paths]
    predictor = Predictor.load(stage)
    assert set(names) <= set(predictor.learned)
    pixels = columns_of_pixels(folder, predictions.index.tolist())
    nets = [net.astype(np.float64) for net in nets]
    averaged = predictor.predict(nets, pixels=pixels).averaged
    assert_allclose(averaged["prediction"], predictions, rtol=1e-6)
    assert all(np.isfinite(averaged[name]).all() for name in names)
