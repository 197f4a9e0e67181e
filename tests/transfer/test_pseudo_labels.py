"""Tests of what a teacher labels: which rows, by which net, and as which loss."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F
from torch.testing import assert_close

from data_prep.errors import UserError
from data_prep.experiment import DataSettings, Experiment
from data_prep.outlook import Outlook
from data_prep.prepared import Prepared
from data_prep.run_folders.runs import Run
from data_prep.task_types.ordinal import Ordinal
from data_prep.task_types.registry import TASK_TYPES
from data_prep.tasks import Task
from features.store import open_store
from pretext.data.augment import AugmentParams
from pretext.data.pictures import Normalisation
from pretext.networks.backbones import build_backbone
from tests.power_cut import PowerCutError
from tests.prepared_runs import STAGE, extract, finetune, make_run, table_of
from transfer.jobs import Job, find_pseudo, plan
from transfer.networks.task_net import TaskNet, describe
from transfer.pseudo_labels import add_labels
from transfer.results import teaching
from transfer.settings import FinetuneSettings
from transfer.teacher import SoftLabels
from transfer.training.learner import FinetuneLearner

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

FINETUNE = "transfer.finetune"


def make_teacher(folder: Path, *, role: str = "oof", **options: Any) -> Run:
    """Write a run whose nets are finished, as its record says."""
    run = make_run(folder, **options)
    tasks = [describe(task) for task in tasks_of(run)]
    nets = [{"fold": str(fold), "tasks": tasks, "place": ""} for fold in range(3)]
    with run.stage(FINETUNE, {"made": "up"}, reads=[STAGE]) as stage:
        stage.metadata = {"nets": nets, "role_of_fold": role}
    return run


def tasks_of(run: Run) -> list[Task]:
    return Prepared.open(run.finished(STAGE)).tasks({})


def outlook_of(run: Run) -> Outlook:
    experiment = Experiment(data=DataSettings(target="level"))
    return Outlook.of_prepared(run.finished(STAGE), run, experiment)


def planned(run: Run, teacher: Run, **changes: Any) -> list[Job]:
    """Plan the nets of a run that is taught."""
    settings = FinetuneSettings(
        init="scratch", batch_size=4, pseudo_labels=str(teacher.folder), **changes
    )
    outlook = outlook_of(run)
    tasks = outlook.tasks()
    pseudo = find_pseudo(settings, outlook, tasks)
    return plan(outlook.table, tasks, settings, 3, pseudo=pseudo)


def rewrite(run: Run, change: Callable[[pd.DataFrame], object]) -> None:
    """Change the prepared table of a run."""
    table = table_of(run)
    change(table)
    table.to_parquet(run.folder / STAGE / "table.parquet", index=False)


@pytest.mark.parametrize("select", ["last", "inner"])
@pytest.mark.parametrize("seed", range(4))
def test_what_a_teacher_labels_is_trained_on_and_nothing_else(
    tmp_path: Path, seed: int, select: str
) -> None:
    """Not scored, not chosen by, and no copy of what is: in every fold."""
    rng = np.random.default_rng(seed)
    teacher = make_teacher(tmp_path / "teacher", n_test=9, n_excluded=3)
    run = make_run(tmp_path / "run", n_test=9, n_excluded=3)

    def join_groups(table: pd.DataFrame) -> None:
        others = np.flatnonzero(table["split"] != "train")
        copied = rng.choice(np.flatnonzero(table["split"] == "train"), 6)
        groups = table["cv_group"].to_numpy(copy=True)
        groups[rng.choice(others, 6, replace=False)] = groups[copied]
        table["cv_group"] = groups

    rewrite(run, join_groups)
    table = table_of(run)
    is_train = (table["split"] == "train").to_numpy()
    groups = table["cv_group"].to_numpy()
    n_left_out = 0
    jobs = planned(run, teacher, joint=True, all=True, select=select)
    plain = FinetuneSettings(init="scratch", joint=True, all=True, select=select)
    plain = replace(plain, batch_size=4)
    for job, untaught in zip(jobs, plan(table, tasks_of(run), plain, 3), strict=True):
        assert (job.val_idx == untaught.val_idx).all()
        assert (job.choice_idx == untaught.choice_idx).all()
        assert (job.labelled_idx == untaught.train_idx).all()
        held_out = np.union1d(job.val_idx, job.choice_idx)
        assert not is_train[job.pseudo_idx].any()
        assert not np.isin(groups[job.pseudo_idx], groups[held_out]).any()
        left_out = np.setdiff1d(np.flatnonzero(~is_train), job.pseudo_idx)
        assert np.isin(groups[left_out], groups[held_out]).all()
        assert (np.setdiff1d(job.train_idx, job.labelled_idx) == job.pseudo_idx).all()
        n_left_out += len(left_out)
    assert n_left_out


def test_only_nets_of_the_target_are_taught(tmp_path: Path) -> None:
    teacher, run = make_teacher(tmp_path / "teacher"), make_run(tmp_path / "run")
    taught = {job.net for job in planned(run, teacher) if len(job.pseudo_idx)}
    assert taught == {"target", "onehot"}


def test_a_row_with_a_label_in_either_run_keeps_it(tmp_path: Path) -> None:
    teacher, run = make_teacher(tmp_path / "teacher"), make_run(tmp_path / "run")
    of_test = np.flatnonzero(table_of(run)["split"] == "test")

    def label_it(table: pd.DataFrame) -> None:
        table.loc[of_test[0], ["split", "target", "class_index"]] = ["train", 1.0, 1]

    rewrite(teacher, label_it)
    assert of_test[0] not in planned(run, teacher)[0].pseudo_idx
    rewrite(run, label_it)
    teacher = make_teacher(tmp_path / "again")
    job = planned(run, teacher, joint=True)[0]
    assert of_test[0] not in job.pseudo_idx
    assert of_test[0] in job.train_idx
    assert of_test[1] in job.pseudo_idx


def type_named(name: str) -> Any:
    return TASK_TYPES[name]()


def number_task() -> Task:
    """Six rows, the first four with a label of -1 to 2."""
    return Task(
        name="target",
        task_type=type_named("regression"),
        values=np.array([[-1.0], [0.5], [2.0], [1.0], [0.0], [0.0]]),
        has_label=np.array([True] * 4 + [False] * 2),
    )


def class_task() -> Task:
    return Task(
        name="onehot",
        task_type=type_named("classes"),
        values=np.array([[0.0], [1.0], [2.0], [1.0], [0.0], [0.0]]),
        has_label=np.array([True] * 4 + [False] * 2),
        outputs=("0", "1", "2"),
        classes=("a", "b", "c"),
    )


def job_of(*tasks: Task) -> Job:
    """Row 0 is held out, 1 to 3 train, a teacher labels 4 and 5."""
    return Job(
        net="joint",
        fold="0",
        tasks=tasks,
        train_idx=np.arange(1, 6),
        val_idx=np.array([0]),
        pseudo_idx=np.array([4, 5]),
    )


def test_labels_are_numbers_in_the_range_of_what_the_net_learns() -> None:
    job = add_labels(job_of(number_task()), {"target": np.array([[0.25], [-0.8]])})
    (task,) = job.tasks
    # -0.8 is within the range of the held-out label, which nothing may tell
    assert task.values[:, 0].tolist() == [-1.0, 0.5, 2.0, 1.0, 0.5, 0.5]
    assert task.has_label.all()
    assert job.soft == {}
    far = add_labels(job_of(number_task()), {"target": np.array([[1.25], [9.0]])})
    assert far.tasks[0].values[4:, 0].tolist() == [1.25, 2.0]


def test_of_classes_the_probabilities_are_learned_where_they_are_sure_enough() -> None:
    proba = np.array([[0.1, 0.2, 0.7], [0.4, 0.3, 0.3]])
    outputs = {"target": np.array([[1.0], [1.5]]), "onehot": proba}
    job = add_labels(job_of(number_task(), class_task()), outputs)
    assert job.tasks[1].values[4:, 0].tolist() == [2.0, 0.0]
    assert job.soft["onehot"].values.tolist() == [0.0, 1.0, 2.0]
    np.testing.assert_allclose(job.soft["onehot"].proba[4:], proba)
    assert not job.soft["onehot"].proba[:4].any()
    sure = add_labels(job_of(number_task(), class_task()), outputs, min_confidence=0.5)
    assert sure.train_idx.tolist() == [1, 2, 3, 4]
    assert sure.pseudo_idx.tolist() == [4]
    assert [task.has_label[5] for task in sure.tasks] == [False, False]
    lost = outputs | {"target": np.array([[np.nan], [1.5]])}
    assert add_labels(job_of(number_task(), class_task()), lost).pseudo_idx == [5]


def test_what_nobody_teaches_stays_masked() -> None:
    job = add_labels(
        job_of(number_task(), class_task()), {"target": np.array([[1.0], [1.5]])}
    )
    assert not job.tasks[1].has_label[4:].any()
    assert job.tasks[0].has_label[4:].all()


def learner_of(task: Task, soft: SoftLabels | None) -> FinetuneLearner:
    normalise = Normalisation((128, 128, 128), (60, 60, 60))
    backbone = build_backbone("test_resnet", 32)
    net = TaskNet(backbone, [describe(task)], normalise, 32)
    net.head(task.name).start_at(task, np.flatnonzero(task.has_label))
    return FinetuneLearner(
        net, [task], 32, AugmentParams(), soft={task.name: soft} if soft else None
    )


def soft_of(task: Task, values: list[float], seed: int) -> SoftLabels:
    """Give the last two rows of a task random probabilities."""
    proba = np.zeros((len(task.values), len(values)))
    rng = np.random.default_rng(seed)
    proba[4:] = rng.dirichlet(np.ones(len(values)), 2)
    return SoftLabels(proba=proba, values=np.array(values))


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_of_probabilities_is_their_cross_entropy(seed: int) -> None:
    task = class_task()
    task = replace(task, has_label=np.ones(6, dtype=np.bool_))
    soft = soft_of(task, [0.0, 1.0, 2.0], seed)
    logits, idx = torch.randn(6, 3), torch.arange(6)
    plain = learner_of(task, None).row_losses("onehot", logits, idx)
    losses = learner_of(task, soft).row_losses("onehot", logits, idx)
    assert torch.equal(losses[:4], plain[:4])
    proba = torch.tensor(soft.proba[4:], dtype=torch.float32)
    assert_close(losses[4:], F.cross_entropy(logits[4:], proba, reduction="none"))


def test_the_loss_of_graded_probabilities_is_the_expected_one() -> None:
    task = Task(
        name="grade",
        task_type=Ordinal(),
        values=np.array([[1.0], [2.0], [5.0], [2.0], [1.0], [5.0]]),
        has_label=np.ones(6, dtype=np.bool_),
        outputs=("", "0", "1", "2"),
        classes=("1", "2", "5"),
        grades=(1.0, 2.0, 5.0),
    )
    soft = soft_of(task, [1.0, 2.0, 5.0], seed=0)
    logits, idx = torch.randn(6, 2), torch.arange(6)
    losses = learner_of(task, soft).row_losses("grade", logits, idx)
    pass_1, pass_2 = logits[4:].sigmoid().T
    # grade 1: stopped at the first question; 2: passed it, stopped at the next; 5
    of_grades = torch.stack(
        [
            -(1 - pass_1).log(),
            -(pass_1 * (1 - pass_2)).log(),
            -(pass_1 * pass_2).log(),
        ],
        dim=1,
    )
    proba = torch.tensor(soft.proba[4:], dtype=torch.float32)
    assert_close(losses[4:], (proba * of_grades).sum(dim=1))


def other_target(teacher: Run, _: Run) -> None:
    change_metadata(teacher, STAGE, target_column="price")


def change_metadata(run: Run, stage: str, **changes: Any) -> None:
    path = run.folder / stage / "record.json"
    record = json.loads(path.read_text())
    record["facts"] |= changes
    path.write_text(json.dumps(record))


def without_fold(teacher: Run, _: Run) -> None:
    nets = teacher.recorded(FINETUNE).metadata["nets"]
    change_metadata(teacher, FINETUNE, nets=nets[:2])


def other_classes(teacher: Run, _: Run) -> None:
    nets = teacher.recorded(FINETUNE).metadata["nets"]
    tasks = [t | {"name": f"my_{t['name']}"} for t in nets[0]["tasks"]]
    change_metadata(teacher, FINETUNE, nets=[net | {"tasks": tasks} for net in nets])


def other_kind(teacher: Run, _: Run) -> None:
    nets = teacher.recorded(FINETUNE).metadata["nets"]
    tasks = [task | {"kind": "date"} for task in nets[0]["tasks"]]
    change_metadata(teacher, FINETUNE, nets=[net | {"tasks": tasks} for net in nets])


def other_column(teacher: Run, _: Run) -> None:
    path = teacher.folder / FINETUNE / "record.json"
    record = json.loads(path.read_text())
    columns = {"target": {"column": "weight"}, "onehot": {"column": "weight"}}
    record["settings"]["tasks_of_experiment"] = columns
    path.write_text(json.dumps(record))


def copy_in_teacher(_: Run, run: Run) -> None:
    """A row that is trained on by the teacher is a copy of one held out here."""

    def join(table: pd.DataFrame) -> None:
        is_excluded = (table["split"] == "train") & (table["fold"] < 0)
        groups = table["cv_group"][table["fold"] == 0]
        seen = np.flatnonzero(is_excluded & ~table["cv_group"].isin(groups))
        table.loc[seen[0], "cv_group"] = groups.iloc[-1]

    rewrite(run, join)


def nothing_without_label(teacher: Run, _: Run) -> None:
    def label_all(table: pd.DataFrame) -> None:
        table["split"] = "train"

    rewrite(teacher, label_all)


def drop_nets(teacher: Run, _: Run) -> None:
    (teacher.folder / FINETUNE / "record.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (None, {"n_folds": 2}, r"has other folds: cv = 'sgkfold2', and here 'sgkfold3"),
        (None, {"n_train": 27}, r"has other folds than this run, so its net of a fold"),
        (None, {"role": "oof_selected"}, r"epochs of its nets were chosen on the fol"),
        (None, {"target": "classes"}, r"another target: its target kind is 'classes'"),
        (other_target, {}, r"another target: its target column is 'price', and here"),
        (without_fold, {}, r"has no net of fold 2 \(there are: 0, 1\), and no other"),
        (other_classes, {}, r"learned the tasks my_target, .* target here are: target"),
        (other_kind, {}, r"learned the tasks target, .* same name, column, kind and"),
        (
            other_column,
            {},
            r"learned the tasks target, .* one of the same name, column",
        ),
        (copy_in_teacher, {}, r"its net of fold 0 learned 'p0\d\d', which is a copy"),
        (nothing_without_label, {}, r"nothing to label: of the 8 pictures without"),
        (drop_nets, {}, r"transfer.finetune is not finished; first: python -m"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_before_any_training(
    tmp_path: Path, spoil: Any, options: dict[str, Any], message: str
) -> None:
    teacher = make_teacher(tmp_path / "teacher", n_excluded=3, **options)
    run = make_run(tmp_path / "run", n_excluded=3)
    if spoil:
        spoil(teacher, run)
    settings = FinetuneSettings(
        init="scratch", batch_size=4, pseudo_labels=str(teacher.folder)
    )
    with pytest.raises(UserError, match=message) as caught:
        settings.check_data(outlook_of(run))
    assert "\n" not in str(caught.value)


def test_a_number_has_no_confidence(tmp_path: Path) -> None:
    teacher, run = make_teacher(tmp_path / "teacher"), make_run(tmp_path / "run")
    settings = FinetuneSettings(
        init="scratch",
        batch_size=4,
        tasks=("target",),
        pseudo_labels=str(teacher.folder),
        pseudo_min_confidence=0.8,
    )
    with pytest.raises(UserError, match="of probabilities of classes, and target is a"):
        settings.check_data(outlook_of(run))


JOINT = ("--joint", "--folds=0,all")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a net of each of two folds, that several tests only read."""
    run = make_run(tmp_path_factory.mktemp("chain") / "teacher")
    finetune(run, "--joint", "--folds=0,1")
    return run


def bytes_of(stage: Path, place: str) -> bytes:
    return (stage / place / "weights.safetensors").read_bytes()


def test_no_label_of_a_fold_comes_back_to_its_net(tmp_path: Path, teacher: Run) -> None:
    """The labels of fold 0 are others in both runs, and its nets are the same."""
    taught = {}
    for name in ("plain", "relabelled"):
        of_run = {"relabelled_fold": 0} if name == "relabelled" else {}
        teacher_run = teacher
        if of_run:
            teacher_run = make_run(tmp_path / name / "teacher", **of_run)
            finetune(teacher_run, "--joint", "--folds=0,1")
        run = make_run(tmp_path / name / "run", **of_run)
        flag = f"--pseudo-labels={teacher_run.folder}"
        taught[name] = finetune(run, "--joint", "--folds=0,1", flag)
    same = [
        bytes_of(taught["plain"], place) == bytes_of(taught["relabelled"], place)
        for place in ("joint/fold0", "joint/fold1")
    ]
    assert same == [True, False]
    untaught = finetune(make_run(tmp_path / "untaught"), "--joint", "--folds=0")
    nets = [
        load_file(stage / "joint/fold0/weights.safetensors")
        for stage in (untaught, taught["plain"])
    ]
    # it begins at the labels of the table, and learns more pictures then
    name = "heads.of_target.centre"
    assert torch.equal(nets[0][name], nets[1][name])
    name = "heads.of_target.linear.weight"
    assert not torch.equal(nets[0][name], nets[1][name])


def test_a_pseudo_label_is_the_mean_over_the_views_of_the_net_of_the_fold(
    tmp_path: Path, teacher: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    flags = (*JOINT, f"--pseudo-labels={teacher.folder}")
    cut: list[Job] = []

    def cut_off(job: Job, *_: Any) -> None:
        cut.append(job)
        raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr("transfer.training.many_nets.train_net", cut_off)
        with pytest.raises(PowerCutError):
            finetune(run, *flags)
    assert len(cut[0].pseudo_idx) == 8
    with monkeypatch.context() as patch:
        # what it began with is on the disk: nobody is asked again
        patch.setattr(teaching.ViewedNets, "of_teacher", None)
        stage = finetune(run, *flags)
    record = json.loads((stage / "record.json").read_text())
    assert record["settings"]["pseudo_labels"]["run"] == "teacher"
    assert [net["pseudo_rows"] for net in record["facts"]["nets"]] == [8, 8]
    extract(teacher)
    nets = {
        fold: open_store(teacher.folder / f"features.extract/nets/fold{fold}.pkl")
        for fold in (0, 1)
    }
    for name, folds in {"fold0": [0], "all": [0, 1]}.items():
        outputs = pd.read_parquet(stage / "pseudo_labels" / f"{name}.parquet")
        for column in outputs.columns.drop("id"):
            means = [
                nets[fold].frame(outputs["id"])[f"{column}__mean"].to_numpy()
                for fold in folds
            ]
            expected = np.mean(means, axis=0)
            np.testing.assert_allclose(outputs[column], expected, rtol=1e-4, atol=1e-5)


def test_a_taught_picture_weighs_what_is_asked(tmp_path: Path, teacher: Run) -> None:
    run = make_run(tmp_path / "run")
    flags = ("--joint", "--folds=0", f"--pseudo-labels={teacher.folder}")
    whole = bytes_of(finetune(run, *flags), "joint/fold0")
    half = bytes_of(finetune(run, *flags, "--pseudo-weight=0.5"), "joint/fold0")
    assert whole != half
    with pytest.raises(UserError, match="joint/fold0 has only 16 labelled pictures"):
        finetune(run, *flags, "--pseudo-min-confidence=0.99", "--batch-size=24")
