"""Tests of data_prep.run_folders.runs."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import UserError
from data_prep.run_folders.damage import RECORD, digest_of
from data_prep.run_folders.locks import LockedStageError
from data_prep.run_folders.runs import (
    EPHEMERAL,
    Run,
    Stage,
    UnfinishedStageError,
    digest_files,
    write_json,
)
from data_prep.run_folders.stale import StaleStageError
from data_prep.run_folders.unfinished import MADE_FROM

ROOT = Path(__file__).parents[2]
FIRST, SECOND, THIRD = "data_prep.prepare", "pretext.jigsaw", "transfer.finetune"


class CrashError(Exception):
    """Whatever stops a stage."""


def write(
    run: Run, name: str, text: str, reads: tuple[str, ...] = (), **settings: Any
) -> Stage:
    """Write a stage of one file."""
    with run.stage(name, settings, reads) as stage:
        (stage.folder / "result.txt").write_text(text)
        stage.metadata = {"letters": len(text)}
    return stage


def crash(run: Run, name: str, text: str, **settings: Any) -> None:
    """Write a file of a stage and fall over."""

    def attempt() -> None:
        with run.stage(name, settings) as stage:
            (stage.folder / "half.txt").write_text(text)
            raise CrashError

    with pytest.raises(CrashError):
        attempt()


def text_of(run: Run, name: str) -> str:
    return (run.finished(name).folder / "result.txt").read_text()


def chain(folder: Path) -> Run:
    """Three stages, each made from the one before."""
    run = Run(folder)
    write(run, FIRST, "pictures")
    write(run, SECOND, "net", (FIRST,))
    write(run, THIRD, "tuned net", (SECOND,))
    return run


def test_a_finished_stage_is_its_files_and_a_record(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    write(run, FIRST, "pictures", side=64)
    first_stage = run.finished(FIRST)
    assert first_stage.folder == tmp_path / "run" / FIRST
    assert sorted(p.name for p in first_stage.folder.iterdir()) == [
        RECORD,
        "result.txt",
    ]
    assert first_stage.metadata == {"letters": 8}
    assert first_stage.record["settings"] == {"side": 64}
    assert first_stage.record["reads"] == {}
    assert [*first_stage.record["files"]] == ["result.txt"]
    assert first_stage.record["versions"]["python"] == ".".join(
        map(str, sys.version_info[:3])
    )
    assert first_stage.record["seconds"] >= 0


def test_the_record_is_the_last_file_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents: list[list[str]] = []

    def watched(path: Path, value: Any) -> None:
        if path.name == RECORD:
            assert not (tmp_path / FIRST).exists()
            contents.append(sorted(p.name for p in path.parent.iterdir()))
        write_json(path, value)

    monkeypatch.setattr("data_prep.run_folders.runs.write_json", watched)
    write(Run(tmp_path), FIRST, "pictures")
    assert contents == [["result.txt", MADE_FROM]]


def test_a_crash_keeps_the_old_result_and_the_half_of_the_new(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write(run, FIRST, "old", side=64)
    crash(run, FIRST, "half", side=32)
    assert text_of(run, FIRST) == "old"
    assert run.current(FIRST, {"side": 64}) is not None
    assert run.current(FIRST, {"side": 32}) is None
    assert (tmp_path / f"{FIRST}.partial" / "half.txt").read_text() == "half"


def test_half_a_stage_of_other_settings_is_not_dropped_unasked(tmp_path: Path) -> None:
    crash(Run(tmp_path), FIRST, "half", side=32)
    message = (
        r"partial was begun with side = 32 and not 64; .* or drop it: rm -r .*partial$"
    )
    with pytest.raises(UserError, match=message):
        write(Run(tmp_path), FIRST, "new", side=64)
    assert (tmp_path / f"{FIRST}.partial" / "half.txt").read_text() == "half"
    write(Run(tmp_path, overwrite=True), FIRST, "new", side=64)
    assert text_of(Run(tmp_path), FIRST) == "new"


def test_half_a_stage_is_no_stage(tmp_path: Path) -> None:
    crash(Run(tmp_path), FIRST, "half")
    assert not Run(tmp_path).has(FIRST)
    with pytest.raises(UnfinishedStageError):
        Run(tmp_path).finished(FIRST)


def test_the_same_settings_go_on_where_a_crash_was(tmp_path: Path) -> None:
    run = Run(tmp_path)
    crash(run, FIRST, "half", side=64)
    with run.stage(FIRST, {"side": 64}) as stage:
        assert (stage.folder / "half.txt").read_text() == "half"
    assert not (tmp_path / f"{FIRST}.partial").exists()
    with run.stage(FIRST, {"side": 64}) as stage:
        assert [p.name for p in stage.folder.iterdir()] == [MADE_FROM]


def test_other_settings_begin_anew_if_asked(tmp_path: Path) -> None:
    run = Run(tmp_path, overwrite=True)
    crash(run, FIRST, "half", side=64)
    with run.stage(FIRST, {"side": 32}) as stage:
        assert not (stage.folder / "half.txt").exists()


def test_who_overwrites_goes_on_only_with_what_copied_the_same(tmp_path: Path) -> None:
    """What one attempt copies from the finished stage, another is told to make anew."""
    asked, unasked = Run(tmp_path, overwrite=True), Run(tmp_path)

    def goes_on(run: Run, *copied: str) -> bool:
        with suppress(CrashError), run.stage(FIRST, {}, copied=copied) as stage:
            is_there = (stage.folder / "half.txt").exists()
            (stage.folder / "half.txt").write_text("half")
            raise CrashError
        return is_there

    assert not goes_on(asked, "net0")
    assert goes_on(asked, "net0")
    assert goes_on(unasked, "net1")  # it takes what is there by the same settings
    assert not goes_on(asked, "net1")
    assert not goes_on(asked)
    assert goes_on(asked)
    assert not list(tmp_path.glob("*dropped"))


def test_what_is_dropped_is_not_gone_on_with_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash(Run(tmp_path), FIRST, "half", side=32)
    partial = tmp_path / f"{FIRST}.partial"
    (partial / "other.txt").write_text("half")

    def cut_short(folder: Path, **_: Any) -> None:
        if Path(folder).exists():
            (Path(folder) / "half.txt").unlink()
            raise CrashError

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", cut_short)
        with pytest.raises(CrashError):
            write(Run(tmp_path, overwrite=True), FIRST, "new", side=64)
    with Run(tmp_path).stage(FIRST, {"side": 32}) as stage:
        assert [path.name for path in stage.folder.iterdir()] == [MADE_FROM]


def test_another_input_begins_anew(tmp_path: Path) -> None:
    run = chain(tmp_path)
    partial = tmp_path / f"{SECOND}.partial"
    with pytest.raises(CrashError), run.stage(SECOND, {}, [FIRST]):
        raise CrashError
    (partial / "half.txt").write_text("half")
    write(run, FIRST, "other pictures")
    with run.stage(SECOND, {}, [FIRST]) as stage:
        assert not (stage.folder / "half.txt").exists()


def test_an_unfinished_input_says_what_to_type(tmp_path: Path) -> None:
    run = Run(tmp_path / "leaves")
    message = rf"first: python -m {FIRST} --run {tmp_path / 'leaves'}$"
    for read in (
        lambda: run.finished(FIRST),
        lambda: write(run, SECOND, "net", (FIRST,)),
    ):
        with pytest.raises(UnfinishedStageError, match=message):
            read()
    assert not (tmp_path / "leaves" / f"{SECOND}.partial").exists()


def test_a_result_of_something_replaced_is_refused(tmp_path: Path) -> None:
    run = chain(tmp_path)
    write(run, FIRST, "other pictures")
    message = f"{SECOND} was made from another {FIRST} than the one here; again: python"
    with pytest.raises(StaleStageError, match=message):
        run.finished(SECOND)
    message = f"{SECOND} was made from another {FIRST} than the one here, and {THIRD}"
    with pytest.raises(StaleStageError, match=message):
        run.finished(THIRD)  # however far down the chain, the first is named
    with pytest.raises(StaleStageError, match=f"{SECOND} was made from another"):
        write(run, THIRD, "tuned net", (SECOND,))
    assert run.current(SECOND, {}, [FIRST]) is None
    assert text_of(run, FIRST) == "other pictures"


def test_a_rerun_with_the_same_result_keeps_later_stages_current(
    tmp_path: Path,
) -> None:
    run = chain(tmp_path)
    write(run, FIRST, "pictures")
    write(run, SECOND, "net", (FIRST,))
    assert text_of(run, THIRD) == "tuned net"
    assert run.current(THIRD, {}, [SECOND]) is not None


def test_a_stage_is_current_for_its_own_settings_only(tmp_path: Path) -> None:
    run = Run(tmp_path)
    settings: dict[str, Any] = {"side": 64, "names": ("a", "b"), "rate": 0.1}
    assert run.current(FIRST, settings) is None
    write(run, FIRST, "pictures", **settings)
    assert run.current(FIRST, settings) is not None
    for name, value in (("side", 65), ("names", ("b", "a")), ("rate", 0.2)):
        assert run.current(FIRST, settings | {name: value}) is None
    assert Run(tmp_path, overwrite=True).current(FIRST, settings) is None


def test_a_moved_run_still_holds(tmp_path: Path) -> None:
    run = chain(tmp_path / "here")
    moved = Run(tmp_path / "there" / "renamed")
    moved.folder.parent.mkdir()
    shutil.move(run.folder, moved.folder)
    assert text_of(moved, THIRD) == "tuned net"
    assert moved.current(THIRD, {}, [SECOND]) is not None


HOLD = """
import sys, time
from contextlib import suppress
from pathlib import Path
from data_prep.run_folders.runs import Run
with Run(Path(sys.argv[1])).stage("data_prep.prepare", {}) as stage:
    (stage.folder / "result.txt").write_text("of the other")
    print("locked", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> "subprocess.Popen[str]":
    """Start a process that is writing the first stage."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_a_stage_another_process_writes_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with holder(tmp_path) as process:
        with pytest.raises(LockedStageError, match="is being written by another proc"):
            write(run, FIRST, "ours")
        write(run, SECOND, "another stage is free")
        process.communicate()
    assert text_of(run, FIRST) == "of the other"


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with holder(tmp_path) as process:
        process.kill()
        process.wait()
    assert not run.has(FIRST)
    with run.stage(FIRST, {}) as stage:
        assert (stage.folder / "result.txt").read_text() == "of the other"


@pytest.mark.parametrize("had_result", [True, False])
@pytest.mark.parametrize("old_is_moved", [True, False])
@pytest.mark.parametrize("ask", ["finished", "has", "current", "stage"])
def test_an_interrupted_move_is_finished(
    tmp_path: Path, had_result: bool, old_is_moved: bool, ask: str
) -> None:
    run = Run(tmp_path)
    if had_result:
        write(run, FIRST, "old")
        shutil.copytree(tmp_path / FIRST, tmp_path / "saved")
    write(run, FIRST, "new")
    (tmp_path / FIRST).rename(tmp_path / f"{FIRST}.partial")
    write_json(tmp_path / f"{FIRST}.partial" / MADE_FROM, {"settings": {}, "reads": {}})
    if had_result:
        (tmp_path / "saved").rename(
            tmp_path / (f"{FIRST}.old" if old_is_moved else FIRST)
        )
    match ask:
        case "finished":
            run.finished(FIRST)
        case "has":
            assert run.has(FIRST)
        case "current":
            assert run.current(FIRST, {}) is not None
        case "stage":
            crash(run, FIRST, "the next attempt")
    assert text_of(run, FIRST) == "new"
    left = {p.name for p in tmp_path.iterdir() if not p.name.startswith(".")}
    assert left == {FIRST} | ({f"{FIRST}.partial"} if ask == "stage" else set())
    assert not (tmp_path / FIRST / MADE_FROM).exists()


def test_a_reader_leaves_a_move_to_the_writer_who_is_at_it(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write(run, FIRST, "old")
    with run.stage(FIRST, {"new": True}) as stage:
        (stage.folder / "result.txt").write_text("new")
        record = run.folder / FIRST / RECORD
        shutil.copy(record, stage.folder / RECORD)  # as if about to be moved
        assert text_of(run, FIRST) == "old"
        (stage.folder / RECORD).unlink()
    assert text_of(run, FIRST) == "new"


def publish_often(folder: Path, n: int) -> None:
    for number in range(n):
        write(Run(folder), FIRST, str(number))


def test_a_reader_never_harms_a_writer(tmp_path: Path) -> None:
    write(Run(tmp_path), FIRST, "0")
    context = multiprocessing.get_context("fork")
    writer = context.Process(target=publish_often, args=(tmp_path, 25))
    writer.start()
    while writer.is_alive():
        Run(tmp_path).has(FIRST)
        time.sleep(0)
    writer.join()
    assert writer.exitcode == 0
    assert text_of(Run(tmp_path), FIRST) == "24"


def worked_for(run: Run, name: str, seconds: float) -> None:
    """Date the files of an unfinished stage as if it had been killed after a time."""
    note = run.folder / f"{name}.partial" / MADE_FROM
    began_at = json.loads(note.read_text())["attempts"]["began_at"]
    for path in note.parent.rglob("*"):
        os.utime(path, (began_at + seconds, began_at + seconds))


def test_a_record_has_the_seconds_of_all_attempts(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for seconds in (100.0, 20.0):
        crash(run, FIRST, "half", side=64)
        worked_for(run, FIRST, seconds)
    with run.stage(FIRST, {"side": 64}) as stage:
        assert stage.seconds() == pytest.approx(120.0, abs=2)
    assert run.finished(FIRST).record["seconds"] == pytest.approx(120.0, abs=2)
    write(run, FIRST, "new", side=32)  # nothing of another result
    assert run.finished(FIRST).record["seconds"] < 2


def test_an_attempt_that_is_dropped_or_of_an_older_version_does_not_count(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path, overwrite=True)
    crash(run, FIRST, "half", side=64)
    worked_for(run, FIRST, 100.0)
    crash(run, FIRST, "half", side=32)
    note = tmp_path / f"{FIRST}.partial" / MADE_FROM
    made_from = json.loads(note.read_text())
    assert made_from.pop("attempts")["seconds"] == 0
    write_json(note, made_from)
    os.utime(note, (4e9, 4e9))
    write(run, FIRST, "new", side=32)
    assert run.finished(FIRST).record["seconds"] < 2


def test_an_attempt_ends_when_its_error_comes_and_not_at_its_last_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, now = Run(tmp_path), time.time()
    clock = "data_prep.run_folders.attempts.time.time"
    with monkeypatch.context() as patch:
        patch.setattr(clock, lambda: now - 50)
        crash(run, FIRST, "half")
    write(run, FIRST, "whole")
    assert run.finished(FIRST).record["seconds"] == pytest.approx(50, abs=2)


@pytest.mark.parametrize("ephemeral", sorted(EPHEMERAL))
@pytest.mark.parametrize("location", [".", "target/fold0"])
def test_logs_checkpoints_epochs_and_reports_are_no_result(
    tmp_path: Path, ephemeral: str, location: str
) -> None:
    folder = tmp_path / location
    (folder / ephemeral / "deeper").mkdir(parents=True)
    (folder / ephemeral / "x.bin").write_text("passing")
    (folder / ephemeral / "deeper" / "x.bin").write_text("passing")
    (folder / "report.html").write_text("ephemeral")
    (folder / "net.bin").write_text("result")
    (folder / f"{ephemeral}.bin").write_text("result")
    expected = {(folder / f"{n}.bin").relative_to(tmp_path) for n in ("net", ephemeral)}
    assert {Path(file) for file in digest_files(tmp_path)} == expected


def test_digests_are_of_content_and_names(tmp_path: Path) -> None:
    digests = []
    for number, (name, text) in enumerate(
        [("a", "x"), ("a", "x"), ("b", "x"), ("a", "y")]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_text(text)
        os.utime(folder / name, (number, number))
        digests.append(digest_of(digest_files(folder)))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_the_order_of_keys_does_not_change_a_digest() -> None:
    assert digest_of({"a": 1, "b": [2, 3]}) == digest_of({"b": [2, 3], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    write_json(file, {"a": 1})
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="Circular"):
        write_json(file, circle)
    assert json.loads(file.read_text()) == {"a": 1}
