"""Tests of features.inspect."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.inspect import main
from features.store import StoreError, write_store

ROOT = Path(__file__).parents[2]
COLUMNS = ["target__mean", "target__var", *(f"words_{i}__mean" for i in range(20))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give a store with all that a header can say."""
    header: dict[str, Any] = {
        "columns": [{"name": n, "task": n.partition("_")[0]} for n in COLUMNS],
        "roles": ["oof", "oof", "test", "oof"],
        "folds": [1, 0, -1, 1],
        "nets": [{"task": "target", "fold": k, "digest": "f00d"} for k in range(15)],
        "failures": {"pear": "cut short"},
        "versions": {"numpy": "2.4.6"},
        "transform": {"side": 128},
        "precision": "bf16",
    }
    write_store(tmp_path / "s.pkl", "abcd", np.ones((4, 22), np.float32), header)
    return tmp_path / "s.pkl"


def shown(path: Path, caplog: pytest.LogCaptureFixture, *flags: str) -> list[str]:
    """Run the command and return its lines with single spaces."""
    with caplog.at_level(logging.INFO):
        assert main([str(path), *flags]) == path
    return [" ".join(record.getMessage().split()) for record in caplog.records]


def test_the_table_says_what_the_header_says(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = shown(path, caplog)
    words = ", ".join(f"words_{i}__mean" for i in range(12))
    assert lines[1:16] == [
        "format tessera-features/2",
        "shape 4 x 22 <f4",
        "ids a, b, c and 1 more",
        "views pooled",
        "columns target: 2: target__mean, target__var",
        f"words: 20: {words} and 8 more",
        "roles oof: 3, test: 1",
        "folds 0: 1, 1: 2, none: 1",
        "nets task target, fold 0, digest f00d",
        *(f"task target, fold {k}, digest f00d" for k in range(1, 7)),
    ]
    assert lines[21:27] == [
        "and 3 more",
        "failures 1",
        "pear: cut short",
        "versions numpy 2.4.6",
        "transform side 128",
        "precision bf16",
    ]
    assert not any("sound" in line for line in lines)


def test_a_joint_net_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tasks, path = ("target", "date", "words"), tmp_path / "s.pkl"
    nets = [{"task": t, "fold": k, "digest": f"d{k}"} for t in tasks for k in range(3)]
    header = {"columns": [{"name": "x"}], "roles": ["oof"], "folds": [0], "nets": nets}
    write_store(path, ["a"], np.ones((1, 1)), header)
    lines = shown(path, caplog)
    first = lines.index("nets task target+date+words, fold 0, digest d0")
    assert lines[first + 2] == "task target+date+words, fold 2, digest d2"
    assert lines[first + 3].startswith("failures")


def test_views_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s.pkl"
    header = {"columns": [{"name": "x"}], "views": ["e", "hvr"]}
    rows = {"roles": ["label_free"], "folds": [-1]}
    write_store(path, ["a"], np.ones((1, 2, 1)), header | rows)
    lines = shown(path, caplog)
    assert "shape 1 x 2 x 1 <f8" in lines
    assert "views e hvr" in lines
    assert "versions not recorded" in lines


def test_verify_reads_the_values(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert shown(path, caplog, "--verify")[-1].startswith("sound: ")
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)
    main([str(path)])
    with pytest.raises(StoreError, match="values do not fit their checksum"):
        main([str(path), "--verify"])


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "features.inspect", str(tmp_path / "none.pkl")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 2
    assert child.stderr == f"error: {tmp_path}/none.pkl: there is no such file\n"


def test_an_unknown_flag_is_named(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(path), "--verfy"])
    assert (
        "unknown argument '--verfy'; did you mean '--verify'?"
        in capsys.readouterr().err
    )
