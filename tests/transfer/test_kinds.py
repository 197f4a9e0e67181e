"""Tests of all kinds of sub-tasks at once: trained, extracted and stacked."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from data_prep.errors import UserError
from data_prep.run_folders.runs import Run
from data_prep.task_types.base import TaskType
from data_prep.task_types.classes import Classes
from data_prep.task_types.date import Date
from data_prep.task_types.ordinal import Ordinal
from data_prep.task_types.regression import Regression
from data_prep.tasks import build_tasks
from features.store import Store, open_store
from stacking import fit
from stacking.ensemble.predictor import Predictor
from tests.prepared_runs import STAGE, elsewhere, extract, finetune, make_run, table_of
from transfer.networks.task_net import describe, task_type_of

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

EVERY_KIND = """
[tasks.level]
kind = "ordinal"
[tasks.target]
kind = "regression"
loss = "histogram"
bins = 20
companion = true
[tasks.huber]
kind = "regression"
loss = "huber"
[tasks.place]
kind = "date"
loss = "bce"
weight = 0.5
[tasks.kind]
kind = "classes"
column = "kind"
label_smoothing = 0.1
class_weights = ["balanced", "kind1=2"]
[tasks.words]
kind = "words"
loss = "cosine"
[tasks.tags]
kind = "tags"
min_count = 5
"""


def make(folder: Path, unit: tuple[float, float] = (1.0, 0.0)) -> Run:
    """Make a run whose experiment has a task of every kind."""
    run = make_run(folder, n_train=48, experiment=EVERY_KIND, unit=unit)
    ids = table_of(run)["id"]
    names = [(id_, "oak") for id_ in ids[::2]] + [(id_, "elm") for id_ in ids[::3]]
    frame = pd.DataFrame(names, columns=["id", "name"])
    frame.to_parquet(run.folder / STAGE / "attributes.parquet", index=False)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with nets of every kind, extracted."""
    run = make(tmp_path_factory.mktemp("kinds") / "run")
    finetune(run, "--joint")
    extract(run)
    return run


def store_of(run: Run) -> Store:
    return open_store(run.folder / "features.extract" / "features.pkl")


def test_each_output_has_its_activation_in_the_store(run: Run) -> None:
    described = {
        (column["task"], column["output"]): column["activation"]
        for column in store_of(run).header["columns"]
    }
    expected = {
        **{("level", ""): "identity", ("target", ""): "identity"},
        **{("level", str(k)): "softmax" for k in range(4)},
        **{("target", f"q{k}"): "softmax" for k in range(1, 6)},
        **{("huber", ""): "identity", ("place", ""): "identity"},
        **{("kind", str(k)): "softmax" for k in range(3)},
        **{("words", str(k)): "identity" for k in range(3)},
        **{("tags", str(k)): "sigmoid" for k in range(2)},
    }
    assert described == expected


def test_outputs_mean_what_they_are_called(run: Run) -> None:
    frame = store_of(run).frame().filter(like="__mean")
    proba = frame[[f"level_{k}__mean" for k in range(4)]].to_numpy()
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(frame["level__mean"], proba @ np.arange(4), atol=1e-4)
    fifths = frame.filter(like="target_q").to_numpy()
    np.testing.assert_allclose(fifths.sum(axis=1), 1, atol=1e-5)
    assert frame["target__mean"].between(-1, 4).all()
    assert frame["place__mean"].between(1800, 1900).all()
    tags = frame.filter(like="tags_").to_numpy()
    assert ((tags > 0) & (tags < 1)).all()


def test_each_kind_has_its_score(run: Run) -> None:
    record = json.loads((run.folder / "transfer.finetune/record.json").read_text())
    scores = record["facts"]["nets"][0]["held_out_scores"]
    assert set(scores) == {
        *("level_rmse", "target_rmse", "huber_rmse", "place_rmse", "words_rmse"),
        *("kind_accuracy", "tags_auc"),
    }
    assert all(np.isfinite(value) for value in scores.values())


def test_the_stacking_reads_grades_as_a_number_and_as_classes(run: Run) -> None:
    with elsewhere(run):
        folder = fit.main(
            [
                *("--run", str(run.folder), "--stackers", "ridge"),
                *("--postprocess", "round,blend_expected"),
            ]
        )
    target_columns = Predictor.load(folder).target_columns
    assert target_columns.regression_task == target_columns.proba_task == "level"
    X = store_of(run).matrix()
    frame = store_of(run).frame()
    names = [f"{column.name}" for column in target_columns.columns]
    X = frame[names].to_numpy()
    fixed = target_columns.fixed(X)
    np.testing.assert_allclose(fixed["plain"], frame["level__mean"].clip(0, 3))
    np.testing.assert_allclose(fixed["plain"], fixed["expected"], atol=1e-4)


def test_the_unit_of_the_labels_changes_no_weight(tmp_path: Path) -> None:
    other = make(tmp_path / "other", unit=(1000.0, 7.0))
    flags = ["--joint", "--folds=0", "--tasks=level,target,huber"]
    place = "joint/fold0/weights.safetensors"
    nets = [
        load_file(finetune(one, *flags, "--overwrite") / place)
        for one in (make(tmp_path / "same"), other)
    ]
    for name, tensor in nets[0].items():
        if name.rpartition(".")[2] in ("weight", "bias", "edges"):
            assert torch.equal(tensor, nets[1][name]), name
    assert nets[1]["heads.of_level.grades"].tolist() == [7, 1007, 2007, 3007]


@pytest.mark.parametrize(
    "task_type",
    [
        Regression(column="size", loss="histogram", bins=20, companion=True),
        Classes(column="rare", min_count=2, class_weights=("balanced", "often0=2")),
        Ordinal(column="kind", grades=("kind2", "kind0", "kind1"), weight=2.0),
        Date(column="year"),
    ],
)
def test_what_stands_beside_a_net_says_what_its_head_was(
    run: Run, task_type: TaskType
) -> None:
    prepared = run.finished(STAGE)
    (task,) = build_tasks(
        {"x": task_type}, table_of(run), prepared.folder, prepared.metadata
    )
    described = json.loads(json.dumps(describe(task)))
    again, n_outputs = task_type_of(described), len(task.outputs)
    assert again.options() == task_type.options()
    widths = {kind.head_loss().width(n_outputs) for kind in (again, task_type)}
    assert len(widths) == 1
    assert task_type.recorded().items() >= described.get("options", {}).items()
    with pytest.raises(UserError, match="task 'x': kind = 'dat': did you mean 'date'"):
        task_type_of(described | {"kind": "dat"})
    with pytest.raises(UserError, match="task 'x': unknown key 'more'"):
        task_type_of(described | {"options": {"more": 1}})
