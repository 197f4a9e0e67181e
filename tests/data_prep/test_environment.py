"""Tests of data_prep.environment."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep import environment
from data_prep.environment import complaint
from data_prep.experiment import PACKAGES, commands

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("command", [*commands(), "pipeline"])
def test_without_libraries_a_command_is_one_line(command: str) -> None:
    child = subprocess.run(
        [sys.executable, "-S", "-m", command, "x"],  # -S: no site-packages
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={},
    )
    assert child.returncode != 0
    assert child.stdout == ""
    (line,) = child.stderr.splitlines()
    assert line.startswith(f"error: this Python, {sys.executable}, has no annotated_")
    assert line.endswith(f". {ROOT}/.venv/bin/activate")


def test_a_function_may_be_used_without_the_libraries_of_commands() -> None:
    child = subprocess.run(
        [sys.executable, "-S", "-c", "import data_prep.errors, features, stacking"],
        cwd=ROOT,
        check=False,
        env={},
    )
    assert child.returncode == 0


def test_the_environment_is_made_before_it_is_activated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert complaint(tmp_path) == "", "these tests have all"
    monkeypatch.setattr(environment, "LIBRARIES", ("no_such_library",))
    assert f"make env, in {tmp_path}; then . {tmp_path}" in complaint(tmp_path)
    activate = tmp_path / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.touch()
    assert complaint(tmp_path).endswith(f"has no no_such_library; first: . {activate}")
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    assert "is 3.9, and 3.11 or newer is needed; first: . " in complaint(tmp_path)


def hear_interrupts() -> None:
    """Undo what a shell does to the processes that it begins in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    "command",
    [
        *("pipeline", "data_prep.start", "pretext.jigsaw", "transfer.finetune"),
        *("features.inspect", "stacking.fit"),
    ],
)
def test_an_interrupt_among_the_imports_is_one_line(
    tmp_path: Path, command: str
) -> None:
    """A library is being imported when Ctrl-C comes, and makes another error of it."""
    (tmp_path / "annotated_types.py").write_text(
        "import os, signal\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt:\n    raise ImportError('broken') from None\n"
    )
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        preexec_fn=hear_interrupts,
    )
    assert (child.returncode, child.stdout) == (130, "")
    assert child.stderr == f"{environment.STOPPED}\n"


def test_only_a_command_takes_interrupts_and_only_until_it_runs() -> None:
    assert signal.getsignal(signal.SIGINT) is not environment.end_at_once  # pytest
    for words in (
        *(["python"], ["python", "-m"], ["python", "x.py", "data_prep.start"]),
        ["python", "-c", "from multiprocessing.spawn import spawn_main"],
        ["python", "-m", "ipykernel_launcher", "-f", "x.json"],
    ):
        assert not environment.is_command(words)
    assert {*environment.COMMANDS} == {"pipeline", *PACKAGES}
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, environment.end_at_once)
        environment.interrupt_as_usual()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # begun in the background
        environment.interrupt_as_usual()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
