"""Tests of stacks of folds that are dealt several times."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from data_prep.errors import UserError
from data_prep.experiment import DataSettings, Experiment
from data_prep.folds import hash_of_folds
from data_prep.outlook import Outlook
from data_prep.run_folders.runs import Run
from stacking import fit
from stacking.analysis.diagnostics import expect_of_averaging
from stacking.ensemble.deals import DealPredictors, over_deals
from stacking.ensemble.new_rows import stores_of_folds
from stacking.ensemble.predictor import Predictor
from stacking.ensemble.stack import Stacked
from stacking.inputs.assemble import assemble, assemble_deals
from stacking.inputs.data import StackingData
from stacking.inputs.leak_guards import check_folds
from stacking.inputs.splits import make_folds
from stacking.settings import START_S, FitSettings
from stacking.workflow import StackingJob
from tests.stacking.conftest import FakeRun
from tests.stacking.pixels_of_runs import without_pixels

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

MakeRun = Callable[..., Path]
EXPERIMENT = Experiment(data=DataSettings(target="period"))
SMALL: dict[str, Any] = {
    "n_train": 96,
    "n_test": 60,
    "n_unlabelled": 0,
    "n_folds": 2,
    "n_deals": 2,
    "tasks": ("target", "onehot"),
}


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stacking.ensemble.objective.N_DRAWS", 60)


def deals_of(folder: Path, **options: Any) -> list[StackingData]:
    run = Run(folder)
    stages = map(run.finished, ("data_prep.prepare", "features.extract"))
    return [without_pixels(data) for data in assemble_deals(*stages, **options)]


def job_of(data: StackingData, **settings: Any) -> StackingJob:
    quick: dict[str, Any] = {"stackers": ("ridge",), "align": "rank", "control": False}
    return StackingJob.of(data, FitSettings(**(quick | settings)), EXPERIMENT)


def stacks_of(deals: list[StackingData], **settings: Any) -> list[Stacked]:
    return [job_of(data, **settings).fit(Path("unused")) for data in deals]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FakeRun(**SMALL).write(tmp_path_factory.mktemp("dealt") / "run")


def test_each_deal_has_its_own_folds_and_nets(run: Path) -> None:
    table = pd.read_parquet(run / "data_prep.prepare" / "table.parquet").set_index("id")
    first, second = deals_of(run)
    ids = list(first.info.ids)
    assert list(second.info.ids) == ids
    assert_array_equal(first.rows.y, second.rows.y)
    assert_array_equal(first.rows.folds, table.loc[ids, "fold"])
    assert_array_equal(second.rows.folds, table.loc[ids, "fold_1"] - 2)
    assert [data.info.deal for data in (first, second)] == [(0, 2), (1, 2)]
    assert (first.rows.X != second.rows.X).any(axis=1).all()
    assert len(first.common.nets) == len(second.common.nets) == 2
    nets = [*first.common.nets, *second.common.nets]
    assert len({net.tobytes() for net in nets}) == 4
    assert "dealt 2 times" in " ".join(first.info.messages)
    once = FakeRun(**SMALL | {"n_deals": 1}).write(run.parent / "once")
    (alone,) = deals_of(once)
    assert alone.info.deal == (0, 1)
    assert "dealt" not in " ".join(alone.info.messages)


def test_what_is_scored_is_the_mean_of_the_deals(run: Path) -> None:
    stacks = stacks_of(deals_of(run))
    stacked = over_deals(stacks)
    objective, y_true = stacked.objective, stacked.data.rows.y
    for line, *of_deals in zip(
        stacked.lines, *(stack.lines for stack in stacks), strict=True
    ):
        assert line.name == of_deals[0].name
        if all(of_deal.is_off == line.is_off for of_deal in of_deals):
            mean = (of_deals[0].pred + of_deals[1].pred) / 2
            assert_allclose(line.pred, mean, rtol=1e-12)
        error = np.sqrt(((line.prediction - y_true) ** 2).mean())
        assert line.scores.pooled == pytest.approx(error)
        if not any(of_deal.is_off for of_deal in of_deals):
            by_deal = [of_deal.scores.pooled for of_deal in of_deals]
            assert [*line.scores.by_fold.values()] == by_deal
            assert line.scores.pooled <= np.mean(by_deal) + 1e-12  # of squares, by far
    assert stacked.line("plain").gain is None
    plain = stacked.line("plain").pred
    gain = objective.gain(y_true, plain, stacked.final.pred, stacked.data.rows.groups)
    assert stacked.final.gain == gain
    by_hand = np.abs(stacks[0].final.pred - stacks[1].final.pred) / 2
    assert_allclose(stacked.spread_deals, by_hand, atol=1e-12)
    titles = [replace(stack, lines=stack.lines) for stack in stacks]
    for number, name in enumerate(("ridge", "blend")):
        lines = [replace(x, title=f"selected: {name}") for x in titles[number].lines]
        titles[number] = replace(titles[number], lines=tuple(lines))
    assert over_deals(titles).lines[0].title == "selected: ridge, blend (by deal)"
    assert stacked.parts == ["deal 0", "deal 1"]
    assert over_deals(stacks[:1]) is stacks[0]


def test_a_step_that_is_on_in_one_deal_counts_in_the_others_as_it_was(
    run: Path,
) -> None:
    stacks = stacks_of(deals_of(run))
    assert len(stacks[0].steps) > 1  # the last lines before the final one
    changed = []
    for stack, is_on in zip(stacks, (True, False), strict=True):
        lines = [replace(line, pred=line.pred + 0.0) for line in stack.lines]
        lines[-2] = replace(lines[-2], is_off=not is_on)
        changed.append(replace(stack, lines=tuple(lines)))
    name = stacks[0].lines[-2].name
    before = next(line for line in stacks[1].lines[-3::-1] if not line.is_off)
    line = over_deals(changed).line(name)
    assert not line.is_off
    expected = (stacks[0].line(name).pred + before.pred) / 2
    assert_allclose(line.pred, expected)
    off = [
        replace(s, lines=(*s.lines[:-2], replace(s.lines[-2], is_off=True), s.final))
        for s in stacks
    ]
    line = over_deals(off).line(name)
    assert line.is_off
    mean = (stacks[0].line(name).pred + stacks[1].line(name).pred) / 2
    assert_allclose(line.pred, mean)


def test_no_row_is_predicted_by_what_learned_its_label(run: Path) -> None:
    deals = deals_of(run)
    group = deals[0].rows.groups[0]
    is_changed = deals[0].rows.groups == group
    others = []
    for data in deals:
        y = data.rows.y.copy()
        y[is_changed] = 3 - y[is_changed]
        others.append(replace(data, rows=replace(data.rows, y=y)))
    before, after = (over_deals(stacks_of(which)) for which in (deals, others))
    for name in ("constant", "onehot_alone", "ridge", "blend", "selected"):
        if not before.has_line(name):
            continue
        pred = [stacked.line(name).pred for stacked in (before, after)]
        assert_array_equal(pred[0][is_changed], pred[1][is_changed])
        assert (pred[0] != pred[1])[~is_changed].any()


def test_labels_that_mean_nothing_are_not_predicted_by_heart(make_run: MakeRun) -> None:
    folder = make_run(**SMALL | {"has_signal": False})
    deals = deals_of(folder)
    rng = np.random.default_rng(5)
    for number, data in enumerate(deals):  # what tells each row, to learn it by heart
        X = np.hstack([data.rows.X[:, :-1], rng.permutation(len(data.rows.y))[:, None]])
        deals[number] = replace(data, rows=replace(data.rows, X=X))
    settings = {"stackers": ("lightgbm",), "seeds": 1, "max_rounds": 40}
    stacked = over_deals(stacks_of(deals, **settings))
    line, constant = stacked.line("lightgbm"), stacked.line("constant")
    gain = stacked.objective.gain(
        stacked.data.rows.y, constant.pred, line.pred, stacked.data.rows.groups
    )
    assert gain.low <= 0


def test_pictures_to_predict_go_through_the_nets_of_all_deals(
    run: Path, tmp_path: Path
) -> None:
    deals = deals_of(run)
    jobs = [job_of(data) for data in deals]
    stacks = [job.fit(tmp_path) for job in jobs]
    stacked = over_deals(stacks)
    findings = jobs[0].evaluate(stacked, jobs[1:])
    by_deal = [
        stack.predictor.average(data.common.nets)
        for stack, data in zip(stacks, deals, strict=True)
    ]
    mean = (by_deal[0].prediction + by_deal[1].prediction) / 2
    assert_allclose(findings.predicted["prediction"], np.clip(mean, 0, 3))
    by_net = np.concatenate([pred.by_net for pred in by_deal])
    assert len(by_net) == 4
    assert_allclose(findings.disagreement, by_net.std(axis=0))
    pairs = [
        stack.predictor.predict_by_net(data.common.nets, in_fold=True)["prediction"]
        for stack, data in zip(stacks, deals, strict=True)
    ]
    expected = expect_of_averaging(
        np.mean(pairs, axis=0), stacked.averaged.scores.pooled, stacked.objective
    )
    assert findings.averaging == expected

    predictors = DealPredictors.of(stacked)
    predictors.save(tmp_path)
    assert json.loads((tmp_path / "predictor.json").read_text()) == {"deals": 2}
    loaded = DealPredictors.load(tmp_path)
    nets = [net for data in deals for net in data.common.nets]
    assert_array_equal(
        loaded.predict(nets).prediction, findings.predicted["prediction"]
    )
    shared = loaded.predict(nets[:1], first=1)  # one net serves each deal
    terms = [p.average(nets[:1], first=1).prediction for p in loaded.deals]
    assert_allclose(shared.prediction, np.clip(np.mean(terms, axis=0), 0, 3))


def test_classes_are_made_of_the_mean_and_not_averaged(run: Path) -> None:
    deals = deals_of(run)
    jobs = [job_of(data, metric="accuracy") for data in deals]
    stacks = [job.fit(Path("unused")) for job in jobs]
    stacked = over_deals(stacks)
    findings = jobs[0].evaluate(stacked, jobs[1:])
    for pred in (stacked.final.prediction, findings.predicted["prediction"]):
        assert set(pred) <= {0.0, 1.0, 2.0, 3.0}
    between = (stacks[0].final.pred + stacks[1].final.pred) / 2
    assert_array_equal(stacked.final.prediction, stacked.objective.as_scored(between))
    proba = stacked.net_proba
    assert proba is not None
    targets = stacked.features.target_columns
    assert_allclose(
        proba, (targets.proba(deals[0].rows.X) + targets.proba(deals[1].rows.X)) / 2
    )


def test_names_of_classes_have_the_mean_of_the_probabilities(make_run: MakeRun) -> None:
    stacks = stacks_of(deals_of(make_run(**SMALL | {"is_text": True})))
    stacked = over_deals(stacks)
    mean = (stacks[0].final.pred + stacks[1].final.pred) / 2
    assert_allclose(stacked.final.prediction, mean)
    assert_allclose(stacked.final.prediction.sum(axis=1), 1)
    gap = (stacks[0].final.pred - stacks[1].final.pred) / 2
    assert_allclose(stacked.spread_deals, np.sqrt((gap**2).mean(axis=1)))


def test_one_deal_is_stored_as_ever(run: Path, tmp_path: Path) -> None:
    (stack,) = stacks_of(deals_of(run)[:1])
    for name, predictor in (
        ("one", DealPredictors.of(stack)),
        ("other", stack.predictor),
    ):
        (tmp_path / name).mkdir()
        predictor.save(tmp_path / name)
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("one", "other")
    ]
    assert files[0] == files[1]
    assert Predictor.load(tmp_path / "one").selected == stack.selected
    nets = stack.data.common.nets
    assert_array_equal(
        DealPredictors.load(tmp_path / "one").predict(nets).prediction,
        stack.predictor.predict(nets).prediction,
    )


def test_the_command_tells_and_writes_of_all_deals(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    flags = ["--stackers", "ridge", "--align", "rank", "--threads", "1"]
    stage = fit.main(["--run", str(folder), *flags])
    chosen = json.loads((stage / "stacking.json").read_text())
    record = json.loads((stage / "record.json").read_text())
    oof = pd.read_parquet(stage / "oof.parquet")
    table = pd.read_parquet(folder / "data_prep.prepare" / "table.parquet")
    table = table.set_index("id").loc[oof["id"]]
    assert_array_equal(oof["fold"], table["fold"])
    error = np.sqrt(((oof["prediction"] - oof["target"]) ** 2).mean())
    assert chosen["scores"]["prediction"]["nested"] == pytest.approx(error)
    assert record["facts"]["score"] == pytest.approx(error)
    assert len(record["facts"]["deals"]) == 2
    by_deal = [deal["scores"]["prediction"]["nested"] for deal in chosen["deals"]]
    assert record["facts"]["deals"] == by_deal
    assert chosen["scores"]["prediction"]["by_fold"] == by_deal
    assert (oof["spread_deals"] > 0).any()
    assert chosen["cv"] == "sgkfold2x2"
    assert "deal 0" in caplog.text
    assert "deal 2 of 2" in caplog.text
    assert (stage / "deal1" / "predictor.json").exists()
    page = (stage / "report.html").read_text()
    assert "dealt 2 times" in page
    assert "in each of 2 deals" in page
    assert "mean of deals" in page
    assert "What the blend of all consists of, in the first deal" in page
    predictions = pd.read_csv(stage / "predictions.csv")
    assert len(predictions) == SMALL["n_test"]


def test_features_without_labels_can_be_dealt_by_the_stack(make_run: MakeRun) -> None:
    folder = make_run(**SMALL | {"n_deals": 1, "is_label_free": True})
    first, second = deals_of(folder, cv="gkfold2x2")
    assert first.info.cv == "gkfold2x2"
    assert_array_equal(first.rows.X, second.rows.X)
    assert (first.rows.folds != second.rows.folds).any()
    assert set(second.rows.folds) == {0, 1}
    (alone,) = deals_of(folder, cv="gkfold2")
    assert_array_equal(alone.rows.folds, first.rows.folds)
    jobs = [job_of(data) for data in (first, second)]
    stacks = [job.fit(Path("unused")) for job in jobs]
    findings = jobs[0].evaluate(over_deals(stacks), jobs[1:])
    terms = [stack.predictor.average(first.common.nets).prediction for stack in stacks]
    assert_allclose(
        findings.predicted["prediction"], np.clip(np.mean(terms, axis=0), 0, 3)
    )
    # also where the preparation has dealt them twice
    twice = FakeRun(**SMALL | {"is_label_free": True}).write(folder.parent / "twice")
    (once,) = deals_of(twice, cv="gkfold2")
    assert_array_equal(once.rows.folds, first.rows.folds)
    assert [data.info.deal for data in deals_of(twice)] == [(0, 2), (1, 2)]


def test_in_sample_features_are_read_by_deal(make_run: MakeRun) -> None:
    deals = deals_of(make_run(**SMALL | {"has_insample": True}), protocol="insample")
    for data in deals:
        assert len(data.in_sample) == 2
        for fold, sample in enumerate(data.in_sample):
            assert_array_equal(sample.idx, np.flatnonzero(data.rows.folds != fold))


def test_stores_of_another_deal_are_refused(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    stores = folder / "features.extract" / "deals"
    shutil.copyfile(stores / "deal0.pkl", stores / "deal1.pkl")
    with pytest.raises(UserError, match="held out with another fold than the table's"):
        deals_of(folder)
    (stores / "deal1.pkl").unlink()
    with pytest.raises(UserError, match=r"deal1.pkl is missing.*no net.*finetune"):
        deals_of(folder)
    path = folder / "data_prep.prepare" / "table.parquet"
    table = pd.read_parquet(path)
    table.loc[table["fold_1"] == 3, "fold_1"] = 2
    table.to_parquet(path)
    with pytest.raises(UserError, match="folds are not the ones"):
        assemble(*map(Run(folder).finished, ("data_prep.prepare", "features.extract")))


def test_a_torn_group_is_refused_in_any_deal(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"id": list("abcd"), "cv_group": [0, 0, 1, 2], "fold": [0, 0, 1, 1]}
    ).assign(fold_1=[2, 3, 2, 3])
    with pytest.raises(UserError, match=r"1 cv groups are torn.*\('a', 'b'\)"):
        check_folds(table, hash_of_folds(table), tmp_path)


def test_nets_of_new_pictures_are_counted_and_not_spelled(tmp_path: Path) -> None:
    for fold in range(12):
        (tmp_path / f"fold{fold}.pkl").touch()
    names = [path.stem for path in stores_of_folds(tmp_path)]
    assert names == [f"fold{fold}" for fold in range(12)]


def test_a_stack_of_two_deals_is_planned_to_take_twice_as_long(run: Path) -> None:
    seconds = {}
    for cv in ("", "sgkfold2"):
        prepared = Run(run).finished("data_prep.prepare")
        outlook = Outlook.of_prepared(prepared, Run(run), EXPERIMENT)
        seconds[cv] = FitSettings(cv=cv).workload(outlook).seconds - START_S
    assert seconds[""] == pytest.approx(2 * seconds["sgkfold2"])


def test_estimators_deal_once() -> None:
    y = np.arange(12.0)
    with pytest.raises(UserError, match=r"only a run does.*give cv = 'kfold3'"):
        make_folds("kfold3x2", y, None, is_number=True, seed=0)
