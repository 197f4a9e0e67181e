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

from data_prep.demo_collection.periods import LAST_YEAR, MANNERS, period_of, year_of
from data_prep.demo_collection.studio import Project, draw_sheet, plan
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
    project: Project
    has_year: bool = True
    has_attributes: bool = True

    @property
    def target(self) -> int:
        """The period, 0 to 3."""
        return period_of(self.year)


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
    broken, original, twin = (int(n) for n in rng.choice(n_train, 3, replace=False))
    train[twin] = replace(train[original], id_=train[twin].id_, series="s0000")
    train = _forget(train, rng)

    every = [*train, *test]
    projects = [work.project for work in every]
    with pool_of(n_cores()) as pool:
        drawn = pool.map(
            *(_draw, projects, repeat(side_px), rng.spawn(len(every))), chunksize=8
        )
        bar = tqdm(drawn, "drawing", len(every), unit="work", mininterval=1.0)
        for work, encoded in zip(every, bar, strict=True):
            (images / f"{work.id_}.jpg").write_bytes(encoded)
    copied = (images / f"{train[original].id_}.jpg").read_bytes()
    (images / f"{train[twin].id_}.jpg").write_bytes(copied)
    victim = images / f"{train[broken].id_}.jpg"
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 3])

    _write_tables(folder, train, test, rng)


def _draw(project: Project, side_px: int, hand: np.random.Generator) -> bytes:
    """Draw a sheet, as a JPEG."""
    encoded = BytesIO()
    picture = Image.fromarray(draw_sheet(project, side_px, hand))
    picture.save(encoded, "JPEG", quality=JPEG_QUALITY)
    return encoded.getvalue()


def plan_works(n_works: int, border: int, rng: np.random.Generator) -> list[Work]:
    """Plan series after series, none of which reaches across the border.

    Args:
        n_works: How many works to plan.
        border: The number of works before which a series must end.
        rng: Draws everything.
    """
    ids = _draw_ids(n_works, rng)
    numbers = rng.permutation(n_works) + 1
    works: list[Work] = []
    n_series = 0
    while len(works) < n_works:
        room = (border if len(works) < border else n_works) - len(works)
        n_sheets = min(room, 1 + int(rng.choice(4, p=SHEETS_CHANCES)))
        year = year_of(int(rng.integers(4)), rng)
        project = plan(year, rng)
        series = f"s{numbers[n_series]:04d}"
        for _ in range(n_sheets):
            id_ = ids[len(works)]
            works.append(Work(id_=id_, year=year, series=series, project=project))
            year = min(year + int(rng.integers(3)), LAST_YEAR)
        n_series += 1
    return works


def _draw_ids(n_ids: int, rng: np.random.Generator) -> list[str]:
    ids: dict[str, None] = {}
    while len(ids) < n_ids:
        ids[rng.bytes(6).hex()] = None
    return list(ids)


def _forget(works: Sequence[Work], rng: np.random.Generator) -> list[Work]:
    """Lose the year of a few works, and the attributes of a few others."""
    n_lost = max(2, round(UNKNOWN_FRAC * len(works)))
    lost = rng.choice(len(works), 2 * n_lost, replace=False).tolist()
    undated, undescribed = set(lost[:n_lost]), set(lost[n_lost:])
    return [
        replace(
            work,
            has_year=number not in undated,
            has_attributes=number not in undescribed,
        )
        for number, work in enumerate(works)
    ]


def _write_tables(
    folder: Path,
    train: Sequence[Work],
    test: Sequence[Work],
    rng: np.random.Generator,
) -> None:
    train = sorted(train, key=lambda work: work.id_)
    test = sorted(test, key=lambda work: work.id_)
    dated = [
        (work.id_, work.target, work.year if work.has_year else "", work.series)
        for work in train
    ]
    _write_csv(folder / "train.csv", ("id", "target", "year", "series"), dated)
    _write_csv(folder / "test.csv", ("id",), [(work.id_,) for work in test])
    answers = [(work.id_, work.target) for work in test]
    _write_csv(folder / "test_answers.csv", ("id", "target"), answers)
    sample = [(work.id_, CONSTANT_PREDICTION) for work in test]
    _write_csv(folder / "sample_submission.csv", ("id", "target"), sample)
    for kind in ("materials", "techniques"):
        every = sorted({word for manner in MANNERS for word in getattr(manner, kind)})
        rows = [
            (work.id_, word)
            for work in train
            if work.has_attributes
            for word in _describe(getattr(work.project.manner, kind), every, rng)
        ]
        _write_csv(folder / f"{kind}.csv", ("id", "name"), rows)


def _describe(
    words: Sequence[str], every: Sequence[str], rng: np.random.Generator
) -> list[str]:
    """Draw the words a cataloguer would use, the first one always among them."""
    chances = [1.0, 0.8] + [0.35] * (len(words) - 2)
    used = [
        word
        for word, chance in zip(words, chances, strict=True)
        if rng.random() < chance
    ]
    stray = every[int(rng.integers(len(every)))]
    if rng.random() < STRAY_WORD_CHANCE and stray not in used:
        used.append(stray)
    return used


def _write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]
) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
