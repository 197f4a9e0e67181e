"""Tests of the verdicts on a stack: numbers in, a sentence or nothing out."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from data_prep.scoring.scores import Interval
from data_prep.user_columns import UserColumn, UserColumns
from stacking.analysis.verdicts import (
    on_columns,
    on_nets,
    on_result,
    on_teacher,
    on_time,
    verdicts_on,
)
from stacking.cross_fitting import TrainingRows
from stacking.ensemble.objective import Objective
from stacking.inputs.assemble import USER_TASK
from stacking.inputs.data import Column, RunInfo, StackingData
from stacking.reporting.sections.verdicts import verdicts

N = 60
RNG = np.random.default_rng(0)


def gain(low: float, high: float) -> Interval:
    return Interval(value=(low + high) / 2, low=low, high=high)


def of_nets(score: float, gain: Interval, rival: str = "a constant") -> str:
    return on_nets(score, rival, 1.0, gain=gain, metric="RMSE")


@pytest.mark.parametrize(
    ("metric", "sign"), [("rmse", 1.0), ("accuracy", -1.0), ("r2", -1.0)]
)
def test_a_result_is_told_what_it_does_not_beat(metric: str, sign: float) -> None:
    objective = Objective(name=metric, class_values=(0.0, 1.0))
    rivals = {"a constant": sign * 0.9, "a model without nets": sign * 0.6}
    assert on_result(sign * 0.5, rivals, objective) == ""
    assert "no better than a model without" in on_result(sign * 0.7, rivals, objective)
    verdict = on_result(sign * 0.9, rivals, objective)
    assert f"than a constant ({objective.title} {sign * 0.9:.4f} against" in verdict
    assert "do not rely on it" in verdict
    assert on_result(sign * 2, {}, objective) == ""


def test_of_nets_that_were_taught_it_is_told() -> None:
    plain = [{"settings": {}}, {"settings": {"pseudo_labels": None}}]
    assert on_teacher(plain) == ""
    taught = {"settings": {"pseudo_labels": {"run": "first"}}}
    assert "what those of the run 'first' say of them" in on_teacher([*plain, taught])


def test_nets_that_are_better_than_a_constant_need_no_word() -> None:
    assert of_nets(0.8, gain(-0.3, -0.1)) == ""


def test_nets_no_better_than_a_constant() -> None:
    verdict = of_nets(0.98, gain(-0.05, 0.01))
    assert verdict.startswith(
        "the nets alone are not surely better than a constant (RMSE 0.9800 against"
        " 1.0000): what the stack gains is not theirs; fine-tune longer"
    )
    assert "are worse than a constant" in of_nets(1.2, gain(0.1, 0.3))


@pytest.mark.parametrize(
    ("gains", "beginning"),
    [
        ({"constant": (-0.3, -0.1), "pixels": (-0.3, -0.1)}, ""),
        ({"constant": (-0.3, -0.1)}, ""),
        (
            {"constant": (-0.3, -0.1), "pixels": (0.1, 0.2)},
            "the nets alone are worse than a model without nets (RMSE 0.8000 against",
        ),
        (
            {"constant": (-0.1, 0.1), "pixels": (0.1, 0.2)},
            "the nets alone are not surely better than a constant (RMSE 0.8000",
        ),
    ],
)
def test_nets_are_set_beside_the_least_that_they_do_not_beat(
    gains: dict[str, tuple[float, float]], beginning: str
) -> None:
    scores = SimpleNamespace(pooled=0.8)
    lines = {
        name: SimpleNamespace(scores=scores, gain=gain(*of))
        for name, of in gains.items()
    }
    lines["plain"] = SimpleNamespace(scores=scores, gain=None)
    stacked: Any = SimpleNamespace(
        baseline="plain",
        line=lines.__getitem__,
        has_line=lines.__contains__,
        objective=Objective(name="rmse", class_values=()),
        final=SimpleNamespace(scores=SimpleNamespace(pooled=0.1)),
        data=SimpleNamespace(info=RunInfo()),
    )
    sentences = verdicts_on(stacked, [])
    assert [text[: len(beginning)] for text in sentences] == [beginning] * bool(
        beginning
    )


def data_with(*values: np.ndarray, y: np.ndarray, is_class: bool) -> StackingData:
    outputs = [[f"c{k}_{j}" for j in range(X.shape[1])] for k, X in enumerate(values)]
    columns = [
        UserColumn(
            name=f"c{k}", median=0.0, has_gaps=False, values=(), outputs=tuple(o)
        )
        for k, o in enumerate(outputs)
    ]
    names = [name for o in outputs for name in o]
    return StackingData(
        rows=TrainingRows(
            X=np.hstack([RNG.normal(size=(N, 2)), *values]), y=y,
            folds=np.arange(N) % 3, groups=np.arange(N), sample_weight=np.ones(N),
        ),
        columns=(
            *(Column(name=f"net{k}", task="target", output="", statistic="mean")
              for k in range(2)),
            *(Column(name=name, task=USER_TASK, output=name, statistic="")
              for name in names),
        ),
        target_range=None if is_class else (0.0, 1.0),
        info=RunInfo(user_columns=UserColumns(tuple(columns))),
    )  # fmt: skip


def test_the_user_s_column_that_tells_the_target() -> None:
    y = RNG.normal(size=N)
    noise = RNG.normal(size=(N, 2))
    data = data_with(noise, 3 * y[:, None] + 1, y=y, is_class=False)
    sentences = [text for text in on_columns(data) if text]
    assert len(sentences) == 1
    assert sentences[0].startswith("column 'c1' alone tells the target (R2 1.00")


def test_the_user_s_column_that_tells_the_class() -> None:
    codes = np.random.default_rng(1).integers(0, 3, N)
    data = data_with(np.eye(3)[codes], y=np.eye(3)[codes], is_class=True)
    assert "'c0' alone tells the target (100% of what the most" in on_columns(data)[0]
    assert on_columns(StackingData(rows=data.rows, columns=())) == []


def record(stage: str, seconds: float, *reads: str, **facts: Any) -> dict[str, Any]:
    return {
        "stage": stage, "seconds": seconds, "reads": dict.fromkeys(reads, "digest"),
        "facts": facts,
    }  # fmt: skip


def chain(seconds: float, low: float = -0.1) -> list[dict[str, Any]]:
    gains = {"target": [0.1, low, 0.3]}
    return [
        record("data_prep.prepare", 60),
        record("pretext.jigsaw", seconds, "data_prep.prepare", probe_gains=gains),
        record("transfer.finetune", 540, "data_prep.prepare", "pretext.jigsaw"),
    ]


def test_a_pretext_that_took_most_of_the_time_for_nothing() -> None:
    assert on_time(chain(1800)).startswith(
        "pretext.jigsaw took 30 min, 75% of the time of all stages, and its features"
        " tell the labels no better than its first weights: leave it out"
    )


@pytest.mark.parametrize(
    "records",
    [
        chain(500),  # less than half
        [entry | {"seconds": entry["seconds"] / 60} for entry in chain(1800)],  # short
        chain(1800, low=0.01),  # it helps
        chain(1800)[:2],  # nobody read it
        [*chain(0)[:1], record("transfer.finetune", 9)],
        [],
    ],
)
def test_a_pretext_that_was_worth_it_or_was_not_used(
    records: list[dict[str, Any]],
) -> None:
    assert on_time(records) == ""


def test_the_section_has_all_stages_that_say_something() -> None:
    records = [
        record("data_prep.prepare", 1),
        record("pretext.jigsaw", 1, verdicts=["it has learned <nothing>"]),
        record("transfer.finetune", 1, verdicts=[]),
    ]
    section = verdicts(records, ["column 'a' tells"])
    assert "<p>It has learned &lt;nothing&gt;.</p>" in section.body
    assert section.body.index("stacking.fit") < section.body.index("pretext.jigsaw")
    assert "transfer.finetune" not in section.body
    assert not verdicts(records[:1], []).body
