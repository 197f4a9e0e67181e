"""Tests of pretext.networks.speeds: what is said while networks are timed."""

import logging
import time

import pytest

from data_prep.effort import NetworkSpeed
from pretext.networks import speeds, trial

SPEED = NetworkSpeed(picture_s=0.1, step_s=0.0, view_s=0.1, n_weights=1)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Time nothing: what takes how long is said by each test."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(speeds, "QUIET_S", 0.1)
    monkeypatch.setattr(speeds, "settle_waiting", lambda _: None)
    monkeypatch.setattr(speeds, "busy_cores", lambda: 0.0)


def take(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the timing of a network take that long."""

    def time_network(*_: str | int, **__: int) -> NetworkSpeed:
        time.sleep(seconds)
        return SPEED

    monkeypatch.setattr(trial, "time_network", time_network)


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_a_network_that_takes_a_while_to_time_is_named(
    seconds: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    take(seconds, monkeypatch)
    speed_of = speeds.speeds_of([1], is_timed=True)
    assert speed_of("resnet18", 64) == speed_of("resnet18", 64) == SPEED
    time.sleep(0.2)  # a timer that was not stopped would speak now
    expected = ["timing resnet18 at 64 px ..."] if seconds else []
    assert [record.getMessage() for record in caplog.records] == expected


def test_the_load_is_told_once_where_something_is_timed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    take(0.0, monkeypatch)
    monkeypatch.setattr(speeds, "busy_cores", lambda: 1.4)
    monkeypatch.setattr(speeds, "n_cores", lambda: 2)
    speeds.speeds_of([], is_timed=True)("resnet18", 64)
    speeds.speeds_of([1], is_timed=False)("resnet18", 64)
    assert not caplog.records  # nothing was timed
    speed_of = speeds.speeds_of([1], is_timed=True)
    for side_px in (32, 64):
        speed_of("resnet18", side_px)
    assert [record.getMessage() for record in caplog.records] == [
        "other programs keep 1.4 of 2 cores busy: the times of the plan count that in,"
        " and are shorter on an idle machine"
    ]
