"""A made-up collection of prints and paintings, with the tables a museum would give.

Small, drawn by code, and as untidy as a real one: works in series, some without a year
or without attributes, one picture broken and one there twice.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import repeat
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from data_prep.demo_collection import periods
from data_prep.demo_collection.grain import Rng, pick
from data_prep.processes import n_cores, pool_of

JPEG_QUALITY = 92
SHEETS_CHANCES = (0.4, 0.3, 0.18, 0.12)  # of a series of 1, 2, 3 and 4 sheets
UNKNOWN_FRAC = 0.03  # of the works lack a year, and as many lack their attributes
STRAY_WORD_CHANCE = 0.08
FEWEST_WORKS = 12
SMALLEST_SIDE_PX = 32
CONSTANT_PREDICTION = 1.5


@dataclass(frozen=True, kw_only=True)
class Work:
    """One picture of the collection, and what the museum knows of it.

    Attributes:
        id_: Twelve hexadecimal digits, the name of its file.
        year: The year it was made in.
        series: The series it is a sheet of.
        project: What it has in common with the other sheets.
        has_year: Whether the table tells the year.
        has_attributes: Whether the tables name its materials and techniques.
    """

    id_: str
    year: int
    series: str
    project: periods.Project
    has_year: bool = True
    has_attributes: bool = True

    @property
    def target(self) -> int:
        """The period, 0 to 3."""
        return periods.period_of(self.year)


def draw_collection(
    folder: Path, n_train: int, n_test: int, side_px: int, seed: int
) -> None:
    """Draw the pictures and write the tables of a collection.

    Writes ``images/ID.jpg``, ``train.csv`` (id, target, year, series), ``test.csv``,
    ``test_answers.csv``, ``sample_submission.csv``, ``materials.csv`` and
    ``techniques.csv`` (id, name; of training works). The same arguments give the same
    bytes, as long as the versions of numpy and Pillow are the same.

    Args:
        folder: Where to write; made if missing.
        n_train: Number of training works, the broken one and the duplicate included.
        n_test: Number of test works.
        side_px: The longer side of every picture.
        seed: Decides everything.

    Raises:
        ValueError: Too few works, or too small pictures.
        FileExistsError: The folder has pictures already.
    """
    if n_train < FEWEST_WORKS or n_test < 1:
        raise ValueError(
            f"{n_train=} and {n_test=}: at least {FEWEST_WORKS} and 1 are needed"
        )
    if side_px < SMALLEST_SIDE_PX:
        raise ValueError(f"{side_px=}: at least {SMALLEST_SIDE_PX} are needed")
    images = folder / "images"
    if images.exists():
        raise FileExistsError(f"{images} exists: remove it, or choose another folder")
    images.mkdir(parents=True)

    rng = np.random.default_rng(seed)
    works = plan_works(n_train + n_test, n_train, rng)
    # Series are planned one after the other, so the border may not cut one in two.
    train, test = works[:n_train], works[n_train:]
    broken, original, twin = rng.choice(n_train, 3, replace=False).tolist()
    train[twin] = replace(train[original], id_=train[twin].id_, series="s0000")
    # Of a few works the year is lost, and of a few others the attributes.
    n_lost = max(2, round(UNKNOWN_FRAC * n_train))
    lost = rng.choice(n_train, 2 * n_lost, replace=False).tolist()
    for number in lost[:n_lost]:
        train[number] = replace(train[number], has_year=False)
    for number in lost[n_lost:]:
        train[number] = replace(train[number], has_attributes=False)

    paths = [images / f"{work.id_}.jpg" for work in [*train, *test]]
    projects = [work.project for work in [*train, *test]]
    rngs = rng.spawn(len(paths))
    with pool_of(n_cores()) as pool:
        jpegs = pool.map(_draw, projects, repeat(side_px), rngs, chunksize=8)
        bar = tqdm(jpegs, "drawing", len(paths), unit="work", mininterval=1.0)
        for path, jpeg in zip(paths, bar, strict=True):
            path.write_bytes(jpeg)
    paths[twin].write_bytes(paths[original].read_bytes())
    whole = paths[broken].read_bytes()
    paths[broken].write_bytes(whole[: len(whole) // 3])
    _write_tables(folder, train, test, rng)


def _draw(project: periods.Project, side_px: int, rng: Rng) -> bytes:
    """Draw a sheet, as a JPEG."""
    jpeg = BytesIO()
    picture = Image.fromarray(periods.draw_sheet(project, side_px, rng))
    picture.save(jpeg, "JPEG", quality=JPEG_QUALITY)
    return jpeg.getvalue()


def plan_works(n_works: int, border: int, rng: Rng) -> list[Work]:
    """Plan series after series; one must end where there are ``border`` works."""
    ids: dict[str, None] = {}  # a set that keeps its order
    while len(ids) < n_works:
        ids[rng.bytes(6).hex()] = None
    unused_ids = iter(ids)
    numbers = rng.permutation(n_works) + 1
    works: list[Work] = []
    n_series = 0
    while len(works) < n_works:
        room = (border if len(works) < border else n_works) - len(works)
        n_sheets = min(room, 1 + int(rng.choice(4, p=SHEETS_CHANCES)))
        year = periods.year_of(int(rng.integers(4)), rng)
        project = periods.plan(year, rng)
        series = f"s{numbers[n_series]:04d}"
        for _ in range(n_sheets):
            id_ = next(unused_ids)
            works.append(Work(id_=id_, year=year, series=series, project=project))
            year = min(year + int(rng.integers(3)), periods.LAST_YEAR)
        n_series += 1
    return works


def _write_tables(
    folder: Path, train: Sequence[Work], test: Sequence[Work], rng: Rng
) -> None:
    train, test = (sorted(works, key=lambda work: work.id_) for works in (train, test))
    dated = [
        (work.id_, work.target, work.year if work.has_year else "", work.series)
        for work in train
    ]
    tables: dict[str, tuple[str, Iterable[Sequence[object]]]] = {
        "train": ("id,target,year,series", dated),
        "test": ("id", [(work.id_,) for work in test]),
        "test_answers": ("id,target", [(work.id_, work.target) for work in test]),
        "sample_submission": (
            "id,target",
            [(w.id_, CONSTANT_PREDICTION) for w in test],
        ),
    }
    for column in ("materials", "techniques"):
        words = sorted({word for m in periods.MANNERS for word in getattr(m, column)})
        described = [
            (work.id_, word)
            for work in train
            if work.has_attributes
            for word in _describe(getattr(work.project.manner, column), words, rng)
        ]
        tables[column] = ("id,name", described)
    for name, (header, rows) in tables.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header.split(","))
            writer.writerows(rows)


def _describe(words: Sequence[str], all_words: Sequence[str], rng: Rng) -> list[str]:
    """Draw the words a cataloguer would use, the first one always among them."""
    chances = [1.0, 0.8] + [0.35] * (len(words) - 2)
    chosen_words = [w for w, p in zip(words, chances, strict=True) if rng.random() < p]
    stray = pick(all_words, rng)
    if rng.random() < STRAY_WORD_CHANCE and stray not in chosen_words:
        chosen_words.append(stray)
    return chosen_words
