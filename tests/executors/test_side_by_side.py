"""Tests of data_prep.executors.side_by_side and data_prep.executors.live_table."""

import functools
import io
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.executors import progress
from data_prep.executors.live_table import LiveTable
from data_prep.executors.progress import Progress, Report, Reporter
from data_prep.executors.side_by_side import run_side_by_side
from data_prep.executors.work import Result, Scores, Work
from tests.drilled import in_drills
from tests.executors.works import (
    be_killed,
    end_silently,
    fail,
    fill_the_disk,
    refuse,
    report_and_end,
)

ROOT = Path(__file__).parents[2]
# A parent of two processes that only live on.
PARENT = """
import functools, signal, sys
from pathlib import Path
from data_prep.command import run_command
from tests.executors.works import beat
from data_prep.executors.live_table import LiveTable
from data_prep.executors.side_by_side import run_side_by_side
from data_prep.executors.work import Work

folder = Path(sys.argv[1])

def main():
    names = ["a", "b"]
    run_side_by_side(
        [
            Work(
                name=name,
                function=functools.partial(beat, folder / name),
                log_file=folder / f"{name}.log",
            )
            for name in names
        ],
        [{}, {}],
        LiveTable(names, noun="piece"),
    )

# who is begun in the background of a shell ignores it
signal.signal(signal.SIGINT, signal.default_int_handler)
run_command(main)
"""


class Witness:
    """Remembers what a watcher is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, object]] = []
        self.running: set[str] = set()
        self.most = 0

    def begin(self, name: str, node: str = "") -> None:
        del node
        self.events.append(("begin", name, None))
        self.running.add(name)
        self.most = max(self.most, len(self.running))

    def report(self, name: str, step: Progress) -> None:
        self.events.append(("report", name, step.step))

    def end(self, name: str, scores: Scores, failure: str) -> None:
        self.events.append(("end", name, (dict(scores), failure)))
        self.running.remove(name)

    def tick(self) -> None:
        pass


def test_what_fails_or_is_killed_takes_nothing_along(tmp_path: Path) -> None:
    functions: dict[str, Callable[[Report | None], Result]] = {
        "refused": refuse,
        "killed": be_killed,
        "first": report_and_end,
        "wrong": fail,
        "full": fill_the_disk,
        "silent": end_silently,
        "second": report_and_end,
    }
    pieces = [
        Work(name=name, function=function, log_file=tmp_path / "logs" / name)
        for name, function in functions.items()
    ]
    (tmp_path / "file").touch()
    nowhere = tmp_path / "file" / "log"
    pieces.append(Work(name="nowhere", function=report_and_end, log_file=nowhere))
    (tmp_path / "logs").mkdir()
    for name in ("first", "full", "silent"):
        (tmp_path / "logs" / name).write_text("of an earlier attempt\n")
    witness = Witness()
    outcome = run_side_by_side(pieces, [{"PLACE": "7"}, {"PLACE": "7"}], witness)
    assert outcome.failures == {
        "refused": "too bright",
        "killed": "it was ended by SIGKILL, perhaps for want of memory",
        "wrong": "ValueError: not foreseen",
        "full": "the disk is full; free some space and run again",
        "silent": "it ended with status 0 before it was done",
        "nowhere": f"{tmp_path / 'file'}: File exists",
    }
    assert {name: r.value for name, r in outcome.results.items()} == {
        "first": [1, 2],
        "second": [1, 2],
    }
    assert witness.most == 2
    assert [name for kind, name, _ in witness.events if kind == "begin"] == [
        work.name for work in pieces
    ]
    for name in ("first", "second"):
        told = [(kind, what) for kind, told, what in witness.events if told == name]
        assert told == [
            ("begin", None),
            ("report", 1),
            ("report", 2),
            ("end", ({"target_rmse": 0.5}, "")),
        ]
    log = (tmp_path / "logs" / "first").read_text()
    assert log == "of an earlier attempt\nplace 7\n"
    assert "Traceback" in (tmp_path / "logs" / "wrong").read_text()
    assert "Traceback" not in (tmp_path / "logs" / "refused").read_text()
    assert "PLACE" not in os.environ


def beats(folder: Path) -> list[str]:
    return [(folder / name).read_text(encoding="utf-8") for name in "ab"]


@pytest.mark.parametrize(
    "sign",
    [
        signal.SIGKILL,
        in_drills(signal.SIGINT),
        in_drills(signal.SIGTERM),
    ],
)
def test_no_process_outlives_its_parent(tmp_path: Path, sign: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    for _ in range(600):
        if all((tmp_path / name).exists() for name in "ab"):
            break
        time.sleep(0.05)
    if sign == signal.SIGINT:  # from the terminal it comes to all of them
        os.killpg(parent.pid, sign)
    else:
        parent.send_signal(sign)
    _, text = parent.communicate(timeout=30)
    assert b"Traceback" not in text
    if sign == signal.SIGINT:
        assert parent.returncode == 130
        assert text.endswith(b"stopped; the same command goes on where it can\n")
        # the parent ended them: they did not hear of it, in the middle of an import say
        assert not any((tmp_path / f"{name}.log").read_text() for name in "ab")
    for _ in range(100):
        before = beats(tmp_path)
        time.sleep(0.2)
        if beats(tmp_path) == before:
            return
    pytest.fail("a process lives on without its parent")


def progress_at(step: int, **metrics: float) -> Progress:
    return Progress(
        step=step,
        n_steps=40,
        epoch=step // 4,
        n_epochs=10,
        seconds_left=100.0,
        metrics={"learning_rate": 1.0, "learning_rate/head": 2.0, **metrics},
        is_epoch_end=step % 4 == 0,
    )


def filled(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> LiveTable:
    """Give a table of nets that are done, run, failed and wait."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    table = LiveTable([f"joint/fold{k}" for k in range(4)], noun="net", stream=stream)
    for k in range(3):
        table.begin(f"joint/fold{k}")
    table.report("joint/fold0", progress_at(20, loss=0.5))
    table.report("joint/fold1", progress_at(10, loss=0.25))
    table.report("joint/fold1", progress_at(20, loss=0.125, **{"held_out/a_rmse": 0.7}))
    table.end("joint/fold0", {"a_rmse": 0.75, "b_accuracy": 1.0}, "")
    table.end("joint/fold2", {}, "too bright")
    now = 1075.0
    return table


def test_the_table_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    table = filled(io.StringIO(), monkeypatch)
    # Made in 75 s: half of fold 0, which an earlier attempt had begun, and a quarter of
    # fold 1; to make: half of fold 1, and fold 3.
    summary = "1 of 4 nets done, 1 failed, about 2 minutes to go"
    lines = [
        "net          epoch    loss    score          to go",
        "joint/fold0  done     0.5000  a_rmse 0.7500",
        "joint/fold1  5 of 10  0.1250  a_rmse 0.7000  2 minutes",
        "joint/fold2  failed                          too bright",
        "joint/fold3  waiting",
        summary,
    ]
    assert table.lines(most=6) == lines
    assert table.lines(most=5) == [*lines[:4], summary]
    running = [line.split()[0] for line in table.lines(most=4)[1:-1]]
    assert running == ["joint/fold1", "joint/fold2"]


def test_work_without_epochs_is_told_in_steps() -> None:
    table = LiveTable(["first", "second"], noun="pass", stream=io.StringIO())
    table.begin("first")
    table.report("first", Progress(step=3, n_steps=12))
    assert table.lines(most=9)[:3] == [
        "pass    state",
        "first   3 of 12",
        "second  waiting",
    ]


def test_work_of_a_cluster_is_shown_with_its_nodes() -> None:
    table = LiveTable(["first", "second"], noun="net", stream=io.StringIO())
    table.begin("first", "vm 12ab")
    table.begin("first", "vm 34cd")  # that node died
    assert table.lines(most=9)[:3] == [
        "net     state    node",
        "first   begins   vm 34cd",
        "second  waiting",
    ]


def test_the_table_takes_its_own_place_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda **_: (31, 30))
    table = filled(stream, monkeypatch)
    table.tick()
    first = stream.getvalue()
    assert max(map(len, first.splitlines())) == 30
    table.tick()
    assert stream.getvalue() == first, "it was drawn only just now"
    monkeypatch.setattr(time, "monotonic", lambda: 1076.0)
    table.tick()
    assert stream.getvalue() == f"{first}\x1b[6F\x1b[J{first}"
    assert not caplog.messages


def test_without_a_terminal_each_epoch_is_a_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stream = io.StringIO()
    filled(stream, monkeypatch).tick()
    assert not stream.getvalue()
    assert [message for message in caplog.messages if "begun" not in message] == [
        "joint/fold0: epoch 5 of 10, loss 0.5000, 2 minutes to go",
        "joint/fold1: epoch 5 of 10, loss 0.1250, a_rmse 0.7000, 2 minutes to go",
        "joint/fold0: done, a_rmse 0.7500",
        "1 of 4 nets done, about 0 seconds to go",
        "joint/fold2 failed: too bright",
        "1 of 4 nets done, 1 failed, about 0 seconds to go",
    ]


def test_a_reporter_tells_of_each_epoch_and_not_of_each_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    told: list[Progress] = []
    reporter = Reporter(told.append, first_step=2, n_steps=9, steps_per_epoch=4)
    for step in range(3, 10):
        now += progress.REPORT_EVERY_S / 2
        reporter.after_step(step, {"loss": float(step)})
        if step in (4, 8, 9):
            reporter.after_epoch(step, -(-step // 4), {"loss": step / 100})
    assert [(p.step, p.epoch, p.is_epoch_end) for p in told] == [
        (2, 0, False),  # at once, since it goes on from there
        (4, 1, False),
        (4, 1, True),
        (6, 1, False),
        (8, 2, False),
        (8, 2, True),
        (9, 3, True),
    ]
    losses = [p.metrics["loss"] for p in told[1:]]
    assert losses == [4.0, 0.04, 0.04, 0.04, 0.08, 0.09]
    assert {(p.n_epochs, p.resumed_in) for p in told} == {(3, 1)}
    assert told[3].seconds_left == pytest.approx(progress.REPORT_EVERY_S / 2 * 3)


def test_a_training_that_goes_on_says_from_which_epoch(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    tables = [LiveTable(["a", "b"], noun="net", stream=io.StringIO()) for _ in "12"]
    monkeypatch.setattr(tables[1], "is_drawn", True)
    for table in tables:
        table.begin("a")
        table.begin("b")
        Reporter(
            functools.partial(table.report, "a"),
            first_step=9,
            n_steps=20,
            steps_per_epoch=4,
        ).after_epoch(12, 3, {"loss": 0.5})
        Reporter(
            functools.partial(table.report, "b"),
            first_step=0,
            n_steps=20,
            steps_per_epoch=4,
        ).after_epoch(4, 1, {"loss": 0.5})
        first, second = table.lines(most=9)[1:3]
        assert first.startswith("a    3 of 5, from 3  ")
        assert second.startswith("b    1 of 5          ")
    lines = [message for message in caplog.messages if "goes on" in message]
    assert lines == ["a: goes on in epoch 3 of 5"]


def test_a_piece_without_steps_is_no_error() -> None:
    table = LiveTable(["empty", "other"], noun="part", stream=io.StringIO())
    table.begin("empty")
    table.report("empty", Progress(step=0, n_steps=0))
    assert table.summary() == "0 of 2 parts done"
    table.end("empty", {}, "")
    assert table.summary().startswith("1 of 2 parts done")
