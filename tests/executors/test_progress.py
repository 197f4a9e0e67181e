"""Tests of data_prep.executors.progress."""

import pytest

from data_prep.executors.progress import Count, Progress


def test_what_an_earlier_attempt_did_does_not_make_it_look_fast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Progress] = []
    moment = [100.0]
    monkeypatch.setattr(
        "data_prep.executors.progress.time.monotonic", lambda: moment[0]
    )
    count = Count(told.append, 40)
    count(20)  # of the earlier one
    moment[0] += 5
    count(5)
    moment[0] += 0.1  # only just told
    count(5)
    count(10)
    assert [(p.step, p.seconds_left) for p in told] == [(25, 15.0), (40, 0.0)]
