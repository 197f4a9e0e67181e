"""Tests of data_prep.file_paths: paths as messages have them."""

from pathlib import Path

import pytest

from data_prep.experiment import DataSettings
from data_prep.file_paths import (
    MAX_PATHS,
    MayBePath,
    called,
    nearest_path,
    shorter,
    without_folders,
)
from data_prep.sources import named_data


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder that one stands in, with others beside it."""
    for name in ("here/deep/er", "beside/pictures"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def test_a_path_is_written_as_short_as_it_can_be(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = place / "here" / "deep"
    for path in (below, Path("deep"), Path("deep/er/.."), place / "here/../here/deep"):
        assert shorter(path) == Path("deep")
    assert shorter(place / "beside" / "pictures") == Path("../beside/pictures")
    monkeypatch.chdir("deep/er")
    assert shorter(Path("/etc")) == Path("/etc")
    monkeypatch.chdir("/")
    assert shorter(Path("etc")) == Path("/etc"), "from the root it is no shorter"
    monkeypatch.chdir(below / "er")
    assert shorter(Path("../../../../../../../../../../etc")) == Path("/etc")


def test_a_detour_by_a_link_is_kept(place: Path) -> None:
    Path("link").symlink_to(place / "beside" / "pictures")
    detour = Path("link/../x.csv")  # which is beside/x.csv
    assert shorter(detour) == detour
    assert shorter(detour).resolve() == place / "beside" / "x.csv"
    assert shorter(place / "here" / "link") == Path("link")


def test_what_a_path_is_called_depends_on_no_place_that_one_stands_at(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = place / "beside" / "pictures"
    (pictures / "experiments").mkdir()
    (place / "here" / "link").symlink_to(pictures)
    for stand in (place / "here", pictures, pictures / "experiments", Path("/")):
        monkeypatch.chdir(stand)
        assert called(shorter(pictures)) == "pictures", stand
        assert called(shorter(pictures / "experiments" / "..")) == "pictures", stand
        assert called(shorter(place / "here" / "link")) == "link", stand
        seen = DataSettings(images=(shorter(pictures),), train=place / "x.csv")
        recorded = named_data(seen)
        assert (recorded["images"], recorded["train"]) == (["pictures"], "x.csv")
        weights = without_folders(
            f"{pictures}/experiments/..", [MayBePath(is_path=lambda *_: True)]
        )
        assert weights == "./pictures"


def test_the_nearest_path_is_named_or_some_are() -> None:
    runs = [Path("runs", name) for name in ("coins", "leaves", "leaves_small")]
    assert nearest_path(Path("runs/cions"), runs) == "did you mean runs/coins?"
    assert nearest_path(Path("Leaves"), runs) == "did you mean runs/leaves?"
    assert nearest_path(Path("zzz"), runs[:2]) == "there are: runs/coins, runs/leaves"
    assert nearest_path(Path("zzz"), []) == ""
    many = nearest_path(Path("zzz"), [Path(f"r{k}") for k in range(MAX_PATHS + 1)])
    assert many.endswith(f"r{MAX_PATHS - 1}, ...")
