"""Tests of data_prep.run_places: where runs lie, and which was the last."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from data_prep.command import open_command
from data_prep.errors import UserError
from data_prep.file_paths import shorter
from data_prep.prepare import main as prepare
from data_prep.run_folders.origin import is_run
from data_prep.run_folders.runs import Run
from data_prep.run_places import (
    DEMO,
    announce,
    chosen_run,
    last_run,
    noted_runs,
    run_of,
)
from stacking.leaderboard import main as leaderboard
from tests.data_prep.sheets import make_sheets

STAGE = "pretext.jigsaw"
LEAVES = "--experiment=experiments/leaves.toml"


@dataclass(frozen=True, kw_only=True)
class TryoutSettings:
    """Try it out."""

    epochs: Annotated[int, "passes over the pictures"] = 30


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a project, with an experiment and a folder beside, and stand in it."""
    for name in ("project/experiments", "project/notes/deep", "beside"):
        (tmp_path / name).mkdir(parents=True)
    text = '[data]\nimages = "../pictures"\n'
    (tmp_path / "project/experiments/leaves.toml").write_text(text)
    (tmp_path / "project/loose.toml").write_text(text)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def opened(*flags: str) -> Run:
    return open_command(TryoutSettings, STAGE, flags)[1]


def used(*flags: str) -> Path:
    """Open a command whose inputs have passed, as its stage begins."""
    run = opened(*flags)
    run.on_use()
    return run.folder


@pytest.mark.parametrize(
    ("place", "file", "run"),
    [
        (".", "experiments/leaves.toml", "runs/leaves"),
        (".", "loose.toml", "runs/loose"),
        ("experiments", "leaves.toml", "{}/runs/leaves"),
        ("notes/deep", "../../experiments/leaves.toml", "{}/runs/leaves"),
        ("../beside", "../project/experiments/leaves.toml", "{}/runs/leaves"),
        ("..", "project/experiments/leaves.toml", "project/runs/leaves"),
        ("..", "{}/loose.toml", "project/runs/loose"),
    ],
)
def test_a_run_lies_beside_the_project_wherever_one_stands(
    project: Path, monkeypatch: pytest.MonkeyPatch, place: str, file: str, run: str
) -> None:
    monkeypatch.chdir(place)
    expected = Path(run.format(project))
    assert run_of(Path(file.format(project))) == expected
    assert used("--experiment", file.format(project)) == expected


def test_a_run_that_is_named_is_relative_to_where_one_stands(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("notes")
    file = str(project / "experiments/leaves.toml")
    assert used("--experiment", file, "--run", "mine") == Path("mine")
    assert (project / "notes/mine/experiment.toml").is_file()


@pytest.mark.parametrize("place", [".", "experiments", "notes/deep", "runs/leaves"])
def test_the_last_run_is_known_anywhere_in_the_project(
    project: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    used(LEAVES)
    monkeypatch.chdir(place)
    assert last_run(STAGE).absolute() == project / "runs/leaves"
    assert used().absolute() == project / "runs/leaves"
    monkeypatch.chdir(project.parent / "beside")
    with pytest.raises(UserError, match="no run yet, here or in a folder above"):
        opened()
    monkeypatch.chdir("/")
    demo = shorter(DEMO)
    assert demo.is_file()
    with pytest.raises(UserError, match=rf"above \(/\); .* -m pipeline {demo}, or: "):
        chosen_run(None, "features.similar")


def test_the_note_outlives_a_move_of_the_project(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used(LEAVES)
    moved = project.rename(project.parent / "moved")
    monkeypatch.chdir(moved / "notes")
    assert last_run(STAGE) == moved / "runs/leaves"


def test_a_run_of_another_project_is_the_last_in_both(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used(LEAVES)
    other = project.parent / "beside" / "roots.toml"
    other.write_text('[data]\nimages = "pictures"\n')
    used("--experiment", str(other))
    expected = other.parent / "runs/roots"
    assert last_run(STAGE) == expected
    monkeypatch.chdir(other.parent)
    assert last_run(STAGE).absolute() == expected


def test_a_run_elsewhere_is_the_last_of_its_project(project: Path) -> None:
    used(LEAVES)
    far = project.parent / "disk" / "leaves"
    used(LEAVES, "--run", str(far))
    assert last_run(STAGE) == far
    assert not (project.parent / "runs").exists()


def test_a_start_that_fails_leaves_nothing(project: Path) -> None:
    opened(LEAVES)  # what comes before the inputs are read
    with pytest.raises(UserError, match=r"^pictures: there is no such folder"):
        prepare([LEAVES])
    assert not (project / "runs").exists()
    used("--experiment=loose.toml")
    for run in ([], ["--run", "other"]):
        with pytest.raises(UserError, match=r"^pictures: there is no such folder"):
            prepare([LEAVES, *run])
    assert last_run(STAGE) == Path("runs/loose")
    assert not Path("runs/leaves").exists()
    assert not Path("other").exists()


def test_a_stage_that_is_made_or_done_already_uses_its_run(project: Path) -> None:
    make_sheets(project)
    prepare([LEAVES, "--side=16", "--workers=1", "--cv=skfold3"])
    assert is_run(project / "runs/leaves")  # written: the stage was made
    assert last_run(STAGE) == Path("runs/leaves")
    used("--experiment=loose.toml")
    prepare([LEAVES, "--side=16", "--workers=1", "--cv=skfold3"])
    assert last_run(STAGE) == Path("runs/leaves")


def test_a_run_of_where_one_stood_is_gone_on_with_until_it_is_moved(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.chdir(project.parent / "beside")
    file = project / "experiments/leaves.toml"
    flags = ["--experiment", str(file)]
    used(*flags, "--run", "runs/leaves")  # as earlier versions called it
    place = project / "runs/leaves"
    assert used(*flags) == Path("runs/leaves")
    told = f"beside its experiment: mv {Path('runs/leaves').absolute()} {place}"
    assert told in caplog.text
    (project / "runs").mkdir()
    shutil.move("runs/leaves", place)
    assert used(*flags) == place
    monkeypatch.chdir(place)
    (images,) = open_command(TryoutSettings, STAGE, [])[2].data.images
    assert images.resolve() == project / "pictures"


def test_a_run_of_another_file_is_not_taken_for_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = project.parent / "beside" / "leaves.toml"
    other.write_text("")
    monkeypatch.chdir(other.parent)
    used("--experiment", "leaves.toml")
    file = project / "experiments/leaves.toml"
    assert run_of(file) == project / "runs/leaves"


def test_the_copy_of_a_run_leads_to_that_run(project: Path) -> None:
    used(LEAVES)
    kept = Path("runs/leaves/experiment.toml")
    assert used("--experiment", str(kept)) == Path("runs/leaves")
    assert not (project / "runs/leaves/runs").exists()


def test_the_absolute_run_is_said_once(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    announce.cache_clear()
    for _ in range(2):
        used(LEAVES)
        assert chosen_run(Path("runs/leaves"), STAGE) == Path("runs/leaves")
    assert caplog.messages == [f"run: {project}/runs/leaves"]
    assert chosen_run(None, STAGE) == Path("runs/leaves")
    assert caplog.messages[1:] == [
        f"run: {project}/runs/leaves (the one last worked on)"
    ]


def test_the_leaderboard_is_of_the_project(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used(LEAVES)
    monkeypatch.chdir("notes")
    assert noted_runs() == project / "runs"
    assert leaderboard([]).parent == project / "runs"


def test_a_project_behind_a_link_has_a_note_that_can_be_moved(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used(LEAVES)  # and so there is a note where one stands
    link = project.parent / "link"
    link.symlink_to(project)
    (project / "experiments/roots.toml").write_text("")
    used(f"--experiment={link}/experiments/roots.toml")
    assert (project / "runs/.last").read_text() == "runs/roots\n"
    moved = project.rename(project.parent / "moved")
    monkeypatch.chdir(moved)
    assert last_run(STAGE).samefile(moved / "runs/roots")


@pytest.mark.parametrize("linked", ["runs", "runs/leaves"])
def test_runs_may_lie_on_another_disk(
    project: Path, monkeypatch: pytest.MonkeyPatch, linked: str
) -> None:
    disk = project.parent / "disk" / "tessera"
    disk.mkdir(parents=True)
    (project / linked).parent.mkdir(exist_ok=True)
    (project / linked).symlink_to(disk)
    assert used(LEAVES) == Path("runs/leaves")
    assert (project / "runs/.last").read_text() == "runs/leaves\n"
    monkeypatch.chdir("notes")
    assert used() == project / "runs/leaves"
    (images,) = open_command(TryoutSettings, STAGE, [])[2].data.images
    assert images.resolve() == project / "pictures"


def test_experiments_may_be_shared_by_a_link(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = (project / "experiments").rename(project.parent / "shared")
    (project / "experiments").symlink_to(shared)
    assert used(LEAVES) == Path("runs/leaves")
    monkeypatch.chdir("notes/deep")
    assert run_of(Path("../../experiments/leaves.toml")) == project / "runs/leaves"
    assert used() == project / "runs/leaves"
