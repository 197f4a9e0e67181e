"""Tests of benchmarks.optimism: what is held out there stays held out."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from benchmarks.optimism import (
    HONEST,
    LEAKY,
    PLAIN,
    Labelled,
    ProcedurePredictions,
    memorised,
    table_of,
)
from benchmarks.optimism_nets import ARMS, PAIRS, QUARTERS, name_of, plan_jobs
from data_prep.task_types.regression import Regression
from data_prep.tasks import Task
from stacking.inputs.data import Column

N = 120
QUARTER = np.arange(N) // 2 % 4
COLUMNS = (
    Column(name="target__mean", task="target", output="", statistic="mean"),
    Column(name="target__max", task="target", output="", statistic="max"),
)


def labelled() -> Labelled:
    """Rows whose outputs tell which pair's net spoke of which row."""
    table = pd.DataFrame(
        {
            "id": [f"p{row:03d}" for row in range(N)],
            "fold": QUARTER,
            "target": np.arange(N) % 4.0,
            "class_index": np.arange(N) % 4,
            "cv_group": np.arange(N) // 2,
            "image_row": np.arange(N),
        }
    )
    outputs = {
        pair: np.column_stack([np.arange(N), np.full(N, float(number))])
        for number, pair in enumerate(PAIRS)
    }
    metadata = {"target_range": [0, 3], "classes": [0, 1, 2, 3], "fold_hash": "3f2a"}
    return Labelled(table, metadata, COLUMNS, outputs)


def test_a_net_for_each_pair_of_quarters() -> None:
    assert set(PAIRS) == {frozenset(pair) for pair in combinations(range(4), 2)}
    assert [name_of(pair) for pair in PAIRS] == ["01", "02", "03", "12", "13", "23"]


@pytest.mark.parametrize("arm", ARMS)
def test_nets_learn_from_no_row_of_their_pair(arm: str) -> None:
    table = labelled().table
    every = np.ones(N, dtype=bool)
    tasks = [
        Task(
            name=name,
            task_type=Regression(),
            outputs=("",),
            values=np.zeros((N, 1), dtype=np.float32),
            has_label=every,
        )
        for name in ("target", "onehot")
    ]
    jobs = plan_jobs(table, tasks, ARMS[arm])
    assert len(jobs) == len(PAIRS) * len(ARMS[arm].nets)
    for job in jobs:
        pair = {int(digit) for digit in str(job.fold)}
        assert set(QUARTER[job.train_idx]) == set(QUARTERS) - pair
        assert set(QUARTER[job.val_idx]) == pair


@pytest.mark.parametrize("held_out", QUARTERS)
def test_the_quarter_that_is_held_out_is_seen_by_no_net_and_no_stack(
    held_out: int,
) -> None:
    data = labelled().without(held_out, "insample")
    own = np.array([int(id_[1:]) for id_ in data.info.ids])
    assert set(QUARTER[own]) == set(QUARTERS) - {held_out}
    assert data.rows.X[:, 0].tolist() == own.tolist()
    others = [quarter for quarter in QUARTERS if quarter != held_out]
    # each row is spoken of by the net that saw neither its quarter nor the held-out one
    for (row, fold), speaker in zip(
        zip(own, data.rows.folds, strict=True), data.rows.X[:, 1], strict=True
    ):
        assert others[fold] == QUARTER[row]
        assert PAIRS[int(speaker)] == {held_out, QUARTER[row]}
    asked = np.array([int(id_[1:]) for id_ in data.common.ids])
    assert set(QUARTER[asked]) == {held_out}
    for other, net in zip(others, data.common.nets, strict=True):
        assert net[:, 0].tolist() == asked.tolist()
        assert {PAIRS[int(speaker)] for speaker in net[:, 1]} == {
            frozenset((held_out, other))
        }
    for fold, seen in enumerate(data.in_sample):
        assert set(QUARTER[own[seen.idx]]) == set(others) - {others[fold]}
        assert {PAIRS[int(speaker)] for speaker in seen.X[:, 1]} == {
            frozenset((held_out, others[fold]))
        }


def test_what_nets_know_of_rows_that_they_learned_by_hand() -> None:
    some = labelled()
    target = some.target
    for pair, outputs in some.outputs.items():
        is_other = np.isin(QUARTER, list(pair))
        outputs[:, 0] = np.where(is_other, (target + 2) % 4, target)
    assert_allclose(memorised(some), (0, 2))


def test_optimism_is_above_zero_where_cross_validation_promised_too_much() -> None:
    some = labelled()
    target = some.target
    found = {
        title: ProcedurePredictions(
            *(np.tile(target + 1, (3, 1)).T for _ in range(2)), target + 1
        )
        for title in (PLAIN, *LEAKY, *HONEST)
    }
    right = np.tile(target, (3, 1)).T
    found[LEAKY[0]] = ProcedurePredictions(right + 0.5, right + 1.5, target + 0.25)
    (line,) = [
        line for line in table_of(some, found).splitlines() if f"| {LEAKY[0]}" in line
    ]
    cells = [cell.strip() for cell in line.split("|")][1:-1]
    assert cells[1:3] == ["0.5000", "1.5000"]
    assert cells[3].startswith("+1.0000 ")
    assert cells[4].startswith("+0.5000 ")
    assert cells[5] == "0.2500"
    assert cells[6].startswith("-0.7500 ")
