"""Tests of pretext.evaluation.probing."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.neighbors import NearestNeighbors

from data_prep.scoring.metrics import METRICS
from data_prep.scoring.scores import group_bootstrap
from data_prep.task_types.registry import TASK_TYPES
from data_prep.tasks import Task
from pretext.evaluation import probing
from pretext.evaluation.probing import (
    PROBES,
    explained,
    labels_of,
    probe,
    probes_of,
    scored,
    standardised,
    stored_splits,
)

SEEDS = range(3)
NUMBERS, CLASSES = ("knn", "ridge"), ("knn", "ridge", "logistic")


def task_of(values: Any, kind: str = "regression", **changes: Any) -> Task:
    values = np.asarray(values, dtype=np.float32)
    values = values[:, None] if values.ndim == 1 else values
    n_classes = int(values.max()) + 1 if kind == "classes" else values.shape[1]
    task = Task(
        name="it",
        task_type=TASK_TYPES[kind](),
        values=values,
        has_label=np.ones(len(values), dtype=bool),
        outputs=tuple(map(str, range(n_classes))),
    )
    return replace(task, **changes)


def folds_of(n: int, n_folds: int = 3) -> list[Any]:
    fold = np.arange(n) % n_folds
    return [(fold == k, fold != k) for k in range(n_folds)]


def collection(
    seed: int, n: int = 150, width: int = 12, kind: str = "regression"
) -> tuple[NDArray[Any], Task]:
    """Features of which some tell the labels, and the labels."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 3))
    features = hidden @ rng.normal(size=(3, width)) + 0.1 * rng.normal(size=(n, width))
    if kind == "classes":
        return features, task_of(np.digitize(hidden[:, 0], [-0.5, 0.5]), kind)
    if kind == "words":
        return features, task_of(hidden, kind)
    return features, task_of(1900 + 20 * hidden[:, 0], kind)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("width", [12, 300])  # fewer and more columns than rows
@pytest.mark.parametrize("kind", ["regression", "date", "words", "classes"])
def test_what_is_in_the_features_is_found(seed: int, width: int, kind: str) -> None:
    features, task = collection(seed, width=width, kind=kind)
    for name in probes_of(task):
        result = probe(name, features, task, folds_of(150), np.arange(150))
        assert result.score > (0.6 if kind == "classes" else 0.7), name
        assert result.score > result.reference + 0.2
        assert result.measure == ("accuracy" if kind == "classes" else "R2")
        assert len(result.rows) == 150


@pytest.mark.parametrize(("a", "b"), [(1e-9, 0.0), (40.0, 1.6e9), (1e9, -1e12)])
@pytest.mark.parametrize("name", NUMBERS)
def test_an_answer_knows_no_unit(name: str, a: float, b: float) -> None:
    features, task = collection(0)
    grades = np.round(task.values).astype(
        np.float64
    )  # far from zero, too, float64 holds them exactly
    rows = folds_of(150), np.arange(150)
    plain = probe(name, features, replace(task, values=grades), *rows)
    other = probe(name, features, replace(task, values=a * grades + b), *rows)
    assert other.score == pytest.approx(plain.score, abs=1e-6)
    assert other.error / a == pytest.approx(plain.error, rel=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["regression", "words", "classes"])
def test_what_is_not_there_is_not_found(seed: int, kind: str) -> None:
    features, task = collection(seed, n=300, kind=kind)
    features = np.random.default_rng(seed + 100).normal(size=features.shape)
    for name in probes_of(task):
        result = probe(name, features, task, folds_of(300), np.arange(300))
        assert result.score < result.reference + 0.1, name


def test_each_kind_has_its_probes() -> None:
    assert probes_of(task_of([0, 1], "classes")) == list(CLASSES)
    for kind in ("regression", "date", "words"):
        assert probes_of(task_of([0, 1], kind)) == list(NUMBERS)


def torn(seed: int, n: int = 120) -> tuple[pd.DataFrame, NDArray[Any], Task]:
    """Rows of noise, each with a copy that is never validated."""
    rng = np.random.default_rng(seed)
    features = np.tile(rng.normal(size=(n, 20)), (2, 1))
    labels = np.tile(rng.integers(2, size=n), 2)
    table = pd.DataFrame(
        {
            "split": "train",
            "fold": np.where(np.arange(2 * n) < n, np.arange(2 * n) % 3, -1),
            "cv_group": np.tile(np.arange(n), 2),
        }
    )
    return table, features, task_of(labels, "classes")


@pytest.mark.parametrize("seed", SEEDS)
def test_copies_of_rows_held_out_are_not_learned_from(seed: int) -> None:
    table, features, task = torn(seed)
    cv_groups = table["cv_group"].to_numpy()
    splits = stored_splits(table, 3)
    nearest = probe("knn", features, task, splits, cv_groups)
    assert nearest.rows.tolist() == list(range(120))  # the copies are not scored
    assert nearest.score < 0.68
    learned_all = [(held_out, ~held_out) for held_out, _ in splits]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probing, "NEIGHBOURS", 1)
        assert probe("knn", features, task, splits, cv_groups).score < 0.68
        assert probe("knn", features, task, learned_all, cv_groups).score == 1


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("seed", SEEDS)
def test_an_answer_owes_nothing_to_the_other_rows_held_out(
    name: str, seed: int
) -> None:
    features, task = collection(seed, n=90, kind="classes")
    splits, cv_groups = folds_of(90), np.arange(90)
    y_pred = probe(name, features, task, splits, cv_groups).y_pred
    other, values = features.copy(), task.values.copy()
    others = np.flatnonzero(splits[0][0])[1:]
    other[others] *= 1000
    values[others] = (values[others] + 1) % 3
    changed = replace(task, values=values)
    again = probe(name, other, changed, splits[:1], cv_groups).y_pred
    assert again[0] == y_pred[0]


@pytest.mark.parametrize("name", CLASSES)
def test_a_row_without_label_is_neither_learned_from_nor_scored(name: str) -> None:
    features, task = collection(0, n=90, kind="classes")
    has_label = np.arange(90) % 4 > 0
    few = labels_of(task, np.flatnonzero(has_label))
    alone = probe(
        name,
        features[has_label],
        few,
        [(a[has_label], b[has_label]) for a, b in folds_of(90)],
        np.flatnonzero(has_label),
    )
    values = np.where(has_label[:, None], task.values, 0)
    masked = replace(task, values=values.astype(np.float32), has_label=has_label)
    result = probe(name, features, masked, folds_of(90), np.arange(90))
    assert (result.y_pred == alone.y_pred).all()
    assert (result.rows == np.flatnonzero(has_label)).all()


@pytest.mark.parametrize("name", CLASSES)
def test_a_probe_is_repeatable_and_leaves_the_global_generator_alone(name: str) -> None:
    features, task = collection(1, kind="classes")
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr]  # noqa: NPY002
    first, again = (
        probe(name, features, task, folds_of(150), np.arange(150)) for _ in range(2)
    )
    assert (first.y_pred == again.y_pred).all()
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


# The probes themselves, by other routes.


@pytest.mark.parametrize("seed", SEEDS)
def test_neighbours_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, new = standardised(rng.normal(size=(130, 7)), rng.normal(size=(9, 7)))
    y = rng.normal(size=(130, 2))
    tree = NearestNeighbors(n_neighbors=20, metric="cosine").fit(x)
    _, nearest = tree.kneighbors(new)
    assert_allclose(
        PROBES["knn"](x, y, new, np.arange(130)), y[nearest].mean(axis=1), atol=3e-3
    )


def test_neighbours_by_hand() -> None:
    # 12 rows: a fifth of them are 2 neighbours; lengths do not count
    angles = np.deg2rad([0, 10, 20, 90, 100, 110, 180, 190, 200, 270, 280, 290])
    x = np.column_stack([np.cos(angles), np.sin(angles)]) * np.arange(1, 13)[:, None]
    y = np.arange(12.0)[:, None]
    new = np.array([[5.0, 0.4], [-0.1, -3.0]])  # 4.6 and 268 degrees
    assert_allclose(PROBES["knn"](x, y, new, np.arange(12)), [[0.5], [9.5]], atol=1e-3)


def test_a_tie_of_neighbours_goes_to_the_nearer() -> None:
    x = np.array([[1.0, 0.0], [0.9, 0.3], *[[-1.0, 0.1 * k] for k in range(8)]])
    y = np.eye(2)[[0, 1, *[0] * 8]]
    y_pred = PROBES["knn"](x, y, np.array([[0.9, 0.29], [1.0, 0.01]]), np.arange(10))
    assert y_pred.argmax(axis=1).tolist() == [1, 0]


@pytest.mark.parametrize("width", [5, 80])
@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_a_ridge_is_that_of_scikit_learn(
    width: int, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    x, y, new = rng.normal(size=(40, width)), rng.normal(size=(40, 3)), None
    new = rng.normal(size=(6, width))
    monkeypatch.setattr(probing, "STRENGTHS", (strength,))
    theirs = Ridge(alpha=strength * 40).fit(x, y).predict(new)
    assert_allclose(PROBES["ridge"](x, y, new, np.arange(40)), theirs, atol=1e-9)


@pytest.mark.parametrize("signal", [True, False])
def test_the_strength_of_a_ridge_suits_the_labels(signal: bool) -> None:
    rng = np.random.default_rng(0)
    x, new = rng.normal(size=(60, 50)), rng.normal(size=(200, 50))
    y = x[:, :1] if signal else rng.normal(size=(60, 1))
    y_pred = PROBES["ridge"](x, y, new, np.arange(60))
    if signal:
        assert r2_score(new[:, 0], y_pred) > 0.8
    else:  # nearly the mean of all; the weakest would vary as much as the labels
        assert y_pred.std() < 0.3 * y.std()


def test_the_strength_is_chosen_on_whole_cv_groups() -> None:
    # ten copies of each row: judged by copies of itself, the weakest would seem best
    rng = np.random.default_rng(0)
    x, y = np.repeat(rng.normal(size=(30, 40)), 10, 0), rng.normal(size=(30, 1))
    y, new = np.repeat(y, 10, 0), rng.normal(size=(100, 40))
    whole = PROBES["ridge"](x, y, new, np.repeat(np.arange(30), 10))
    torn_apart = PROBES["ridge"](x, y, new, np.arange(300))
    assert whole.std() < 0.3 * torn_apart.std()


@pytest.mark.parametrize("strengths", [(1e-3,), (0.1,)])
def test_a_logistic_regression_gives_probabilities_of_all_classes(
    strengths: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "LOGISTIC_STRENGTHS", strengths)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 4))
    y = np.eye(4)[np.where(x[:, 0] > 0, 3, 1)]  # of the classes 0 and 2 there is none
    y_pred = PROBES["logistic"](x, y, x, np.arange(80))
    assert_allclose(y_pred.sum(axis=1), 1)
    assert (y_pred[:, [0, 2]] == 0).all()
    assert (y_pred.argmax(axis=1) == y.argmax(axis=1)).mean() > 0.9


def test_a_logistic_regression_learns_from_some_rows_if_there_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    fit = probing._logistic

    def noted(x: Any, *given: Any) -> Any:
        seen.append(len(x))
        return fit(x, *given)

    monkeypatch.setattr(probing, "_logistic", noted)
    monkeypatch.setattr(probing, "LOGISTIC_ROWS", 60)
    features, task = collection(0, kind="classes")
    result = probe("logistic", features, task, folds_of(150), np.arange(150))
    assert max(seen) == 60
    assert result.score > 0.8


def test_one_class_among_the_rows_taught_is_all_that_is_said() -> None:
    y = np.eye(3)[[1] * 10]
    rng = np.random.default_rng(0)
    for name in CLASSES:
        y_pred = PROBES[name](
            rng.normal(size=(10, 3)), y, rng.normal(size=(4, 3)), np.arange(10)
        )
        assert_allclose(y_pred, np.eye(3)[[1] * 4], atol=1e-12)


def test_standardising_knows_the_first_rows_only() -> None:
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(50, 3, 40), np.full(40, 7.0)]).astype("f4")
    x, new = standardised(X, np.array([[53.0, 8.0]], dtype="f4"))
    assert_allclose(x.mean(axis=0), 0, atol=1e-6)
    assert_allclose(x.std(axis=0), [1, 0], atol=1e-6)
    centre, scale = X[:, 0].mean(dtype="f8"), X[:, 0].std(dtype="f8")
    assert_allclose(new, [[(53 - centre) / scale, 0]])  # what never varied says nothing


# The scores.


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("width", [1, 4])
def test_r2_is_that_of_scikit_learn(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    labels = 1900 + rng.normal(size=(50, width)) * np.arange(1, width + 1)
    y_pred = labels + rng.normal(size=labels.shape)
    result = scored(task_of(labels), np.arange(50), y_pred)
    y_true = labels.astype(np.float32).astype(np.float64)
    theirs = r2_score(y_true, y_pred, multioutput="variance_weighted")
    assert_allclose(result.score, theirs)
    assert_allclose(result.error, np.sqrt(((y_true - y_pred) ** 2).mean()))
    if width == 1:
        assert_allclose(result.score, METRICS["r2"](y_true[:, 0], y_pred[:, 0]))


def test_the_intervals_of_one_number_are_those_of_its_plain_score() -> None:
    rng = np.random.default_rng(0)
    labels, groups = rng.normal(size=60), np.arange(60) // 3
    y_pred = labels + rng.normal(size=60)
    ours = scored(task_of(labels), np.arange(60), y_pred[:, None])
    y_true = labels.astype(np.float32)
    a = group_bootstrap(ours.metric, ours.y_true, ours.y_pred, groups, n_draws=200)
    b = group_bootstrap(METRICS["r2"], y_true, y_pred, groups, n_draws=200)
    assert_allclose([a.value, a.low, a.high], [b.value, b.low, b.high], rtol=1e-6)


def test_classes_by_hand() -> None:
    y_pred = np.eye(3)[[0, 0, 0, 1, 0]]
    result = scored(task_of([0, 0, 0, 1, 1], "classes", outputs=("a", "b", "c")),
                    np.arange(5), y_pred)  # fmt: skip
    assert result.score == 0.8
    assert result.reference == 0.6
    assert result.balanced == 0.75
    assert result.balanced == balanced_accuracy_score([0, 0, 0, 1, 1], [0, 0, 0, 1, 0])
    assert np.isnan(result.error)


def test_each_split_is_scored_apart() -> None:
    labels = np.array([0.0, 2.0, 10.0, 14.0])
    y_pred = np.array([0.0, 1.0, 12.0, 12.0])[:, None]
    result = scored(task_of(labels), np.arange(4), y_pred)
    is_first = np.array([True, True, False, False])
    splits = [
        (is_first, ~is_first),
        (~is_first, is_first),
        (is_first & False, is_first),
    ]
    # 1 - 1 / 2 and 1 - 8 / 8; of no rows there is no score
    assert_allclose(result.by_split(splits), [0.5, 0.0, np.nan])


@pytest.mark.parametrize("labels", [[5.0] * 8, [0.1] * 8])
def test_labels_that_are_all_equal_have_no_r2(labels: list[float]) -> None:
    features = np.random.default_rng(0).normal(size=(8, 3))
    for name in NUMBERS:
        result = probe(name, features, task_of(labels), folds_of(8), np.arange(8))
        assert np.isnan(result.score)
        assert_allclose(result.error, 0, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 7])
@pytest.mark.parametrize("kind", ["regression", "words", "classes"])
def test_a_handful_of_rows_is_no_mistake(n: int, kind: str) -> None:
    features = np.random.default_rng(0).normal(size=(n, 3))
    values = np.arange(3 * n).reshape(n, 3) if kind == "words" else np.arange(n) % 2
    task = task_of(values, kind, outputs=("0", "1")) if n else task_of([[1.0]])
    task = labels_of(task, np.arange(n))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in probes_of(task):
            result = probe(name, features, task, folds_of(n), np.zeros(n, dtype=int))
            assert len(result.rows) <= n
            assert np.isnan(result.score) or result.score <= 1
            assert len(result.by_split(folds_of(n))) == 3


def test_the_metric_weighs_outputs_by_how_much_they_vary() -> None:
    labels = np.array([[0.0, 0.0], [0.0, 10.0], [2.0, 0.0], [2.0, 10.0]])
    # the first output is told wrong, 4 in all, the second right, of 4 + 100
    metric = explained(labels)
    assert_allclose(metric(np.arange(4.0), np.ones(4)), 1 - 4 / 104)
