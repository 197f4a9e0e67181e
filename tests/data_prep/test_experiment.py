"""Tests of data_prep.experiment."""

import re
from pathlib import Path

import pytest

from data_prep.errors import UserError
from data_prep.experiment import (
    Experiment,
    commands,
    read_experiment,
)
from data_prep.task_types.classes import Classes
from data_prep.task_types.registry import TASK_TYPES

ROOT = Path(__file__).parents[2]


def read(folder: Path, text: str) -> Experiment:
    file = folder / "leaves.toml"
    file.write_text(text, encoding="utf-8")
    return read_experiment(file, folder / "runs" / "leaves")


def test_an_empty_file_is_an_experiment_of_defaults(tmp_path: Path) -> None:
    experiment = read(tmp_path, "")
    assert experiment.data.images == ()
    assert experiment.data.id == "id"
    assert (experiment.tasks, experiment.stages) == ({}, {})


def test_tables_end_up_where_they_belong(tmp_path: Path) -> None:
    experiment = read(
        tmp_path,
        """
        [data]
        target = "year"
        [tasks.maker]
        kind = "classes"
        column = "artist"
        weight = 2
        [pipeline]
        stages = ["data_prep.prepare"]
        [pretext.jigsaw]
        epochs = 3
        """,
    )
    assert experiment.data.target == "year"
    maker = Classes(column="artist", weight=2.0)
    assert experiment.tasks == {"maker": maker}
    assert experiment.stages == {
        "pipeline": {"stages": ["data_prep.prepare"]},
        "pretext.jigsaw": {"epochs": 3},
    }
    assert experiment.source == str(tmp_path / "leaves.toml")


def test_paths_are_relative_to_the_file_absolute_or_in_the_run(tmp_path: Path) -> None:
    text = """
    [data]
    images = ["pictures", "/elsewhere/pictures"]
    train = "../train.csv"
    test = "{run}/data_prep.demo/test.csv"
    attributes = "{run}/words.csv"
    sample_weights = "issues.csv"
    """
    data = read(tmp_path, text).data
    run = tmp_path / "runs" / "leaves"
    assert data.images == (tmp_path / "pictures", Path("/elsewhere/pictures"))
    assert data.train == tmp_path.parent / "train.csv"
    assert data.test == run / "data_prep.demo" / "test.csv"
    assert data.attributes == (run / "words.csv",)
    assert data.sample_weights == tmp_path / "issues.csv"
    assert data.sample is None


def test_paths_of_a_kept_file_are_relative_to_where_it_was(tmp_path: Path) -> None:
    file = tmp_path / "kept.toml"
    file.write_text('[data]\nimages = "pictures"\ntrain = "{run}/train.csv"\n')
    data = read_experiment(file, tmp_path / "run", tmp_path / "origin").data
    assert data.images == (tmp_path / "origin" / "pictures",)
    assert data.train == tmp_path / "run" / "train.csv"


def test_a_mark_of_the_byte_order_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "leaves.toml"
    file.write_bytes(b'\xef\xbb\xbf[data]\nid = "name"\n')
    assert read_experiment(file, tmp_path).data.id == "name"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = ", "not a TOML file: "),
        ("[dta]\n", "unknown table [dta]; did you mean 'data'?"),
        ("[stack.fit]\n", "unknown table [stack]; did you mean 'stacking'?"),
        ("epochs = 3\n", "unknown table [epochs]; there are: "),
        ("data = 3\n", "data is not a table; write [data]"),
        ("[[data]]\n", "data is not a table; write [data]"),
        ("tasks = 3\n", "tasks is not a table; write [tasks]"),
        ("pretext = 3\n", "pretext is not a table; write [pretext...]"),
        ("pipeline = 3\n", "pipeline is not a table; write [pipeline...]"),
        ("[pretext]\nepochs = 3\n", "[pretext] has no key 'epochs'"),
        ("[pretext.jigsw]\n", "there is no stage [pretext.jigsw]; did you mean"),
        ("[pretext.settings]\n", "there is no stage [pretext.settings]; "),
        (
            "[stacking.predict]\ncoverage = 0.8\n",
            "stacking.predict takes flags only, so [stacking.predict] would be ign",
        ),
        ("[features.convert]\n", "features.convert takes flags only, so [features"),
        ('[data]\ntraget = "x"\n', "[data]: unknown key 'traget'; did you mean"),
        ("[data]\ntarget = 3\n", "[data]: target = 3 is not a text"),
        ("[data]\nimages = [3]\n", "[data]: images = 3 is not a path"),
        (
            '[tasks.x]\nkind = "words"\ncolumn = "artist"\n',
            "[tasks.x]: column = 'artist': words come from [data] attributes; take it",
        ),
        (
            '[tasks.joint]\nkind = "date"\n',
            "[tasks.joint]: 'joint' is the name of a folder; choose another",
        ),
        ("[tasks]\nx = 3\n", "[tasks.x]: kind is missing; one of classes, date, "),
        ("[tasks.x]\n", "[tasks.x]: kind is missing; one of classes, date, ordinal"),
        (
            '[tasks.x]\nkind = "clases"\n',
            "[tasks.x]: kind = 'clases': did you mean 'classes'?",
        ),
        (
            '[tasks.x]\nkind = "date"\nloss = "mes"\n',
            "[tasks.x]: loss = 'mes': did you mean 'mse'?",
        ),
        (
            '[tasks.x]\nkind = "classes"\nloss = "huber"\n',
            "[tasks.x]: loss = 'huber': there are: bi_tempered, cross_entropy",
        ),
        (
            '[tasks.x]\nkind = "date"\nloss = "smooth_l1"\n',
            "[tasks.x]: loss = 'smooth_l1': it was renamed: write huber",
        ),
        (
            '[tasks.x]\nkind = "classes"\nbins = 30\n',
            "[tasks.x]: unknown key 'bins'; ",
        ),
        (
            '[tasks.x]\nkind = "date"\nlabel_smothing = 0.1\n',
            "[tasks.x]: unknown key 'label_smothing'; there are: bins, column, comp",
        ),
        (
            '[tasks.x]\nkind = "regression"\nbins = 30\n',
            "[tasks.x]: bins = 30 is for loss = 'histogram' alone, not 'mse'",
        ),
        (
            '[tasks.x]\nkind = "date"\nloss = "histogram"\nsigma = 9\n',
            "[tasks.x]: sigma = 9.0 leaves no bins for the labels among 50; give a",
        ),
        (
            '[tasks.x]\nkind = "classes"\nclass_weights = ["oak"]\n',
            "[tasks.x]: class_weights = 'oak': give balanced, or a class and its",
        ),
        (
            '[tasks.x]\nkind = "classes"\nclass_weights = ["oak=0"]\n',
            "[tasks.x]: class_weights = 'oak=0': give balanced, or",
        ),
        (
            '[tasks.x]\nkind = "tags"\ncolumn = "artist"\n',
            "[tasks.x]: column = 'artist': tags come from [data] attributes; take it",
        ),
        (
            '[tasks.x]\nkind = "ordinal"\nmin_count = 1\n',
            "[tasks.x]: min_count = 1: give 2 or more",
        ),
        (
            '[tasks.x]\nkind = "date"\nweight = 0\n',
            "[tasks.x]: weight = 0.0: give more than 0",
        ),
        (
            '[tasks.x]\nkind = "date"\nwieght = 1\n',
            "[tasks.x]: unknown key 'wieght'; did you mean 'weight'?",
        ),
        *(
            (
                f'[tasks."{name}"]\nkind = "date"\n',
                f"[tasks.{name}]: a task's name is letters, digits and single _",
            )
            for name in ("a__b", "a-b", "1a", "a_", "_a", "Zürich", "a b")
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_the_file(
    tmp_path: Path, text: str, message: str
) -> None:
    where = re.escape(str(tmp_path / "leaves.toml"))
    with pytest.raises(UserError, match=rf"^{where}:? {re.escape(message)}") as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"(no such|and no) experiment file"):
        read_experiment(tmp_path / name, tmp_path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(UserError, match=r"x\.toml: not a TOML file: "):
        read_experiment(tmp_path / "x.toml", tmp_path)


def test_every_kind_of_task_has_a_loss() -> None:
    assert {"regression", "classes", "date", "words"} <= set(TASK_TYPES)
    for kind, task_type in TASK_TYPES.items():
        assert task_type.name == kind
        assert task_type.losses
        for loss in task_type.losses:
            assert task_type(loss=loss).loss_name == loss


def test_commands_are_the_modules_that_can_be_run() -> None:
    found = commands()
    assert {"data_prep.demo", "data_prep.prepare", "pretext.jigsaw"} <= set(found)
    assert "pretext.simsiam" in found
    assert "data_prep.experiment" not in found
    assert "pretext.engine.training" not in found


@pytest.mark.parametrize("file", sorted((ROOT / "experiments").glob("*.toml")), ids=str)
def test_the_experiments_that_come_with_it_can_be_read(file: Path) -> None:
    assert read_experiment(file, ROOT / "runs" / file.stem).data.images
