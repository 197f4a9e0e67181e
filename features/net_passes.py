"""The passes over the pictures, and what the nets gave in them, by row.

Shapes: N rows of the prepared table, n of them, V views, F outputs of a fold's nets.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Ints
from data_prep.run_folders.damage import digest_of
from features.assembly import Extracted
from features.plan import PassRows, RoleRows
from features.rows import Floats, Rows, chosen_rows

if TYPE_CHECKING:
    from torch import Tensor

    from features.sources import NetSource
    from pretext.data.pictures import Pictures

CHUNK = 4096  # rows looked at at a time: the values lie on the disk
LONGEST_NAME = 100  # of a file, without what is told beside it


@dataclass(frozen=True, kw_only=True)
class NetPasses:
    """The passes to make: one for the rows of each set of nets.

    Attributes:
        passes: Which rows go through the nets of which folds.
        source: The nets.
        pictures: All prepared pictures.
        views: V names.
        bf16: Compute in bfloat16.
        image_rows: (N,) where in ``pictures`` each row of the table has its own.
        title: Of the progress bar.
    """

    passes: Sequence[PassRows]
    source: "NetSource"
    pictures: "Pictures"
    views: tuple[str, ...]
    bf16: bool
    image_rows: Ints
    title: str

    @property
    def files(self) -> list[Path]:
        """The files that the passes read."""
        return [*filter(None, [self.pictures.file]), *self.source.files]

    def run(self, work: Path) -> "NetOutputs":
        """Send all rows through their nets, or go on where that stopped.

        Args:
            work: Folder for the values.
        """
        from tqdm import tqdm

        bar: tqdm[Any]
        total = sum(len(planned.rows) for planned in self.passes)
        with tqdm(total=total, desc=self.title, unit="img", mininterval=1.0) as bar:
            return self.counted(work, bar.update)

    def counted(self, work: Path, count: Callable[[int], object]) -> "NetOutputs":
        """Do so, and tell of it.

        Args:
            work: Folder for the values.
            count: Told how many more pictures are done.
        """
        from features.passes import run_pass, seconds_of_pass
        from features.sources import side_by_side

        source, device = self.source, self.pictures.device
        load = cache(lambda fold: source.load(fold, device))

        def forward(folds: Sequence[str], *inputs: "Tensor") -> "Tensor":
            return side_by_side([load(fold) for fold in folds])(*inputs)

        values, seconds = [], 0.0
        for planned in self.passes:
            file = file_of(planned, work)
            digests = [d for fold in planned.folds for d in source.digests(fold)]
            outputs = run_pass(
                # opens the nets when they are needed: not for what is done
                partial(forward, planned.folds),
                width=source.width * len(planned.folds),
                pictures=self.pictures,
                rows=self.image_rows[planned.rows],
                work=file,
                views=self.views,
                weights=" ".join(digests),
                bf16=self.bf16,
                count=count,
            )
            values.append(outputs)
            seconds += seconds_of_pass(file)
        return NetOutputs(net_passes=self, values=values, seconds=seconds)


def file_of(planned: PassRows, work: Path) -> Path:
    """Give the file for the values of a pass; the journal lies beside it.

    Args:
        planned: The pass.
        work: Folder for the values of all.
    """
    name = "-".join(planned.folds)
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}-{digest_of(planned.folds)[:16]}"
    return work / planned.part / f"{name}.npy"


@dataclass(frozen=True, kw_only=True)
class NetOutputs:
    """What the nets gave.

    Attributes:
        net_passes: Which rows went through which nets.
        values: Of each pass (rows of it, V, F of its folds side by side), mapped.
        seconds: What the passes took, with all attempts.
    """

    net_passes: NetPasses
    values: Sequence[NDArray[np.float32]]
    seconds: float

    def by_role(
        self, planned: Sequence[RoleRows], ids: NDArray[Any]
    ) -> list[Extracted]:
        """Give the views of each role; a row whose outputs are not finite is a failure.

        A row without label must have come through all nets, or it is in no mean.

        Args:
            planned: Which rows, in which role.
            ids: (N,) of the prepared table.
        """
        folds = {role_rows.fold for role_rows in planned}
        views = {fold: self.views(fold) for fold in folds}
        failed: dict[tuple[str, str], dict[int, str]] = {}
        for role_rows in planned:
            reasons = failed.setdefault(_failing_together(role_rows), {})
            for row in _not_finite(views[role_rows.fold], role_rows.rows):
                reasons[row] = (
                    f"outputs of the nets of fold {role_rows.fold} are not finite"
                )
        extracted = []
        for role_rows in planned:
            reasons = failed[_failing_together(role_rows)]
            rows = role_rows.rows[~np.isin(role_rows.rows, list(reasons))]
            extracted.append(
                Extracted(
                    fold=role_rows.fold,
                    role=role_rows.role,
                    rows=rows,
                    deal=role_rows.deal,
                    views=chosen_rows(views[role_rows.fold], rows),
                    failures={str(ids[row]): why for row, why in reasons.items()},
                )
            )
        return extracted

    def views(self, fold: str) -> Rows:
        """Give the (N, V, F) outputs of the nets of a fold, in the unit of the labels.

        Only rows that went through them can be read. Where labels lie far from zero,
        the nets count from an origin, and float32 would lose the sum: it is float64.
        """
        net_passes = self.net_passes
        passes, width = net_passes.passes, net_passes.source.width
        n_rows = len(net_passes.image_rows)
        origins = net_passes.source.origins.get(fold)
        shape = (n_rows, len(net_passes.views), width)
        dtype = np.dtype(np.float32 if origins is None else np.float64)
        pass_of = np.full(n_rows, -1, np.int32)
        position_of = np.full(n_rows, -1, np.int32)  # within its pass
        for number, of_pass in enumerate(passes):
            if fold in of_pass.folds:
                pass_of[of_pass.rows] = number
                position_of[of_pass.rows] = np.arange(len(of_pass.rows))

        def read(idx: Ints) -> Floats:
            views = np.empty((len(idx), *shape[1:]), dtype)
            for number in np.unique(pass_of[idx]):
                is_inside = pass_of[idx] == number
                values = self.values[number][position_of[idx[is_inside]]]
                # a pass has the outputs of its folds side by side, F each
                first = passes[number].folds.index(fold) * width
                views[is_inside] = values[:, :, first : first + width]
            return views if origins is None else views + origins

        return Rows(shape=shape, dtype=dtype, read=read)


def _failing_together(role_rows: RoleRows) -> tuple[str, str]:
    """Name the rows of which each fails in all folds if it fails in any."""
    return role_rows.role, "" if role_rows.role == "test" else role_rows.fold


def _not_finite(views: Rows, rows: Ints) -> Iterator[int]:
    """Find the rows that have a value which is not finite."""
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        is_bad = ~np.isfinite(views.read(chunk)).all(axis=(1, 2))
        yield from chunk[is_bad].tolist()
