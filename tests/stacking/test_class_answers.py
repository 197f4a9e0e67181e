"""Tests of stacking.analysis.class_answers, and of the step to the most probable class.

The nets of these runs hesitate between the true class and one other: the probabilities
are 0.55 and 0.45. The number between the two is a third class, and wrong.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from data_prep.experiment import DataSettings, Experiment
from data_prep.run_folders.runs import Run
from stacking.analysis.class_answers import (
    class_answers,
    compare_ways,
    most_frequent,
    probable_classes,
    rounded_classes,
    share_right,
)
from stacking.ensemble.stack import Stacked
from stacking.inputs.assemble import assemble
from stacking.inputs.data import StackingData
from stacking.reporting.sections.steps import rule_text
from stacking.settings import FitSettings
from stacking.workflow import StackingJob
from tests.stacking.conftest import FakeRun
from tests.stacking.pixels_of_runs import without_pixels

K = 4
COMMAND = "python -m stacking.fit --run runs/a"
EXPERIMENT = Experiment(data=DataSettings(target="period"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> StackingData:
    """Rows whose nets hesitate; in every tenth they are wrong."""
    fake = FakeRun(n_train=180, n_test=30, tasks=("target", "onehot"))
    run = Run(fake.write(tmp_path_factory.mktemp("told")))
    prepared, extracted = map(run.finished, ("data_prep.prepare", "features.extract"))
    data = without_pixels(assemble(prepared, extracted))
    rng = np.random.default_rng(1)
    true = data.info.class_index
    named = np.where(rng.random(len(true)) < 0.1, rng.integers(K, size=len(true)), true)
    nets = tuple(
        hesitant(net, rng.integers(K, size=len(net)), data, rng)
        for net in data.common.nets
    )
    return replace(
        data,
        rows=replace(data.rows, X=hesitant(data.rows.X, named, data, rng)),
        common=replace(data.common, nets=nets),
    )


def hesitant(
    X: np.ndarray, named: np.ndarray, data: StackingData, rng: np.random.Generator
) -> np.ndarray:
    """Put such probabilities in the place of the nets', and noise into the rest."""
    other = (named + rng.integers(1, K, len(named))) % K
    X = rng.normal(1.5, 0.1, X.shape)
    for column, about in enumerate(data.columns):
        if about.task == "onehot" and about.statistic == "mean":
            k = int(about.output)
            X[:, column] = 0.55 * (named == k) + 0.45 * (other == k)
    return X


def stacked_by(data: StackingData, metric: str, place: Path) -> Stacked:
    settings = FitSettings(stackers=("ridge",), align="none", metric=metric)
    return StackingJob.of(data, settings, EXPERIMENT).fit(place)


@pytest.fixture(scope="module")
def accurate(data: StackingData, tmp_path_factory: pytest.TempPathFactory) -> Stacked:
    """The stack scored by accuracy."""
    return stacked_by(data, "accuracy", tmp_path_factory.mktemp("fit"))


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_the_most_probable_class_wins_the_race(
    metric: str, data: StackingData, tmp_path: Path
) -> None:
    stacked = stacked_by(data, metric, tmp_path)
    (step,) = (step for step in stacked.steps if step.name == "most_probable")
    assert step.is_on
    assert step.gain.low > 0
    assert rule_text(step, stacked) == "nothing is tuned"
    probable = probable_classes(stacked)
    assert probable is not None
    assert_array_equal(stacked.final.prediction, probable)
    right = (probable == data.info.class_index).mean()
    assert 0.85 < right < 0.98
    if metric == "accuracy":
        assert stacked.final.scores.pooled == pytest.approx(right)


def test_pictures_get_the_class_that_all_nets_together_call_most_probable(
    accurate: Stacked,
) -> None:
    nets = accurate.data.common.nets
    columns = accurate.features.target_columns.proba_columns("mean")
    by_net = [net[:, columns] for net in nets]
    proba = np.mean(by_net, axis=0)
    served = accurate.predictor.predict(nets).prediction
    assert_array_equal(served, proba.argmax(axis=1))
    # not the class nearest to the mean of what each net calls most probable
    each = [net.argmax(axis=1) for net in by_net]
    assert (served != np.round(np.mean(each, axis=0))).any()


@pytest.mark.parametrize("metric", ["", "mae"])
def test_a_metric_of_numbers_does_not_try_it(
    metric: str, data: StackingData, tmp_path: Path
) -> None:
    stacked = stacked_by(data, metric, tmp_path)
    assert "most_probable" not in {step.name for step in stacked.steps}
    text = compare_ways(stacked, COMMAND)
    assert "the most probable class is better (+" in text
    assert text.endswith(
        f': {COMMAND} --metric accuracy, or target_kind = "classes" in [data].'
    )


def test_the_report_says_which_way_is_better(accurate: Stacked) -> None:
    true = accurate.data.info.class_index
    rounded, probable = rounded_classes(accurate), probable_classes(accurate)
    assert probable is not None
    shares = [(classes == true).mean() for classes in (rounded, probable)]
    assert shares[0] < 0.6 < shares[1]
    assert compare_ways(accurate, COMMAND).startswith(
        f"Rounding the number is right in {shares[0]:.1%} of the rows, the nets' most"
        f" probable class in {shares[1]:.1%}: the most probable class is better"
        f" ({100 * (shares[1] - shares[0]):+.1f} points, 95 %: +"
    )
    assert compare_ways(accurate, COMMAND).endswith(" It is what is predicted.")
    titles = [way.title for way in class_answers(accurate)]
    assert titles == ["the final prediction", "the class nearest to the number"]


def test_rounding_may_be_the_better_way(data: StackingData, accurate: Stacked) -> None:
    swapped = data.rows.X.copy()
    proba = accurate.features.target_columns.proba_columns("mean")
    swapped[:, proba] = np.roll(swapped[:, proba], 1, axis=1)  # a class too high
    rows = replace(data.rows, X=swapped)
    features = replace(accurate.features, data=replace(data, rows=rows))
    text = compare_ways(replace(accurate, features=features, steps=()), COMMAND)
    assert re.search(
        r"rounding is better \(\+[\d.]+ points, 95 %: \+[\d.]+ to \+", text
    )
    assert text.endswith(").")


def test_two_ways_that_are_alike_are_called_so(
    data: StackingData, accurate: Stacked
) -> None:
    rounded = rounded_classes(accurate)
    X = data.rows.X.copy()
    X[:, accurate.features.target_columns.proba_columns("mean")] = np.eye(K)[rounded]
    rows = replace(data.rows, X=X)
    features = replace(accurate.features, data=replace(data, rows=rows))
    alike = replace(accurate, features=features)
    assert "neither is surely better (+0.0 points, 95 %: +0.0 to +0.0)" in compare_ways(
        alike, COMMAND
    )


def test_a_share_stands_beside_that_of_the_most_frequent_class(
    accurate: Stacked,
) -> None:
    true = accurate.data.info.class_index
    counts = np.bincount(true)
    name, share = most_frequent(accurate)
    assert name == accurate.data.classes[counts.argmax()]
    assert share == counts.max() / len(true)
    final = class_answers(accurate)[0]
    assert final.share.value == pytest.approx((final.class_idx == true).mean())
    assert final.share.low < final.share.value < final.share.high
    assert share_right(final, accurate) == (
        f"{final.share.value:.1%} of the rows are right (95 %: {final.share.low:.1%} to"
        f" {final.share.high:.1%}); always saying {name}, the most frequent class,"
        f" would be in {share:.1%}."
    )


def test_classes_that_are_no_numbers_are_told_in_one_way(tmp_path: Path) -> None:
    run = Run(FakeRun(n_train=90, is_text=True, tasks=("onehot",)).write(tmp_path))
    prepared, extracted = map(run.finished, ("data_prep.prepare", "features.extract"))
    data = without_pixels(assemble(prepared, extracted))
    stacked = stacked_by(data, "", tmp_path)
    assert len(class_answers(stacked)) == 1
    assert compare_ways(stacked, COMMAND) == ""
