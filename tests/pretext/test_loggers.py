"""Tests of pretext.engine.loggers."""

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from pytorch_lightning.loggers import Logger
from torch import Tensor, nn

from data_prep.errors import UserError
from pretext import preflight
from pretext.data.pictures import Pictures
from pretext.engine import callbacks, loggers, training
from pretext.engine.epochs import read_epochs
from pretext.engine.learner import Batch, Learner
from pretext.engine.training import train
from pretext.preflight import check_names
from pretext.settings import TrainingSettings

N = 8
SETTINGS = TrainingSettings(epochs=3, batch_size=4, precision="fp32", threads=1)


class Mean(Learner):
    """Learns the mean level, and may stop at a step."""

    def __init__(self, crash_at: int = -1) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))
        self.crash_at, self.step = crash_at, 0

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        if self.step == self.crash_at:
            raise RuntimeError("power cut")
        self.step += 1
        return {"loss": (self.level - batch.images.float().mean() / 255) ** 2}

    def after_epoch(self, epoch: int) -> dict[str, float]:
        return {"held_out/target_rmse": epoch / 2}


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)


def train_in(folder: Path, logger: str, crash_at: int = -1) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (N, 4, 4, 3), dtype=np.uint8)
    train(
        Mean(crash_at),
        Pictures(pixels),
        np.arange(N),
        ids=list("abcdefgh"),
        settings=replace(SETTINGS, logger=logger),
        folder=folder,
        label="tryout",
    )


class Notebook(Logger):
    """Stands for a store: what is sent to the runs of it."""

    sent: ClassVar[dict[str, list[tuple[int | None, dict[str, float]]]]] = {}
    settings: ClassVar[dict[str, Any]] = {}

    def __init__(self, run: Path, name: str, run_id: str) -> None:
        super().__init__()
        self.run_id = run_id or f"{run.name}: {name}, {len(self.sent)}"
        self.sent.setdefault(self.run_id, [])

    @property
    def name(self) -> str:
        return "notebook"

    @property
    def version(self) -> str:
        return self.run_id

    def log_metrics(
        self, metrics: Mapping[str, float], step: int | None = None
    ) -> None:
        self.sent[self.run_id].append((step, dict(metrics)))

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        self.settings.update(params)


def test_each_training_is_a_run_of_the_store_and_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loggers, "_mlflow", Notebook)
    stage = tmp_path / "leaves" / "transfer.finetune.partial"
    with pytest.raises(RuntimeError, match="power cut"):
        train_in(stage / "joint" / "fold0", "mlflow", crash_at=3)
    assert (stage / "joint" / "fold0" / "checkpoints" / "last.ckpt").exists()
    for fold in ("fold0", "fold1"):
        train_in(stage / "joint" / fold, "mlflow")
    train_in(stage / "joint" / "fold2", "none")
    assert Notebook.settings["batch_size"] == 4
    assert "threads" not in Notebook.settings
    assert list(Notebook.sent) == [
        f"leaves: transfer.finetune/joint/fold{k}, {k}" for k in (0, 1)
    ]
    for fold, sent in zip(("fold0", "fold1"), Notebook.sent.values(), strict=True):
        rows = read_epochs(stage / "joint" / fold)
        assert len(rows) == SETTINGS.epochs
        by_step: dict[int | None, dict[str, float]] = {}
        for step, metrics in sent:
            by_step.setdefault(step, {}).update(metrics)
        for row in rows.values():
            logged = by_step[int(row["step"])]
            assert logged["epoch/loss"] == row["loss"]
            assert logged["epoch/learning_rate"] == row["learning_rate"]
            assert logged["held_out/target_rmse"] == row["held_out/target_rmse"]


@pytest.mark.drill
@pytest.mark.skipif(find_spec("mlflow") is None, reason="extra mlflow")
@pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy")
def test_mlflow_keeps_each_net_as_a_run_and_goes_on_with_it(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    leaves = tmp_path / "leaves"
    first, second = (
        leaves / "transfer.finetune.partial" / "joint" / fold
        for fold in ("fold0", "fold1")
    )
    with pytest.raises(RuntimeError, match="power cut"):
        train_in(first, "mlflow", crash_at=3)
    train_in(first, "mlflow")
    (second / "logs").mkdir(parents=True)
    (second / "logs" / "mlflow_id.txt").write_text("of a store that was removed")
    train_in(second, "mlflow")
    client = MlflowClient(f"sqlite:///{leaves / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("leaves")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.run_name: run.info.status for run in runs} == {
        "transfer.finetune/joint/fold0": "FINISHED",
        "transfer.finetune/joint/fold1": "FINISHED",
    }
    for run, folder in zip(sorted(runs, key=_name), (first, second), strict=True):
        assert run.data.params["batch_size"] == "4"
        rows = read_epochs(folder)
        for name, column in (
            ("epoch/loss", "loss"),
            ("held_out/target_rmse", "held_out/target_rmse"),
        ):
            points = client.get_metric_history(run.info.run_id, name)
            assert {point.step: point.value for point in points} == {
                row["step"]: row[column] for row in rows.values()
            }


def _name(run: object) -> str:
    return str(run.info.run_name)  # type: ignore[attr-defined]


@pytest.mark.drill
@pytest.mark.skipif(find_spec("wandb") is None, reason="extra wandb")
def test_weights_and_biases_writes_offline_into_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "leaves" / "pretext.jigsaw.partial"
    with pytest.raises(RuntimeError, match="power cut"):
        train_in(folder, "wandb", crash_at=3)
    train_in(folder, "wandb")
    run_id = (folder / "logs" / "wandb_id.txt").read_text()
    stores = list((tmp_path / "leaves" / "wandb").glob(f"offline-run-*-{run_id}"))
    content = b"".join(
        file.read_bytes() for store in stores for file in store.glob("*.wandb")
    )
    for text in (b"leaves", b"pretext.jigsaw", b"held_out/target_rmse", b"epoch/loss"):
        assert text in content


@pytest.mark.parametrize(
    ("logger", "package"), [("mlflow", "mlflow-skinny"), ("wandb", "wandb")]
)
def test_a_logger_that_is_not_installed_is_refused(
    monkeypatch: pytest.MonkeyPatch, logger: str, package: str
) -> None:
    monkeypatch.setattr(preflight, "find_spec", lambda _: None)
    with pytest.raises(
        UserError,
        match=f"logger = '{logger}', but that is not installed; pip install {package},",
    ):
        check_names("", "adamw", logger)


def test_the_share_that_an_attempt_has_made_is_that_of_its_epochs(
    tmp_path: Path,
) -> None:
    assert SETTINGS.share_done(tmp_path, 4) == 0
    for net, n_rows in (("whole", 2), ("half", 1), ("lost", 2)):
        logs = tmp_path / "joint" / net / "logs"
        logs.mkdir(parents=True)
        rows = [f"{epoch},{5 * epoch}" for epoch in range(1, n_rows + 1)]
        (logs / "epochs.csv").write_text("\n".join(["epoch,step", *rows]))
    (tmp_path / "joint" / "whole" / "weights.safetensors").touch()
    for net in ("half", "lost"):
        (tmp_path / "joint" / net / "checkpoints").mkdir()
    (tmp_path / "joint" / "half" / "checkpoints" / "last.ckpt").touch()  # lost has none
    assert SETTINGS.share_done(tmp_path, 4) == pytest.approx((1 + 1 / 3) / 4)
    by_steps = replace(SETTINGS, steps=50)
    assert by_steps.share_done(tmp_path, 4) == pytest.approx((1 + 5 / 50) / 4)
