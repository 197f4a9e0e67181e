"""What the tests of several packages start from."""

import atexit
import gc
import os
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path

import pytest

from data_prep import effort
from data_prep.run_folders.runs import Run
from tests.prepared_runs import make_run

# The longest files, begun first so that no worker is left alone with one at the end.
LONGEST = (
    "test_fit.py",
    "test_chain.py",
    "test_neural.py",
    "test_monitor.py",
    "test_finetune.py",
    "test_extract.py",
    "test_predict.py",
    "test_export.py",
    "test_units.py",
)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import all modules without looking for garbage: it takes half of the time.

    Nor is it looked for among them later, until the interpreter ends.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first, all others as they were."""

    def place(item: pytest.Item) -> int:
        name = item.path.name
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def disks_keep_what_they_have() -> Iterator[None]:
    """Let files not wait for the disk, which only matters where the power fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def machines_are_timed_briefly() -> Iterator[None]:
    """Let no command look long at how fast the processor is; tests of that still do."""
    brief = partial(effort.measure_speed, seconds=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(effort, "measure_speed", brief)
        yield


@pytest.fixture(scope="module")
def tampering_goes_unseen() -> Iterator[None]:
    """Let tests rewrite files of finished stages to see what becomes of them.

    Only modules that do so ask for it; what runs in a process of its own compares.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data_prep.run_folders.runs.check_files", lambda *_: None)
        patch.setattr("data_prep.run_folders.damage._stage_of", lambda _: None)
        patch.setattr("data_prep.run_folders.damage.is_sealed", lambda _: True)
        yield


@pytest.fixture
def prepared_run(tmp_path: Path) -> Callable[..., Run]:
    """Make runs whose ``data_prep.prepare`` is finished, of pictures made up.

    ``prepared_run(n=24, side=32)`` takes the further arguments of ``make_run`` too; a
    sixth of the n pictures is to predict and two are in no table.
    """
    made = 0

    def make(n: int = 24, side: int = 32, **options: object) -> Run:
        nonlocal made
        made += 1
        n_test, n_unlabelled = n // 6, min(2, n // 3)
        counts = {
            "n_train": n - n_test - n_unlabelled,
            "n_test": n_test,
            "n_unlabelled": n_unlabelled,
        }
        return make_run(tmp_path / f"run{made}", side=side, **(counts | options))  # type: ignore[arg-type]

    return make
