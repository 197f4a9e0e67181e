"""Tests of stacking.leaderboard, leaderboard_entries and leaderboard_page."""

import csv
import json
import logging
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.errors import UserError
from data_prep.run_folders.runs import Run
from stacking.leaderboard import main
from stacking.reporting.leaderboard_entries import (
    LeaderboardEntry,
    columns_of,
    find_runs,
    read_runs,
)
from stacking.reporting.leaderboard_page import over_time

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

PREPARED, PRETEXT, FIT = "data_prep.prepare", "pretext.jigsaw", "stacking.fit"
BEGAN = datetime(2026, 11, 1, 12, tzinfo=UTC)


def make_stage(
    run: Path, stage: str, settings: dict[str, Any], *reads: str, **changed: Any
) -> None:
    """Write a finished stage; then change its record."""
    with Run(run).stage(stage, settings, reads) as made:
        (made.folder / "result").write_text(json.dumps(settings))
    edit(run, stage, **changed)


def edit(run: Path, stage: str, **changed: Any) -> None:
    path = run / stage / "record.json"
    record = json.loads(path.read_text()) | changed
    path.write_text(json.dumps(record))


def make_fit(
    run: Path,
    score: float,
    *,
    metric: str = "rmse",
    day: float = 0,
    settings: dict[str, Any] | None = None,
    reads: tuple[str, ...] = (),
    stage: str = FIT,
    **changed: Any,
) -> None:
    metadata = {
        "metric": metric,
        "score": score,
        "interval": [score - 0.1, score + 0.1],
        "plain": None,
        "constant": 1.5,
    }
    when = (BEGAN + timedelta(days=day)).isoformat()
    record = {"facts": metadata, "finished_at": when, "seconds": 60.0} | changed
    make_stage(run, stage, settings or {"align": "rank"}, *reads, **record)


def table_of(folder: Path) -> list[dict[str, str]]:
    main([str(folder)])
    with (folder / "leaderboard.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_is_found_at_any_depth_and_only_once(tmp_path: Path) -> None:
    make_fit(tmp_path / "b", 1.0)
    make_fit(tmp_path / "deep" / "er" / "a", 1.0)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.json").write_text("{}")
    (tmp_path / "no" / "run").mkdir(parents=True)
    make_fit(tmp_path / ".hidden" / "x", 1.0)
    (tmp_path / "circle").symlink_to(tmp_path)
    outside = tmp_path.parent / f"{tmp_path.name}.elsewhere"
    make_fit(outside, 1.0)
    (tmp_path / "linked").symlink_to(outside)
    runs = [run.relative_to(tmp_path).as_posix() for run in find_runs(tmp_path)]
    assert runs == ["b", "begun", "deep/er/a", "linked"]
    (entry,) = read_runs(tmp_path / "b")[0]
    assert entry.run == "b"


def test_the_best_come_first_by_metric_and_leaky_ones_last(tmp_path: Path) -> None:
    for name, score in (("a", 0.8), ("b", 0.6), ("c", 0.7)):
        make_fit(tmp_path / name, score)
        make_fit(tmp_path / f"{name}k", score, metric="quadratic_kappa")
    make_fit(tmp_path / "a", 0.1, stage="stacking.fit.insample")
    rows = table_of(tmp_path)
    assert [(row["metric"], row["run"]) for row in rows] == [
        *(("quadratic_kappa", name) for name in ("ak", "ck", "bk")),
        *(("rmse", name) for name in ("b", "c", "a", "a")),
    ]
    assert ["leaky" in row["note"] for row in rows] == [*[False] * 6, True]


def test_a_row_says_that_its_folds_chose_the_epochs(tmp_path: Path) -> None:
    for select in ("inner", "fold"):
        make_stage(tmp_path / select, "transfer.finetune", {"select": select})
        make_fit(tmp_path / select, 0.5, reads=("transfer.finetune",))
    notes = {row["run"]: row["note"] for row in table_of(tmp_path)}
    text = "selected: the scored rows chose the epochs of their nets"
    assert notes == {"inner": "", "fold": text}


def test_a_row_says_what_the_records_say(tmp_path: Path) -> None:
    run = tmp_path / "a"
    make_stage(run, PREPARED, {}, seconds=90.0)
    make_fit(run, 0.5, reads=(PREPARED,))
    make_stage(run, "pretext.probe", {"seed": 7}, PREPARED, seconds=30.0)
    (row,) = table_of(tmp_path)
    assert row == {
        "run": "a",
        "finished_at": "2026-11-01T12:00:00+00:00",
        "metric": "rmse",
        "score": "0.5",
        "low": "0.4",
        "high": "0.6",
        "plain": "",
        "constant": "1.5",
        "minutes": "3.0",
        "note": "",
    }


def test_only_what_differs_is_a_column(tmp_path: Path) -> None:
    for name, epochs, align in (("a", 5, "rank"), ("b", 9, "rank"), ("c", 9, "none")):
        run = tmp_path / name
        nested = {"task": {"kind": "date", "weight": epochs / 4}}
        make_stage(run, PREPARED, {"side": 64, "source": str(epochs) * 64})
        pretext = {"epochs": epochs, "seed": 1, "tasks": nested, "views": [1, True]}
        if name != "a":
            pretext["new"] = None
        make_stage(run, PRETEXT, pretext, PREPARED)
        settings = {"align": align, "cv": "sgkfold3"}
        make_fit(run, epochs, settings=settings, reads=(PREPARED, PRETEXT))
    rows = {row["run"]: row for row in table_of(tmp_path)}
    differ = [name for name in rows["a"] if "." in name]
    assert differ == [
        "data_prep.prepare.source",
        "pretext.jigsaw.epochs",
        "pretext.jigsaw.tasks.task.weight",
        "pretext.jigsaw.new",
        "stacking.fit.align",
    ]
    values = [[rows[run][name] for name in differ] for run in "abc"]
    assert values == [
        ["55555555", "5", "1.25", "-", "rank"],
        ["99999999", "9", "2.25", "none", "rank"],
        ["99999999", "9", "2.25", "none", "none"],
    ]


def test_a_setting_that_was_renamed_sets_no_run_apart(tmp_path: Path) -> None:
    steps, tasks = ["blend", "isotonic", "round"], {"links": {"kind": "date"}}
    for run, data, fit in (
        ("old", {"doubts": "a.csv"}, {"links": ["mix", "isotonic", "snap"]}),
        ("new", {"sample_weights": "a.csv"}, {"postprocess": steps}),
    ):
        make_stage(tmp_path / run, PREPARED, {"data": data, "tasks": tasks})
        make_fit(tmp_path / run, 1.0, settings=fit, reads=(PREPARED,))
    entries = read_runs(tmp_path)[0]
    assert columns_of(entries) == []
    for entry in entries:
        assert entry.text_of((FIT, "postprocess")) == "blend,isotonic,round"
        assert entry.text_of((PREPARED, "data.sample_weights")) == "a.csv"
        assert entry.text_of((PREPARED, "tasks.links.kind")) == "date"


def test_a_stage_that_some_runs_lack_is_one_column(tmp_path: Path) -> None:
    settings = {f"setting{k}": k for k in range(9)}
    for name in "ab":
        make_stage(tmp_path / name, PRETEXT, settings | {"epochs": ord(name)})
        make_fit(tmp_path / name, 1.0, reads=(PRETEXT,))
    make_fit(tmp_path / "c", 1.0)
    rows = table_of(tmp_path)
    values = {row["run"]: [row[PRETEXT], row[f"{PRETEXT}.epochs"]] for row in rows}
    assert values == {"a": ["yes", "97"], "b": ["yes", "98"], "c": ["-", "-"]}
    assert not [name for name in rows[0] if "setting" in name]


def test_settings_are_of_the_stages_that_a_score_was_made_from(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        make_stage(tmp_path / name, PRETEXT, {"seed": seed})  # that nothing reads
        make_stage(tmp_path / name, PREPARED, {"side": 8})
        extracted = {"views": seed}
        make_stage(tmp_path / name, "features.extract", extracted, PREPARED)
        make_fit(tmp_path / name, 1.0, reads=("features.extract",))
    names = [name for name in table_of(tmp_path)[0] if "." in name]
    assert names == ["features.extract.views"]


def test_versions_are_columns_where_they_differ(tmp_path: Path) -> None:
    for name, version in (("a", "2.1"), ("b", "2.2")):
        versions = {"numpy": version, "pandas": "3"}
        make_fit(tmp_path / name, 1.0, versions=versions)
    rows = table_of(tmp_path)
    assert [name for name in rows[0] if "." in name] == ["versions.numpy"]
    for name in "ab":
        edit(tmp_path / name, FIT, versions={})
    assert not [name for name in table_of(tmp_path)[0] if "." in name]


def test_a_score_of_something_replaced_since_is_marked(tmp_path: Path) -> None:
    run = tmp_path / "a"
    make_stage(run, PREPARED, {"side": 8})
    make_stage(run, PRETEXT, {}, PREPARED)
    make_fit(run, 1.0, reads=(PRETEXT,))
    assert table_of(tmp_path)[0]["note"] == ""
    edit(run, PREPARED, digest="another")
    assert table_of(tmp_path)[0]["note"] == f"stale: {PREPARED} replaced since"
    (run / PREPARED / "record.json").unlink()
    assert table_of(tmp_path)[0]["note"] == f"stale: {PREPARED} replaced since"


def metadata(**changed: Any) -> dict[str, Any]:
    usual = {"metric": "rmse", "score": 1.0, "interval": [0.9, 1.1]}
    return {"facts": {k: v for k, v in (usual | changed).items() if v != "gone"}}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (metadata(score="gone"), "stacking.fit/record.json lacks 'score'"),
        (metadata(interval=None), "stacking.fit/record.json is broken: "),
        (metadata(score=float("nan")), "is broken: score is nan"),
        (metadata(score="0.5"), "is broken: "),
        ({"facts": None}, "is broken: "),
        ({"finished_at": "yesterday"}, "is broken: .*yesterday"),
    ],
)
def test_a_broken_run_is_listed_with_the_reason(
    tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    make_fit(tmp_path / "good", 1.0)
    make_fit(tmp_path / "odd", 2.0)
    edit(tmp_path / "odd", FIT, **changed)
    entries, missing = read_runs(tmp_path)
    assert [entry.run for entry in entries] == ["good"]
    assert [run.run for run in missing] == ["odd"]
    assert re.search(reason, missing[0].reason)
    rows = table_of(tmp_path)
    assert rows[1]["run"] == "odd"
    assert rows[1]["note"] == missing[0].reason


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "\xff"])
def test_a_record_that_is_none_is_no_end(tmp_path: Path, text: str) -> None:
    make_fit(tmp_path / "a", 1.0)
    make_fit(tmp_path / "b", 1.0)
    (tmp_path / "b" / FIT / "record.json").write_bytes(text.encode("latin-1"))
    entries, missing = read_runs(tmp_path)
    assert [entry.run for entry in entries] == ["a"]
    assert [run.reason for run in missing] == [f"{FIT}/record.json cannot be read"]


def test_an_unfinished_run_is_listed_and_left_alone(tmp_path: Path) -> None:
    run = tmp_path / "a"
    make_stage(run, PREPARED, {})
    assert read_runs(tmp_path)[1][0].reason == (
        "stacking.fit is not finished; finished: data_prep.prepare"
    )
    with Run(run).stage(FIT, {}) as stage:
        (stage.folder / "record.json").write_text("{}")  # as if it were done
        before = sorted(tmp_path.rglob("*"))
        entries, (unfinished,) = read_runs(tmp_path)
        assert not entries
        assert unfinished.reason.startswith("stacking.fit is begun, not finished;")
        assert sorted(tmp_path.rglob("*")) == before


def test_without_a_run_there_is_nothing_to_list(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no run in it; .*: python -m pipe"):
        main([str(tmp_path)])
    with pytest.raises(UserError, match="gone: there is no such folder; give the"):
        main([str(tmp_path / "gone")])
    assert not list(tmp_path.iterdir())


def test_the_terminal_shows_figures_and_what_sets_apart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for name, score in (("a", 0.75), ("long/name", 0.5)):
        make_fit(tmp_path / name, score, settings={"align": f"of {name}", "seed": 0})
    make_fit(tmp_path / "c", 0.9, metric="r2", settings={"align": "of a", "seed": 0})
    (tmp_path / "d" / FIT).mkdir(parents=True)
    (tmp_path / "d" / FIT / "record.json").write_text("?")
    assert main([str(tmp_path)]) == tmp_path / "leaderboard.html"
    lines = [" ".join(line.split()) for line in caplog.text.splitlines()]
    assert "r2, higher is better" in lines[0]
    assert "1 c 2026-11-01 12:00 0.9000 0.8000..1.0000 - 1.5000 1.0" in lines
    best = "2 long/name 2026-11-01 12:00 0.5000 0.4000..0.6000 - 1.5000 1.0"
    assert lines[lines.index("rmse, lower is better") + 2] == best
    assert "stacking.fit.align: of a (1, 3); of long/name (2)" in lines
    assert "d: stacking.fit/record.json cannot be read" in lines
    assert "seed" not in caplog.text


def test_the_page_shows_all_text_as_text(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>&"
    for name in ("a", "<b>"):
        make_fit(tmp_path / name, 1.0, settings={evil: name}, metric=f"m{evil}")
    make_fit(tmp_path / "c", 1.0, stage="stacking.fit.insample")
    (tmp_path / "<i>" / FIT).mkdir(parents=True)
    (tmp_path / "<i>" / FIT / "record.json").write_text("?")
    page = main([str(tmp_path)]).read_text(encoding="utf-8")
    for text in (evil, "<b>", "<i>"):
        assert text not in page
        assert text in unescape(page)
    assert "http" not in page.replace("http-equiv", "")


def entry(day: float, score: float, **changed: Any) -> LeaderboardEntry:
    usual: dict[str, Any] = {
        "run": f"r{day}",
        "finished_at": BEGAN + timedelta(days=day),
        "metric": "rmse",
        "score": score,
        **{"low": score, "high": score, "plain": None, "constant": 1.0},
        "minutes": 1.0,
        "settings": {},
    }
    return LeaderboardEntry(**(usual | changed))


def numbers(tag: str, *names: str) -> list[float]:
    return [float(tag.split(f'{name}="')[1].split("%")[0]) for name in names]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("metric", ["rmse", "r2"])
def test_the_line_is_the_best_so_far(metric: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    entries = [
        entry(day, score, metric=metric, is_leaky=day % 5 == 3)
        for day, score in enumerate(rng.normal(size=12).round(3).tolist())
    ]
    shuffled = [entries[place] for place in rng.permutation(12)]
    svg = str(over_time(shuffled))
    places = [numbers(tag, "cx", "cy") for tag in svg.split("<circle")[1:]]
    assert sorted(places) == places  # in the order of time
    steps = [numbers(tag, "x1", "x2", "y1", "y2") for tag in svg.split("<line")[1:]]
    n_steps = svg.split('class="strong best"')[1].split("</g>")[0].count("<line")
    steps = steps[-n_steps:]
    # From the top of the page: a lower score stands further down.
    best = max if metric == "rmse" else min
    honest = [
        place for place, run in zip(places, entries, strict=True) if not run.is_leaky
    ]
    for left, right, top, bottom in steps:
        if left != right:
            assert top == bottom == best(y for x, y in honest if x <= left)
    flat = [(left, right) for left, right, *_ in steps if left != right]
    assert flat[0][0] == honest[0][0]
    assert flat[-1][1] == 100
    assert all(left[1] == right[0] for left, right in pairwise(flat))


def test_runs_of_an_hour_and_a_single_one_can_be_drawn() -> None:
    for days in ([0.0], [0.0, 0.01], [0.0, 0.0], [0.0, 1.9], [0.0, 2.1]):
        svg = str(over_time([entry(day, 1.0) for day in days]))
        assert "nan" not in svg
        unit = "days" if days[-1] > 2 else "hours"
        assert f"{unit} since 2026-11-01 12:00" in svg


def test_one_run_is_no_plural(tmp_path: Path) -> None:
    make_fit(tmp_path / "a", 1.0)
    main([str(tmp_path)])
    assert "1 run<" in re.sub(r"\s+<", "<", (tmp_path / "leaderboard.html").read_text())
    make_fit(tmp_path / "b", 1.0)
    main([str(tmp_path)])
    assert "2 runs" in (tmp_path / "leaderboard.html").read_text()


def test_nothing_differs_in_a_single_run() -> None:
    settings = {FIT: {"align": "rank"}}
    assert columns_of([entry(0, 1.0, settings=settings)]) == []
    assert columns_of([]) == []
