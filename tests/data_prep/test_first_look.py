"""Tests of data_prep.first_look: what names, cells, headers and rates tell."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from data_prep.effort import Rates, estimate_rates
from data_prep.first_look.columns import Column, look_at
from data_prep.first_look.headers import Headers, read_headers
from data_prep.first_look.picture_ids import PictureIds
from data_prep.first_look.schedule import LADDER, Load, batch_size, schedule
from data_prep.first_look.toml_text import value_text
from data_prep.processes import n_cores

WIDE = Headers(n_read=1, short_px=300, long_px=400, shapes=(1.0, 1.0), n_camera=0)


@pytest.mark.parametrize(
    ("text", "id_"),
    [
        ("8", "8"),
        ("8.JPG", "8"),
        ("a\\8.jpg", "8"),
        ("oak/7", "oak/7"),
        ("pictures/oak/7.jpg", "oak/7"),
        ("./oak/7.png", "oak/7"),
        ("7", "7"),  # of which oak and elm have one each
        ("ash/7.jpg", "ash/7"),  # there is none, and it is not oak's
        ("in/8.jpg", "8"),
        ("oak/8.jpg", "8"),
        ("elm/8.jpg", "elm/8"),  # elm has none
        ("v1.2", "v1.2"),
    ],
)
def test_a_cell_means_a_picture(text: str, id_: str) -> None:
    names = ("oak/7.jpg", "elm/7.jpg", "in/oak/8.jpg", "v1.2.jpg")
    files = [Path("top") / name for name in names]
    pictures = PictureIds.of(files, Path("top"))
    assert pictures.ids == {"oak/7", "elm/7", "8", "v1.2"}
    assert pictures.meant_by(text) == id_


def column(values: list[object], name: str = "x") -> Column:
    return look_at(pd.Series(values, dtype=object), name)


def test_what_a_column_is() -> None:
    grades = column(["1", "2", "2", None, "NA"])
    assert grades.is_few_whole_numbers
    assert (grades.n_rows, grades.n_values, grades.n_shared) == (3, 2, 1)
    assert (grades.low, grades.high) == ("1", "2")
    assert not column(["1", "2", "2.5"]).is_whole
    assert not column(["true", "false"]).is_number
    assert column(["1890", "1901"], "year").is_date
    assert not column(["1890", "1901"], "height").is_date
    assert not column(["1", "2"], "year").is_date
    assert column(["1890-05-01", "1901-01"]).is_date
    assert column([f"w{k // 5}" for k in range(10)]).is_class_like
    assert not column([f"w{k // 4}" for k in range(8)]).is_class_like
    assert column([f"w{k // 2}" for k in range(42)]).is_joining
    assert not column([f"w{k}" for k in range(42)]).is_joining


def test_headers_of_cameras_and_shapes(tmp_path: Path) -> None:
    files = []
    for number, size in enumerate([(60, 40)] * 3 + [(40, 60)] * 3):
        image, exif = Image.new("RGB", size), Image.Exif()
        if number:
            exif[0x010F] = "Maker"
        files.append(tmp_path / f"{number}.jpg")
        image.save(files[-1], exif=exif)
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    headers = read_headers([*files, tmp_path / "bad.jpg"])
    assert headers is not None
    assert (headers.n_read, headers.n_camera) == (6, 5)
    assert (headers.short_px, headers.long_px) == (40, 60)
    assert not headers.is_one_shape
    portraits = read_headers(files[3:])
    assert portraits is not None
    assert portraits.is_one_shape
    assert not portraits.is_square
    assert read_headers([tmp_path / "bad.jpg"]) is None


def test_seconds_are_those_of_the_stages() -> None:
    load = Load(n_pictures=300, n_labelled=150)
    assert load.rows_of_net == 100
    assert load.n_views == 8 * (150 + 3 * 150)
    # 22 s to open and write, 0.375 to stack, 2 to decode, 0.6 on one core to look for
    # near copies, 300 x 4 puzzles at 10 a second, 3 nets of 100 rows 5 times at 20 a
    # second, 4800 views and 150 rows scored 6 times at 100 a second
    seconds = load.seconds(
        Rates(training=10, inference=1),
        Rates(training=20, inference=100),
        pretext_epochs=4,
        epochs=5,
    )
    expected = 22 + 0.375 + 2 + 0.6 / n_cores() + 120 + 75 + 48 + 9
    assert seconds == pytest.approx(expected, abs=0.01)
    assert Load(n_pictures=300, n_labelled=0).n_views == 2400


def test_more_time_gives_larger_nets_or_longer_trainings() -> None:
    load = Load(n_pictures=7576, n_labelled=4030)
    rungs = [(network, side) for network, side, _ in LADDER]
    ranks = []
    for minutes in (5, 15, 30, 60, 120, 600, 6000):
        chosen = schedule(load, WIDE, minutes, 100.0)
        assert chosen.minutes <= minutes
        ranks.append((-rungs.index((chosen.backbone, chosen.side_px)), chosen.epochs))
    places = [rank for rank, _ in ranks]
    assert places == sorted(places)
    assert ranks[-1] == (0, 28)
    assert ranks[0] != ranks[-1]


def test_where_nothing_fits_the_quickest_is_taken() -> None:
    load = Load(n_pictures=1_000_000, n_labelled=1_000_000)
    chosen = schedule(load, WIDE, 1, 100.0)
    assert (chosen.backbone, chosen.side_px) == LADDER[-1][:2]
    assert chosen.epochs == 3
    assert chosen.minutes > 1


def test_pictures_are_not_enlarged_and_few_rows_are_seen_more_often() -> None:
    small = Headers(n_read=1, short_px=30, long_px=70, shapes=(0.4, 0.5), n_camera=0)
    chosen = schedule(Load(n_pictures=60, n_labelled=60), small, 600, 100.0)
    assert (chosen.side_px, chosen.epochs) == (64, 60)


def test_the_rates_of_all_candidates_are_known() -> None:
    for network, side_px, _ in LADDER:
        assert estimate_rates(network, side_px, gmac_per_s=100.0) is not None


@pytest.mark.parametrize(
    ("n_rows", "size"), [(10_000, 32), (128, 32), (127, 16), (40, 8), (5, 4)]
)
def test_an_epoch_has_four_steps(n_rows: int, size: int) -> None:
    assert batch_size("transfer", n_rows) == size


def test_values_are_written_as_toml_reads_them(tmp_path: Path) -> None:
    import tomllib

    base = tmp_path / "experiments"
    values: list[Any] = [
        'a "b" \\ é\x7f',
        3,
        0.5,
        True,
        tmp_path / "x",
        ["y" * 60, "z" * 60],
    ]
    text = "\n".join(f"k{n} = {value_text(v, base)}" for n, v in enumerate(values))
    read = list(tomllib.loads(text).values())
    assert read == [*values[:4], "../x", values[5]]
