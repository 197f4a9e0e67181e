"""Nets and stores are the same whatever the unit of the target."""

import json
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from data_prep.run_folders.runs import Run
from features.rows import array_rows, joined_rows, mean_rows, pooled_rows
from features.store import Store, load_safely, open_store, verify
from tests.prepared_runs import extract, finetune, make_run, table_of
from transfer.networks.task_net import load_net

UNITS = {"plain": (1.0, 0.0), "tiny": (1e-9, 0.0), "far": (40.0, 1.6e9)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Runs that differ by the unit of the target alone, extracted."""
    found = {}
    for name, unit in UNITS.items():
        run = make_run(tmp_path_factory.mktemp(name), dates=False, words=0, unit=unit)
        finetune(run, "--joint", "--epochs=2", "--learning-rate=0.02")
        extract(run, "--insample")
        found[name] = run
    return found


def store_of(run: Run, name: str = "features.pkl") -> Store:
    return open_store(run.folder / "features.extract" / name)


@pytest.mark.parametrize("unit", ["tiny", "far"])
@pytest.mark.parametrize(
    "file", ["features.pkl", "nets/fold0.pkl", "insample/fold1.pkl"]
)
def test_outputs_are_the_same_in_every_unit(
    runs: dict[str, Run], unit: str, file: str
) -> None:
    plain, other = store_of(runs["plain"], file), store_of(runs[unit], file)
    (a, b), ids = UNITS[unit], plain.ids
    for column, values in plain.frame().items():
        name, statistic = str(column).split("__")
        theirs = other.frame(ids)[column].to_numpy(dtype=np.float64)
        if name == "target":
            theirs = theirs / a**2 if statistic == "var" else (theirs - b) / a
        spread = max(float(values.std()), 1e-6)
        assert_allclose(theirs, values, atol=1e-4 * spread, err_msg=str(column))


def test_only_a_far_target_has_another_store(runs: dict[str, Run]) -> None:
    for name, run in runs.items():
        about = json.loads(
            (run.folder / "transfer.finetune/joint/fold0/weights.json").read_text()
        )
        target, onehot = about["tasks"]
        dtype = np.float64 if name == "far" else np.float32
        for path in sorted((run.folder / "features.extract").rglob("*.pkl")):
            assert open_store(path).values.dtype == dtype
            verify(path)
        assert "origin" not in onehot
        assert target.get("origin") == (1.6e9 + 40 if name == "far" else None)


def test_a_notebook_reads_the_unit_of_the_label(runs: dict[str, Run]) -> None:
    path = runs["far"].folder / "features.extract" / "features.pkl"
    with path.open("rb") as file:
        features = pickle.load(file)
    safely = load_safely(path)
    labels = table_of(runs["far"]).set_index("id")["target"].dropna()
    means = np.array([features[id_][0] for id_ in labels.index])
    assert all(np.array_equal(safely[id_], features[id_]) for id_ in labels.index)
    assert np.abs(means - labels.mean()).max() < 200
    assert len(set(means)) == len(means)


def test_scores_are_in_the_unit_of_the_label(runs: dict[str, Run]) -> None:
    scores = {}
    for name, run in runs.items():
        record = json.loads((run.folder / "transfer.finetune/record.json").read_text())
        nets = record["facts"]["nets"]
        scores[name] = [net["held_out_scores"]["target_rmse"] for net in nets]
    assert_allclose(np.array(scores["tiny"]) / 1e-9, scores["plain"], rtol=1e-6)
    assert_allclose(np.array(scores["far"]) / 40, scores["plain"], rtol=1e-6)


def test_a_net_counts_from_where_its_json_says(runs: dict[str, Run]) -> None:
    file = "transfer.finetune/joint/fold0/weights.safetensors"
    net, _ = load_net(runs["far"].folder / file)
    assert net.origins == {"target": [1.6e9 + 40], "onehot": [0.0] * 4}
    head = net.head("target")
    assert abs(head.centre.item()) < 80
    assert head.scale.item() == pytest.approx(40 * np.sqrt(1.25), rel=0.1)
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    assert abs(net.predict(images)["target"].item()) < 200


def test_rows_keep_the_digits_of_their_parts() -> None:
    views = 1.6e9 + np.array([[[0.0], [0.5]], [[1.0], [1.25]]])
    assert array_rows(views).dtype == np.float64
    pooled = pooled_rows(array_rows(views), ["mean", "var"])
    found = joined_rows([pooled, pooled])
    assert found.dtype == np.float64
    expected = [[1.6e9 + 0.25, 0.0625], [1.6e9 + 1.125, 0.015625]]
    assert_allclose(found[:2], expected, rtol=1e-15)
    assert mean_rows([found, found]).dtype == np.float64
    narrow = pooled_rows(array_rows((views - 1.6e9).astype(np.float16)), ["mean"])
    assert narrow.dtype == np.float32
