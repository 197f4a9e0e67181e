"""Tests of transfer.training.many_nets."""

import functools
import json
import logging
import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from data_prep.errors import UserError
from data_prep.executor_settings import VISIBLE
from data_prep.executors import run as executors
from data_prep.executors.pool import Pool
from data_prep.executors.progress import Report
from data_prep.executors.work import Outcome, Watcher, Work
from pretext import device
from pretext.device import visible_gpus
from tests.power_cut import PowerCutError
from tests.prepared_runs import finetune, make_run
from transfer.jobs import Job
from transfer.training import many_nets
from transfer.training.finetune_data import FinetuneData


@pytest.mark.parametrize(
    ("n_gpus", "visible", "expected"),
    [
        (0, "", [None, None, None]),
        (1, "", ["0", "0", "0"]),
        (2, "", ["0", "1", "0"]),
        (2, "3, GPU-7", ["3", "GPU-7", "3"]),
    ],
)
def test_gpus_are_dealt_in_turn(
    monkeypatch: pytest.MonkeyPatch,
    n_gpus: int,
    visible: str,
    expected: list[str | None],
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    if visible:
        monkeypatch.setenv(VISIBLE, visible)
    else:
        monkeypatch.delenv(VISIBLE, raising=False)
    pool = Pool(executor="processes", n_at_once=3, threads=1, gpus=visible_gpus())
    assert [slot.get(VISIBLE) for slot in pool.slots(9)] == expected


def test_nets_side_by_side_are_those_of_one_after_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    flags = ["--joint", "--columns=size", "--score-every=1"]
    whole = finetune(make_run(tmp_path / "whole", words=0), *flags)
    run = make_run(tmp_path / "run", words=0)

    def by_parcels(works: Sequence[Work], slots: object, table: Watcher) -> Outcome:
        """Do all but the second as processes would, which are slow to start."""
        assert slots == [{}, {}]
        results = {}
        for work in (works[0], works[2]):
            function = pickle.loads(pickle.dumps(work.function))
            table.begin(work.name)
            result = function(functools.partial(table.report, work.name))
            results[work.name] = result
            table.end(work.name, result.scores, "")
        return Outcome(results=results, failures={works[1].name: "too bright"})

    monkeypatch.setattr(executors, "run_side_by_side", by_parcels)
    message = (
        r"1 of 3 nets failed \(joint/fold1: too bright\); see .*fold1/logs/job.log;"
    )
    with pytest.raises(UserError, match=message):
        finetune(run, *flags, "--jobs=2")
    assert "3 nets, 2 at once on 1 threads each" in caplog.text
    assert "joint/fold0: epoch 1 of 1, loss" in caplog.text
    assert "joint/fold2: done, target_rmse" in caplog.text
    caplog.clear()
    monkeypatch.delattr(executors, "run_side_by_side")  # one is missing: no need of it
    folder = finetune(run, *flags, "--jobs=2")
    begun = [text for text in caplog.messages if "begins from" in text]
    assert len(begun) == 1
    assert begun[0].startswith("joint/fold1")
    records = [
        json.loads((made / "record.json").read_text()) for made in (whole, folder)
    ]
    assert records[0]["files"] == records[1]["files"]
    nets = [record["facts"]["nets"] for record in records]
    assert [net["held_out_scores"] for net in nets[0]] == [
        net["held_out_scores"] for net in nets[1]
    ]


def test_the_cores_are_shared_by_the_nets_unless_threads_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece of work is told its threads, and a net that is there has none."""
    threads: list[int] = []

    def spy(works: Sequence[Work], *_: object) -> Outcome:
        threads.extend(work.function.args[1].settings.threads for work in works)  # type: ignore[attr-defined]
        return Outcome(results={}, failures={works[0].name: "too bright"})

    monkeypatch.setattr(executors, "run_side_by_side", spy)
    monkeypatch.setattr(device, "USUAL_THREADS", 7)
    run = make_run(tmp_path, words=0)
    for flags in (("--jobs=2",), ("--jobs=2", "--threads=5"), ("--jobs=9",)):
        with pytest.raises(UserError, match="1 of 3 nets failed"):
            finetune(run, "--joint", "--threads=0", *flags)
    assert threads == [3, 3, 3, 5, 5, 5, 2, 2, 2]

    def stop(job: Job, data: FinetuneData, report: Report | None) -> None:
        del report
        threads.append(data.settings.threads)
        raise PowerCutError(job.path)

    # The only net that a killed run left is trained here, on its share all the same.
    monkeypatch.setattr(many_nets, "train_net", stop)
    done = {"0": {"fold": "0"}, "2": {"fold": "2"}}
    monkeypatch.setattr(many_nets, "finished_net", lambda job, _: done.get(job.fold))
    with pytest.raises(PowerCutError, match="joint/fold1"):
        finetune(run, "--joint", "--threads=0", "--jobs=3")
    assert threads[9:] == [2]
