"""Tests of stacking.estimator."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    PredefinedSplit,
    ShuffleSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from data_prep.errors import UserError
from features.store import open_store, write_store
from stacking.estimator import ClassStacker, Stacker

N = 150
QUICK = {"seeds": 1, "max_rounds": 40}


def rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    groups = np.arange(N) // 3
    X = rng.normal(size=(N, 5))
    return X, X[:, 0] + np.abs(X[:, 1]) + 0.3 * rng.normal(size=N), groups


def test_numbers_are_predicted_and_scored_out_of_fold() -> None:
    X, y, groups = rows()
    model = Stacker(cv="gkfold3", **QUICK).fit(X, y, groups=groups)
    for group in np.unique(groups):
        assert len(set(model.folds_[groups == group])) == 1
    error = np.sqrt(((model.oof_prediction_ - y) ** 2).mean())
    assert model.scores_.pooled == pytest.approx(error)
    assert error < 0.75 * y.std()
    new, target, _ = rows(1)
    assert model.score(new, target) > 0.5
    assert model.predict(new).shape == (N,)


def test_classes_are_predicted_by_name() -> None:
    X, y, _ = rows()
    names = np.array(["low", "middle", "high"])[np.digitize(y, [0.3, 1.2])]
    model = ClassStacker(cv="skfold3", seeds=1, max_rounds=200).fit(X, names)
    shares = model.predict_proba(X)
    assert_allclose(shares.sum(axis=1), 1)
    assert model.classes_.tolist() == sorted(set(names))
    assert (model.predict(X) == names).mean() > 0.7


def test_it_is_an_estimator_like_others() -> None:
    X, y, _ = rows()
    model = Stacker(cv="kfold3", **QUICK)
    assert clone(model).get_params() == model.get_params()
    chain = make_pipeline(StandardScaler(), model)
    assert cross_val_score(chain, X, y, cv=2).mean() > 0.4
    first, again = (clone(model).fit(X, y).predict(X) for _ in range(2))
    assert np.array_equal(first, again)


def test_folds_may_be_given_and_weights_reach_the_stackers() -> None:
    X, y, _ = rows()
    folds = np.arange(N) % 4
    model = Stacker(**QUICK).fit(X, y, folds=folds)
    assert np.array_equal(model.folds_, folds)
    weights = np.where(np.arange(N) % 5 == 0, 0.0, 1.0)
    other = Stacker(**QUICK).fit(X, y, folds=folds, sample_weight=weights)
    assert (model.predict(X) != other.predict(X)).any()


def test_cv_is_what_scikit_learn_calls_so() -> None:
    X, y, groups = rows()
    names = np.array(["low", "high"])[(y > y.mean()).astype(int)]
    made = Stacker(cv=5, **QUICK).fit(X, y).folds_
    assert np.array_equal(made, Stacker(cv="kfold5", **QUICK).fit(X, y).folds_)
    assert np.bincount(made).tolist() == [30] * 5
    kept = Stacker(cv=3, **QUICK).fit(X, y, groups=groups).folds_
    assert all(len(set(kept[groups == group])) == 1 for group in groups)
    of_classes = ClassStacker(cv=3, **QUICK).fit(X, names).folds_
    for fold in range(3):
        assert (names[of_classes == fold] == "low").mean() == pytest.approx(
            (names == "low").mean(), abs=0.02
        )
    own = np.arange(N) % 4
    for cv in (PredefinedSplit(own), list(PredefinedSplit(own).split())):
        assert np.array_equal(Stacker(cv=cv, **QUICK).fit(X, y).folds_, own)
    by_group = Stacker(cv=GroupKFold(3), **QUICK).fit(X, y, groups=groups).folds_
    assert all(len(set(by_group[groups == group])) == 1 for group in groups)
    assert clone(Stacker(cv=PredefinedSplit(own))).cv.get_n_splits() == 4


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        (PredefinedSplit(np.arange(N) % 4 - 1), r"38 rows are held out 0 times; leave"),
        (
            ShuffleSplit(3, random_state=0),
            "cv = ShuffleSplit.* does not hold each",
        ),
        (
            [(np.arange(75, N), np.arange(75)), (np.arange(50), np.arange(75, N))],
            "fold 1 is not trained on all rows that it does not hold out",
        ),
        (1, r"cv = 'kfold1': give kfold, .* and 2 or more folds"),
        (object(), "cv = <object.*Expected `cv` as an integer"),
        (KFold(400), "n_splits=400 greater than the number of samples"),
    ],
)
def test_a_cv_that_is_no_partition_is_refused(cv: object, message: str) -> None:
    X, y, _ = rows()
    with pytest.raises(UserError, match=message):
        Stacker(cv=cv, **QUICK).fit(X, y)


def test_folds_of_a_store_keep_the_leak_out(tmp_path: Path) -> None:
    """New folds tear what those of the store kept together: here, copies."""
    rng = np.random.default_rng(0)
    ids, series = [f"p{k:03d}" for k in range(N)], np.arange(N) // 3
    y, X = rng.normal(size=N // 3)[series], rng.normal(size=(N // 3, 30))[series]
    header = {
        "columns": [{"name": f"x{k}__mean"} for k in range(30)],
        "roles": ["oof"] * N,
        "folds": (series % 3).tolist(),
    }
    write_store(tmp_path / "features.pkl", ids, X, header)
    store = open_store(tmp_path / "features.pkl")
    y = pd.Series(y, ids).loc[list(store.ids)].to_numpy()
    model = Stacker(stackers=["ridge"], **QUICK)
    honest = model.fit(store.matrix(), y, folds=store.folds).scores_.pooled
    assert np.array_equal(model.folds_, store.folds)
    assert honest > 0.95 * y.std(), "noise tells nothing of the label"
    torn = Stacker(cv=5, stackers=["ridge"], **QUICK).fit(store.matrix(), y)
    assert torn.scores_.pooled < 0.8 * honest, "copies tell each other's label"


def test_mistakes_are_said() -> None:
    X, y, _ = rows()
    with pytest.raises(NotFittedError):
        Stacker().predict(X)
    with pytest.raises(UserError, match="folds: 150 for 150 rows, numbered"):
        Stacker(**QUICK).fit(X, y, folds=np.arange(N) % 3 + 1)
    with pytest.raises(UserError, match="stackers = 'ridges': did you mean 'ridge'"):
        Stacker(stackers=["ridges"]).fit(X, y)
    with pytest.raises(UserError, match="'pixels' reads the pixels of pictures, and X"):
        Stacker(stackers=("ridge", "pixels")).fit(X, y)
    with pytest.raises(
        ValueError, match="X has 4 features, but Stacker is expecting 5"
    ):
        Stacker(cv="kfold3", **QUICK).fit(X, y).predict(X[:, :4])


def test_tables_with_other_columns_are_refused_in_a_line() -> None:
    X, y, _ = rows()
    table = pd.DataFrame(X, columns=list("abcde"))
    model = Stacker(cv="kfold3", **QUICK).fit(table, y)
    assert_allclose(
        model.predict(table), Stacker(cv="kfold3", **QUICK).fit(X, y).predict(X)
    )
    for other in (
        table[list("edcba")],
        table[list("abcd")],
        table.assign(f=1.0),
        table.rename(columns={"a": "A"}),
    ):
        with pytest.raises(UserError, match="feature names should match") as caught:
            model.predict(other)
        assert "\n" not in str(caught.value)
        assert "Give X[list(model.feature_names_in_)]" in str(caught.value)
        assert_allclose(
            model.predict(table[list("edcba")][list(model.feature_names_in_)]),
            model.predict(table),
        )


@pytest.mark.parametrize("value", [np.nan, np.inf, None, "twelve"])
@pytest.mark.parametrize("is_frame", [True, False])
def test_cells_that_are_no_numbers_are_named(value: object, is_frame: bool) -> None:
    X, y, _ = rows()
    table = pd.DataFrame(X, columns=list("abcde")).astype(object)
    table.iloc[7, 2] = value
    given, name = (table, "'c'") if is_frame else (table.to_numpy(), "2")
    model = Stacker(cv="kfold3", **QUICK)
    message = f"X: {value!r} in row 7, column {name} is no finite number; fill it in"
    with pytest.raises(UserError, match=message):
        model.fit(given, y)
    good = pd.DataFrame(X, columns=list("abcde")) if is_frame else X
    with pytest.raises(UserError, match=message):
        model.fit(good, y).predict(given)
