"""Tests of data_prep.demo_collection.collection."""

import csv
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.demo_collection.collection import draw_collection, plan_works
from data_prep.demo_collection.periods import MANNERS, period_of

N_TRAIN, N_TEST, SIDE_PX = 40, 16, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("collection")
    draw_collection(made, N_TRAIN, N_TEST, SIDE_PX, seed=0)
    return made


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def is_readable(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.load()
    except OSError:
        return False
    return True


def test_the_seed_decides_every_byte_in_any_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    for name, seed, n_cores in (("first", 5, 2), ("again", 5, 1), ("unlike", 6, 2)):
        module = "data_prep.demo_collection.collection"
        monkeypatch.setattr(f"{module}.n_cores", lambda n=n_cores: n)
        draw_collection(tmp_path / name, 12, 4, 48, seed)
        drawn.append(contents(tmp_path / name))
    first, again, unlike = drawn
    assert first == again
    assert not {name for name in first if name.startswith("images/")} & set(unlike)


def test_the_tables_have_their_columns_and_nothing_else_is_there(folder: Path) -> None:
    headers = {
        path.name: path.read_text().split("\n")[0] for path in folder.glob("*.csv")
    }
    assert headers == {
        "train.csv": "id,target,year,series",
        "test.csv": "id",
        "test_answers.csv": "id,target",
        "sample_submission.csv": "id,target",
        "materials.csv": "id,name",
        "techniques.csv": "id,name",
    }
    assert {path.name for path in folder.iterdir()} == {*headers, "images"}


def test_every_id_has_its_picture_and_every_picture_its_id(folder: Path) -> None:
    train, test = (
        [row["id"] for row in rows_of(folder / f"{name}.csv")]
        for name in ("train", "test")
    )
    assert (len(train), len(test)) == (N_TRAIN, N_TEST)
    pictures = [path.stem for path in (folder / "images").glob("*.jpg")]
    assert sorted(pictures) == sorted(train + test)
    assert all(re.fullmatch("[0-9a-f]{12}", id_) for id_ in pictures)
    for name in ("test_answers", "sample_submission"):
        assert [row["id"] for row in rows_of(folder / f"{name}.csv")] == test


@pytest.mark.parametrize("seed", range(3))
def test_one_training_picture_is_broken_and_one_is_there_twice(
    tmp_path: Path, seed: int
) -> None:
    draw_collection(tmp_path, 12, 1, 32, seed)
    series_of = {row["id"]: row["series"] for row in rows_of(tmp_path / "train.csv")}
    paths = sorted((tmp_path / "images").iterdir())
    broken = [path.stem for path in paths if not is_readable(path)]
    assert len(broken) == 1
    assert set(broken) <= set(series_of)
    count = Counter(path.read_bytes() for path in paths)
    twins = [path.stem for path in paths if count[path.read_bytes()] > 1]
    assert len(twins) == 2
    assert series_of[twins[0]] != series_of[twins[1]]


def test_the_longer_side_is_as_asked_and_the_formats_differ(folder: Path) -> None:
    sizes = []
    for path in (folder / "images").iterdir():
        with Image.open(path) as image:
            sizes.append(image.size)
    assert {max(size) for size in sizes} == {SIDE_PX}
    assert {np.sign(width - height) for width, height in sizes} == {-1, 0, 1}


def test_the_target_is_the_period_of_the_year(folder: Path) -> None:
    rows = rows_of(folder / "train.csv")
    dated = [row for row in rows if row["year"]]
    assert all(period_of(int(row["year"])) == int(row["target"]) for row in dated)
    assert {row["target"] for row in rows} == {"0", "1", "2", "3"}


def test_a_few_works_lack_a_year_and_a_few_their_attributes(folder: Path) -> None:
    rows = rows_of(folder / "train.csv")
    assert sum(not row["year"] for row in rows) == 2
    for name in ("materials", "techniques"):
        described = [row["id"] for row in rows_of(folder / f"{name}.csv")]
        ids = {row["id"] for row in rows}
        assert set(described) < ids
        assert len(ids - set(described)) == 2
        assert len(described) > 1.3 * len(set(described))


def test_no_attribute_is_listed_twice_for_a_work(folder: Path) -> None:
    for name in ("materials", "techniques"):
        rows = [(row["id"], row["name"]) for row in rows_of(folder / f"{name}.csv")]
        assert len(rows) == len(set(rows))


def test_ids_do_not_tell_the_date(folder: Path) -> None:
    rows = rows_of(folder / "train.csv")
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    targets = np.array([int(row["target"]) for row in rows])
    # The chance of a larger correlation in 40 shuffled rows is about 1 in 100.
    assert abs(np.corrcoef(np.arange(len(rows)), targets)[0, 1]) < 0.4


@pytest.mark.parametrize("seed", range(20))
def test_no_series_reaches_across_the_border(seed: int) -> None:
    works = plan_works(60, border=41, rng=np.random.default_rng(seed))
    before = {work.series for work in works[:41]}
    after = {work.series for work in works[41:]}
    assert not before & after
    sheets = Counter(work.series for work in works)
    assert set(sheets.values()) <= {1, 2, 3, 4}
    assert len(set(sheets.values())) > 1


@pytest.mark.parametrize("seed", range(20))
def test_siblings_share_their_composition_and_nearly_their_year(seed: int) -> None:
    works = plan_works(60, border=41, rng=np.random.default_rng(seed))
    for series in {work.series for work in works}:
        siblings = [work for work in works if work.series == series]
        assert len({work.project.composition_seed for work in siblings}) == 1
        assert np.ptp([work.year for work in siblings]) <= 6


def test_neighbouring_periods_overlap_in_brightness(folder: Path) -> None:
    brightness: dict[int, list[float]] = {period: [] for period in range(4)}
    for row in rows_of(folder / "train.csv"):
        path = folder / "images" / f"{row['id']}.jpg"
        if is_readable(path):
            with Image.open(path) as image:
                mean = float(np.asarray(image.convert("L")).mean())
            brightness[int(row["target"])].append(mean)
    for period in range(3):
        low, high = np.quantile(brightness[period], (0.1, 0.9))
        next_low, next_high = np.quantile(brightness[period + 1], (0.1, 0.9))
        assert max(low, next_low) < min(high, next_high)


@pytest.mark.parametrize(
    ("n_train", "n_test", "side_px", "message"),
    [
        (11, 4, 64, "n_train=11 and n_test=4: at least 12 and 1"),
        (12, 0, 64, "n_test=0"),
        (12, 4, 31, "side_px=31: at least 32"),
    ],
)
def test_a_collection_too_small_is_refused(
    tmp_path: Path, n_train: int, n_test: int, side_px: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        draw_collection(tmp_path, n_train, n_test, side_px, seed=0)
    assert not list(tmp_path.iterdir())


def test_pictures_of_another_collection_are_not_mixed_in(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(FileExistsError, match="images exists: remove it"):
        draw_collection(tmp_path, 12, 4, 48, seed=0)


def test_every_manner_has_words_for_what_it_is_made_of_and_how() -> None:
    for manner in MANNERS:
        assert len(set(manner.materials)) == len(manner.materials) >= 2
        assert len(set(manner.techniques)) == len(manner.techniques) >= 2
