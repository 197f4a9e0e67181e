"""Tests of data_prep.processes."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_prep import processes
from data_prep.processes import in_processes, pool_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("", 8)],
)
def test_cores_are_those_that_a_container_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: int
) -> None:
    quota = tmp_path / "cpu.max"
    if text:
        quota.write_text(text)
    monkeypatch.setattr(processes, "CPU_QUOTA", quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert processes.n_cores() == expected


def test_an_error_drops_what_has_not_begun() -> None:
    began = time.perf_counter()

    def fail() -> None:
        with pool_of(1) as pool:
            naps = [pool.submit(time.sleep, 0.1) for _ in range(300)]
            naps[0].result()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert time.perf_counter() - began < 20


def test_calls_come_back_in_order_and_no_more_are_made_than_are_taken() -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(200):
            taken.append(number)
            yield number

    results = in_processes(
        max, numbers(), [50] * 200, n_processes=2, chunk=3, remedy="--workers 1"
    )
    assert next(results) == 50
    assert len(taken) <= 3 * 2 * processes.CHUNKS_AHEAD + 1
    assert [*results] == [50] * 50 + [*range(51, 200)]
