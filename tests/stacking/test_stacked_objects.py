"""Tests of objects of several pictures: pooled, stacked, scored and predicted."""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from data_prep.errors import UserError
from data_prep.experiment import DataSettings, Experiment
from data_prep.folds import fold_hash
from data_prep.outlook import Outlook
from data_prep.prepared import PREPARED, Prepared
from data_prep.run_folders.runs import Run
from features import inference
from features.earlier import PIXEL_STORE
from features.pooling import pool
from features.store import open_store, write_store
from stacking import fit, noise, predict
from stacking.analysis.conformal import conformal_radius
from stacking.inputs.assemble import assemble
from stacking.inputs.data import Column, StackingData
from stacking.inputs.object_pooling import check_statistics, pool_pictures
from stacking.inputs.objects import Objects, with_labels_of_objects
from stacking.reporting.named_rows import WITHOUT, named_rows
from tests.stacking.conftest import FakeRun
from tests.stacking.houses import MIDDLE, SPREAD, Houses
from tests.stacking.pixels_of_runs import write_pixels

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

QUICK = ["--seeds", "1", "--max-rounds", "60", "--align", "rank"]
EVERY = ("mean", "var", "max", "min", "std", "identity")


def columns_of(statistics: Sequence[str], *outputs: str) -> list[Column]:
    return [
        Column(name=f"{name}__{s}", task=name, output="", statistic=s)
        for name in outputs
        for s in statistics
    ]


def assembled(folder: Path, **options: Any) -> StackingData:
    run = Run(folder)
    prepared = run.finished("data_prep.prepare")
    return assemble(prepared, run.finished("features.extract"), **options)


def table_of(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "data_prep.prepare" / "table.parquet")


def edit_table(folder: Path, **columns: Any) -> None:
    path = folder / "data_prep.prepare" / "table.parquet"
    pd.read_parquet(path).assign(**columns).to_parquet(path)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What the command left of the houses."""

    folder: Path
    stage: Path

    @property
    def chosen(self) -> dict[str, Any]:
        return json.loads((self.stage / "stacking.json").read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """Houses, stacked once; only to be read or copied."""
    folder = Houses().write(tmp_path_factory.mktemp("houses") / "run")
    return Fitted(folder=folder, stage=fit.main(["--run", str(folder), *QUICK]))


# Pooling.


def test_pooling_pictures_is_pooling_all_their_views() -> None:
    rng = np.random.default_rng(0)
    views = rng.normal(1000, 1, (23, 8, 2))  # far from 0 for their spread
    of_picture = np.concatenate([rng.permutation(6), rng.integers(0, 6, 17)])
    objects = Objects(names=tuple("abcdef"), of_picture=of_picture)
    columns = columns_of(EVERY, "y", "z")
    pooled = pool_pictures(pool(views, EVERY), columns, objects)
    for number in range(6):
        of_object = views[of_picture == number]
        expected = pool(of_object.reshape(1, -1, 2), EVERY)[0]
        # the first view of each picture is the picture as it is
        expected[[5, 11]] = of_object[:, 0].mean(axis=0)
        assert_allclose(pooled[number], expected, rtol=1e-9)


def test_one_picture_each_changes_no_bit() -> None:
    values = np.random.default_rng(0).normal(size=(5, 4))
    objects = Objects.of_names(list("abcde"))
    columns = columns_of(("median", "var"), "y", "z")  # not even looked at
    assert pool_pictures(values, columns, objects) is values


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        (("mean", "median"), r"'y__median': the median over all pictures of an object"),
        (("var", "max"), r"'y__var': the var .* needs their means, y__mean, too; extr"),
    ],
)
def test_what_pictures_do_not_tell_is_refused(
    statistics: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_statistics(columns_of(statistics, "y"))
    check_statistics(columns_of(EVERY, "y"))


def test_an_object_is_named_by_its_split_too() -> None:
    table = pd.DataFrame(
        {
            "id": ["b", "p1", "p2", "p3"],
            "split": ["unlabelled", "test", "test", "test"],
            "object": ["b", "b", "a", "b"],
            "weight": [1.0, 0.5, 1.0, 0.0],
        }
    )
    objects = Objects.of(table)
    assert objects.names == ("a", "b", "b")
    assert objects.of_picture.tolist() == [2, 1, 0, 1]
    assert objects.n_pictures.tolist() == [1, 2, 1]
    assert objects.rows(table)["weight"].tolist() == [1.0, 0.25, 1.0]
    some, idx = objects.take(np.array([0, 1, 3]))
    assert (some.names, idx.tolist()) == (("b", "b"), [1, 2])
    assert some.of_picture.tolist() == [1, 0, 0]


def test_a_label_is_that_of_all_pictures() -> None:
    table = pd.DataFrame(
        {
            "split": ["train"] * 4 + ["test"],
            "object": ["a", "a", "b", "c", "a"],
            "target": [np.nan, 2.0, 3.0, np.nan, np.nan],
            "class_index": [-1, 0, 1, -1, -1],
        }
    )
    labelled = with_labels_of_objects(table)
    assert_array_equal(labelled["target"], [2, 2, 3, np.nan, np.nan])
    assert labelled["class_index"].tolist() == [0, 0, 1, -1, -1]
    names = table.assign(target=[None, "x", "y", None, None])
    assert with_labels_of_objects(names)["target"].tolist()[:3] == ["x", "x", "y"]
    assert with_labels_of_objects(names)["target"].isna().tolist()[3:] == [True, True]
    plain = table.drop(columns="object")
    assert with_labels_of_objects(plain) is plain


# Assembled.


def test_rows_are_objects_of_one_and_of_forty_pictures(houses: Fitted) -> None:
    data, table = assembled(houses.folder), table_of(houses.folder)
    assert data.info.objects is not None
    assert data.info.ids == tuple(f"h{k:03d}" for k in range(150))
    assert data.info.objects.n_pictures[:2].tolist() == [1, 40]
    n_pictures = (table["split"] == "train").sum()
    assert len(data.info.objects.of_picture) == n_pictures
    store = open_store(houses.folder / "features.extract" / "features.pkl")
    for row, name in enumerate(data.info.ids[:5]):
        photos = table[(table["object"] == name) & (table["split"] == "train")]
        of_photos = store.frame(list(photos["id"])).astype(float)
        mean, highest = of_photos["target__mean"].mean(), of_photos["target__max"].max()
        found = dict(zip(store.columns, data.rows.X[row], strict=True))
        assert_allclose([found["target__mean"], found["target__max"]], [mean, highest])
        assert data.rows.y[row] == photos["target"].iloc[0]
        assert data.rows.folds[row] == photos["fold"].iloc[0]
    # 60 houses to predict, and three photos in no table, called as houses are
    assert (len(data.common.ids), int(data.common.is_predicted.sum())) == (63, 60)


def test_a_picture_without_a_label_is_pooled_with_the_others(
    houses: Fitted, tmp_path: Path
) -> None:
    folder = shutil.copytree(houses.folder, tmp_path / "run")
    target = table_of(folder)["target"].copy()
    target[photos_of(folder, "h001")[:30]] = np.nan
    target[photos_of(folder, "h002")] = np.nan  # no label at all: not scored
    edit_table(folder, target=target)
    before, after = assembled(houses.folder), assembled(folder)
    assert "h002" not in after.info.ids
    kept = [row for row, name in enumerate(before.info.ids) if name != "h002"]
    assert_array_equal(after.rows.X, before.rows.X[kept])
    assert_array_equal(after.rows.y, before.rows.y[kept])


def test_columns_of_the_user_are_averaged(houses: Fitted) -> None:
    data = assembled(houses.folder, columns=("size", "floor"))
    table = table_of(houses.folder)
    photos = table[table["split"] == "train"].groupby("object")
    assert_allclose(data.rows.X[:, -2], photos["given.size"].mean())
    assert_allclose(data.rows.X[:, -1], photos["given.floor"].first())


def pairs(folder: Path) -> Path:
    """Make objects of the like pictures of a made-up run, their labels alike."""
    table = table_of(folder)
    objects = table["split"] + table["cv_group"].astype(str)
    by_object = table.groupby(objects)
    labels = {
        name: by_object[name].transform("first") for name in ("target", "class_index")
    }
    edit_table(folder, object=objects, **labels)
    return folder


def test_classes_are_those_of_objects(tmp_path: Path) -> None:
    fields = {"is_text": True, "tasks": ("onehot", "date"), "has_insample": True}
    data = assembled(pairs(FakeRun(**fields).write(tmp_path / "run")))
    labels = table_of(tmp_path / "run").drop_duplicates("object").set_index("object")
    assert data.info.ids == tuple(sorted(data.info.ids))
    assert data.info.target.tolist() == labels["target"][list(data.info.ids)].tolist()
    names = [data.classes[k] for k in data.info.class_index]
    assert names == data.info.target.tolist()
    assert_array_equal(data.rows.y.argmax(axis=1), data.info.class_index)
    columns = [c.task == "onehot" and c.statistic == "mean" for c in data.columns]
    assert_allclose(data.rows.X[:, columns].sum(axis=1), 1, atol=1e-5)


def test_what_nets_have_seen_is_pooled_too(tmp_path: Path) -> None:
    folder = pairs(FakeRun(has_insample=True).write(tmp_path / "run"))
    data = assembled(folder, protocol="insample")
    table = table_of(folder).set_index("object")
    for fold, sample in enumerate(data.in_sample):
        assert_array_equal(sample.idx, np.flatnonzero(data.rows.folds != fold))
        store = open_store(folder / "features.extract" / "insample" / f"fold{fold}.pkl")
        name = data.info.ids[sample.idx[0]]
        ids = list(table.loc[[name], "id"])
        expected = store.frame(ids)["target__max"].max()
        column = store.columns.index("target__max")
        assert_allclose(sample.X[0, column], expected)


def test_label_free_features_may_have_other_folds_by_object(tmp_path: Path) -> None:
    folder = Houses(is_label_free=True).write(tmp_path / "run")
    data = assembled(folder, cv="sgkfold5")
    assert sorted(set(data.rows.folds)) == [0, 1, 2, 3, 4]
    assert len(data.rows.y) == 150
    with pytest.raises(UserError, match=r"would tear the groups of \[data\] group or"):
        assembled(folder, cv="skfold5")


def refold(folder: Path, folds: "pd.Series[int]") -> None:
    """Store other folds, as if they had been made so; -1 leaves a row out."""
    edit_table(folder, fold=folds)
    table = table_of(folder)
    made_so = fold_hash(table["id"], table["fold"])
    path = folder / "data_prep.prepare" / "record.json"
    record = json.loads(path.read_text())
    record["facts"]["fold_hash"] = made_so
    path.write_text(json.dumps(record))
    path = folder / "features.extract" / "features.pkl"
    store, fold_of = open_store(path), table.set_index("id")["fold"].to_dict()
    kept = [
        (id_, role, fold_of[id_])
        for id_, role in zip(store.ids, store.roles.tolist(), strict=True)
        if role == "test" or fold_of[id_] >= 0
    ]
    ids, roles, numbers = map(list, zip(*kept, strict=True))
    about = {"fold_hash": made_so, "roles": roles, "folds": numbers}
    write_store(path, ids, store.matrix(ids), store.header | about)


def photos_of(folder: Path, house: str) -> "pd.Index[int]":
    table = table_of(folder)
    return table.index[(table["object"] == house) & (table["split"] == "train")]


def test_an_object_is_scored_by_the_pictures_that_are_validated(
    houses: Fitted, tmp_path: Path
) -> None:
    folder = shutil.copytree(houses.folder, tmp_path / "run")
    folds = table_of(folder)["fold"].copy()
    folds[photos_of(folder, "h000")] = -1
    folds[photos_of(folder, "h001")[:1]] = -1
    refold(folder, folds)
    data = assembled(folder)
    assert data.info.objects is not None
    assert (data.info.ids[0], data.info.objects.n_pictures[0]) == ("h001", 39)


def test_a_torn_object_is_refused(houses: Fitted, tmp_path: Path) -> None:
    folder = shutil.copytree(houses.folder, tmp_path / "run")
    table, first = table_of(folder), photos_of(folder, "h001")[0]
    other = table["target"].copy()
    other[first] += 1
    edit_table(folder, target=other)
    with pytest.raises(UserError, match=r"1 object has several labels, such as 'h001'"):
        assembled(folder)
    folds, cv_groups = table["fold"].copy(), table["cv_group"].copy()
    folds[first], cv_groups[first] = (folds[first] + 1) % 3, 5000
    edit_table(folder, target=table["target"], cv_group=cv_groups)
    refold(folder, folds)
    with pytest.raises(UserError, match=r"1 object has pictures in several folds, suc"):
        assembled(folder)


# Stacked.


def test_the_stack_beats_the_mean_of_the_photos_predictions(houses: Fitted) -> None:
    scores = houses.chosen["scores"]
    assert houses.chosen["rows"] == 150
    data = assembled(houses.folder)
    photos = table_of(houses.folder)
    photos = photos[photos["split"] == "train"]
    store = open_store(houses.folder / "features.extract" / "features.pkl")
    means = store.frame(list(photos["id"]))["target__mean"].to_numpy()
    of_photos = photos.assign(y=means).groupby("object")["y"].mean()
    assert data.target_range is not None
    of_photos = of_photos.clip(*data.target_range)
    plain = np.sqrt(np.mean((of_photos.to_numpy() - data.rows.y) ** 2))
    assert_allclose(scores["plain"]["nested"], plain, rtol=1e-5)
    *_, final = scores.values()
    assert final["nested"] < 0.95 * plain
    assert final["gain"]["low"] > 0


def test_all_files_speak_of_objects(houses: Fitted) -> None:
    oof = pd.read_csv(houses.stage / "oof.csv")
    assert oof["house"].tolist() == [f"h{k:03d}" for k in range(150)]
    predictions = pd.read_csv(houses.stage / "predictions.csv")
    sample = pd.read_csv(houses.folder / "data_prep.prepare" / "sample.csv")
    assert list(predictions.columns) == ["house", "price"]
    assert predictions["house"].tolist() == sample["house"].tolist()
    constant = predictions.set_index("house")["price"]["gone"]
    assert_allclose(constant, oof["target"].mean(), rtol=1e-6)
    assert houses.chosen["constant_for"] == ["gone"]
    report = (houses.stage / "report.html").read_text()
    n = (table_of(houses.folder)["split"] == "train").sum()
    for text in (
        f"150 objects of {n:,} pictures, 3 folds",
        "Object by object",
        "mean of all pictures, nothing stacked",
        "another object. The nets should agree",
        "By how many pictures an object has",
        "60 objects, each through all 3 nets",
        "plain net, mean of the views of all pictures",
        "A row is an object, of [data] object or a file of pages",
    ):
        assert text in report
    assert re.search(r"\n1 of [2-9]+ pictures", report)


def test_an_object_has_the_names_of_all_its_pictures(tmp_path: Path) -> None:
    folder = Houses(n_train=30, n_test=6).write(tmp_path / "run")
    table = table_of(folder)
    rooms = np.array(["bath", "hall", "loft", ""], dtype=object)
    edit_table(folder, **{"given.room": rooms[np.arange(len(table)) % 4]})
    opened = Prepared.open(Run(folder).finished("data_prep.prepare"))
    houses = [f"h{k:03d}" for k in range(30)]
    (rooms_of,) = [s for s in named_rows(opened, houses) if s.title == "room"]
    train = opened.table[opened.table["split"] == "train"]
    by_house = train.groupby("object")["given.room"].agg(set)
    assert {name for name, _ in rooms_of.masks} >= {"bath", "hall", "loft"}
    for name, mask in rooms_of.masks:
        if name != WITHOUT:
            has = [name in by_house[house] for house in houses]
        else:
            has = [by_house[house] == {""} for house in houses]
        assert mask.tolist() == has


def test_views_of_one_picture_are_not_stacked(houses: Fitted) -> None:
    with pytest.raises(UserError, match=r"'cnn1d' reads the views of one picture, and"):
        fit.main(["--run", str(houses.folder), "--stackers", "cnn1d"])


def test_label_issues_are_of_objects(houses: Fitted, tmp_path: Path) -> None:
    folder = shutil.copytree(houses.folder, tmp_path / "run")
    stage = noise.main(["--run", str(folder)])
    issues = pd.read_csv(stage / "label_issues.csv")
    assert set(issues["house"]) == {f"h{k:03d}" for k in range(150)}


# Predicted later.


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let the nets say of new photos what they said of those of the test houses."""

    def ask(run: Path, _: Sequence[Path], out: Path, *__: Any, **___: Any) -> Path:
        table = table_of(run)
        ids = table["id"][table["split"] == "test"].tolist()[::-1]
        for file in (run / "features.extract").glob("nets/*.pkl"):
            store = open_store(file)
            about = {"roles": ["test"] * len(ids), "folds": [-1] * len(ids)}
            write_store(
                out / "nets" / file.name, ids, store.matrix(ids), store.header | about
            )
        write_pixels(run, ids, out)
        (out / "left_out.csv").write_text("id,file,reason\n")
        return out

    monkeypatch.setattr("features.inference.infer_features", ask)
    folder = tmp_path / "new"
    folder.mkdir()
    return folder


def test_new_objects_are_predicted_as_the_same_test_objects_were(
    houses: Fitted, asked: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(houses.folder, tmp_path / "run")
    table = table_of(folder)
    test = table[table["split"] == "test"]
    for id_ in test["id"]:
        (asked / f"{id_}.png").touch()
    command = ["--run", str(folder), "--images", str(asked)]
    with pytest.raises(UserError, match=r"no table says which pictures show which; gi"):
        predict.main(command)
    rows = tmp_path / "rows.csv"
    test[["id"]].to_csv(rows, index=False)
    with pytest.raises(UserError, match=r"rows.csv: no column 'house' of objects"):
        predict.main([*command, "--table", str(rows)])
    named = test[["id"]].assign(house=test["object"])
    named[1:].to_csv(rows, index=False)
    with pytest.raises(UserError, match=r"has no row for 1 id"):
        predict.main([*command, "--table", str(rows)])
    named.to_csv(rows, index=False)
    found = pd.read_csv(predict.main([*command, "--table", str(rows)]))
    found = found.set_index("house")
    expected = pd.read_csv(houses.stage / "predictions.csv").set_index("house")["price"]
    assert len(found) == 60
    assert_allclose(found["prediction"], expected[found.index], rtol=1e-6)
    # the first draw is the price of every house
    prices = np.random.default_rng(Houses.seed).normal(size=210)[150:]
    truth = np.clip(MIDDLE + SPREAD * prices, *assembled(folder).target_range or ())
    is_covered = (found["low"] <= truth) & (truth <= found["high"])
    assert is_covered.mean() > 0.8
    oof = pd.read_csv(houses.stage / "oof.csv")
    radius = conformal_radius(oof["prediction"] - oof["target"], oof["house"], 0.9)
    inside = found["high"] < found["high"].max()
    reach = (found["high"] - found["prediction"])[inside]
    assert_allclose(reach, radius, rtol=1e-5)


def test_pages_of_new_files_are_pooled_as_photos_of_a_house_are(
    houses: Fitted, asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(houses.folder, tmp_path / "run")
    table = table_of(folder)
    test = table[table["split"] == "test"]
    numbers = test.groupby("object").cumcount() + 1
    sizes = test.groupby("object")["id"].transform("size")
    pages = (test["object"] + "@" + numbers.astype(str)).where(
        sizes > 1, test["object"]
    )
    for house, n in test.groupby("object").size().items():
        page = Image.new("L", (9, 9))
        more = {"save_all": True, "append_images": [page] * (n - 1)} if n > 1 else {}
        page.save(asked / f"{house}.tif", **more)
    record = json.loads((folder / PREPARED / "record.json").read_text())
    record["settings"]["page"] = "all"
    record["facts"]["object_column"] = None
    (folder / PREPARED / "record.json").write_text(json.dumps(record))
    infer_features = inference.infer_features

    def ask(*args: Any, **options: Any) -> Path:
        out = infer_features(*args, **options)
        page_of = dict(zip(test["id"], pages, strict=True))
        for file in [*out.glob("nets/*.pkl"), out / PIXEL_STORE]:
            store = open_store(file)
            about = {"roles": ["test"] * len(store), "folds": [-1] * len(store)}
            ids = [page_of[id_] for id_ in store.ids]
            write_store(file, ids, store.matrix(), store.header | about)
        return out

    monkeypatch.setattr("features.inference.infer_features", ask)
    command = ["--run", str(folder), "--images", str(asked)]
    predictions = pd.read_csv(predict.main(command)).set_index("id")
    expected = pd.read_csv(houses.stage / "predictions.csv").set_index("house")["price"]
    assert len(predictions) == 60
    assert_allclose(predictions["prediction"], expected[predictions.index], rtol=1e-6)


def test_outlook_counts_objects(houses: Fitted) -> None:
    run = Run(houses.folder)
    prepared = run.finished("data_prep.prepare")
    experiment = Experiment(data=DataSettings(target="price"))
    outlook = Outlook.of_prepared(prepared, run, experiment)
    assert outlook.n_predictable(outlook.scored()) == 150
