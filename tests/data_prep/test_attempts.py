"""Tests of data_prep.run_folders.attempts (see also test_runs)."""

import os
from pathlib import Path
from typing import Any

import pytest

from data_prep.run_folders.attempts import seconds_of_attempts


def test_a_file_that_goes_away_meanwhile_is_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "epochs").mkdir()
    for name, time in (("epochs/kept", 150), ("epochs/draft", 120), ("older", 110)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time, time))
    (tmp_path / "link").symlink_to("nowhere")
    look = Path.stat

    def look_and_remove(path: Path, **options: Any) -> os.stat_result:
        status = look(path, **options)
        if path.name == "draft":  # renamed by the process that writes the stage
            path.unlink()
        return status

    monkeypatch.setattr(Path, "stat", look_and_remove)
    note = {"seconds": 7.0, "began_at": 100.0}
    assert seconds_of_attempts(tmp_path, note) == 57
    assert seconds_of_attempts(tmp_path, {}) == 0
