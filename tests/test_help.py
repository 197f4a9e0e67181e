"""``--help`` of every command is complete, and loads none of the heavy libraries."""

import importlib
import json
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path

import pytest

from data_prep.experiment import commands
from data_prep.settings import POSITIONAL, fields_of, flag_of

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "pandas", "lightgbm", "sklearn", "gensim", "lightly", "timm", "wand")

COMMANDS = [*commands(), "pipeline"]

# A process for each command, forked from one that has loaded what they share.
ASK = """
import contextlib, io, json, os, runpy, sys
import data_prep.command
heavy, modules = sys.argv[1].split(","), sys.argv[2:]

def ask(module):
    sys.argv, status, out, err = [module, "--help"], 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as left:
            status = left.code or 0
    loaded = [name for name in heavy if name in sys.modules]
    return [status, out.getvalue(), err.getvalue(), loaded]

answers = {}
for module in modules:
    read, write = os.pipe()
    if not os.fork():
        os.write(write, json.dumps(ask(module)).encode())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        answers[module] = json.loads(file.read())
    os.wait()
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[int, str, str, list[str]]]:
    """Give status, output, errors and heavy libraries of each command's help."""
    child = subprocess.run(
        [sys.executable, "-c", ASK, ",".join(HEAVY), *COMMANDS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert child.stderr == ""
    return {name: tuple(answer) for name, answer in json.loads(child.stdout).items()}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_setting_and_loads_nothing_heavy(
    command: str, answers: dict[str, tuple[int, str, str, list[str]]]
) -> None:
    status, help_text, errors, loaded = answers[command]
    assert (status, errors, loaded) == (0, "", [])
    assert help_text.startswith(f"usage: python -m {command} ")
    module = importlib.import_module(command)
    for name, kind in vars(module).items():
        if not (is_dataclass(kind) and kind.__module__ == command):
            continue
        if not name.endswith("Settings"):
            continue
        assert isinstance(kind, type)
        assert (kind.__doc__ or "").splitlines()[0] in help_text
        for field in fields_of(kind).values():
            flag = flag_of(field)
            is_positional = POSITIONAL in field.annotations
            shown = field.name.upper() if is_positional else flag
            assert shown in help_text
            assert field.help.split()[0] in help_text
