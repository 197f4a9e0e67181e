"""Tests of stacking.predict, with nets that have been asked already."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from data_prep.errors import UserError
from data_prep.runs import digest_of
from features.store import open_store, write_store
from stacking import fit, predict
from stacking.conformal import conformal_radius

MakeRun = Callable[..., Path]
QUICK = ["--seeds", "1", "--max-rounds", "40", "--align", "rank"]
LEFT_OUT = "id,file,reason\ntorn,torn.jpg,cut short\n"


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the nets say of new pictures what they said of the test pictures."""

    def ask(run: Path, images: Sequence[Path], out: Path, threads: int) -> Path:
        assert images
        assert threads == 0
        shutil.rmtree(out, ignore_errors=True)
        extracted = run / "features.extract"
        files = [*extracted.glob("nets/*.pkl")] or [extracted / "features.pkl"]
        table = pd.read_parquet(run / "data_prep.prepare" / "table.parquet")
        test = table["id"][table["part"] == "test"].tolist()
        for file in files:
            store = open_store(file)
            ids = test[::-1]
            kept = {"roles": ["test"] * len(ids), "folds": [-1] * len(ids)}
            place = out / file.relative_to(extracted)
            write_store(place, ids, store.matrix(ids), dict(store.header) | kept)
        (out / "left_out.csv").write_text(LEFT_OUT)
        return out

    monkeypatch.setattr("features.asking.ask_nets", ask)


def predicted(folder: Path, *flags: str) -> pd.DataFrame:
    path = predict.main(["--run", str(folder), "--images", "new", *flags])
    return pd.read_csv(path).set_index("id")


def stacked(folder: Path, *flags: str) -> pd.DataFrame:
    stage = fit.main(["--run", str(folder), *QUICK, *flags])
    return pd.read_csv(stage / "predictions.csv").set_index("name")


def test_new_pictures_are_predicted_as_the_same_test_pictures_were(
    make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_run()
    expected = stacked(folder)["period"]
    shutil.rmtree(folder / "features.extract" / "views", ignore_errors=True)
    (folder / "data_prep.prepare" / "images.npy").unlink()  # no picture is needed
    found = predicted(folder)
    assert set(found.index) == set(expected.index)
    assert_allclose(found["prediction"], expected[found.index], atol=2e-6)
    place = folder / "stacking.predict" / "new.csv"
    assert place.exists()
    assert place.with_name("new.left_out.csv").read_text() == LEFT_OUT
    assert "1 id ('torn') have no prediction" in caplog.text


def test_what_stands_beside_a_prediction(make_run: MakeRun) -> None:
    folder = make_run()
    stacked(folder)
    found = predicted(folder, "--coverage", "0.8")
    shares = found[[f"probability_{k}" for k in range(4)]]
    assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    oof = pd.read_csv(folder / "stacking.fit" / "oof.csv").set_index("id")
    table = pd.read_parquet(folder / "data_prep.prepare" / "table.parquet")
    clusters = table.set_index("id")["cluster"].loc[oof.index]
    radius = conformal_radius(oof["prediction"] - oof["target"], clusters, 0.8)
    middle = found["prediction"]
    assert_allclose(found["low"], (middle - radius).clip(0, 3), atol=1e-5)
    assert_allclose(found["high"], (middle + radius).clip(0, 3), atol=1e-5)
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
    sizes = found["expected"].str.count(r"\|") + 1
    assert 1 < sizes.mean() < 4
    names = ["antique", "medieval", "modern", "young"]
    top = found[[f"probability_{n}" for n in names]].idxmax(axis=1)
    assert (top == "probability_" + found["prediction"]).all()


def test_one_net_without_labels_predicts_too(make_run: MakeRun) -> None:
    folder = make_run(tasks=("words",), is_label_free=True)
    expected = stacked(folder)["period"]
    found = predicted(folder)
    assert_allclose(found["prediction"], expected[found.index], atol=2e-6)
    assert (found["spread_nets"] == 0).all()
    assert "spread_views" not in found


def test_own_columns_come_from_a_table(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run()
    place = folder / "data_prep.prepare" / "table.parquet"
    table = pd.read_parquet(place)
    table["given.size"] = np.random.default_rng(0).normal(size=len(table))
    table.to_parquet(place)
    expected = stacked(folder, "--columns", "size")["period"]
    with pytest.raises(UserError, match="learned from size too; give --table FILE"):
        predicted(folder)
    own = table[["id", "given.size"]].set_axis(["name", "size"], axis=1)
    own.to_csv(tmp_path / "own.csv", index=False)
    found = predicted(folder, "--table", str(tmp_path / "own.csv"))
    assert_allclose(found["prediction"], expected[found.index], atol=1e-5)
    is_test = table["part"] == "test"
    own[~is_test].to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(UserError, match="--table has no row for 80 ids"):
        predicted(folder, "--table", str(tmp_path / "own.csv"))


def test_nets_of_other_runs_are_asked_too(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run()
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    expected = stacked(folder, "--also", str(other))["period"]
    found = predicted(folder)
    assert_allclose(found["prediction"], expected[found.index], atol=2e-6)
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
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> Path:
        raise AssertionError

    folder = make_run()
    monkeypatch.setattr("features.asking.ask_nets", never)
    with pytest.raises(UserError, match=r"stacking\.fit is not finished"):
        predicted(folder)
    stacked(folder)
    with pytest.raises(UserError, match=r"coverage = 1\.5: give a share between 0 and"):
        predicted(folder, "--coverage", "1.5")
    with pytest.raises(UserError, match="the stack was not given any column of yours"):
        predicted(folder, "--table", "own.csv")
    (folder / "stacking.fit" / "ridge_fold1.npz").unlink()
    with pytest.raises(UserError, match=r"ridge_fold1\.npz is missing; put it"):
        predicted(folder)
