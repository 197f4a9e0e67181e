"""Drills: nets on a cluster of two nodes, whose nodes and driver are killed.

Run by ``make drills``; the figures stand in docs/results.md.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_prep.run_folders.runs import Run
from tests.executors.nodes import ROOT, Nodes
from tests.prepared_runs import finetune, make_run

pytest.importorskip("ray")
pytestmark = pytest.mark.drill

STAGE = "transfer.finetune"
# One thread and float32: the order of sums, and so every bit, is fixed.
TINY = (
    *("--backbone=test_resnet", "--init=scratch", "--batch-size=8", "--epochs=4"),
    *("--joint", "--all", "--precision=fp32", "--threads=1"),
)
N_NETS = 4
PATIENCE_S = 400
FAILING = """
import functools, sys
from pathlib import Path
from data_prep.command import run_command
from data_prep.executors.pool import Pool
from data_prep.executors.run import run
from data_prep.executors.work import Work
from tests.executors.works import refuse, shout

folder, address = Path(sys.argv[1]), sys.argv[2]

def main():
    source = folder / "source"
    source.write_text("ok")
    works = [Work(name="bad", function=refuse, log_file=folder / "bad.log")]
    for name in "abc":
        works.append(
            Work(
                name=name,
                function=functools.partial(shout, source, folder / name),
                log_file=folder / name / "log",
                reads=(source,),
                writes=folder / name,
            )
        )
    pool = Pool(executor="ray", n_at_once=0, threads=1, address=address)
    run(works, pool, noun="work", logs="").check(works, "work", "the others are kept")

run_command(main)
"""


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    nodes = Nodes()
    yield nodes
    nodes.end()


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose nets were trained here, one after another."""
    run = make_run(tmp_path_factory.mktemp("serial"), n_train=60, words=0)
    finetune(run, *TINY)
    return run


def start(run: Run, address: str) -> "subprocess.Popen[bytes]":
    with (run.folder / "log").open("ab") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", STAGE, "--run", str(run.folder), *TINY),
                *("--executor=ray", f"--address={address}"),
            ],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stderr=log,
            start_new_session=True,
        )


def log_of(run: Run) -> str:
    return (run.folder / "log").read_text(encoding="utf-8")


def wait_for(run: Run, text: str, *, times: int = 1, after: int = 0) -> None:
    began = time.monotonic()
    while log_of(run)[after:].count(text) < times:
        assert time.monotonic() - began < PATIENCE_S, log_of(run)
        time.sleep(0.2)


def check_same(run: Run, serial: Run) -> None:
    """Compare every file of the stage that is a result, and see that none is half."""
    records = [
        json.loads((each.folder / STAGE / "record.json").read_text())
        for each in (run, serial)
    ]
    assert len(records[0]["files"]) == 2 * N_NETS
    assert records[0]["files"] == records[1]["files"]
    assert not list(run.folder.rglob("*.draft"))


def nodes_used(run: Run) -> set[str]:
    lines = [line for line in log_of(run).splitlines() if ": begun on " in line]
    return {line.rpartition(" ")[2] for line in lines}


def test_nodes_that_see_nothing_of_the_run_train_the_same_nets(
    tmp_path: Path, serial: Run
) -> None:
    blind = subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True)
    if blind.returncode:
        pytest.skip("only root may hide a folder from a node")
    run = make_run(tmp_path, n_train=60, words=0)
    nodes = Nodes(hidden=tmp_path)
    try:
        process = start(run, nodes.cluster.address)
        assert process.wait(PATIENCE_S) == 0, log_of(run)
    finally:
        nodes.end()
    assert "is sent to node" in log_of(run)
    assert len(nodes_used(run)) == 2
    check_same(run, serial)


def works(process: Path, nodes: Nodes) -> bool:
    """Tell whether a process does a piece of work for a node."""
    try:
        is_child = b"spawn_main" in (process / "cmdline").read_bytes()
        return is_child and str(nodes.folder) in (process / "environ").read_text()
    except (OSError, UnicodeError):
        return False


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_was_stopped_trains_only_what_is_missing(
    tmp_path: Path, nodes: Nodes, serial: Run, sign: signal.Signals
) -> None:
    run = make_run(tmp_path, n_train=60, words=0)
    process = start(run, nodes.cluster.address)
    wait_for(run, ": done")
    (os.killpg if sign == signal.SIGINT else os.kill)(process.pid, sign)
    assert process.wait(60) == (130 if sign == signal.SIGINT else -9)
    partial = run.folder / f"{STAGE}.partial"
    n_done = len(list(partial.glob("joint/*/logs/result.json")))
    assert 1 <= n_done < N_NETS
    until = time.monotonic() + 60
    while working := [pid for pid in Path("/proc").iterdir() if works(pid, nodes)]:
        assert time.monotonic() < until, f"{working} live on without their driver"
        time.sleep(0.2)
    length = len(log_of(run))
    assert start(run, nodes.cluster.address).wait(PATIENCE_S) == 0, log_of(run)
    assert log_of(run)[length:].count(": begun on ") == N_NETS - n_done
    check_same(run, serial)


def test_a_node_that_dies_costs_its_nets_only(
    tmp_path: Path, nodes: Nodes, serial: Run
) -> None:
    run = make_run(tmp_path, n_train=60, words=0)
    process = start(run, nodes.cluster.address)
    wait_for(run, ": begun on ", times=2)
    nodes.remove()
    assert process.wait(PATIENCE_S) == 0, log_of(run)
    assert log_of(run).count("its node is gone; it is begun anew") == 1
    assert log_of(run).count(": begun on ") == N_NETS + 1
    check_same(run, serial)


def test_a_piece_that_always_fails_is_named_and_the_others_are_done(
    tmp_path: Path, nodes: Nodes
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAILING, str(tmp_path), nodes.cluster.address],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: 1 of 4 works failed (bad: too bright); see ")
    assert all((tmp_path / name / "deep" / "loud.txt").exists() for name in "abc")
