"""Tests of transfer.tune and transfer.search."""

import csv
import logging
import math
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_prep.errors import UserError
from data_prep.executors import run as executors
from data_prep.executors.pool import Pool
from data_prep.executors.progress import Progress, Report
from data_prep.prepared import PREPARED, Prepared
from data_prep.run_folders.runs import Run
from pretext.engine.module import DivergedError
from tests.executors.far import Parcels
from tests.prepared_runs import elsewhere, make_run
from transfer import finetune
from transfer.jobs import hide_labels, plan
from transfer.search import trials as made_trials
from transfer.search.recipe_report import RecipeReport
from transfer.search.recipe_search import search, space_around
from transfer.search.trials import Draft, Judge, Trial, TrySettings
from transfer.settings import FinetuneSettings
from transfer.training import train_net
from transfer.training.finetune_data import FinetuneData
from transfer.tune import TuneSettings, main

TABLE = """
[transfer.finetune]
backbone = "test_resnet"
init = "scratch"
joint = true
epochs = 6
batch_size = 4
threads = 1
precision = "fp32"
"""
USUAL = FinetuneSettings(init="scratch", epochs=4)


def bowl(tried: FinetuneSettings) -> float:
    """Stand in for a training: 0 at ten times the usual rate, without dropout."""
    seed = 0.01 * (tried.seed - USUAL.seed)
    return abs(math.log10(tried.learning_rate / 0.01)) + tried.dropout + seed


class Trainer:
    """Scores by a formula, half of the way at the first epochs; may be killed."""

    def __init__(self, killed_at: int = 0) -> None:
        self.killed_at = killed_at
        self.tried: list[FinetuneSettings] = []

    def __call__(self, draft: Draft, judge: Judge, report: Report) -> str:
        number, tried = draft.number, draft.settings
        self.tried.append(tried)
        for epoch in range(1, tried.epochs + 1):
            if number == self.killed_at and epoch == 2:
                raise KeyboardInterrupt
            left_s = 60.0 * (tried.epochs - epoch)
            report(
                Progress(
                    step=2 * epoch,
                    n_steps=8,
                    epoch=epoch,
                    n_epochs=4,
                    seconds_left=left_s,
                    is_epoch_end=epoch == 2,
                )
            )
            if not judge(epoch, {"target_rmse": bowl(tried) + 1 / epoch}):
                return "worse than the median"
        return ""


HERE = Pool(executor="here", n_at_once=1, threads=1)


def searched(
    journal: Path,
    trainer: TrySettings,
    n_trials: int = 16,
    *,
    pool: Pool = HERE,
    round_size: int = 2,
) -> list[Trial]:
    journal.parent.mkdir(exist_ok=True)
    return search(
        trainer,
        USUAL,
        space_around(USUAL, 100),
        n_trials=n_trials,
        higher_is_better=False,
        journal=journal,
        round_size=round_size,
        pool=pool,
    )


def report_of(trials: Sequence[Trial], **changes: Any) -> RecipeReport:
    usual = RecipeReport(trials=trials, higher_is_better=False, fold=0, epochs=4)
    return replace(usual, **changes)


def but_seconds(trials: Sequence[Trial]) -> list[Trial]:
    return [replace(trial, seconds=0.0) for trial in trials]


def test_a_search_finds_what_is_better_and_stops_what_is_worse(tmp_path: Path) -> None:
    trainer = Trainer()
    trials = searched(tmp_path / "trials.log", trainer)
    usual = {"learning_rate": 1e-3, "weight_decay": 0.05, "batch_size": 32}
    usual |= {"dropout": 0.2, "min_area": 0.6}
    assert trials[0].recipe == trials[1].recipe == usual
    assert [tried.seed for tried in trainer.tried[:3]] == [0, 1, 0]
    for trial, tried in zip(trials, trainer.tried, strict=True):
        assert trial.recipe == {name: getattr(tried, name) for name in usual}
        assert trial.score == pytest.approx(bowl(tried) + 1 / trial.epochs)
        assert (trial.epochs < USUAL.epochs) == (trial.ended != "")
    assert len({str(trial.recipe) for trial in trials}) == 15
    assert {"", "worse than the median"} == {trial.ended for trial in trials}
    assert report_of(trials).ranked[0].score < trials[0].score - 0.2


@pytest.mark.parametrize("killed_at", [1, 2, 7])
def test_a_search_that_was_killed_goes_on_as_if_it_was_not(
    tmp_path: Path, killed_at: int
) -> None:
    whole = searched(tmp_path / "whole" / "trials.log", Trainer(), 8)
    journal = tmp_path / "killed" / "trials.log"
    with pytest.raises(KeyboardInterrupt):
        searched(journal, Trainer(killed_at), 8)
    trainer = Trainer()
    assert but_seconds(searched(journal, trainer, 8)) == but_seconds(whole)
    assert len(trainer.tried) == 9 - killed_at
    assert searched(journal, Trainer(killed_at=1), 8) == searched(journal, trainer, 8)


@pytest.mark.parametrize(("n_at_once", "round_size"), [(2, 2), (3, 5)])
def test_trials_side_by_side_are_those_of_one_after_another(
    tmp_path: Path,
    n_at_once: int,
    round_size: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    journal = tmp_path / "whole" / "trials.log"
    whole = searched(journal, Trainer(), 12, round_size=round_size)
    assert len({trial.ended for trial in whole}) == 2
    pool = Pool(executor="processes", n_at_once=n_at_once, threads=1)
    parcels = Parcels(tmp_path / "node", ["trial 8"])
    monkeypatch.setattr(executors, "run_side_by_side", parcels)
    journal = tmp_path / "killed" / "trials.log"
    options: dict[str, Any] = {"round_size": round_size, "pool": pool}
    with pytest.raises(UserError, match=r"failed \(trial 8: too bright\); see .*\.log"):
        searched(journal, Trainer(), 12, **options)
    n_begun, parcels.failing = len(parcels.begun), ()
    trials = searched(journal, Trainer(), 12, **options)
    assert but_seconds(trials) == but_seconds(whole)
    again = [folder.name for folder in journal.parent.glob("logs/trial*")]
    assert (n_begun, len(again)) == (6 + round_size, 12)
    assert f"6 trials, {n_at_once} at once on 1 threads each" in caplog.text
    more = searched(journal, Trainer(), 14, **options)
    assert but_seconds(more)[:12] == but_seconds(whole)
    later = searched(
        tmp_path / "later" / "trials.log", Trainer(), 14, round_size=round_size
    )
    assert but_seconds(more) == but_seconds(later)


def test_what_is_made_of_a_round_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(executor="processes", n_at_once=2, threads=1)
    parcels = Parcels(tmp_path / "node", ["trial 4"])
    monkeypatch.setattr(executors, "run_side_by_side", parcels)
    journal = tmp_path / "trials.log"
    with pytest.raises(UserError, match="1 of 6 trials failed"):
        searched(journal, Trainer(), 6, pool=pool)
    trainer = Trainer()
    assert len(searched(journal, trainer, 6)) == 6
    assert len(trainer.tried) == 1


def test_what_has_no_score_is_last_and_the_time_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    class Failing(Trainer):
        def __call__(self, draft: Draft, judge: Judge, report: Report) -> str:
            if draft.number == 3:
                return "diverged"
            if draft.number == 4:
                judge(1, {"target_rmse": math.nan})
                return ""
            return super().__call__(draft, judge, report)

    trials = searched(tmp_path / "trials.log", Failing(), 5)
    ended = [trial.ended for trial in trials]
    assert ended == ["", "", "diverged", "no score", ""]
    assert [math.isnan(trial.score) for trial in trials[2:]] == [True, True, False]
    (told,) = [m for m in caplog.messages if "trials, less" in m]
    assert told.startswith("about 10 minutes for 5 trials")  # two of four epochs left
    assert caplog.messages[-1].startswith("trial 5: target_rmse ")
    assert "trial 3: diverged by learning_rate" in caplog.text


def tune(run: Run, *flags: str) -> Path:
    with elsewhere(run):
        return main([f"--run={run.folder}", "--epochs=2", *flags])


def table_in(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Make a run with a search of three trials."""
    run = make_run(tmp_path_factory.mktemp("tuned"), experiment=TABLE)
    tune(run, "--trials=3")
    return run


def test_the_answer_is_there_to_paste(finished: Run) -> None:
    folder = finished.folder / "transfer.tune"
    rows = table_in(folder)
    best = min(rows, key=lambda row: float(row["score"]))
    lines = tomllib.loads((folder / "best.toml").read_text())["transfer"]["finetune"]
    assert {name: str(value) for name, value in lines.items()} == {
        name: value for name, value in best.items() if name in lines
    }
    assert set(lines) == {
        *("learning_rate", "weight_decay", "batch_size", "dropout", "min_area")
    }
    FinetuneSettings(**lines)
    assert [row["epochs"] for row in rows] == ["2", "2", "2"]
    assert rows[0]["score"] != rows[1]["score"]  # another seed
    assert not list(folder.rglob("*.safetensors")) + list(folder.rglob("*.ckpt"))


def test_trainings_side_by_side_are_those_of_one_after_another(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parcels = Parcels(tmp_path / "node")
    monkeypatch.setattr(executors, "run_side_by_side", parcels)
    run = make_run(tmp_path / "run", experiment=TABLE)
    folder = tune(run, "--trials=3", "--jobs=2")
    assert parcels.begun == ["trial 3", "trial 2", "trial 1"]
    assert table_in(folder) == table_in(finished.folder / "transfer.tune")
    assert not list(folder.rglob("*.ckpt"))


def test_a_trial_is_what_the_stage_would_train(finished: Run) -> None:
    (score, *_) = [row["score"] for row in table_in(finished.folder / "transfer.tune")]
    flags = ["--epochs=2", "--select=inner", "--inner-share=0.25", "--folds=0"]
    with elsewhere(finished):
        folder = finetune.main([f"--run={finished.folder}", *flags])
    with (folder / "joint/fold0/logs/choice.csv").open(newline="") as file:
        *_, last = csv.DictReader(file)
    assert float(last["target_rmse"]) == pytest.approx(float(score), abs=1e-6)


def test_labels_of_the_held_out_fold_change_no_trial(
    finished: Run, tmp_path: Path
) -> None:
    run = make_run(tmp_path, experiment=TABLE, relabelled_fold=0)
    folder = tune(run, "--trials=3")
    assert table_in(folder) == table_in(finished.folder / "transfer.tune")


def test_no_label_but_those_of_the_inner_rows_is_at_hand(finished: Run) -> None:
    prepared = Prepared.open(finished.finished(PREPARED))
    tasks = prepared.tasks({}, [])
    settings = FinetuneSettings(joint=True, batch_size=4, select="inner", folds=("0",))
    (job,) = plan(prepared.table, tasks, settings, 3)
    hidden = hide_labels(job)
    rows = np.concatenate([job.train_idx, job.choice_idx])
    others = np.setdiff1d(np.arange(len(prepared.table)), rows)
    assert (prepared.table["fold"].to_numpy()[others] == 0).sum() == 8
    assert len(hidden.val_idx) == 0
    for before, task in zip(tasks, hidden.tasks, strict=True):
        assert not task.has_label[others].any()
        assert not task.values[others].any()
        assert (task.has_label[rows] == before.has_label[rows]).all()
        assert (task.values[rows] == before.values[rows]).all()


def killed_at(monkeypatch: pytest.MonkeyPatch, number: int) -> list[int]:
    """Kill a search as it begins with a training; give how many it began."""
    begun: list[int] = []
    train = train_net.train

    def may_be_killed(*args: Any, **options: Any) -> Any:
        begun.append(len(begun) + 1)
        if len(begun) == number:
            raise KeyboardInterrupt
        return train(*args, **options)

    monkeypatch.setattr(train_net, "train", may_be_killed)
    return begun


def test_a_search_goes_on_and_is_not_mixed_with_another(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path, experiment=TABLE)
    killed_at(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        tune(run, "--trials=3")
    with pytest.raises(UserError, match=r"begun with fold = 0 and not 1; give that to"):
        tune(run, "--trials=3", "--fold=1")
    file = run.folder / "experiment.toml"
    text = file.read_text()
    file.write_text(text + "dropout = 0.3\n")
    message = r"begun with \[transfer.finetune\] dropout = 0.2 and not 0.3; give that"
    with pytest.raises(UserError, match=message):
        tune(run, "--trials=3")
    file.write_text(text)
    begun = killed_at(monkeypatch, 0)
    rows = table_in(tune(run, "--trials=3"))
    assert begun == [1, 2]
    assert rows == table_in(finished.folder / "transfer.tune")
    more = table_in(tune(run, "--trials=4"))  # go on with a finished one
    assert begun == [1, 2, 3]
    assert more[:3] == rows
    assert len(table_in(tune(run, "--trials=3"))) == 4
    assert begun == [1, 2, 3]


def test_what_is_stopped_or_fails_is_told(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished.folder / PREPARED, tmp_path / PREPARED)
    for name in ("experiment.toml", "run.json"):
        shutil.copy(finished.folder / name, tmp_path)
    run, errors = Run(tmp_path), [DivergedError("too high"), torch.OutOfMemoryError()]
    train = train_net.train
    judged: list[int] = []

    def failing(*args: Any, **options: Any) -> Any:
        if errors:
            raise errors.pop()
        return train(*args, **options)

    def strict(trial: Any, n_epochs: int) -> Judge:
        assert n_epochs == 2

        def judge(epoch: int, scores: Mapping[str, float]) -> bool:
            judged.append(epoch)
            trial.report(next(iter(scores.values())), epoch)
            return False

        return judge

    monkeypatch.setattr(train_net, "train", failing)
    monkeypatch.setattr(made_trials, "_judge", strict)
    message = r"none of the 3 trials came to its end \(the first: too little memory\)"
    with pytest.raises(UserError, match=message):
        tune(run, "--trials=3", "--task=onehot")
    assert judged == [1]  # of two epochs


def test_what_is_better_may_be_higher(finished: Run) -> None:
    rows = table_in(tune(finished, "--trials=3", "--task=onehot", "--epochs=1"))
    best = max(float(row["score"]) for row in rows)
    text = (finished.folder / "transfer.tune" / "best.toml").read_text()
    assert f"onehot_accuracy {best:.4f}" in text.partition("\n")[0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--fold=3", r"^fold = 3: give 0 to 2$"),
        ("--task=targt", r"^task = 'targt': no such task; did you mean 'target'\?"),
        ("--inner-share=0.9", r"joint/fold0 after inner_share = 0.9 has only 2"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_trained(
    finished: Run, flags: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FinetuneData, "open", None)
    with pytest.raises(UserError, match=message):
        tune(finished, flags)


def test_a_run_without_folds_has_nothing_to_hold_out(tmp_path: Path) -> None:
    run = make_run(tmp_path, n_folds=0, experiment=TABLE)
    with pytest.raises(UserError, match="the run has no folds, so nothing is held out"):
        tune(run)
    with pytest.raises(UserError, match="trials = 2: give 3 or more"):
        tune(run, "--trials=2")


@pytest.mark.parametrize(
    ("options", "epochs", "expected"),
    [
        ({"epochs": 30}, 0, (10, 0)),
        ({"epochs": 4}, 0, (2, 0)),
        ({"epochs": 30}, 7, (7, 0)),
        ({"steps": 61, "epochs": 1}, 0, (7, 0)),  # 20.3 epochs of 3 steps
        ({"epochs": 30, "train": "head", "unfreeze_after": 9}, 0, (10, 3)),
        ({"epochs": 30, "train": "head", "unfreeze_after": 29}, 2, (2, 1)),
        ({"epochs": 30, "train": "head", "unfreeze_after": 1}, 3, (3, 1)),
        ({"epochs": 30, "train": "head", "unfreeze_after": 1}, 1, (1, 0)),
    ],
)
def test_a_trial_is_a_third_as_long(
    options: dict[str, Any], epochs: int, expected: tuple[int, int]
) -> None:
    base = FinetuneSettings(**options)
    whole = TuneSettings(epochs=epochs).of_fold(base, ())
    usual = TuneSettings(epochs=epochs).shortened(whole, 100)
    assert (usual.epochs, usual.unfreeze_after) == expected
    assert usual.total_steps(100) == 3 * usual.epochs


@pytest.mark.parametrize(("last_plain", "expected"), [(0, 0), (1, 1), (6, 2), (29, 9)])
def test_a_trial_ends_plain_for_as_long_a_part(last_plain: int, expected: int) -> None:
    whole = FinetuneSettings(epochs=30, mix="mixup", mix_last_plain=last_plain)
    usual = TuneSettings().shortened(whole, 100)
    assert (usual.epochs, usual.mix_last_plain) == (10, expected)


def test_the_space_is_around_what_is_usual() -> None:
    base = FinetuneSettings(batch_size=24, weight_decay=0, dropout=0.6, min_area=0.1)
    space = space_around(base, 40)
    assert set(space) == {"learning_rate", "batch_size", "dropout", "min_area"}
    assert space["batch_size"].choices == (16, 24, 32)  # type: ignore[attr-defined]
    for name, distribution in space.items():
        value = getattr(base, name)
        assert distribution._contains(distribution.to_internal_repr(value))
    halves = replace(base, accumulate=2)
    sizes = space_around(halves, 50)["batch_size"]
    assert sizes.choices == (16, 24)  # type: ignore[attr-defined]


def tried(number: int, score: float, ended: str = "") -> Trial:
    return Trial(
        number=number,
        recipe={"learning_rate": 0.001 * number, "batch_size": 32},
        metric="target_rmse",
        score=score,
        epochs=4,
        seconds=61.4,
        ended=ended,
    )


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.5, 0.52, 0.55], "no trial was better than the settings as they are; keep"),
        ([0.5, 0.52, 0.495], "a lead of 0.0150 is no more than the seed changes (0.02"),
        ([0.5, 0.52, 0.4, 0.41], "the next are behind by 0.0100, 0.1000, 0.1200; whi"),
        ([math.nan, 0.52, 0.4], "the settings as they are did not come to their end"),
    ],
)
def test_how_much_of_the_lead_is_luck_is_told(
    scores: Sequence[float], expected: str
) -> None:
    trials = [
        tried(number, score, "" if math.isfinite(score) else "diverged")
        for number, score in enumerate(scores, start=1)
    ]
    report = report_of(trials)
    assert expected in "\n".join(report.verdict())
    assert ("no more than" in report.toml()) == ("no more than" in expected)
    best = min(trials, key=lambda t: math.inf if t.ended else t.score)
    lines = tomllib.loads(report.toml())["transfer"]["finetune"]
    assert lines == best.recipe
    head, first, *_ = report.text().splitlines()
    assert head.split()[:3] == ["trial", "target_rmse", "learning_rate"]
    assert first.split()[0] == str(best.number)
    assert "diverged" not in first


def test_of_scores_that_should_be_high_the_highest_is_best() -> None:
    trials = [tried(1, 0.5), tried(2, 0.6), tried(3, 0.7), tried(4, 0.7)]
    assert report_of(trials, higher_is_better=True).ranked[0].number == 3
    assert report_of(trials).ranked[0].number == 1
