"""Drills: commands that several processes share are killed, or started by launchers.

Run by ``make drills``; the figures stand in docs/results.md.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.prepared_runs import make_run

ROOT = Path(__file__).parents[2]
KILLS = 4
COMMAND = """
import importlib, sys
from data_prep.command import run_command
from pretext.engine import callbacks

callbacks.CHECKPOINT_EVERY_S = 0.2
run_command(importlib.import_module(sys.argv.pop(1)).main)
"""
STAGE = "pretext.jigsaw"
# One thread and float32: the order of sums, and so every bit, is fixed.
TINY = (
    *("--backbone", "test_resnet", "--batch-size", "8", "--precision", "fp32"),
    *("--threads", "1", "--health-every", "20"),
)
RESULTS = ("backbone.safetensors", "logs/metrics.csv")

pytestmark = pytest.mark.drill


def start(
    folder: Path,
    *flags: str,
    program: tuple[str, ...] = (sys.executable, "-c", COMMAND),
) -> subprocess.Popen[bytes]:
    """Start a pretraining in a process group of its own."""
    variables = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [*program, STAGE, "--run", str(folder), *TINY, *flags],
            cwd=folder,
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )


def wait_until_gone(group: int) -> None:
    """Wait until no process of a group is left."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("a process is left")


def follower_of(process: subprocess.Popen[bytes]) -> int:
    """Give the process that follows another, as soon as there is one."""
    while process.poll() is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        for child in children.read_text().split():
            if (
                b"pretext.engine.follower"
                in Path(f"/proc/{child}/cmdline").read_bytes()
            ):
                return int(child)
        time.sleep(0.1)
    raise AssertionError("it has ended without")


def assert_same(first: Path, second: Path) -> None:
    for name in RESULTS:
        contents = [(place / STAGE / name).read_bytes() for place in (first, second)]
        assert contents[0] == contents[1], name


def test_two_processes_killed_at_random_end_like_two_that_were_not(
    tmp_path: Path,
) -> None:
    whole, killed = (
        make_run(tmp_path / name, n_train=60, side=48).folder for name in "ab"
    )
    flags = ("--devices", "2", "--ema", "0.99", "--epochs", "60")
    assert start(whole, *flags).wait() == 0, (whole / "log").read_text()[-2000:]
    moments = random.Random(0)
    for kill in range(KILLS):
        process = start(killed, *flags)
        follower = follower_of(process)
        checkpoint = killed / f"{STAGE}.partial" / "checkpoints" / "last.ckpt"
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None:
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns > before:
                break
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 2))
        assert process.poll() is None, "it was over before it was killed"
        if kill % 2:
            os.kill(follower, signal.SIGKILL)
            assert process.wait(timeout=60) == 2
            last = (killed / "log").read_text().strip().splitlines()[-1]
            assert "process 1 of the training failed" in last
        else:
            process.kill()
            process.wait()
        wait_until_gone(process.pid)
    assert start(killed, *flags).wait() == 0
    assert_same(whole, killed)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_end_is_one_line_and_leaves_nobody(
    stop: signal.Signals, tmp_path: Path
) -> None:
    folder = make_run(tmp_path, n_train=60, side=48).folder
    process = start(folder, "--devices", "2", "--epochs", "5000")
    while not (folder / f"{STAGE}.partial" / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, stop) if stop == signal.SIGINT else process.send_signal(stop)
    assert process.wait(timeout=60) == 130
    wait_until_gone(process.pid)
    last = (folder / "log").read_text().strip().splitlines()[-1]
    assert last == "stopped; the same command goes on where it can"


def test_launchers_make_the_same(tmp_path: Path) -> None:
    spawned, launched, apart = (
        make_run(tmp_path / name, n_train=60, side=48).folder for name in "abc"
    )
    assert start(spawned, "--devices", "2", "--epochs", "4").wait() == 0
    torchrun = torchrun_of(str(free_port()), nproc_per_node=2)
    flags = ("--devices", "2", "--epochs", "4")
    process = start(launched, *flags, program=torchrun)
    assert process.wait() == 0, (launched / "log").read_text()[-2000:]
    text = (launched / "log").read_text()
    assert text.count("2 processes share each batch") == 1
    assert_same(spawned, launched)
    flags = ("--num-nodes", "2", "--epochs", "4")
    port = str(free_port())
    agents = [
        start(apart, *flags, program=torchrun_of(port, nnodes=2, node_rank=number))
        for number in (1, 0)
    ]
    assert [agent.wait() for agent in agents] == [0, 0]
    assert_same(spawned, apart)


def test_the_others_end_where_there_is_nothing_to_train(tmp_path: Path) -> None:
    folder = make_run(tmp_path, n_train=60, side=48).folder
    flags = ("--devices", "2", "--epochs", "2")
    torchrun = torchrun_of(str(free_port()), nproc_per_node=2)
    assert start(folder, *flags).wait() == 0
    assert start(folder, *flags, program=torchrun).wait(timeout=120) == 0
    refused = start(folder, "--devices", "3", program=torchrun)
    assert refused.wait(timeout=120) == 1
    assert "batch_size = 8 is shared by devices = 3" in (folder / "log").read_text()


def torchrun_of(port: str, **options: int) -> tuple[str, ...]:
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    program = (sys.executable, "-m", "torch.distributed.run", *flags)
    return (*program, "--master-port", port, "-m", "--")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
