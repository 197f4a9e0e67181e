"""Tests of features.parts: an extraction of pictures side by side."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import UserError
from data_prep.executors import run as executors
from data_prep.run_folders.runs import Run
from features import passes, plan
from features.store import open_store
from tests.drilled import in_drills
from tests.executors.far import Parcels
from tests.power_cut import PowerCutError
from tests.prepared_runs import PRETEXT, extract, finetune, make_pretext, make_run

STAGE = "features.extract"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Joint nets of three folds, given a column, and a pretext."""
    run = make_run(tmp_path_factory.mktemp("run"), n_train=30)
    make_pretext(run)
    finetune(run, "--joint", "--columns=size")
    return run


@pytest.fixture(autouse=True)
def small_blocks(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without what an earlier test extracted."""
    for path in trained.folder.glob(f"{STAGE}*"):
        shutil.rmtree(path)
    for module in (passes, plan):
        monkeypatch.setattr(module, "BLOCK", 2)
    monkeypatch.setattr(passes, "JOURNAL_EVERY_S", 0.0)


def payloads(run: Run) -> dict[str, Any]:
    """Give the digests of the values, the ids and the failures, by file."""
    folder = run.folder / STAGE
    keys = ("payload_sha256", "index", "failures", "n_expected", "nets")
    return {
        path.relative_to(folder).as_posix(): [open_store(path).header[k] for k in keys]
        for path in sorted(folder.rglob("*.pkl"))
    }


@pytest.mark.parametrize(
    ("n_parts", "flags"),
    [
        (3, ["--insample", "--shard=1/2"]),
        in_drills(2, []),
        in_drills(2, [f"--source={PRETEXT}"]),
        (2, [f"--source={PRETEXT}", "--layer=layer3"]),
    ],
)
def test_parts_give_what_one_process_gives(
    trained: Run,
    n_parts: int,
    flags: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = extract(trained, *flags)
    whole, record = payloads(trained), trained.finished(folder.name).metadata
    shutil.rmtree(folder)
    parcels = Parcels(tmp_path)
    monkeypatch.setattr(executors, "run_side_by_side", parcels)
    extract(trained, *flags, f"--jobs={n_parts}")
    assert parcels.begun == [f"part {k} of {n_parts}" for k in range(n_parts, 0, -1)]
    ends = [told for told in parcels.reported if told.step == told.n_steps]
    assert len(ends) == n_parts
    assert payloads(trained) == whole
    again = trained.finished(folder.name).metadata
    assert {**again, "seconds": 0} == {**record, "seconds": 0}
    assert not (folder / "checkpoints").exists()


def test_what_fails_is_told_and_what_is_missing_is_done(
    trained: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    extract(trained)
    whole = payloads(trained)
    shutil.rmtree(trained.folder / STAGE)
    seen: list[int] = []
    views_of = passes.views_of

    def counted(*given: Any) -> Any:
        seen.append(1)
        return views_of(*given)

    monkeypatch.setattr(passes, "views_of", counted)
    monkeypatch.setattr(
        executors, "run_side_by_side", Parcels(tmp_path, ["part 2 of 3"])
    )
    message = r"1 of 3 parts failed \(part 2 of 3: too bright\); see .*part_2of3.log;"
    with pytest.raises(UserError, match=message):
        extract(trained, "--jobs=3")
    n_done = len(seen)
    monkeypatch.delattr(executors, "run_side_by_side")  # one is missing: no need of it
    extract(trained, "--jobs=2")  # however many may go at once now
    assert "it was begun in 3 parts, and goes on in those" in caplog.text
    assert payloads(trained) == whole
    n_blocks = 3 * 5 + 4  # of ten rows for each fold, and eight for all
    assert (len(seen), n_done > n_blocks // 2) == (n_blocks, True)


def test_one_that_was_begun_whole_is_not_begun_anew(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    views_of, seen = passes.views_of, []

    def cut(*given: Any) -> Any:
        seen.append(1)
        if len(seen) == 9:
            raise PowerCutError
        return views_of(*given)

    monkeypatch.setattr(passes, "views_of", cut)
    with pytest.raises(PowerCutError):
        extract(trained)
    monkeypatch.delattr(executors, "run_side_by_side")
    extract(trained, "--jobs=2")
    assert len(seen) == 3 * 5 + 4 + 1


def test_the_executor_is_no_part_of_the_result(trained: Run) -> None:
    extract(trained)
    assert extract(trained, "--executor=processes", "--jobs=2").name == STAGE
    with pytest.raises(UserError, match="jobs = 2, but executor = 'here' does one"):
        extract(trained, "--executor=here", "--jobs=2")
