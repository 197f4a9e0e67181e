"""Threads sleep while they wait only where other programs take the cores they need."""

import ast
import logging
import os
import sys
from pathlib import Path

import pytest

from data_prep import waiting
from data_prep.waiting import busy_cores, settle_waiting

ROOT = Path(__file__).parents[2]
CALLERS = (
    *("pretext/pretraining.py", "pretext/probe.py"),
    *("transfer/finetune.py", "transfer/tune.py"),
    *("features/extract.py", "features/fresh_stores.py", "features/watch.py"),
)


@pytest.fixture(autouse=True)
def _before_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand where a command stands: torch is not there, nothing is chosen."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for name in (*waiting.CHOSEN_BY_USER, "OMP_NUM_THREADS"):
        # set, then removed, so that what a test sets is taken back after it
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def policy(
    monkeypatch: pytest.MonkeyPatch, busy: float, cores: int = 2, threads: int = 0
) -> str:
    """Settle on a machine of some cores of which some are busy."""
    monkeypatch.setattr(waiting, "busy_cores", lambda: busy)
    monkeypatch.setattr(waiting, "n_cores", lambda: cores)
    monkeypatch.setattr(waiting, "_visible_cores", lambda: cores)
    settle_waiting(threads)
    return os.environ.get("OMP_WAIT_POLICY", "")


@pytest.mark.parametrize(
    ("busy", "cores", "threads", "expected"),
    [
        (0.0, 2, 0, ""),  # idle
        (0.2, 2, 0, ""),  # what a desktop does
        (1.0, 2, 0, "PASSIVE"),
        (2.0, 2, 0, "PASSIVE"),
        (1.0, 2, 1, ""),  # a single thread waits for nobody
        (8.0, 16, 4, ""),  # there is room for four
        (14.0, 16, 4, "PASSIVE"),
    ],
)
def test_threads_sleep_where_they_outnumber_the_free_cores(
    monkeypatch: pytest.MonkeyPatch,
    busy: float,
    cores: int,
    threads: int,
    expected: str,
) -> None:
    assert policy(monkeypatch, busy, cores, threads) == expected


def test_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        policy(monkeypatch, 1.04)
    (record,) = caplog.records
    assert "keep 1.0 of the cores busy, so 2 threads sleep" in record.getMessage()
    assert "threads = 1" in record.getMessage()


def test_the_number_of_threads_of_the_environment_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert policy(monkeypatch, busy=2.0) == ""
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")
    assert policy(monkeypatch, busy=2.0) == "PASSIVE"


@pytest.mark.parametrize("name", waiting.CHOSEN_BY_USER)
def test_the_choice_of_the_user_stays(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "ACTIVE")
    expected = "ACTIVE" if name == "OMP_WAIT_POLICY" else ""
    assert policy(monkeypatch, busy=2.0) == expected


def test_once_torch_is_there_nothing_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", sys)
    assert policy(monkeypatch, busy=2.0) == ""


def test_the_busy_share_of_each_core_is_counted_less_that_of_this_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stat = tmp_path / "stat"
    first = "cpu  30 0 0 270 0 0 0 0 0 0\ncpu0 10 0 0 90 0 0 0 0 5 0\n"
    first += "cpu1 0 0 0 100 0 0 0 0 0 0\ncpu7 1 0 0 1 0 0 0 0 0 0\nintr 12\n"
    # cpu0: 25 busy of 50 ticks; cpu1: 5 + 5 of 40, its 10 of iowait are idle
    second = "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 30 0 5 115 0 0 0 0 5 0\n"
    second += "cpu1 0 5 0 120 10 0 5 0 0 0\ncpu7 9 0 0 1 0 0 0 0 0 0\nintr 12\n"
    stat.write_text(first)
    monkeypatch.setattr(waiting, "STAT", stat)
    monkeypatch.setattr(waiting, "_at_hand", lambda: {0, 1})
    monkeypatch.setattr(waiting.time, "sleep", lambda _: stat.write_text(second))
    clock = iter((10.0, 10.5))  # half a second, of which this process computes a tenth
    monkeypatch.setattr(waiting.time, "monotonic", lambda: next(clock))
    computed = iter((1.0, 1.05))
    monkeypatch.setattr(waiting.time, "process_time", lambda: next(computed))
    assert busy_cores() == pytest.approx(25 / 50 + 10 / 40 - 0.1)


def test_where_the_system_does_not_tell_nothing_is_busy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(waiting, "STAT", tmp_path / "none")
    assert busy_cores(0.0) == 0.0


# by one of these a command comes to torch
LOAD_TORCH = {"pretext.device", "transfer.training.finetune_data"}


@pytest.mark.parametrize("module_name", CALLERS)
def test_commands_settle_before_torch_comes_up(module_name: str) -> None:
    tree = ast.parse((ROOT / module_name).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    (function,) = (f for f in functions if "settle_waiting" in _calls(f))
    (line,) = _calls(function)["settle_waiting"]
    # what torch comes with is imported inside of the function, after the call
    inside = [n for n in ast.walk(function) if isinstance(n, ast.ImportFrom)]
    heavy = [n.lineno for n in inside if n.module in LOAD_TORCH]
    assert heavy
    assert all(line < imported for imported in heavy)
    outside = {n.module for n in tree.body if isinstance(n, ast.ImportFrom)}
    assert not LOAD_TORCH & outside


def _calls(function: ast.FunctionDef) -> dict[str, list[int]]:
    lines: dict[str, list[int]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            lines.setdefault(node.func.id, []).append(node.lineno)
    return lines
