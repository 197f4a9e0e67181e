"""Tests of stacking.predict, with nets that have been asked already."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from data_prep.errors import UserError
from data_prep.prepared import PREPARED
from data_prep.run_folders.damage import digest_of, sealed
from data_prep.run_folders.runs import Run
from features import inference
from features.inference import find_pictures
from features.store import open_store, write_store
from stacking import fit, predict
from stacking.analysis.conformal import conformal_radius
from stacking.ensemble.new_rows import _views
from stacking.ensemble.predictor import Predictor
from stacking.inputs.data import Column
from tests.drilled import in_drills
from tests.stacking.conftest import FakeRun
from tests.stacking.pixels_of_runs import write_pixels
from tests.stacking.reported import rename
from transfer.networks.columns import NetColumns

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

MakeRun = Callable[..., Path]
QUICK = ["--seeds", "1", "--max-rounds", "40", "--align", "rank"]
LEFT_OUT = "id,file,reason\ntorn,torn.jpg,cut short\n"


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the nets say of new pictures what they said of the test pictures."""

    def ask(
        run: Path,
        images: Sequence[Path],
        out: Path,
        threads: int,
        *,
        table: Path | None,
        net: str,
        overwrite: bool,
    ) -> Path:
        assert not overwrite
        assert net == "folds"
        del table
        assert images
        assert threads == 0
        shutil.rmtree(out, ignore_errors=True)
        extracted = run / "features.extract"
        files = [*extracted.glob("nets/*.pkl")] or [extracted / "features.pkl"]
        rows = pd.read_parquet(run / "data_prep.prepare" / "table.parquet")
        ids = rows["id"][rows["split"] == "test"].tolist()[::-1]
        kept = {"roles": ["test"] * len(ids), "folds": [-1] * len(ids)}
        for file in files:
            store = open_store(file)
            place = out / file.relative_to(extracted)
            write_store(place, ids, store.matrix(ids), dict(store.header) | kept)
        write_pixels(run, ids, out)
        (out / "left_out.csv").write_text(LEFT_OUT)
        return out

    monkeypatch.setattr("features.inference.infer_features", ask)


def predicted(folder: Path, *flags: str) -> pd.DataFrame:
    path = predict.main(["--run", str(folder), "--images", "new", *flags])
    return pd.read_csv(path).set_index("name")


def stacked(folder: Path, *flags: str) -> pd.DataFrame:
    stage = fit.main(["--run", str(folder), *QUICK, *flags])
    return pd.read_csv(stage / "predictions.csv").set_index("name")


@pytest.fixture(scope="module")
def usual_stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The usual run, stacked once; only to be copied."""
    folder = FakeRun().write(tmp_path_factory.mktemp("usual") / "run")
    stacked(folder)
    return folder


@pytest.fixture
def usual(usual_stack: Path, tmp_path: Path) -> Path:
    """A copy of the usual run with its stack."""
    return Path(shutil.copytree(usual_stack, tmp_path / "run"))


def test_new_pictures_are_predicted_as_the_same_test_pictures_were(
    usual: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = usual
    stage = folder / "stacking.fit"
    expected = pd.read_csv(stage / "predictions.csv").set_index("name")["period"]
    shutil.rmtree(folder / "features.extract" / "views", ignore_errors=True)
    images = folder / "data_prep.prepare" / "images.npy"
    images.rename(images.with_name("images.aside.npy"))  # not needed
    found = predicted(folder)
    assert set(found.index) == set(expected.index)
    assert_allclose(found["prediction"], expected[found.index], atol=2e-6)
    place = folder / "stacking.predict" / "new.csv"
    assert place.exists()
    assert place.with_name("new.left_out.csv").read_text() == LEFT_OUT
    assert "1 id ('torn') has no prediction" in caplog.text


@pytest.mark.parametrize("is_worse", [True, False])
def test_a_stack_that_is_no_better_than_a_constant_is_warned_of_again(
    usual: Path, is_worse: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path = usual / "stacking.fit" / "record.json"
    record = json.loads(path.read_text())
    record["facts"] |= {"score": 0.9 if is_worse else 0.4, "constant": 0.8}
    record["facts"]["pixels"] = None
    del record["record_sha256"]
    path.write_text(json.dumps(sealed(record)))
    predicted(usual)
    text = "the final prediction is no better than a constant (RMSE 0.9000 against 0.8"
    assert (text in caplog.text) == is_worse


def test_the_order_of_the_table_changes_no_prediction(usual: Path) -> None:
    folder = usual
    expected = predicted(folder)
    path = folder / "data_prep.prepare" / "table.parquet"
    pd.read_parquet(path).sample(frac=1, random_state=0).to_parquet(path)
    found = predicted(folder)
    assert not found.index.equals(expected.index)  # the nets were asked in that order
    pd.testing.assert_frame_equal(found.loc[expected.index], expected)


def test_what_stands_beside_a_prediction(usual: Path) -> None:
    folder = usual
    found = predicted(folder, "--coverage", "0.8")
    shares = found[[f"probability_{k}" for k in range(4)]]
    assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    oof = pd.read_csv(folder / "stacking.fit" / "oof.csv").set_index("name")
    table = pd.read_parquet(folder / "data_prep.prepare" / "table.parquet")
    cv_groups = table.set_index("id")["cv_group"].loc[oof.index]
    radius = conformal_radius(oof["prediction"] - oof["target"], cv_groups, 0.8)
    middle = found["prediction"]
    assert_allclose(found["low"], (middle - radius).clip(0, 3), atol=1e-5)
    assert_allclose(found["high"], (middle + radius).clip(0, 3), atol=1e-5)
    assert (found["coverage"] == 0.8).all()
    wider = predicted(folder, "--coverage", "0.95")
    assert (wider["high"] - wider["low"]).mean() > (found["high"] - found["low"]).mean()
    nets = [
        open_store(folder / "features.extract" / "nets" / f"fold{k}.pkl")
        for k in range(3)
    ]
    variance = np.mean([net.frame(found.index)["target__var"] for net in nets], axis=0)
    assert_allclose(found["spread_views"], np.sqrt(variance), atol=2e-6)
    assert (found["spread_nets"] > 0).all()


def test_classes_have_a_set_that_holds_the_prediction(make_run: MakeRun) -> None:
    folder = make_run(is_text=True, tasks=("onehot", "date"))
    expected = stacked(folder)["period"]
    found = predicted(folder)
    assert found["prediction"].tolist() == expected[found.index].tolist()
    for name, texts in zip(found["prediction"], found["expected"], strict=True):
        assert name in texts.split(" | ")
    assert (found["coverage"] == 0.9).all()
    shares = pd.read_csv(folder / "stacking.fit" / "probabilities.csv")
    assert shares["name"].tolist() == expected.index.tolist()
    columns = [f"probability_{name}" for name in sorted(set(expected))]
    assert [*shares.columns] == ["name", *columns]
    beside = shares.set_index("name").loc[found.index]
    assert_allclose(found[columns], beside, rtol=1e-8)
    sizes = found["expected"].str.count(r"\|") + 1
    assert 1 < sizes.mean() < 4
    names = ["antique", "medieval", "modern", "young"]
    top = found[[f"probability_{n}" for n in names]].idxmax(axis=1)
    assert (top == "probability_" + found["prediction"]).all()


def test_a_class_may_be_called_like_a_number(make_run: MakeRun) -> None:
    folder = make_run(is_text=True, tasks=("onehot", "date"))
    rename(folder, "modern", "v1.0")
    rename(folder, "young", "v1")
    expected = stacked(folder)["period"]
    assert set(expected) == {"antique", "medieval", "v1.0", "v1"}
    found = predicted(folder)
    assert found["prediction"].tolist() == expected[found.index].tolist()
    names = ["antique", "medieval", "v1.0", "v1"]
    top = found[[f"probability_{n}" for n in names]].idxmax(axis=1)
    assert (top == "probability_" + found["prediction"]).all()
    oof = pd.read_csv(folder / "stacking.fit" / "oof.csv")
    assert {f"probability_{n}" for n in names} <= set(oof)


@pytest.mark.parametrize(
    "metric", ["quadratic_kappa", *map(in_drills, ["accuracy", "macro_f1"])]
)
def test_grades_are_whole_in_every_file(make_run: MakeRun, metric: str) -> None:
    folder = make_run(n_train=120)
    expected = stacked(folder, "--metric", metric, "--stackers", "ridge")["period"]
    found = predicted(folder)
    assert found["prediction"].tolist() == expected[found.index].tolist()
    assert (found["spread_nets"] > 0).any()  # of what is not yet a grade
    stage = folder / "stacking.fit"
    for file in (stage / "predictions.csv", stage / "oof.csv"):
        column = pd.read_csv(file, dtype=str).iloc[:, -1 if "pre" in file.name else 2]
        assert set(column) == {"0", "1", "2", "3"}
    oof = pd.read_csv(stage / "oof.csv", dtype=str)
    assert set(oof["prediction"]) <= {"0", "1", "2", "3"}
    shares = [name for name in oof if name.startswith("probability_")]
    assert shares == [f"probability_{k}" for k in range(4)]
    assert shares == [name for name in found if name.startswith("probability_")]


def test_one_net_without_labels_predicts_too(make_run: MakeRun) -> None:
    folder = make_run(tasks=("words",), is_label_free=True)
    expected = stacked(folder)["period"]
    found = predicted(folder)
    assert_allclose(found["prediction"], expected[found.index], atol=2e-6)
    assert (found["spread_nets"] == 0).all()
    assert "spread_views" not in found


@pytest.mark.parametrize("is_label_free", [True, False])
def test_views_are_those_of_each_net_or_of_the_only_one(
    tmp_path: Path, is_label_free: bool
) -> None:
    column = Column(name="words_0__mean", task="words", output="0", statistic="mean")
    predictor = SimpleNamespace(
        user_columns=None, target_columns=SimpleNamespace(columns=[column])
    )
    n_nets, names = 2, ["words.test.fold0.pkl", "words.test.fold1.pkl"]
    if is_label_free:
        n_nets, names = 1, ["words.pkl"]
    for number, name in enumerate(names):
        values = np.arange(6, dtype=np.float32).reshape(2, 3, 1) + number
        header: dict[str, Any] = {"roles": ["test"] * 2, "folds": [-1] * 2}
        header |= {"columns": [{"name": "words_0"}], "views": ["e", "h", "v"]}
        (tmp_path / "views").mkdir(exist_ok=True)
        write_store(tmp_path / "views" / name, ["a", "b"], values, header)
    views = _views(tmp_path, cast(Any, predictor), ["b"], n_nets)
    assert [v[0, :, 0].tolist() for v in views] == [
        [3.0 + k, 4.0 + k, 5.0 + k] for k in range(n_nets)
    ]


def test_own_columns_come_from_a_table(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(n_train=120)
    place = folder / "data_prep.prepare" / "table.parquet"
    table = pd.read_parquet(place)
    table["given.size"] = np.random.default_rng(0).normal(size=len(table))
    table.to_parquet(place)
    expected = stacked(folder, "--columns", "size")["period"]
    new = pictures_of(tmp_path / "new", table)
    with pytest.raises(UserError, match="learned from size too; give --table FILE"):
        predicted(folder, *new)
    own = table[["id", "given.size"]].set_axis(["name", "size"], axis=1)
    own.to_csv(tmp_path / "own.csv", index=False)
    found = predicted(folder, *new, "--table", str(tmp_path / "own.csv"))
    assert_allclose(found["prediction"], expected[found.index], atol=1e-5)
    is_test = table["split"] == "test"
    own[~is_test].to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(UserError, match=r"--table .*own\.csv has no row for 80"):
        predicted(folder, *new, "--table", str(tmp_path / "own.csv"))


def test_nets_that_learned_from_columns_are_given_the_table(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, infer_features, tables = make_run(), inference.infer_features, []
    rows = pd.read_parquet(folder / "data_prep.prepare" / "table.parquet")
    rows["given.size"] = np.random.default_rng(0).normal(size=len(rows))
    columns = NetColumns.learn(rows, ["size"])
    monkeypatch.setattr("features.fresh_columns.columns_of_run", lambda *_: columns)

    def ask(*given: Any, table: Path | None, **flags: Any) -> Path:
        tables.append(table)
        return infer_features(*given, table=None, **flags)

    monkeypatch.setattr("features.inference.infer_features", ask)
    stacked(folder)
    new = pictures_of(tmp_path / "new", rows)
    with pytest.raises(UserError, match="the nets learned from size too; give --table"):
        predicted(folder, *new)
    file = tmp_path / "own.csv"
    own = rows[["id", "given.size"]].set_axis(["name", "size"], axis=1)
    own.to_csv(file, index=False)
    assert len(predicted(folder, *new, "--table", str(file))) == 80
    assert tables == [file]  # no net was asked before


def test_ids_of_a_table_may_have_folders(
    usual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    infer_features = inference.infer_features
    rows = pd.read_parquet(usual / "data_prep.prepare" / "table.parquet")
    new = pictures_of(tmp_path / "new", rows)
    ids = "new/" + rows["id"][rows["split"] == "test"]
    searched = []

    def ask(run: Path, images: Sequence[Path], *_: Any, table: Path, **__: Any) -> Path:
        searched.append(find_pictures(images, table, Run(run)).pictures.keys())
        return infer_features(run, images, *_, table=table, **__)

    monkeypatch.setattr("features.inference.infer_features", ask)
    named = pd.DataFrame({"name": ids, "kind": "oil"})
    named.to_csv(tmp_path / "own.csv", index=False)
    assert len(predicted(usual, *new, "--table", str(tmp_path / "own.csv"))) == 80
    assert searched == [set(ids)]


@pytest.mark.parametrize("has_folders", [True, False])
def test_columns_are_read_by_ids_with_folders(
    of_columns: tuple[Path, pd.DataFrame], tmp_path: Path, has_folders: bool
) -> None:
    """Two pictures of one name are told apart by a table, as in the preparation."""
    folder, table = of_columns
    new = tmp_path / "two"
    for place in ("oak", "elm"):
        (new / place).mkdir(parents=True)
        (new / place / "7.png").touch()
    ids = ["oak/7", "elm/7"] if has_folders else ["7", "8"]
    path = tmp_path / "two.csv"
    table[:2].assign(name=ids).to_csv(path, index=False)
    settings = predict.PredictSettings(images=(new,), table=path)
    fitted, prepared = map(Run(folder).finished, ("stacking.fit", PREPARED))

    def read() -> Any:
        predictor = Predictor.load(fitted.folder)
        return predict._read_table(
            settings, predictor.user_columns, prepared, runs=[Run(folder)]
        )

    if has_folders:
        assert list(read()[0].index) == ids
        return
    with pytest.raises(UserError, match="write the ids of all tables with folders"):
        read()


def pictures_of(folder: Path, table: pd.DataFrame) -> tuple[str, str]:
    """Lay files under the ids of the test pictures, and give the flag for them."""
    folder.mkdir()
    for id_ in table["id"][table["split"] == "test"]:
        (folder / f"{id_}.png").touch()
    return "--images", str(folder)


@pytest.fixture
def of_columns(
    stack_of_columns: tuple[Path, pd.DataFrame], tmp_path: Path
) -> tuple[Path, pd.DataFrame]:
    """A stack that learned from size, kind and date; the user's table of them."""
    made, table = stack_of_columns
    folder = Path(shutil.copytree(made, tmp_path / "run"))
    pictures_of(tmp_path / "new", table)
    own = table[["id", "given.size", "given.kind", "date"]]
    return folder, own.set_axis(["name", "size", "kind", "when"], axis=1).astype(object)


@pytest.fixture(scope="module")
def stack_of_columns(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, pd.DataFrame]:
    """Fit it once; give its run, only to be copied, and the prepared table."""
    folder = FakeRun().write(tmp_path_factory.mktemp("columns") / "run")
    place = folder / "data_prep.prepare" / "table.parquet"
    table = pd.read_parquet(place)
    rng = np.random.default_rng(0)
    table["given.size"] = rng.normal(size=len(table))
    table["given.kind"] = rng.choice(["oil", "ink"], len(table))
    table["date"] = 1800 + 0.5 * np.arange(len(table))
    table.to_parquet(place)
    record = folder / "data_prep.prepare" / "record.json"
    metadata = json.loads(record.read_text())
    metadata["facts"]["date_column"] = "when"
    record.write_text(json.dumps(metadata))
    stacked(folder, "--columns", "size,kind,date")
    return folder, table


def mistake_of(folder: Path, own: pd.DataFrame, ending: str = "csv") -> str:
    path = folder.with_name(f"own.{ending}")
    if ending == "csv":
        own.to_csv(path, index=False)
    else:
        own.to_parquet(path, index=False)
    flags = ("--images", str(folder.with_name("new")), "--table", str(path))
    with pytest.raises(UserError) as caught:
        predicted(folder, *flags)
    assert str(caught.value).startswith((str(path), f"--table {path}"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_table_of_columns_is_checked_before_any_net_is_asked(
    of_columns: tuple[Path, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, own = of_columns
    monkeypatch.setattr("features.inference.infer_features", None)
    (line,) = np.flatnonzero(
        own["name"] == min((folder.with_name("new")).iterdir()).stem
    )

    def changed(**cells: Any) -> pd.DataFrame:
        other = own.copy()
        for name, value in cells.items():
            other.loc[line, name] = value
        return other

    assert mistake_of(folder, pd.concat([own, own[:2]])).endswith(
        "2 ids ('p0000', 'p0001') are there twice; keep one row of each"
    )
    assert "1 row has no id, the first in line 7" in mistake_of(
        folder, own.assign(name=own["name"].where(np.arange(len(own)) != 5))
    )
    for ending in ("csv", "parquet"):
        message = mistake_of(folder, own.rename(columns={"size": "sise"}), ending)
        assert (
            "no column 'size', which the stack learned from; did you mean 'si"
            in message
        )
    message = mistake_of(folder, own[["name", "size"]])
    assert "no column 'kind'" in message
    assert message.endswith("(as for date)")
    assert "no column 'name' of ids" in mistake_of(folder, own.drop(columns="name"))
    assert "own.csv: no rows; fill it" in mistake_of(folder, own[:0])
    message = mistake_of(folder, changed(size="about 3"))
    assert f"('about 3' in line {line + 2} ...)" in message
    message = mistake_of(folder, changed(when="long ago"))
    assert f"1 value ('long ago') is no year or date, the first in line {line + 2}" in (
        message
    )
    files = own.assign(name=own["name"] + ".png")
    message = mistake_of(folder, files)
    assert "has no row for 80 ids" in message
    assert "nearly there but for the extension (80: id " in message
    assert message.endswith("...); write the ids as the files are named")
    files = own.assign(name="x" + own["name"])
    assert mistake_of(folder, files).endswith("(its ids are like 'xp0000')")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_unseen_texts_and_gaps_of_a_table_are_told(
    of_columns: tuple[Path, pd.DataFrame], caplog: pytest.LogCaptureFixture, ending: str
) -> None:
    folder, own = of_columns
    stage = folder / "stacking.fit" / "predictions.csv"
    expected = pd.read_csv(stage).set_index("name")["period"]
    path = folder.with_name(f"own.{ending}")
    own["size"] = own["size"].astype(float)
    own["when"] = [f"{int(year)}-07-02" for year in own["when"]]

    def predicted_by(table: pd.DataFrame) -> pd.Series:
        caplog.clear()
        if ending == "csv":
            table.to_csv(path, index=False)
        else:
            table.to_parquet(path, index=False)
        new = ("--images", str(folder.with_name("new")))
        return predicted(folder, *new, "--table", str(path))["prediction"]

    found = predicted_by(own)
    assert_allclose(found, expected[found.index], atol=0.5)  # dates moved by months
    assert "column" not in caplog.text
    test = own["name"].isin(expected.index)
    few = own[test].index[:3]
    other = own.copy()
    other.loc[few, "kind"] = ["egg", "tar", "egg"]
    other.loc[few, "size"] = np.nan
    other.loc[~test, "kind"] = "of no picture that is asked for"
    predicted_by(other)
    told = [r.getMessage() for r in caplog.records if "column '" in r.getMessage()]
    assert len(told) == 2
    assert (
        "column 'size': 3 of 80 cells to predict are empty and count as the" in told[0]
    )
    assert (
        "column 'kind': 3 of 80 cells to predict hold a text that is rare or" in told[1]
    )
    assert "('egg' 2 times, 'tar' 1 times)" in told[1]


def test_the_size_of_a_picture_is_measured_and_not_asked_for(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(n_train=120)
    place = folder / "data_prep.prepare" / "table.parquet"
    table = pd.read_parquet(place)
    table["width"] = 100 + np.arange(len(table)) % 7
    table["height"] = 200 + np.arange(len(table)) % 5
    table["given.size"] = np.random.default_rng(0).normal(size=len(table))
    table.to_parquet(place)
    new = pictures_of(tmp_path / "new", table)
    infer_features = inference.infer_features

    def ask(*given: Any, **flags: Any) -> Path:
        out = infer_features(*given, **flags)
        sizes = table.set_index("id")[["width", "height"]]
        note = sizes.assign(file="x.png").to_dict("index")
        (out / "pictures.json").write_text(json.dumps(note))
        return out

    monkeypatch.setattr("features.inference.infer_features", ask)
    expected = stacked(folder, "--columns", "width,height")["period"]
    found = predicted(folder, *new)
    assert_allclose(found["prediction"], expected[found.index], atol=2e-6)
    shutil.rmtree(folder / "stacking.fit")
    expected = stacked(folder, "--columns", "height,size")["period"]
    with pytest.raises(UserError, match="learned from size too; give --table FILE"):
        predicted(folder, *new)
    own = table[["id", "given.size"]].set_axis(["name", "size"], axis=1)
    own.assign(height=0).to_csv(tmp_path / "own.csv", index=False)
    found = predicted(folder, *new, "--table", str(tmp_path / "own.csv"))
    assert_allclose(found["prediction"], expected[found.index], atol=1e-5)


def test_what_columns_tell_nothing_of_is_in_the_report(
    make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_run()
    place = folder / "data_prep.prepare" / "table.parquet"
    table = pd.read_parquet(place)
    table["given.kind"] = np.where(np.arange(len(table)) % 2, "oil", "ink")
    table["given.size"] = np.arange(len(table)) * 0.5
    test = table.index[table["split"] == "test"]
    table.loc[test[:7], "given.kind"] = "egg"
    table.loc[test[:2], "given.size"] = np.nan
    table.loc[table.index[table["split"] == "train"][:4], "given.kind"] = None
    table.to_parquet(place)
    with caplog.at_level("INFO"):
        stacked(folder, "--columns", "kind,size")
    notes = json.loads((folder / "stacking.fit" / "stacking.json").read_text())["notes"]
    report = (folder / "stacking.fit" / "report.html").read_text()
    for text in (
        "column 'kind': 4 of 240 cells to learn from are empty and count as none of",
        "column 'kind': 7 of 80 cells to predict hold a text that is rare or not there",
        "column 'size': 2 of 80 cells to predict are empty and count as the median",
    ):
        assert any(text in note for note in notes)
        assert text in caplog.text
        assert text.replace("'", "&#39;") in report


def test_a_picture_that_one_run_fails_on_is_left_out(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, other = make_run(n_train=120), tmp_path / "other"
    shutil.copytree(folder, other)
    expected = stacked(folder, "--also", str(other))["period"]
    infer_features = inference.infer_features

    def ask(run: Path, *given: Any, **flags: Any) -> Path:
        out = infer_features(run, *given, **flags)
        if run == other:
            for file in out.glob("nets/*.pkl"):
                store = open_store(file)
                kept = {"roles": ["test"] * 79, "folds": [-1] * 79}
                header = dict(store.header) | kept
                write_store(file, store.ids[1:], store.matrix(store.ids[1:]), header)
        return out

    monkeypatch.setattr("features.inference.infer_features", ask)
    found = predicted(folder)
    assert len(found) == 79
    assert_allclose(found["prediction"], expected[found.index], atol=2e-6)


def test_nets_of_other_runs_are_asked_too(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(n_train=120)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    expected = stacked(folder, "--also", str(other))["period"]
    found = predicted(folder)
    assert_allclose(found["prediction"], expected[found.index], atol=2e-6)
    (tmp_path / "disk").mkdir()
    folder.rename(tmp_path / "disk" / folder.name)
    folder.symlink_to(tmp_path / "disk" / folder.name)  # the other lies beside the link
    assert predicted(folder)["prediction"].equals(found["prediction"])
    record = other / "features.extract" / "record.json"
    others = {"files": {}, "digest": digest_of({})}
    changed = json.loads(record.read_text()) | others
    record.write_text(json.dumps(changed))
    with pytest.raises(UserError, match="its features are others than the stack was"):
        predicted(folder)
    shutil.rmtree(other)
    with pytest.raises(UserError, match="the nets of this run too, and it is not the"):
        predicted(folder)


def test_mistakes_are_said_before_any_net_is_asked(
    usual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> Path:
        raise AssertionError

    folder = usual
    monkeypatch.setattr("features.inference.infer_features", never)
    stage = (folder / "stacking.fit").rename(folder / "apart")
    with pytest.raises(UserError, match=r"stacking\.fit is not finished"):
        predicted(folder)
    stage.rename(folder / "stacking.fit")
    with pytest.raises(UserError, match=r"coverage = 1\.5: give a share between 0 and"):
        predicted(folder, "--coverage", "1.5")
    with pytest.raises(UserError, match=r"own\.csv: there is no such"):
        predicted(folder, "--table", "own.csv")
    (folder / "stacking.fit" / "ridge_fold1.npz").unlink()
    with pytest.raises(UserError, match=r"ridge_fold1\.npz is missing; put it"):
        predicted(folder)
