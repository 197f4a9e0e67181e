"""Tests of stacking.inputs.sources: several extractions, and what a store must be."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from data_prep.errors import UserError
from data_prep.run_folders.runs import Run
from features.store import open_store, write_store
from stacking.fit import main
from stacking.inputs.assemble import assemble
from stacking.inputs.data import StackingData
from stacking.inputs.leak_guards import (
    check_finite,
    check_proba,
    check_targets,
    check_varying,
)
from stacking.inputs.sources import side_by_side
from tests.prepared_runs import whole_header

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

MakeRun = Callable[..., Path]
QUICK = ["--seeds", "1", "--max-rounds", "40", "--align", "rank"]


def another(make_run: MakeRun, folder: Path, name: str, **fields: Any) -> Path:
    """Make up a second run of the same pictures, with nets of its own."""
    first = folder.with_name("first")
    shutil.move(folder, first)
    other = folder.with_name(name)
    shutil.move(make_run(**fields), other)
    shutil.move(first, folder)
    for place in ("data_prep.prepare",):
        shutil.rmtree(other / place)
        shutil.copytree(folder / place, other / place)
    record = other / "features.extract" / "record.json"
    found = json.loads(record.read_text())
    prepared = json.loads((folder / "data_prep.prepare/record.json").read_text())
    found["reads"]["data_prep.prepare"] = prepared["digest"]
    record.write_text(json.dumps(found))
    return other


def rows_of(folder: Path, *others: Path, columns: Any = ()) -> StackingData:
    run = Run(folder)
    return assemble(
        run.finished("data_prep.prepare"),
        run.finished("features.extract"),
        also={one.name: Run(one).finished("features.extract") for one in others},
        columns=columns,
    )


def test_columns_of_other_runs_stand_beside_and_bear_their_name(
    make_run: MakeRun,
) -> None:
    folder = make_run()
    other = another(make_run, folder, "bigger-net", tasks=("target", "onehot"))
    alone, both, second = rows_of(folder), rows_of(folder, other), rows_of(other)
    assert both.info.ids == alone.info.ids
    n = len(alone.columns)
    assert both.columns[:n] == alone.columns
    assert both.columns[n].name == "bigger_net_target__mean"
    assert both.columns[n].task == "bigger_net_target"
    assert_allclose(both.rows.X, np.concatenate([alone.rows.X, second.rows.X], axis=1))
    for k in range(3):
        beside = np.concatenate([alone.common.nets[k], second.common.nets[k]], axis=1)
        assert_allclose(both.common.nets[k], beside)


def test_a_net_without_labels_joins_nets_with_them(make_run: MakeRun) -> None:
    folder = make_run()
    other = another(make_run, folder, "pretext", tasks=("words",), is_label_free=True)
    both = rows_of(folder, other)
    assert len(both.common.nets) == 3
    assert not both.info.is_label_free
    n = len(rows_of(folder).columns)
    assert np.array_equal(both.common.nets[0][:, n:], both.common.nets[2][:, n:])
    assert (both.common.nets[0][:, :n] != both.common.nets[2][:, :n]).any()


def test_a_second_net_makes_the_stack_better(make_run: MakeRun) -> None:
    folder = make_run()
    other = another(make_run, folder, "other", net_seed=1)
    flags = ["--run", str(folder), *QUICK, "--stackers", "lightgbm"]
    alone = json.loads((main(flags) / "stacking.json").read_text())
    stage = main([*flags, "--also", str(other)])
    both = json.loads((stage / "stacking.json").read_text())
    scores = [one["scores"]["lightgbm"]["nested"] for one in (alone, both)]
    assert scores[1] < scores[0]
    settings = json.loads((stage / "record.json").read_text())["settings"]
    assert [*settings["also"]] == ["other"]


def test_runs_of_other_folds_are_refused(make_run: MakeRun) -> None:
    folder = make_run()
    other = another(make_run, folder, "other", seed=1)
    with pytest.raises(UserError, match="made with other folds than data_prep"):
        rows_of(folder, other)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{run}", "is the run itself; leave it out"),
        ("{other},{other}", "two runs are called 'other'"),
        ("{empty}", "is not finished"),
    ],
)
def test_runs_that_cannot_join_are_named(
    make_run: MakeRun, tmp_path: Path, text: str, message: str
) -> None:
    folder = make_run()
    other = another(make_run, folder, "other")
    (tmp_path / "empty").mkdir()
    places = {"run": folder, "other": other, "empty": tmp_path / "empty"}
    with pytest.raises(UserError, match=message):
        main(["--run", str(folder), "--also", text.format(**places)])


def test_columns_of_the_user_pass_through(make_run: MakeRun) -> None:
    folder = make_run()
    place = folder / "data_prep.prepare" / "table.parquet"
    table = pd.read_parquet(place)
    table["given.height cm"] = np.where(np.arange(len(table)) % 7, table.index, np.nan)
    table.to_parquet(place)
    alone, found = rows_of(folder), rows_of(folder, columns=("height cm",))
    names = [column.name for column in found.columns[len(alone.columns) :]]
    assert names == ["height_cm", "height_cm_missing"]
    by_id = table.set_index("id")["given.height cm"]
    for ids, values in (
        (found.info.ids, found.rows.X),
        (found.common.ids, found.common.nets[1]),
    ):
        given = by_id[list(ids)].notna().to_numpy()
        assert_allclose(values[given, -2], by_id[list(ids)][given])
        assert np.array_equal(values[:, -1], (~given).astype(float))


def test_joined_columns_stay_net_by_net() -> None:
    a = [np.full((2, 1), k) for k in range(3)]
    one = [np.full((2, 2), 9.0)]
    found = side_by_side([a, one])
    assert [values.tolist()[0] for values in found] == [[k, 9, 9] for k in range(3)]
    assert side_by_side([[], []]) == ()


def test_a_value_that_is_no_number_is_named(tmp_path: Path) -> None:
    values = np.zeros((3, 2), np.float32)
    columns = [{"name": name} for name in ("a", "b")]
    header = {"columns": columns, "roles": ["test"] * 3, "folds": [-1] * 3}
    path = tmp_path / "f.pkl"
    write_store(path, ["x", "y", "z"], values, header)
    check_finite(open_store(path))
    values[1, 1] = np.nan  # no store is written so; its bytes must have been changed
    with path.open("r+b") as file:
        file.seek(open_store(path).header["offset"])
        file.write(values.tobytes())
    with pytest.raises(UserError, match=r"f.pkl: b of 'y' is nan; a value that is no"):
        check_finite(open_store(path))


def test_features_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"all 2 feature columns \(a, ...\) are the sam"
    ):
        check_varying(np.ones((5, 2)), ["a", "b"])
    check_varying(np.array([[1.0, 2.0], [1.0, 3.0]]), ["a", "b"])


def test_an_infinite_target_is_refused() -> None:
    table = pd.DataFrame({"id": ["a", "b"], "target": [1.0, np.inf]})
    with pytest.raises(
        UserError, match=r"t.parquet: the target of 1 id \('b'\) is inf"
    ):
        check_targets(table, Path("t.parquet"))


def test_training_weights_are_read_where_there_are_any(make_run: MakeRun) -> None:
    folder = make_run()
    assert (rows_of(folder).rows.sample_weight == 1).all()
    place = folder / "data_prep.prepare" / "table.parquet"
    table = pd.read_parquet(place)
    table["weight"] = 1.0
    table.to_parquet(place)
    assert (rows_of(folder).rows.sample_weight == 1).all()
    chosen = rows_of(folder).info.ids[3]
    table.loc[table["id"] == chosen, "weight"] = 0.5
    table.to_parquet(place)
    data = rows_of(folder)
    assert data.rows.sample_weight.sum() == len(data.info.ids) - 0.5
    assert data.rows.sample_weight[3] == 0.5


def test_outputs_that_are_no_probabilities_are_refused(make_run: MakeRun) -> None:
    shares = np.array([[0.5, 0.5], [0.7, 0.3049]])
    check_proba(shares, "onehot", ["a", "b"])
    with pytest.raises(UserError, match="'onehot' are no probabilities in 1 of 2 ro"):
        check_proba(np.array([[0.5, 0.5], [0.7, 0.5]]), "onehot", ["a", "b"])
    with pytest.raises(UserError, match=r"those of 'b' add up to 0\.98"):
        check_proba(np.array([[1.1, -0.1], [0.0, 0.98]]), "onehot", ["a", "b"])
    folder = make_run()
    stage = folder / "features.extract"
    for path in [stage / "features.pkl", *stage.glob("nets/*.pkl")]:
        store = open_store(path)
        values = store.matrix()
        is_class = [name.startswith("onehot") for name in store.columns]
        values[:, is_class] *= 3
        ids, header = list(store.ids), whole_header(store)
        write_store(path, ids, values, header)
    with pytest.raises(UserError, match=r"add up to 3\S*; a task of kind 'classes'"):
        main(["--run", str(folder), *QUICK])


def test_rows_without_a_target_are_told_of(make_run: MakeRun) -> None:
    folder = make_run()
    place = folder / "data_prep.prepare" / "table.parquet"
    table = pd.read_parquet(place)
    first = table.index[table["fold"] >= 0][:2]
    table.loc[first, "target"] = np.nan
    table.to_parquet(place)
    assert rows_of(folder).info.messages == (
        "2 labelled rows have no target: they are neither learned from nor scored.",
    )
