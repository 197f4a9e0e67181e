"""Tests of what is stale: data_prep.run_folders.stale and data_prep.chain."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

import pipeline
from data_prep.chain import stale_stages, tell_stale
from data_prep.command import open_command
from data_prep.errors import UserError
from data_prep.experiment import read_experiment
from data_prep.run_folders.runs import Run
from data_prep.run_folders.stale import StaleStageError
from data_prep.settings import NOT_HASHED
from data_prep.within_pipeline import pipeline_at_work

PREPARE = "data_prep.prepare"
READS = {  # as the stages of an experiment do, and one that is not of them
    PREPARE: [],
    "pretext.jigsaw": [PREPARE],
    "transfer.finetune": [PREPARE, "pretext.jigsaw"],
    "features.extract": [PREPARE, "transfer.finetune"],
    "stacking.fit": [PREPARE, "features.extract"],
}
LATER = [*READS][1:]
PROBE = "pretext.probe"
FILE = "experiments/leaves.toml"
PIPELINE = f"python -m pipeline {FILE} --run runs/leaves"


@dataclass(frozen=True, kw_only=True)
class TryoutSettings:
    """Try it out."""

    side: Annotated[int, "of the pictures"] = 32
    workers: Annotated[int, "processes", NOT_HASHED] = 1


def make(stage: str, content: str, *flags: str) -> None:
    """Make a stage as its command does."""
    run = open_command(TryoutSettings, stage, ["--run", "runs/leaves", *flags])[1]
    with run.stage(stage, {"content": content}, READS.get(stage, [PREPARE])) as written:
        (written.folder / "result.txt").write_text(content)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Give a run whose stages are finished, and stand in its project."""
    monkeypatch.chdir(tmp_path)
    Path(FILE).parent.mkdir()
    Path(FILE).write_text('[data]\nimages = "../pictures"\n')
    make(PREPARE, "first", "--experiment", FILE)
    for stage in LATER:
        make(stage, "first")
    return Run(Path("runs/leaves"))


@contextmanager
def told(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Give the warnings of what is done within."""
    caplog.clear()
    lines: list[str] = []
    yield lines
    lines += [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def commands(*stages: str) -> str:
    return " && ".join(f"python -m {stage} --run runs/leaves" for stage in stages)


def test_a_stage_made_by_hand_says_what_is_stale_now(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    assert stale_stages(run) == []
    with told(caplog) as lines:
        make(PREPARE, "first", "--overwrite")  # the same to the byte
    assert lines == []
    with told(caplog) as lines:
        make(PREPARE, "second", "--overwrite")
    assert lines == [
        "pretext.jigsaw, transfer.finetune, features.extract and stacking.fit are stale"
        f" now, made from an earlier data_prep.prepare; again: {PIPELINE}"
    ]
    assert stale_stages(run) == LATER
    for k, stage in enumerate(LATER[:-1], start=1):
        with told(caplog) as lines:
            make(stage, "second", "--overwrite")
        assert len(lines) == 1
        assert stale_stages(run) == LATER[k:]
    make("stacking.fit", "second", "--overwrite")
    assert stale_stages(run) == []


def test_settings_that_are_in_no_file_are_named_before_the_pipeline(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with told(caplog) as lines:
        make(PREPARE, "second", "--overwrite", "--side=96", "--workers=2")
    (line,) = lines
    write = f"write side = 96 under [{PREPARE}] in the experiment file, then: "
    assert line.endswith(f"; again: {write}{PIPELINE}")
    Path(FILE).write_text(f"[{PREPARE}]\nside = 96\n")
    with told(caplog) as lines:
        make(PREPARE, "third", "--overwrite", "--side=96", "--experiment", FILE)
    assert lines[0].endswith(f"; again: {PIPELINE}")
    assert run.has("stacking.fit")


def test_what_the_pipeline_does_not_make_is_made_by_its_command(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    make(PROBE, "first")
    with pipeline_at_work(), told(caplog) as lines:
        make(PREPARE, "second", "--overwrite")
    assert lines == [], "the pipeline makes it anew"
    with told(caplog) as lines:
        make(PREPARE, "third", "--overwrite")
    (line,) = lines
    stages = [PROBE, *LATER]
    names, _, remedy = line.partition(" are stale now, made from an earlier")
    assert set(names.replace(" and ", ", ").split(", ")) == set(stages)
    assert {*remedy.partition("again: ")[2].split(" && ")} == {
        commands(stage) for stage in stages
    }
    for stage in LATER:
        make(stage, "third", "--overwrite")
    assert stale_stages(run) == [PROBE]


def test_what_was_replaced_is_named_and_not_what_was_just_made(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    make(PROBE, "first")
    with pipeline_at_work():
        make(PREPARE, "second", "--overwrite")
        for stage in LATER:
            make(stage, "second", "--overwrite")
    with told(caplog) as lines:
        make("stacking.fit", "third", "--overwrite")
        make("stacking.noise", "first")  # nothing was made from an earlier one
    assert lines == [], "the probe was stale before"
    with told(caplog) as lines:
        tell_stale(run, read_experiment(Path(FILE), run.folder))
    is_stale = f"{PROBE} is stale now, made from an earlier {PREPARE}; again: "
    assert lines == [is_stale + commands(PROBE)]
    with pipeline_at_work():
        make("transfer.finetune", "third", "--overwrite")
    with told(caplog) as lines:
        tell_stale(run, read_experiment(Path(FILE), run.folder))
    (line,) = lines
    assert f"made from an earlier {PREPARE} and transfer.finetune; " in line


@pytest.mark.parametrize("stage", LATER)
def test_whoever_meets_a_stale_stage_names_the_first_of_the_chain(
    run: Run, stage: str
) -> None:
    with pipeline_at_work():
        make(PREPARE, "second", "--overwrite")
    with pytest.raises(StaleStageError) as caught:
        run.finished(stage)
    stages = LATER[: LATER.index(stage) + 1]
    text = str(caught.value)
    first = "runs/leaves/pretext.jigsaw was made from another data_prep.prepare than"
    assert text.startswith(first)
    assert text.endswith(f"; again: {PIPELINE}, or {commands(*stages)}")
    assert (len(stages) > 1) == (f"{stage} from it" in text)
    assert caught.value.stages == stages
    Path(FILE).unlink()
    with pytest.raises(StaleStageError, match=r"again: python -m pretext\.jigsaw"):
        run.finished(stage)


def test_a_stage_in_the_middle_is_the_first_if_it_is(run: Run) -> None:
    with pipeline_at_work():
        make("transfer.finetune", "second", "--overwrite")
    assert run.finished("transfer.finetune")
    with pytest.raises(StaleStageError) as caught:
        run.finished("stacking.fit")
    assert caught.value.stages == ["features.extract", "stacking.fit"]


def test_the_pipeline_names_stages_that_its_list_lacks(run: Run) -> None:
    with pipeline_at_work():
        make(PREPARE, "second", "--overwrite")
    Path(FILE).write_text('[pipeline]\nstages = ["stacking.fit"]\n')
    with pytest.raises(UserError) as caught:
        pipeline.main([FILE])
    text = str(caught.value)
    assert text.startswith(f"{FILE} [pipeline]: stacking.fit reads features.extract,")
    assert "python -m pipeline" not in text, "it is what was typed"
    assert f"before stacking.fit, or first: {commands(*LATER[:3])}" in text
    assert run.has("stacking.fit")
