"""Tests of pretext.engine.training."""

import csv
import errno
import logging
import math
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data_prep.errors import UserError
from pretext import device
from pretext.data.keyed_rng import keys_of
from pretext.data.pictures import Pictures
from pretext.device import set_threads, trains_in_bf16, use_bf16
from pretext.engine import callbacks, training
from pretext.engine.epochs import add_to_last_epoch, read_epochs
from pretext.engine.learner import Batch, Learner, ParameterGroup
from pretext.engine.module import DivergedError, Module
from pretext.engine.schedules import Schedule
from pretext.engine.training import Outcome, train
from pretext.settings import TrainingSettings
from tests.drilled import in_drills

N, SIDE = 23, 8
ROWS = np.arange(2, N)  # 21 pictures; two are not trained on
SETTINGS = TrainingSettings(
    epochs=3, batch_size=4, learning_rate=0.01, precision="fp32", threads=1
)
STEPS_PER_EPOCH, STEPS = 5, 15


class CrashError(Exception):
    """Whatever stops a training."""


class Watched(Learner):
    """A small net with dropout and batch norm that remembers what it was given."""

    def __init__(self, crash_at: int = -1, bad_at: int = -1) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.net = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(54, 2),
        )
        self.crash_at, self.bad_at = crash_at, bad_at
        self.batches: list[Batch] = []
        self.first_step = 0
        self.measured_after: list[tuple[int, bool]] = []

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        assert self.training
        step = batch.epoch * STEPS_PER_EPOCH + self.place_in_epoch(batch)
        if step == self.crash_at:
            raise CrashError
        self.batches.append(batch)
        wanted = torch.from_numpy(batch.rows % 2)
        scores = self.net(batch.images.float() / 255)
        loss = F.cross_entropy(scores, wanted)
        if step == self.bad_at:
            loss = loss * math.nan
        return {"loss": loss, "mean": scores.mean()}

    def place_in_epoch(self, batch: Batch) -> int:
        before = [b for b in self.batches if b.epoch == batch.epoch]
        begun = self.first_step - batch.epoch * STEPS_PER_EPOCH
        return len(before) + max(0, begun)

    def after_epoch(self, epoch: int) -> dict[str, float]:
        self.measured_after.append((epoch, self.training))
        return {"held_out": epoch / 10}


@pytest.fixture
def pictures() -> Pictures:
    rng = np.random.default_rng(0)
    return Pictures(rng.integers(0, 256, (N, SIDE, SIDE, 3), dtype=np.uint8))


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "pick_device", lambda: torch.device("cpu"))


def run(
    learner: Learner,
    pictures: Pictures,
    folder: Path,
    settings: TrainingSettings = SETTINGS,
    publish: Callable[[int], Mapping[str, float] | None] | None = None,
) -> Outcome:
    ids = [f"p{row}" for row in ROWS]
    return train(
        *(learner, pictures, ROWS, ids, settings, folder),
        label="tryout",
        publish=publish,
    )


def weights(learner: Learner) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in learner.state_dict().items()}


def metrics(folder: Path) -> list[tuple[int, str, float]]:
    with (folder / "logs" / "metrics.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["step", "name", "value"]
    return [(int(step), name, float(value)) for step, name, value in rows]


def epochs(folder: Path) -> dict[int, dict[str, float]]:
    """Read the rows of the epochs, without the time that they took."""
    rows = read_epochs(folder)
    assert all(row.pop("seconds") >= 0 for row in rows.values())
    return rows


def test_an_epoch_shows_each_picture_at_most_once(
    pictures: Pictures, tmp_path: Path
) -> None:
    learner = Watched()
    outcome = run(learner, pictures, tmp_path)
    assert outcome.steps == STEPS
    by_epoch = [
        np.concatenate([b.rows for b in learner.batches if b.epoch == epoch])
        for epoch in range(3)
    ]
    assert [len(rows) for rows in by_epoch] == [20, 20, 20]
    assert [b.epoch for b in learner.batches] == [0] * 5 + [1] * 5 + [2] * 5
    for rows in by_epoch:
        assert len(set(rows)) == 20
        assert set(rows) <= set(ROWS)
    first = [tuple(b.rows) for b in learner.batches if b.epoch == 0]
    assert len({tuple(rows) for rows in by_epoch}) == 3
    assert set(first).isdisjoint(tuple(b.rows) for b in learner.batches if b.epoch)


def test_a_batch_holds_the_pictures_and_keys_of_its_rows(
    pictures: Pictures, tmp_path: Path
) -> None:
    learner = Watched()
    run(learner, pictures, tmp_path, replace(SETTINGS, seed=5))
    for batch in learner.batches:
        assert (
            batch.images.permute(0, 2, 3, 1).numpy() == pictures.pixels[batch.rows]
        ).all()
        assert (batch.keys == keys_of([f"p{row}" for row in batch.rows])).all()
        assert batch.seed == 5


def test_the_seed_decides(pictures: Pictures, tmp_path: Path) -> None:
    ends = []
    for number, seed in enumerate((0, 0, 1)):
        learner = Watched()
        run(learner, pictures, tmp_path / str(number), replace(SETTINGS, seed=seed))
        ends.append(weights(learner))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert not torch.equal(ends[0]["net.0.weight"], ends[2]["net.0.weight"])


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"optimizer": "sgd", "schedule": "linear"},
        {"optimizer": "radam", "ema": 0.9},
        {"ema": 0.5, "warmup": 0.3, "final_scale": 2.0},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "crashes",
    [
        [7, 11],
        *(in_drills([step]) for step in (1, 5, 14)),
    ],
)
def test_a_training_gone_on_with_ends_with_the_same_weights(
    change: dict[str, Any],
    crashes: list[int],
    pictures: Pictures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = replace(SETTINGS, **change)
    straight = Watched()
    outcome = run(straight, pictures, tmp_path / "straight", settings)
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
    folder = tmp_path / "crashed"
    begun = 0
    for step in crashes:
        learner = Watched(crash_at=step)
        learner.first_step = begun
        with pytest.raises(CrashError):
            run(learner, pictures, folder, settings)
        assert len(learner.batches) == step - begun
        begun = step
    learner = Watched()
    learner.first_step = begun
    torch.manual_seed(123)  # what ran before must not matter
    again = run(learner, pictures, folder, settings)
    assert len(learner.batches) == STEPS - begun
    assert (again.steps, again.last) == (outcome.steps, outcome.last)
    # also where the last attempt had no step left but those that warm up
    assert again.images_per_s > 0
    expected = weights(straight)
    for name, tensor in weights(learner).items():
        assert torch.equal(tensor, expected[name]), name
    assert metrics(folder) == metrics(tmp_path / "straight")
    assert epochs(folder) == epochs(tmp_path / "straight")


def test_a_checkpoint_older_than_the_crash_is_gone_on_from(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = Watched()
    run(straight, pictures, tmp_path / "straight")
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
    saving = callbacks.TrainingCallback._save
    monkeypatch.setattr(
        callbacks.TrainingCallback,
        "_save",
        lambda watch, trainer: trainer.global_step <= 6 and saving(watch, trainer),
    )
    with pytest.raises(CrashError):
        run(Watched(crash_at=12), pictures, tmp_path / "crashed")
    assert [row for row in metrics(tmp_path / "crashed") if row[0] == 10]
    learner = Watched()
    learner.first_step = 6
    run(learner, pictures, tmp_path / "crashed")
    assert len(learner.batches) == STEPS - 6
    expected = weights(straight)
    assert all(torch.equal(t, expected[n]) for n, t in weights(learner).items())
    assert metrics(tmp_path / "crashed") == metrics(tmp_path / "straight")
    assert epochs(tmp_path / "crashed") == epochs(tmp_path / "straight")


@pytest.mark.parametrize("accumulate", [1, 2])
def test_each_epoch_has_a_row_of_means_rates_and_what_was_measured(
    accumulate: int,
    pictures: Pictures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses, rates = [], []
    training_step = Module.training_step

    def watched(module: Module, batch: Any, batch_idx: int) -> Tensor:
        loss = training_step(module, batch, batch_idx)
        losses.append(loss.item())
        rates.append(module.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return loss

    monkeypatch.setattr(Module, "training_step", watched)
    settings = replace(SETTINGS, accumulate=accumulate, steps=7)
    run(Watched(), pictures, tmp_path, settings, publish=lambda e: {"seen/by": e / 3})
    size = STEPS_PER_EPOCH // accumulate
    by_epoch = {
        e: range(e * size, min((e + 1) * size, 7)) for e in range(-(-7 // size))
    }
    rows = epochs(tmp_path)
    assert list(rows) == [epoch + 1 for epoch in by_epoch]
    for epoch, steps in by_epoch.items():
        row = rows[epoch + 1]
        forwards = slice(steps[0] * accumulate, (steps[-1] + 1) * accumulate)
        assert row["step"] == steps[-1] + 1
        assert row["loss"] == pytest.approx(np.mean(losses[forwards]), rel=1e-6)
        assert row["held_out"] == (epoch + 1) / 10
        assert row["seen/by"] == (epoch + 1) / 3
        if steps[-1] + 1 < 7:  # the rate that the next step will have
            assert row["learning_rate"] == rates[forwards.stop]
    add_to_last_epoch(tmp_path, {"held_out/late": 0.1})
    assert epochs(tmp_path)[max(rows)] == rows[max(rows)] | {"held_out/late": 0.1}
    assert epochs(tmp_path)[1] == rows[1]


def test_a_training_whose_checkpoints_are_deleted_begins_anew(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
    for _ in range(2):
        learner = Watched()
        run(learner, pictures, tmp_path)
        # the weights are not on disk yet, so the checkpoint must still be
        assert (tmp_path / "checkpoints" / "last.ckpt").exists()
        shutil.rmtree(tmp_path / "checkpoints")
        assert len(learner.batches) == STEPS
        steps = [step for step, name, _ in metrics(tmp_path) if name == "loss"]
        assert steps == [10, 15]


def test_epochs_are_measured_and_published_in_eval_mode(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
    published: list[tuple[int, bool]] = []
    seen: list[dict[str, Tensor]] = []

    def publish_of(learner: Learner) -> Callable[[int], None]:
        def publish(epoch: int) -> None:
            published.append((epoch, learner.training))
            seen.append(weights(learner))

        return publish

    learner = Watched(crash_at=11)
    with pytest.raises(CrashError):
        run(learner, pictures, tmp_path, publish=publish_of(learner))
    assert published == [(1, False), (2, False)]
    learner = Watched()
    learner.first_step = 11
    run(learner, pictures, tmp_path, publish=publish_of(learner))
    assert published == [(1, False), (2, False), (3, False)]
    assert learner.measured_after == [(3, False)]
    assert all(torch.equal(t, seen[2][n]) for n, t in weights(learner).items())
    assert not torch.equal(seen[1]["net.0.weight"], seen[2]["net.0.weight"])


def test_what_is_measured_is_logged_and_returned(
    pictures: Pictures, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator,
    )

    outcome = run(Watched(), pictures, tmp_path)
    rows = metrics(tmp_path)
    by_name = {name: [s for s, n, _ in rows if n == name] for _, name, _ in rows}
    assert by_name["loss"] == by_name["mean"] == [10, 15]
    assert by_name["held_out"] == [5, 10, 15]
    assert [v for _, name, v in rows if name == "held_out"] == [0.1, 0.2, 0.3]
    assert set(outcome.last) == {"loss", "mean", "held_out"}
    assert outcome.last["loss"] == [v for _, name, v in rows if name == "loss"][-1]
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert {"loss", "mean", "held_out", "learning_rate"} <= set(
        events.Tags()["scalars"]
    )
    assert [event.step for event in events.Scalars("held_out")] == [5, 10, 15]
    assert [event.value for event in events.Scalars("epoch/loss")] == pytest.approx(
        [row["loss"] for row in epochs(tmp_path).values()]
    )
    assert outcome.images_per_s > 0
    assert 0 < outcome.data_share < 1


def test_a_short_training_has_its_last_loss_too(
    pictures: Pictures, tmp_path: Path
) -> None:
    outcome = run(Watched(), pictures, tmp_path, replace(SETTINGS, epochs=1))
    assert outcome.steps == 5
    assert math.isfinite(outcome.last["loss"])


def test_more_pictures_per_step_than_there_are_is_refused(
    pictures: Pictures, tmp_path: Path
) -> None:
    message = "batch_size = 22, but tryout has only 21 pictures to train on; give a sma"
    with pytest.raises(UserError, match=message):
        run(Watched(), pictures, tmp_path, replace(SETTINGS, batch_size=22))
    learner = Watched()
    outcome = run(
        learner, pictures, tmp_path, replace(SETTINGS, batch_size=21, epochs=1)
    )
    assert outcome.steps == 1
    assert set(learner.batches[0].rows) == set(ROWS)


@pytest.mark.parametrize("step", [0, 3, 14])
def test_a_loss_that_is_no_number_stops_the_training(
    step: int, pictures: Pictures, tmp_path: Path
) -> None:
    message = rf"the loss is nan at step {step} of 15; give a smaller --learning-rate"
    with pytest.raises(DivergedError, match=message):
        run(Watched(bad_at=step), pictures, tmp_path)


def test_weights_that_are_no_numbers_are_not_published(
    pictures: Pictures, tmp_path: Path
) -> None:
    class Exploding(Watched):
        def loss(self, batch: Batch) -> dict[str, Tensor]:
            measured = super().loss(batch)
            if len(self.batches) == STEPS_PER_EPOCH:  # finite, its gradient is not
                zero = 0 * self.net.get_parameter("5.weight").sum()
                measured["loss"] = measured["loss"] + zero.sqrt()
            return measured

    published: list[int] = []
    with pytest.raises(
        DivergedError, match="a weight is not a finite number at step 5"
    ):
        run(Exploding(), pictures, tmp_path, publish=published.append)
    assert published == []


@pytest.mark.parametrize("every_s", [0.0, 1e9])
def test_ctrl_c_is_heard_and_can_be_gone_on_from(
    every_s: float,
    pictures: Pictures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Stopped(Watched):
        def loss(self, batch: Batch) -> dict[str, Tensor]:
            if len(self.batches) == 7:
                raise KeyboardInterrupt
            return super().loss(batch)

    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", every_s)
    before = signal.getsignal(signal.SIGINT)
    caplog.set_level("INFO")
    with pytest.raises(KeyboardInterrupt):
        run(Stopped(), pictures, tmp_path)
    told = caplog.messages[-1]
    assert signal.getsignal(signal.SIGINT) is before
    learner = Watched()
    run(learner, pictures, tmp_path)
    if every_s:
        assert "it begins anew, as a checkpoint is made every" in told
        assert len(learner.batches) == STEPS
        return
    assert len(learner.batches) == STEPS - 7
    where = "goes on in epoch 2 of 3, from step 7; it was stopped after step 7"
    assert told.endswith(where)
    assert any("goes on in epoch 2 of 3 (step 7 of 15" in m for m in caplog.messages)


def test_a_checkpoint_is_written_where_it_belongs_and_nowhere_else(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    run(Watched(), pictures, tmp_path / "fine")
    full = OSError(errno.ENOSPC, "No space left on device")

    def fsync(number: int) -> None:
        if "last.ckpt" in os.readlink(f"/proc/self/fd/{number}"):  # noqa: PTH115
            raise full

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(OSError, match="No space left on device") as caught:
        run(Watched(), pictures, tmp_path / "full")
    assert str(caught.value.filename).endswith("checkpoints/last.ckpt")
    assert [*(tmp_path / "full" / "checkpoints").iterdir()] == []


def test_a_damaged_checkpoint_is_named_and_not_gone_on_from(
    pictures: Pictures, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"PK\x03\x04 cut off")
    learner = Watched()
    run(learner, pictures, tmp_path)
    assert len(learner.batches) == STEPS
    assert "last.ckpt is damaged; beginning anew" in caplog.text


@pytest.mark.parametrize("harm", ["cut", "emptied", "changed"])
def test_a_checkpoint_that_was_whole_once_is_not_trusted_either(
    pictures: Pictures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    harm: str,
) -> None:
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
    with pytest.raises(CrashError):
        run(Watched(crash_at=3), pictures, tmp_path)
    file = tmp_path / "checkpoints" / "last.ckpt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1  # within a tensor, or beside one
    cut = content[: len(content) // 2]
    file.write_bytes({"cut": cut, "emptied": b"", "changed": content}[harm])
    learner = Watched()
    run(learner, pictures, tmp_path)
    assert len(learner.batches) == STEPS
    assert "last.ckpt is damaged; beginning anew" in caplog.text


def test_a_line_of_the_log_that_was_cut_is_left_out(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
    run(Watched(), pictures, tmp_path / "whole")
    with pytest.raises(CrashError):
        run(Watched(crash_at=7), pictures, tmp_path / "cut")
    with (tmp_path / "cut" / "logs" / "metrics.csv").open("ab") as log:
        log.write(b"3,lo\0\xff")
    learner = Watched()
    learner.first_step = 7
    run(learner, pictures, tmp_path / "cut")
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")


def test_a_checkpoint_of_another_net_is_an_error_of_its_own(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
    with pytest.raises(CrashError):
        run(Watched(crash_at=3), pictures, tmp_path)
    other = Watched()
    other.net[5] = nn.Linear(54, 3)
    with pytest.raises(RuntimeError, match=r"size mismatch for learner\.net\.5"):
        run(other, pictures, tmp_path)


class InGroups(Watched):
    """Has a group with a rate of its own, one that is frozen at first, and one ever."""

    def __init__(self, crash_at: int = -1) -> None:
        super().__init__(crash_at)
        self.rates: list[list[float]] = []
        self.optimizer: torch.optim.Optimizer | None = None
        self.trail: list[dict[str, Tensor]] = []

    def groups(self) -> list[ParameterGroup]:
        conv, norm, linear = (self.net[k].parameters() for k in (0, 1, 5))
        weight, bias = linear
        return [
            ParameterGroup(name="weight", parameters=[weight], factor=0.5),
            ParameterGroup(name="bias", parameters=[bias], is_scheduled=False),
            ParameterGroup(name="norm", parameters=[*norm], from_epoch=1),
            ParameterGroup(name="conv", parameters=[*conv], from_epoch=math.inf),
        ]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        if self.optimizer is not None:
            self.rates.append([group["lr"] for group in self.optimizer.param_groups])
        return super().loss(batch)

    def after_step(self, done: float) -> None:
        del done
        self.trail.append(weights(self))


@pytest.mark.parametrize(
    ("optimizer", "schedule"), [("adamw", "cosine"), ("sgd", "restarts")]
)
def test_rates_and_decays_are_as_said(
    optimizer: Any,
    schedule: Any,
    pictures: Pictures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure = Module.configure_optimizers

    def watched(module: Module) -> Any:
        plan = configure(module)
        cast(InGroups, module.learner).optimizer = plan["optimizer"]
        return plan

    monkeypatch.setattr(Module, "configure_optimizers", watched)
    settings = replace(
        SETTINGS,
        optimizer=optimizer,
        schedule=schedule,
        warmup=0.2,
        weight_decay=0.3,
        cycles=2,
    )
    learner = InGroups()
    run(learner, pictures, tmp_path, settings)
    name_of = {id(p): name for name, p in learner.named_parameters()}
    assert learner.optimizer is not None
    by_names = {
        frozenset(name_of[id(p)] for p in group["params"]): (
            group["weight_decay"],
            [of_step[number] for of_step in learner.rates],
        )
        for number, group in enumerate(learner.optimizer.param_groups)
    }
    shares = Schedule(name=schedule, total=STEPS, warmup=0.2, cycles=2)
    curve = [0.01 * shares.at(step) for step in range(STEPS)]
    thawed = [0.0] * STEPS_PER_EPOCH + curve[STEPS_PER_EPOCH:]
    assert by_names == {
        frozenset({"net.5.weight"}): (0.3, pytest.approx([r / 2 for r in curve])),
        frozenset({"net.5.bias"}): (0.0, [0.01] * STEPS),
        frozenset({"net.1.weight", "net.1.bias"}): (0.0, pytest.approx(thawed)),
        frozenset({"net.0.weight"}): (0.3, [0.0] * STEPS),
        frozenset({"net.0.bias"}): (0.0, [0.0] * STEPS),
    }
    logged = {name: value for step, name, value in metrics(tmp_path) if step == 10}
    ends = {"weight": 0.5 * curve[10], "bias": 0.01, "norm": curve[10], "conv": 0.0}
    assert logged["learning_rate"] == pytest.approx(0.5 * curve[10])
    assert {n: logged[f"learning_rate/{n}"] for n in ends} == pytest.approx(ends)


@pytest.mark.parametrize("crash", [3, 7])
def test_what_is_frozen_stays_and_its_batch_norm_too(
    crash: int, pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
    first = weights(InGroups())
    whole = InGroups()
    settings = replace(SETTINGS, weight_decay=0.3)
    run(whole, pictures, tmp_path / "whole", settings)
    for step, now in enumerate(whole.trail):
        changed = {name for name in now if not torch.equal(now[name], first[name])}
        of_norm = {name for name in now if name.startswith("net.1.")}
        frozen_too = of_norm if step < STEPS_PER_EPOCH else set()
        moving = {"net.5.weight", "net.5.bias", *of_norm} - frozen_too
        assert changed == moving, step
    with pytest.raises(CrashError):
        run(InGroups(crash), pictures, tmp_path / "parts", settings)
    parts = InGroups()
    parts.first_step = crash
    run(parts, pictures, tmp_path / "parts", settings)
    assert len(parts.trail) == STEPS - crash
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(parts)[name]), name


def test_a_plateau_gone_on_with_ends_with_the_same_weights(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
    settings = replace(
        SETTINGS, schedule="plateau", plateau_patience=0, warmup=0, learning_rate=3.0
    )
    whole = Watched()
    run(whole, pictures, tmp_path / "whole", settings)
    rates = [r for _, name, r in metrics(tmp_path / "whole") if name[:5] == "learn"]
    assert rates[-1] < 3
    with pytest.raises(CrashError):
        run(Watched(crash_at=8), pictures, tmp_path / "parts", settings)
    parts = Watched()
    parts.first_step = 8
    run(parts, pictures, tmp_path / "parts", settings)
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(parts)[name]), name


@pytest.mark.parametrize("clip", [0.0, 0.001])
def test_gradients_are_clipped_as_said(
    clip: float, pictures: Pictures, tmp_path: Path
) -> None:
    norms = []

    class Sgd(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            loss = closure()
            parameters = [p for group in self.param_groups for p in group["params"]]
            norms.append(math.hypot(*(float(p.grad.norm()) for p in parameters)))
            return super().step(lambda: loss)

    settings = replace(SETTINGS, optimizer="sgd", clip=clip, epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.optim.SGD", Sgd)
        run(Watched(), pictures, tmp_path, settings)
    assert len(norms) == 5
    assert all((norm <= 0.001 * 1.01) == (clip > 0) for norm in norms)


def test_bfloat16_trains_and_is_not_float32(pictures: Pictures, tmp_path: Path) -> None:
    ends = []
    precisions: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")
    for precision in precisions:
        learner = Watched()
        settings = replace(SETTINGS, precision=precision)
        outcome = run(learner, pictures, tmp_path / precision, settings)
        assert math.isfinite(outcome.last["loss"])
        ends.append(weights(learner)["net.0.weight"])
    assert ends[1].dtype == torch.float32
    assert not torch.equal(ends[0], ends[1])
    assert (ends[0] - ends[1]).abs().max() < 0.1


def test_precision_is_as_asked_unless_it_is_automatic() -> None:
    cpu = torch.device("cpu")
    assert use_bf16("bf16", cpu)
    assert not use_bf16("fp32", cpu)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "has_bf16_units", lambda: False)
        assert not use_bf16("auto", cpu)


def test_mobile_networks_train_in_fp32_on_a_cpu_unless_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "use_bf16", lambda precision, _: precision != "fp32")
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    depthwise = nn.Conv2d(4, 4, 3, groups=4)
    mobile = nn.Sequential(nn.Conv2d(3, 4, 1), depthwise, nn.BatchNorm2d(4))
    others = [
        nn.Sequential(depthwise, nn.LayerNorm(4)),  # as a ConvNeXt: faster in bf16
        nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.BatchNorm2d(4)),  # a RegNet
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)),
    ]
    assert not trains_in_bf16("auto", cpu, mobile)
    assert trains_in_bf16("bf16", cpu, mobile)
    assert trains_in_bf16("auto", gpu, mobile)
    for network in others:
        assert trains_in_bf16("auto", cpu, network)


def test_threads_are_as_asked_and_as_usual_again() -> None:
    try:
        set_threads(2)
        assert torch.get_num_threads() == 2
    finally:
        set_threads(0)
    assert torch.get_num_threads() == device.USUAL_THREADS


def test_lightning_is_quiet(
    pictures: Pictures,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO)
    run(Watched(), pictures, tmp_path, replace(SETTINGS, epochs=1))
    assert caplog.records == []
    shown = capfd.readouterr()
    assert shown.out == ""
    assert all(
        line.strip().startswith("tryout") for line in shown.err.split("\r") if line
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs = 0: give more than 0"),
        ({"batch_size": 1}, "batch_size = 1: give 2 or more"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0: give more than 0"),
        ({"warmup": 1.0}, "warmup = 1.0: give 0 to below 1"),
        ({"warmup": -0.1}, "warmup = -0.1: give 0 to below 1"),
        ({"weight_decay": -1.0}, "weight_decay = -1.0: give 0 or more"),
        ({"clip": -1.0}, "clip = -1.0: give 0 or more"),
        ({"threads": -1}, "threads = -1: give 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        TrainingSettings(**change)


@pytest.mark.parametrize("crash_at", [None, 3, 9])
def test_accumulating_is_the_same_as_a_larger_batch(
    crash_at: int | None,
    pictures: Pictures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Plain(Learner):
        """Nothing that looks across the batch, so that only the sums can differ."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.net = nn.Linear(3 * SIDE * SIDE, 2)
            self.forwards = 0

        def loss(self, batch: Batch) -> dict[str, Tensor]:
            if self.forwards == crash_at:
                raise CrashError
            self.forwards += 1
            scores = self.net(batch.images.flatten(1).float() / 255)
            wanted = torch.from_numpy(batch.rows % 2)
            return {"loss": F.cross_entropy(scores, wanted)}

    whole = Plain()
    settings = replace(SETTINGS, batch_size=8, clip=0.5)
    crash, crash_at = crash_at, None
    outcome = run(whole, pictures, tmp_path / "whole", settings)
    assert (outcome.steps, whole.forwards) == (6, 6)
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
    halves = replace(settings, batch_size=4, accumulate=2)
    if crash is not None:
        crash_at = crash
        with pytest.raises(CrashError):
            run(Plain(), pictures, tmp_path / "parts", halves)
        crash_at = None
    parts = Plain()
    again = run(parts, pictures, tmp_path / "parts", halves)
    assert again.steps == 6
    assert parts.forwards == 12 - (crash or 0) // 2 * 2
    expected = weights(whole)
    for name, tensor in weights(parts).items():
        assert torch.allclose(tensor, expected[name], atol=1e-6), name
    assert again.last == pytest.approx(outcome.last, abs=1e-6)


def test_averaged_weights_are_kept_measured_and_published(
    pictures: Pictures, tmp_path: Path
) -> None:
    decay = 0.6
    trail: list[dict[str, Tensor]] = []
    published: list[dict[str, Tensor]] = []

    class Trailed(Watched):
        def after_step(self, done: float) -> None:
            trail.append(weights(self))
            assert done == len(trail) / STEPS

    learner = Trailed()
    first = weights(learner)
    run(
        learner,
        pictures,
        tmp_path,
        replace(SETTINGS, ema=decay),
        publish=lambda _: published.append(weights(learner)),
    )
    expected, after_epochs = first, []
    for step, now in enumerate(trail, start=1):
        d = min(decay, (1 + step) / (10 + step))
        expected = {
            name: d * expected[name] + (1 - d) * now[name]
            if now[name].is_floating_point()
            else now[name]
            for name in now
        }
        if step % STEPS_PER_EPOCH == 0:
            after_epochs.append(expected)
    for wanted, found in zip(
        [*after_epochs, after_epochs[-1]], [*published, weights(learner)], strict=True
    ):
        assert all(torch.allclose(wanted[n], found[n], atol=1e-6) for n in wanted)
    # the training itself went on from its own weights, not from the average
    plain = Watched()
    run(plain, pictures, tmp_path / "plain")
    assert all(torch.equal(trail[-1][n], t) for n, t in weights(plain).items())
    assert not torch.equal(weights(learner)["net.0.weight"], trail[-1]["net.0.weight"])


@pytest.mark.parametrize(("steps", "epochs"), [(1, [1]), (7, [1, 2]), (10, [1, 2])])
def test_a_training_may_be_given_in_steps(
    steps: int, epochs: list[int], pictures: Pictures, tmp_path: Path
) -> None:
    published: list[int] = []
    learner = Watched()
    outcome = run(
        *(learner, pictures, tmp_path, replace(SETTINGS, steps=steps)),
        publish=published.append,  # type: ignore[arg-type]
    )
    assert (outcome.steps, len(learner.batches)) == (steps, steps)
    assert published == epochs
    assert SETTINGS.total_steps(len(ROWS)) == STEPS


def test_views_grow_for_the_last_part(pictures: Pictures, tmp_path: Path) -> None:
    learner = Watched()
    settings = replace(SETTINGS, final_scale=1.5, final_share=0.2)
    run(learner, pictures, tmp_path, settings)
    assert [batch.scale for batch in learner.batches] == [1.0] * 12 + [1.5] * 3
    for share, late in ((0.0, 0), (0.5, 8), (0.99, 15)):
        changed = replace(settings, final_share=share)
        scales = [changed.scale_at(step, 15) for step in range(15)]
        assert scales == [1.0] * (15 - late) + [1.5] * late


@pytest.mark.parametrize("resumed", [False, True])
def test_a_training_may_be_ended_between_epochs(
    resumed: bool,
    pictures: Pictures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)

    def enough(epoch: int) -> dict[str, float]:
        if epoch == 2:
            raise callbacks.StopTraining("it is good enough")
        return {"probe": epoch + 0.5}

    learner = Watched(crash_at=8 if resumed else -1)
    if resumed:
        with pytest.raises(CrashError):
            run(learner, pictures, tmp_path, publish=enough)
        learner = Watched()
        learner.first_step = 8
    outcome = run(learner, pictures, tmp_path, publish=enough)
    assert (outcome.steps, outcome.stopped) == (10, "it is good enough")
    resumptions = [m for m in caplog.messages if "goes on" in m]
    file = tmp_path / "checkpoints" / "last.ckpt"
    told = f"tryout: goes on in epoch 2 of 3 (step 8 of 15, by {file})"
    assert resumptions == [told] * resumed
    probes = [(s, v) for s, name, v in metrics(tmp_path) if name == "probe"]
    assert probes == [(5, 1.5)]
    straight = run(Watched(), pictures, tmp_path / "straight")
    assert straight.stopped == ""


def test_the_pictures_of_a_diverged_batch_are_kept(
    pictures: Pictures, tmp_path: Path
) -> None:
    learner = Watched(bad_at=3)
    message = r"the pictures of that batch: .*logs/diverged_at_step3\.csv$"
    with pytest.raises(DivergedError, match=message):
        run(learner, pictures, tmp_path)
    with (tmp_path / "logs" / "diverged_at_step3.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    rows = learner.batches[3].rows
    assert [row["id"] for row in found] == [f"p{row}" for row in rows]
    levels = pictures.pixels[rows].reshape(4, -1).astype(float)
    for name, expected in (
        ("mean_level", levels.mean(axis=1)),
        ("std_level", levels.std(axis=1, ddof=1)),
    ):
        assert [float(r[name]) for r in found] == pytest.approx(expected, abs=0.06)


def test_how_long_it_will_take_is_said_early(
    pictures: Pictures, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run(Watched(), pictures, tmp_path)
    assert "tryout: about 0 seconds to go" in caplog.text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.4, "3 seconds"), (89, "89 seconds"), (100, "2 minutes"), (9000, "2.5 hours")],
)
def test_durations_by_hand(seconds: float, text: str) -> None:
    assert callbacks.duration(seconds) == text


def test_all_parts_of_the_learner_are_compiled_when_asked(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[nn.Module] = []

    def noted(part: nn.Module) -> None:
        compiled.append(part)

    monkeypatch.setattr(nn.Module, "compile", noted)
    learner = Watched()
    run(learner, pictures, tmp_path, replace(SETTINGS, compile=True))
    assert compiled == list(learner.children())


def test_what_needs_no_gradient_is_left_as_it_is(
    pictures: Pictures, tmp_path: Path
) -> None:
    learner = Watched()
    learner.net[0].requires_grad_(False)
    before = weights(learner)
    run(learner, pictures, tmp_path)
    after = weights(learner)
    assert torch.equal(before["net.0.weight"], after["net.0.weight"])
    assert not torch.equal(before["net.5.weight"], after["net.5.weight"])


def test_batch_times_accumulate_must_fit_too(
    pictures: Pictures, tmp_path: Path
) -> None:
    message = "batch_size = 4 x accumulate = 6, but tryout has only 21 pictures"
    with pytest.raises(UserError, match=message):
        run(Watched(), pictures, tmp_path, replace(SETTINGS, accumulate=6))


def test_an_unknown_optimizer_is_refused_before_anything_is_written(
    pictures: Pictures, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="optimizer = 'adamv': no such optimiser; did"):
        run(Watched(), pictures, tmp_path, replace(SETTINGS, optimizer="adamv"))
    assert not list(tmp_path.iterdir())
