"""Tests of the report's errors by value of a column, by attribute, and of shrinkage."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_prep.prepared import Prepared
from data_prep.run_folders.runs import Run
from data_prep.scoring.scores import Interval
from stacking.analysis.residuals import Subgroup, subgroups_of_masks
from stacking.ensemble.stack import Stacked
from stacking.reporting.named_rows import (
    ATTRIBUTES,
    NamedRows,
    are_classes,
    name_masks,
    named_rows,
)
from stacking.reporting.sections import names
from stacking.reporting.sections.failures import on_shrinkage
from tests.stacking.reported import Reported, add_names

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    """Make a run whose tables have classes and attributes, and stack it."""
    made = Reported.of(tmp_path_factory.mktemp("names") / "run")
    add_names(made.run)
    made.result = made.stacked()
    return made


@pytest.fixture(scope="module")
def of_text(tmp_path_factory: pytest.TempPathFactory) -> Stacked:
    made = Reported.of(
        tmp_path_factory.mktemp("text") / "run", is_text=True, tasks=("onehot",)
    )
    return made.stacked()


def test_the_names_are_those_of_the_tables(reported: Reported) -> None:
    prepared = Prepared.open(Run(reported.run).finished("data_prep.prepare"))
    ids = reported.result.data.info.ids
    table = pd.read_parquet(prepared.folder / "table.parquet").set_index("id")
    attributes = pd.read_parquet(prepared.folder / ATTRIBUTES)
    sources = {source.title: source for source in named_rows(prepared, ids)}
    assert list(sources) == ["room", "attribute"]  # not size, which are quantities
    rooms = table.loc[list(ids), "given.room"]
    for name, mask in sources["room"].masks:
        assert (mask == (rooms == name).to_numpy()).all()
    for name, mask in sources["attribute"].masks[:-1]:
        having = set(attributes.loc[attributes["name"] == name, "id"])
        assert mask.tolist() == [id_ in having for id_ in ids]
    name, without = sources["attribute"].masks[-1]
    assert name == "(without)"
    assert without.tolist() == [id_ not in set(attributes["id"]) for id_ in ids]


def test_the_errors_of_a_name_are_those_of_its_rows(reported: Reported) -> None:
    stacked = reported.result
    page = reported.page()
    section = page[page.index("By your columns and attributes") :]
    ids = list(stacked.data.info.ids)
    table = pd.read_parquet(reported.run / "data_prep.prepare" / "table.parquet")
    is_kitchen = (table.set_index("id").loc[ids, "given.room"] == "kitchen").to_numpy()
    errors = (stacked.final.prediction - stacked.data.rows.y)[is_kitchen]
    rmse = float(np.sqrt((errors**2).mean()))
    assert f"{is_kitchen.sum()} rows, RMSE {rmse:.2f}" in section


def test_without_names_there_is_no_part(tmp_path: Path) -> None:
    assert "By your columns and attributes" not in Reported.of(tmp_path / "run").page()


@pytest.mark.parametrize(
    ("cells", "is_so"),
    [
        (["a"] * 6 + ["b"] * 5 + ["c"] * 4, True),
        ([*range(40)] * 6, False),  # numbers, of which every value is frequent
        ([1.0, 2.0, np.nan] * 5, True),
        ([f"title {k}" for k in range(40)] + ["a"] * 5, False),
        ([None] * 9, False),
    ],
)
def test_classes_are_told_from_quantities_and_from_titles(
    cells: list[Any], is_so: bool
) -> None:
    assert are_classes(pd.Series(cells)) is is_so


def test_a_name_is_counted_by_rows_and_a_row_may_have_several() -> None:
    # Row 0 has three pictures, of which two are red and one is sour too.
    names = ["red", "red", "sour", "", *["red"] * 5, *["sour"] * 4, *["rare"] * 2, ""]
    of_row = np.array([0, 0, 0, 0, 1, 2, 3, 4, 5, 1, 2, 3, 6, 7, 7, 8])
    masks = dict(name_masks(names, of_row, n_rows=9))
    assert {name: np.flatnonzero(m).tolist() for name, m in masks.items()} == {
        "red": [0, 1, 2, 3, 4, 5],
        "sour": [0, 1, 2, 3, 6],
    }
    masks = dict(name_masks(names, of_row, n_rows=13))
    assert np.flatnonzero(masks["(without)"]).tolist() == [8, 9, 10, 11, 12]


def test_an_object_has_the_names_of_all_its_pictures(tmp_path: Path) -> None:
    made = Reported.of(tmp_path / "run", n_test=0, n_unlabelled=0)
    add_names(made.run)
    prepared = Prepared.open(Run(made.run).finished("data_prep.prepare"))
    numbers = np.arange(len(prepared.table))
    table = prepared.table.assign(object=[f"h{number // 3}" for number in numbers])
    table.loc[table["object"] == "h0", "split"] = "unlabelled"
    houses = [f"h{number}" for number in range(1, 30)]
    of_objects = named_rows(replace(prepared, table=table), houses)
    masks = {name: m.all() for source in of_objects for name, m in source.masks}
    # one picture of three is tiled and of each room; two of three are bright
    assert masks == dict.fromkeys(("kitchen", "bath", "hall", "bright", "tiled"), True)


def subgroup(name: str, low: float, high: float, score: float = 0.1) -> Subgroup:
    value = Interval(value=(low + high) / 2, low=low, high=high)
    return Subgroup(name=name, n_rows=9, value=value, score=score)


def test_the_sentence_names_what_is_off_and_what_is_hardest(
    reported: Reported,
) -> None:
    scored = [
        subgroup("hall", 0.1, 0.3),
        subgroup("bath", -0.9, -0.3, score=99.0),
        subgroup("attic", -0.1, 0.2),
        subgroup("lone", np.nan, np.nan),
    ]
    text = names.verdict(reported.result, scored)
    assert text.startswith(
        "bath (\u22120.60) and hall (+0.20) are off the line. The RMSE"
    )
    assert "largest of bath: 99.00, against" in text
    text = names.verdict(reported.result, scored[2:])
    assert text == "No name is off the line for certain."


def test_of_many_names_some_are_off_by_chance(reported: Reported) -> None:
    scored = [subgroup(f"name{k}", 0.1, 0.3) for k in range(8)]
    assert "by chance" not in names.verdict(reported.result, scored)
    scored = [subgroup(f"name{k}", 0.1, 0.3) for k in range(40)]
    text = names.verdict(reported.result, scored)
    assert "name4 (+0.20) and 35 more are off" in text
    assert "(of 40 names about 2 would be by chance)" in text


def test_of_classes_a_name_is_off_that_is_right_less_often(of_text: Stacked) -> None:
    scored = [subgroup("hall", 0.0, 0.02), subgroup("bath", 0.98, 1.0)]
    text = names.verdict(of_text, scored)
    assert text.startswith("hall (1%) is right less often than the ")


def test_names_that_are_not_off_are_folded(reported: Reported) -> None:
    stacked = reported.result
    even = np.ones(len(stacked.data.rows.y), dtype=bool)
    sign = stacked.final.prediction > stacked.data.rows.y
    high, low = subgroups_of_masks(stacked, [("over", sign), ("under", ~sign)])
    assert high.value.value > 0 > low.value.value
    quiet = NamedRows(title="quiet", masks=[("all", even), ("again", even)])
    loud = NamedRows(title="loud", masks=[("over", sign), ("under", ~sign)])
    body = str(names.by_name(stacked, [quiet, loud]).body)
    assert re.findall("<h3>([^<]+)", body) == ["By loud"]
    assert "<summary>By quiet: no name is off for certain" in body


@pytest.mark.parametrize(
    ("stretch", "noise", "words"),
    [
        (1.0, 1.0, "Stretching the predictions would make the score worse"),
        (0.5, 1.0, "Here it goes too far"),
        (1.0, 0.0, ""),
        (0.0, 1.0, ""),  # a constant
    ],
)
def test_shrinkage_is_told_by_how_much_a_best_guess_shrinks(
    stretch: float, noise: float, words: str, reported: Reported
) -> None:
    stacked = reported.result
    rng = np.random.default_rng(0)
    signal = rng.normal(size=4000)
    target = signal + noise * rng.normal(size=4000)
    # Data and predictions of 4,000 rows in place of those of the run.
    rows = replace(stacked.data.rows, y=target)
    features = replace(stacked.features, data=replace(stacked.data, rows=rows))
    lines = (*stacked.lines[:-1], replace(stacked.final, prediction=stretch * signal))
    texts = on_shrinkage(replace(stacked, features=features, lines=lines))
    assert (words in texts[0]) if words else texts == []
    if words:
        assert f"the prediction moves by {stretch / 2:.1f}" in texts[0]


@pytest.mark.parametrize("is_missed", [True, False])
def test_rare_classes_are_told_of_where_they_are_missed(
    is_missed: bool, of_text: Stacked
) -> None:
    stacked = of_text
    counts = np.bincount(stacked.data.info.class_index)
    rare = counts < counts.mean()
    assert 0 < rare.sum() < len(counts)
    # all probability goes to the true class, or for rare ones to the most frequent
    told = np.where(rare & is_missed, counts.argmax(), np.arange(len(counts)))
    prediction = np.eye(len(counts))[told[stacked.data.info.class_index]]
    lines = (*stacked.lines[:-1], replace(stacked.final, prediction=prediction))
    texts = on_shrinkage(replace(stacked, lines=lines))
    assert len(texts) == is_missed
    if is_missed:
        assert "average one are right in 0%, the others in 100%" in texts[0]
