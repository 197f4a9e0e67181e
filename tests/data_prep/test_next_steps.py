"""Tests of data_prep.reporting.next_steps: each rule speaks where it should, only."""

import html
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data_prep.pictures.copies import NearCopies
from data_prep.reporting.next_steps import Seen, next_steps, next_steps_section
from data_prep.reporting.target_by_date import Drift
from data_prep.reporting.train_against_test import Shift
from tests.data_prep.sheets import prepare

N = 40
NOTHING: Any = np.empty(0, dtype=np.int64)


def seen(
    *, rows: Any = None, measured: Any = None, metadata: Any = None, **parts: Any
) -> Seen:
    """See a collection in which nothing asks for action, but for what is given."""
    return Seen(
        rows=pd.DataFrame(
            {
                "split": ["train"] * 30 + ["test"] * 10,
                "date": np.nan,
                "fold": [k % 3 for k in range(30)] + [-1] * 10,
                "class_index": [k % 2 for k in range(30)] + [-1] * 10,
                **(rows or {}),
            }
        ),
        metadata={
            "side": 64,
            "fit": "pad",
            "cv": "sgkfold3",
            "n_folds": 3,
            "target_kind": "classes",
            "classes": ["elm", "oak"],
            **(metadata or {}),
        },
        measured=pd.DataFrame(
            {
                "side": np.full(N, 100.0),
                "aspect": 1.0,
                "brightness": 100.0,
                "sharpness": 50.0,
                "border": 0.0,
                **(measured or {}),
            },
            index=range(N),
        ),
        **parts,
    )


def drift(strength: float, p_value: float = 1e-9) -> Drift:
    return Drift(strength=strength, p_value=p_value, n_groups=N, is_quantity=True)


def shift(auc: float) -> Shift:
    return Shift(
        auc=auc, chance=0.02, n_train=30, n_test=10, idx=NOTHING, nearest=NOTHING,
        distances=np.empty(0), lacks_groups=False,
    )  # fmt: skip


def near(*likeness: float) -> NearCopies:
    pairs = pd.DataFrame({"likeness": likeness})
    return NearCopies(pairs=pairs, likeness=0.85)


LATER = [1900.0] * 30 + [1950.0] * 10
LONE_NAMES = pd.DataFrame({"name": ["a", "b", "c"], "n_pictures": [9, 1, 1]})
RULES: list[tuple[dict[str, Any], str]] = [
    ({"rows": {"date": LATER}}, 'set cv = "time3" in [data_prep.prepare]'),
    ({"shift": shift(0.9)}, "name that column as group in [data]"),
    ({"drift": drift(0.5)}, 'set cv = "time3" in [data_prep.prepare]'),
    ({"drift": drift(-0.95)}, "keep date out of columns in [stacking.fit]"),
    (
        {"rows": {"class_index": [0] * 28 + [1] * 2 + [-1] * 10}},
        "1 class has fewer than 10 rows (oak)",
    ),
    (
        {
            "rows": pd.DataFrame(
                {
                    "split": "train", "date": np.nan, "fold": 0,
                    "class_index": [0] * 200 + [1] * 12,
                }
            ).to_dict("list")
        },
        'set metric = "macro_f1" in [stacking.fit]',
    ),
    ({"near": near(0.9, 0.82, 0.7)}, "1 pair of pictures is nearly alike enough"),
    ({"measured": {"border": [1.0, 0.95] + [0.0] * 38}}, "2 pictures are blank"),
    ({"measured": {"sharpness": [1.0] + [50.0] * 39}}, "sample_weights in [data]"),
    ({"measured": {"side": 50.0}}, "set side = 48 in [data_prep.prepare]"),
    ({"measured": {"side": [20.0] + [100.0] * 39}}, "1 original is smaller than half"),
    ({"measured": {"side": 300.0}}, "set side = 128 in [data_prep.prepare]"),
    ({"measured": {"aspect": [0.2, 5.0] * 20}}, 'fit = "squash"'),
    ({"names": LONE_NAMES}, "2 of 3 names stand at one picture each"),
]  # fmt: skip


def test_a_quiet_collection_is_left_alone() -> None:
    quiet = seen(drift=drift(0.1), shift=shift(0.55), near=near(0.9, 0.7))
    assert next_steps(quiet) == []
    assert "Nothing here asks for action" in next_steps_section(next_steps(quiet)).body


@pytest.mark.parametrize(("parts", "text"), RULES, ids=[text for _, text in RULES])
def test_each_finding_gives_one_sentence(parts: dict[str, Any], text: str) -> None:
    (sentence,) = next_steps(seen(**parts))
    assert text in sentence


REFERENCE = Path(__file__).parents[2] / "docs" / "reference.md"


@pytest.mark.parametrize(("parts", "text"), RULES, ids=[text for _, text in RULES])
def test_each_remedy_is_a_setting_that_there_is(
    parts: dict[str, Any], text: str
) -> None:
    assert text
    (sentence,) = next_steps(seen(**parts))
    page = REFERENCE.read_text(encoding="utf-8")
    settings = re.findall(r"set (\w+) = (\S+) in \[([\w.]+)\]", sentence)
    settings += [
        (name, "", table)
        for name, table in re.findall(
            r"\b(?:as|by|of) (\w+) in\s\[([\w.]+)\]", sentence
        )
    ]
    assert (
        settings
        or "get more" in sentence
        or "columns in" in sentence
        or "fit =" in sentence
    )
    for name, _, table in settings:
        sections = [
            part for part in page.split("\n## ") if f"`[{table}]`" in part[:400]
        ]
        assert any(f"- `{name} = " in part for part in sections), (name, table)


def test_the_remedy_for_time_is_not_given_twice_nor_where_it_is_taken() -> None:
    late = {"rows": {"date": LATER}, "drift": drift(0.5)}
    assert next_steps(seen(**late, metadata={"cv": "time3"})) == []
    assert next_steps(seen(**late, metadata={"cv": "folds.csv"})) == []
    assert len(next_steps(seen(**late))) == 1


def test_numbers_are_not_told_of_rare_values() -> None:
    few = {"class_index": [0] * 28 + [1] * 2 + [-1] * 10}
    assert next_steps(seen(rows=few, metadata={"target_kind": "numeric"})) == []


def test_six_sentences_are_enough_and_test_comes_first() -> None:
    sentences = next_steps(
        seen(
            shift=shift(0.9),
            drift=drift(0.5),
            near=near(0.82),
            names=LONE_NAMES,
            measured={
                "side": 50.0,
                "aspect": 0.2,
                "border": [1.0] + [0.0] * 39,
                "sharpness": [50.0, 1.0] + [50.0] * 38,
            },
        )
    )
    assert len(sentences) == 6
    assert "AUC 0.90" in sentences[0]


def test_an_empty_collection_has_no_advice() -> None:
    nothing = seen()
    empty = Seen(
        rows=nothing.rows.iloc[:0],
        metadata={**nothing.metadata, "n_folds": 0, "classes": None},
        measured=nothing.measured.iloc[:0],
    )
    assert next_steps(empty) == []


@pytest.mark.usefixtures("tampering_goes_unseen")
def test_the_terminal_tells_what_the_report_does(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        stage = prepare(folder, "--side=64", "--copies=equal")
    told = [text for r in caplog.records if "to do: " in (text := r.getMessage())]
    assert any("originals are smaller than side = 64" in text for text in told)
    report = html.unescape((stage / "report.html").read_text())
    assert all(text.removeprefix("to do: ") in report for text in told)
