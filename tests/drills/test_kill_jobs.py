"""Drills: nets side by side are killed, with their parent or one by one.

Run by ``make drills``; the figures stand in docs/results.md.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pretext.engine.epochs import read_epochs
from tests.prepared_runs import make_run

ROOT = Path(__file__).parents[2]
KILLS = 4
FOLDS = 3
IMPORTS_S = 120  # what the script below imports comes before anything of ours
# A file, since the processes read it too: they keep as many checkpoints.
COMMAND = """
from data_prep.command import run_command
from pretext.engine import callbacks
from transfer.finetune import main

callbacks.CHECKPOINT_EVERY_S = 0.2
if __name__ == "__main__":
    run_command(main)
"""
# One thread and float32: the order of sums, and so every bit, is fixed.
TINY = (
    *("--backbone", "test_resnet", "--init", "scratch", "--batch-size", "8"),
    *("--epochs", "60", "--joint", "--tasks", "target", "--score-every", "5"),
    *("--precision", "fp32", "--threads", "1"),
)


def start(folder: Path, n_jobs: int) -> subprocess.Popen[bytes]:
    """Start a fine-tuning."""
    script = folder / "fine_tune.py"
    script.write_text(COMMAND, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    flags = ("--run", str(folder), "--jobs", str(n_jobs), *TINY)
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, str(script), *flags],
            cwd=folder,
            env=environment,
            stderr=log,
        )


def children_of(pid: int) -> list[int]:
    """List the processes that train for a parent."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [child for child in map(int, text.split()) if trains(child)]


def trains(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def is_training(folder: Path, parent: int) -> bool:
    """Tell whether its processes have begun, and one has kept a checkpoint."""
    checkpoints = folder.glob("transfer.finetune.partial/joint/*/checkpoints/*.ckpt")
    return bool(children_of(parent)) and any(checkpoints)


def kill_parent(parent: subprocess.Popen[bytes]) -> bool:
    """Kill the parent alone, and see that its processes end; tell if there were any."""
    children = children_of(parent.pid)
    if not children:  # it has ended, or trains the only net that is missing
        parent.wait()
        return False
    parent.kill()
    parent.wait()
    began = time.monotonic()
    while any(map(trains, children)):
        assert time.monotonic() - began < IMPORTS_S, "a process outlives its parent"
        time.sleep(0.1)
    return True


def kill_child(parent: subprocess.Popen[bytes]) -> bool:
    """Kill one process, if any, and see that the others train on to the end."""
    children = children_of(parent.pid)
    if children:
        os.kill(children[-1], signal.SIGKILL)
    assert parent.wait() == (2 if children else 0)
    return bool(children)


@pytest.mark.drill
@pytest.mark.parametrize("kill", [kill_parent, kill_child])
def test_nets_killed_side_by_side_end_like_those_that_were_not(
    tmp_path: Path, kill: Callable[[subprocess.Popen[bytes]], bool]
) -> None:
    whole, killed = (make_run(tmp_path / name, n_train=60, words=0) for name in "ab")
    assert start(whole.folder, 1).wait() == 0
    moments, n_kills = random.Random(0), 0
    log = killed.folder / "log"
    while n_kills < KILLS:
        process = start(killed.folder, 2)
        while process.poll() is None and not is_training(killed.folder, process.pid):
            time.sleep(0.2)
        time.sleep(moments.uniform(0, 4))
        n_kills += kill(process)
        if process.wait() == 0:
            break
    else:
        assert start(killed.folder, 2).wait() == 0, log.read_text()[-2000:]
    print(f"killed {n_kills} times")  # noqa: T201
    assert n_kills
    if kill is kill_child:
        assert "it was ended by SIGKILL" in log.read_text()
    for fold in range(FOLDS):
        place = f"transfer.finetune/joint/fold{fold}"
        nets = [run.folder / place for run in (whole, killed)]
        first, second = ((net / "weights.safetensors").read_bytes() for net in nets)
        assert first == second, fold
        rows = [read_epochs(net) for net in nets]
        for row in (*rows[0].values(), *rows[1].values()):
            del row["seconds"]
        assert rows[0] == rows[1]
