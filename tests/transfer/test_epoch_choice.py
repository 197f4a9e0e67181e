"""Tests of the choice of an epoch, of mean weights, and of what extract says."""

import copy
import csv
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn
from torch.testing import assert_close

from data_prep.errors import UserError
from data_prep.run_folders.runs import Run
from data_prep.task_types.registry import TASK_TYPES
from data_prep.tasks import build_tasks
from features.store import open_store
from pretext.data.pictures import Pictures
from pretext.engine import callbacks
from pretext.engine.epochs import read_epochs
from pretext.networks.backbones import load_weights
from stacking.inputs.sources import Source
from tests.drilled import in_drills
from tests.power_cut import PowerCutError, fail_at
from tests.prepared_runs import STAGE, extract, finetune, make_run, pixels_of, table_of
from transfer.jobs import plan
from transfer.networks.task_net import load_net
from transfer.settings import FinetuneSettings
from transfer.training import epoch_choice, train_net
from transfer.training.learner import FinetuneLearner, score_rows
from transfer.training.weight_mean import fit_norms

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

FLAGS = ("--joint", "--folds=1", "--epochs=4", "--batch-size=4", "--tasks=target,date")


def tensors_of(folder: Path) -> dict[str, Tensor]:
    return load_weights(folder / "joint" / "fold1" / "weights.safetensors")[0]


def config_of(folder: Path) -> dict[str, Any]:
    return load_weights(folder / "joint" / "fold1" / "weights.safetensors")[1]


def choices_in(folder: Path) -> list[dict[str, str]]:
    with (folder / "joint/fold1/logs/choice.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def are_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def inner_rows(run: Run) -> list[int]:
    """Give the rows that the net of fold 1 keeps back."""
    table, prepared = table_of(run), run.finished(STAGE)
    only = ["target", "date"]
    tasks = build_tasks({}, table, prepared.folder, prepared.metadata, only)
    settings = FinetuneSettings(
        joint=True, folds=("1",), batch_size=4, select="inner", inner_share=0.25
    )
    (job,) = plan(table, tasks, settings, 3)
    rows: list[int] = job.choice_idx.tolist()
    return rows


@pytest.mark.parametrize("select", ["inner", "fold"])
def test_the_best_epoch_is_kept_as_it_was_scored(
    tmp_path: Path, select: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = make_run(tmp_path)
    flags = [f"--select={select}", "--keep-epochs=9"]
    flags += ["--inner-share=0.25"] * (select == "inner")
    folder = finetune(run, *FLAGS, *flags, "--learning-rate=0.01")
    choices = choices_in(folder)
    scores = [float(row["target_rmse"]) for row in choices]
    best = int(np.argmin(scores))
    assert [row["epoch"] for row in choices] == ["1", "2", "3", "4"]
    assert len(set(scores)) == 4
    net, config = load_net(folder / "joint" / "fold1" / "weights.safetensors")
    assert config["epoch"] == best + 1
    expected = {"by": select, "metric": "target_rmse", "score": scores[best]}
    assert config["chosen"] == expected
    epoch = folder / "joint" / "fold1" / "epochs" / f"epoch{best + 1:04d}.safetensors"
    assert are_equal(load_weights(epoch)[0], tensors_of(folder))
    table, prepared = table_of(run), run.finished(STAGE)
    rows = np.array(inner_rows(run))
    if select == "fold":
        rows = np.flatnonzero(table["fold"] == 1)
    tasks = build_tasks({}, table, prepared.folder, prepared.metadata, net.tasks)
    again = score_rows(net, tasks, Pictures(pixels_of(run)), rows)["target_rmse"]
    assert again == pytest.approx(scores[best])
    (facts,) = run.finished("transfer.finetune").metadata["nets"]
    assert facts["chosen"] == expected
    text = f"kept: epoch {best + 1} of 4, by target_rmse"
    assert f"joint/fold1: {text}" in caplog.text
    assert not (folder / "joint" / "fold1" / "checkpoints").exists()


def test_inner_rows_never_train_and_the_fold_chooses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = (*FLAGS, "--select=inner", "--inner-share=0.25", "--learning-rate=0.01")
    run, seen = make_run(tmp_path / "run"), []
    take = Pictures.take

    def spy(pictures: Pictures, rows: Any) -> Tensor:
        if torch.is_grad_enabled():
            seen.append(rows)
        return take(pictures, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Pictures, "take", spy)
        plain = finetune(run, *flags)
    rows, inner = set(np.concatenate(seen).tolist()), inner_rows(run)
    assert len(inner) == 4
    assert not rows & set(inner)
    assert not rows & set(np.flatnonzero(table_of(run)["fold"] == 1))
    other = finetune(make_run(tmp_path / "other", relabelled_fold=1), *flags)
    assert are_equal(tensors_of(plain), tensors_of(other))
    assert choices_in(plain) == choices_in(other)
    assert config_of(plain) == config_of(other)


def scored_as(
    scores: Sequence[float], name: str, patch: pytest.MonkeyPatch
) -> list[float]:
    """Let the epochs have these scores."""
    left = list(scores)
    patch.setattr(epoch_choice, "score_rows", lambda *_: {name: left.pop(0)})
    return left


@pytest.mark.parametrize(
    ("task", "metric", "scores", "best", "n_left"),
    [
        ("target", "target_rmse", [3, 1, 2, 1, 0], 2, 1),
        ("onehot", "onehot_accuracy", [0.3, 0.5, 0.4, 0.5, 0.9], 2, 1),
        ("target", "target_rmse", [3, 1, 2, 0, 2], 4, 0),
    ],
)
def test_patience_waits_for_a_better_score_and_the_first_best_stays(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    *,
    task: str,
    metric: str,
    scores: list[float],
    best: int,
    n_left: int,
) -> None:
    caplog.set_level(logging.INFO)
    flags = ("--joint", "--folds=1", f"--tasks={task}", "--epochs=5", "--batch-size=8")
    with pytest.MonkeyPatch.context() as patch:
        left = scored_as(scores, metric, patch)
        run = make_run(tmp_path)
        folder = finetune(run, *flags, "--select=inner", "--patience=2")
    assert len(left) == n_left
    assert config_of(folder)["epoch"] == best
    rows = read_epochs(folder / "joint" / "fold1")
    assert len(rows) == 5 - n_left
    assert [row[f"inner/{metric}"] for row in rows.values()] == scores[: len(rows)]
    message = f"stopped: no better {metric} on the inner split for 2 epochs"
    assert (message in caplog.text) == bool(n_left)


@pytest.mark.parametrize("kind", list(TASK_TYPES))
def test_each_kind_tells_which_score_is_better(kind: str) -> None:
    task_type = TASK_TYPES[kind]()
    y_true = np.array([[0.0], [1.0], [1.0]])
    right = np.eye(2)[y_true[:, 0].astype(int)] if kind == "classes" else y_true
    scores = [task_type.score(y_true, y_pred)[1] for y_pred in (right, 1 - right)]
    assert scores[0] != scores[1]
    assert (scores[0] > scores[1]) == task_type.higher_is_better


def test_the_mean_of_the_last_epochs_and_its_batch_norms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[FinetuneLearner, list[Tensor]]] = []

    def spied(learner: FinetuneLearner, batches: Iterator[Any]) -> None:
        listed = list(batches)
        seen.append((copy.deepcopy(learner), list(map(learner.views, listed))))
        fit_norms(learner, listed)

    monkeypatch.setattr(epoch_choice, "fit_norms", spied)
    flags = ("--average-epochs=3", "--keep-epochs=9", "--learning-rate=0.01")
    run = make_run(tmp_path)
    folder = finetune(run, *FLAGS, *flags, "--final-scale=1", "--dropout=0")
    ((learner, views),) = seen
    n_train = int((table_of(run)["fold"] != 1)[table_of(run)["split"] == "train"].sum())
    assert [len(batch) for batch in views] == [4] * (n_train // 4)
    places = sorted((folder / "joint/fold1/epochs").glob("*.safetensors"))
    assert len(places) == 4
    epochs = [load_weights(place)[0] for place in places[1:]]
    last, kept = epochs[-1], tensors_of(folder)
    # torch's own way to the norms, from the weights before them
    update_bn(views, learner.net)
    norms = learner.net.state_dict()
    for name, tensor in kept.items():
        if "running" in name or "num_batches" in name:
            assert_close(tensor, norms[name], rtol=1e-5, atol=1e-6)
            assert not torch.equal(tensor, last[name])
        else:
            mean = np.mean([e[name].double().numpy() for e in epochs], axis=0)
            assert_close(tensor, torch.from_numpy(mean).float(), rtol=0, atol=1e-7)
    assert config_of(folder)["averaged"] == 3
    assert config_of(folder)["epoch"] == 4


def test_norms_that_did_not_train_keep_what_they_have(tmp_path: Path) -> None:
    folder = finetune(make_run(tmp_path), *FLAGS)
    net, _ = load_net(folder / "joint/fold1/weights.safetensors")
    frozen = net.backbone.get_submodule("bn1")
    for parameter in frozen.parameters():
        parameter.requires_grad = False
    before = copy.deepcopy(net.state_dict())
    learner = copy.copy(FinetuneLearner.__new__(FinetuneLearner))
    torch.nn.Module.__init__(learner)
    learner.net = net
    learner.infer = net.forward  # type: ignore[assignment]
    images = torch.randint(0, 255, (2, 6, 3, 32, 32), dtype=torch.uint8)
    fit_norms(learner, images)  # type: ignore[arg-type]
    after = net.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    assert all("running" in name or "num_batches" in name for name in changed)
    assert not any(name.startswith("backbone.bn1.") for name in changed)
    assert not any(module.training for module in net.modules())


@pytest.mark.parametrize(
    ("place", "name", "call", "checkpoint_at"),
    [  # 3 epochs of 3 steps
        (FinetuneLearner, "loss", 8, 2),
        (train_net, "save_weights", 1, 6),
        *(
            in_drills(*crash)
            for crash in (
                (epoch_choice, "score_rows", 3, 6),
                (epoch_choice.History, "add", 3, 2),
            )
        ),
    ],
)
def test_a_resumed_choice_is_the_same(
    whole: Path, tmp_path: Path, place: Any, name: str, call: int, checkpoint_at: int
) -> None:
    run, saves = make_run(tmp_path), []
    save = callbacks.TrainingCallback._save

    def only_at(callback: callbacks.TrainingCallback, trainer: Any) -> None:
        # later epochs are met again
        if trainer.global_step == checkpoint_at:
            saves.append(trainer.global_step)
            save(callback, trainer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "CHECKPOINT_EVERY_S", -1.0)
        patch.setattr(callbacks.TrainingCallback, "_save", only_at)
        patch.setattr(place, name, fail_at(call, getattr(place, name)))
        with pytest.raises(PowerCutError):
            finetune(run, *RESUMED)
    assert saves == [checkpoint_at]
    resumed = finetune(run, *RESUMED)
    assert are_equal(tensors_of(whole), tensors_of(resumed))
    assert config_of(whole) == config_of(resumed)
    assert choices_in(whole) == choices_in(resumed)
    results = [
        json.loads((folder / "joint/fold1/logs/result.json").read_text())
        for folder in (whole, resumed)
    ]
    assert results[0]["held_out_scores"] == results[1]["held_out_scores"]


def test_a_kill_between_the_best_weights_and_their_json(
    whole: Path, tmp_path: Path
) -> None:
    run, save, best = make_run(tmp_path), epoch_choice.save_weights, config_of(whole)
    assert best["epoch"] > 1

    def torn(path: Path, tensors: Any, config: dict[str, Any]) -> None:
        if path.stem == "best" and config["epoch"] == best["epoch"]:
            path.with_suffix(".json").write_text(json.dumps(config))
            raise PowerCutError
        save(path, tensors, config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(epoch_choice, "save_weights", torn)
        with pytest.raises(PowerCutError):
            finetune(run, *RESUMED)
    resumed = finetune(run, *RESUMED)
    assert config_of(resumed) == best
    assert are_equal(tensors_of(whole), tensors_of(resumed))


def test_a_net_whose_weights_are_gone_is_chosen_anew(
    whole: Path, tmp_path: Path
) -> None:
    folder = finetune(make_run(tmp_path), *RESUMED, "--keep-epochs=1")
    record = json.loads((folder / "record.json").read_text())
    partial = folder.with_name(f"{folder.name}.partial")
    folder.rename(partial)
    (partial / "record.json").unlink()
    key = {name: record[name] for name in ("settings", "reads")}
    (partial / "stage.json").write_text(json.dumps(key))
    (partial / "joint" / "fold1" / "weights.safetensors").unlink()
    finetune(Run(tmp_path), *RESUMED, "--keep-epochs=1")
    assert are_equal(tensors_of(whole), tensors_of(folder))
    assert config_of(whole) == config_of(folder)
    assert choices_in(whole) == choices_in(folder)


RESUMED = (
    *FLAGS,
    *("--select=inner", "--inner-share=0.25", "--average-epochs=3", "--patience=3"),
    *("--learning-rate=0.01", "--keep-epochs=0", "--epochs=3"),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing stopped."""
    folder = finetune(make_run(tmp_path_factory.mktemp("whole")), *RESUMED)
    assert not list((folder / "joint" / "fold1" / "epochs").glob("*"))
    assert config_of(folder)["averaged"] == min(3, config_of(folder)["epoch"])
    return folder


@pytest.mark.parametrize(
    ("select", "role"),
    [("fold", "oof_selected"), ("inner", "oof")],
)
def test_features_tell_whether_their_fold_chose_the_epoch(
    tmp_path: Path, select: str, role: str
) -> None:
    run = make_run(tmp_path, n_train=30)
    flags = ("--joint", "--tasks=target", f"--select={select}", "--batch-size=4")
    finetune(run, *flags)
    folder = extract(run)
    table = table_of(run)
    for name in ("features.pkl", "views/target.oof.pkl"):
        store = open_store(folder / name)
        roles = pd.Series(store.roles, index=store.ids)
        assert (roles[table["id"][table["fold"] >= 0]] == role).all(), name
    source = Source.open(
        run.finished("features.extract"),
        table.set_index("id", drop=False),
        run.finished(STAGE).metadata | {"fold_hash": store.header["fold_hash"]},
        "",
    )
    messages = source.messages(store.ids)
    assert any("Out-of-fold, selected" in m for m in messages) == (select == "fold")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--patience=3"], r"patience = 3 waits for .* give select = 'inner'"),
        (["--select=fold", "--all"], r"select = 'fold', but the net of all rows holds"),
        (["--select=fold", "--folds=0,all"], r"select = 'fold', but the net of all"),
        (["--average-epochs=3", "--epochs=2"], r"average_epochs = 3, but there are on"),
        (["--select=inner", "--inner-share=1"], r"inner_share = 1.0: give above 0, be"),
        (["--inner-share=0.3"], r"inner_share = 0.3 keeps rows back for select = 'inn"),
        (
            ["--select=inner", "--batch-size=15"],
            r"after inner_share = 0.15 has only 14",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    tmp_path: Path, flags: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        finetune(make_run(tmp_path), "--joint", "--folds=1", *flags)


def test_rows_to_choose_by_need_the_label_that_chooses(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    table = table_of(run)
    table["target"] = table["target"].where(table["fold"] != 1)
    table.to_parquet(run.folder / STAGE / "table.parquet", index=False)
    message = r"joint/fold1: select = 'fold' chooses by \[tasks.target\], and none of t"
    with pytest.raises(UserError, match=message):
        finetune(run, *FLAGS, "--select=fold")
