"""The made-up collection of sheets in a folder of its own."""

from pathlib import Path

import pytest

from tests.data_prep.sheets import make_sheets


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with pictures and a table; see ``make_sheets``."""
    monkeypatch.chdir(tmp_path)  # which run was the last worked on is written here
    return make_sheets(tmp_path)
