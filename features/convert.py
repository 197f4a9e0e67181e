"""Convert: bring in pickled dicts of other programs, or take a store to other tools.

    python -m features.convert FILE.pkl --to parquet
    python -m features.convert fold0.pkl fold1.pkl --task date --role oof --folds 0,1
        --out date.oof.pkl

A foreign pickle is a dict, or defaultdict, of ids to arrays (F,) or (V, F), or to lists
of V arrays or of F numbers; it may be packed by gzip, bzip2 or xz. It does not say what
it holds, so the flags must: the task, and what the nets knew of the labels. Nothing of
it is executed: see ``features.foreign``.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.command import run_command
from data_prep.dihedral import VIEWS
from data_prep.errors import UserError
from data_prep.pictures.decode import FORMATS
from data_prep.run_folders.damage import digest_file
from data_prep.settings import POSITIONAL, from_flags, nearest
from features import exports
from features.foreign import load_foreign
from features.header import HELD_OUT, ROLES
from features.plan import OUTPUTS, OutputColumn
from features.store import StoreError, open_store, write_store

# The order of the eight folders of pictures of the first user of such pickles.
FOREIGN_VIEWS = ("e", "h", "v", "r", "hv", "hr", "vr", "hvr")
ROUGH = 0.01  # spreads that rounding may take off an output before it is told
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ConvertSettings:
    """Bring in pickled dicts of other programs, or take a store to other tools.

    The first needs --task, --role and --out, the second --to.
    """

    files: Annotated[tuple[Path, ...], "pickles, or one store", POSITIONAL]
    to: Annotated[Literal["parquet", "npz"] | None, "take one store there"] = None
    task: Annotated[str, "what the outputs are, such as date"] = ""
    role: Annotated[str, f"of all rows: {', '.join(ROLES)}"] = ""
    folds: Annotated[tuple[str, ...], "the fold of each file, such as 0,1,2"] = ()
    views: Annotated[tuple[str, ...], "the views of each id, in their order"] = (
        FOREIGN_VIEWS
    )
    out: Annotated[Path | None, "file to write (--to: beside the store)"] = None
    overwrite: Annotated[bool, "replace what is there already"] = False


def main(argv: Sequence[str] | None = None) -> Path:
    """Convert what the command line names, and return the path of the result."""
    settings = from_flags(ConvertSettings, "features.convert", argv)
    files, out = settings.files, settings.out
    if settings.to and len(files) > 1:
        raise UserError("--to takes one store at a time")
    if settings.to and out is None:
        out = files[0].with_suffix(f".{settings.to}")
    if out is None:
        raise UserError("where to? give --out FILE.pkl")
    if out.exists() and not settings.overwrite:
        raise UserError(f"{out} is there already; --overwrite replaces it")
    if settings.to:
        store = open_store(files[0])
        write = exports.to_parquet if settings.to == "parquet" else exports.to_npz
        write(store, out)
        log.info("%d ids -> %s", len(store), out)
        return out
    n_ids = bring_in(settings, out)
    log.info("%d ids of %d files -> %s", n_ids, len(files), out)
    return out


def bring_in(settings: ConvertSettings, out: Path) -> int:
    """Make one store of foreign pickles, and count its ids.

    Raises:
        UserError: The flags are missing or do not fit the files.
    """
    _check_flags(settings)
    files, folds, task = settings.files, settings.folds, settings.task
    rows: dict[str, NDArray[Any]] = {}
    number_of: dict[str, int] = {}  # of the file of each id
    for number, file in enumerate(files):
        arrays = load_foreign(file)
        if twice := rows.keys() & arrays.keys():
            raise UserError(
                f"{file}: {len(twice)} of its ids are in an earlier file too, such as"
                f" {min(twice)!r}; bring in each net's pictures by themselves"
            )
        rows |= arrays
        number_of |= dict.fromkeys(arrays, number)
    values = _stacked(rows, {id_: files[number] for id_, number in number_of.items()})
    views = None
    if values.ndim == 3:
        values, views = _in_our_order(values, settings.views)
    ids = sorted(rows)
    _warn_of_names(ids)
    outputs = [""] if values.shape[-1] == 1 else map(str, range(values.shape[-1]))
    columns = [
        OutputColumn(
            name=f"{task}_{output}" if output else task,
            task=task,
            output=output,
            activation="identity",
            space=OUTPUTS,
        )
        for output in outputs
    ]
    header = {
        "columns": [column.header() for column in columns],
        "views": views,
        "roles": [settings.role] * len(ids),
        "folds": [int(folds[number_of[id_]]) if folds else -1 for id_ in ids],
        "nets": [
            {"task": task, "fold": fold, "digest": digest_file(file)}
            for fold, file in zip(folds or ["none"] * len(files), files, strict=True)
        ],
        "fold_hash": None,
        "source": {"stage": "features.convert", "files": [f.name for f in files]},
        "failures": {},
        "n_expected": len(ids),
        "command": " ".join(sys.orig_argv[1:]),
    }
    write_store(out, ids, values, header)
    return len(ids)


def _check_flags(settings: ConvertSettings) -> None:
    """Check what the flags say of the pickles, before one is read."""
    task, role, folds = settings.task, settings.role, settings.folds
    if not task.isidentifier():
        raise UserError(f"task = {task!r}: say what the outputs are, such as date")
    if role not in ROLES:
        raise UserError(
            f"role = {role!r}: {nearest(role, ROLES)}; say what the nets knew of the"
            " labels of these rows: oof if nothing, insample if they learned from them"
        )
    n_files = len(settings.files)
    if (folds or role in HELD_OUT) and len(folds) != n_files:
        raise UserError(
            f"{n_files} files and {len(folds)} folds: give --folds with the fold"
            " that each file's rows are held out with"
        )
    if odd := [fold for fold in folds if not fold.isdecimal()]:
        raise UserError(f"folds = {odd[0]!r}: give numbers, such as 0,1,2")


def _stacked(
    rows: dict[str, NDArray[Any]], file_of: dict[str, Path]
) -> NDArray[np.float32]:
    """Put the arrays of all ids, sorted, into (N, F) or (N, V, F) float32."""
    shapes = {array.shape for array in rows.values()}
    shape = shapes.pop()
    if shapes or len(shape) not in (1, 2):
        listed = ", ".join(map(str, sorted([shape, *shapes])[:3]))
        raise UserError(
            f"{next(iter(file_of.values()))}: the arrays have shapes {listed}; one"
            " shape for all is needed, (F,) or (V, F)"
        )
    ids = sorted(rows)
    values = np.stack([rows[id_] for id_ in ids])
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    for is_bad, problem, remedy in (
        (~np.isfinite(values), "are not finite", "leave these ids out"),
        (~np.isfinite(narrow), "do not fit into float32", "scale them to below 1e38"),
    ):
        idx = np.flatnonzero(is_bad.reshape(len(ids), -1).any(axis=1))
        if len(idx):
            first = ids[idx[0]]
            value = values[idx[0]][is_bad[idx[0]]][0]
            raise StoreError(
                f"{file_of[first]}: values of {len(idx)} ids {problem}, such as"
                f" {value:.4g} of {first!r}; {remedy}"
            )
    _warn_of_rounding(values, narrow)
    return narrow


def _warn_of_rounding(values: NDArray[Any], narrow: NDArray[np.float32]) -> None:
    """Tell of outputs that float32 cannot tell apart, far from zero or close to it."""
    exact = values.reshape(-1, values.shape[-1]).astype(np.float64)
    error = np.abs(exact - narrow.reshape(exact.shape)).max(axis=0)
    varies = np.ptp(exact, axis=0) > 0
    coarse = np.flatnonzero(varies & (error > ROUGH * exact.std(axis=0)))
    if len(coarse):
        log.warning(
            "float32 rounds away what tells the rows of %d of %d outputs apart, such as"
            " of output %d; subtract its mean, and divide it by its spread, before",
            len(coarse),
            exact.shape[1],
            coarse[0],
        )


def _warn_of_names(ids: Sequence[str]) -> None:
    """Tell of ids that no picture has."""
    named = [
        id_
        for id_ in ids
        if "/" in id_ or "\\" in id_ or id_.rpartition(".")[2].lower() in FORMATS
    ]
    if named:
        log.warning(
            "%d of %d ids look like names of files, such as %r; an id is the name"
            " without folder and extension, so these will match no picture",
            len(named),
            len(ids),
            named[0],
        )


def _in_our_order(
    values: NDArray[np.float32], views: Sequence[str]
) -> tuple[NDArray[np.float32], list[str]]:
    """Sort (N, V, F) views into the order of ``VIEWS``."""
    if unknown := [view for view in views if view not in VIEWS]:
        raise UserError(f"views = {unknown[0]!r}: give some of {','.join(VIEWS)}")
    if len(set(views)) < len(views) or len(views) != values.shape[1]:
        raise UserError(
            f"each id has {values.shape[1]} views, and --views names {len(views)}:"
            f" {','.join(views)}; name those of the file, in their order"
        )
    in_order = [view for view in VIEWS if view in views]
    return values[:, [list(views).index(view) for view in in_order]], in_order


if __name__ == "__main__":
    run_command(main)
