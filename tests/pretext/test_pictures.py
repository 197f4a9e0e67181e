"""Tests of pretext.data.pictures."""

import mmap
import os
import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.testing import assert_close

from data_prep.errors import UserError
from pretext.data.pictures import Normalisation, Pictures, placed_on

CPU = torch.device("cpu")


@pytest.mark.parametrize("rows", [[0], [4, 1, 1, 3], []])
def test_rows_are_taken_in_the_order_asked(tmp_path: Path, rows: list[int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    pictures = Pictures.open(tmp_path, CPU)
    assert pictures.side_px == 6
    batch = pictures.take(np.array(rows, dtype=np.int64))
    assert batch.shape == (len(rows), 3, 6, 6)
    assert batch.dtype == torch.uint8
    assert (batch.permute(0, 2, 3, 1).numpy() == pixels[rows]).all()


def waits_for(take: Callable[[Pictures, NDArray[Any]], object], folder: Path) -> int:
    """Count the pages of pictures on the disk that were waited for, one by one."""
    with (folder / "images.npy").open("rb") as file:
        os.fdatasync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    pictures = Pictures.open(folder, CPU)
    # without what systems read ahead, which is more or less of the file
    pictures.pixels.base.madvise(mmap.MADV_RANDOM)  # type: ignore[union-attr]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    take(pictures, np.arange(3, 2000, 40))
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before


def test_pictures_on_the_disk_are_asked_for_all_at_once(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.ones((2000, 64, 64, 3), dtype=np.uint8))
    n_single = waits_for(lambda pictures, rows: pictures.pixels[rows], tmp_path)
    if n_single < 50:
        pytest.skip("the files of this system do not leave its memory")
    assert waits_for(Pictures.take, tmp_path) < n_single / 4


def test_pictures_travel_to_another_process_as_the_name_of_their_file(
    tmp_path: Path,
) -> None:
    pixels = np.arange(10 * 6 * 6 * 3, dtype=np.uint8).reshape(10, 6, 6, 3)
    np.save(tmp_path / "images.npy", pixels)
    columns = np.arange(20, dtype=np.float32).reshape(10, 2)
    for pictures in (
        Pictures.open(tmp_path, CPU, columns),
        Pictures(pixels, columns=columns),
    ):
        parcel = pickle.dumps(pictures)
        is_mapped = isinstance(pictures.pixels, np.memmap)
        assert (len(parcel) < pixels.nbytes) == is_mapped
        unpacked = pickle.loads(parcel)
        assert isinstance(unpacked.pixels, np.memmap) == is_mapped
        rows = np.array([9, 2])
        assert torch.equal(unpacked.take(rows), pictures.take(rows))
        taken = unpacked.take_columns(rows)
        assert taken is not None
        assert taken.tolist() == [[18, 19], [4, 5]]
    assert Pictures(pixels).take_columns(rows) is None


def test_a_batch_can_be_changed_without_changing_the_pictures(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((2, 4, 4, 3), dtype=np.uint8))
    pictures = Pictures.open(tmp_path, CPU)
    pictures.take(np.array([0, 1])).fill_(9)
    assert pictures.take(np.array([0, 1])).sum() == 0


def test_normalised_pictures_have_no_mean_and_unit_deviation() -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 3, 16, 16), generator=rng, dtype=torch.uint8)
    flat = images.float().transpose(0, 1).flatten(1)
    mean, std = flat.mean(dim=1).tolist(), flat.std(dim=1, correction=0).tolist()
    normalised = (
        Normalisation(tuple(mean), tuple(std))(images).transpose(0, 1).flatten(1)
    )
    assert_close(normalised.mean(dim=1), torch.zeros(3), atol=1e-5, rtol=0)
    assert_close(normalised.std(dim=1, correction=0), torch.ones(3))


def test_a_channel_that_never_varies_stays_finite() -> None:
    images = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    normalised = Normalisation((255.0, 255.0, 250.0), (0.0, 0.2, 5.0))(images)
    assert_close(normalised[0, :, 0, 0], torch.tensor([0.0, 0.0, 1.0]))


@pytest.mark.parametrize("n", [2, 30])
def test_pictures_that_are_all_the_same_are_refused(n: int) -> None:
    pictures = Pictures(np.full((n, 4, 4, 3), 200, dtype=np.uint8))
    message = f"{n} of {n} pictures looked at are the same, so there is nothing to lea"
    with pytest.raises(UserError, match=message):
        pictures.check_different(np.arange(n))
    pictures.check_different(np.arange(1))
    pictures.check_different(np.arange(0))
    pictures.pixels[-1, 0, 0, 0] ^= 1
    pictures.check_different(np.arange(n))


def test_pixels_are_placed_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3)).astype(np.uint8)
    for at_once in (1, 3, 7, 1024):
        monkeypatch.setattr("pretext.data.pictures.COPIED_AT_ONCE", at_once)
        placed = placed_on(torch.device("cpu"), pixels)
        np.testing.assert_array_equal(placed.numpy(), pixels)
