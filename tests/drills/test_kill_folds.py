"""Drill: nets of some folds are made anew and killed, again and again.

Run by ``make drills``; the figures stand in docs/results.md.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_prep.run_folders.runs import Run
from tests.prepared_runs import make_run

ROOT = Path(__file__).parents[2]
KILLS = 12
FOLDS = ("0", "1", "2")
MARK = "logs/before"  # in the folder of a net that was there before, and its copies
TINY = (
    *("--backbone", "test_resnet", "--init", "scratch", "--batch-size", "8"),
    *("--epochs", "20", "--joint", "--tasks", "target", "--threads", "1"),
)


def start(folder: Path, *flags: str) -> subprocess.Popen[bytes]:
    """Start a fine-tuning."""
    command = [sys.executable, "-m", "transfer.finetune", "--run", str(folder)]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [*command, *TINY, *flags],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stderr=log,
        )


def mark(run: Run) -> None:
    """Mark all nets of the finished stage."""
    for net in run.finished("transfer.finetune").folder.glob("joint/*"):
        (net / MARK).touch()


def folds_of_before(run: Run) -> set[str]:
    """Name the folds whose nets bear the mark; the stage is whole."""
    stage = run.finished("transfer.finetune")
    assert stage.metadata["folds"] == [*FOLDS]
    return {f for f in FOLDS if (stage.folder / f"joint/fold{f}" / MARK).exists()}


@pytest.mark.drill
def test_a_stage_is_the_old_or_the_new_after_every_kill(tmp_path: Path) -> None:
    run = make_run(tmp_path, n_train=60, words=0)
    assert start(run.folder).wait() == 0
    mark(run)
    moments, n_kills, n_made = random.Random(0), 0, 0
    while n_kills < KILLS:
        fold = moments.choice([*FOLDS, "all"])
        flags = ["--overwrite", *([] if fold == "all" else ["--folds", fold])]
        made = {*FOLDS} if fold == "all" else {fold}
        process = start(run.folder, *flags)
        partial = run.folder / "transfer.finetune.partial"
        while process.poll() is None and not partial.exists():
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 3))
        process.kill()
        if process.wait() == 0:
            n_made += 1
            assert folds_of_before(run) == {*FOLDS} - made
            mark(run)
            continue
        n_kills += 1
        left = folds_of_before(run)  # killed as it moved, it may be the new one
        assert left in ({*FOLDS}, {*FOLDS} - made), (n_kills, fold)
        mark(run)
    assert start(run.folder, "--overwrite", "--folds", "1").wait() == 0
    assert folds_of_before(run) == {"0", "2"}
    print(f"killed {n_kills} times, {n_made} ended before")  # noqa: T201
