"""Drill: a SimSiam that collapses is announced within two epochs, a healthy one is not.

On real pictures, with the settings that a user gets and the schedule of 20 epochs: only
the stop-gradient is gone.
Run by ``make drills``; the figures stand in docs/results.md.
"""

import csv
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from data_prep import prepare
from pretext import simsiam
from pretext.engine.callbacks import StopTraining
from pretext.evaluation.monitor import Monitor
from pretext.methods.siamese import SimSiamLearner

SHARED = Path(__file__).parents[3] / "shared" / "data" / "pomological"
FLAGS = ("--backbone", "resnet18", "--epochs", "20", "--stop", "collapse")


@pytest.mark.drill
@pytest.mark.skipif(not SHARED.exists(), reason="no watercolours here")
@pytest.mark.parametrize("seed", [0, 1])
def test_a_collapse_is_announced_within_two_epochs_and_health_is_not(
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    experiment = tmp_path / "pomological.toml"
    experiment.write_text(
        f"""
[data]
images = "{SHARED / "images"}"
train = "{SHARED / "train.csv"}"
test = "{SHARED / "test.csv"}"
target = "target"
group = "series"
[data_prep.prepare]
side = 64
fit = "squash"
""",
        encoding="utf-8",
    )
    where = ("--run", str(tmp_path / "run"), "--experiment", str(experiment))
    prepare.main(where)
    flags = (*where, *FLAGS, "--seed", str(seed))
    act = Monitor.__call__

    def stop_after_two(self: Monitor, epoch: int) -> Mapping[str, float]:
        metrics = act(self, epoch)
        if epoch == 2:
            raise StopTraining("two epochs are over")
        return metrics

    monkeypatch.setattr(Monitor, "__call__", stop_after_two)
    is_announced = {}
    for name in ("without stop-gradient", "healthy"):
        caplog.clear()
        with monkeypatch.context() as patch:
            if name != "healthy":
                patch.setattr(SimSiamLearner, "target", lambda _, projected: projected)
            folder = simsiam.main([*flags, "--overwrite"])
        is_announced[name] = "COLLAPSED after epoch" in caplog.text
        with (folder / "logs" / "health.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                spread, rank = row["health/spread"], row["health/rank"]
                print(  # noqa: T201
                    f"seed {seed}, {name}, epoch {row['epoch']}:"
                    f" spread {float(spread):.3f}, rank {float(rank):.1f}"
                )
    assert is_announced == {"healthy": False, "without stop-gradient": True}
