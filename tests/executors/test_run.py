"""Tests of data_prep.executors.run and data_prep.executor_settings."""

import functools
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from data_prep.errors import UserError
from data_prep.executor_settings import Executor, ExecutorSettings
from data_prep.executors import pool as pools
from data_prep.executors.pool import Pool
from data_prep.executors.progress import Progress, Report
from data_prep.executors.run import run
from data_prep.executors.work import Result, Work
from data_prep.experiment import Experiment, read_experiment
from tests.executors.works import refuse
from transfer.settings import FinetuneSettings


def square(n: int, report: Report | None) -> Result:
    if report:
        report(Progress(step=n, n_steps=9))
    return Result(scores={"n": float(n)}, value=n * n)


def works_in(folder: Path) -> list[Work]:
    return [
        Work(
            name=f"square{n}",
            function=functools.partial(square, n),
            log_file=folder / f"{n}.log",
            note="of a number",
        )
        for n in range(3)
    ]


def pool_of(settings: ExecutorSettings, n: int = 3, threads: int = 0) -> Pool:
    return Pool.of(settings, n, threads=threads, usual_threads=8, gpus=())


@pytest.mark.parametrize("executor", ["here", "processes"])
def test_all_executors_give_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, executor: str
) -> None:
    caplog.set_level(logging.INFO)
    jobs = None if executor == "here" else 2
    settings = ExecutorSettings(executor=executor, jobs=jobs)  # type: ignore[arg-type]
    works = works_in(tmp_path)
    outcome = run(works, pool_of(settings), noun="square", logs=tmp_path)
    outcome.check(works, "square", "")
    assert {k: r.value for k, r in outcome.results.items()} == {
        "square0": 0,
        "square1": 1,
        "square2": 4,
    }
    expected = {
        "here": "square 2 of 3: square1, of a number",
        "processes": f"3 squares, 2 at once on 4 threads each; their logs: {tmp_path}",
    }
    assert expected[executor] in caplog.messages
    assert not run([], pool_of(settings), noun="square", logs="").results


def test_here_an_error_ends_the_work_and_elsewhere_it_is_kept(tmp_path: Path) -> None:
    refused = Work(name="a", function=refuse, log_file=tmp_path / "a.log")
    works = [refused, *works_in(tmp_path)[:1]]
    with pytest.raises(UserError, match="too bright"):
        run(works, pool_of(ExecutorSettings()), noun="square", logs="")
    pool = pool_of(ExecutorSettings(jobs=2))
    outcome = run(works, pool, noun="square", logs="")
    assert outcome.results["square0"].value == 0
    with pytest.raises(
        UserError, match=r"^1 of 2 squares failed \(a: too bright\); see"
    ):
        outcome.check(works, "square", "again")


@pytest.mark.parametrize(
    ("keys", "n_works", "threads", "expected"),
    [
        ({}, 3, 0, ("here", 1, 0)),
        ({"jobs": 1}, 3, 2, ("here", 1, 2)),
        ({"jobs": 2}, 3, 0, ("processes", 2, 4)),
        ({"jobs": 9}, 3, 0, ("processes", 3, 2)),
        ({"jobs": 9}, 3, 5, ("processes", 3, 5)),
        ({"jobs": 9}, 1, 0, ("here", 1, 0)),
        ({"executor": "processes"}, 9, 0, ("processes", 6, 1)),
        ({"executor": "processes"}, 9, 3, ("processes", 2, 3)),
        ({"executor": "processes"}, 9, 7, ("processes", 1, 7)),
        ({"executor": "processes"}, 0, 0, ("here", 1, 0)),
        ({"executor": "here"}, 9, 0, ("here", 1, 0)),
    ],
)
def test_where_the_settings_have_work_done(
    monkeypatch: pytest.MonkeyPatch,
    keys: dict[str, object],
    n_works: int,
    threads: int,
    expected: tuple[str, int, int],
) -> None:
    monkeypatch.setattr(pools, "n_cores", lambda: 6)
    pool = pool_of(ExecutorSettings(**keys), n_works, threads)  # type: ignore[arg-type]
    assert (pool.executor, pool.n_at_once, pool.threads) == expected


@pytest.mark.parametrize(
    ("executor", "n_missing", "expected"),
    [
        ("here", 3, "here"),
        ("processes", 2, "processes"),
        ("processes", 1, "here"),
        ("processes", 0, "here"),
        ("ray", 1, "ray"),
    ],
)
def test_a_piece_that_is_alone_needs_no_process(
    executor: Executor, n_missing: int, expected: Executor
) -> None:
    pool = Pool(executor=executor, n_at_once=2, threads=3)
    chosen = pool.for_missing(n_missing)
    assert chosen == replace(pool, executor=expected)


def test_each_gpu_has_a_process_unless_jobs_say_otherwise() -> None:
    settings = ExecutorSettings(executor="processes")
    gpus = ["0", "1", "2"]
    pool = Pool.of(settings, 9, threads=0, usual_threads=8, gpus=gpus)
    assert (pool.n_at_once, pool.threads) == (3, 2)


def test_several_jobs_here_are_refused() -> None:
    with pytest.raises(UserError, match="jobs = 2, but executor = 'here'"):
        ExecutorSettings(executor="here", jobs=2)


def experiment_of(folder: Path, *lines: str) -> Experiment:
    file = folder / "leaves.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    return read_experiment(file, folder / "run")


def test_the_pipeline_sets_it_for_all_stages_and_a_stage_for_itself(
    tmp_path: Path,
) -> None:
    pipeline = ("[pipeline]", 'stages = ["transfer.finetune"]', "jobs = 3")

    def settings_by(*lines: str, **flags: int) -> FinetuneSettings:
        experiment = experiment_of(tmp_path, *pipeline, *lines)
        return experiment.settings_of("transfer.finetune", FinetuneSettings, flags)

    assert settings_by().jobs == 3
    assert settings_by().kind == "processes"
    assert settings_by("[transfer.finetune]", "jobs = 2").jobs == 2
    assert settings_by("[transfer.finetune]", "jobs = 2", jobs=4).jobs == 4


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('executor = "rays"', r"\[pipeline\]: executor = 'rays'"),
        ("job = 2", r"\[pipeline\]: unknown key 'job'; did you mean 'jobs'"),
        ("jobs = 0", r"\[pipeline\]: jobs = 0: give more than 0"),
    ],
)
def test_what_does_not_fit_is_told_by_its_table(
    tmp_path: Path, line: str, message: str
) -> None:
    experiment = experiment_of(tmp_path, "[pipeline]", line)
    with pytest.raises(UserError, match=message):
        experiment.settings_of("transfer.finetune", FinetuneSettings, {})
