"""Tests of transfer.distill, and of what its net is served as."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image
from sklearn.metrics import log_loss, root_mean_squared_error

from data_prep.dihedral import VIEWS, apply_view
from data_prep.errors import UserError
from data_prep.experiment import read_experiment
from data_prep.run_folders.runs import Run, UnfinishedStageError
from data_prep.task_types.classes import Classes
from data_prep.task_types.ordinal import Ordinal
from data_prep.task_types.regression import Regression
from data_prep.tasks import Task
from features import fresh
from stacking import predict
from tests.prepared_runs import elsewhere, finetune, make_run, pixels_of, table_of
from transfer import distill, export
from transfer.distill import DistillSettings
from transfer.jobs import Job
from transfer.networks.task_net import load_net
from transfer.pseudo_labels import add_labels, mix_labels
from transfer.results.distilled import (
    DistilledScore,
    HeldOutRows,
    TargetTasks,
    oof_table,
)

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

SMALL = ("--backbone=test_resnet", "--init=scratch", "--epochs=1", "--batch-size=8")
EXACT = ("--threads=1", "--precision=fp32")


def test_settings_are_those_of_the_fine_tuning_but_for_its_own(tmp_path: Path) -> None:
    file = tmp_path / "leaves.toml"
    file.write_text("""
[data]
images = "pictures"
[transfer.finetune]
epochs = 7
colour = 0.0
mix = "cutmix"
all = false
joint = false
folds = ["0"]
find_lr = true
select = "inner"
inner_share = 0.3
patience = 2
pseudo_labels = "../first"
pseudo_weight = 0.5
[transfer.distill]
colour = 0.2
""")
    experiment = read_experiment(file, tmp_path / "run")
    settings = experiment.settings_of("transfer.distill", DistillSettings, {"seed": 3})
    assert settings == DistillSettings(epochs=7, colour=0.2, mix="cutmix", seed=3)


def number_task(**changes: Any) -> Task:
    """Six rows, the first four with a label of -1 to 2."""
    task = Task(
        name="target",
        task_type=Regression(),
        values=np.array([[-1.0], [0.5], [2.0], [1.0], [0.0], [0.0]]),
        has_label=np.array([True] * 4 + [False] * 2),
    )
    return replace(task, **changes)


def class_task() -> Task:
    return Task(
        name="onehot",
        task_type=Classes(),
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


def test_labels_are_mixed_with_what_the_nets_say() -> None:
    proba = np.array([[0.2, 0.8, 0.0], [0.5, 0.0, 0.5], [1.0, 0.0, 0.0]])
    outputs = {"target": np.array([[0.7], [9.0], [np.nan]]), "onehot": proba}
    job = add_labels(
        job_of(number_task(), class_task()),
        {"target": np.ones((2, 1)), "onehot": proba[:2]},
    )
    mixed = mix_labels(job, outputs, share=0.25)
    target, onehot = mixed.tasks
    # 9 is clipped to 2, the highest that the net learns; NaN says nothing
    expected = [-1.0, 0.75 * 0.5 + 0.25 * 0.7, 2.0, 1.0, 1.0, 1.0]
    assert_allclose(target.values[:, 0], expected)
    assert (onehot.values == job.tasks[1].values).all()
    soft = mixed.soft["onehot"].proba
    assert_allclose(soft[1], [0.05, 0.95, 0.0])
    assert_allclose(soft[2], [0.125, 0.0, 0.875])
    assert_allclose(soft[4:], proba[:2])
    assert not soft[0].any(), "the row held out keeps its label"
    assert (mixed.val_idx == [0]).all()


def target_tasks(*tasks: Task, classes: Sequence[float] = (), **changes: Any) -> Any:
    by_type: dict[str, Task | None] = {"regression": None, "proba": None}
    return TargetTasks(
        **(by_type | changes),
        class_values=np.array(classes),
        target_range=(0.0, 3.0) if len(classes) or not tasks else None,
    )


def test_the_target_is_read_as_the_stack_reads_it() -> None:
    number = target_tasks(regression=number_task())
    pred = number.predict({"target": np.array([[-1.0], [1.5], [7.0]])})
    assert pred.tolist() == [0.0, 1.5, 3.0]
    outputs = {"onehot": np.array([[0.2, 0.2, 0.4], [0.0, 0.0, 0.5]])}
    classes = target_tasks(class_task(), proba=class_task())
    assert_allclose(classes.predict(outputs), [[0.25, 0.25, 0.5], [0, 0, 1]])
    numbers = target_tasks(proba=class_task(), classes=[0.0, 1.0, 3.0])
    assert_allclose(numbers.predict(outputs), [1.75, 3.0])
    # probabilities of grades come in the order of the grades: here c, a, b
    graded = replace(class_task(), task_type=Ordinal(), outputs=("", "2", "0", "1"))
    outputs = {"onehot": np.array([[9.0, 0.1, 0.2, 0.7]])}
    names = target_tasks(graded, proba=graded)
    assert_allclose(names.predict(outputs), [[0.2, 0.7, 0.1]])


def test_a_score_is_of_objects_and_beside_that_of_the_teachers() -> None:
    table = pd.DataFrame(
        {
            "id": list("abcdef"),
            "object": ["x", "x", "y", "y", "z", "z"],
            "target": [1.0, 1.0, 2.0, 2.0, 4.0, 4.0],
            "cv_group": [0, 0, 1, 1, 2, 2],
            "fold": [1, 1, 1, 1, 0, 0],
        }
    )
    held_out = HeldOutRows(
        rows=np.array([4, 5, 0, 1, 2, 3]),
        folds=np.array([0, 0, 1, 1, 1, 1]),
        pred=np.array([3.0, 4.0, 1.0, 2.0, 2.0, 2.0]),
        teacher_pred=np.array([4.0, 4.0, 1.0, 1.0, 5.0, 5.0]),
    )
    oof = oof_table(held_out, table, ())
    assert oof["id"].tolist() == ["x", "y", "z"]
    assert oof["fold"].tolist() == [1, 1, 0]
    assert oof["prediction"].tolist() == [1.5, 2.0, 3.5]
    score = DistilledScore.of(held_out, table)
    expected = root_mean_squared_error([1, 2, 4], [1.5, 2.0, 3.5])
    assert score.distilled.value == pytest.approx(expected)
    assert score.teacher == pytest.approx(np.sqrt(3))
    assert score.difference.value == pytest.approx(expected - np.sqrt(3))


@pytest.mark.parametrize("has_objects", [False, True])
def test_of_several_deals_each_net_is_scored_alone(has_objects: bool) -> None:
    """One net is served: two that err to both sides are not as good as their mean."""
    table = pd.DataFrame(
        {
            "id": list("abcd"),
            "target": [1.0, 1.0, 3.0, 3.0],
            "cv_group": [0, 0, 1, 1],
            "fold": [0, 0, 1, 1],
            "fold_1": [3, 3, 2, 2],
        }
    )
    if has_objects:
        table["object"] = ["x", "x", "y", "y"]
    held_out = HeldOutRows(
        rows=np.array([0, 1, 2, 3, 2, 3, 0, 1]),
        folds=np.array([0, 0, 1, 1, 2, 2, 3, 3]),
        pred=np.array([0.0, 0.0, 2.0, 2.0, 4.0, 4.0, 2.0, 2.0]),
        teacher_pred=np.array([1.0, 1.0, 3.0, 3.0, 5.0, 5.0, 1.0, 1.0]),
    )
    score = DistilledScore.of(held_out, table)
    assert score.distilled.value == pytest.approx(1.0)  # each errs by 1
    assert score.teacher == pytest.approx(1.0)  # every fourth errs by 2
    oof = oof_table(held_out, table, ())
    names = list("xy") if has_objects else list("abcd")
    assert oof["id"].tolist() == names * 2
    assert not oof[["id", "fold"]].duplicated().any()
    for row in oof.itertuples():
        expected = 0.0 if row.fold == 0 else 4.0 if row.fold == 2 else 2.0
        assert row.prediction == expected


def test_classes_are_scored_by_the_log_loss() -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"id": list("abcdef"), "target": list("uvwuvw")})
    table = table.assign(class_index=[0, 1, 2] * 2, cv_group=range(6), fold=[0, 1] * 3)
    pred = rng.dirichlet(np.ones(3), 6)
    held_out = HeldOutRows(
        rows=np.arange(6), folds=np.arange(6) % 2, pred=pred, teacher_pred=pred[::-1]
    )
    score = DistilledScore.of(held_out, table)
    assert score.distilled.value == pytest.approx(log_loss([0, 1, 2] * 2, pred))
    oof = oof_table(held_out, table, ("u", "v", "w"))
    assert oof["prediction"].tolist() == [("u", "v", "w")[k] for k in pred.argmax(1)]
    assert_allclose(oof["probability_v"], pred[:, 1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joint": False}, r"joint is not for transfer.distill: it trains a joint net"),
        ({"all": False}, r"all is not for transfer.distill"),
        ({"folds": ("0",)}, r"folds is not for transfer.distill"),
        ({"find_lr": True}, r"find_lr is not for transfer.distill"),
        ({"pseudo_labels": "a"}, r"the nets of transfer.finetune of the run itself"),
        ({"teacher_share": 1.5}, r"teacher_share = 1.5: give 0 to 1"),
        ({"select": "fold"}, r"select = 'fold', but the net of all rows holds out no"),
    ],
)
def test_settings_of_other_nets_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        DistillSettings(init="scratch", **changes)


def distilled(run: Run, *flags: str) -> Path:
    with elsewhere(run):
        return distill.main([f"--run={run.folder}", *SMALL, *EXACT, *flags])


@pytest.mark.parametrize(
    ("trained", "flags", "message"),
    [
        (None, (), r"transfer.finetune is not finished; first: python -m transfer"),
        ("--select=fold", (), r"the epochs of its nets were chosen on the folds that"),
        ("--folds=0,1", (), r"\[transfer.finetune\] folds = 0,1: a net of each fold"),
        (
            "--tasks=date",
            (),
            r"none of them is the target and one that transfer.finetu",
        ),
        ("", ("--tasks=date",), r"tasks = date: none of them is the target and one"),
    ],
)
def test_what_cannot_teach_is_refused_before_any_training(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trained: str | None,
    flags: tuple[str, ...],
    message: str,
) -> None:
    run = make_run(tmp_path)
    settings = {"select": "last", "folds": [], "tasks": [], "turns": True}
    if trained is not None:
        name, _, value = trained.removeprefix("--").partition("=")
        of_list = {"folds": value.split(","), "tasks": value.split(",")}
        settings |= {name: of_list.get(name, value)} if name else {}
        with run.stage("transfer.finetune", settings, reads=["data_prep.prepare"]):
            pass
    monkeypatch.setattr("transfer.training.many_nets.run_jobs", None)
    with pytest.raises(UserError, match=message):
        distilled(run, *flags)


def test_nothing_to_teach_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path, n_test=0, n_unlabelled=0)
    settings = {"select": "last", "folds": [], "tasks": [], "turns": True}
    with run.stage("transfer.finetune", settings, reads=["data_prep.prepare"]):
        pass
    with pytest.raises(UserError, match="and no picture is without label: there is"):
        distilled(run, "--teacher-share=0")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """Two distilled runs, the labels of fold 0 others in the second."""
    made = []
    for fold in (None, 0):
        folder = tmp_path_factory.mktemp("distilled") / "run"
        run = make_run(folder, relabelled_fold=fold, words=0, dates=False)
        finetune(run, "--joint")
        distilled(run)
        made.append(run)
    return made[0], made[1]


def test_no_label_of_a_fold_comes_back_to_the_net_that_it_scores(
    runs: tuple[Run, Run],
) -> None:
    same = {
        name: len(
            {
                (
                    run.folder / f"transfer.distill/joint/{name}/weights.safetensors"
                ).read_bytes()
                for run in runs
            }
        )
        == 1
        for name in ("fold0", "fold1", "fold2", "all")
    }
    assert same == {"fold0": True, "fold1": False, "fold2": False, "all": False}


def mean_of_views(run: Run, name: str, pixels: Any) -> float:
    """Ask a distilled net about a picture, view by view."""
    net, _ = load_net(run.folder / f"transfer.distill/joint/{name}/weights.safetensors")
    views = [apply_view(view, pixels, axes=(0, 1)) for view in VIEWS]
    with torch.inference_mode():
        values = [
            float(
                net.predict(torch.tensor(view.copy()).permute(2, 0, 1)[None])["target"]
            )
            for view in views
        ]
    return float(np.mean(values))


def test_what_is_scored_are_the_rows_that_each_net_held_out(
    runs: tuple[Run, Run],
) -> None:
    run = runs[0]
    stage = run.folder / "transfer.distill"
    oof = pd.read_parquet(stage / "oof.parquet")
    table, pixels = table_of(run).set_index("id"), pixels_of(run)
    assert sorted(oof["id"]) == sorted(table.index[table["split"] == "train"])
    for row in oof.iloc[::6].itertuples():
        assert row.fold == table["fold"][row.id]
        image = pixels[table["image_row"][row.id]]
        expected = mean_of_views(run, f"fold{row.fold}", image)
        assert row.prediction == pytest.approx(expected, abs=1e-4)
    record = json.loads((stage / "record.json").read_text())
    expected = root_mean_squared_error(oof["target"], oof["prediction"])
    assert record["facts"]["score"] == pytest.approx(expected)


def test_what_is_served_is_the_net_of_all_rows(
    runs: tuple[Run, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run has neither extraction nor stack, and needs none."""
    run, images = runs[0], tmp_path / "new"
    images.mkdir()
    table, pixels = table_of(run), pixels_of(run)
    rows = np.flatnonzero(table["split"] == "test")[:3]
    for row in rows:
        Image.fromarray(pixels[row]).save(images / f"{table['id'][row]}.png")

    def in_this_process(
        folder: Path, _: Any, out: Path, threads: int, **options: Any
    ) -> Path:
        del threads
        flags = [f"--out={out}", f"--net={options['net']}", "--threads=1"]
        fresh.main([f"--run={folder}", f"--images={images}", *flags])
        return out

    monkeypatch.setattr("features.inference.infer_features", in_this_process)
    with elsewhere(run):
        flags = [f"--run={run.folder}", f"--images={images}", "--coverage=0.5"]
        file = predict.main([*flags, "--net=distilled"])
    assert file == run.folder / "stacking.predict" / "new.distilled.csv"
    assert (run.folder / "fresh.distilled" / "new" / "features.pkl").exists()
    predictions = pd.read_csv(file).set_index("id")
    for row in rows:
        expected = mean_of_views(run, "all", pixels[row])
        row_of = predictions.loc[table["id"][row]]
        assert row_of["prediction"] == pytest.approx(expected, abs=1e-4)
        assert row_of["low"] <= row_of["prediction"] <= row_of["high"]


@pytest.mark.drill
def test_the_served_net_is_exported_as_a_graph(
    runs: tuple[Run, Run], tmp_path: Path
) -> None:
    run = runs[0]
    file = tmp_path / "net.onnx"
    flags = [f"--run={run.folder}", f"--out={file}", "--net=distilled"]
    with pytest.raises(UserError, match=r"--to folder is of the nets of transfer.fine"):
        export.main([*flags, "--to=folder"])
    with pytest.raises(UserError, match=r"fold = 0 is of the nets of transfer.finetun"):
        export.main([*flags, "--fold=0"])
    export.main(flags)
    pixels = pixels_of(run)[:2]
    session = onnxruntime.InferenceSession(file)
    inputs = {"images": pixels.transpose(0, 3, 1, 2).astype(np.float32)}
    (target,) = session.run(["target"], inputs)
    expected = [mean_of_views(run, "all", image) for image in pixels]
    assert_allclose(np.ravel(target), expected, atol=1e-4)


@pytest.mark.parametrize("command", [fresh, predict])
def test_without_a_distilled_net_it_is_told_what_to_type(
    tmp_path: Path, command: Any
) -> None:
    run = make_run(tmp_path / "run")
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    message = r"transfer.distill is not finished; first: python -m transfer.distill"
    with pytest.raises(UnfinishedStageError, match=message):
        command.main([f"--run={run.folder}", f"--images={tmp_path}", "--net=distilled"])
