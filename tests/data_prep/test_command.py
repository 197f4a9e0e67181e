"""Tests of data_prep.command."""

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

from data_prep import demo
from data_prep.command import open_command, run_command
from data_prep.errors import UserError
from data_prep.experiment import Experiment
from data_prep.run_folders.runs import Run
from data_prep.run_places import chosen_run
from data_prep.verify import faults_beside

ROOT = Path(__file__).parents[2]
STAGE = "pretext.jigsaw"


@dataclass(frozen=True, kw_only=True)
class TryoutSettings:
    """Try it out."""

    epochs: Annotated[int, "passes over the pictures"] = 30


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a fresh folder that commands are typed in."""
    folder = tmp_path / "fresh"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def experiment_file(folder: Path, name: str = "leaves.toml", epochs: int = 5) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(f'[data]\nimages = "pictures"\n[{STAGE}]\nepochs = {epochs}\n')
    return file


def open_tryout(*flags: str) -> tuple[TryoutSettings, Run, Experiment]:
    """Open a command whose inputs have passed, as its stage begins."""
    settings, run, experiment = open_command(TryoutSettings, STAGE, flags)
    run.on_use()
    return settings, run, experiment


def test_a_fresh_folder_is_told_what_to_type(fresh: Path) -> None:
    message = rf"no run yet, here .*; begin with: .*python -m {STAGE} --experiment FILE"
    with pytest.raises(UserError, match=message):
        open_tryout()
    assert [*fresh.iterdir()] == []


def test_a_run_is_named_after_its_experiment_unless_said_otherwise(fresh: Path) -> None:
    file = experiment_file(fresh / "experiments")
    flags = ["--experiment", str(file)]
    assert open_tryout(*flags)[1].folder == Path("runs/leaves")
    assert open_tryout(*flags, "--run", "elsewhere")[1].folder == Path("elsewhere")


def test_settings_come_from_file_and_flags(fresh: Path) -> None:
    file = str(experiment_file(fresh, epochs=5))
    assert open_tryout("--experiment", file)[0].epochs == 5
    assert open_tryout("--experiment", file, "--epochs", "7")[0].epochs == 7
    assert not open_tryout()[1].overwrite
    assert open_tryout("--overwrite")[1].overwrite


def test_the_run_last_worked_on_is_used_and_named(
    fresh: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for name in ("leaves", "coins", "roots"):
        file = experiment_file(fresh, f"{name}.toml")
        open_tryout("--experiment", str(file))
    assert open_tryout()[1].folder == Path("runs/roots")
    assert f"run: {fresh}/runs/roots (the one last worked on)" in caplog.text
    open_tryout("--run", "runs/leaves")
    assert open_tryout()[1].folder == Path("runs/leaves")


def test_a_last_run_that_is_gone_is_named(fresh: Path) -> None:
    open_tryout("--experiment", str(experiment_file(fresh)))
    shutil.rmtree("runs/leaves")
    with pytest.raises(
        UserError, match=r"runs/leaves, the run last worked on, is gone"
    ):
        open_tryout()


def test_a_run_elsewhere_leaves_no_runs_folder_here(
    fresh: Path, tmp_path: Path
) -> None:
    file = experiment_file(tmp_path / "far")
    open_tryout("--experiment", str(file), "--run", str(tmp_path / "far" / "run"))
    assert [*fresh.iterdir()] == []


def test_a_run_keeps_its_experiment_wherever_one_stands(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = experiment_file(tmp_path / "experiments", epochs=5)
    open_tryout("--experiment", str(file), "--run", "runs/x")
    file.unlink()
    for place, run in (
        (fresh, "runs/x"),
        (tmp_path, "fresh/runs/x"),
        (Path("/"), None),
    ):
        monkeypatch.chdir(place)
        folder = run or str(fresh / "runs" / "x")
        settings, _, experiment = open_tryout("--run", folder)
        assert settings.epochs == 5
        (images,) = experiment.data.images
        assert images.resolve() == tmp_path / "experiments" / "pictures"


def test_a_kept_experiment_is_found_after_both_moved_together(
    fresh: Path, tmp_path: Path
) -> None:
    open_tryout("--experiment", str(experiment_file(fresh / "experiments")))
    shutil.move(fresh, tmp_path / "moved")
    run = tmp_path / "moved" / "runs" / "leaves"
    (images,) = open_tryout("--run", str(run))[2].data.images
    assert images.resolve() == tmp_path / "moved" / "experiments" / "pictures"


def test_a_new_experiment_replaces_the_kept_one(fresh: Path) -> None:
    for epochs in (5, 6):
        file = experiment_file(fresh, epochs=epochs)
        open_tryout("--experiment", str(file), "--run", "runs/x")
    assert open_tryout("--run", "runs/x")[0].epochs == 6


def test_a_file_changed_since_the_run_read_it_is_named(
    fresh: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = experiment_file(fresh / "experiments")
    open_tryout("--experiment", str(file))
    assert open_tryout()[0].epochs == 5
    assert "has changed" not in caplog.text
    experiment_file(fresh / "experiments", epochs=6)
    assert open_tryout()[0].epochs == 5
    told = "experiments/leaves.toml has changed since this run read it; to use it:"
    assert f"{told} --experiment experiments/leaves.toml" in caplog.text


def test_the_kept_experiment_can_be_given_itself(fresh: Path) -> None:
    open_tryout("--experiment", str(experiment_file(fresh)))
    kept = "runs/leaves/experiment.toml"
    assert open_tryout("--experiment", kept, "--run", "runs/leaves")[0].epochs == 5


def test_an_experiment_with_a_mistake_is_not_kept(fresh: Path) -> None:
    open_tryout("--experiment", str(experiment_file(fresh, epochs=5)))
    file = experiment_file(fresh)
    file.write_text(f"[{STAGE}]\nepcohs = 3\n")
    with pytest.raises(UserError, match="did you mean 'epochs'"):
        open_tryout("--experiment", str(file))
    assert open_tryout()[0].epochs == 5


def test_a_run_without_an_experiment_asks_for_one(fresh: Path) -> None:
    (fresh / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no experiment yet; give --exper"):
        open_tryout("--run", "empty")


def test_a_run_that_is_not_there_is_answered_with_the_nearest(fresh: Path) -> None:
    open_tryout("--experiment", str(experiment_file(fresh)))
    Path("runs/notes").mkdir()  # which is no run
    for typed, hint in (
        ("runs/leafs", r"did you mean runs/leaves\?"),
        ("leaves", r"did you mean runs/leaves\?"),
        ("runs/zzz", "there are: runs/leaves"),
    ):
        new = r" \(for a new one there: --experiment FILE.toml\)"
        message = rf"^{typed}: there is no such run; {hint}{new}$"
        with pytest.raises(UserError, match=message):
            open_tryout("--run", typed)
        with pytest.raises(UserError, match=rf"{typed}: there is no such run; {hint}$"):
            chosen_run(Path(typed), "features.similar")
    assert open_tryout("--run", "runs/new", "--experiment", "leaves.toml")[1].folder


def raising(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("side = 4: give 16"), 2, "error: side = 4: give 16"),
        (UserError("two\nlines"), 2, "error: two lines"),
        (KeyboardInterrupt(), 130, "stopped; the same command goes on where it can"),
        (
            OSError(errno.ENOSPC, "No space left on device", "x/images.npy"),
            2,
            "error: x/images.npy: the disk is full; free some space and run again",
        ),
        (
            OSError("100000 requested and 8176 written"),
            2,
            "error: the disk is full; free some space and run again",
        ),
    ],
)
def test_a_mistake_is_one_line_and_a_status(
    error: BaseException, status: int, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SystemExit) as caught:
        run_command(raising(error))
    assert caught.value.code == status
    assert [r.getMessage() for r in caplog.records] == [line]
    assert all(record.exc_info is None for record in caplog.records)


def test_numpy_on_a_full_disk_is_understood() -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(OSError, match=r"left on device|requested and") as caught,
    ):
        np.save(full, np.zeros(100_000))
    with pytest.raises(SystemExit) as left:
        run_command(raising(caught.value))
    assert left.value.code == 2


@pytest.mark.parametrize("error", [ValueError("a fault of ours"), KeyError("fault")])
def test_a_fault_of_the_program_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error.args[-1])):
        run_command(raising(error))


def test_success_is_status_0() -> None:
    with pytest.raises(SystemExit) as caught:
        run_command(lambda: None)
    assert caught.value.code == 0


def typed(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([STAGE], "error: there is no run yet, here or in a folder above ("),
        ([STAGE, "--experiment", "x.toml"], "error: x.toml: there is no such exper"),
        ([STAGE, "--epcohs", "3"], f"python -m {STAGE}: unknown argument '--epcohs'"),
        (["pipeline", "x.toml"], "error: x.toml: there is no such experiment file"),
        (["pipeline"], "python -m pipeline: give the experiment file; there "),
    ],
)
def test_what_is_typed_wrong_is_answered_in_one_line(
    fresh: Path, words: list[str], line: str
) -> None:
    answer = typed(fresh, *words)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith(line)
    assert answer.stderr.count("\n") == 1


@pytest.mark.parametrize("flags", [[], ["--run", "tried"]])
@pytest.mark.usefixtures("fresh")
def test_the_demo_needs_no_experiment_file(
    flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(
        "data_prep.demo_collection.collection.draw_collection",
        lambda _, **sizes: drawn.append(sizes["n_train"]),
    )
    folder = demo.main(flags)
    assert folder == Path("tried" if flags else "runs/demo", "data_prep.demo")
    assert (folder.parent / "experiment.toml").exists()
    assert demo.main([*flags, "--n-train", "30"]) == folder
    assert demo.main([*flags, "--n-train", "30"]) == folder
    assert drawn == [960, 30]


@pytest.mark.usefixtures("fresh")
def test_the_demo_keeps_to_the_experiment_of_its_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(
        "data_prep.demo_collection.collection.draw_collection",
        lambda _, **sizes: drawn.append(sizes["n_train"]),
    )
    file = Path("small.toml")
    file.write_text("[data_prep.demo]\nn_train = 40\n")
    demo.main(["--experiment", str(file)])
    demo.main(["--run", "runs/small", "--overwrite"])
    assert drawn == [40, 40]


@pytest.mark.parametrize("flag", ["--n-train", "--n-test", "--side"])
@pytest.mark.usefixtures("fresh")
def test_a_demo_too_small_is_refused(flag: str) -> None:
    name = flag[2:].replace("-", "_")
    with pytest.raises(UserError, match=rf"command line: {name} = 1: give \d+ or more"):
        demo.main([flag, "1"])


# What the system refuses


@pytest.mark.parametrize("name", [None, "runs/x/table.parquet"])
@pytest.mark.parametrize(
    "code",
    [
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOTDIR),
        *(errno.ENAMETOOLONG, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ELOOP),
        *(errno.EBUSY, errno.EISDIR, errno.ENOENT, errno.ETIMEDOUT, errno.ENOLCK),
    ],
)
def test_whatever_the_system_refuses_is_one_line(
    code: int, name: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SystemExit) as caught:
        run_command(raising(OSError(code, os.strerror(code), name)))
    assert caught.value.code == 2
    (record,) = caplog.records
    place = f"{name}: " if name else ""
    assert record.getMessage().startswith(f"error: {place}{os.strerror(code)}")
    assert "\n" not in record.getMessage()
    assert record.exc_info is None


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError("Corrupt snappy compressed data."), "Corrupt snappy compressed data."),
        (OSError(), "OSError"),
        (
            BrokenProcessPool("a child was terminated abruptly"),
            "a process was killed, probably for want of memory; run again",
        ),
        (MemoryError(), "there is too little memory; close other programs, run again"),
        (
            BrokenPipeError(errno.EPIPE, "Broken pipe"),
            "whoever read the output stopped; run again without that",
        ),
    ],
)
def test_errors_without_a_number_are_one_line_too(
    error: Exception, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SystemExit) as caught:
        run_command(raising(error))
    assert caught.value.code == 2
    assert [record.getMessage() for record in caplog.records] == [f"error: {line}"]


SPEAK = """
import sys
from data_prep.command import run_command
run_command(lambda: sys.stdout.write("a line that nobody reads\\n"))
"""


def test_a_reader_of_the_output_that_is_gone_is_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", SPEAK],
        cwd=ROOT,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 2
    assert done.stderr == (
        "error: whoever read the output stopped; run again without that\n"
    )


def refuse_to_write(
    monkeypatch: pytest.MonkeyPatch, place: Path, code: int = errno.EROFS
) -> None:
    """Let nothing be made or written at and below a place, as a read-only disk does."""
    real_open, below = os.open, str(place.resolve())

    def opened(path: Any, flags: int, *args: Any, **options: Any) -> int:
        is_there = os.path.abspath(os.fspath(path)).startswith(below)  # noqa: PTH100
        if is_there and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(code, os.strerror(code), str(path))
        return real_open(path, flags, *args, **options)

    monkeypatch.setattr("os.open", opened)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_run_that_cannot_be_written_is_opened_all_the_same(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any, code: int
) -> None:
    file = experiment_file(fresh / "experiments")
    flags = ["--experiment", str(file), "--run", "runs/leaves"]
    run = open_tryout(*flags)[1]
    with run.stage(STAGE, {}):
        pass
    refuse_to_write(monkeypatch, fresh, code)
    Path("runs/.last").write_text("runs/leaves/\n")  # written in another way
    for asked in (flags, ["--run", "runs/leaves"], []):
        run = open_tryout(*asked)[1]
        assert run.current(STAGE, {}) is not None
        assert not run.is_being_written(STAGE)
    assert "runs/.last: " in caplog.text
    assert "it still names the run before" in caplog.text


def test_an_experiment_that_cannot_be_kept_is_an_error(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = experiment_file(fresh / "experiments")
    open_tryout("--experiment", str(file))
    experiment_file(fresh / "experiments", epochs=6)
    refuse_to_write(monkeypatch, fresh / "runs")
    with pytest.raises(OSError, match=r"runs/leaves/experiment\.toml"):
        open_tryout("--experiment", str(file))


# Whose run it is


def test_two_files_of_one_name_do_not_share_a_run(fresh: Path) -> None:
    first = experiment_file(fresh, epochs=5)
    second = experiment_file(fresh / "experiments", epochs=5)
    open_tryout("--experiment", str(first))
    message = (
        r"runs/leaves is the run of leaves\.toml, and .*/leaves\.toml is another"
        r" file of that name; give --run FOLDER: another one .* runs/leaves to go on"
    )
    with pytest.raises(UserError, match=message):
        open_tryout("--experiment", str(second))
    assert open_tryout()[2].data.images[0].resolve() == fresh / "pictures"
    open_tryout("--experiment", str(first))  # and the first goes on
    run = open_tryout("--experiment", str(second), "--run", "runs/other")[1]
    assert run.folder == Path("runs/other")
    with pytest.raises(UserError, match=r"runs/leaves is the run of leaves\.toml"):
        open_tryout("--experiment", str(second))


def test_two_files_share_a_run_if_it_is_asked_for(
    fresh: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first, second = (experiment_file(fresh / name) for name in ("", "experiments"))
    open_tryout("--experiment", str(first))
    open_tryout("--experiment", str(second), "--run", "runs/leaves")
    assert f"runs/leaves: until now of leaves.toml, now of {second}" in caplog.text
    open_tryout("--experiment", str(second))  # whose it now is


def test_a_file_that_was_moved_is_still_the_same(fresh: Path) -> None:
    file = experiment_file(fresh)
    open_tryout("--experiment", str(file))
    (fresh / "experiments").mkdir()
    moved = file.rename(fresh / "experiments" / "leaves.toml")
    opened = open_tryout("--experiment", str(moved))
    assert opened[1].folder == Path("runs/leaves")
    file.symlink_to(moved)
    assert open_tryout("--experiment", str(file))[1].folder == Path("runs/leaves")


def test_a_run_that_is_a_link_knows_its_experiment(fresh: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk" / "deep" / "leaves"
    disk.mkdir(parents=True)
    (fresh / "runs").mkdir()
    (fresh / "runs" / "leaves").symlink_to(disk)
    first, second = (experiment_file(fresh / name) for name in ("experiments", ""))
    open_tryout("--experiment", str(first))
    message = r"runs/leaves is the run of experiments/leaves\.toml"
    with pytest.raises(UserError, match=message):
        open_tryout("--experiment", str(second))
    (images,) = open_tryout("--run", "runs/leaves")[2].data.images
    assert images == Path(
        "experiments/pictures"
    )  # and a message names it without detours


# What a run keeps of its experiment


@pytest.mark.parametrize("name", ["experiment.toml", "run.json"])
@pytest.mark.parametrize("harm", ["cut", "emptied", "changed", "missing"])
@pytest.mark.usefixtures("fresh")
def test_a_kept_experiment_that_is_broken_is_named(name: str, harm: str) -> None:
    file = experiment_file(Path("experiments").resolve())
    open_tryout("--experiment", str(file))
    broken = Path("runs/leaves") / name
    content = broken.read_bytes()
    if harm == "missing":
        broken.unlink()
    else:
        as_harmed = {"cut": content[:-3], "emptied": b"", "changed": b"#" + content[1:]}
        broken.write_bytes(as_harmed[harm])
    message = r"runs/leaves.*--experiment (FILE|experiments/leaves)\.toml"
    if (name, harm) == ("experiment.toml", "missing"):
        message = "runs/leaves holds no experiment yet; give --experiment FILE"
    else:
        (line,) = faults_beside(Path("runs/leaves"))
        assert re.search(message, line)
    with pytest.raises(UserError, match=message):
        open_tryout()
    open_tryout("--experiment", str(file), "--run", "runs/leaves")
    assert broken.read_bytes() == content
    assert faults_beside(Path("runs/leaves")) == []
    assert open_tryout()[0].epochs == 5


@pytest.mark.usefixtures("fresh")
def test_a_kept_experiment_that_was_edited_is_taken_if_it_is_named() -> None:
    file = experiment_file(Path("experiments").resolve())
    open_tryout("--experiment", str(file))
    kept = Path("runs/leaves/experiment.toml")
    kept.write_text(kept.read_text().replace("5", "7"))
    with pytest.raises(UserError, match=r"to take it as it is: --experiment runs/lea"):
        open_tryout()
    settings, _, experiment = open_tryout(
        "--experiment", str(kept), "--run", "runs/leaves"
    )
    assert settings.epochs == 7
    assert experiment.data.images[0].resolve() == file.parent / "pictures"
    assert open_tryout()[0].epochs == 7


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (
            '[data]\ndoubts = "a.csv"\n',
            r"\[data\]: .* it was renamed: write sample_w",
        ),
        (f"[{STAGE}]\nepcohs = 3\n", r"\[pretext.jigsaw\]: .* did you mean 'epochs'\?"),
    ],
)
@pytest.mark.usefixtures("fresh")
def test_a_kept_experiment_of_an_older_version_says_what_to_mend(
    text: str, what: str
) -> None:
    file = experiment_file(Path("experiments").resolve())
    open_tryout("--experiment", str(file))
    kept, origin = Path("runs/leaves/experiment.toml"), Path("runs/leaves/run.json")
    for path in (file, kept):
        path.write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    origin.write_text(json.dumps(json.loads(origin.read_text()) | {"sha256": digest}))
    named = rf"{kept} {what}.* \(mend that in "
    with pytest.raises(
        UserError, match=f"{named}experiments/leaves.toml and give it: "
    ):
        open_tryout()
    file.unlink()
    with pytest.raises(UserError, match=f"{named}{kept} and give it: --exp.* {kept} "):
        open_tryout()


@pytest.mark.usefixtures("fresh")
def test_a_note_of_the_last_run_that_is_empty_is_no_run() -> None:
    open_tryout("--experiment", str(experiment_file(Path.cwd())))
    Path("runs/.last").write_text("")
    with pytest.raises(UserError, match=r"what runs/\.last names, the run last worked"):
        open_tryout()
