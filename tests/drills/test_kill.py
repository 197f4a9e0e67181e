"""Drills: the chain is killed at random moments and must end as if it had not been.

Run by ``make drills``; the figures stand in docs/results.md.
"""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_chain import ROOT, TINY

KILLS = 8
# One thread and float32: the order of sums, and so every bit, is fixed.
SLOWER = TINY.replace("epochs = 2", "epochs = 40\nprecision = 'fp32'").replace(
    "epochs = 1\n", "epochs = 40\nprecision = 'fp32'\n"
)
PIPELINE = """
import sys
import pipeline
from data_prep.command import run_command
from pretext.engine import callbacks

callbacks.CHECKPOINT_EVERY_S = 0.2
sys.argv = ["pipeline", "demo.toml"]
run_command(pipeline.main)
"""
RESULTS = (
    "pretext.jigsaw/backbone.safetensors",
    *(f"transfer.finetune/joint/fold{k}/weights.safetensors" for k in range(3)),
    "stacking.fit/oof.csv",
    "stacking.fit/predictions.csv",
)


def start(place: Path) -> subprocess.Popen[bytes]:
    """Start the chain in a process group of its own."""
    (place / "demo.toml").write_text(SLOWER)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (place / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", PIPELINE],
            cwd=place,
            env=environment,
            stderr=log,
            start_new_session=True,
        )


@pytest.mark.drill
def test_a_chain_killed_at_random_ends_like_one_that_was_not(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for place in (whole, killed):
        place.mkdir()
    assert start(whole).wait() == 0, (whole / "log").read_text()[-2000:]
    moments = random.Random(0)
    n_kills = 0
    while n_kills < KILLS:
        process = start(killed)
        try:
            process.wait(timeout=moments.uniform(5, 12))
            break  # it got to its end before the next kill
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            n_kills += 1
    assert n_kills >= 3
    assert start(killed).wait() == 0, (killed / "log").read_text()[-2000:]
    for name in RESULTS:
        one, other = (place / "runs/demo" / name for place in (whole, killed))
        assert one.read_bytes() == other.read_bytes(), f"{name} after {n_kills} kills"
