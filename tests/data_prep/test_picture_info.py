"""Tests of data_prep.pictures.picture_info."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.pictures.images import store_pictures
from data_prep.pictures.picture_info import PictureInfo, summarise
from data_prep.prepare import main

PLAIN = PictureInfo()


def test_nothing_is_said_of_plain_files() -> None:
    assert summarise([]) == summarise([PLAIN] * 3) == []


def test_further_pages_are_counted() -> None:
    (line,) = summarise([PLAIN, PictureInfo(n_pages=3), PictureInfo(n_pages=12)])
    assert line.startswith("2 files with further pages or frames, up to 12 in all")
    assert summarise([PictureInfo(n_pages=2)])[0].startswith("1 file with")
    assert line.endswith("the first of each was taken")
    (line,) = summarise([PictureInfo(n_pages=2)], "do that")
    assert line.endswith("the first of each was taken; do that")


def test_an_unused_range_is_told_with_its_count_and_largest_level() -> None:
    (line,) = summarise(
        [PictureInfo(peak=4095), PictureInfo(peak=900), PictureInfo(peak=60_000), PLAIN]
    )
    assert line.startswith(
        "2 of 3 files of 16 bits with no level above 4,095 of 65,535"
    )
    assert "16 of 256 grey levels" in line
    assert summarise([PictureInfo(peak=16_384), PictureInfo(peak=65_535)]) == []


def test_ignored_profiles_are_counted() -> None:
    (line,) = summarise([PLAIN, PictureInfo(is_profile_ignored=True)])
    assert line.startswith("1 file with a colour profile that is broken")


def test_the_journal_keeps_notes(tmp_path: Path) -> None:
    path, target = tmp_path / "a.png", tmp_path / "images.npy"
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(path)
    first = store_pictures([path], target, 16, "pad", 1)
    assert first[0].info == PictureInfo(peak=4000)
    line = json.loads(target.with_suffix(".journal").read_text())
    assert line["info"] == asdict(first[0].info)
    assert store_pictures([path], target, 16, "pad", 1) == first


def test_prepare_tells_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "pictures").mkdir()
    for k in range(2):
        levels = np.full((8, 8), 1000 + 500 * k, np.uint16)
        Image.fromarray(levels).save(tmp_path / "pictures" / f"{k}.tif")
    (tmp_path / "e.toml").write_text(
        '[data]\nimages = "pictures"\n[data_prep.prepare]\nside = 16\nworkers = 1\n'
    )
    monkeypatch.chdir(tmp_path)
    with caplog.at_level("INFO"):
        main(["--experiment", "e.toml"])
    assert "note: 2 of 2 files of 16 bits with no level above 1,500" in caplog.text
