"""Drills: a pretraining is killed at random moments and must end as if it had not been.

Run by ``make drills``; the figures stand in docs/results.md.
"""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.prepared_runs import make_run

ROOT = Path(__file__).parents[2]
KILLS = 5
COMMAND = """
import importlib, sys
from data_prep.command import run_command
from pretext.engine import callbacks

callbacks.CHECKPOINT_EVERY_S = 0.2
run_command(importlib.import_module(sys.argv.pop(1)).main)
"""
# One thread and float32: the order of sums, and so every bit, is fixed.
TINY = (
    *("--backbone", "test_resnet", "--batch-size", "8", "--epochs", "60"),
    *("--precision", "fp32", "--threads", "1", "--health-every", "20"),
)


def start(stage: str, folder: Path, flags: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Start a pretraining in a process group of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, stage, "--run", str(folder), *TINY, *flags],
            cwd=folder,
            env=environment,
            stderr=log,
            start_new_session=True,
        )


@pytest.mark.drill
@pytest.mark.parametrize(
    ("stage", "flags"),
    [
        ("pretext.jigsaw", ("--form", "orders", "--orders", "24", "--ema", "0.99")),
        ("pretext.simsiam", ("--width", "32", "--accumulate", "2")),
        ("pretext.dino", ()),
        ("pretext.visreg", ()),
        ("pretext.swav", ("--accumulate", "2")),
        ("pretext.diet", ("--ema", "0.99")),
    ],
)
def test_a_pretraining_killed_at_random_ends_like_one_that_was_not(
    stage: str, flags: tuple[str, ...], tmp_path: Path
) -> None:
    whole, killed = (make_run(tmp_path / name, n_train=60, side=48) for name in "ab")
    place = whole.folder
    assert start(stage, place, flags).wait() == 0, (place / "log").read_text()[-2000:]
    moments = random.Random(0)
    kills = 0
    while kills < KILLS:
        process = start(stage, killed.folder, flags)
        try:
            assert process.wait(timeout=moments.uniform(6, 14)) == 0
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    else:
        assert start(stage, killed.folder, flags).wait() == 0
    print(f"{stage}: killed {kills} times")  # noqa: T201
    assert kills
    for name in ("backbone.safetensors", "logs/metrics.csv"):
        first, second = (run.folder / stage / name for run in (whole, killed))
        assert first.read_bytes() == second.read_bytes(), name
