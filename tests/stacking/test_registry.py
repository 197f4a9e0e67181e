"""Tests of stacking.models.registry and of the stackers' files."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from data_prep.settings import fields_of
from stacking.models import neural_folds, registry
from stacking.models.registry import STACKERS
from stacking.settings import FitSettings

ROOT = Path(__file__).parents[2]


def test_every_file_with_the_mark_is_a_stacker_and_has_a_name_of_its_own() -> None:
    folder = Path(registry.__file__).parent
    files = [
        path
        for path in folder.glob("*.py")
        if "\nSTACKER = StackerType(" in path.read_text()
    ]
    assert len(STACKERS) == len(files) + len(neural_folds.STACKERS) > 5
    assert {"lightgbm", "ridge"} < set(STACKERS)


def test_the_settings_and_their_help_name_every_stacker() -> None:
    assert FitSettings(stackers=tuple(STACKERS)).stackers == tuple(STACKERS)
    help_ = fields_of(FitSettings)["stackers"].help
    usual, slow = help_.split("slower:")
    for name, stacker in STACKERS.items():
        assert name in (slow if stacker.is_slow else usual)


@pytest.mark.parametrize("name", STACKERS)
def test_a_stacker_imports_heavy_libraries_only_when_it_is_used(name: str) -> None:
    module = inspect.getmodule(STACKERS[name].load)
    assert module is not None
    code = f"import sys, {module.__name__}; print(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"torch", "lightgbm", "sklearn", "scipy", "pandas", "catboost"}
    assert not heavy & set(answer.stdout.split())
