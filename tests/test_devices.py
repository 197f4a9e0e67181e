"""Tests of trainings that several processes share: as if one process had trained.

All shared trainings of a test run have the same second process, which is started once.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from data_prep import command
from data_prep.errors import UserError
from pretext import device, jigsaw, preflight, rotation
from pretext.data.augment import AugmentParams
from pretext.data.keyed_rng import keys_of
from pretext.data.pictures import Normalisation, Pictures
from pretext.engine import callbacks, followers, training
from pretext.engine.callbacks import StopTraining
from pretext.engine.history import read_metrics
from pretext.engine.learner import Learner
from pretext.engine.module import Module
from pretext.engine.ranks import Rank, measuring_alone
from pretext.engine.store import failure_key
from pretext.engine.training import Outcome, train
from pretext.methods import clustering, distillation, regularisation
from pretext.methods.classification import ClassificationLearner
from pretext.methods.clustering import SwavLearner
from pretext.methods.crops import Crops
from pretext.methods.distillation import DinoLearner
from pretext.methods.instances import DietLearner
from pretext.methods.regularisation import VisRegLearner
from pretext.methods.siamese import SimSiamLearner
from pretext.networks.backbones import build_backbone
from pretext.settings import TrainingSettings
from tests.drilled import in_drills
from tests.prepared_runs import make_run
from transfer import finetune
from transfer.settings import FinetuneSettings

N, SIDE = 40, 32
ROWS = np.arange(2, N)
IDS = [f"p{row}" for row in ROWS]
NORMALISE = Normalisation((128.0, 128.0, 128.0), (60.0, 60.0, 60.0))
VIEWS = AugmentParams(min_area=0.5)
CROPS = Crops(side_px=SIDE, global_params=VIEWS, local_params=VIEWS, n_local=0)
SETTINGS = TrainingSettings(
    epochs=3,
    batch_size=8,
    optimizer="sgd",
    learning_rate=0.01,
    precision="fp32",
    threads=1,
)
FLAGS = (
    *("--backbone", "test_vit", "--precision", "fp32", "--threads", "1"),
    *("--batch-size", "8", "--optimizer", "sgd", "--learning-rate", "0.01"),
    *("--epochs", "2"),
)
TORCHRUN = {"RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "a"}
JOINT = ("--joint", "--folds", "1", "--dropout", "0")


@pytest.fixture(autouse=True)
def _two_cores_and_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (device, training):
        monkeypatch.setattr(module, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(device, "n_cores", lambda: 2)


@pytest.fixture
def pictures() -> Pictures:
    rng = np.random.default_rng(0)
    return Pictures(rng.integers(0, 256, (N, SIDE, SIDE, 3), dtype=np.uint8))


def without_norms(network: nn.Module) -> nn.Module:
    """Take the batch norms out, whose statistics each process has of its part."""
    for name, child in network.named_children():
        if isinstance(child, _BatchNorm):
            setattr(network, name, nn.Identity())
        without_norms(child)
    return network


def simsiam(_: Pictures) -> Learner:
    torch.manual_seed(0)
    learner = SimSiamLearner(
        build_backbone("test_vit", SIDE),
        NORMALISE,
        side_px=SIDE,
        params=AugmentParams(min_area=0.5),
        width=16,
    )
    return cast(Learner, without_norms(learner))


def dino(_: Pictures) -> Learner:
    torch.manual_seed(0)
    learner = DinoLearner(
        build_backbone("test_vit", SIDE),
        NORMALISE,
        CROPS,
        n_classes=12,
        decay=0.9,
        warm_epochs=2,
    )
    return cast(Learner, without_norms(learner))


def visreg(_: Pictures) -> Learner:
    from lightly.loss import VISRegLoss

    class SameDirections(VISRegLoss):
        """Looks from the same directions in all processes, to be comparable."""

        def forward_components(self, **projected: Tensor) -> Any:
            torch.manual_seed(0)
            return super().forward_components(**projected)

    torch.manual_seed(0)
    backbone = build_backbone("test_vit", SIDE)
    learner = VisRegLearner(backbone, NORMALISE, CROPS, weight=0.6)
    # outputs that differ from the start: the loss divides by their deviation
    learner.backbone = nn.Sequential(
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.LayerNorm(48), nn.Linear(48, 64)
    )
    learner.criterion = SameDirections(
        0.6, 64, gather_distributed=learner.criterion.gather_distributed
    )
    return cast(Learner, without_norms(learner))


def swav(_: Pictures) -> Learner:
    torch.manual_seed(0)
    backbone = build_backbone("test_vit", SIDE)
    learner = SwavLearner(backbone, NORMALISE, CROPS, n_prototypes=12)
    return cast(Learner, without_norms(learner))


def diet(_: Pictures) -> Learner:
    torch.manual_seed(0)
    return DietLearner(
        build_backbone("test_vit", SIDE),
        NORMALISE,
        side_px=SIDE,
        params=AugmentParams(min_area=0.5),
        train_idx=ROWS,
        label_smoothing=0.8,
    )


def thirds(pictures: Pictures, fails_at: str = "") -> Learner:
    """Ask a net with a batch norm and dropout which of three numbers was drawn."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=4),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(384, 8),
    )

    def make_examples(
        images: Tensor, u: Any, rows: Any, scale: float
    ) -> tuple[Tensor, Tensor]:
        del rows, scale
        if fails_at and os.environ.get("RANK") == fails_at:
            raise MemoryError
        return images.float() / 255, torch.from_numpy((u[:, :1] * 3).astype(np.int64))

    return ClassificationLearner(
        net,
        nn.Linear(8, 3),
        make_examples,
        n_random=1,
        purpose="thirds",
        pictures=pictures,
        val_idx=np.arange(2),
        val_keys=keys_of(["p0", "p1"]),
        seed=0,
    )


def run(
    learner: Learner,
    pictures: Pictures,
    folder: Path,
    publish: Callable[[int], None] | None = None,
    **changed: Any,
) -> Outcome:
    return train(
        learner,
        pictures,
        train_idx=ROWS,
        ids=IDS,
        settings=replace(SETTINGS, **changed),
        folder=folder,
        label="tryout",
        publish=publish,
    )


def assert_near(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=0, atol=1e-5, msg=name)


def assert_same_logs(first: Path, second: Path) -> None:
    """Compare all that was logged of the steps and epochs."""
    logs = [read_metrics(place / "logs" / "metrics.csv") for place in (first, second)]
    assert logs[0].keys() == logs[1].keys()
    for name, values in logs[0].items():
        assert values == pytest.approx(logs[1][name], abs=1e-5), name


@pytest.mark.parametrize(
    ("make", "accumulate", "sam_rho"),
    [
        (simsiam, 1, 0.0),
        (dino, 2, 0.0),
        in_drills(visreg, 1, 0.0),
        in_drills(swav, 1, 0.0),
        in_drills(simsiam, 2, 0.05),
        in_drills(dino, 1, 0.05),
        in_drills(visreg, 2, 0.05),
        in_drills(swav, 2, 0.0),
        in_drills(diet, 1, 0.0),
    ],
)
def test_two_processes_train_views_as_one_does(
    make: Callable[[Pictures], Learner],
    accumulate: int,
    sam_rho: float,
    pictures: Pictures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distillation, "WIDTH", 24)
    monkeypatch.setattr(distillation, "BOTTLENECK", 8)
    for module in (regularisation, clustering):
        monkeypatch.setattr(module, "WIDTH", 24)
    weights = []
    for devices in (1, 2):
        learner = make(pictures)
        first = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
        run(
            *(learner, pictures, tmp_path / str(devices)),
            devices=devices,
            accumulate=accumulate,
            sam_rho=sam_rho,
        )
        weights.append(learner.state_dict())
        assert any((weights[-1][name] != first[name]).any() for name in first)
    assert_near(*weights)
    assert_same_logs(tmp_path / "1", tmp_path / "2")


@pytest.mark.parametrize(
    ("main", "flags"),
    [
        in_drills(jigsaw.main, ("--gap", "0", "--ema", "0.9")),
        in_drills(jigsaw.main, ("--gap", "0", "--form", "orders", "--orders", "8")),
        in_drills(rotation.main, ("--schedule", "plateau")),
    ],
)
def test_two_processes_run_a_pretext_as_one_does(
    main: Callable[[list[str]], Path], flags: tuple[str, ...], tmp_path: Path
) -> None:
    stages = []
    for devices in ("1", "2"):
        made_up = make_run(tmp_path / devices, side=48)
        place = ["--run", str(made_up.folder)]
        stages.append(main([*place, *FLAGS, *flags, "--devices", devices]))
    assert_near(*(load_file(stage / "backbone.safetensors") for stage in stages))
    logs = [read_metrics(stage / "logs" / "metrics.csv") for stage in stages]
    assert logs[0]["loss"] == pytest.approx(logs[1]["loss"], abs=1e-5)


@pytest.mark.parametrize(
    ("init", "flags"),
    [
        ("scratch", ("--train", "head", "--unfreeze-after", "1")),
        in_drills("scratch", ()),
        in_drills("scratch", ("--train", "head", "--head-width", "8")),
        in_drills("scratch", ("--select", "inner", "--average-epochs", "2")),
        in_drills("pretext.jigsaw", ("--keep-pretext", "0.3")),
    ],
)
def test_two_processes_fine_tune_as_one_does(
    init: str, flags: tuple[str, ...], tmp_path: Path
) -> None:
    nets = []
    for devices in ("1", "2"):
        made_up = make_run(tmp_path / devices, side=48, n_train=60)
        place = ["--run", str(made_up.folder)]
        if init != "scratch":
            jigsaw.main([*place, *FLAGS, "--gap", "0", "--epochs", "1"])
        stage = finetune.main(
            [*place, *FLAGS, *JOINT, "--init", init, *flags, "--devices", devices]
        )
        net = stage / "joint" / "fold1"
        nets.append(load_file(net / "weights.safetensors"))
    assert_near(*nets)
    first, second = (
        tmp_path / d / "transfer.finetune" / "joint" / "fold1" for d in "12"
    )
    assert_same_logs(first, second)


def test_the_parts_of_the_processes_are_the_batch(
    pictures: Pictures, tmp_path: Path
) -> None:
    def module_of(rank: Rank) -> Module:
        return Module(
            learner=thirds(pictures),
            pictures=pictures,
            train_idx=ROWS,
            ids=IDS,
            settings=replace(SETTINGS, accumulate=2),
            folder=tmp_path,
            rank=rank,
        )

    whole = module_of(Rank())
    parts = [module_of(Rank(index=k, world_size=4, n_local=2)) for k in range(4)]
    for step in (0, 1, 5):
        for micro_step in (0, 1):
            batch = whole.batch_of(step, micro_step)
            batches = [part.batch_of(step, micro_step) for part in parts]
            assert [len(part.rows) for part in batches] == [2] * 4
            rows = np.concatenate([part.rows for part in batches])
            assert sorted(rows) == batch.rows.tolist()
            keys = np.concatenate([part.keys for part in batches])
            assert set(keys) == set(batch.keys)
            assert [part.epoch for part in batches] == [batch.epoch] * 4


def test_norms_of_the_whole_batch_keep_the_network(
    pictures: Pictures, tmp_path: Path
) -> None:
    network = build_backbone("test_efficientnet", SIDE)  # its norms have activations
    learner = thirds(pictures)
    learner.backbone = nn.Sequential(network, nn.Linear(256, 8))
    images = pictures.take(np.arange(4)).float() / 255
    expected = learner.eval()(images)
    shared = training.Training(
        learner=learner,
        pictures=pictures,
        train_idx=ROWS,
        ids=IDS,
        settings=replace(SETTINGS, sync_batchnorm=True),
        folder=tmp_path,
        checkpoint=None,
    )
    module = shared.module(torch.device("cpu"), Rank(world_size=2, n_local=2))
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    assert norms
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    assert module._norms == {"all": norms}
    torch.testing.assert_close(module.learner.eval()(images), expected)


class KilledError(Exception):
    """Whatever stops a training."""


@pytest.mark.drill
def test_what_two_processes_began_they_end_with_the_same_bits(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, resumed = thirds(pictures), thirds(pictures)
    run(whole, pictures, tmp_path / "whole", devices=2, ema=0.9)
    save = callbacks.TrainingCallback._save

    def save_and_die(callback: callbacks.TrainingCallback, trainer: Any) -> None:
        save(callback, trainer)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
        patch.setattr(callbacks.TrainingCallback, "_save", save_and_die)
        with pytest.raises(KilledError):  # after the first step
            run(resumed, pictures, tmp_path / "resumed", devices=2, ema=0.9)
    resumed = thirds(pictures)
    with pytest.raises(UserError, match=r"2 devices made it.*--allow-other"):
        run(resumed, pictures, tmp_path / "resumed", ema=0.9)
    with pytest.raises(UserError, match=r"made with sync_batchnorm = false; give that"):
        run(
            *(resumed, pictures, tmp_path / "resumed"),
            **{"devices": 2, "ema": 0.9, "sync_batchnorm": True},
        )
    run(resumed, pictures, tmp_path / "resumed", devices=2, ema=0.9)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    logs = [tmp_path / name / "logs" / "metrics.csv" for name in ("whole", "resumed")]
    assert logs[0].read_bytes() == logs[1].read_bytes()
    alone = thirds(pictures)
    outcome = run(
        *(alone, pictures, tmp_path / "resumed"), ema=0.9, allow_other_devices=True
    )
    assert outcome.steps == 12


def test_a_stop_and_a_failure_reach_the_other_process(
    pictures: Pictures, tmp_path: Path
) -> None:
    def stop(epoch: int) -> None:
        norm = nn.SyncBatchNorm(3)
        with measuring_alone(norm):  # as where weights are averaged
            assert torch.distributed.get_world_size(norm.process_group) == 1
        assert torch.distributed.get_world_size(norm.process_group) == 2
        raise StopTraining(f"enough after {epoch}")

    outcome = run(thirds(pictures), pictures, tmp_path / "stopped", stop, devices=2)
    assert (outcome.stopped, outcome.steps) == ("enough after 1", 4)
    assert followers._followers
    (child,) = followers._followers.children
    with pytest.raises(UserError, match=r"process 1 .*too little memory.*goes on"):
        run(thirds(pictures, "1"), pictures, tmp_path / "failed", devices=2)
    assert child.process.poll() is not None
    assert followers._followers is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"devices": 3, "batch_size": 64}, r"batch_size = 64 .* devices = 3,.*give 63"),
        ({"devices": 2, "batch_size": 2}, r"batch_size = 2 .* give 4$"),
        ({"num_nodes": 5, "batch_size": 8}, r"devices = 1 on each of num_nodes = 5"),
        ({"devices": 2, "jobs": 2}, r"devices = 2 .* jobs = 2 trains several"),
        ({"devices": 2, "executor": "processes"}, r"executor = 'processes' trains"),
        ({"devices": 0}, "devices = 0"),
    ],
)
def test_devices_that_cannot_share_a_batch_are_refused(
    changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        FinetuneSettings(**changed)


@pytest.mark.parametrize(
    ("changed", "environment", "message"),
    [
        ({"devices": 4}, {}, r"devices = 4, but .* 2 cores; give --devices 2"),
        ({"devices": 2, "sync_batchnorm": True}, {}, "sync_batchnorm = true needs"),
        ({"num_nodes": 2}, {}, "num_nodes = 2, but torchrun did not start this"),
        ({}, TORCHRUN, "torchrun started 4 processes, but devices = 1"),
    ],
)
def test_devices_that_are_not_there_are_refused(
    changed: dict[str, Any],
    environment: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        preflight.check_devices(replace(SETTINGS, **changed))


def test_a_process_that_waits_for_a_dead_one_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As between GPUs, where a connection that is lost is no error."""
    ended: list[int] = []
    monkeypatch.setattr(followers, "GRACE_S", 0.0)
    monkeypatch.setattr(followers.os, "_exit", ended.append)
    threads = {*threading.enumerate()}
    waiting = followers.Followers(Rank())
    assert {*threading.enumerate()} <= threads, "one could end the tests, later"
    store = torch.distributed.HashStore()
    store.set(failure_key(3), "no such file")
    process = subprocess.Popen([sys.executable, "-c", "exit(2)"])
    waiting.children = [followers._Follower(rank=3, process=process, store=store)]
    process.wait()
    waiting._watch()
    assert not ended  # it was not training
    waiting.is_training = True
    waiting._watch()
    assert ended == [2]
    assert "process 3 of the training failed: no such file" in caplog.text
    assert "of the training failed: it ended with status 2 before" in (
        replace(waiting.children[0], rank=4).failure()
    )
    waiting.end()


@pytest.mark.parametrize(
    ("rank", "is_of_the_first", "expected"),
    [
        ("0", False, "ended"),
        ("0", True, ""),
        ("1", False, "-m pretext.engine.follower"),
    ],
)
def test_what_torchrun_started_as_another_rank_follows_until_the_first_has_ended(
    rank: str, is_of_the_first: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (TORCHRUN | {"RANK": rank}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(command.FIRST, "yes")  # undone at the end
    if not is_of_the_first:
        monkeypatch.delenv(command.FIRST)
    done: list[str] = []

    def become(_: str, arguments: list[str]) -> NoReturn:
        done.append(" ".join(arguments[1:]))
        raise SystemExit(0)

    monkeypatch.setattr(command.os, "execv", become)
    monkeypatch.setattr(followers, "end_all", lambda: done.append("ended"))
    with pytest.raises(SystemExit) as end:
        command.run_command(lambda: None)
    assert (end.value.code, "".join(done)) == (0, expected)
