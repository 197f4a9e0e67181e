"""Tests of pretext.evaluation.monitor, and of what it looks at and by."""

import json
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from data_prep.errors import UserError
from data_prep.experiment import Experiment
from data_prep.prepared import Prepared
from data_prep.run_folders.runs import Run
from pretext import jigsaw, simsiam
from pretext.data.augment import AugmentParams
from pretext.data.pictures import Normalisation
from pretext.data.training_data import load_training_data
from pretext.engine import callbacks, training
from pretext.engine.history import History, read_metrics
from pretext.engine.module import Module
from pretext.evaluation import collapse, monitor, monitor_subset
from pretext.evaluation.curves import draw_curves
from pretext.evaluation.evaluate import INNER, Measurement, as_trained
from pretext.evaluation.monitor import Monitor
from pretext.evaluation.monitor_subset import MonitorSubset, draw_subset
from pretext.evaluation.probing import Split
from pretext.methods.siamese import SimSiamLearner
from pretext.networks.backbones import build_backbone, load_weights
from tests.prepared_runs import STAGE, table_of
from tests.pretext.collapsing import blots

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

TINY = (
    *("--backbone", "test_resnet", "--batch-size", "8", "--precision", "fp32"),
    *("--threads", "1", "--width", "16", "--epochs", "3", "--health-every", "1"),
)
MakeRun = Callable[..., Run]
Metrics = Mapping[str, float]
FINE = {"health/spread": 1.0, "health/rank": 10.0}


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(training, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.chdir(tmp_path)


def pretrain(run: Run, *flags: str) -> Path:
    return simsiam.main(["--run", str(run.folder), *TINY, *flags])


def history_of(folder: Path) -> dict[int, dict[str, float]]:
    return History(folder / "logs" / "health.csv").by_epoch


def weights_of(folder: Path) -> bytes:
    return (folder / "backbone.safetensors").read_bytes()


def about_of(folder: Path) -> dict[str, Any]:
    about: dict[str, Any] = json.loads((folder / "backbone.json").read_text())
    return about


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Let the monitor measure what a test says, after each epoch from 0."""

    def script(metrics: list[Metrics]) -> list[int]:
        calls: list[int] = []

        def evaluate(*_: Any, **__: Any) -> Measurement:
            calls.append(len(calls))
            return Measurement(metrics=metrics[min(len(calls), len(metrics)) - 1])

        monkeypatch.setattr(monitor, "evaluate", evaluate)
        return calls

    return script


# The training is left alone.


def test_the_weights_are_the_same_to_the_bit_with_and_without(
    prepared_run: MakeRun,
) -> None:
    plain = pretrain(prepared_run(n=40), "--health-every", "0")
    assert not (plain / "logs" / "health.csv").exists()
    looked = pretrain(prepared_run(n=40), "--stop", "both")
    assert weights_of(looked) == weights_of(plain)
    assert list(history_of(looked)) == [0, 1, 2, 3]


def test_norms_use_what_they_are_given_and_stay_as_they_were() -> None:
    torch.manual_seed(0)
    pictures = blots(100)
    normalise = Normalisation((120.0, 100.0, 90.0), (60.0, 50.0, 40.0))
    backbone = build_backbone("test_resnet", 32)
    learner = SimSiamLearner(
        backbone, normalise, side_px=32, params=AugmentParams(), width=16
    ).eval()
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    data: Any = SimpleNamespace(pictures=pictures, normalise=normalise)
    rows = np.arange(100)
    features, outputs = as_trained(learner, data, rows, 32, bf16=False)
    assert all(torch.equal(before[k], v) for k, v in learner.state_dict().items())
    norms = [m for m in learner.modules() if isinstance(m, nn.BatchNorm1d)]
    assert all(not m.training and m.track_running_stats for m in norms)
    assert outputs.shape == (100, 16)
    assert_allclose(outputs.mean(axis=0), 0, atol=1e-5)  # it ends with a norm
    assert_allclose(outputs.std(axis=0), 1, atol=1e-3)
    learner.train()
    with torch.no_grad():
        expected = backbone(normalise(pictures.take(rows)))
    assert_allclose(features, expected.numpy(), rtol=1e-4, atol=1e-5)


# When it measures, and what it leaves.


@pytest.mark.parametrize(
    ("every", "epochs", "expected"),
    [
        (1, 4, [0, 1, 2, 3, 4]),
        (3, 7, [0, 1, 2, 3, 6, 7]),
        (100, 4, [0, 1, 2, 4]),
        (0, 4, []),
    ],
)
def test_looks_come_early_then_regularly_and_at_the_end(
    every: int, epochs: int, expected: list[int], prepared_run: MakeRun,
    scripted: Callable[..., list[int]],
) -> None:  # fmt: skip
    calls = scripted([FINE])
    flags = ("--health-every", str(every), "--epochs", str(epochs))
    folder = pretrain(prepared_run(n=16), *flags)
    assert len(calls) == len(expected)
    assert list(history_of(folder)) == expected
    assert (folder / "logs" / "health.png").exists() is bool(every)


def test_the_last_look_comes_after_a_number_of_steps_too(
    prepared_run: MakeRun, scripted: Callable[..., list[int]]
) -> None:
    scripted([FINE])
    folder = pretrain(prepared_run(n=16), "--steps", "7", "--health-every", "50")
    assert list(history_of(folder)) == [0, 1, 2, 4]  # 2 steps are an epoch


def test_what_is_seen_is_logged_kept_and_drawn(
    prepared_run: MakeRun,
    drawn: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(monitor, "draw_curves", drawn)
    run = prepared_run(n=60)
    folder = pretrain(run)
    names = {"health/spread", "health/rank", "health/feature_rank"}
    tasks = ("target", "onehot", "date", "words")
    names |= {f"probe/{task}{end}" for task in tasks for end in ("", "_knn")}
    history = history_of(folder)
    assert set(history[3]) == names
    logged = read_metrics(folder / "logs" / "metrics.csv")
    for name in names:
        assert list(logged[name]) == [7, 14, 21]
        assert_allclose(logged[name][21], history[3][name])
        assert_allclose(run.finished(simsiam.STAGE).metadata[name], history[3][name], atol=1e-4)  # fmt: skip  # noqa: E501
    assert 0.9 < history[0]["health/spread"] <= 1
    assert 1 < history[0]["health/rank"] <= 16
    assert (folder / "logs" / "health.png").read_bytes()[:4] == b"\x89PNG"
    # the target brightens half of the picture: untrained nets see it, too
    assert history[0]["probe/target"] > 0.5
    assert about_of(folder)["label_free"] is True
    assert set(run.finished(simsiam.STAGE).record["files"]) == {
        "backbone.json",
        "backbone.safetensors",
    }


def test_a_task_that_compares_features_has_one_rank(prepared_run: MakeRun) -> None:
    flags = ["--backbone=test_resnet", "--batch-size=8", "--epochs=1", "--threads=1"]
    folder = jigsaw.main([f"--run={prepared_run(n=40).folder}", *flags])
    history = history_of(folder)
    assert "health/feature_rank" not in history[1]
    assert history[1]["health/rank"] > 1
    assert (folder / "logs" / "health.png").exists()  # drawn after the last epoch


def test_the_probes_at_the_end_and_the_start_are_told(
    prepared_run: MakeRun, caplog: pytest.LogCaptureFixture,
    scripted: Callable[..., list[int]],
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO)
    scripted([FINE | {"probe/target": 0.1 + 0.1 * k} for k in range(4)])
    pretrain(prepared_run())
    assert "with the first weights: target 0.400 (0.100)" in caplog.text


def test_after_a_crash_history_and_weights_are_whole(
    prepared_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--epochs", "3", "--keep", "best-probe")
    straight = pretrain(prepared_run(n=24), *flags)
    run, crash_at = prepared_run(n=24), 7  # in the last epoch
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
    batch_of = Module.batch_of

    def crash(module: Any, step: int, *part: int) -> Any:
        if step == crash_at:
            raise OSError("a plug was pulled")
        return batch_of(module, step, *part)

    with monkeypatch.context() as patch:
        patch.setattr(Module, "batch_of", crash)
        with pytest.raises(OSError, match="a plug was pulled"):
            pretrain(run, *flags)
    resumed = pretrain(run, *flags)
    assert history_of(resumed) == history_of(straight)
    assert weights_of(resumed) == weights_of(straight)
    assert about_of(resumed) == about_of(straight)


# Collapse.


def long_enough(run: Run, *flags: str) -> Path:
    """Two epochs of 15 steps, at a rate that shows what it comes to."""
    fast = ("--epochs", "2", "--warmup", "0", "--schedule", "constant")
    return pretrain(run, "--batch-size", "16", "--width", "64", *fast, *flags)


MANY = {"n": 240, "n_train": 240, "n_test": 0, "n_unlabelled": 0}


def test_simsiam_without_stop_gradient_is_announced_within_two_epochs(
    prepared_run: MakeRun,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(SimSiamLearner, "target", lambda _, projected: projected)
    run = prepared_run(**MANY)
    flags = ("--learning-rate", "1", "--stop", "collapse", "--epochs", "6")
    folder = long_enough(run, *flags)
    announced = [r.message for r in caplog.records if "COLLAPSED after" in r.message]
    assert len(announced) == 1
    assert announced[0].startswith("pretext.simsiam has COLLAPSED after epoch ")
    assert "try a smaller --learning-rate" in announced[0]
    facts = run.finished(simsiam.STAGE).metadata
    assert facts["stopped"] == announced[0]
    assert facts["steps"] <= 2 * 15
    assert list(history_of(folder))[-1] <= 2
    assert about_of(folder)["label_free"] is True


@pytest.mark.drill
@pytest.mark.parametrize("rate", ["0.05", "1"])
def test_a_healthy_simsiam_is_not(
    rate: str, prepared_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    folder = long_enough(
        prepared_run(**MANY), "--learning-rate", rate, "--stop", "both"
    )
    assert "COLLAPSED after" not in caplog.text
    assert list(history_of(folder)) == [0, 1, 2]


def test_a_collapse_is_announced_once_and_stops_only_if_asked(
    prepared_run: MakeRun, scripted: Callable[..., list[int]],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkey = {"health/spread": 0.1, "health/rank": 1.0}
    for stop, n_measured in (("plateau", 4), ("both", 2)):
        caplog.clear()
        scripted([FINE, monkey])
        folder = pretrain(prepared_run(n=24), "--stop", stop)
        assert len(history_of(folder)) == n_measured
        assert caplog.text.count("COLLAPSED after epoch 1: all pictures look") == 1


def test_a_few_pictures_get_no_verdict(
    prepared_run: MakeRun, scripted: Callable[..., list[int]],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    scripted([FINE, {"health/spread": 0.0, "health/rank": 1.0}])
    pretrain(prepared_run(n=collapse.FEWEST - 1))
    assert "COLLAPSED after" not in caplog.text


# Plateau.


MANY_LOOKS = ("--epochs", "12", "--batch-size", "24")  # one step between two


def flat(n: int, name: str = "probe/target") -> list[Metrics]:
    return [FINE | {name: 0.2}, *[FINE | {name: 0.5}] * n]


def test_a_plateau_of_the_probe_is_announced_and_the_weights_say_so(
    prepared_run: MakeRun, scripted: Callable[..., list[int]],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    scripted(flat(20))
    folder = pretrain(prepared_run(n=24), *MANY_LOOKS)
    expected = "gains nothing more: probe/target was 0.500 after epoch 1 and no higher"
    assert caplog.text.count(expected) == 1
    assert "up to epoch 6; fewer --epochs or --stop plateau" in caplog.text
    assert len(history_of(folder)) == 13
    assert about_of(folder)["label_free"] is True
    run = prepared_run(n=24)
    folder = pretrain(run, *MANY_LOOKS, "--stop", "plateau")
    assert list(history_of(folder))[-1] == 6
    assert run.finished(simsiam.STAGE).metadata["stopped"].endswith("up to epoch 6")
    about = about_of(folder)
    assert (about["label_free"], about["selected_with_labels"]) == (False, True)
    assert about["selected_epoch"] == 6


def test_a_plateau_of_what_was_held_out_owes_nothing_to_labels(
    prepared_run: MakeRun, scripted: Callable[..., list[int]],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    scripted([FINE | {"probe/target": 0.1 * k} for k in range(20)])
    monkeypatch.setattr(
        SimSiamLearner, "after_epoch", lambda _, epoch: {"held_out": 0.5 - epoch / 100}
    )
    folder = pretrain(prepared_run(n=24), *MANY_LOOKS, "--stop", "plateau")
    # a look comes before its own epoch's figure is in the file
    assert list(history_of(folder))[-1] == 7
    assert "held_out was 0.490 after epoch 1 and no higher" in caplog.text
    assert about_of(folder)["label_free"] is True


def test_progress_is_no_plateau(
    prepared_run: MakeRun, scripted: Callable[..., list[int]],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    scripted([FINE | {"probe/target": 0.01 * k} for k in range(20)])
    pretrain(prepared_run(n=24), *MANY_LOOKS, "--stop", "both")
    assert "gains nothing more" not in caplog.text


# The best weights by the probe.


def test_the_weights_that_the_probe_likes_best_are_kept(
    prepared_run: MakeRun, scripted: Callable[..., list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    at_epoch: dict[int, dict[str, torch.Tensor]] = {}
    call = Monitor.__call__

    def noted(self: Monitor, epoch: int) -> Metrics:
        backbone = self.learner.get_submodule("backbone")
        tensors = backbone.state_dict().items()
        at_epoch[epoch] = {name: tensor.clone() for name, tensor in tensors}
        return call(self, epoch)

    monkeypatch.setattr(Monitor, "__call__", noted)
    scores = [0.9, 0.1, 0.6, 0.5, 0.6, math.nan]  # that of the first weights is none
    scripted([FINE | {INNER: score} for score in scores])
    run = prepared_run(n=24)
    folder = pretrain(run, "--keep", "best-probe", "--epochs", "5")
    kept, about = load_weights(folder / "backbone.safetensors")
    assert about["selected_epoch"] == 2  # of two alike the first
    assert (about["label_free"], about["selected_with_labels"]) == (False, True)
    assert all(torch.equal(kept[name], t) for name, t in at_epoch[2].items())
    assert not torch.equal(kept["conv1.0.weight"], at_epoch[5]["conv1.0.weight"])
    assert run.finished(simsiam.STAGE).metadata["selected_epoch"] == 2
    assert not (folder / "checkpoints").exists()


def test_the_last_weights_are_kept_where_no_probe_gave_a_score(
    prepared_run: MakeRun, scripted: Callable[..., list[int]],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    scripted([FINE | {INNER: math.nan}])
    folder = pretrain(prepared_run(n=24), "--keep", "best-probe")
    assert "no probe gave a score; the last are kept" in caplog.text
    about = about_of(folder)
    assert (about["label_free"], about["selected_with_labels"]) == (True, False)
    assert "selected_epoch" not in about
    assert not (folder / "checkpoints").exists()
    assert weights_of(folder) == weights_of(pretrain(prepared_run(n=24)))


def test_choosing_needs_labels_before_anything_is_trained(
    prepared_run: MakeRun,
) -> None:
    run = prepared_run(n_folds=0, target=None, dates=False, words=0)
    with pytest.raises(UserError, match="keep = 'best-probe' chooses by labels, and"):
        pretrain(run, "--keep", "best-probe")
    assert not run.has(simsiam.STAGE)


# The pictures that are measured by.


def subset_of(run: Run, *, seed: int = 0, inductive: bool = False) -> MonitorSubset:
    prepared = Prepared.open(run.finished(STAGE))
    data = load_training_data(
        prepared,
        torch.device("cpu"),
        held_out_frac=0.0,
        inductive=inductive,
        seed=seed,
    )
    experiment = Experiment(data=None)  # type: ignore[arg-type]
    return draw_subset(data, experiment, seed, must_choose=True)


def test_a_subset_follows_from_ids_and_seed(
    prepared_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor_subset, "N_COMPARED", 10)
    monkeypatch.setattr(monitor_subset, "N_LABELLED", 15)
    run = prepared_run(n=60)
    subsets = [subset_of(run, seed=seed) for seed in (0, 0, 1)]
    for name, n in (("compared_idx", 10), ("labelled_idx", 15)):
        rows = [getattr(subset, name).tolist() for subset in subsets]
        assert rows[0] == rows[1] != rows[2]
        assert len(rows[0]) == n
        assert (np.diff(rows[0]) > 0).all()
    first = subsets[0]
    assert len(first.cv_groups) == 15
    table = table_of(run)
    labelled_idx = first.labelled_idx
    assert (table["split"].iloc[labelled_idx] == "train").all()
    assert (table["cv_group"].iloc[labelled_idx] == first.cv_groups).all()
    for task in first.tasks:
        assert len(task.values) == 15
    target = table["target"].iloc[labelled_idx].to_numpy()
    (deciding,) = first.deciding_tasks
    assert deciding.name == "target"
    assert (deciding.values[:, 0] == target).all()


def is_torn(splits: list[Split], cv_groups: Any) -> bool:
    return any(np.isin(cv_groups[h], cv_groups[learned]).any() for h, learned in splits)


@pytest.mark.parametrize("seed", range(3))
def test_no_split_tears_a_cv_group(seed: int, prepared_run: MakeRun) -> None:
    run = prepared_run(n=60, n_excluded=12)
    subset = subset_of(run, seed=seed)
    assert len(np.unique(subset.cv_groups)) < len(subset.cv_groups)
    assert len(subset.splits) == 3
    assert not is_torn(subset.splits, subset.cv_groups)
    assert len(subset.inner_splits) == 4
    assert not is_torn(subset.inner_splits, subset.cv_groups)
    inner = np.array([val_mask for val_mask, _ in subset.inner_splits])
    assert (inner.sum(axis=0) == 1).all()
    # other folds than the stored ones, which are to stay honest
    stored = np.array([val_mask for val_mask, _ in subset.splits])
    assert not any((i == s).all() for i in inner for s in stored)


def test_the_test_pictures_may_be_left_out(prepared_run: MakeRun) -> None:
    run = prepared_run(n=40)
    visible_mask = (table_of(run)["split"] != "test").to_numpy()
    subset = subset_of(run, inductive=True)
    assert visible_mask[subset.compared_idx].all()
    assert visible_mask[subset.labelled_idx].all()
    assert len(subset.compared_idx) == visible_mask.sum()


def test_what_decides_is_the_target_or_its_classes_or_all(
    prepared_run: MakeRun,
) -> None:
    names = [[t.name for t in subset_of(prepared_run(**options)).deciding_tasks]
             for options in ({}, {"target": "classes"}, {"target": None})]  # fmt: skip
    assert names == [["target"], ["onehot"], ["date", "words"]]


@pytest.mark.parametrize(
    "options",
    [
        {"n_folds": 0, "target": None, "dates": False, "words": 0},
        {"n_folds": 0},
        {"n_train": 0, "n_test": 0, "n_unlabelled": 24, "n_folds": 0, "words": 0,
         "target": None, "dates": False},
    ],
)  # fmt: skip
def test_without_labels_or_folds_there_are_no_probes(
    options: dict[str, Any], prepared_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    folder = pretrain(prepared_run(**options), "--stop", "both")
    for metrics in history_of(folder).values():
        assert set(metrics) == {"health/spread", "health/rank", "health/feature_rank"}
    assert "without labels" not in caplog.text
    assert (folder / "logs" / "health.png").exists()


def test_a_mistake_in_the_tasks_ends_no_pretraining(
    prepared_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = '[tasks.size]\nkind = "regression"\ncolumn = "sice"\n'
    run = prepared_run(experiment=wrong)
    folder = pretrain(run)
    assert "measured without labels: [tasks.size]: there is no column" in caplog.text
    assert set(history_of(folder)[1]) >= {"health/rank"}
    with pytest.raises(UserError, match="there is no column 'sice'"):
        pretrain(prepared_run(experiment=wrong), "--keep", "best-probe")


@pytest.mark.parametrize("n", [2, 5])
def test_a_handful_of_pictures_is_looked_at(n: int, prepared_run: MakeRun) -> None:
    run = prepared_run(n_train=n, n_test=0, n_unlabelled=0, n_folds=2)
    folder = pretrain(run, "--batch-size", "2", "--stop", "both")
    assert list(history_of(folder)) == [0, 1, 2, 3]


def test_pictures_that_are_all_alike_end_in_no_traceback(
    prepared_run: MakeRun,
) -> None:
    run = prepared_run(n=24)
    pixels = np.full((24, 32, 32, 3), 77, dtype=np.uint8)
    pixels[::2, 0, 0] = 78  # were they all the same, they would be refused
    np.save(run.folder / STAGE / "images.npy", pixels)
    assert set(history_of(pretrain(run))) >= {0, 1}


# The picture of the curves.


def test_curves_are_drawn_whatever_there_is(tmp_path: Path) -> None:
    metrics = {"loss": {s: 1 / s for s in range(1, 3000)}, "held_out": {50: 0.1}}
    by_epoch: dict[int, Metrics] = {
        k: FINE | {"probe/a": 0.1 * k, "probe/a_knn": math.nan, "probe/b": -0.2}
        for k in range(60)
    }
    path = tmp_path / "logs" / "x.png"
    for given, logged in (
        ({}, {}),
        ({}, metrics),
        ({0: FINE}, {}),
    ):
        draw_curves(given, logged, steps_per_epoch=50, path=path, title="pretext.x")
    for given in ({0: by_epoch[0]}, by_epoch):
        draw_curves(given, metrics, steps_per_epoch=50, path=path, title="pretext.x")
        assert path.stat().st_size > 20_000
        assert [file.name for file in path.parent.iterdir()] == ["x.png"]
