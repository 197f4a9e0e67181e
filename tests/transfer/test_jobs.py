"""Tests of transfer.jobs."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.errors import UserError
from data_prep.folds import fold_masks
from data_prep.prepared import Prepared
from data_prep.run_folders.runs import Run
from data_prep.tasks import build_tasks
from tests.prepared_runs import STAGE, make_run, table_of
from transfer.jobs import Job, plan
from transfer.settings import FinetuneSettings

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")


def jobs_of(
    run: Run, *, joint: bool = False, all: bool = False, folds: tuple[str, ...] = ()
) -> list[Job]:
    """Plan the nets of a run."""
    prepared = Prepared.open(run.finished(STAGE))
    settings = FinetuneSettings(joint=joint, all=all, folds=folds, batch_size=4)
    n_folds = prepared.metadata["n_folds"]
    return plan(prepared.table, prepared.tasks({}), settings, n_folds)


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("n_excluded", [0, 3])
@pytest.mark.parametrize("n_folds", [2, 3, 5])
def test_a_net_learns_from_all_labelled_rows_but_those_of_its_fold(
    tmp_path: Path, joint: bool, n_excluded: int, n_folds: int
) -> None:
    run = make_run(tmp_path, n_folds=n_folds, n_excluded=n_excluded, n_train=30)
    table = table_of(run)
    is_train = table["split"] == "train"
    jobs = jobs_of(run, joint=joint, all=True)
    assert len(jobs) == (n_folds + 1) * (1 if joint else 4)
    for job in jobs:
        has_label = np.logical_or.reduce([task.has_label for task in job.tasks])
        held_out = table["fold"] == (-2 if job.fold == "all" else int(job.fold))
        twins = table["cv_group"].isin(table["cv_group"][held_out])
        assert (job.train_idx == np.flatnonzero(is_train & has_label & ~twins)).all()
        assert (job.val_idx == np.flatnonzero(held_out)).all()
        assert not set(job.train_idx) & set(job.val_idx)


def test_a_copy_of_a_held_out_row_is_not_learned_from(tmp_path: Path) -> None:
    table = table_of(make_run(tmp_path, n_excluded=5))
    copied = table["cv_group"][table["cv_group"].duplicated()]
    assert len(copied) == 5
    for fold in ("0", "1", "2"):
        is_held_out, may_be_seen = fold_masks(table, fold)
        pairs = table["cv_group"].isin(copied)
        assert (
            not table["cv_group"][may_be_seen]
            .isin(table["cv_group"][is_held_out])
            .any()
        )
        assert (is_held_out & pairs).any()
        # the copies of other folds' rows are learned from
        assert (may_be_seen & pairs & (table["fold"] == -1)).any()


@pytest.mark.parametrize("joint", [True, False])
def test_rows_of_no_weight_are_held_out_and_not_learned_from(
    tmp_path: Path, joint: bool
) -> None:
    run = make_run(tmp_path, n_train=30, n_excluded=3)
    table = table_of(run)
    before = jobs_of(run, joint=joint, all=True)
    train = np.flatnonzero(table["split"] == "train")
    weights = np.ones(len(table))
    weights[train[:12]] = np.repeat([0.0, 0.5, 1e-9], 4)
    table.assign(weight=weights).to_parquet(run.folder / STAGE / "table.parquet")
    jobs = jobs_of(run, joint=joint, all=True)
    for job, plain in zip(jobs, before, strict=True):
        assert job.path == plain.path
        assert job.train_idx.tolist() == [
            row for row in plain.train_idx if weights[row] > 0
        ]
        assert (job.val_idx == plain.val_idx).all()
    assert sum(
        len(plain.train_idx) - len(job.train_idx)
        for job, plain in zip(jobs, before, strict=True)
    )


def test_places(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    joint = [job.path for job in jobs_of(run, joint=True, all=True)]
    assert joint == ["joint/fold0", "joint/fold1", "joint/fold2", "joint/all"]
    one = [job.path for job in jobs_of(run, folds=("1", "all", "1"))]
    names = ("target", "onehot", "date", "words")
    assert one == [f"{name}/{fold}" for fold in ("fold1", "all") for name in names]


def test_an_unknown_fold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="folds = '3': give some of 0, 1, 2, all"):
        jobs_of(make_run(tmp_path), folds=("0", "3"))


def test_without_folds_only_a_net_of_all_rows_can_be_trained(tmp_path: Path) -> None:
    run = make_run(tmp_path, n_folds=0)
    with pytest.raises(UserError, match=r"the run has no folds.*or.* with --all"):
        jobs_of(run)
    with pytest.raises(UserError, match="the run has no folds"):
        jobs_of(run, folds=("0",))
    assert {job.fold for job in jobs_of(run, all=True)} == {"all"}
    assert {job.fold for job in jobs_of(run, folds=("all",))} == {"all"}


def test_too_few_rows_are_refused_before_any_training(tmp_path: Path) -> None:
    run = make_run(tmp_path, n_train=12)
    prepared, table = run.finished(STAGE), table_of(run)
    table["date"] = np.where(table["fold"] == 1, table["date"], np.nan)
    tasks = build_tasks(
        {}, table, prepared.folder, prepared.metadata, ["target", "date"]
    )
    with pytest.raises(UserError, match="date/fold0 has only 3 labelled pictures"):
        plan(table, tasks, FinetuneSettings(batch_size=4), 3)
    with pytest.raises(
        UserError, match=r"joint/fold1: .* no row has a label of .*date"
    ):
        plan(table, tasks, FinetuneSettings(batch_size=4, joint=True), 3)


def test_the_order_of_the_table_changes_no_job(tmp_path: Path) -> None:
    run = make_run(tmp_path, n_excluded=3)
    before, table = jobs_of(run), table_of(run)
    table[::-1].to_parquet(run.folder / STAGE / "table.parquet")
    for job, same in zip(jobs_of(run), before, strict=True):
        assert (job.path, job.train_idx.tolist()) == (
            same.path,
            same.train_idx.tolist(),
        )
        assert job.val_idx.tolist() == same.val_idx.tolist()


def test_what_never_thaws_in_so_few_steps_is_refused(tmp_path: Path) -> None:
    prepared = Prepared.open(make_run(tmp_path, n_train=24).finished(STAGE))
    tasks, n_folds = prepared.tasks({}), prepared.metadata["n_folds"]

    def planned(steps: int) -> list[Job]:
        settings = FinetuneSettings(
            joint=True, batch_size=4, steps=steps, train="head", unfreeze_after=2
        )
        return plan(prepared.table, tasks, settings, n_folds)

    assert planned(9)  # 16 rows to train on: four steps to the epoch
    message = r"unfreeze_after = 2, but joint/fold0 is trained for 8 steps, 4 to the"
    with pytest.raises(UserError, match=message):
        planned(8)


def test_what_never_mixes_in_so_few_steps_is_refused(tmp_path: Path) -> None:
    prepared = Prepared.open(make_run(tmp_path, n_train=24).finished(STAGE))
    tasks, n_folds = prepared.tasks({}), prepared.metadata["n_folds"]

    def planned(steps: int) -> list[Job]:
        settings = FinetuneSettings(
            joint=True, batch_size=4, steps=steps, mix="mixup", mix_last_plain=2
        )
        return plan(prepared.table, tasks, settings, n_folds)

    assert planned(9)
    message = r"mix_last_plain = 2, but joint/fold0 is trained for 2 epochs; give fewer"
    with pytest.raises(UserError, match=message):
        planned(8)
