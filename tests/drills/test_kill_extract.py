"""Drill: an extraction killed 20 times ends with the bytes of one that was not.

Run by ``make drills``; the figures stand in docs/results.md.
"""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep.run_folders.runs import Run
from features.store import open_store
from tests.prepared_runs import finetune, make_run

ROOT = Path(__file__).parents[2]
KILLS = 20
# Each block leaves a byte behind, so that repeated ones can be counted; a file, since
# the processes of the parts read it too.
COMMAND = """
import sys
from pathlib import Path
from data_prep.command import run_command
from features import extract, passes

views_of = passes.views_of

def counted(*given):
    with Path("blocks").open("ab") as file:
        file.write(b".")
    return views_of(*given)

passes.views_of = counted
if __name__ == "__main__":
    run_command(extract.main)
"""
FLAGS = ("--threads=1", "--precision=fp32")


def start(run: Run, n_jobs: int = 1) -> subprocess.Popen[bytes]:
    """Start an extraction in a process group of its own."""
    script = run.folder / "extract_it.py"
    script.write_text(COMMAND, encoding="utf-8")
    jobs = f"--jobs={n_jobs}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (run.folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, str(script), f"--run={run.folder}", jobs, *FLAGS],
            cwd=run.folder,
            env=environment,
            stderr=log,
            start_new_session=True,
        )


def blocks_of(run: Run) -> int:
    """Count the blocks that were computed so far."""
    file = run.folder / "blocks"
    return file.stat().st_size if file.exists() else 0


def payloads_of(run: Run) -> dict[str, str]:
    """Give the digests of all values by file."""
    folder = run.folder / "features.extract"
    return {
        path.relative_to(folder).as_posix(): open_store(path).header["payload_sha256"]
        for path in folder.rglob("*.pkl")
    }


@pytest.mark.drill
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_extraction_killed_at_random_ends_like_one_that_was_not(
    tmp_path: Path, n_jobs: int
) -> None:
    whole, killed = (make_run(tmp_path / n, n_train=900, side=96) for n in "ab")
    for run in (whole, killed):
        finetune(run, "--joint", "--backbone=resnet18", "--steps=1")
    assert start(whole).wait() == 0, (whole.folder / "log").read_text()[-2000:]
    moments = random.Random(0)
    kills, before = 0, 0
    while kills < KILLS:
        process = start(killed, n_jobs)
        # half of them soon after the first new block, so that none ends too early
        while blocks_of(killed) == before and process.poll() is None:
            try:
                process.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                continue
        try:
            assert process.wait(timeout=moments.uniform(0, 1.5)) == 0
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills, before = kills + 1, blocks_of(killed)
    else:
        assert start(killed, n_jobs).wait() == 0
    repeated = blocks_of(killed) - blocks_of(whole)
    print(f"killed {kills} times, {repeated} of {blocks_of(whole)} blocks repeated")  # noqa: T201
    assert payloads_of(killed) == payloads_of(whole)
    assert kills >= KILLS // 2
    assert (
        repeated <= 2 * kills * n_jobs
    )  # the one at work, and one that was not yet counted
