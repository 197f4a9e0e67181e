"""Tests of data_prep.stage_plan: minutes, bytes, and what measuring changes of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, cast

import pytest

from data_prep import effort, stage_plan
from data_prep.effort import NetworkSpeed, Workload
from data_prep.executor_settings import ExecutorSettings
from data_prep.executors import pool
from data_prep.experiment import DataSettings, Experiment
from data_prep.outlook import Outlook
from data_prep.run_folders.runs import Finished, Run
from data_prep.stage_plan import StagePlan, lack_of_memory, lack_of_space
from data_prep.standing import Standing

SPEED = NetworkSpeed(picture_s=0.1, step_s=0.4, view_s=0.02, n_weights=250_000)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a stage that knows its work."""

    work: Workload

    def workload(self, outlook: Outlook) -> Workload:
        del outlook
        return self.work

    def share_done(self, folder: Path, n_nets: int) -> float:
        return float((folder / "share").read_text()) / n_nets


WORK: Mapping[str, Workload] = {
    "a.prepare": Workload(seconds=30.0, n_bytes=2e6),
    "b.train": Workload(
        network="n", batch_size=4, trained=1000, seconds=20, weights_kept=3
    ),
    "c.tune": Workload(network="n", batch_size=8, trained=4000, inferred=500),
    "d.odd": Workload(network="stranger", trained=10),
}


def outlook_of(folder: Path, work: Mapping[str, Workload] = WORK) -> Outlook:
    return Outlook(
        experiment=Experiment(data=DataSettings()),
        run=Run(folder),
        table=cast(Any, None),
        metadata={},
        settings={name: Settings(work=entry) for name, entry in work.items()}
        | {"e.other": object()},
    )


def planned(folder: Path, *standings: Standing) -> StagePlan:
    def speed(name: str, side_px: int) -> NetworkSpeed | None:
        del side_px
        return SPEED if name == "n" else None

    return StagePlan.of(standings, outlook_of(folder), speed)


def new(stage: str, **options: Any) -> Standing:
    return Standing(stage=stage, **{"reasons": ("not there yet",)} | options)


def made(stage: str, seconds: float, *reasons: str, **metadata: Any) -> Standing:
    record = {"seconds": seconds, "facts": metadata}
    finished = Finished(folder=Path("x"), record=record)
    return Standing(stage=stage, reasons=reasons, finished=finished)


def test_seconds_and_bytes_by_hand(tmp_path: Path) -> None:
    names = ("a.prepare", "b.train", "c.tune", "d.odd", "e.other")
    plan = planned(tmp_path, *map(new, names))
    seconds = [plan.seconds_of(stage) for stage in plan.stages]
    # 1000 pictures of 0.1 s and 250 steps of 0.4 s; 4000, 500 steps and 500 views
    assert seconds == pytest.approx([30, 20 + 100 + 100, 400 + 200 + 10, None, None])
    assert [stage.n_bytes for stage in plan.stages] == [2e6, 3 * 1e6, None, None, None]
    assert plan.left() == (pytest.approx(860), True)
    assert plan.left(after="b.train") == (pytest.approx(610), True)


def test_without_tables_nothing_is_known() -> None:
    plan = StagePlan.of([new("a.prepare")], None, lambda *_: None)
    assert plan.left() == (0, True)
    assert re.search(r"a\.prepare +\? +- +not there yet", plan.text())


def test_what_is_there_corrects_what_is_to_come(tmp_path: Path) -> None:
    plan = planned(tmp_path, made("b.train", 440.0), new("a.prepare"), new("c.tune"))
    assert plan.correction() == pytest.approx(2.0)
    assert plan.left() == (pytest.approx(30 + 2 * 610), False)


def test_what_was_measured_while_it_runs_corrects_the_rest(tmp_path: Path) -> None:
    plan = planned(tmp_path, new("a.prepare"), new("b.train"), new("c.tune"))
    text = plan.after("a.prepare", 90.0)  # no network: it tells nothing of them
    assert text == "a.prepare took 90 s (planned: 30 s); about 14 min to go"
    text = plan.after("b.train", 110.0)
    assert text == "b.train took 110 s (planned: 4 min); about 5 min to go"
    assert plan.left(after="b.train") == (pytest.approx(305), False)
    assert plan.after("c.tune", 305.0) == "c.tune took 5 min (planned: 5 min)"


def test_a_correction_has_bounds_and_short_stages_tell_nothing(tmp_path: Path) -> None:
    assert planned(tmp_path, made("b.train", 2200.0)).correction() == 3.0
    assert planned(tmp_path, made("b.train", 1.0)).correction() == pytest.approx(1 / 3)
    short = {"b.train": Workload(network="n", trained=20)}
    plan = StagePlan.of(
        [made("b.train", 90.0)], outlook_of(tmp_path, short), lambda *_: SPEED
    )
    assert plan.correction() == 1.0


def test_interrupted_attempts_count(tmp_path: Path) -> None:
    (tmp_path / "share").write_text("0.25")
    begun = new("b.train", earlier_s=5000.0, attempt=tmp_path)  # on a busy machine
    plan = planned(tmp_path, begun, new("c.tune"))
    assert plan.left() == (pytest.approx(0.75 * 220 + 610), False)
    begun = new("b.train", earlier_s=120.0, attempt=tmp_path)
    plan = planned(tmp_path, begun, new("c.tune"))
    plan.after("b.train", 100.0)
    assert plan.correction() == pytest.approx(1.0)


def test_the_text_names_what_is_replaced_with_its_cost_and_score(
    tmp_path: Path,
) -> None:
    scores = [{"held_out_scores": {"target_rmse": value}} for value in (0.5, 0.7)]
    plan = planned(
        tmp_path,
        made("a.prepare", 25.0),
        made("b.train", 760.0, "epochs 2 -> 3", "joint true -> false", nets=scores),
        made("e.other", 30.0, "made anew: b.train", metric="rmse", score=0.45),
    )
    indent = " " * 33
    assert plan.text().splitlines() == [
        f"a.prepare  {'current':>20}",
        f"b.train    {'4 min':>10}{'3 MB':>10}  epochs 2 -> 3; joint true -> false",
        f"{indent}it replaces one that took 13 min and scored target_rmse 0.6000",
        f"e.other    {'?':>10}{'-':>10}  made anew: b.train",
        f"{indent}it replaces one that took 30 s and scored rmse 0.4500",
        f"in all     {'4 min':>10}{'3 MB':>10}  and what is unknown",
    ]


@dataclass(frozen=True, kw_only=True)
class SideBySide(ExecutorSettings):
    """Settings of a stage that does its pieces side by side."""

    work: Annotated[Workload, "what there is to do"]
    threads: Annotated[int, "of each piece"] = 0

    def workload(self, outlook: Outlook) -> Workload:
        del outlook
        return self.work


@pytest.fixture
def on_two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (effort, stage_plan):
        monkeypatch.setattr(module, "count_gpus", lambda: 0)
    for module in (effort, stage_plan, pool):
        monkeypatch.setattr(module, "n_cores", lambda: 2)


@pytest.mark.usefixtures("on_two_cores")
@pytest.mark.parametrize(
    ("options", "n_at_once", "gain"),
    [
        ({}, 1, 1.0),
        ({"jobs": 2}, 2, 1.24),
        ({"jobs": 9}, 4, 1.24**2),  # of four nets
        ({"executor": "processes"}, 2, 1.24),
        ({"executor": "processes", "threads": 1}, 2, 2.0),
        ({"executor": "here"}, 1, 1.0),
    ],
)
def test_nets_side_by_side_are_planned_as_such(
    tmp_path: Path, options: dict[str, Any], n_at_once: int, gain: float
) -> None:
    work = Workload(network="n", batch_size=4, trained=1000, seconds=20, pieces=4)
    settings = {"b.train": SideBySide(work=work, **options)}
    outlook = replace(outlook_of(tmp_path), settings=settings)
    speed = replace(SPEED, kept_bytes=25e6, free_bytes=1.7e9)
    plan = StagePlan.of([new("b.train")], outlook, lambda *_: speed)
    [planned_stage] = plan.stages
    assert planned_stage.n_at_once == n_at_once
    assert planned_stage.seconds == pytest.approx(20 + 200 / gain)
    assert (f"not there yet; {n_at_once} at once" in plan.text()) == (n_at_once > 1)
    each = 0.7e9 + 16 * 250_000 + 4 * 25e6
    lack = lack_of_memory(plan)
    assert bool(lack) == (n_at_once * each > 1.7e9)
    if lack:
        assert lack == (
            "[b.train] jobs = 4: they need about 804 MB of memory each, and 1.7 GB are"
            " free; give jobs = 2, or a smaller batch_size"
        )


def test_a_disk_that_is_too_small_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(tmp_path, new("b.train"))
    outlook = outlook_of(tmp_path / "runs" / "not yet")
    assert lack_of_space(plan, outlook) == ""
    usage = type("Usage", (), {"free": 2.5e6})
    monkeypatch.setattr(stage_plan.shutil, "disk_usage", lambda _: usage)
    message = rf"{tmp_path} has 2 MB free, and the stages leave about 3 MB; free some"
    assert re.match(message, lack_of_space(plan, outlook))
