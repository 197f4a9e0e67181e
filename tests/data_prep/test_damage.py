"""Tests of damage, and of how runs and the verifying command use it."""

import errno
import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pipeline
from data_prep.errors import UserError
from data_prep.run_folders import damage
from data_prep.run_folders.damage import (
    RECORD,
    DamagedFileError,
    command_of,
    digest_of,
    intact,
    map_array,
    read_frame,
    read_json,
    read_record,
)
from data_prep.run_folders.runs import (
    Run,
    StaleStageError,
    UnfinishedStageError,
    write_json,
)
from data_prep.run_folders.unfinished import MADE_FROM

STAGE, NEXT = "data_prep.prepare", "pretext.jigsaw"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def change(path: Path) -> None:
    """Turn one bit of a byte in the middle, digits staying digits."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


HARMS = [cut, empty, change, Path.unlink]
READERS: dict[str, Callable[[Path], Any]] = {
    "table.parquet": read_frame,
    "images.npy": map_array,
    "about.json": read_json,
    "deep/er/words.parquet": read_frame,
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of two stages, the first with a file of each kind."""
    run = Run(tmp_path / "leaves")
    with run.stage(STAGE, {}) as stage:
        (stage.folder / "deep" / "er").mkdir(parents=True)
        table = pd.DataFrame({"a": np.arange(50), "b": [f"x{k}" for k in range(50)]})
        table.to_parquet(stage.folder / "table.parquet")
        table.to_parquet(stage.folder / "deep" / "er" / "words.parquet")
        np.save(stage.folder / "images.npy", np.arange(1000, dtype=np.uint8))
        write_json(stage.folder / "about.json", {"classes": list(range(30))})
        (stage.folder / "report.html").write_text("no result")
    with run.stage(NEXT, {}, [STAGE]) as stage:
        (stage.folder / "backbone.bin").write_bytes(b"weights")
    return run


def anew(run: Run, stage: str = STAGE) -> str:
    command = re.escape(f"python -m {stage} --run {run.folder} --overwrite")
    return f"; put it back as it was, or make it anew: {command}$"


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", READERS)
def test_a_broken_file_is_named_with_what_to_type(
    run: Run, name: str, harm: Callable[[Path], None]
) -> None:
    path = run.folder / STAGE / name
    READERS[name](path)
    harm(path)
    fault = "is missing" if harm is Path.unlink else "is cut or changed since it was"
    with pytest.raises(
        DamagedFileError, match=f"{re.escape(name)} {fault}.*"
    ) as raised:
        READERS[name](path)
    assert re.search(anew(run), str(raised.value))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("harm", [cut, empty, Path.unlink])
@pytest.mark.parametrize("name", READERS)
def test_whoever_opens_a_stage_sees_what_is_cut_or_gone(
    run: Run, name: str, harm: Callable[[Path], None]
) -> None:
    harm(run.folder / STAGE / name)
    if name == "images.npy" and harm is Path.unlink:  # predicting needs no pictures
        run.finished(STAGE)
        return
    fault = f"{re.escape(name)} is .*"
    with pytest.raises(DamagedFileError, match=fault + anew(run)):
        run.finished(STAGE)
    with pytest.raises(DamagedFileError, match=fault + anew(run)):
        run.current(STAGE, {})
    with (
        pytest.raises(DamagedFileError, match=fault + anew(run)),
        run.stage(NEXT, {"other": True}, [STAGE]),
    ):
        pass
    assert run.current(STAGE, {"other": True}) is None  # it is to be made anew anyway


def test_a_fact_that_an_older_record_lacks_is_told(run: Run) -> None:
    path = run.folder / STAGE / RECORD
    record = json.loads(path.read_bytes())
    del record["record_sha256"]  # older records have none
    path.write_text(json.dumps(record))
    stage = run.finished(STAGE)
    assert stage.metadata == stage.record["settings"] == {}
    assert stage.metadata.get("side") is None
    named = f"{re.escape(str(path))} has no 'side' among its"
    with pytest.raises(DamagedFileError, match=f"{named} facts, so .*{anew(run)}"):
        stage.metadata["side"]
    with pytest.raises(DamagedFileError, match=f"{named} settings, so"):
        stage.record["settings"]["side"]


def test_a_stage_that_is_not_opened_may_be_damaged(run: Run) -> None:
    (run.folder / STAGE / "table.parquet").unlink()
    assert run.finished(NEXT).folder.name == NEXT


def test_a_damaged_stage_can_be_made_anew_and_later_ones_stay_current(
    run: Run,
) -> None:
    with run.stage("transfer.finetune", {}, [NEXT]) as stage:
        (stage.folder / "net.bin").write_bytes(b"net")
    cut(run.folder / NEXT / "backbone.bin")
    with pytest.raises(DamagedFileError, match=r"backbone\.bin is cut or changed"):
        run.current(NEXT, {}, [STAGE])
    again = Run(run.folder, overwrite=True)
    with again.stage(NEXT, {}, [STAGE]) as stage:
        (stage.folder / "backbone.bin").write_bytes(b"weights")
    assert run.current("transfer.finetune", {}, [NEXT]) is not None


def test_a_large_file_is_compared_by_size_only(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(damage, "HASHED_BYTES", 1000)
    path = run.folder / STAGE / "images.npy"
    change(path)
    assert len(map_array(path)) == 1000
    cut(path)
    with pytest.raises(DamagedFileError, match=r"images\.npy is cut or changed"):
        map_array(path)


def test_records_without_sizes_are_read_as_before(run: Run) -> None:
    path = run.folder / STAGE / RECORD
    record = json.loads(path.read_text())
    del record["sizes"], record[damage.SEAL]
    write_json(path, record)
    run.finished(STAGE)
    table = run.folder / STAGE / "table.parquet"
    cut(table)
    run.finished(STAGE)
    with pytest.raises(DamagedFileError, match="its digest is another"):
        read_frame(table)
    table.unlink()
    with pytest.raises(DamagedFileError, match=r"table\.parquet is missing"):
        run.finished(STAGE)


def test_the_record_says_how_long_each_file_is(run: Run) -> None:
    finished = run.finished(STAGE)
    assert finished.record["sizes"] == {
        name: (finished.folder / name).stat().st_size for name in READERS
    }


@pytest.mark.parametrize("harm", [cut, empty, change])
def test_a_broken_record_is_named(run: Run, harm: Callable[[Path], None]) -> None:
    harm(run.folder / STAGE / RECORD)
    message = rf"{RECORD} is cut or changed since it was written \(.*\)" + anew(run)
    for ask in (
        lambda: run.finished(STAGE),
        lambda: run.finished(NEXT),
        lambda: run.current(STAGE, {}),
        lambda: run.current(NEXT, {}, [STAGE]),
    ):
        with pytest.raises(DamagedFileError, match=message):
            ask()
    with Run(run.folder, overwrite=True).stage(STAGE, {}) as stage:
        (stage.folder / "x").write_text("x")
    assert run.finished(STAGE).record["files"].keys() == {"x"}


@pytest.mark.parametrize("key", ["stage", "settings", "reads", "facts", "files"])
@pytest.mark.parametrize("value", [None, 3, "missing"])
def test_a_record_that_lacks_a_key_is_named(run: Run, key: str, value: Any) -> None:
    path = run.folder / STAGE / RECORD
    record = json.loads(path.read_text())
    record[key] = value
    if value == "missing":
        del record[key]
    write_json(path, record)
    with pytest.raises(DamagedFileError, match=f"no {key}"):
        run.finished(STAGE)


@pytest.mark.parametrize("text", ["[]", "3", "null", '{"digest": 1}', "\xff", "{" * 99])
def test_a_record_that_is_something_else_is_named(run: Run, text: str) -> None:
    (run.folder / STAGE / RECORD).write_bytes(text.encode("latin-1"))
    with pytest.raises(DamagedFileError, match=anew(run)):
        run.finished(STAGE)


def test_a_changed_digest_in_a_record_is_seen(run: Run) -> None:
    path = run.folder / STAGE / RECORD
    record = json.loads(path.read_text())
    record["files"]["table.parquet"] = "0" * 64
    del record[damage.SEAL]
    write_json(path, record)
    with pytest.raises(DamagedFileError, match="the digest of its files does not fit"):
        run.finished(STAGE)


def test_half_a_copy_is_named(run: Run) -> None:
    (run.folder / STAGE / RECORD).unlink()
    message = rf"{STAGE} is not finished or was copied in part, without .*/{RECORD}; fi"
    with pytest.raises(UnfinishedStageError, match=message):
        run.finished(STAGE)
    shutil.rmtree(run.folder / STAGE)
    with pytest.raises(UnfinishedStageError, match=rf"{STAGE} is not finished; first"):
        run.finished(NEXT)


@pytest.mark.parametrize("harm", [cut, empty, Path.unlink])
def test_a_begun_stage_whose_key_is_lost_is_not_dropped_unasked(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    def attempt() -> None:
        with Run(tmp_path).stage(STAGE, {}) as stage:
            (stage.folder / "hours.bin").write_bytes(b"of work")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt()
    partial = tmp_path / f"{STAGE}.partial"
    harm(partial / MADE_FROM)
    with (
        pytest.raises(
            DamagedFileError,
            match=rf"{MADE_FROM} is missing or cut, .* drop it: rm",
        ),
        Run(tmp_path).stage(STAGE, {}),
    ):
        pass
    assert (partial / "hours.bin").exists()
    with Run(tmp_path, overwrite=True).stage(STAGE, {}) as stage:
        assert not (stage.folder / "hours.bin").exists()


def test_drafts_of_killed_attempts_are_no_result(tmp_path: Path) -> None:
    with Run(tmp_path).stage(STAGE, {}) as stage:
        (stage.folder / "deep").mkdir()
        (stage.folder / "deep" / ".x.json.1-2.draft").write_text("half")
        (stage.folder / "deep" / "net.draft" / "logs").mkdir(parents=True)
        (stage.folder / "deep" / "net.draft" / "half.bin").write_text("half a copy")
        (stage.folder / "x.json").write_text("{}")
    record = Run(tmp_path).finished(STAGE).record
    assert record["files"].keys() == {"x.json"}
    assert [*(tmp_path / STAGE / "deep").iterdir()] == []


@pytest.mark.parametrize(
    ("stage", "settings", "command"),
    [
        ("pretext.dino", {}, "python -m pretext.dino --run runs/x"),
        (
            "features.extract.shard1of4",
            {},
            "python -m features.extract --shard 1/4 --run runs/x",
        ),
        (
            "stacking.fit.insample",
            {},
            "python -m stacking.fit --protocol insample --run runs/x",
        ),
        (
            "new_leaves",
            {"made_by": "features.fresh"},
            "python -m features.fresh --images FOLDER --out runs/x/new_leaves",
        ),
    ],
)
def test_what_makes_a_stage_can_be_typed(
    stage: str, settings: dict[str, str], command: str
) -> None:
    assert command_of(stage, Path("runs/x"), settings) == command


def test_a_file_of_nobody_is_to_be_put_back(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for content in (b"", b"{", b"[]", b"\xff"):
        path.write_bytes(content)
        with pytest.raises(DamagedFileError, match=r"; put it back as it was, or give"):
            read_json(path)


def test_a_file_of_an_unfinished_stage_says_how_to_begin_anew(tmp_path: Path) -> None:
    path = tmp_path / f"{STAGE}.partial" / "logs" / "x.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(DamagedFileError, match=anew(Run(tmp_path))):
        read_json(path)


def test_what_the_system_refuses_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("")

    def read() -> None:
        with intact(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OSError, match="Input/output error") as caught:
        read()
    assert caught.value.filename == str(path)
    with pytest.raises(UserError, match="a mistake of the user"), intact(path):
        raise UserError("a mistake of the user")


# python -m pipeline --verify


def verified(run: Run, caplog: Any) -> list[str]:
    """Verify as the command line does; the lines of faults, or none."""
    caplog.clear()
    caplog.set_level(logging.INFO)
    with suppress(SystemExit):
        assert pipeline.main(["--verify", "--run", str(run.folder)]) == run.folder
        assert "all are as they were written" in caplog.text
    lines = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    if lines:
        with pytest.raises(SystemExit) as left:
            pipeline.main(["--verify", "--run", str(run.folder)])
        assert left.value.code == 1
        assert lines.pop() == f"faults in {run.folder}: {len(lines)}"
    return lines


def test_a_whole_run_is_verified_wherever_it_lies(
    run: Run, tmp_path: Path, caplog: Any
) -> None:
    assert verified(run, caplog) == []
    assert "2 stages, 7 files, 0.0 MB" in caplog.text
    moved = Run(tmp_path / "moved" / "elsewhere")
    moved.folder.parent.mkdir()
    shutil.move(run.folder, moved.folder)
    (moved.folder / STAGE / "report.html").write_text("may be drawn anew")
    (moved.folder / "stacking.predict").mkdir()
    (moved.folder / "stacking.predict" / "new.csv").write_text("no stage")
    assert verified(moved, caplog) == []


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", READERS)
def test_every_byte_is_verified(
    run: Run, name: str, harm: Callable[[Path], None], caplog: Any
) -> None:
    harm(run.folder / STAGE / name)
    (line,) = verified(run, caplog)
    assert line.startswith(f"{run.folder / STAGE / name} is ")
    assert re.search(anew(run), line)


@pytest.mark.parametrize("harm", HARMS)
def test_the_record_itself_is_verified(
    run: Run, harm: Callable[[Path], None], caplog: Any
) -> None:
    harm(run.folder / NEXT / RECORD)
    (line,) = verified(run, caplog)
    assert line.startswith(f"{run.folder / NEXT / RECORD} is ")
    assert line.endswith(f"anew: python -m {NEXT} --run {run.folder} --overwrite")


def test_a_changed_fact_is_verified(run: Run, caplog: Any) -> None:
    path = run.folder / STAGE / RECORD
    record = read_record(path)
    write_json(path, {**record, "facts": {"side": 65}})
    with pytest.raises(DamagedFileError, match="its digest is another"):
        run.finished(STAGE)
    (line,) = verified(run, caplog)
    assert f"{RECORD} is cut or changed since it was written" in line


def test_all_faults_are_named_at_once(run: Run, caplog: Any) -> None:
    change(run.folder / STAGE / "images.npy")
    cut(run.folder / STAGE / "table.parquet")
    change(run.folder / NEXT / "backbone.bin")
    assert len(verified(run, caplog)) == 3


def test_what_is_not_finished_or_stale_is_told_and_no_fault(
    run: Run, caplog: Any
) -> None:
    def attempt() -> None:
        with run.stage("transfer.finetune", {}, [NEXT]) as stage:
            (stage.folder / "half.bin").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt()
    with Run(run.folder, overwrite=True).stage(STAGE, {}) as stage:
        (stage.folder / "table.parquet").write_bytes(b"another")
    assert verified(run, caplog) == []
    assert "transfer.finetune.partial is not finished, and was not looked at" in (
        caplog.text
    )
    assert f"{NEXT} was made from another {STAGE} than the one here" in caplog.text
    assert f"again: python -m {NEXT} --run {run.folder}" in caplog.text
    with pytest.raises(StaleStageError):
        run.finished(NEXT)


def test_a_run_that_is_not_there_or_empty_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where no run is that could be meant
    with pytest.raises(UserError, match=r"no: there is no such run; give --run FOLDER"):
        pipeline.main(["--verify", "--run", str(tmp_path / "no")])
    with pytest.raises(UserError, match="no stage of it is finished"):
        pipeline.main(["--verify", "--run", str(tmp_path)])


def test_the_run_of_an_experiment_is_verified(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.folder.parent)
    Path("runs").mkdir()
    run.folder.rename("runs/leaves")
    assert pipeline.main(["--verify", "experiments/leaves.toml"]) == Path("runs/leaves")
    Path("runs/.last").write_text("runs/leaves\n")
    assert pipeline.main(["--verify"]) == Path("runs/leaves")


def test_a_digest_is_of_content() -> None:
    assert digest_of({"a": 1}) != digest_of({"a": 2})
