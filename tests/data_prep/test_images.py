"""Tests of data_prep.pictures.images."""

import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from data_prep.errors import UserError
from data_prep.pictures import decoded, images
from data_prep.pictures.fit import Fit, fit_square
from data_prep.pictures.folders import search_folders
from data_prep.pictures.images import (
    channel_statistics,
    keep_rows,
    store_pictures,
)


def picture(seed: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A smooth picture, width by height, so that resizing keeps it recognisable."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures, of which the second is cut off and the fourth is no picture."""
    inner = tmp_path / "pictures"
    inner.mkdir()
    for index in range(5):
        picture(index).save(inner / f"p{index}.png")
    whole = (inner / "p1.png").read_bytes()
    (inner / "p1.png").write_bytes(whole[: len(whole) // 2])
    (inner / "p3.png").write_bytes(b"<html>not found</html>")
    return inner


def test_pictures_are_found_by_stem_in_id_order(tmp_path: Path) -> None:
    first_folder, second_folder = tmp_path / "one", tmp_path / "two"
    for inner in (first_folder, second_folder / "deeper"):
        inner.mkdir(parents=True)
    for name in ("b.JPG", "007.png", "a.b.tif", ".hidden.jpg", "notes.txt", "x.json"):
        (first_folder / name).touch()
    (second_folder / "c.webp").touch()
    (second_folder / "deeper" / "d.png").touch()
    assert list(
        search_folders([first_folder, second_folder, first_folder]).pictures
    ) == ["007", "a.b", "b", "c", "d"]
    assert search_folders([second_folder]).pictures["c"] == second_folder / "c.webp"


def test_files_that_cannot_be_used_are_passed_over_by_name(folder: Path) -> None:
    (folder / os.fsdecode(b"caf\xe9.png")).touch()
    (folder / "link.jpg").symlink_to("nowhere")
    searched = search_folders([folder])
    assert list(searched.pictures) == [f"p{index}" for index in range(5)]
    reasons = {file.file: file.reason for file in searched.unusable.values()}
    assert reasons == {
        r"caf\xe9.png": "its name is not in UTF-8; rename the file",
        "link.jpg": "it is a link to a file that is not there",
    }


def test_a_file_that_cannot_be_read_is_left_out_with_its_reason(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "p0.png").unlink()
    (folder / "p0.png").symlink_to("/proc/self/mem")
    first, *_ = store_pictures(
        sorted(folder.iterdir()), tmp_path / "images.npy", 16, "pad", 1
    )
    assert first.reason == "it cannot be read, Input/output error"
    assert (first.sha256, first.pixels_sha256) == ("", "")


def test_chosen_rows_are_kept_in_their_order(folder: Path, tmp_path: Path) -> None:
    store, kept = tmp_path / "images.npy", tmp_path / "kept.npy"
    store_pictures(sorted(folder.iterdir()), store, 16, "pad", 1)
    for rows in ([0, 2], [2, 1], [1], []):
        keep_rows(store, kept, rows)
        assert_array_equal(np.load(kept), np.load(store)[rows])


def test_folders_that_hold_nothing_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone: there is no such folder"):
        search_folders([tmp_path / "gone"])
    with pytest.raises(UserError, match=r"no pictures here .* \[data\] images"):
        search_folders([tmp_path])


def test_two_files_with_one_stem_are_both_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.png").touch()
    with pytest.raises(UserError, match=r"a\.jpg and .*a\.png have the same id 'a'"):
        search_folders([tmp_path, tmp_path / "sub"], ids=["a"])


@pytest.mark.parametrize("fit", ["pad", "squash"])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_array_holds_the_readable_pictures_in_order(
    folder: Path, tmp_path: Path, fit: Fit, workers: int
) -> None:
    paths = sorted(folder.iterdir())
    results = store_pictures(paths, tmp_path / "images.npy", 16, fit, workers)
    array = np.load(tmp_path / "images.npy", mmap_mode="r")
    readable = [0, 2, 4]
    assert array.shape == (3, 16, 16, 3)
    for row, index in zip(array, readable, strict=True):
        assert_array_equal(row, fit_square(picture(index), 16, fit))
    is_unreadable = [bool(file.reason) for file in results]
    assert is_unreadable == [False, True, False, True, False]
    assert "truncated" in results[1].reason
    for path, file in zip(paths, results, strict=True):
        assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert file.witness is not None
        assert file.witness.size == path.stat().st_size
    for row, index in zip(array, readable, strict=True):
        pixels = hashlib.sha256(row.tobytes()).hexdigest()
        assert results[index].pixels_sha256 == pixels
    assert (results[0].width, results[0].height) == (40, 30)
    n_bytes = (tmp_path / "images.npy").stat().st_size
    assert n_bytes == 128 + 3 * 16 * 16 * 3


def test_several_processes_write_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for index in range(150):
        picture(index, (20, 20)).save(tmp_path / "many" / f"{index:03d}.png")
    paths = sorted((tmp_path / "many").iterdir())
    files = []
    for workers in (1, 2):
        target = tmp_path / f"{workers}.npy"
        store_pictures(paths, target, 16, "pad", workers)
        files.append(target.read_bytes())
    assert files[0] == files[1]


def test_an_interrupted_attempt_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(folder.iterdir())
    target = tmp_path / "images.npy"
    expected = store_pictures(paths, tmp_path / "whole.npy", 16, "pad", 1)
    monkeypatch.setattr(decoded, "CHUNK", 1)
    monkeypatch.setattr(images, "SAVE_EVERY_S", 0)
    original, begun = decoded._decode_file, []

    def stop_at_the_fourth(path: Path, side: int, fit: Fit) -> object:
        if path.stem == "p3" and len(begun) == 3:
            raise KeyboardInterrupt
        begun.append(path.stem)
        return original(path, side, fit)

    monkeypatch.setattr(decoded, "_decode_file", stop_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        store_pictures(paths, target, 16, "pad", 1)
    with target.with_suffix(".journal").open("a") as journal:
        journal.write('{"sha256": "a line without e')
    begun.clear()
    assert store_pictures(paths, target, 16, "pad", 1) == expected
    assert begun == ["p3", "p4"]
    assert target.read_bytes() == (tmp_path / "whole.npy").read_bytes()
    begun.clear()
    assert store_pictures(paths, target, 16, "pad", 1) == expected
    assert begun == []


@pytest.mark.parametrize("reason", images.LACKS)
def test_what_could_not_be_read_for_want_of_a_package_is_tried_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    paths, target = sorted(folder.iterdir()), tmp_path / "images.npy"
    expected = store_pictures(paths, tmp_path / "whole.npy", 16, "pad", 1)
    original = decoded._decode_file

    def lack_it(path: Path, side: int, fit: Fit) -> object:
        result, pixels = original(path, side, fit)
        if path.stem != "p2":
            return result, pixels
        lacking = decoded.Decoded(
            reason=reason, sha256=result.sha256, witness=result.witness
        )
        return lacking, None

    with monkeypatch.context() as patch:
        patch.setattr(decoded, "_decode_file", lack_it)
        assert store_pictures(paths, target, 16, "pad", 1)[2].reason == reason
    assert store_pictures(paths, target, 16, "pad", 1) == expected
    assert target.read_bytes() == (tmp_path / "whole.npy").read_bytes()


@pytest.mark.parametrize(
    ("ending", "harm"),  # of changed pixels nobody knows before there is a record
    [
        *((".npy", harm) for harm in ("cut", "emptied", "missing")),
        *((".journal", harm) for harm in ("cut", "emptied", "changed", "missing")),
    ],
)
def test_an_interrupted_attempt_that_was_damaged_gives_the_same(
    folder: Path, tmp_path: Path, ending: str, harm: str
) -> None:
    paths = sorted(folder.iterdir())
    target = tmp_path / "images.npy"
    expected = store_pictures(paths, target, 16, "pad", 1)
    whole = target.read_bytes()
    file = target.with_suffix(ending)
    content = file.read_bytes()
    file.unlink()
    if harm != "missing":
        middle = len(content) // 2
        changed = content[:middle] + b"\n}\xff" + content[middle + 3 :]
        harmed = {"cut": content[: middle + 5], "emptied": b"", "changed": changed}
        file.write_bytes(harmed[harm])
    assert store_pictures(paths, target, 16, "pad", 1) == expected
    assert target.read_bytes() == whole


def test_a_full_disk_is_told_before_anything_is_decoded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    monkeypatch.setattr(decoded, "_decode_file", pytest.fail)
    target = tmp_path / "images.npy"
    with pytest.raises(UserError, match=r"images.npy: the disk has no room .*--side"):
        store_pictures(sorted(folder.iterdir()), target, 16, "pad", 1)
    assert not target.exists()


def test_a_disk_that_cannot_reserve_room_is_used_all_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    store_pictures(sorted(folder.iterdir()), tmp_path / "images.npy", 16, "pad", 1)
    assert len(np.load(tmp_path / "images.npy")) == 3


def test_nothing_readable_is_an_error(folder: Path, tmp_path: Path) -> None:
    paths = [folder / "p1.png", folder / "p3.png"]
    with pytest.raises(UserError, match=r"none of 2 pictures can be read; p1.png: "):
        store_pictures(paths, tmp_path / "images.npy", 16, "pad", 1)


def test_statistics_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, [100, 200, 256], (300, 8, 8, 3)).astype(np.uint8)
    mean, std = channel_statistics(array)
    assert_allclose(mean, array.mean(axis=(0, 1, 2)))
    assert_allclose(std, array.std(axis=(0, 1, 2)))
