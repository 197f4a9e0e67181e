"""Tests of what visreg, swav and diet have in common as stages: whole trainings."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from data_prep.run_folders.runs import Run
from pretext import diet, swav, visreg
from pretext.diet import DietSettings
from pretext.engine import callbacks, training
from pretext.engine.learner import Learner
from pretext.init_weights import check_init, find_weights
from pretext.methods import clustering, regularisation
from pretext.networks.backbones import load_backbone
from pretext.pretext_settings import PretextSettings
from pretext.swav import SwavSettings
from pretext.visreg import VisRegSettings
from tests.pretext.trained_on_views import IDS, learner_of, noise

TINY: dict[str, Any] = {"epochs": 2, "batch_size": 8, "precision": "fp32", "threads": 1}
SETTINGS = [
    VisRegSettings(**TINY, local_crops=1, colour="strong"),
    SwavSettings(**TINY, local_crops=1, prototypes=12, ema=0.9),
    DietSettings(**TINY, final_scale=1.25),
]
FLAGS = (
    *("--backbone=test_resnet", "--epochs=1", "--batch-size=16"),
    *("--precision=fp32", "--threads=1", "--health-every=1"),
)


@pytest.fixture(autouse=True)
def _small_and_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(regularisation, "WIDTH", 24)
    monkeypatch.setattr(regularisation, "N_SLICES", 64)
    monkeypatch.setattr(clustering, "WIDTH", 24)


class KilledError(Exception):
    """Whatever stops a training."""


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda value: type(value).__name__)
def test_a_training_gone_on_with_ends_with_the_same_weights(
    settings: PretextSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(settings, learning_rate=0.5)
    pictures, rows = noise(24), np.arange(24)

    def run(folder: Path) -> dict[str, Tensor]:
        learner: Learner = learner_of(settings, pictures)
        first = {name: t.clone() for name, t in learner.state_dict().items()}
        training.train(
            learner, pictures, rows, IDS[:24], settings, folder, label="tryout"
        )
        last = learner.state_dict()
        # all has moved, the prototypes in the second epoch
        for name, _ in learner.named_parameters():
            assert not torch.equal(last[name], first[name]), name
        return last

    straight = run(tmp_path / "straight")
    save = callbacks.TrainingCallback._save

    def save_and_die(callback: callbacks.TrainingCallback, trainer: Any) -> None:
        save(callback, trainer)
        if trainer.global_step in (2, 4):
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
        patch.setattr(callbacks.TrainingCallback, "_save", save_and_die)
        for _ in range(2):
            with pytest.raises(KilledError):
                run(tmp_path / "killed")
    again = run(tmp_path / "killed")
    assert all(torch.equal(again[name], straight[name]) for name in straight)
    logs = [tmp_path / name / "logs" / "metrics.csv" for name in ("straight", "killed")]
    assert logs[0].read_bytes() == logs[1].read_bytes()


@pytest.mark.parametrize("module", [visreg, swav, diet])
def test_a_stage_keeps_the_backbone_alone_and_others_may_begin_from_it(
    module: ModuleType,
    prepared_run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    run, learners = prepared_run(), []
    train = training.train

    def noting(learner: Learner, *given: Any, **named: Any) -> training.Outcome:
        learners.append(learner)
        return train(learner, *given, **named)

    monkeypatch.setattr(training, "train", noting)
    crops = [] if module is diet else ["--local-crops=1"]
    folder = module.main([f"--run={run.folder}", *FLAGS, *crops])
    assert folder.name == module.STAGE
    file = folder / "backbone.safetensors"
    kept, _ = load_backbone(file, "test_resnet", 32)
    (learner,) = learners
    trained = learner.get_submodule("backbone").state_dict()
    assert kept.state_dict().keys() == trained.keys()  # no head
    assert all(torch.equal(t, trained[name]) for name, t in kept.state_dict().items())
    about = json.loads((folder / "backbone.json").read_text())
    assert (about["stage"], about["label_free"]) == (module.STAGE, True)
    facts = run.finished(module.STAGE).metadata
    assert 0 < facts["spread"] <= 1.1
    check_init(module.STAGE)
    assert find_weights(module.STAGE, run) == file
    health = (folder / "logs" / "health.csv").read_text().splitlines()
    assert len(health) > 2  # of the first weights and of the last
