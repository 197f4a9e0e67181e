"""The worked example of docs/new_stacker.md is a stacker like any other."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler

import stacking.models
from data_prep.experiment import commands
from stacking.cross_fitting import CrossFit, TrainingRows
from stacking.ensemble.predictor import Predictor
from stacking.fit import main
from stacking.models import registry
from stacking.models.registry import STACKERS
from stacking.models.stacker import FitContext, StackerType

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "new_stacker.md").read_text(encoding="utf-8")
CODE = "\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL))
N = 120
FOLDS, CV_GROUPS = np.arange(N) // 2 % 3, np.arange(N) // 2


@pytest.fixture
def knn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StackerType]:
    """Put the file beside those of the other stackers."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "nearest_neighbours.py").write_text(CODE)
    folders = [*stacking.models.__path__, str(folder)]
    monkeypatch.setattr(stacking.models, "__path__", folders)
    found = registry.find_stackers()
    assert [*found] == [
        *sorted({"knn", *(n for n in found if not found[n].is_slow)}),
        *(name for name in found if found[name].is_slow),
    ]
    monkeypatch.setitem(STACKERS, "knn", found["knn"])
    yield found["knn"]
    del sys.modules["stacking.models.nearest_neighbours"]


def cross_fit(stacker: StackerType, X: np.ndarray, y: np.ndarray) -> CrossFit:
    rows = TrainingRows(
        X=X, y=y, folds=FOLDS, groups=CV_GROUPS, sample_weight=np.ones(N)
    )
    return stacker.fit(rows, FitContext())


def rows_of(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N // 2, 3))[CV_GROUPS] + rng.normal(0, 0.01, (N, 3))
    return X, X[:, 0] + np.abs(X[:, 1]) + rng.normal(0, 0.1, N)


def test_a_stack_with_it_is_scored_stored_and_predicts(
    knn: StackerType, make_run: Callable[..., Path]
) -> None:
    folder = make_run()
    flags = ["--stackers", "lightgbm,knn", "--seeds", "1", "--max-rounds", "30"]
    stage = main(["--run", str(folder), *flags])
    oof = pd.read_csv(stage / "oof.csv")
    error = np.sqrt(((oof["knn"] - oof["target"]) ** 2).mean())
    constant = np.sqrt(((oof["constant"] - oof["target"]) ** 2).mean())
    assert error < 0.8 * constant
    assert knn.title in (stage / "report.html").read_text(encoding="utf-8")
    stored = Predictor.load(stage).learned["knn"]
    assert len(stored.models) == 3
    assert stored.models[0].predict(np.zeros((2, len(stored.inputs)))).shape == (2,)


def test_its_predictions_are_those_of_scikit_learn(knn: StackerType) -> None:
    X, y = rows_of()
    fit = cross_fit(knn, X, y)
    for fold, chosen in enumerate(fit.metadata):
        is_train = fold != FOLDS
        scaler = StandardScaler().fit(X[is_train])
        theirs = KNeighborsRegressor(chosen["neighbours"])
        theirs.fit(scaler.transform(X[is_train]), y[is_train])
        expected = theirs.predict(scaler.transform(X[~is_train]))
        assert_allclose(fit.oof_pred[~is_train], expected)


def test_nothing_predicted_for_a_fold_looks_at_its_labels(knn: StackerType) -> None:
    X, y = rows_of()
    is_val = FOLDS == 1
    before, after = (cross_fit(knn, X, t) for t in (y, np.where(is_val, -9 * y, y)))
    assert np.array_equal(before.oof_pred[is_val], after.oof_pred[is_val])
    assert np.array_equal(before.inner_oof[1][~is_val], after.inner_oof[1][~is_val])
    assert (before.oof_pred[~is_val] != after.oof_pred[~is_val]).any()


def test_random_labels_cannot_be_remembered(knn: StackerType) -> None:
    X, _ = rows_of()  # pairs of like rows: whoever tears a pair knows the other half
    y = np.random.default_rng(1).normal(size=N // 2)[CV_GROUPS]
    fit = cross_fit(knn, X, y)
    assert ((fit.oof_pred - y) ** 2).mean() > 0.9 * y.var()
    is_train = FOLDS != 0
    error = ((fit.inner_oof[0] - y)[is_train] ** 2).mean()
    assert error > 0.9 * y[is_train].var()


def test_a_stored_model_predicts_the_same(knn: StackerType, tmp_path: Path) -> None:
    X, y = rows_of()
    fit = cross_fit(knn, X, np.eye(2)[(y > 0).astype(int)])
    assert_allclose(fit.oof_pred.sum(axis=1), 1)
    again = knn.load(tmp_path, fit.models[0].save(tmp_path, "knn_fold0"))
    assert np.array_equal(again.predict(X), fit.models[0].predict(X))


def test_the_page_is_in_order_and_names_only_what_exists() -> None:
    file = "stacking/models/nearest_neighbours.py"
    check = [sys.executable, "-m", "ruff", "check", "--stdin-filename", file, "-"]
    subprocess.run(check, input=CODE, text=True, cwd=ROOT, check=True)
    named = set(re.findall(r"`([a-z_]+/[a-z_/]+\.\w+)`", PAGE))
    assert len(named) >= 4
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert set(re.findall(r"python -m ([a-z_.]+)", PAGE)) <= set(commands())
