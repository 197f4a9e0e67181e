"""Feature store: what nets see in each picture, kept by its id, in one file.

The file is a plain pickle, which needs no package but numpy::

    features = pickle.load(open("features.pkl", "rb"))    # dict: id -> array

and an array with a header that is read without unpickling::

    store = open_store("features.pkl")                    # maps it, executes nothing
    store.matrix(table["id"]); store.frame(); store.header["nets"]

A plain ``pickle.load`` executes what a file says, whoever wrote it: on a file that came
from somebody else use ``open_store``, or ``load_safely`` for the plain dict. How the
bytes lie is told in ``features.stream``.

Shapes: N rows, V views, F columns.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Ints
from data_prep.errors import UserError
from data_prep.run_folders.damage import maker_of
from data_prep.run_folders.drafts import drafted
from features import stream
from features.header import (
    DTYPES,
    FIRST_FORMAT,
    FORMAT,
    check_columns,
    check_distinct,
    check_layout,
)
from features.index import Index, index_in, index_of
from features.rows import Rows

if TYPE_CHECKING:
    import pandas as pd

# Written by write_store, whatever the caller's header says.
OWN_KEYS = (
    "format",
    "shape",
    "dtype",
    "index",
    "payload_sha256",
    "offset",
    "header_sha256",
)
OF_ROWS = ("ids", "roles", "folds")  # what a header is given of rows becomes the index
AT_ONCE = 4096  # rows written at a time
DAMAGED = ("damaged", "cut short", "too long")  # how such messages begin
Values = NDArray[np.floating[Any]]


class StoreError(UserError):
    """A feature store cannot be written, read or trusted."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Store:
    """An open feature store: rows by id, mapped from the file and read-only.

    Attributes:
        path: The file it is mapped from.
        header: How the rows were made; see ``write_store``.
        index: Ids, roles and folds of the N rows, as they lie in the file.
        values: (N, F), or (N, V, F) with the views apart.
    """

    path: Path
    header: dict[str, Any] = field(repr=False)
    index: Index = field(repr=False)
    values: Values = field(repr=False)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """(N,) in the order of the rows.

        Raises:
            StoreError: They are not what the header says.
        """
        with _faults_of(self.path):
            return self.index.ids()

    @cached_property
    def columns(self) -> list[str]:
        """Names of the F columns."""
        return [column["name"] for column in self.header["columns"]]

    @property
    def roles(self) -> NDArray[np.str_]:
        """(N,) what the nets knew of each row's label, such as ``"oof"``."""
        return self.index.roles()

    @property
    def folds(self) -> Ints:
        """(N,) the fold that holds each row out; -1: none."""
        return self.index.folds.astype(np.int64)

    @cached_property
    def _array(self) -> Values:
        return np.asarray(self.values)  # indexing a memmap takes 20 times as long

    @cached_property
    def _rows(self) -> dict[str, int]:
        with _faults_of(self.path):
            check_distinct(self.ids, "ids")
        return {id_: row for row, id_ in enumerate(self.ids)}

    def __reduce__(self) -> tuple[Callable[[Path], "Store"], tuple[Path]]:
        """Travel to another process, of a loader say, as the name of the file."""
        return open_store, (self.path.absolute(),)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._rows

    def __getitem__(self, id_: str) -> Values:
        """Return the (F,) or (V, F) values of one id."""
        values: Values = self._array[self.rows_of([id_])[0]]
        return values

    def matrix(self, ids: Iterable[str] | None = None) -> Values:
        """Copy the values of the n ids, (n, F) or (n, V, F), in that order; None: all.

        Raises:
            StoreError: Some ids are not in the store.
        """
        return self._array.copy() if ids is None else self._array[self.rows_of(ids)]

    def frame(self, ids: Iterable[str] | None = None) -> "pd.DataFrame":
        """Give the values as a table with the ids as index.

        Views that are apart become columns ``NAME__VIEW``.
        """
        import pandas as pd  # late: a second that most readers need not spend

        index = pd.Index(self.ids if ids is None else list(ids), name="id")
        columns, values = self.columns, self.matrix(index)
        if values.ndim == 3:
            views = self.header["views"]
            columns = [f"{name}__{view}" for name in columns for view in views]
            values = values.transpose(0, 2, 1).reshape(len(index), len(columns))
        return pd.DataFrame(values, index=index, columns=columns)

    def rows_of(self, ids: Iterable[str]) -> Ints:
        """Find the (n,) rows of the n ids.

        Raises:
            StoreError: Some ids are not in the store.
        """
        ids = list(ids)
        rows = np.fromiter((self._rows.get(id_, -1) for id_ in ids), np.int64, len(ids))
        if (rows < 0).any():
            missing = [ids[idx] for idx in np.flatnonzero(rows < 0)]
            examples = ", ".join(repr(id_) for id_ in missing[:3])
            raise StoreError(
                f"{self.path}: {len(missing)} of {len(ids)} ids are not in it, such as"
                f" {examples}; its {len(self)} ids are text like {self.ids[:1]}"
            )
        return rows


def write_store(
    path: Path | str,
    ids: Iterable[str],
    values: Values | Rows,
    header: Mapping[str, Any],
) -> None:
    """Write a feature store, whole or not at all; the same rows give the same bytes.

    The values are read a piece at a time, so that they need not fit into memory.

    Args:
        path: The file; what was there stays until the new one is complete.
        ids: (N,) text.
        values: (N, F) or (N, V, F) float16, float32 or float64, all finite.
        header: How the rows were made, as JSON values: ``columns`` (F tables with a
            ``name``), ``views`` (V names; None where they are pooled), and whatever
            else is worth knowing; and ``roles`` and ``folds`` (N each), which go with
            the ids and are read as ``Store.roles`` and ``Store.folds``. ``OWN_KEYS``
            are set here.

    Raises:
        StoreError: Something does not fit; nothing was written.
    """
    path = Path(path)
    ids = list(ids)
    if not isinstance(values, Rows):
        values = np.asarray(values)
    dtype = values.dtype.newbyteorder("<")
    if dtype.str not in DTYPES:
        raise StoreError(
            f"{path}: values are {values.dtype}; give float16, float32 or float64"
        )
    try:
        index = index_of(
            ids, header.get("roles", []), header.get("folds", []), values.shape
        )
        kept = {k: v for k, v in header.items() if k not in (*OWN_KEYS, *OF_ROWS)}
        complete = {
            "format": FORMAT,
            "shape": list(values.shape),
            "dtype": dtype.str,
            **kept,
            "index": index.header(),
            "payload_sha256": hashlib.sha256().hexdigest(),  # its place is kept
        }
        check_columns(complete)
        opening = stream.opening(complete, index.traits(), bytes(index.text))
        with drafted(path) as file:
            file.seek(len(opening))
            digest = hashlib.sha256()
            for start in range(0, len(ids), AT_ONCE):
                piece = np.ascontiguousarray(values[start : start + AT_ONCE], dtype)
                _check_finite(ids[start : start + AT_ONCE], piece)
                digest.update(_bytes_of(piece))
                file.write(_bytes_of(piece))
            file.write(stream.ENDING)
            complete["payload_sha256"] = digest.hexdigest()
            file.seek(0)
            file.write(stream.opening(complete, index.traits(), bytes(index.text)))
    except (ValueError, TypeError, OverflowError) as error:
        raise StoreError(f"{path}: {error}") from None


def open_store(path: Path | str) -> Store:
    """Open a feature store; nothing in it is executed, no id or value is read yet.

    Raises:
        StoreError: There is no such file, it is not a feature store, or its header and
            its size do not fit. Damage to the values is found by ``verify``.
    """
    path = Path(path)
    with _reading(path) as file:
        size = os.fstat(file.fileno()).st_size
        header = stream.read_header(file, size)
        check_layout(header, size)
        check_columns(header)
        mapped = np.memmap(file, np.uint8, "r")
        index = _index(header, mapped)
    stop = size - len(stream.ENDING)
    values = mapped[header["offset"] : stop].view(header["dtype"])
    return Store(
        path=path,
        header={key: value for key, value in header.items() if key not in OF_ROWS},
        index=index,
        values=values.reshape(header["shape"]),
    )


def load_safely(path: Path | str) -> dict[str, Values]:
    """Give the dict that ``pickle.load`` gives, without unpickling anything.

    Raises:
        StoreError: The file is not a feature store, or its pickle is not the plain one
            that goes with its header.
    """
    store = open_store(path)
    with _reading(store.path) as file:
        stream.check_pickle(file, store.header, store.ids)
    return dict(zip(store.ids, store.matrix(), strict=True))


def verify(path: Path | str) -> None:
    """Read a whole store and check every byte of it.

    The header is checked by its digest, the pickle around the payload byte for byte
    against a newly made one, the payload by its digest and for values that are not
    finite, and the ids for repeats.

    Raises:
        StoreError: Something does not hold.
    """
    store = open_store(path)
    ids = store.ids
    with _reading(store.path) as file:
        check_distinct(ids, "ids")
        stream.check_pickle(file, store.header, ids)
        digest = hashlib.sha256(_bytes_of(store.values)).hexdigest()
        if digest != store.header.get("payload_sha256"):
            raise ValueError("damaged: its values do not fit their checksum")
        _check_finite(ids, store.values)


def _index(header: Mapping[str, Any], mapped: NDArray[np.uint8]) -> Index:
    if header["format"] == FIRST_FORMAT:
        try:
            return index_of(
                header["ids"], header["roles"], header["folds"], header["shape"]
            )
        except (TypeError, OverflowError) as error:
            raise ValueError(f"damaged: {error}") from None
    traits, text = stream.index_slices(header)
    return index_in(header, mapped[traits], mapped[text].data)


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """Open a file; what is wrong with it becomes a ``StoreError`` with its name."""
    try:
        with path.open("rb") as file, _faults_of(path):
            yield file
    except FileNotFoundError:
        raise StoreError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise StoreError(f"{path}: this is a folder; name a file in it") from None


@contextmanager
def _faults_of(path: Path) -> Iterator[None]:
    """What is wrong with a file becomes a ``StoreError`` with its name and a remedy."""
    try:
        yield
    except ValueError as error:
        is_damaged = str(error).startswith(DAMAGED)
        maker = maker_of(path) or "python -m features.extract"
        remedy = f"; make it again: {maker} --overwrite" if is_damaged else ""
        raise StoreError(f"{path}: {error}{remedy}") from None


def _check_finite(ids: Sequence[str], values: Values) -> None:
    # The extremes tell without another array as large as the values.
    if values.size and not np.isfinite([values.min(), values.max()]).all():
        rows = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
        examples = ", ".join(repr(ids[row]) for row in rows[:3])
        raise ValueError(
            f"values of {len(rows)} ids are not finite, such as of {examples}"
        )


def _bytes_of(values: Values) -> memoryview:
    return values.reshape(-1).view(np.uint8).data
