"""No stage depends on the order of the rows in table.parquet.

Here the trainings of the transfer and the stores that come of them; the pretexts are in
``pretext/test_pretraining.py``, the watcher, ``stacking.fit`` and ``stacking.predict``
beside their own tests.
"""

from pathlib import Path

import numpy as np
import pytest

from data_prep.run_folders.runs import Run
from features.store import open_store
from tests.prepared_runs import STAGE, extract, finetune, make_run, table_of

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")


def shuffle(run: Run) -> None:
    """Put the rows of the prepared table in an order that is not the pictures'."""
    table = table_of(run).sample(frac=1, random_state=0)
    assert (table["image_row"].to_numpy() != np.arange(len(table))).any()
    table.to_parquet(run.folder / STAGE / "table.parquet", index=False)


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory,
    tampering_goes_unseen: None,  # noqa: ARG001 - before the runs
) -> tuple[Run, Run]:
    """Two runs of the same rows, those of the second shuffled."""
    ordered, shuffled = (
        make_run(tmp_path_factory.mktemp(name), n_folds=2, n_excluded=2)
        for name in ("ordered", "shuffled")
    )
    shuffle(shuffled)
    for run in (ordered, shuffled):
        finetune(run, "--joint")
        extract(run, "--views=flip", "--insample")
    return ordered, shuffled


def files_of(run: Run, stage: str, pattern: str) -> list[Path]:
    """List the files of a stage by their path in it."""
    folder = run.folder / stage
    return sorted(path.relative_to(folder) for path in folder.rglob(pattern))


def test_nets_are_the_same_to_the_bit(runs: tuple[Run, Run]) -> None:
    ordered, shuffled = (run.folder / "transfer.finetune" for run in runs)
    names = files_of(runs[0], "transfer.finetune", "weights.safetensors")
    assert [str(name) for name in names] == [
        f"joint/fold{fold}/weights.safetensors" for fold in range(2)
    ]
    for name in names:
        assert (ordered / name).read_bytes() == (shuffled / name).read_bytes()


def test_stores_are_the_same_to_the_bit(runs: tuple[Run, Run]) -> None:
    names = files_of(runs[0], "features.extract", "*.pkl")
    assert len(names) == 1 + 2 * 2 + 4 * 5  # features; test, insample; views of 4 tasks
    for name in names:
        first, second = (
            open_store(run.folder / "features.extract" / name) for run in runs
        )
        assert first.ids == second.ids
        assert first.header["payload_sha256"] == second.header["payload_sha256"]
        assert np.array_equal(first.roles, second.roles)
        assert np.array_equal(first.folds, second.folds)
        for key in ("failures", "columns", "nets"):
            assert first.header[key] == second.header[key]
