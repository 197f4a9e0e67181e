"""Tests of transfer.finetune, and of one net trained."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.models import save_for_hf
from torch import Tensor
from torch.testing import assert_close

from data_prep.errors import UserError
from data_prep.experiment import read_experiment
from data_prep.run_folders.runs import Run, UnfinishedStageError
from data_prep.settings import fields_of, from_table
from data_prep.standing import standings_of
from data_prep.tasks import Task, build_tasks
from pretext.data.augment import AugmentParams
from pretext.data.keyed_rng import keys_of
from pretext.data.pictures import Normalisation, Pictures
from pretext.data.training_data import fill_frac_of as fills
from pretext.engine import callbacks
from pretext.engine.epochs import read_epochs
from pretext.engine.learner import Batch
from pretext.networks.backbones import build_backbone, save_weights
from tests.drilled import in_drills
from tests.power_cut import PowerCutError, fail_at
from tests.prepared_runs import (
    STAGE,
    finetune,
    make_pretext,
    make_run,
    pixels_of,
    table_of,
)
from transfer.kept_folds import _as_setting
from transfer.networks.task_net import TaskNet, describe, load_net
from transfer.settings import FinetuneSettings
from transfer.training import epoch_choice, finetune_data, many_nets, train_net
from transfer.training import learner as learner_module
from transfer.training.learner import FinetuneLearner, score_rows

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

TASKS = ("target", "onehot", "date", "words")
RESUMED = ("--joint", "--epochs=3")


def weights(folder: Path, place: str) -> dict[str, Tensor]:
    return load_file(folder / place / "weights.safetensors")


def are_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Tell whether weights are the same to the bit."""
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def tasks_of(run: Run) -> list[Task]:
    prepared = run.finished(STAGE)
    return build_tasks({}, table_of(run), prepared.folder, prepared.metadata)


@pytest.mark.parametrize("flags", [["--joint"], ["--tasks=onehot"]])
def test_a_net_never_sees_a_label_of_its_fold(tmp_path: Path, flags: list[str]) -> None:
    names = ("joint",) if flags == ["--joint"] else ("onehot",)
    plain = finetune(make_run(tmp_path / "plain"), *flags)
    for fold in range(3):
        run = make_run(tmp_path / f"other{fold}", relabelled_fold=fold)
        other = finetune(run, *flags)
        for name in names:
            for net in range(3):
                place = f"{name}/fold{net}"
                same = are_equal(weights(plain, place), weights(other, place))
                assert same == (net == fold), f"{place}, labels of fold {fold} changed"


def weigh(run: Run, weights: dict[int, float], **changed: float) -> None:
    """Write a weight for each row, and other labels for the rows named."""
    path = run.folder / STAGE / "table.parquet"
    table = table_of(run).assign(weight=1.0)
    for row, weight in weights.items():
        table.loc[row, "weight"] = weight
        for name, value in changed.items():
            table.loc[row, name] = value
    table.to_parquet(path, index=False)


def test_weights_of_one_are_as_none(tmp_path: Path) -> None:
    flags = ("--joint", "--folds=1", "--ema=0.9")
    plain = finetune(make_run(tmp_path / "plain"), *flags)
    run = make_run(tmp_path / "weighed")
    weigh(run, {})
    same = finetune(run, *flags)
    assert are_equal(weights(plain, "joint/fold1"), weights(same, "joint/fold1"))


def test_the_label_of_a_row_without_weight_is_never_learned(tmp_path: Path) -> None:
    table = table_of(make_run(tmp_path / "made"))
    row = int(np.flatnonzero(table["fold"] == 0)[0])
    other = {"target": 3 - table["target"][row], "class_index": 3.0, "date": 1999.0}

    def trained(weight: float, labels: dict[str, float]) -> list[dict[str, Tensor]]:
        run = make_run(tmp_path / f"{weight} {len(labels)}")
        weigh(run, {row: weight}, **labels)
        folder = finetune(run, "--joint", "--folds=0,1")
        return [weights(folder, f"joint/fold{fold}") for fold in (0, 1)]

    dropped, softened = trained(0.0, {}), trained(0.5, {})
    for one, another in zip(dropped, trained(0.0, other), strict=True):
        assert are_equal(one, another)
    # The net of fold 0 never sees the row, that of fold 1 learns half of its label.
    is_same = [
        are_equal(one, another)
        for one, another in zip(softened, trained(0.5, other), strict=True)
    ]
    assert is_same == [True, False]
    assert are_equal(dropped[0], softened[0])
    assert not are_equal(dropped[1], softened[1])


def test_a_doubted_row_is_scored_with_its_label(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = make_run(tmp_path)
    plain = score_of(finetune(run, "--joint", "--folds=0"))
    assert "[data] sample_weights" not in caplog.text
    held_out = np.flatnonzero(table_of(run)["fold"] == 0)
    weigh(run, dict.fromkeys(held_out[:3].tolist(), 0.0) | {int(held_out[3]): 0.5})
    assert score_of(finetune(run, "--joint", "--folds=0", "--overwrite")) == plain
    message = "[data] sample_weights: 3 rows are not trained on, 1 with less weight"
    assert message in caplog.text


def test_rows_without_a_label_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = make_run(tmp_path)
    rows = np.flatnonzero(table_of(run)["split"] == "train")
    before = {task.name: int(task.has_label.sum()) for task in tasks_of(run)}
    lost = [row for row in rows if not np.isnan(table_of(run)["date"][row])][:3]
    weigh(run, dict.fromkeys(map(int, lost), 1.0), date=float("nan"))
    finetune(run, "--joint", "--folds=0")
    n_masked = len(rows) - before["date"] + 3
    message = f"task date: {n_masked} of {len(rows)} training rows have no label for it"
    assert message in caplog.text
    assert "task target:" not in caplog.text


def score_of(folder: Path) -> dict[str, float]:
    (net,) = json.loads((folder / "record.json").read_text())["facts"]["nets"]
    scores: dict[str, float] = net["held_out_scores"]
    return scores


def test_a_weight_multiplies_the_loss_of_its_row_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = "transfer.training.learner.random_views"
    monkeypatch.setattr(views, lambda images, *_, **__: images)
    run = make_run(tmp_path)
    tasks = tasks_of(run)
    plain, batch = learner_of(run, tasks)
    factors = np.random.default_rng(0).uniform(0, 1, len(batch.rows))
    learner = FinetuneLearner(plain.net, tasks, 32, plain.params, factors).eval()
    kept = {name for name in learner.state_dict() if not name.startswith("net.")}
    assert kept == set()  # tables stay out of the checkpoints
    slopes = []
    for one in (plain, learner):
        loss = one.loss(batch)["target"]
        slopes.append(torch.autograd.grad(loss, batch.images)[0].flatten(1))
    expected = slopes[0] * torch.from_numpy(factors).float()[:, None]
    assert slopes[0].any()
    assert_close(slopes[1], expected, rtol=1e-4, atol=1e-9)


def test_no_picture_of_the_fold_is_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path, n_excluded=3)
    table, seen = table_of(run), []
    take = Pictures.take

    def spy(pictures: Pictures, rows: Any) -> Tensor:
        if torch.is_grad_enabled():
            seen.append(rows)
        return take(pictures, rows)

    monkeypatch.setattr(Pictures, "take", spy)
    finetune(run, "--joint", "--folds=1", "--epochs=3", "--batch-size=4")
    rows = np.unique(np.concatenate(seen))
    held_out = table["fold"] == 1
    assert (table["split"].iloc[rows] == "train").all()
    assert not set(table["cv_group"].iloc[rows]) & set(table["cv_group"][held_out])
    assert (table["fold"].iloc[rows] == -1).any()


def test_views_keep_to_what_each_picture_fills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path)
    table = table_of(run)
    table["width"] = np.arange(10, 10 + len(table))  # and a height of 32
    monkeypatch.setattr(finetune_data, "fill_frac_of", lambda _, fit: fills(table, fit))
    sent: list[tuple[Batch, Any]] = []
    views, make = FinetuneLearner.views, learner_module.random_views

    def spy_batch(learner: FinetuneLearner, batch: Batch) -> Tensor:
        sent.append((batch, None))
        return views(learner, batch)

    def spy_fill(*args: Any, **options: Any) -> Tensor:
        sent[-1] = sent[-1][0], options["fill_frac"]
        return make(*args, **options)

    monkeypatch.setattr(FinetuneLearner, "views", spy_batch)
    monkeypatch.setattr(learner_module, "random_views", spy_fill)
    finetune(run, "--joint", "--folds=1", "--epochs=1", "--batch-size=4")
    expected = fills(table, "pad")
    assert len({tuple(row) for row in expected.tolist()}) > 9
    for batch, fill in sent:
        np.testing.assert_array_equal(fill, expected[batch.rows])


def learner_of(run: Run, tasks: list[Task]) -> tuple[FinetuneLearner, Batch]:
    """Make a learner whose views are the pictures themselves, and all rows' batch."""
    torch.manual_seed(0)
    normalise = Normalisation((100.0, 100.0, 100.0), (50.0, 50.0, 50.0))
    backbone = build_backbone("test_resnet", 32)
    net = TaskNet(backbone, [describe(task) for task in tasks], normalise, 32)
    for task in tasks:
        net.head(task.name).start_at(task, np.flatnonzero(task.has_label))
    images = torch.from_numpy(pixels_of(run)).permute(0, 3, 1, 2).float()
    rows = np.arange(len(images))
    keys = keys_of(table_of(run)["id"].tolist())
    plain = AugmentParams(
        min_area=1.0, ratio=1.0, brightness=0, contrast=0, saturation=0
    )
    learner = FinetuneLearner(net, tasks, 32, plain).eval()
    return learner, Batch(
        images=images.requires_grad_(), rows=rows, keys=keys, seed=0, epoch=0
    )


def test_a_row_without_a_label_is_masked_for_that_task_only(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    tasks = tasks_of(run)
    learner, batch = learner_of(run, tasks)
    measured = learner.loss(batch)
    for task in tasks:
        (slope,) = torch.autograd.grad(
            measured[task.name], batch.images, retain_graph=True
        )
        is_felt = slope.flatten(1).abs().amax(dim=1) > 0
        assert is_felt.tolist() == task.has_label.tolist(), task.name
    (slope,) = torch.autograd.grad(measured["loss"], batch.images)
    any_label = np.logical_or.reduce([task.has_label for task in tasks])
    assert (slope.flatten(1).abs().amax(dim=1) > 0).tolist() == any_label.tolist()


def test_the_loss_is_the_weighted_sum_of_the_means_over_labelled_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = "transfer.training.learner.random_views"
    monkeypatch.setattr(views, lambda images, *_, **__: images)
    run = make_run(tmp_path)
    tasks = [
        replace(task, task_type=replace(task.task_type, weight=weight))
        for task, weight in zip(tasks_of(run), (1.0, 0.5, 2.0, 3.0), strict=True)
    ]
    learner, batch = learner_of(run, tasks)
    measured = learner.loss(batch)
    total = 0.0
    for task in tasks:
        head, losses = learner.net.head(task.name), []
        for row in np.flatnonzero(task.has_label):
            outputs = learner.net(batch.images[row : row + 1])[task.name]
            y_true = head.loss_target(task)[row : row + 1]
            losses.append(head.row_losses(outputs, y_true).item())
        assert_close(measured[task.name].item(), np.mean(losses), rtol=1e-4, atol=0)
        total += task.task_type.weight * float(np.mean(losses))
    assert_close(measured["loss"].item(), total, rtol=1e-4, atol=0)


def test_a_batch_without_any_label_of_a_task_costs_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    date = tasks_of(run)[2]
    blind = Task(**{**vars(date), "has_label": np.zeros_like(date.has_label)})
    learner, batch = learner_of(run, [date])
    learner.date_mask = torch.from_numpy(blind.has_label)
    loss = learner.loss(batch)["loss"]
    (slope,) = torch.autograd.grad(loss, batch.images)
    assert loss.item() == 0
    assert not slope.any()


def test_scores_by_hand(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    tasks = tasks_of(run)
    net = learner_of(run, tasks)[0].net
    rows = np.flatnonzero(table_of(run)["fold"] == 1)
    scores = score_rows(net, tasks, Pictures(pixels_of(run)), rows)
    images = torch.from_numpy(pixels_of(run)).permute(0, 3, 1, 2)
    errors: dict[str, list[float]] = {task.name: [] for task in tasks}
    for task in tasks:
        for row in rows[task.has_label[rows]]:
            with torch.no_grad():
                y_pred = net.predict(images[row : row + 1])[task.name][0].numpy()
            label = task.values[row]
            if task.task_type.name == "classes":
                errors[task.name].append(float(y_pred.argmax() == label[0]))
            else:
                errors[task.name] += ((y_pred - label) ** 2).tolist()
    expected = {
        f"{name}_{'accuracy' if name == 'onehot' else 'rmse'}": np.mean(values)
        if name == "onehot"
        else np.sqrt(np.mean(values))
        for name, values in errors.items()
    }
    assert scores == pytest.approx(expected, rel=1e-4)


def test_something_is_learned(tmp_path: Path) -> None:
    run = make_run(tmp_path, n_train=48)
    flags = ["--joint", "--folds=0", "--tasks=target,onehot", "--epochs=12"]
    folder = finetune(run, *flags, "--learning-rate=0.003", "--dropout=0")
    (net,) = json.loads((folder / "record.json").read_text())["facts"]["nets"]
    assert net["held_out_scores"]["target_rmse"] < 0.7 * np.std([0, 1, 2, 3])
    assert net["held_out_scores"]["onehot_accuracy"] > 0.5


def stop_between_nets(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(many_nets, "train_net", fail_at(2, many_nets.train_net))


def stop_inside_a_net(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(callbacks, "CHECKPOINT_EVERY_S", -1.0)
    patch.setattr(FinetuneLearner, "loss", fail_at(8, FinetuneLearner.loss))


def stop_at_publishing_an_epoch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(callbacks, "CHECKPOINT_EVERY_S", -1.0)
    patch.setattr(epoch_choice, "save_weights", fail_at(2, save_weights))


def stop_at_keeping_the_weights(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(callbacks, "CHECKPOINT_EVERY_S", -1.0)
    patch.setattr(train_net, "save_weights", fail_at(1, save_weights))


def stop_before_a_trained_net_is_scored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(train_net, "score_rows", fail_at(2, score_rows))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give what a training that nothing stopped left."""
    return finetune(make_run(tmp_path_factory.mktemp("whole")), *RESUMED)


@pytest.mark.parametrize(
    ("stop", "steps_left"),
    [  # 3 nets of 3 epochs of 2 steps
        (stop_inside_a_net, 11),
        (stop_before_a_trained_net_is_scored, 6),
        in_drills(stop_between_nets, 12),
        in_drills(stop_at_publishing_an_epoch, 15),
        in_drills(stop_at_keeping_the_weights, 13),
    ],
)
def test_a_resumed_training_ends_with_the_same_weights(
    tmp_path: Path,
    whole: Path,
    stop: Callable[[pytest.MonkeyPatch], None],
    steps_left: int,
) -> None:
    run = make_run(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        stop(patch)
        with pytest.raises(PowerCutError):
            finetune(run, *RESUMED)
    assert not run.has("transfer.finetune")
    with pytest.MonkeyPatch.context() as patch:
        steps = []
        loss = FinetuneLearner.loss

        def counted(learner: FinetuneLearner, batch: Batch) -> dict[str, Tensor]:
            steps.append(batch)
            return loss(learner, batch)

        patch.setattr(FinetuneLearner, "loss", counted)
        resumed = finetune(run, *RESUMED)
    assert len(steps) == steps_left
    for fold in range(3):
        place = f"joint/fold{fold}"
        assert are_equal(weights(whole, place), weights(resumed, place))
        results = [
            json.loads((folder / place / "logs" / "result.json").read_text())[
                "held_out_scores"
            ]
            for folder in (whole, resumed)
        ]
        assert results[0] == results[1]
        assert not (resumed / place / "checkpoints").exists()


@pytest.mark.parametrize("harm", ["cut", "missing", in_drills("emptied")])
def test_files_of_a_net_that_were_cut_are_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    flags = ["--joint", "--folds=0,1", "--tasks=target"]
    run = make_run(tmp_path / "run", words=0)
    whole = finetune(run, *flags)
    record = json.loads((whole / "record.json").read_text())
    partial = whole.with_name(f"{whole.name}.partial")
    whole.rename(partial)
    (partial / "record.json").unlink()
    key = {name: record[name] for name in ("settings", "reads")}
    (partial / "stage.json").write_text(json.dumps(key))
    broken = (
        partial / "joint" / "fold0" / "weights.safetensors",
        partial / "joint" / "fold1" / "logs" / "result.json",
    )
    for file in broken:
        content = file.read_bytes()
        file.unlink()
        if harm != "missing":
            file.write_bytes(content[: len(content) // 2] if harm == "cut" else b"")
    finetune(run, *flags)
    anew = json.loads((whole / "record.json").read_text())
    assert anew["files"] == record["files"]
    assert ("joint/fold0/weights" in caplog.text) == (harm != "missing")


@pytest.mark.parametrize(
    ("keep", "kept"),
    [(0, []), (2, [2, 3]), in_drills(1, [3]), in_drills(9, [1, 2, 3])],
)
def test_each_epoch_is_published_whole_and_few_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: int, kept: list[int]
) -> None:
    counts = []

    def watched(path: Path, *arguments: Any) -> None:
        save_weights(path, *arguments)
        if path.parent.name == "epochs":  # what a watcher would find now
            load_net(path)
            counts.append(len(list(path.parent.glob("*.safetensors"))))

    monkeypatch.setattr(epoch_choice, "save_weights", watched)
    flags = ["--joint", "--folds=2", "--epochs=3", f"--keep-epochs={keep}"]
    folder = finetune(make_run(tmp_path), *flags) / "joint" / "fold2"
    files = sorted((folder / "epochs").glob("*"))
    names = [f"epoch{epoch:04d}" for epoch in kept]
    assert [file.name for file in files] == [
        f"{name}.{ending}" for name in names for ending in ("json", "safetensors")
    ]
    assert counts == [min(epoch, keep + 1) for epoch in (1, 2, 3)] * bool(keep)
    assert [load_net(file)[1]["epoch"] for file in files[1::2]] == kept
    if kept:
        last = load_file(files[-1])
        assert are_equal(last, load_file(folder / "weights.safetensors"))


def test_scoring_the_fold_between_epochs_changes_no_weight(tmp_path: Path) -> None:
    run = make_run(tmp_path, words=0)
    flags = ["--joint", "--folds=0", "--epochs=3", "--ema=0.5", "--keep-epochs=3"]
    plain = finetune(run, *flags)
    final, rows = score_of(plain), read_epochs(plain / "joint/fold0")
    expected = weights(plain, "joint/fold0")
    held_out = {f"held_out/{name}" for name in final}
    assert [held_out & row.keys() for row in rows.values()] == [set(), set(), held_out]
    scored = finetune(run, *flags, "--score-every=2", "--overwrite")
    assert are_equal(expected, weights(scored, "joint/fold0"))
    assert score_of(scored) == final
    rows = read_epochs(scored / "joint/fold0")
    assert [held_out & row.keys() for row in rows.values()] == [
        set(),
        held_out,
        held_out,
    ]
    assert {name: rows[3][f"held_out/{name}"] for name in final} == final
    net, _ = load_net(scored / "joint/fold0/epochs/epoch0002.safetensors")
    fold = np.flatnonzero(table_of(run)["fold"] == 0)
    scores = score_rows(net, tasks_of(run), Pictures(pixels_of(run)), fold)
    assert {name: rows[2][f"held_out/{name}"] for name in final} == pytest.approx(
        scores
    )
    assert {"target", "onehot", "date", "loss", "learning_rate"} <= rows[1].keys()


def test_a_net_is_asked_at_the_side_it_was_last_trained_at(tmp_path: Path) -> None:
    run = make_run(tmp_path, side=48)
    flags = ("--joint", "--folds=0", "--side=32", "--final-scale=1.5", "--steps=3")
    folder = finetune(run, *flags, "--keep-epochs=9", "--ema=0.5")
    net, about = load_net(folder / "joint" / "fold0" / "weights.safetensors")
    assert net.side_px == about["side_px"] == 48
    assert about["epoch"] == 2  # of two steps each
    epochs = folder / "joint" / "fold0" / "epochs"
    assert len(list(epochs.glob("*.safetensors"))) == 2
    last = load_file(epochs / "epoch0002.safetensors")
    assert are_equal(last, load_file(folder / "joint/fold0/weights.safetensors"))
    assert json.loads((folder / "record.json").read_text())["facts"]["side_px"] == 48


def test_a_step_must_not_take_more_pictures_than_there_are(tmp_path: Path) -> None:
    message = "batch_size = 8 x accumulate = 3, but joint/fold0 has only 16 labelled"
    with pytest.raises(UserError, match=message):
        finetune(make_run(tmp_path), "--joint", "--accumulate=3")


def test_joint_nets_and_nets_apart(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for flags, names in ((["--joint"], ["joint"]), ([], TASKS)):
        folder = finetune(run, "--folds=0,2", *flags)
        places = [f"{name}/fold{fold}" for fold in (0, 2) for name in names]
        metadata = json.loads((folder / "record.json").read_text())["facts"]
        assert [net["place"] for net in metadata["nets"]] == places
        found = [
            str(p.parent.relative_to(folder)) for p in folder.rglob("weights.json")
        ]
        assert sorted(found) == sorted(places)
        for place in places:
            net, about = load_net(folder / place / "weights.safetensors")
            in_net = list(TASKS) if flags else [place.split("/")[0]]
            assert net.tasks == [task["name"] for task in about["tasks"]] == in_net
            assert about["fold"] == place[-1]


def test_text_classes_without_folds_dates_and_words(tmp_path: Path) -> None:
    run = make_run(
        tmp_path, target="classes", n_folds=0, dates=False, words=0, n_test=0
    )
    with pytest.raises(UserError, match="the run has no folds"):
        finetune(run)
    folder = finetune(run, "--all")
    net, about = load_net(folder / "onehot" / "all" / "weights.safetensors")
    assert list(net.tasks) == ["onehot"]
    assert about["tasks"][0]["classes"] == ["class0", "class1", "class2", "class3"]


def test_scratch_is_told_as_such(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = finetune(make_run(tmp_path), "--joint", "--folds=0")
    message = "scratch: random weights of test_resnet, as asked for"
    assert f"joint/fold0 begins from {message}" in caplog.text
    metadata = json.loads((folder / "record.json").read_text())["facts"]
    assert metadata["nets"][0]["begun_from"] == message
    assert "target_rmse" in caplog.text


@pytest.mark.parametrize("by", ["stage", "file"])
def test_a_training_begins_with_the_weights_named(tmp_path: Path, by: str) -> None:
    run = make_run(tmp_path / "run")
    given = make_pretext(run)
    if by == "file":
        given = given.rename(tmp_path / "mine.safetensors")
        (run.folder / "pretext.jigsaw" / "backbone.json").rename(tmp_path / "mine.json")
    init = "pretext.jigsaw" if by == "stage" else str(given)
    still = ["--learning-rate=1e-20", "--weight-decay=0", "--backbone="]
    folder = finetune(run, "--joint", "--folds=0", f"--init={init}", *still)
    first, last = load_file(given), weights(folder, "joint/fold0")
    for name, tensor in first.items():
        if "running" not in name and "num_batches" not in name:
            assert_close(last[f"backbone.{name}"], tensor, rtol=0, atol=1e-18)
    _, about = load_net(folder / "joint/fold0/weights.safetensors")
    assert about["begun_from"] == (
        f"{len(first)} of {len(first)} tensors of test_resnet from pretext.jigsaw"
    )


def test_a_finished_training_is_made_anew_when_its_first_weights_change(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path)
    file = tmp_path / "mine.safetensors"
    make_pretext(run).rename(file)
    note = (run.folder / "pretext.jigsaw" / "backbone.json").rename(
        file.with_suffix(".json")
    )
    flags = ["--joint", "--folds=0", f"--init={file}"]
    first = weights(finetune(run, *flags), "joint/fold0")
    assert are_equal(first, weights(finetune(run, *flags), "joint/fold0"))
    tensors = {name: tensor * 2 for name, tensor in load_file(file).items()}
    save_weights(file, tensors, json.loads(note.read_text()))
    assert not are_equal(first, weights(finetune(run, *flags), "joint/fold0"))


def test_a_finished_training_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path)
    folder = finetune(run, "--joint", "--folds=0")
    monkeypatch.setattr(many_nets, "train_net", fail_at(1, many_nets.train_net))
    assert finetune(run, "--joint", "--folds=0", "--keep-epochs=5") == folder
    with pytest.raises(PowerCutError):
        finetune(run, "--joint", "--folds=1")


def test_learning_rates_are_tried_on_the_nets_of_a_fold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    run, seen = make_run(tmp_path), set()
    take = Pictures.take

    def spy(pictures: Pictures, rows: Any) -> Tensor:
        seen.update(rows.tolist())
        return take(pictures, rows)

    monkeypatch.setattr(Pictures, "take", spy)
    monkeypatch.setattr("pretext.engine.lr_finder.STEPS", 12)
    place = finetune(run, "--tasks=target,onehot", "--folds=1,2", "--find-lr")
    assert place == run.folder / "find_lr" / "transfer.finetune"
    assert sorted(p.relative_to(place).as_posix() for p in place.rglob("*.png")) == [
        "onehot/fold1/range_test.png",
        "target/fold1/range_test.png",
    ]
    assert "target/fold1: --learning-rate" in caplog.text
    assert not run.has("transfer.finetune")
    assert not seen & set(np.flatnonzero(table_of(run)["fold"] == 1))


def test_first_weights_that_are_not_there(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(
        UnfinishedStageError,
        match=r"not finished; first: python -m pretext.jigsaw --run",
    ):
        finetune(run, "--init=pretext.jigsaw")
    with pytest.raises(UserError, match=r"no pretext stage, scratch, .*'pretext.jigs"):
        finetune(run, "--init=pretext.jigsav")
    with pytest.raises(UserError, match=r"'mine.safetensors': there is no such file"):
        finetune(run, "--init=mine.safetensors")


def test_first_weights_that_do_not_fit(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    make_pretext(run)
    flags = ["--init=pretext.jigsaw", "--backbone=test_efficientnet"]
    with pytest.raises(
        UserError, match="of 'test_resnet', not of 'test_efficientnet'; set backbone = "
    ):
        finetune(run, *flags)
    net = (
        finetune(run, "--joint", "--folds=0")
        / "joint"
        / "fold0"
        / "weights.safetensors"
    )
    with pytest.raises(
        UserError, match="not the weights of a backbone alone but 'tess"
    ):
        finetune(run, "--joint", "--folds=1", f"--init={net}")


def test_nets_see_pictures_as_their_ready_weights_did(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    network = timm.create_model("test_resnet", num_classes=5)
    network.pretrained_cfg.update(mean=(0.2, 0.3, 0.4), std=(0.3, 0.2, 0.1))
    save_for_hf(network, tmp_path / "ready", safe_serialization=True)
    init = f"--init={tmp_path / 'ready'}"
    folder = finetune(run, init, "--joint", "--folds=0", "--tasks=target", "--steps=1")
    net, config = load_net(folder / "joint" / "fold0" / "weights.safetensors")
    assert net.normalise.mean == pytest.approx((51, 76.5, 102))
    assert config["std"] == pytest.approx([76.5, 51, 25.5])
    assert "matched by name; none missing" in config["begun_from"]
    identity = run.finished("transfer.finetune").record["settings"]["init"]
    assert identity.keys() == {"file", "sha256", "config_sha256"}


def test_a_network_of_one_size_says_which(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    make_pretext(run, "test_vit", side_px=64)
    flags = ["--init=pretext.jigsaw", "--backbone=", "--joint", "--folds=0"]
    with pytest.raises(UserError, match="trained on 64 px: try --side 64"):
        finetune(run, *flags)
    folder = finetune(run, *flags, "--side=64")
    assert load_net(folder / "joint/fold0/weights.safetensors")[0].side_px == 64


@pytest.mark.parametrize(
    ("flag", "fault"),
    [
        ("--colour=1", "colour = 1.0: give 0 to below 1"),
        ("--dropout=-0.1", "dropout = -0.1: give 0 to below 1"),
        ("--min-area=0", "min_area = 0.0: give above 0, at most 1"),
        ("--side=16", "side = 16: give 32 or more, or 0"),
        ("--keep-epochs=-1", "keep_epochs = -1: give 0 or more"),
        ("--jobs=0", "jobs = 0: give more than 0"),
    ],
)
def test_settings_out_of_range_are_refused(
    tmp_path: Path, flag: str, fault: str
) -> None:
    with pytest.raises(UserError, match=fault):
        finetune(make_run(tmp_path), flag)


def test_nets_of_other_folds_are_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    run, flags = make_run(tmp_path), ["--joint", "--tasks=target", "--steps=1"]
    trained: list[str] = []
    begin = train_net._begin

    def note(job: Any, data: Any) -> Any:
        trained.append(job.fold)
        return begin(job, data)

    monkeypatch.setattr(train_net, "_begin", note)
    finetune(run, *flags, "--folds=0")
    finetune(run, *flags, "--folds=2,1")
    assert trained == ["0", "1", "2"], "fold 0 is kept"
    assert "kept: fold 0; to be trained: fold 2, fold 1" in caplog.text
    folder = finetune(run, *flags)  # the record is that of a training of all folds
    assert len(trained) == 3
    before = {
        k: (folder / f"joint/fold{k}/weights.safetensors").read_bytes()
        for k in range(3)
    }
    (folder / "joint/fold1/logs/mark").touch()
    assert finetune(run, *flags, "--folds=1") == folder, "it is there already"
    finetune(run, *flags, "--folds=1", "--overwrite")
    assert trained == ["0", "1", "2", "1"]
    finished = run.finished("transfer.finetune")
    assert finished.metadata["folds"] == ["0", "1", "2"]
    assert finished.record["settings"]["folds"] == []
    assert not (folder / "joint/fold1/logs/mark").exists(), "made anew"
    for fold, weights_before in before.items():
        assert (
            folder / f"joint/fold{fold}/weights.safetensors"
        ).read_bytes() == weights_before
    finetune(run, *flags, "--folds=0", "--seed=1")
    assert run.finished("transfer.finetune").metadata["folds"] == ["0"], "other nets"


def test_a_plan_counts_the_nets_that_are_kept(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    flags = ["--joint", "--tasks=target", "--steps=1"]
    for fold in (0, 1):
        folder = finetune(run, *flags, f"--folds={fold}")
    recorded = run.finished("transfer.finetune").record["settings"]
    experiment = read_experiment(tmp_path / "experiment.toml", tmp_path)
    names = recorded.keys() & fields_of(FinetuneSettings).keys()
    declared = {name: recorded[name] for name in names}

    def reasons(*folds: str, **changes: Any) -> tuple[str, ...]:
        table = {**declared, "folds": list(folds), **changes}
        settings = from_table(FinetuneSettings, table, "x.toml", {})
        [standing] = standings_of({"transfer.finetune": settings}, experiment, run)
        return standing.reasons

    assert recorded["folds"] == ["0", "1"]
    assert reasons("1") == ()
    assert finetune(run, *flags, "--folds=1") == folder
    assert reasons("2") == ('folds ["0", "1"] -> []',)
    assert reasons() == ('folds ["0", "1"] -> []',)
    assert reasons("1", seed=1)[:1] == ("seed 0 -> 1",)
    assert reasons("7") == ('folds ["0", "1"] -> ["7"]',)  # maybe of folds to come


def test_a_kept_net_of_all_rows_is_named_in_the_setting() -> None:
    stored = ["0", "1", "2"]
    for held, adds_all, expected in (
        ({"0", "2"}, False, ("0", "2")),
        ({"2", "1", "0"}, False, ()),
        ({"0", "1", "2", "all"}, True, ()),
        ({"0", "1", "2", "all"}, False, ("0", "1", "2", "all")),
        ({"all"}, False, ("all",)),
    ):
        assert _as_setting(held, stored, adds_all=adds_all) == expected
