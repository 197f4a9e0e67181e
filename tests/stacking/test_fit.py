"""Tests of stacking.fit: the command on made-up runs, and what it must never do."""

import dataclasses
import importlib.abc
import json
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from markupsafe import escape
from numpy.testing import assert_allclose, assert_array_equal

from data_prep.errors import UserError
from data_prep.experiment import DataSettings, Experiment
from data_prep.run_folders.runs import Run
from features.store import open_store
from stacking.cross_fitting import CrossFit, TrainingRows
from stacking.ensemble.members import Member, constant
from stacking.ensemble.objective import Objective, ScoringData
from stacking.ensemble.predictor import Predictor
from stacking.ensemble.stack import Stacked
from stacking.fit import main
from stacking.inputs.alignment import MIN_HELD_OUT, learn_alignment
from stacking.inputs.assemble import assemble
from stacking.inputs.data import StackingData
from stacking.models import pixel_trees
from stacking.models.pixel_trees import PIXELS
from stacking.models.registry import STACKERS
from stacking.models.stacker import FitContext
from stacking.settings import FitSettings
from stacking.workflow import StackingJob
from tests.drilled import in_drills
from tests.stacking.conftest import FakeRun
from tests.stacking.pixels_of_runs import columns_of_pixels, without_pixels

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

MakeRun = Callable[..., Path]
QUICK = ["--seeds", "1", "--max-rounds", "60"]
FEW = {"n_train": 96, "n_test": 32}  # rows, where any number will do
WITHOUT_TEST = {"n_test": 0, "n_unlabelled": 0}
ROOT = Path(__file__).parents[2]
ONE_AND_IN_DRILLS_TWO = [
    0,
    *(in_drills(k) for k in (1, 2)),
]


def run_fit(folder: Path, *flags: str) -> Path:
    return main(["--run", str(folder), *QUICK, *flags])


def rows_of(folder: Path, protocol: Any = "oof") -> StackingData:
    run = Run(folder)
    extracted = run.finished("features.extract")
    prepared = run.finished("data_prep.prepare")
    return without_pixels(assemble(prepared, extracted, "", protocol))


def stacked_of(data: StackingData, **settings: Any) -> Stacked:
    quick: dict[str, Any] = {"seeds": 1, "max_rounds": 60, "align": "rank"} | settings
    experiment = Experiment(data=DataSettings(target="period"))
    return StackingJob.of(data, FitSettings(**quick), experiment).fit(Path("unused"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitted:
    """What the command left of the usual made-up run, and what it logged."""

    folder: Path
    stage: Path
    log: str

    @property
    def chosen(self) -> dict[str, Any]:
        return json.loads((self.stage / "stacking.json").read_text())  # type: ignore[no-any-return]

    @property
    def report(self) -> str:
        return (self.stage / "report.html").read_text()

    def copied(self, place: Path) -> Path:
        """Copy the run, to change it."""
        return Path(shutil.copytree(self.folder, place / "copied"))


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """The usual run, fitted once for all that only read it."""
    folder = FakeRun().write(tmp_path_factory.mktemp("fitted") / "run")
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        stage = run_fit(folder, "--threads", "1")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    return Fitted(folder=folder, stage=stage, log="\n".join(records))


def test_all_files_are_written_and_agree(fitted: Fitted) -> None:
    stage = fitted.stage
    assert stage == fitted.folder / "stacking.fit"
    assert {path.name for path in stage.iterdir()} == {
        *("record.json", "stacking.json", "oof.csv", "predictions.csv"),
        *(
            "oof.parquet",
            "importance.csv",
            "report.html",
            "predictor.json",
            "alignment.npz",
        ),
        *(f"model_fold{fold}.txt" for fold in range(3)),
        *(f"pixels_fold{fold}.txt" for fold in range(3)),
        *(
            f"{name}_fold{fold}.npz"
            for name in ("ridge", "date_alone", "words_alone")
            for fold in range(3)
        ),
    }
    oof = pd.read_csv(stage / "oof.csv")
    chosen = json.loads((stage / "stacking.json").read_text())
    assert [*oof.columns[:3]] == ["name", "fold", "target"]
    for name, scores in chosen["scores"].items():
        error = oof[name] - oof["target"]
        assert np.sqrt((error**2).mean()) == pytest.approx(scores["nested"], abs=1e-5)
        by_fold = np.sqrt((error**2).groupby(oof["fold"]).mean())
        assert_allclose(by_fold, scores["by_fold"], atol=1e-5)
    metadata = json.loads((stage / "record.json").read_text())["facts"]
    assert metadata["score"] == chosen["scores"]["prediction"]["nested"]
    assert metadata["score"] < 0.75 * metadata["constant"]
    assert pd.read_csv(stage / "importance.csv")["gain"].sum() == pytest.approx(
        1, abs=1e-4
    )


def test_predictions_have_the_users_names_and_the_order_of_the_sample(
    fitted: Fitted,
) -> None:
    found = pd.read_csv(fitted.stage / "predictions.csv")
    sample = pd.read_csv(fitted.folder / "data_prep.prepare" / "sample.csv")
    assert [*found.columns] == ["name", "period"]
    assert found["name"].tolist() == sample["name"].tolist()
    assert found["name"].tolist() != sorted(found["name"])
    assert found["period"].between(0, 3).all()


def test_predictions_are_as_good_as_cross_validation_says(fitted: Fitted) -> None:
    # The made-up test pictures have a hidden date; their rank must be found.
    folder = fitted.folder
    found = pd.read_csv(fitted.stage / "predictions.csv").set_index("name")
    store = open_store(folder / "features.extract" / "features.pkl")
    names = list(found.index)
    dates = store.frame(names)["date__mean"]
    assert found["period"].corr(dates, method="spearman") > 0.8
    oof = pd.read_csv(folder / "stacking.fit" / "oof.csv")
    assert found["period"].mean() == pytest.approx(oof["target"].mean(), abs=0.2)


def test_out_of_fold_numbers_come_out_of_the_stored_models(fitted: Fitted) -> None:
    stage, extracted = fitted.stage, fitted.folder / "features.extract"
    assert fitted.chosen["alignment"]["method"] == "rank"
    oof = pd.read_csv(stage / "oof.csv")
    store = open_store(extracted / "features.pkl")
    nets = [open_store(extracted / "nets" / f"fold{k}.pkl") for k in range(3)]
    alignment = learn_alignment([net.matrix().astype(np.float64) for net in nets])
    for fold in range(3):
        own = oof[oof["fold"] == fold]
        X = alignment.apply(fold, store.matrix(own["name"]).astype(np.float64))
        booster = lightgbm.Booster(model_file=str(stage / f"model_fold{fold}.txt"))
        said = np.clip(booster.predict(X), 0, 3)
        assert_allclose(own["lightgbm"], said, atol=2e-6)
        with np.load(stage / f"ridge_fold{fold}.npz") as ridge:
            said = (X - ridge["center"]) / ridge["scale"] @ ridge["coef"]
            said = np.clip(said[:, 0] + ridge["offset"], 0, 3)
        assert_allclose(own["ridge"], said, atol=2e-6)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        FEW | {"is_text": True, "tasks": ("onehot", "date")},
        FEW | {"tasks": ("words",), "is_label_free": True},
    ],
)
def test_predictions_come_out_of_the_stored_predictor(
    make_run: MakeRun, fitted: Fitted, fields: dict[str, Any]
) -> None:
    folder = make_run(**fields) if fields else fitted.folder
    stage = run_fit(folder) if fields else fitted.stage
    found = pd.read_csv(stage / "predictions.csv").set_index("name")["period"]
    extracted = folder / "features.extract"
    paths = sorted(extracted.glob("nets/*.pkl")) or [extracted / "features.pkl"]
    nets = [open_store(path).matrix(found.index).astype(np.float64) for path in paths]
    predictor = Predictor.load(stage)
    pixels = columns_of_pixels(folder, found.index.tolist())
    by_net = predictor.predict_by_net(nets, pixels=pixels)["prediction"]
    said = by_net.mean(axis=0)
    if fields.get("is_text"):
        assert_allclose(said.sum(axis=1), 1)
        names = np.array(predictor.target_columns.classes)[said.argmax(axis=1)]
        assert names.tolist() == found.tolist()
    else:
        assert_allclose(found, said, atol=2e-6)


def test_predictions_by_another_route(make_run: MakeRun) -> None:
    folder = make_run(tasks=("target", "onehot"))
    stage = run_fit(folder, "--align", "moments", "--stackers", "lightgbm,ridge")
    config = json.loads((stage / "predictor.json").read_text())
    found = pd.read_csv(stage / "predictions.csv").set_index("name")["period"]
    extracted = folder / "features.extract"
    nets = [open_store(path) for path in sorted(extracted.glob("nets/*.pkl"))]
    every = [net.matrix().astype(np.float64) for net in nets]
    centre = np.mean([one.mean(axis=0) for one in every], axis=0)
    spread = np.mean([one.std(axis=0) for one in every], axis=0)
    boosters = [lightgbm.Booster(model_file=str(p)) for p in stage.glob("model*.txt")]
    by_net = []
    for net, one in zip(nets, every, strict=True):
        raw = net.matrix(found.index).astype(np.float64)
        X = (raw - one.mean(axis=0)) / one.std(axis=0) * spread + centre
        said = {"lightgbm": np.mean([b.predict(X) for b in boosters], axis=0)}
        lines = []
        for fold in range(3):
            with np.load(stage / f"ridge_fold{fold}.npz") as r:
                scaled = (X - r["center"]) / r["scale"]
                lines.append(scaled @ r["coef"][:, 0] + r["offset"])
        said["ridge"] = np.mean(lines, axis=0)
        columns = list(net.columns)
        shares = raw[:, [columns.index(f"onehot_{k}__mean") for k in range(4)]]
        shares /= shares.sum(axis=1, keepdims=True)
        said["expected"] = shares @ np.arange(4)
        said["plain"] = raw[:, columns.index("target__mean")]
        said = {name: np.clip(values, 0, 3) for name, values in said.items()}
        weights = config["means"]["blend"]
        said["blend"] = np.sum([w * said[name] for name, w in weights.items()], axis=0)
        prediction = said[config["selected"]]
        for name, rule in config["postprocess"]:
            other = {"blend": "plain", "blend_expected": "expected"}[name]
            weight = rule["weight"]
            prediction = weight * prediction + (1 - weight) * said[other]
        by_net.append(prediction)
    assert_allclose(found, np.mean(by_net, axis=0), atol=2e-6)


def constant_of(target: list[float], folds: list[int], metric: str) -> list[float]:
    objective = Objective(name=metric, class_values=tuple(sorted(set(target))))
    scoring = ScoringData(
        y_true=np.array(target),
        folds=np.array(folds),
        groups=np.arange(len(target)),
        objective=objective,
    )
    by_row: list[float] = constant(scoring).fit.oof_pred.tolist()
    return by_row


@pytest.mark.parametrize("metric", ["rmse", "mae", "r2", "quadratic_kappa"])
def test_the_constant_is_the_mean_of_the_other_folds(metric: str) -> None:
    target, folds = [1.0, 2.0, 6.0, 9.0], [0, 0, 1, 2]
    assert constant_of(target, folds, metric) == [7.5, 7.5, 4.0, 3.0]


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_where_only_the_right_class_counts_it_is_the_most_frequent(metric: str) -> None:
    # fold 0 sees 9 9 0 (mean 6), fold 1 sees 0 0 5 0 (mean 1.25)
    target, folds = [0.0, 0.0, 5.0, 9.0, 9.0, 0.0], [0, 0, 0, 1, 1, 2]
    expected = [9.0, 9.0, 9.0, 0.0, 0.0, 0.0]
    # fold 2 sees 0 0 5 9 9: of equals the lowest
    assert constant_of(target, folds, metric) == expected


@pytest.mark.parametrize("seed", ONE_AND_IN_DRILLS_TWO)
def test_random_labels_cannot_be_predicted(make_run: MakeRun, seed: int) -> None:
    data = rows_of(make_run(has_signal=False, seed=seed, is_shifted=False))
    stacked = stacked_of(data)
    lowest = 0.97 * stacked.line("constant").scores.pooled
    for line in stacked.lines:
        assert line.scores.pooled > lowest, line.name


@pytest.mark.parametrize("fold", ONE_AND_IN_DRILLS_TWO)
def test_nested_predictions_of_a_fold_never_look_at_its_labels(
    make_run: MakeRun, fold: int
) -> None:
    data = rows_of(make_run())
    own = data.rows.folds == fold
    index = np.where(own, 3 - data.info.class_index, data.info.class_index)
    other = dataclasses.replace(
        data, rows=dataclasses.replace(data.rows, y=index.astype(float))
    )
    before, after = stacked_of(data), stacked_of(other)
    names = ["lightgbm", "ridge", "expected", "plain", "date_alone", "weighted"]
    for name in [*names, "blend", "selected", before.steps[0].column]:
        first, second = before.line(name), after.line(name)
        assert np.array_equal(first.prediction[own], second.prediction[own]), name
    first, second = (one.line("lightgbm").scores.pooled for one in (before, after))
    assert first < second  # it is not that labels do not matter
    assert before.selected_by_fold[fold] == after.selected_by_fold[fold]
    assert before.steps[0].rules[fold] == after.steps[0].rules[fold]


def test_the_same_command_gives_the_same_files(fitted: Fitted, tmp_path: Path) -> None:
    names = ("oof.csv", "predictions.csv", "model_fold0.txt", "stacking.json")
    first = [(fitted.stage / name).read_bytes() for name in names]
    stage = run_fit(fitted.copied(tmp_path), "--overwrite")
    assert first == [(stage / name).read_bytes() for name in names]


def test_what_is_done_is_not_done_again(
    fitted: Fitted, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        run_fit(fitted.folder, "--cv", "sgkfold3")  # the same folds by their name
    assert "is already done" in caplog.text


def test_alignment_helps_where_nets_differ_in_scale(make_run: MakeRun) -> None:
    data = rows_of(make_run(n_train=400, n_test=300))
    score = {
        method: stacked_of(data, align=method).line("lightgbm").scores.pooled
        for method in ("none", "moments", "rank")
    }
    assert score["rank"] < score["none"]
    assert score["moments"] < score["none"]


def test_the_leaky_protocol_stands_apart_and_says_what_it_is(
    make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_run(**FEW, has_insample=True)
    with caplog.at_level(logging.INFO):
        stage = run_fit(folder, "--protocol", "insample")
    assert stage == folder / "stacking.fit.insample"
    assert not (folder / "stacking.fit").exists()
    assert "it leaks, and is for comparison only" in caplog.text
    assert "for comparison only" in (stage / "report.html").read_text()
    metadata = json.loads((stage / "record.json").read_text())["facts"]
    assert metadata["protocol"] == "insample"
    honest = json.loads((run_fit(folder) / "record.json").read_text())["facts"]
    assert honest["protocol"] == "oof"
    assert (stage / "oof.csv").exists()


def test_the_leaky_way_gives_probabilities_of_classes(make_run: MakeRun) -> None:
    folder = make_run(has_insample=True, is_text=True, tasks=("onehot", "date"))
    stacked = stacked_of(rows_of(folder, "insample"), protocol="insample")
    shares = stacked.line("lightgbm").prediction
    assert shares.shape == (240, 4)
    assert_allclose(shares.sum(axis=1), 1)


def test_the_leaky_way_is_worse_than_the_honest_one(make_run: MakeRun) -> None:
    folder = make_run(has_insample=True, n_train=400, is_shifted=False)
    leaky = stacked_of(rows_of(folder, "insample"), protocol="insample")
    honest = stacked_of(rows_of(folder))
    scores = [one.line("lightgbm").scores.pooled for one in (leaky, honest)]
    assert scores[0] > 1.05 * scores[1]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (WITHOUT_TEST, 0),
        ({"n_test": 0}, 10),
        ({"tasks": ("date", "words")}, 32),
        ({"is_continuous": True, "tasks": ("target", "date")}, 32),
        ({"is_text": True, "tasks": ("date",)}, 32),
        ({"has_sample": False, "n_folds": 5}, 32),
        *(
            in_drills(*kind)
            for kind in (
                ({"tasks": ("target",)}, 32),
                ({"tasks": ("target", "onehot")}, 32),
                ({"tasks": ("onehot",)}, 32),
                ({"is_text": True, "tasks": ("onehot", "date")}, 32),
                ({"is_text": True, "tasks": ("onehot",)} | WITHOUT_TEST, 0),
                ({"n_train": 60, "n_test": 20}, 20),
            )
        ),
    ],
)
def test_runs_of_other_kinds(
    make_run: MakeRun,
    caplog: pytest.LogCaptureFixture,
    fields: dict[str, Any],
    expected: int,
) -> None:
    with caplog.at_level(logging.INFO):
        stage = run_fit(make_run(**FEW | fields))
    metadata = json.loads((stage / "record.json").read_text())["facts"]
    assert metadata["score"] < metadata["constant"]
    path = stage / "predictions.csv"
    assert path.exists() == bool(expected)
    if expected:
        assert len(pd.read_csv(path)) == expected
    else:
        assert "there is no predictions.csv" in caplog.text
    assert (metadata["plain"] is None) == (
        "onehot" not in fields.get("tasks", ["onehot"])
        if fields.get("is_text")
        else "target" not in fields.get("tasks", ["target"])
    )


def test_features_that_saw_no_label_are_stacked_by_folds_of_another_scheme(
    make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_run(tasks=("words",), is_label_free=True)
    with caplog.at_level(logging.INFO):
        stage = run_fit(folder, "--cv", "sgkfold4")
    chosen = json.loads((stage / "stacking.json").read_text())
    assert chosen["cv"] == "sgkfold4"
    assert chosen["baseline"] == "constant"
    assert len(chosen["fits"]["lightgbm"]) == 4
    scores = chosen["scores"]
    assert scores["prediction"]["nested"] < 0.9 * scores["constant"]["nested"]
    assert len(pd.read_csv(stage / "predictions.csv")) == 80
    assert "not aligned" not in (stage / "report.html").read_text() + caplog.text


def test_one_net_without_pictures_to_predict_is_not_said_to_be_unaligned(
    make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_run(n_train=96, is_label_free=True, n_test=0, n_unlabelled=0)
    with caplog.at_level(logging.INFO):
        stage = run_fit(folder)
    assert "not aligned" not in (stage / "report.html").read_text() + caplog.text


def test_classes_are_predicted_by_name(
    make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stage = run_fit(make_run(is_text=True, tasks=("onehot", "date")))
    names = {"antique", "medieval", "modern", "young"}
    assert set(pd.read_csv(stage / "predictions.csv")["period"]) <= names
    oof = pd.read_csv(stage / "oof.csv")
    assert (oof["prediction"] == oof["target"]).mean() > 0.5
    shares = oof.filter(regex="^probability_")
    assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    said = [f"probability_{name}" for name in oof["prediction"]]
    assert [str(name) for name in shares.idxmax(axis=1)] == said
    own = oof.apply(lambda row: row[f"probability_{row['target']}"], axis=1)
    chosen = json.loads((stage / "stacking.json").read_text())
    score = chosen["scores"]["prediction"]["nested"]
    assert -np.log(own.astype(float)).mean() == pytest.approx(score, abs=1e-4)
    assert chosen["metric"] == "log_loss"
    # of the figures the accuracy is told first, and recorded
    right = (oof["prediction"] == oof["target"]).mean()
    figures = caplog.text[caplog.text.index("accuracy: ") :]
    assert figures.startswith(f"accuracy: {right:.1%} of the rows are right (95 %: ")
    assert "nested" not in caplog.text[: caplog.text.index("accuracy: ")]
    recorded = json.loads((stage / "record.json").read_text())["facts"]
    frequent = oof["target"].value_counts(normalize=True)
    assert recorded["accuracy"][0] == pytest.approx(right)
    assert recorded["most_frequent"][1] == pytest.approx(frequent.iloc[0])


@pytest.mark.parametrize("n_train", [24, 96])
def test_without_common_pictures_nets_are_aligned_by_what_each_held_out(
    make_run: MakeRun, caplog: pytest.LogCaptureFixture, n_train: int
) -> None:
    with caplog.at_level(logging.INFO):
        folder = make_run(n_train=n_train, n_test=0, n_unlabelled=0)
        stage = run_fit(folder, "--align=moments")
    is_few = n_train < 3 * MIN_HELD_OUT
    text = "the nets are not aligned: that takes 50 pictures that none of them learned"
    assert (text in caplog.text) == is_few
    chosen = json.loads((stage / "stacking.json").read_text())["alignment"]
    assert (chosen["method"] == "none") == is_few
    assert chosen["by_held_out"]
    text = " ".join((stage / "report.html").read_text().split())
    assert ("not aligned" in text) == is_few
    assert ("by the pictures that each held out" in text) == (not is_few)


def test_the_table_of_steps_says_what_a_person_wants(fitted: Fitted) -> None:
    for words in (
        "constant",
        "date alone",
        "plain net",
        "boosted trees",
        "no net",
        "final prediction",
    ):
        assert words in fitted.log
    assert re.search(r"apparent\s+nested\s+95 % interval\s+fold 0", fitted.log)
    assert "(off)" not in fitted.log
    off = re.search(r"not used, since they do not pay: (.+)", fitted.log)
    assert off
    assert {"blended with the plain net", "a rising curve"} & {*off[1].split(", ")}


def test_a_sample_without_the_id_column_is_refused(make_run: MakeRun) -> None:
    folder = make_run()
    path = folder / "data_prep.prepare" / "sample.csv"
    path.write_text("other\na\n")
    with pytest.raises(UserError, match=r"sample.csv: there is no column 'name'"):
        run_fit(folder)


def test_a_sample_of_other_pictures_is_refused_before_anything_is_fitted(
    make_run: MakeRun,
) -> None:
    folder = make_run()
    path = folder / "data_prep.prepare" / "sample.csv"
    path.write_text(path.read_text() + "stranger,0\n")
    with pytest.raises(UserError, match=r"\('stranger'\) are neither in the test spl"):
        run_fit(folder)
    assert not (folder / "stacking.fit.partial").exists()


def ask_for_unreadable(folder: Path, *ids: str) -> None:
    """Name ids in left_out.csv, and ask for them in the middle of the sample."""
    prepared = folder / "data_prep.prepare"
    with (prepared / "left_out.csv").open("a") as left_out:
        left_out.write("".join(f'{id_},{id_}.jpg,"cut, short"\n' for id_ in set(ids)))
        left_out.write("of_train,,no picture\n")
    head, *lines = (prepared / "sample.csv").read_text().splitlines()
    lines[5:5] = [f"{id_},0" for id_ in ids]
    (prepared / "sample.csv").write_text("\n".join([head, *lines]) + "\n")


@pytest.mark.parametrize("is_text", [False, True])
def test_what_cannot_be_read_is_predicted_as_a_constant_and_it_is_said(
    make_run: MakeRun, caplog: pytest.LogCaptureFixture, is_text: bool
) -> None:
    folder = make_run(**FEW, is_text=is_text, tasks=("onehot", "date"))
    ask_for_unreadable(folder, "torn", "007")
    with caplog.at_level(logging.INFO):
        stage = run_fit(folder)
    ids = {"name": str}
    found = pd.read_csv(stage / "predictions.csv", dtype=ids).set_index("name")
    sample = pd.read_csv(folder / "data_prep.prepare" / "sample.csv", dtype=ids)
    assert list(found.index) == sample["name"].tolist()
    assert len(found) == 34
    targets = pd.read_csv(stage / "oof.csv")["target"]
    for id_ in ("torn", "007"):
        if is_text:
            assert found.loc[id_, "period"] == targets.mode().item()
        else:
            assert found.loc[id_, "period"] == pytest.approx(targets.mean(), abs=1e-6)
    assert found["period"].nunique() > 2
    assert (stage / "probabilities.csv").exists() == is_text
    if is_text:
        shares = pd.read_csv(stage / "probabilities.csv", dtype=ids).set_index("name")
        mean = targets.value_counts(normalize=True).sort_index()
        assert_allclose(shares.loc["torn"], mean, rtol=1e-8)
    chosen = json.loads((stage / "stacking.json").read_text())
    assert chosen["constant_for"] == ["torn", "007"]
    (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert warning.startswith("2 ids ('007', 'torn') to predict have no picture")
    constant = repr(targets.mode().item()) if is_text else f"{targets.mean():.4f}"
    assert warning.endswith(constant)
    assert escape(warning) in (stage / "report.html").read_text()


@pytest.mark.parametrize("is_text", [False, True])
def test_without_a_sample_the_test_table_says_what_is_predicted_and_in_which_order(
    make_run: MakeRun, caplog: pytest.LogCaptureFixture, is_text: bool
) -> None:
    fields = FEW | {"is_text": is_text, "tasks": ("onehot", "date")}
    folder = make_run(**fields, has_sample=False)
    table = pd.read_parquet(folder / "data_prep.prepare" / "table.parquet")
    ids = table["id"][table["split"] == "test"].sample(frac=1, random_state=0).tolist()
    asked = ["torn", *ids[:5], "007", *ids[5:]]
    frame = pd.DataFrame({"id": asked})
    frame.to_csv(folder / "data_prep.prepare" / "test_ids.csv", index=False)
    stage = run_fit(folder)
    found = pd.read_csv(stage / "predictions.csv", dtype={"name": str})
    assert found["name"].tolist() == asked
    targets = pd.read_csv(stage / "oof.csv")["target"]
    for value in found.set_index("name").loc[["torn", "007"], "period"]:
        if is_text:
            assert value == targets.mode().item()
        else:
            assert value == pytest.approx(targets.mean(), abs=1e-6)
    assert "2 ids ('007', 'torn') to predict have no picture" in caplog.text


def test_nothing_is_said_of_constants_where_all_can_be_read(fitted: Fitted) -> None:
    assert fitted.chosen["constant_for"] == []
    assert "left_out.csv" not in fitted.log + fitted.report


def test_a_sample_that_names_an_unreadable_picture_twice_is_refused(
    make_run: MakeRun,
) -> None:
    folder = make_run()
    ask_for_unreadable(folder, "torn", "torn")
    with pytest.raises(UserError, match=r"sample.csv: 1 id \('torn'\) occur twice"):
        run_fit(folder)


@pytest.mark.parametrize("name", ["seeds", "max_rounds", "seed", "threads"])
def test_settings_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} = -1: give"):
        dataclasses.replace(FitSettings(), **{name: -1})  # type: ignore[arg-type]


def test_the_command_never_asks_for_torch(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    loaded: list[str] = []

    class Witness(importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, *_: object) -> None:
            loaded.append(name.partition(".")[0])

    monkeypatch.setattr(sys, "meta_path", [Witness(), *sys.meta_path])
    run_fit(make_run(**FEW))
    assert "torch" not in loaded


@pytest.mark.drill
def test_the_command_never_loads_torch(make_run: MakeRun) -> None:
    code = (
        "import sys, stacking.fit; assert 'torch' not in sys.modules;"
        "assert 'lightgbm' not in sys.modules;"
        "stacking.fit.main(sys.argv[1:]); assert 'torch' not in sys.modules"
    )
    argv = [sys.executable, "-c", code, "--run", str(make_run(**FEW)), *QUICK]
    child = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr


def test_the_blend_keeps_to_a_net_that_says_all_there_is_to_say(
    make_run: MakeRun,
) -> None:
    data = rows_of(make_run(tasks=("target", "onehot"), is_shifted=False))
    X = data.rows.X.copy()
    X[:, 0] = data.rows.y
    data = dataclasses.replace(
        data,
        rows=dataclasses.replace(data.rows, X=X),
        common=dataclasses.replace(data.common, nets=()),
    )
    stacked = stacked_of(data, postprocess=("isotonic",))
    assert stacked.selected == "blend"
    assert stacked.weights_by_mean["blend"]["plain"] == 1
    assert stacked.line("plain").scores.pooled == 0
    assert stacked.line("lightgbm").scores.pooled > 0
    assert stacked.final.scores.pooled < 0.05


def test_members_are_what_is_asked_for(make_run: MakeRun) -> None:
    data = rows_of(make_run())
    stacked = stacked_of(data, stackers=("ridge",), postprocess=("round",))
    assert [*stacked.members] == [
        *("date_alone", "words_alone", "ridge", "plain", "expected", "constant"),
        "blend",
    ]
    assert [step.name for step in stacked.steps] == ["round"]
    assert all(isinstance(member, Member) for member in stacked.members.values())


def test_rows_in_another_order_and_other_threads_change_nothing(
    fitted: Fitted, tmp_path: Path
) -> None:
    folder = fitted.copied(tmp_path)
    names = ("oof.csv", "predictions.csv", "predictor.json", "ridge_fold1.npz")
    first = [(fitted.stage / name).read_bytes() for name in names]
    place = folder / "data_prep.prepare" / "table.parquet"
    table = pd.read_parquet(place)
    table.sample(frac=1, random_state=0).to_parquet(place)
    stage = run_fit(folder, "--threads", "3", "--overwrite")
    assert first == [(stage / name).read_bytes() for name in names]


def test_labels_permuted_within_folds_score_like_a_constant(make_run: MakeRun) -> None:
    stage = run_fit(make_run(), "--control")
    control = json.loads((stage / "stacking.json").read_text())["control"]
    assert control["low"] <= 0


def test_weights_of_rows_reach_every_stacker_and_no_score(make_run: MakeRun) -> None:
    data = rows_of(make_run())
    is_out = np.arange(len(data.info.ids)) % 5 == 0
    weights = np.where(is_out, 0.0, 1.0)
    weighted = dataclasses.replace(
        data, rows=dataclasses.replace(data.rows, sample_weight=weights)
    )
    before, after = stacked_of(data, align="rank"), stacked_of(weighted, align="rank")
    for name in ("lightgbm", "ridge", "date_alone", "words_alone", "weighted"):
        first, second = before.line(name), after.line(name)
        assert (first.prediction != second.prediction).any(), name
    for name in ("plain", "expected"):
        assert before.line(name).scores == after.line(name).scores


def test_alignment_is_chosen_by_score_and_all_are_told(fitted: Fitted) -> None:
    chosen = fitted.chosen["alignment"]
    assert set(chosen["tried"]) == {"rank", "moments", "none"}
    assert chosen["method"] == min(chosen["tried"], key=lambda m: chosen["tried"][m])
    assert chosen["method"] != "none"


def test_averaged_nets_are_expected_to_score_better(fitted: Fitted) -> None:
    averaging, scores = fitted.chosen["averaging"], fitted.chosen["scores"]
    assert averaging["single_net"] == scores["prediction"]["nested"]
    assert averaging["averaged"] < averaging["single_net"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--metric", "rsme"], "metric = 'rsme': did you mean 'rmse'"),
        (["--metric", "auc"], "does not fit a target of numbers"),
        (["--stackers", "lightgmb"], "stackers = 'lightgmb': did you mean 'lightgbm'"),
        (["--stackers", "ridge", "--tune", "5"], "add lightgbm to stackers"),
        (
            ["--postprocess", "thresholds"],
            "postprocess = 'thresholds' needs a metric of ordered classes",
        ),
        (["--test-nets", "all"], "no net saw every label; train one: python -m tran"),
        (["--also", "nowhere"], "also = 'nowhere': there is no such run"),
        (["--columns", "plant"], "columns: there is no column 'plant'"),
        (["--seeds", "0"], "seeds = 0: give 1 or more"),
    ],
)
def test_what_cannot_be_is_said_in_a_line_before_anything_is_made(
    make_run: MakeRun, flags: list[str], message: str
) -> None:
    folder = make_run(**FEW)
    with pytest.raises(UserError, match=message):
        run_fit(folder, *flags)
    assert not list(folder.glob("stacking.fit*"))


def test_the_columns_of_the_model_without_nets_are_of_half_the_size(
    make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, sizes = pixel_trees.fit, []

    def both_ways(rows: TrainingRows, context: FitContext) -> CrossFit:
        of_rows = fit(rows, context)
        wide = dataclasses.replace(rows, X=rows.X.astype(np.float64))
        assert_array_equal(of_rows.oof_pred, fit(wide, context).oof_pred)
        sizes.append(rows.X.nbytes / len(rows.X))
        return of_rows

    stacker = dataclasses.replace(STACKERS[PIXELS], fit=both_ways)
    monkeypatch.setitem(STACKERS, PIXELS, stacker)
    run_fit(make_run())
    assert sizes == [4 * 502]
