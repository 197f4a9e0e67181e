"""The prepared pictures as whole batches on the device.

There is no loader and no worker: a batch is cut out of the memory-mapped array (or out
of a copy on the GPU, where it fits) in less than a hundredth of a training step. Of
pictures that do not fit into memory all of a batch are asked of the disk at once.
"""

import mmap
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_prep.arrays import Ints
from data_prep.errors import UserError
from data_prep.run_folders.damage import map_array
from pretext.device import moved, pick_device

COPIED_AT_ONCE = 1024  # pictures
GPU_SHARE = 0.4  # of the free memory of a GPU that the pictures may take


@dataclass
class Pictures:
    """N pictures of S x S pixels.

    Attributes:
        pixels: (N, S, S, 3) uint8, memory-mapped.
        device: Where the batches go.
        columns: (N, C) numbers from the user's table, for nets that are given some.
    """

    pixels: NDArray[np.uint8]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    columns: NDArray[np.float32] | None = None
    _on_device: Tensor | None = None
    _is_placed: bool = False  # it is known whether they go onto the device

    @classmethod
    def open(
        cls,
        prepared: Path,
        device: torch.device,
        columns: NDArray[np.float32] | None = None,
    ) -> "Pictures":
        """Map the pictures of a finished ``data_prep.prepare`` folder."""
        pixels: NDArray[Any] = map_array(prepared / "images.npy")
        return cls(pixels, device, columns)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the name of the file, if there is one, to whichever device."""
        if file := self.file:
            return _opened, (file.parent, self.columns)
        return Pictures, (self.pixels, self.device, self.columns)

    @property
    def file(self) -> Path | None:
        """Where the pixels lie, if they are mapped."""
        name = getattr(self.pixels, "filename", None)
        return Path(name) if name else None

    @property
    def side_px(self) -> int:
        """Side of the pictures in pixels, S."""
        return int(self.pixels.shape[1])

    def check_different(self, rows: Ints) -> None:
        """Check that some of the pictures differ from others.

        Raises:
            UserError: All are the same, so that there is nothing to learn.
        """
        first = self.pixels[rows[0]] if len(rows) else None
        if len(rows) > 1 and all((self.pixels[row] == first).all() for row in rows):
            raise UserError(
                f"{len(rows)} of {len(rows)} pictures looked at are the same, so there"
                " is nothing to learn; look at [data] images"
            )

    def take(self, rows: Ints) -> Tensor:
        """Cut out (B,) rows as (B, 3, S, S) uint8 on the device, channels last."""
        if not self._is_placed:
            self._copy_to_gpu()
        if self._on_device is not None:
            batch = self._on_device[moved(torch.from_numpy(rows), self.device)]
        else:
            self._announce(rows)
            batch = moved(torch.from_numpy(self.pixels[rows]), self.device)
        return batch.permute(0, 3, 1, 2)

    def take_columns(self, rows: Ints) -> Tensor | None:
        """Cut out the (B, C) columns of (B,) rows on the device, if there are any."""
        if self.columns is None:
            return None
        return moved(torch.from_numpy(self.columns[rows]), self.device)

    def _announce(self, rows: Ints) -> None:
        """Let the system read (B,) rows from the disk, all at once.

        Each page would else be waited for alone when it is touched, and with it what
        systems read ahead, which nobody wants of pictures in random order.
        """
        mapped = self.pixels.base
        if not isinstance(mapped, mmap.mmap) or not hasattr(mapped, "madvise"):
            return  # in memory, or on Windows
        runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
        if len(runs) == 1:
            return  # in order, where the system reads ahead itself
        n_bytes = self.pixels[0].nbytes
        first = len(mapped) - self.pixels.nbytes  # behind the header of an npy file
        for run in runs:
            start = first + int(run[0]) * n_bytes
            stop = start + len(run) * n_bytes
            page = start - start % mmap.PAGESIZE
            mapped.madvise(mmap.MADV_WILLNEED, page, stop - page)

    def _copy_to_gpu(self) -> None:
        """Copy all pictures to a GPU that has room; whoever takes none needs none."""
        self._is_placed = True
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            if self.pixels.nbytes < GPU_SHARE * free:
                self._on_device = placed_on(self.device, self.pixels)


def _opened(folder: Path, columns: NDArray[np.float32] | None) -> Pictures:
    """Open pictures in another process, which may see another device."""
    return Pictures.open(folder, pick_device(), columns)


@dataclass(frozen=True)
class Normalisation:
    """Channel statistics of the collection, in grey levels 0..255.

    A channel that hardly varies counts as deviating by one grey level.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, images: Tensor) -> Tensor:
        """Standardise (B, 3, H, W) images of grey levels."""
        mean = _channels(self.mean, images.device)
        std = _channels(self.std, images.device)
        # one copy, then in place: three passes over memory were 3 % of an extraction
        copy = images.to(torch.float32, copy=True)
        return copy.sub_(mean).div_(std.clamp(min=1.0))


def _channels(values: tuple[float, float, float], device: torch.device) -> Tensor:
    """Give a number per channel as (1, 3, 1, 1) on the device."""
    if device.type == "cuda":
        return _channels_on_gpu(values, device)
    return torch.tensor(values, device=device).view(1, 3, 1, 1)


@cache  # made anew for each batch, they would wait for the step before
def _channels_on_gpu(
    values: tuple[float, float, float], device: torch.device
) -> Tensor:
    with torch.inference_mode(mode=False):  # trainings use them too
        return torch.tensor(values, device=device).view(1, 3, 1, 1)


def placed_on(device: torch.device, pixels: NDArray[np.uint8]) -> Tensor:
    """Copy mapped pixels to a device, a few at a time: they may exceed the memory."""
    placed = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(pixels), COPIED_AT_ONCE):
        some = slice(start, start + COPIED_AT_ONCE)
        placed[some] = torch.from_numpy(np.array(pixels[some]))
    return placed
