"""Tests of prepare on files that are no pictures, or odd ones: nothing gets lost."""

import errno
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_prep.errors import UserError
from data_prep.prepare import main

SIDE = 16


def noise(seed: int, size: tuple[int, int] = (20, 26)) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (*size[::-1], 3)).astype(np.uint8))


def bomb(path: Path, side: int = 40_000) -> None:
    """Write a PNG of 1,600 million white pixels in a few kilobytes."""

    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(name + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + name + body + checksum

    header = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    rows = zlib.compress(bytes(10_000_000), 9)  # a twentieth of them will do
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join((chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")))
    )


def truncated(path: Path) -> None:
    noise(1).save(path)
    path.write_bytes(path.read_bytes()[:-40])


def png_called(path: Path) -> None:
    noise(2).save(path, "PNG")


# A file of each kind, and why it is left out; empty: it is read.
FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "bomb.png": (bomb, "more than 357 million pixels"),
    "dot.png": (lambda path: noise(3, (1, 1)).save(path), ""),
    "line.png": (lambda path: noise(4, (30_000, 10)).save(path), ""),
    "column.tif": (lambda path: noise(5, (10, 30_000)).save(path), ""),
    "zero.jpg": (lambda path: path.touch(), "the file is empty"),
    "html.png": (lambda path: path.write_text("<html>404</html>"), "in no format"),
    "text.tif": (lambda path: path.write_text("II*\0" + 90 * "x"), "truncated"),
    "png.jpg": (png_called, ""),
    "png.gif": (png_called, ""),
    "cut.png": (truncated, "truncated"),
    "loop.bmp": (lambda path: path.symlink_to(path.name), "it cannot be read"),
    "closed.png": (lambda path: noise(6).save(path), "it cannot be read, Permission"),
    "Case.png": (lambda path: noise(7).save(path), ""),
    "case.png": (lambda path: noise(8).save(path), ""),
    "with space.png": (lambda path: noise(9).save(path), ""),
    "7.5.png": (lambda path: noise(10).save(path), ""),
}
IDS = {name: name.rpartition(".")[0] for name in FILES}
IDS |= {"png.jpg": "png", "png.gif": "png2"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for name, (write, _) in FILES.items():
        write(tmp_path / "pictures" / f"{IDS[name]}.{name.rpartition('.')[2]}")
    opened = Path.open

    def refuse(path: Path, *args: Any, **options: Any) -> IO[Any]:
        if path.name == "closed.png":  # root may read everything
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    return tmp_path


def prepare(folder: Path, ids: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Prepare them, and give what is kept and what is left out, by id."""
    table = pd.DataFrame({"id": ids, "target": np.arange(len(ids)) % 2})
    table.to_csv(folder / "train.csv", index=False)
    (folder / "x.toml").write_text(
        '[data]\nimages = "pictures"\ntrain = "train.csv"\ntarget = "target"\n'
        f'[data_prep.prepare]\nside = {SIDE}\nworkers = 1\ncv = "kfold2"\n'
    )
    stage = main(["--experiment", "x.toml", "--run", "run"])
    kept = pd.read_parquet(stage / "table.parquet").set_index("id")
    assert np.load(stage / "images.npy").shape == (len(kept), SIDE, SIDE, 3)
    left_out = pd.read_csv(stage / "left_out.csv", dtype=str, keep_default_na=False)
    return kept, left_out.set_index("id")


@pytest.mark.filterwarnings("error")
def test_every_bad_file_is_left_out_with_its_reason_and_no_other(folder: Path) -> None:
    ids = [*IDS.values(), "none"]
    kept, left_out = prepare(folder, ids)
    assert sorted([*kept.index, *left_out.index]) == sorted(ids)
    assert left_out.loc["none", "reason"] == "no picture of this name"
    for name, (_, reason) in FILES.items():
        id_ = IDS[name]
        assert (id_ in left_out.index) == bool(reason), name
        if reason:
            assert left_out.loc[id_, "reason"].startswith(reason), name
            assert "\n" not in left_out.loc[id_, "reason"]
    sizes = {
        id_: (kept.loc[id_, "width"], kept.loc[id_, "height"]) for id_ in kept.index
    }
    assert sizes["dot"] == (1, 1)
    assert sizes["line"] == (30_000, 10)
    assert sizes["column"] == (10, 30_000)
    assert kept.loc["Case", "sha256"] != kept.loc["case", "sha256"]


def test_ids_with_the_other_slash_are_told_and_not_lost(folder: Path) -> None:
    for seed, tree in enumerate(("oak", "ash")):
        (folder / "pictures" / tree).mkdir()
        for number in range(3):
            path = folder / "pictures" / tree / f"{number}.png"
            noise(10 * seed + number).save(path)
    mixed = ["oak/0", "oak/1", "oak/2", "ash/0", "ash\\1", "ash\\2"]
    with pytest.raises(UserError, match=r"2 ids .*ash.*1.* are no path within"):
        prepare(folder, mixed)
    kept, _ = prepare(folder, [id_.replace("\\", "/") for id_ in mixed])
    assert {"ash/1", "ash/2"} <= set(kept.index)
