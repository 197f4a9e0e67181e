"""``--help`` of every command is complete, and loads none of the heavy libraries."""

import importlib
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path

import pytest

from data_prep.experiment import commands
from data_prep.settings import POSITIONAL, fields_of

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "pandas", "lightgbm", "sklearn", "gensim", "lightly", "timm", "wand")

ASK = """
import runpy, sys
module, heavy = sys.argv[1], sys.argv[2].split(",")
sys.argv = [module, "--help"]
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
except SystemExit as left:
    assert not left.code, f"status {left.code}"
loaded = [name for name in heavy if name in sys.modules]
assert not loaded, f"--help loads {loaded}"
"""


@pytest.mark.parametrize("command", [*commands(), "pipeline"])
def test_help_names_every_setting_and_loads_nothing_heavy(command: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", ASK, command, ",".join(HEAVY)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    assert answer.stdout.startswith(f"usage: python -m {command} ")
    module = importlib.import_module(command)
    for name, kind in vars(module).items():
        if not (is_dataclass(kind) and kind.__module__ == command):
            continue
        if not name.endswith("Settings"):
            continue
        assert isinstance(kind, type)
        assert (kind.__doc__ or "").splitlines()[0] in answer.stdout
        for field in fields_of(kind).values():
            flag = f"--{field.name.replace('_', '-')}"
            is_positional = POSITIONAL in field.annotations
            shown = field.name.upper() if is_positional else flag
            assert shown in answer.stdout
            assert field.help.split()[0] in answer.stdout
