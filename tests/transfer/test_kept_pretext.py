"""Tests of transfer.training.kept_pretext."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from data_prep.errors import UserError
from data_prep.run_folders.runs import Run
from data_prep.settings import recorded
from data_prep.tasks import build_tasks
from pretext.data.augment import AugmentParams
from pretext.data.keyed_rng import keys_of
from pretext.data.pictures import Normalisation, Pictures
from pretext.engine import callbacks
from pretext.engine.learner import Batch
from pretext.jigsaw import JigsawSettings
from pretext.methods import classification
from pretext.networks.backbones import build_backbone, load_weights, save_weights
from tests.power_cut import PowerCutError, fail_at
from tests.prepared_runs import (
    BACKBONE,
    PRETEXT,
    STAGE,
    finetune,
    make_run,
    pixels_of,
    table_of,
)
from transfer.jobs import Job, plan
from transfer.networks.task_net import TaskNet, describe
from transfer.settings import FinetuneSettings
from transfer.training.kept_pretext import KeptPretext
from transfer.training.learner import FinetuneLearner

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

FLAGS = ("--joint", "--folds=1", "--tasks=target", "--batch-size=4", "--epochs=2")
NORMALISE = Normalisation((100.0, 100.0, 100.0), (50.0, 50.0, 50.0))


def make_jigsaw(run: Run, **settings: Any) -> None:
    """Write a finished jigsaw with random weights."""
    torch.manual_seed(7)
    tensors = build_backbone(BACKBONE, 32).state_dict()
    notes = {"stage": PRETEXT, "backbone": BACKBONE, "side_px": 32}
    config = recorded(JigsawSettings(**settings)) | {"init": {"file": "of others"}}
    with run.stage(PRETEXT, config, reads=[STAGE]) as stage:
        save_weights(stage.folder / "backbone.safetensors", tensors, notes)
        stage.metadata = {"backbone": BACKBONE}


def kept(run: Run, *flags: str, weight: float = 0.3) -> Path:
    init = ("--init=pretext.jigsaw", f"--keep-pretext={weight}")
    return finetune(run, *FLAGS, *init, *flags)


def tensors_of(folder: Path) -> dict[str, Tensor]:
    return load_weights(folder / "joint" / "fold1" / "weights.safetensors")[0]


def learner_for(run: Run) -> tuple[FinetuneLearner, KeptPretext, Job]:
    """Make the learner of fold 1, and what its puzzles follow from."""
    table, prepared = table_of(run), run.finished(STAGE)
    only = ["target"]
    tasks = build_tasks({}, table, prepared.folder, prepared.metadata, only)
    settings = FinetuneSettings(
        folds=("1",), batch_size=4, select="inner", inner_share=0.25
    )
    (job,) = plan(table, tasks, settings, 3)
    pretext = KeptPretext.open(run, table, weight=0.3, fit="pad", normalise=NORMALISE)
    torch.manual_seed(0)
    net = TaskNet(
        build_backbone(BACKBONE, 32), [describe(t) for t in tasks], NORMALISE, 32
    )
    for task in tasks:
        net.head(task.name).start_at(task, job.train_idx)
    return (
        FinetuneLearner(
            net=net,
            tasks=tasks,
            side_px=32,
            params=AugmentParams(),
            kept=pretext.begin(net.backbone, job, Pictures(pixels_of(run))),
        ),
        pretext,
        job,
    )


class SeenPictures(Pictures):
    """Pictures that remember which of them were looked at."""

    rows: set[int]

    def take(self, rows: Any) -> Tensor:
        self.rows |= set(rows.tolist())
        return super().take(rows)


def batch_of(run: Run, rows: Any, epoch: int = 0) -> Batch:
    ids = table_of(run)["id"].iloc[rows].tolist()
    images = Pictures(pixels_of(run)).take(rows)
    return Batch(images=images, rows=rows, keys=keys_of(ids), seed=3, epoch=epoch)


@pytest.mark.parametrize(
    "puzzles", [{}, {"form": "orders", "orders": 8}, {"exact_original": True}]
)
def test_the_loss_is_that_of_the_pretext_at_its_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, puzzles: dict[str, Any]
) -> None:
    run = make_run(tmp_path)
    make_jigsaw(run, **puzzles)
    learner, pretext, job = learner_for(run)
    sent: list[tuple[Tensor, Any, Any, Any, Any]] = []
    make = classification.make_puzzles

    def spied(images: Tensor, u: Any, rules: Any, fill_frac: Any, orders: Any) -> Any:
        sent.append((images, u, rules, fill_frac, orders))
        return make(images, u, rules, fill_frac=fill_frac, orders=orders)

    monkeypatch.setattr(classification, "make_puzzles", spied)
    measured = learner.loss(batch_of(run, job.train_idx[:8]))
    total = measured["target"] + 0.3 * measured["jigsaw"]
    assert_close(measured["loss"], total)
    # the pretext's own learner, with this head and these pictures
    ((images, u, rules, fill_frac, orders),) = sent
    assert rules == pretext.settings.rules(32, NORMALISE)
    fresh = pretext.settings.learner_of(
        learner.net.backbone,
        Pictures(pixels_of(run)),
        normalise=NORMALISE,
        fill_frac=pretext.fill_frac,
        val_idx=job.val_idx,
        val_keys=keys_of(["a"] * len(job.val_idx)),
    )
    assert learner.kept is not None
    fresh.head = learner.kept.learner.head
    inputs, labels = make(images, u, rules, fill_frac=fill_frac, orders=orders)
    if orders is not None:
        inputs = classification.split_tiles(inputs, rules.grid)
    logits = fresh(inputs).view(*labels.shape, -1)
    assert_close(measured["jigsaw"], fresh.criterion(logits, labels))
    first = learner.net.backbone.get_parameter("conv1.0.weight")
    assert torch.autograd.grad(measured["jigsaw"], first)[0].any()


def test_puzzles_are_of_pictures_with_and_without_label_and_of_no_fold(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path, n_test=8, n_unlabelled=4, n_excluded=3)
    table = table_of(run)
    for inductive in (False, True):
        make_jigsaw(run, inductive=inductive)
        learner, pretext, job = learner_for(run)
        rows = pretext.rows_for(job)
        held_out = table["cv_group"].isin(
            table["cv_group"][[*job.val_idx, *job.choice_idx]]
        )
        visible = ~held_out & ~((table["split"] == "test") & inductive)
        assert rows.tolist() == np.flatnonzero(visible).tolist()
        assert set(table["split"].iloc[rows]) == {"train", "unlabelled"} | (
            set() if inductive else {"test"}
        )
        assert learner.kept is not None
        seen = SeenPictures(pixels_of(run))
        seen.rows = set()
        learner.kept.learner.pictures = seen
        scalars = {"loss": torch.zeros(()), "accuracy": torch.zeros(())}
        learner.kept.learner.loss = lambda _, s=scalars: s  # type: ignore[method-assign,misc]
        for epoch in range(30):
            learner.kept.loss(batch_of(run, job.train_idx[:8], epoch))
        assert seen.rows == set(rows.tolist())


def test_the_net_is_stored_without_the_puzzles_and_its_norms_are_of_whole_pictures(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path)
    make_jigsaw(run)
    still = ("--learning-rate=1e-20", "--weight-decay=0", "--overwrite", "--steps=3")
    with_puzzles = tensors_of(kept(run, *still))
    plain = tensors_of(kept(run, *still, weight=0))
    assert with_puzzles.keys() == plain.keys()
    for name, tensor in plain.items():
        if "num_batches" not in name:
            assert_close(with_puzzles[name], tensor, rtol=0, atol=1e-18)
    moved = tensors_of(kept(run, "--overwrite", "--steps=2"))
    other = tensors_of(kept(run, "--overwrite", "--steps=2", weight=0))
    assert not torch.equal(
        moved["backbone.conv1.0.weight"], other["backbone.conv1.0.weight"]
    )


def test_a_resumed_training_goes_on_with_its_puzzles(tmp_path: Path) -> None:
    flags = ("--ema=0.5",)
    whole = make_run(tmp_path / "whole")
    run = make_run(tmp_path / "resumed")
    for each in (whole, run):
        make_jigsaw(each)
    expected = tensors_of(kept(whole, *flags))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "CHECKPOINT_EVERY_S", -1.0)
        loss = FinetuneLearner.loss
        patch.setattr(FinetuneLearner, "loss", fail_at(6, loss))
        with pytest.raises(PowerCutError):
            kept(run, *flags)
    resumed = tensors_of(kept(run, *flags))
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)


def test_what_the_puzzles_follow_from_can_be_sent_to_a_process(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    make_jigsaw(run, grid=2)
    _, pretext, job = learner_for(run)
    copied = pickle.loads(pickle.dumps(pretext))
    assert copied.settings == pretext.settings
    assert copied.rows_for(job).tolist() == pretext.rows_for(job).tolist()


@pytest.mark.parametrize("init", ["scratch", "pretext.dino", "mine.safetensors"])
def test_only_the_jigsaw_goes_on(init: str) -> None:
    message = (
        rf"keep_pretext = 0.3 goes on with the puzzles of pretext.jigsaw, but .*{init}"
    )
    with pytest.raises(UserError, match=message):
        FinetuneSettings(keep_pretext=0.3, init=init)


def test_puzzles_need_a_network_that_moves() -> None:
    with pytest.raises(UserError, match="which train = 'head' holds still; take one"):
        FinetuneSettings(keep_pretext=0.3, train="head")
    FinetuneSettings(keep_pretext=0.3, train="head", unfreeze_after=1)
