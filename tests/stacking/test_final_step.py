"""Tests of final_step: what is scored, written and served is the same."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from data_prep.errors import UserError
from data_prep.experiment import DataSettings, Experiment
from data_prep.run_folders.runs import Run
from data_prep.tables.spelling import write_csv
from stacking.ensemble.final_step import end_prediction, labels_of
from stacking.ensemble.new_rows import NewRows
from stacking.ensemble.objective import OF_CLASSES, OF_NUMBERS, OF_ORDERED, Objective
from stacking.ensemble.postprocessors import POSTPROCESSORS, postprocessor_named
from stacking.ensemble.predictor import Predictor
from stacking.ensemble.selection import weighted
from stacking.ensemble.stack import Stacked
from stacking.inputs.alignment import learn_alignment
from stacking.inputs.assemble import assemble
from stacking.inputs.data import Column
from stacking.inputs.target_columns import NetPredictions, TargetColumns
from stacking.predict import predict
from stacking.reporting.outputs import (
    RequestedIds,
    constant_prediction,
    describe_unreadable,
    oof_table,
    write_predictions,
)
from stacking.reporting.wording import before_rounding
from stacking.settings import FitSettings
from stacking.workflow import StackingJob
from tests.stacking.conftest import FakeRun
from tests.stacking.pixels_of_runs import without_pixels

VALUES = (0.0, 1.0, 2.0, 3.0)
RULES: dict[str, dict[str, Any]] = {  # by hand, so that no row lies on a threshold
    "blend": {"weight": 0.7},
    "blend_expected": {"weight": 0.6},
    "isotonic": {"x": [0.0, 1.0, 2.0, 3.0], "y": [0.2, 0.9, 2.2, 2.8]},
    "round": {"min_proba": [0.6] * 4},
    "round_to_class": {"min_proba": [0.5, 2.0, 0.7, 0.6]},
    "thresholds": {"thresholds": [0.41, 1.63, 2.37]},
    "most_probable": {},
}
OF_METRIC = {"thresholds", "most_probable"}  # that take a metric of ordered classes
KINDS: dict[str, tuple[str, ...]] = {
    "grades": OF_NUMBERS + OF_ORDERED,
    "quantity": OF_NUMBERS,
    "names": OF_CLASSES,
}
FIELDS: dict[str, dict[str, Any]] = {
    "grades": {"tasks": ("target", "onehot", "date")},
    "quantity": {"tasks": ("target", "date"), "is_continuous": True},
    "names": {"tasks": ("onehot", "date"), "is_text": True},
}


@cache
def stacked_of(kind: str, n_nets: int, place: Path) -> Stacked:
    """Stack a made-up run by ridge alone, its metric the usual one."""
    fields: dict[str, Any] = {"n_train": 90, "n_test": 40, "n_unlabelled": 0}
    if n_nets == 1:  # outputs of one net that saw no label, for all rows
        fields |= {"is_label_free": True}
    folder = FakeRun(**fields | FIELDS[kind]).write(place / f"{kind}{n_nets}")
    run = Run(folder)
    prepared, extracted = map(run.finished, ("data_prep.prepare", "features.extract"))
    data = without_pixels(assemble(prepared, extracted))
    settings = FitSettings(stackers=("ridge",), align="rank")
    experiment = Experiment(data=DataSettings(target="period"))
    return StackingJob.of(data, settings, experiment).fit(place)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a folder for the runs of this module."""
    stacked_of.cache_clear()
    yield tmp_path_factory.mktemp("runs")
    stacked_of.cache_clear()


def cases() -> list[tuple[str, str, tuple[str, ...]]]:
    """Give every kind of target, each metric that fits it, and each step that fits."""
    found: list[tuple[str, str, tuple[str, ...]]] = []
    for metric in KINDS["grades"]:
        names = tuple(
            name for name in RULES if name not in OF_METRIC or metric in OF_ORDERED
        )
        chains = [(), *((name,) for name in names), names]
        found += [("grades", metric, chain) for chain in chains]
    for metric in KINDS["quantity"]:
        found += [("quantity", metric, chain) for chain in ((), ("isotonic",))]
    return found + [("names", metric, ()) for metric in KINDS["names"]]


def ended(kind: str, metric: str, chain: tuple[str, ...], stacked: Stacked) -> Stacked:
    """Put a metric and steps in the place of those that a stack chose."""
    objective = Objective(
        name=metric,
        class_values=VALUES if kind == "grades" else (),
        is_number=kind != "names",
    )
    steps = tuple(
        replace(step, is_on=step.name in chain, rule=RULES[step.name])
        for step in stacked.steps
    )
    known = {step.name for step in steps}
    forced = tuple(
        replace(
            steps[0],
            name=name,
            column=postprocessor_named(name).column,
            is_on=True,
            rule=RULES[name],
        )
        for name in chain
        if name not in known
    )
    return replace(stacked, objective=objective, steps=(*steps, *forced))


def scored_by_hand(stacked: Stacked, chain: tuple[str, ...]) -> Any:
    """Bring what each row's own net says to what the metric judges, step by step."""
    data, members = stacked.data, stacked.members
    weights = stacked.weights_by_mean.get(stacked.selected, {stacked.selected: 1.0})
    said = weighted(weights, {name: members[name].fit.oof_pred for name in weights})
    net_pred = stacked.features.target_columns.net_pred(data.rows.X)
    for name in chain:
        said = postprocessor_named(name).apply(said, net_pred, RULES[name])
    if data.target_range is None:
        return said
    said = np.clip(said, *data.target_range)
    if stacked.objective.name in OF_ORDERED:
        places = np.abs(said[:, None] - np.array(VALUES)).argmin(axis=1)
        said = np.array(VALUES)[places]
    return said


@pytest.mark.parametrize(("kind", "metric", "chain"), cases())
def test_through_its_own_net_a_row_is_served_what_was_scored(
    kind: str, metric: str, chain: tuple[str, ...], place: Path
) -> None:
    stacked = ended(kind, metric, chain, stacked_of(kind, 3, place))
    data, objective = stacked.data, stacked.objective
    scored = scored_by_hand(stacked, chain)
    served = np.empty_like(scored)
    for fold in range(data.rows.n_folds):
        own = data.rows.folds == fold
        said = stacked.predictor.predict([data.rows.X[own]], first=fold, in_fold=True)
        served[own] = said.prediction
    assert_allclose(served, scored, rtol=1e-9, atol=1e-12)
    target = stacked.data.rows.y
    assert objective.score(target, served) == pytest.approx(
        objective.score(target, scored)
    )
    if metric in OF_ORDERED and kind == "grades":
        assert set(served) <= set(VALUES)
        assert len(set(served)) > 1


def cases_by_nets() -> list[tuple[str, str, tuple[str, ...], int]]:
    """Give the cases for three nets, and for one that saw no label: it has no task."""
    asks = {"blend", "blend_expected", "round", "round_to_class", "most_probable"}
    return [
        (*case, n_nets)
        for case in cases()
        for n_nets in (1, 3)
        if n_nets > 1 or not asks & set(case[2])
    ]


@pytest.mark.parametrize(("kind", "metric", "chain", "n_nets"), cases_by_nets())
def test_what_is_written_is_what_is_served(
    kind: str,
    metric: str,
    chain: tuple[str, ...],
    n_nets: int,
    place: Path,
    tmp_path: Path,
) -> None:
    stacked = ended(kind, metric, chain, stacked_of(kind, n_nets, place))
    data = stacked.data
    assert len(data.common.nets) == n_nets
    said = stacked.predictor.predict(data.common.nets)
    written, served = tmp_path / "predictions.csv", tmp_path / "new.csv"
    requested = RequestedIds(ids=data.common.ids)
    names = {"id_column": "id", "target_column": "prediction"}
    write_predictions(tmp_path, stacked, said.prediction, requested, metadata=names)
    stacked.predictor.save(tmp_path)
    loaded = Predictor.load(tmp_path)
    table = predict(NewRows(ids=data.common.ids, nets=data.common.nets), loaded)
    write_csv(served, table[["id", "prediction"]])
    assert written.read_bytes() == served.read_bytes()
    texts = pd.read_csv(written, dtype=str)["prediction"]
    if "thresholds" in chain or (kind == "grades" and metric in OF_ORDERED):
        assert set(texts) <= {"0", "1", "2", "3"}
    elif kind == "names":
        assert set(texts) <= set(data.classes)
    else:
        assert texts.str.len().max() >= 9
    if kind == "names":
        names = [f"probability_{name}" for name in data.classes]
        assert [*table.columns[2:6]] == names
        assert set(names) <= set(oof_table(stacked))


def by_hand(
    nets: list[np.ndarray], chain: tuple[str, ...], objective: Objective
) -> tuple[Predictor, Any]:
    """Make a predictor of a net's own regression, which has no models."""
    names = ["target__mean", *(f"onehot_{k}__mean" for k in range(4))]
    columns = tuple(
        Column(name=name, task=name.split("_")[0], output=name[7:-6], statistic="mean")
        for name in names
    )
    classes = tuple(f"{value:.0f}" for value in VALUES)
    target_columns = TargetColumns(
        columns=columns,
        classes=classes,
        target_range=(0.0, 3.0),
        regression_task="target",
        proba_task="onehot",
    )
    rules = [(name, RULES[name]) for name in chain]
    alignment = learn_alignment(nets, "none")
    predictor = Predictor(
        target_columns=target_columns,
        alignment=alignment,
        learned={},
        weights_by_mean={},
        selected="plain",
        objective=objective,
        rules=rules,
    )
    return predictor, predictor.predict(nets)


def proba_of(top: int, sure: float) -> list[float]:
    return [sure if k == top else (1 - sure) / 3 for k in range(4)]


def test_nets_are_averaged_and_then_cut() -> None:
    nets = [np.array([[said, *proba_of(1, 0.5)]]) for said in (1.5, 1.6, 1.7)]
    objective = Objective(name="quadratic_kappa", class_values=VALUES)
    _, said = by_hand(nets, ("thresholds",), objective)
    assert said.by_net[:, 0].tolist() == [1.5, 1.6, 1.7]
    assert said.prediction.tolist() == [1.0]  # cut one by one, they would be 4 / 3
    assert said.averaged["plain"].tolist() == [2.0]  # the class nearest to 1.6


def test_nets_are_averaged_and_then_rounded() -> None:
    sure = [(2, 0.9), (2, 0.58), (2, 0.5)]  # on average 0.66
    nets = [np.array([[1.2, *proba_of(*one)]]) for one in sure]
    _, said = by_hand(nets, ("round",), Objective(name="rmse", class_values=VALUES))
    assert said.prediction.tolist() == [2.0]  # one by one: (2 + 1.2 + 1.2) / 3
    unsure = [(2, 0.62), (1, 0.62), (2, 0.62)]
    nets = [np.array([[1.2, *proba_of(*one)]]) for one in unsure]
    _, said = by_hand(nets, ("round",), Objective(name="rmse", class_values=VALUES))
    assert said.prediction == pytest.approx([1.2])


def test_curves_bend_each_net_and_are_averaged() -> None:
    # What the mean of bent predictions errs by is bounded by what was scored.
    nets = [np.array([[said, *proba_of(1, 0.5)]]) for said in (0.5, 1.5)]
    _, said = by_hand(nets, ("isotonic",), Objective(name="rmse", class_values=VALUES))
    assert said.by_net[:, 0] == pytest.approx([0.55, 1.55])
    assert said.prediction == pytest.approx([1.05])  # of the mean, it would be 0.9


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_nets", [1, 2, 3])
@pytest.mark.parametrize("metric", OF_NUMBERS + OF_ORDERED)
def test_every_chain_on_every_net_by_hand(metric: str, n_nets: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    objective = Objective(name=metric, class_values=VALUES)
    shares = rng.dirichlet(np.full(4, 0.3), size=(n_nets, 30))
    plain = rng.uniform(-0.5, 3.5, (n_nets, 30, 1))
    nets = list(np.concatenate([plain, shares], axis=2))
    known = [name for name in RULES if name not in OF_METRIC or metric in OF_ORDERED]
    for size in (0, 1, 2, len(known)):
        for chain in itertools.combinations(known, size):
            predictor, said = by_hand(nets, chain, objective)
            every = [predictor.target_columns.net_pred(net) for net in nets]
            middle = np.mean(
                [_applied(chain[: _first_to_classes(chain)], one) for one in every],
                axis=0,
            )
            net_pred = NetPredictions.averaged(every)
            for name in chain[_first_to_classes(chain) :]:
                middle = postprocessor_named(name).apply(middle, net_pred, RULES[name])
            assert_array_equal(
                said.prediction,
                objective.as_scored(predictor.target_columns.clip(middle)),
            )
            is_class = np.isin(said.prediction, VALUES)
            assert is_class.all() == (metric in OF_ORDERED)


def _first_to_classes(chain: tuple[str, ...]) -> int:
    return sum(name in ("blend", "blend_expected", "isotonic") for name in chain)


def _applied(chain: tuple[str, ...], net_pred: NetPredictions) -> Any:
    assert net_pred.regression is not None
    said = net_pred.regression
    for name in chain:
        said = postprocessor_named(name).apply(said, net_pred, RULES[name])
    return said


def test_steps_to_classes_come_last() -> None:
    flags = [link.gives_classes for link in POSTPROCESSORS]
    assert flags == sorted(flags)
    assert len(RULES) == len(POSTPROCESSORS)


def test_an_end_is_an_end() -> None:
    rng = np.random.default_rng(0)
    said = rng.normal(1.5, 2, 200)
    target_columns = TargetColumns(
        columns=(), classes=("0", "1", "2", "3"), target_range=(0.0, 3.0)
    )
    for metric in OF_NUMBERS + OF_ORDERED:
        once = end_prediction(
            said, target_columns, Objective(name=metric, class_values=VALUES)
        )
        assert_array_equal(
            end_prediction(
                once, target_columns, Objective(name=metric, class_values=VALUES)
            ),
            once,
        )
    shares = rng.dirichlet(np.ones(3), 200)
    names = TargetColumns(columns=(), classes=("a", "b", "v1.0"), target_range=None)
    for metric in OF_CLASSES:
        assert (
            end_prediction(
                shares, names, Objective(name=metric, class_values=(), is_number=False)
            )
            is shares
        )
    assert labels_of(shares, names.classes).tolist() == [
        names.classes[k] for k in shares.argmax(axis=1)
    ]


def test_what_is_told_of_averaging_is_told_before_rounding(place: Path) -> None:
    stacked = stacked_of("grades", 3, place)
    settings = FitSettings(stackers=("ridge",), align="rank")
    experiment = Experiment(data=DataSettings(target="period"))
    work = StackingJob.of(stacked.data, settings, experiment)
    by_name = {
        (): stacked.final.name,
        ("isotonic",): stacked.final.name,
        ("round",): "selected",
        ("blend", "isotonic", "round", "round_to_class"): "isotonic",
    }
    for chain, name in by_name.items():
        forced = ended("grades", "rmse", chain, stacked)
        assert forced.averaged.name == name
        expected = work.expect(forced)
        assert expected is not None
        assert expected.single_net == forced.line(name).scores.pooled
        assert expected.averaged < expected.single_net
        assert before_rounding(forced).strip(" ()") == (
            "" if name == "prediction" else "before it is rounded to classes"
        )


def test_every_column_of_oof_holds_what_was_scored(place: Path) -> None:
    stacked = stacked_of("grades", 3, place)
    data = stacked.data
    settings = FitSettings(stackers=("ridge",), align="rank", metric="accuracy")
    experiment = Experiment(data=DataSettings(target="period"))
    graded = StackingJob.of(data, settings, experiment).fit(place)
    table = oof_table(graded)
    for line in graded.lines:
        assert set(table[line.name]) <= set(VALUES)
        right = (table[line.name] == table["target"]).mean()
        assert line.scores.pooled == pytest.approx(right)


def test_a_constant_is_the_most_frequent_class_or_the_one_nearest_to_the_mean(
    place: Path,
) -> None:
    stacked = stacked_of("grades", 3, place)
    rows = stacked.data.rows
    frequent, nearest = VALUES[0], VALUES[1]
    y = np.resize([*[frequent] * 3, VALUES[2], VALUES[3]], len(rows.y))
    assert np.abs(np.array(VALUES) - y.mean()).argmin() == 1
    data = replace(stacked.data, rows=replace(rows, y=y))

    def by(metric: str) -> Stacked:
        objective = Objective(name=metric, class_values=VALUES)
        features = replace(stacked.features, data=data)
        return replace(stacked, features=features, objective=objective)

    assert constant_prediction(by("accuracy")) == frequent
    text = f"its prediction is the most frequent class, {frequent:.0f}"
    assert describe_unreadable(by("accuracy"), ["torn"]).endswith(text)
    assert constant_prediction(by("quadratic_kappa")) == nearest
    text = f"is the class nearest to the training targets' mean, {nearest:.0f}"
    assert describe_unreadable(by("quadratic_kappa"), ["torn"]).endswith(text)


def test_a_predictor_of_an_older_version_is_refused_with_the_remedy(
    tmp_path: Path,
) -> None:
    (tmp_path / "predictor.json").write_text('{"links": [], "winner": "blend"}')
    message = r"an older version wrote it; again: python -m stacking\.fit --run"
    with pytest.raises(UserError, match=message):
        Predictor.load(tmp_path)
