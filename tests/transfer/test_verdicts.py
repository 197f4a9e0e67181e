"""Tests of the verdicts on a fine-tuning: numbers in, a sentence or nothing out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_prep.task_types.classes import Classes
from data_prep.task_types.regression import Regression
from data_prep.tasks import Task
from pretext.engine.history import History
from transfer.jobs import Job
from transfer.results.verdicts import (
    HeldOut,
    held_out,
    judge,
    label_of,
    on_constant,
    on_rates,
)
from transfer.settings import FinetuneSettings

N = 40
ROWS = np.arange(N)
Y = np.where(ROWS < 30, 0.0, 4.0)  # 4 in all of the last quarter


def numbers(y: np.ndarray = Y, name: str = "target") -> Task:
    return Task(
        name=name, task_type=Regression(), values=y[:, None],
        has_label=np.ones(N, bool), outputs=("",),
    )  # fmt: skip


def job_of(*tasks: Task, fold: str = "0") -> Job:
    return Job(
        net="target", fold=fold, tasks=tasks, train_idx=ROWS[::2], val_idx=ROWS[1::2]
    )


def score(value: float, constant: float, *, higher: bool = False) -> HeldOut:
    return HeldOut(
        name="target_rmse", score=value, constant=constant, higher_is_better=higher
    )


def test_the_constant_of_numbers_by_hand() -> None:
    # of the 20 training rows 5 are 4: the mean is 1; 15 errors of 1 and 5 of 3
    (pair,) = held_out(job_of(numbers()), {"held_out_scores": {"target_rmse": 1.5}})
    assert pair.constant == pytest.approx(np.sqrt((15 * 1 + 5 * 9) / 20))
    assert pair.is_gain


def test_the_constant_of_classes_is_the_most_frequent() -> None:
    y = np.where(ROWS < 30, 1.0, 0.0)
    task = Task(
        name="kind", task_type=Classes(), values=y[:, None], outputs=("0", "1"),
        has_label=np.ones(N, bool), classes=("a", "b"),
    )  # fmt: skip
    (pair,) = held_out(job_of(task), {"held_out_scores": {"kind_accuracy": 0.75}})
    assert pair.constant == 0.75
    assert pair.higher_is_better
    assert not pair.is_gain  # as good is no better


def test_the_constant_is_learned_from_the_training_rows() -> None:
    # 30 zeros and 2 fours: 0.25, where all that is held out are fours
    job = Job(
        net="target", fold="0", tasks=[numbers()], train_idx=ROWS[:32],
        val_idx=ROWS[32:],
    )  # fmt: skip
    (pair,) = held_out(job, {"held_out_scores": {"target_rmse": 1.5}})
    assert pair.constant == pytest.approx(3.75)


def test_a_net_without_a_held_out_score_has_no_pair() -> None:
    assert held_out(job_of(numbers()), {"held_out_scores": {}}) == []
    job = Job(net="target", fold="all", tasks=[numbers()], train_idx=ROWS,
              val_idx=ROWS[:0])  # fmt: skip
    assert held_out(job, {"held_out_scores": {}}) == []


def test_no_better_than_the_constant_in_the_mean() -> None:
    (verdict,) = on_constant([score(1.1, 1.0), score(0.95, 1.0), score(1.0, 1.0)])
    assert verdict.startswith(
        "target_rmse: no better than a constant: 1.0167 on held-out folds, and always"
        " the same answer gets 1.0000 (worse in 2 of 3 folds); train longer"
    )
    assert on_constant([score(0.9, 1.0), score(1.05, 1.0)]) == []
    assert on_constant([score(0.8, 0.7, higher=True)]) == []
    assert len(on_constant([score(0.7, 0.8, higher=True)])) == 1
    assert on_constant([]) == []


def test_rates_of_several_nets_are_one_sentence() -> None:
    rates = {"target/fold0": "", "target/fold1": "too high", "date/fold0": "too high"}
    assert on_rates(rates) == "target/fold1, and so in 2 of 3 nets: too high"
    assert on_rates({"target/fold0": ""}) == ""


def test_all_of_a_stage(tmp_path: Path) -> None:
    job = job_of(numbers(ROWS / 7.0))
    history = History(tmp_path / job.path / "logs" / "epochs.csv")
    for epoch, loss in enumerate([1.0, 0.5, 0.5, 0.5, 0.9, 0.9, 0.9], start=1):
        history.add(epoch, {"loss": loss})
    table = pd.DataFrame(
        {"fold": ROWS % 2, "image_row": ROWS, "given.price": 3 * ROWS,
         "given.other": ROWS % 5}
    )  # fmt: skip
    net = {"place": job.path, "held_out_scores": {"target_rmse": 2.0}}
    settings = FinetuneSettings(columns=("price", "other"))
    constant, rate, column = judge([net], [job], settings, table=table, folder=tmp_path)
    assert "no better than a constant: 2.0000" in constant
    assert rate.startswith("target/fold0, and so in 1 of 1 nets: the loss rises")
    assert column.startswith("column 'price' alone tells the target (R2 1.00")


def test_labels_by_the_name_of_their_task() -> None:
    assert label_of(numbers()).name == "the target"
    assert label_of(numbers(name="width")).name == "width"
