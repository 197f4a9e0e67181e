"""Tests of pretext.probe and pretext.evaluation.comparison."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge

from data_prep.errors import UserError
from data_prep.executors import run as executors
from data_prep.run_folders.runs import Run, UnfinishedStageError
from data_prep.run_folders.stale import StaleStageError
from data_prep.task_types.classes import Classes
from data_prep.task_types.regression import Regression
from data_prep.tasks import Task
from pretext import device
from pretext import probe as command
from pretext.evaluation import embed, probing
from pretext.evaluation.comparison import ProbedBackbone, as_table, as_text, sentence
from pretext.evaluation.probing import probe
from pretext.networks.backbones import build_backbone, load_backbone, save_weights
from tests.executors.far import Parcels
from tests.prepared_runs import (
    BACKBONE,
    PRETEXT,
    STAGE,
    make_pretext,
    pixels_of,
    table_of,
)

MakeRun = Callable[..., Run]
TASKS = ("target", "onehot", "date", "words")


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(device, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.chdir(tmp_path)


def probe_run(run: Run, *flags: str) -> pd.DataFrame:
    exact = ["--precision", "fp32", "--threads", "1"]
    folder = command.main(["--run", str(run.folder), *exact, *flags])
    assert folder == run.folder / "pretext.probe"
    return pd.read_csv(folder / "probe.csv")


def other_weights(path: Path, name: str = BACKBONE, seed: int = 3) -> Path:
    torch.manual_seed(seed)
    tensors = build_backbone(name, 32).state_dict()
    save_weights(path, tensors, {"backbone": name, "side_px": 32})
    return path


def test_a_stage_stands_beside_random_weights(
    prepared_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = prepared_run(n=60)
    make_pretext(run)
    found = probe_run(run)
    assert list(dict.fromkeys(found["backbone"])) == ["random weights", PRETEXT]
    assert list(dict.fromkeys(found["task"])) == list(TASKS)
    for task, rows in found.groupby("task"):
        expected = ["knn", "ridge", *(["logistic"] if task == "onehot" else [])]
        assert list(rows["probe"]) == 2 * expected
        measure = {"accuracy"} if task == "onehot" else {"R2"}
        assert set(rows["measure"]) == measure
    own, random = (found[found["backbone"] == n] for n in (PRETEXT, "random weights"))
    assert_allclose(
        own["gain"], own["score"].to_numpy() - random["score"].to_numpy(), atol=1e-12
    )
    assert random["gain"].isna().all()
    assert (own["gain_low"] <= own["gain"]).all()
    assert (own["gain"] <= own["gain_high"]).all()
    assert (found["low"] <= found["score"]).all()
    assert (found["score"] <= found["high"]).all()
    assert found[["fold0", "fold1", "fold2"]].notna().all(axis=None)
    record = run.finished("pretext.probe").record
    assert record["facts"] == {"backbones": [PRETEXT], "tasks": list(TASKS)}
    assert list(record["reads"]) == [STAGE, PRETEXT]
    text = (run.folder / "pretext.probe" / "probe.txt").read_text()
    assert text in caplog.text
    for task in TASKS:
        assert text.count(f"-> {PRETEXT} ") == len(TASKS)
        assert f"\n{task}: " in text


def test_the_scores_are_those_of_the_features_by_another_route(
    prepared_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "STRENGTHS", (0.1,))
    run = prepared_run(n=60)
    weights = make_pretext(run)
    found = probe_run(run, "--tasks", "target").set_index(["backbone", "probe"])
    facts, table = run.finished(STAGE).metadata, table_of(run)
    network, _ = load_backbone(weights, BACKBONE, 32)
    pixels = torch.from_numpy(pixels_of(run)).permute(0, 3, 1, 2).float()
    mean, std = (torch.tensor(facts[k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    with torch.no_grad():
        features = network.eval()((pixels - mean) / std).numpy().astype(np.float64)
    target, fold = table["target"].to_numpy(), table["fold"].to_numpy()
    said = np.full(len(table), np.nan)
    for k in range(3):
        taught, asked = np.flatnonzero((fold >= 0) & (fold != k)), fold == k
        centre, scale = features[taught].mean(axis=0), features[taught].std(axis=0)
        x = np.where(scale > 1e-6, (features - centre) / np.maximum(scale, 1e-6), 0)
        model = Ridge(alpha=0.1 * len(taught)).fit(x[taught], target[taught])
        said[asked] = model.predict(x[asked])
    has = fold >= 0
    errors = said[has] - target[has]
    r2 = 1 - (errors**2).sum() / ((target[has] - target[has].mean()) ** 2).sum()
    assert_allclose(found.loc[(PRETEXT, "ridge"), "score"], r2, rtol=1e-3)
    rmse = np.sqrt((errors**2).mean())
    assert_allclose(found.loc[(PRETEXT, "ridge"), "rmse"], rmse, rtol=1e-3)


def test_each_backbone_is_embedded_once(
    prepared_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepared_run(n=40, n_excluded=4)
    make_pretext(run)
    counts = []
    original = embed.embed

    def noted(*given: Any, **named: Any) -> Any:
        counts.append(len(given[2]))
        return original(*given, **named)

    monkeypatch.setattr(embed, "embed", noted)
    files = [str(other_weights(tmp_path / f"{k}.safetensors", seed=k)) for k in "12"]  # type: ignore[arg-type]
    found = probe_run(run, "--weights", ",".join([PRETEXT, *files]))
    n_labelled = int((table_of(run)["split"] == "train").sum())
    assert counts == [n_labelled] * 4
    names = ["random weights", PRETEXT, "1.safetensors", "2.safetensors"]
    assert list(dict.fromkeys(found["backbone"])) == names


def test_each_architecture_has_random_weights_of_its_own(
    prepared_run: MakeRun, tmp_path: Path
) -> None:
    run = prepared_run(n=40)
    make_pretext(run)
    vit = str(other_weights(tmp_path / "vit.safetensors", "test_vit"))
    found = probe_run(run, "--weights", f"{PRETEXT},{vit}", "--tasks", "target,date")
    assert list(dict.fromkeys(found["backbone"])) == [
        "random weights of test_resnet",
        PRETEXT,
        "random weights of test_vit",
        vit,
    ]
    assert list(dict.fromkeys(found["task"])) == ["target", "date"]


def test_backbones_side_by_side_are_those_of_one_after_another(
    prepared_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepared_run(n=40)
    make_pretext(run)
    vit = str(other_weights(tmp_path / "vit.safetensors", "test_vit"))
    flags = ["--weights", f"{PRETEXT},{vit}"]
    whole = probe_run(run, *flags)
    parcels = Parcels(tmp_path / "node", [PRETEXT])
    monkeypatch.setattr(executors, "run_side_by_side", parcels)
    message = rf"1 of 4 backbones failed \({PRETEXT}: too bright\); see .*backbone1.log"
    with pytest.raises(UserError, match=message):
        probe_run(run, *flags, "--jobs", "2", "--overwrite")
    assert parcels.begun[::-1] == list(dict.fromkeys(whole["backbone"]))
    assert {told.n_steps for told in parcels.reported} == {32}
    monkeypatch.delattr(executors, "run_side_by_side")  # one is missing: no need of it
    kept = sorted(run.folder.rglob("*.npz"))
    assert len(kept) == 3
    damaged = kept[0].parents[2] / "backbone1" / kept[0].relative_to(kept[0].parents[1])
    damaged.parent.mkdir(parents=True, exist_ok=True)
    damaged.write_bytes(kept[0].read_bytes()[:-100])  # and this is as good as missing
    counts = []
    original = embed.embed

    def noted(*given: Any, **named: Any) -> Any:
        counts.append(len(given[2]))
        return original(*given, **named)

    monkeypatch.setattr(embed, "embed", noted)
    pd.testing.assert_frame_equal(
        probe_run(run, *flags, "--jobs", "2", "--overwrite"), whole
    )
    assert counts == [32]
    assert not list(run.folder.rglob("*.npz"))


def test_random_weights_gain_nothing_on_themselves(
    prepared_run: MakeRun, tmp_path: Path
) -> None:
    run = prepared_run(n=40)
    same = str(other_weights(tmp_path / "same.safetensors", seed=5))
    found = probe_run(run, "--weights", same, "--seed", "5")
    own = found[found["backbone"] == same]
    assert (own[["gain", "gain_low", "gain_high"]] == 0).all(axis=None)
    text = (run.folder / "pretext.probe" / "probe.txt").read_text()
    assert text.count(f"-> {same} neither helps nor hurts") == len(TASKS)


def test_what_is_done_is_shown_again(
    prepared_run: MakeRun, caplog: pytest.LogCaptureFixture, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO)
    run = prepared_run(n=40)
    make_pretext(run)
    first = probe_run(run)
    text = (run.folder / "pretext.probe" / "probe.txt").read_text()
    caplog.clear()
    with monkeypatch.context() as patch:
        patch.setattr(embed, "embed", None)
        again = probe_run(run)
    pd.testing.assert_frame_equal(first, again)
    assert text in caplog.text
    # other weights under the same name are probed anew
    file = other_weights(tmp_path / "w.safetensors", seed=1)
    scores = []
    for seed in (1, 2):
        other_weights(file, seed=seed)
        scores.append(probe_run(run, "--weights", str(file))["score"].tolist())
    assert scores[0] != scores[1]


def test_mistakes_are_named_before_the_work(
    prepared_run: MakeRun, tmp_path: Path
) -> None:
    run = prepared_run()
    with pytest.raises(UserError, match=r"no finished pretext stage to probe; first:"):
        probe_run(run)
    with pytest.raises(UnfinishedStageError, match=r"first: python -m pretext.simsiam"):
        probe_run(run, "--weights", "pretext.simsiam")
    make_pretext(run)
    for flags, message in (
        (["--weights", "pretext.jigsav"], r"weights = 'pretext.jigsav' is no .*jigsaw"),
        (["--weights", "no.safetensors"], "weights = 'no.safetensors': there is no"),
        (["--tasks", "dat"], "tasks = 'dat': no such task; did you mean 'date'?"),
        (["--threads", "-1"], "threads = -1: give 0 or more"),
    ):
        with pytest.raises(UserError, match=message):
            probe_run(run, *flags)
    net = tmp_path / "net.safetensors"
    save_weights(net, {"w": torch.zeros(1)}, {"format": "net", "tasks": []})
    with pytest.raises(UserError, match="not the weights of a backbone alone but 'net"):
        probe_run(run, "--weights", str(net))
    assert not run.has("pretext.probe")


def test_without_folds_or_labels_there_is_nothing_to_probe(
    prepared_run: MakeRun,
) -> None:
    for options in ({}, {"target": None, "dates": False, "words": 0}):
        run = prepared_run(n_folds=0, **options)
        make_pretext(run)
        with pytest.raises(UserError, match="the run has no folds to probe by; give"):
            probe_run(run)
    run = prepared_run(target=None, dates=False, words=0)
    make_pretext(run)
    with pytest.raises(UserError, match="the tables give nothing to learn"):
        probe_run(run)


def test_a_stage_of_other_pictures_is_refused(prepared_run: MakeRun) -> None:
    run = prepared_run()
    make_pretext(run)
    with run.stage(STAGE, {"made": "anew"}) as stage:
        old = run.folder / STAGE
        for name in ("table.parquet", "images.npy"):
            (stage.folder / name).write_bytes((old / name).read_bytes())
        stage.metadata = run.finished(STAGE).metadata
    with pytest.raises(StaleStageError, match="was made from another data_prep"):
        probe_run(run)


# The comparison, on numbers of which one knows what is to come out.


def probed(name: str, noise: float, seed: int = 0, n: int = 120) -> ProbedBackbone:
    rng = np.random.default_rng(0)
    y_true = rng.normal(size=n)
    rng = np.random.default_rng(seed + 1)
    features = y_true[:, None] + noise * rng.normal(size=(n, 1))
    fold, cv_groups = np.arange(n) // 2 % 3, np.arange(n) // 2
    splits = [(fold == k, fold != k) for k in range(3)]
    task = Task(
        name="weight",
        task_type=Regression(),
        values=y_true[:, None].astype(np.float32),
        has_label=np.ones(n, dtype=bool),
    )
    kinds = np.digitize(y_true, [0.0])[:, None].astype(np.float32)
    classes = replace(task, name="kind", task_type=Classes(), values=kinds,
                      outputs=("0", "1"))  # fmt: skip
    results = {
        (t.name, probe_name): probe(probe_name, features, t, splits, cv_groups)
        for t in (task, classes)
        for probe_name in ("knn", "ridge")
    }
    return ProbedBackbone(
        name=name, results=results, splits=splits, cv_groups=cv_groups
    )


@pytest.mark.parametrize(
    ("own", "random", "verdict"),
    [(0.3, 2.0, "HELPS"), (2.0, 0.3, "HURTS"), (1.0, 1.0, "neither helps nor hurts")],
)
def test_the_verdict_by_what_is_known(own: float, random: float, verdict: str) -> None:
    untrained = probed("random weights", random, seed=7)
    trained = replace(probed("pretext.x", own, seed=8), random=untrained)
    for task in ("weight", "kind"):
        text = sentence(trained, task)
        assert text.startswith(f"-> pretext.x {verdict} {task}: ")
        gain = trained.gain(task, "ridge")
        assert gain.low <= gain.value <= gain.high
    text = as_text([untrained, trained])
    assert text.count("-> pretext.x") == 2
    assert max(map(len, text.splitlines())) < 110
    table = as_table([untrained, trained])
    assert len(table) == 8
    assert (table["rows"] == 120).all()


def test_rows_of_one_cv_group_have_no_interval() -> None:
    random = probed("random weights", 1.0)
    alike = replace(random, cv_groups=np.zeros(120, dtype=np.int64))
    trained = replace(alike, name="x", random=alike)
    assert np.isnan(trained.gain("weight", "ridge").low)
    assert np.isnan(trained.interval("weight", "ridge").low)
    assert "neither helps nor hurts" in sentence(trained, "weight")
    assert len(as_table([alike, trained])) == 8
