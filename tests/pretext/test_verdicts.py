"""Tests of the verdicts on a pretraining: numbers in, a sentence or nothing out."""

import logging
import math
from collections.abc import Callable

import numpy as np
import pytest

from data_prep.run_folders.runs import Run
from data_prep.scoring.scores import Interval
from pretext import jigsaw
from pretext.engine.rate_verdict import losses_of, on_rate
from pretext.evaluation.verdicts import on_chance, on_probe, wilson
from pretext.jigsaw import JigsawSettings
from pretext.rotation import RotationSettings
from pretext.simsiam import SimSiamSettings

BETTER = Interval(value=0.2, low=0.1, high=0.3)
WORSE = Interval(value=-0.2, low=-0.3, high=-0.1)
EITHER = Interval(value=0.01, low=-0.02, high=0.04)
UNKNOWN = Interval(value=math.nan, low=math.nan, high=math.nan)


# The learning rate.


def rate(losses: list[float], warmup: float = 0.1) -> str:
    return on_rate(losses, warmup=warmup, learning_rate=0.003)


def test_a_falling_loss_says_nothing() -> None:
    assert rate([2.0, 1.5, 1.2, 1.0, 0.9, 0.85]) == ""


def test_a_flat_loss_with_noise_says_nothing() -> None:
    rng = np.random.default_rng(0)
    flat = [[*(2.197 + rng.normal(0, 0.01, 20))] for _ in range(200)]
    assert sum(rate(losses) != "" for losses in flat) <= 4


def test_a_loss_that_rises_after_the_warm_up() -> None:
    losses = [1.0, 0.5, 0.6, 0.6, 0.8, 0.8]
    assert rate(losses, warmup=0.3) == (
        "the loss rises after the warm-up, from 0.6000 to 0.8000 in the mean of the"
        " later epochs: learning_rate = 0.003 is too high; try --learning-rate 0.001,"
        " or let --find-lr suggest one"
    )
    assert rate([-1.0, *losses[1:]], warmup=0.3)  # what lies below zero has no tenth


def test_a_jump_that_the_schedule_made_good_is_seen() -> None:
    losses = [1.0, 1.8, 1.5, 1.2, 1.05, 1.0]
    assert "was 1.0000 in the first epoch and 1.8000 in epoch 2" in rate(losses)
    assert rate([1.0, 1.2, 0.9, 0.8, 0.7, 0.6]) == ""  # a single one may be luck


def test_of_few_epochs_nothing_is_said() -> None:
    assert rate([1.0, 2.0, 3.0]) == ""


def test_losses_are_read_in_the_order_of_the_epochs() -> None:
    assert losses_of({2: {"loss": 1.0}, 1: {"loss": 3.0}, 3: {"step": 9}}) == [3.0, 1.0]


# Chance.


def test_wilson_by_hand() -> None:
    # 10 of 100: (0.1 + 0.0192) / 1.0384 -+ 1.96 * sqrt(0.0009 + 0.000096) / 1.0384
    assert wilson(0.1, 100) == pytest.approx((0.0552, 0.1744), abs=2e-4)
    assert wilson(0.0, 10)[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("accuracy", "n", "expected"),
    [
        (0.115, 4599, "next to nothing: 11.5% of 4,599 held-out answers are right"),
        (0.14, 45, "cannot be told: 14.0% of 45 held-out answers"),
        (0.14, 4599, "next to nothing"),  # surely above chance, and hardly
        (0.6, 4599, ""),
        (0.3, 90, ""),
    ],
)
def test_a_pretext_near_chance(accuracy: float, n: int, expected: str) -> None:
    verdict = on_chance(accuracy, n, 1 / 9)
    if not expected:
        assert verdict == ""
    else:
        assert expected in verdict
        assert "guessing gets 11.1%" in verdict


@pytest.mark.parametrize(("accuracy", "n"), [(0.115, 4599), (0.14, 45)])
def test_what_helps_has_learned_something(accuracy: float, n: int) -> None:
    verdict = on_chance(accuracy, n, 1 / 9, helps=True)
    assert verdict.startswith(f"its questions are hardly answered yet: {accuracy:.1%}")
    assert "learned" not in verdict
    assert on_chance(0.6, n, 1 / 9, helps=True) == ""


def test_what_guessing_gives() -> None:
    places = JigsawSettings().questions
    assert (places.per_picture, places.chance) == (9, 1 / 9)
    orders = JigsawSettings(form="orders").questions
    assert (orders.per_picture, orders.chance) == (1, 0.01)
    assert RotationSettings().questions.chance == 0.25
    assert SimSiamSettings().questions is None  # nothing is right or wrong


# The probe.


def test_a_probe_that_helps() -> None:
    verdict = on_probe({"target": BETTER, "date": EITHER}, 60)
    assert verdict == (
        "it helps, so keep it: its features tell target better (+0.200, 95 %: +0.100 to"
        " +0.300) than the first weights"
    )


def test_a_probe_that_hurts_or_does_nothing_says_what_was_spent() -> None:
    hurts = on_probe({"target": WORSE}, 90)
    assert hurts.startswith("it hurts: its features tell target worse (-0.200")
    assert "90 s were spent for nothing" in hurts
    idle = on_probe({"target": EITHER}, 600)
    assert idle.startswith(
        "it does not surely help: its features tell the labels no better than the first"
        " weights (target (+0.010, 95 %: -0.020 to +0.040)); 10 min"
    )
    assert "10 min were spent for nothing" in idle
    assert 'init = "timm:NAME"' in idle


def test_without_an_interval_there_is_no_verdict() -> None:
    assert on_probe({}, 1) == ""
    assert on_probe({"target": UNKNOWN}, 1) == ""


# In a run.


def test_the_verdicts_are_told_and_recorded(
    prepared_run: Callable[..., Run], caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO)
    run = prepared_run(n=60)
    monkeypatch.chdir(run.folder)
    flags = ["--backbone=test_resnet", "--batch-size=8", "--epochs=1", "--threads=1"]
    jigsaw.main([f"--run={run.folder}", *flags, "--health-every=1"])
    verdicts = run.finished(jigsaw.STAGE).metadata["verdicts"]
    assert "27 held-out answers" in verdicts[0]
    assert " than the first weights" in verdicts[1] or "no better than" in verdicts[1]
    assert verdicts[1].startswith("it helps") != ("learned" in verdicts[0])
    for verdict in verdicts:
        assert f"pretext.jigsaw: {verdict}" in caplog.text
