"""Tests of data_prep.experiment_files: which there are, and what is wrong with one."""

from pathlib import Path

import pytest

import pipeline
from data_prep.errors import UserError
from data_prep.experiment_files import experiment_files, list_experiments, read_toml

NAMES = ("coins", "leaves", "leaves_small")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a project with experiments, and stand in it."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "pictures").mkdir()
    for name in NAMES:
        (tmp_path / "experiments" / f"{name}.toml").write_text("")
    (tmp_path / "loose.toml").write_text("")
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("experiments/cois.toml", "did you mean experiments/coins.toml?"),
        ("coins.toml", "did you mean experiments/coins.toml?"),
        ("leaves", "did you mean experiments/leaves.toml?"),
        ("experiments/LEAVES.toml", "did you mean experiments/leaves.toml?"),
        ("gone/lose.toml", "did you mean loose.toml?"),
        ("zzz.toml", "there are: experiments/coins.toml, experiments/leaves.toml, "),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_file_that_is_not_there_is_answered_with_the_nearest(
    typed: str, hint: str
) -> None:
    with pytest.raises(UserError) as caught:
        pipeline.main([typed])
    start = f"{typed}: there is no such experiment file; {hint}"
    assert str(caught.value).startswith(start)


def test_a_folder_is_no_experiment(project: Path) -> None:
    with pytest.raises(UserError) as caught:
        pipeline.main(["pictures"])
    assert str(caught.value) == (
        "pictures is a folder and no experiment file; give a file; for a folder of"
        " pictures: python -m data_prep.start pictures"
    )
    with pytest.raises(UserError, match=r"give one of .*/coins\.toml, .*loose\.toml;"):
        read_toml(project)


def test_where_there_is_none_it_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        read_toml(Path("x.toml"))
    assert f"there are none in {tmp_path}; for a folder of pictures: python -m" in str(
        caught.value
    )
    assert not list(experiment_files(tmp_path))


def test_without_a_file_the_pipeline_lists_those_there_are(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as caught:
        pipeline.main([])
    assert caught.value.code == 2
    files = ", ".join(f"experiments/{name}.toml" for name in NAMES)
    assert capsys.readouterr().err == (
        "python -m pipeline: give the experiment file; there are:"
        f" {files}, loose.toml\n"
    )
    monkeypatch.chdir("pictures")  # those above are listed too
    assert list_experiments(Path()).startswith(f"there are: {project}/experiments/coi")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("side = twelve", r'2: Invalid value: side = twelve; .*: side = "twelve"$'),
        ("side =", r"2: .*: side =; write a value after side =, or take the line out$"),
        ("up = True", "2: .*: up = True; write up = true$"),
        ("group = None", "2: .*: group = None; take the line out$"),
        (r'images = "C:\Users"', r'2: .*: images = "C:\\Users"; write paths with / in'),
        ("side 96", "2: .*: side 96; write key = value$"),
        ('target = "price', """2: .*: target = "price; close the text with "$"""),
        ("side = 1\nside = 2", "3: Cannot overwrite a value: side = 2$"),
        ("side = [\n1,\n2 3]", r"4: Unclosed array: 2 3\]$"),
        ("[data", r"2: Cannot declare .*: \[data$"),
        ("side = [1,", r"Invalid value \(at end of document\)$"),
    ],
)
def test_what_is_wrong_with_a_line_is_told_with_the_line(
    tmp_path: Path, line: str, told: str
) -> None:
    file = tmp_path / "leaves.toml"
    file.write_text(f"[data]\n{line}\n")
    with pytest.raises(UserError, match=f": (line )?{told}") as caught:
        read_toml(file)
    assert str(caught.value).startswith(f"{file}: not a TOML file: ")
    assert "\n" not in str(caught.value)
