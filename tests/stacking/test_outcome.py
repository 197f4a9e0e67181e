"""Tests of stacking.outcome: what is said at the end of a run."""

import logging
from pathlib import Path
from typing import Any

import pytest

from data_prep.run_folders.runs import Run
from stacking.outcome import log_outcome

SCORES = {
    "metric": "log_loss",
    "score": 0.4567,
    "interval": [0.4, 0.5],
    "constant": 1.1,
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "runs" / "leaves")


def finish(run: Run, stage: str, settings: dict[str, Any], **metadata: Any) -> None:
    """Write a finished stage with nothing in it."""
    with run.stage(stage, settings) as made:
        made.metadata = metadata


def told(run: Run, stages: list[str], caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.INFO, "stacking.outcome"):
        log_outcome(run, stages)
    return [record.getMessage() for record in caplog.records]


def test_features_alone_are_looked_at_and_may_be_worth_nothing(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    stages = ["pretext.jigsaw", "features.extract"]
    finish(run, "features.extract", {"source": "pretext.jigsaw"})
    alike, worth = told(run, stages, caplog)
    assert alike.endswith(f": python -m features.similar --run {run.folder}")
    assert worth.startswith("these features may be no better than those of random w")
    assert f"python -m pretext.probe --run {run.folder} does" in worth
    finish(run, "pretext.probe", {})
    assert told(run, stages, caplog) == [alike]  # now somebody has measured it


def test_features_of_ready_weights_are_not_doubted(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    finish(run, "features.extract", {"source": "timm:resnet18.a1_in1k"})
    (alike,) = told(run, ["features.extract"], caplog)
    assert "features.similar" in alike


@pytest.mark.parametrize("is_led_by_share", [True, False])
def test_of_classes_the_accuracy_is_said_first(
    run: Run, caplog: pytest.LogCaptureFixture, is_led_by_share: bool
) -> None:
    shares = {"accuracy": [0.834, 0.8, 0.87], "most_frequent": ["oak", 0.31]}
    finish(run, "stacking.fit", {}, **SCORES, **(shares if is_led_by_share else {}))
    finish(run, "features.extract", {"source": "pretext.jigsaw"})
    lines = told(run, ["features.extract", "stacking.fit"], caplog)
    score = (
        "log_loss 0.4567 (95 % interval 0.4000 to 0.5000, by groups; constant 1.1000)"
    )
    first = (
        "accuracy 83.4% (95 % interval 80.0% to 87.0%, by groups; always oak, the most"
        " frequent class: 31.0%)"
    )
    assert lines == ([first, score] if is_led_by_share else [score])
