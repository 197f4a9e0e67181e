"""Tests of data_prep.standing: what is current, what is to be made, and why."""

from pathlib import Path
from typing import Any

import pytest

from data_prep.experiment import DataSettings, Experiment
from data_prep.run_folders.damage import DamagedFileError
from data_prep.run_folders.runs import Run
from data_prep.standing import Standing, differences, standings_of
from features.settings import ExtractSettings
from pretext.jigsaw import JigsawSettings
from transfer.settings import FinetuneSettings

DEMO, PREPARE, JIGSAW, FINETUNE, EXTRACT = (
    "data_prep.demo",
    "data_prep.prepare",
    "pretext.jigsaw",
    "transfer.finetune",
    "features.extract",
)
EXPERIMENT = Experiment(data=DataSettings())


def settings(**changes: Any) -> dict[str, Any]:
    return {
        JIGSAW: JigsawSettings(**changes.get("jigsaw", {})),
        FINETUNE: FinetuneSettings(**changes.get("finetune", {})),
        EXTRACT: ExtractSettings(),
    }


def write(run: Run, stage: str, of_stage: Any, text: str = "result") -> None:
    config = of_stage.config(EXPERIMENT, run) if of_stage else {}
    reads = of_stage.reads if of_stage else []
    with run.stage(stage, config, reads) as draft:
        (draft.folder / "result.txt").write_text(text)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Give a run whose stages are current."""
    run = Run(tmp_path)
    write(run, PREPARE, None)
    for stage, of_stage in settings().items():
        write(run, stage, of_stage)
    return run


def standings(run: Run, **changes: Any) -> dict[str, Standing]:
    listed = standings_of(settings(**changes), EXPERIMENT, run)
    return {standing.stage: standing for standing in listed}


def test_what_was_made_by_these_settings_is_current_and_nothing_is_written(
    run: Run,
) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    assert all(s.is_current and s.finished for s in standings(run).values())
    assert before == {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}


def test_a_changed_key_is_told_and_all_that_follows_is_made_anew(run: Run) -> None:
    there = standings(run, jigsaw={"epochs": 7}, finetune={"joint": True})
    assert there[JIGSAW].reasons == ("epochs 30 -> 7",)
    assert there[FINETUNE].reasons == (f"made anew: {JIGSAW}", "joint false -> true")
    assert there[EXTRACT].reasons == (f"made anew: {FINETUNE}",)
    assert there[FINETUNE].finished


def test_what_decides_nothing_is_no_reason(run: Run) -> None:
    there = standings(run, jigsaw={"threads": 1, "logger": "mlflow"})
    assert all(standing.is_current for standing in there.values())


def test_another_input_than_it_was_made_from_is_named(run: Run) -> None:
    write(run, JIGSAW, settings()[JIGSAW], text="other weights")
    there = standings(run)
    assert there[JIGSAW].is_current
    assert there[FINETUNE].reasons == (f"{JIGSAW} is another than it was made from",)


def test_tasks_of_the_experiment_decide_the_transfer(run: Run) -> None:
    from data_prep.experiment import read_tasks

    tasks = read_tasks({"fruit": {"kind": "classes", "column": "fruit"}}, "x.toml")
    experiment = Experiment(data=DataSettings(), tasks=tasks)
    there = standings_of(settings(), experiment, run)
    assert [s.is_current for s in there] == [True, False, False]
    assert there[1].reasons[0].startswith('tasks_of_experiment.fruit nothing -> {"')


def test_what_is_not_there_or_only_begun_is_said(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write(run, PREPARE, None)
    with pytest.raises(ZeroDivisionError), run.stage(JIGSAW, {}, [PREPARE]):
        raise ZeroDivisionError
    there = standings(run)
    assert there[JIGSAW].reasons == ("it was begun",)
    assert there[FINETUNE].reasons == ("not there yet",)
    assert there[FINETUNE].finished is None


def test_a_stage_that_leaves_nothing_always_runs(run: Run) -> None:
    assert standings(run, finetune={"find_lr": True})[FINETUNE].reasons == (
        "runs with find_lr",
    )


def harm(run: Run, stage: str) -> None:
    """Take away a file that the stage has written."""
    (run.folder / stage / "result.txt").unlink()


def test_a_damaged_stage_that_stays_is_told_with_what_to_type(run: Run) -> None:
    harm(run, JIGSAW)
    anew = f"is missing; put it back .*anew: python -m {JIGSAW} --run .* --overwrite$"
    with pytest.raises(DamagedFileError, match=anew):
        standings(run)
    with pytest.raises(DamagedFileError, match=anew):  # though one after it is stale
        standings(run, finetune={"joint": True})


@pytest.mark.parametrize("is_damaged_first", [True, False])
def test_a_damaged_stage_that_is_stale_is_made_anew(
    run: Run, is_damaged_first: bool
) -> None:
    """By an input, by its settings, and by a stage that is to be made."""
    if is_damaged_first:
        harm(run, FINETUNE)
    write(run, JIGSAW, settings()[JIGSAW], text="other weights")
    if not is_damaged_first:
        harm(run, FINETUNE)
    is_another = f"{JIGSAW} is another than it was made from"
    assert standings(run)[FINETUNE].reasons == (is_another,)
    harm(run, JIGSAW)
    harm(run, EXTRACT)
    there = standings(run, jigsaw={"epochs": 7})
    assert there[JIGSAW].reasons == ("epochs 30 -> 7",)
    assert there[FINETUNE].reasons == (f"made anew: {JIGSAW}",)
    assert there[EXTRACT].reasons == (f"made anew: {FINETUNE}",)
    changed = settings(jigsaw={"epochs": 7})
    for stage, of_stage in changed.items():  # as their commands do
        config = of_stage.config(EXPERIMENT, run)
        assert run.current(stage, config, of_stage.reads) is None
        write(run, stage, of_stage, text="made anew")
    assert all(s.is_current for s in standings(run, jigsaw={"epochs": 7}).values())


def test_what_reads_a_stale_stage_is_made_anew_after_it(run: Run) -> None:
    write(run, PREPARE, None, text="other pictures")
    there = standings(run)
    is_another = f"{PREPARE} is another than it was made from"
    assert there[JIGSAW].reasons == (is_another,)
    assert there[FINETUNE].reasons == (f"made anew: {JIGSAW}", is_another)


@pytest.mark.parametrize(
    ("before", "after", "texts"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1.5}, {"a": 2, "b": "x"}, ["a 1.5 -> 2", 'b nothing -> "x"']),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["a.c 2 -> 3"]),
        ({"sha256": "0" * 64}, {"sha256": "1" * 64}, ["sha256: another content"]),
        (
            {"source": {"tables": "0" * 64, "pictures": "1" * 64}},
            {"source": {"tables": "2" * 64, "pictures": "3" * 64}},
            ["the tables have another content", "there are other pictures"],
        ),
        (
            {"init": "scratch"},
            {"init": {"file": "net.pth", "sha256": "0" * 64}},
            ['init "scratch" -> "net.pth"'],
        ),
        ({"a": "x" * 50}, {"a": []}, [f'a "{"x" * 36}... -> []']),
    ],
)
def test_differences_by_hand(
    before: dict[str, Any], after: dict[str, Any], texts: list[str]
) -> None:
    assert list(differences(before, after)) == texts
