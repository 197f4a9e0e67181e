"""Pickles of other programs: dicts of arrays, read without running anything of theirs.

A pickle is a program. The few things that a pickled dict of arrays must call are
replaced by stand-ins of ours that can do nothing else, so not even numpy's own are
called (``numpy.ndarray`` alone takes bytes of a file for addresses in memory). What
asks for anything else is refused by its name. A file packed by gzip, bzip2 or xz is
unpacked as it is read, up to a limit.

Source: the layout of numpy's pickled arrays, ``numpy.ndarray.__reduce__``.
"""

import bz2
import gzip
import lzma
import os
import pickle
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from features.store import StoreError

NUMBERS = "fiub"  # numpy's kinds of them: float, int, unsigned, yes or no
ORDERS = "<>=|"
PACKED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
MAX_RATIO = 100  # of unpacked bytes to packed ones: features seldom pack to a tenth
MIN_LIMIT = 2**26  # bytes that any packed file may unpack to
REMEDIES = {  # by the package that a pickle asks for
    "pandas": "save dict(zip(table.index.astype(str), table.to_numpy())) instead",
    "torch": "save {id: tensor.numpy() for id, tensor in tensors.items()} instead",
    "joblib": "save the dict by pickle.dump instead",
}


def load_foreign(path: Path) -> dict[str, NDArray[Any]]:
    """Read a pickled dict of arrays, of lists of arrays of one size, or of numbers.

    Args:
        path: The pickle, as it is or packed by gzip, bzip2 or xz.

    Returns:
        Arrays by id; of a list or tuple of arrays, (V, F): they are flattened, one
        below the other; of numbers, (F,).

    Raises:
        StoreError: It is no such pickle, asks for something that none needs, or unpacks
            to far more than its size.
    """
    try:
        content = _unpickled(path)
    except FileNotFoundError:
        raise StoreError(f"{path}: there is no such file") from None
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from None
    except Exception as error:  # noqa: BLE001 - a broken pickle raises anything
        if isinstance(error, OSError) and error.errno:  # the system, not the content
            raise StoreError(f"{path}: {error.strerror}") from None
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        if isinstance(error, MemoryError):
            reason = "what is in it would not fit into memory"
        raise StoreError(
            f"{path}: this is not a pickled dict of arrays ({reason})"
        ) from None
    if not isinstance(content, Mapping) or not content:
        raise StoreError(
            f"{path}: this is no dict with ids, but {_kind(content)}; save"
            " {id: array for each picture}"
        )
    arrays = {}
    for id_, value in content.items():
        is_whole = isinstance(id_, float) and id_.is_integer()
        if not (isinstance(id_, (str, int)) or is_whole) or isinstance(id_, bool):
            raise StoreError(f"{path}: id {id_!r} is neither text nor a number")
        try:
            text = str(int(id_) if is_whole else id_).strip()  # as ids of tables are
            name = unicodedata.normalize("NFC", text)
            if not name:
                raise ValueError(f"the id {id_!r} is empty; leave it out")
            arrays[name] = _array_of(value, id_)
        except (ValueError, OverflowError) as error:
            raise StoreError(f"{path}: {error}") from None
    if len(arrays) < len(content):
        raise StoreError(f"{path}: some ids are there as text and as numbers, or twice")
    return arrays


def _unpickled(path: Path) -> Any:
    with path.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        if start.startswith(b"PK\x03\x04"):
            raise StoreError(
                "this is a zip archive, as torch.save and numpy.savez write, and no"
                " pickle; save a dict of arrays by pickle.dump instead"
            )
        if start.startswith(b"\x28\xb5\x2f\xfd"):
            raise StoreError("it is packed by zstd; unpack it first: zstd -d FILE")
        for magic, opened in PACKED.items():
            if start.startswith(magic):
                size = os.fstat(file.fileno()).st_size
                with opened(file, "rb") as unpacked:
                    return _only(_Limited(unpacked, size))
        return _only(file)


def _only(file: Any) -> Any:
    """Read the one pickle of a file, and its end.

    Raises:
        StoreError: Something follows, such as another pickle.
    """
    content = _Reader(file).load()
    if file.read(1):
        raise StoreError(
            "something follows the first pickle; save one dict, and each dict in a file"
            " of its own"
        )
    return content


class _Limited:
    """The bytes of a packed file, which may unpack to anything, up to a limit.

    Args:
        file: Gives the unpacked bytes.
        size: Of the packed file, in bytes.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._limit = self._left = max(MIN_LIMIT, MAX_RATIO * size)

    def read(self, n: int) -> bytes:
        self._check(n)  # before it is unpacked: it may not fit into memory
        data = self._file.read(n)
        self._left -= len(data)
        return data

    def readline(self) -> bytes:
        data = self._file.readline(self._left + 1)
        self._check(len(data))
        self._left -= len(data)
        return data

    def _check(self, n: int) -> None:
        if n > self._left:
            raise StoreError(
                f"it unpacks to more than {self._limit / 1e6:,.0f} MB, far above its"
                " own size; if that is right, unpack it and give that file"
            )


def _array_of(value: Any, id_: Any) -> NDArray[Any]:
    """Give (F,) or (V, F) numbers of what stands under an id.

    Raises:
        ValueError: It is something else.
        OverflowError: A whole number is too large for a float.
    """
    if isinstance(value, _Array):
        if not value.values.size:
            raise ValueError(f"the array under {id_!r} has no values; leave it out")
        return np.atleast_1d(value.values)
    if isinstance(value, (int, float)):
        return np.array([value], dtype=np.float64)
    if _is_numbers(value):
        return np.array(value, dtype=np.float64)
    is_list = isinstance(value, (list, tuple)) and len(value) > 0
    if is_list and all(isinstance(v, _Array) or _is_numbers(v) for v in value):
        views = [_array_of(view, id_).reshape(-1) for view in value]
        if len({view.size for view in views}) > 1:
            raise ValueError(f"the arrays under {id_!r} differ in their sizes")
        return np.stack(views)
    raise ValueError(f"under {id_!r} is no array or list of arrays, but {_kind(value)}")


def _is_numbers(value: Any) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(isinstance(number, (int, float)) for number in value)
    )


class _Array:
    """An array in the making."""

    __slots__ = ("values",)

    def __init__(self, *_: Any) -> None:
        self.values: NDArray[Any] = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, raw = state
        self.fill(raw, dtype, shape, "F" if is_fortran else "C")

    def fill(self, raw: bytes, dtype: "_Dtype", shape: Any, order: str) -> None:
        flat = np.frombuffer(raw, dtype.numpy_type())
        self.values = flat.reshape(tuple(shape), order="F" if order == "F" else "C")


class _Dtype:
    """A type of numbers in the making."""

    __slots__ = ("code", "order")

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def numpy_type(self) -> np.dtype[Any]:
        """Give the type, if it is one of numbers."""
        code, order = str(self.code).lstrip(ORDERS), str(self.order)
        if code[:1] not in NUMBERS or code[1:] not in ("1", "2", "4", "8"):
            raise StoreError(f"arrays of {self.code!r} are not read, but numbers only")
        if order not in ORDERS:
            raise StoreError(f"{order!r} is no order of bytes")
        return np.dtype(order.replace("|", "=") + code)


class _StandIn:
    """What a pickle may call in place of something of the same name."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise StoreError("it tries to change what it calls")


def _scalar(dtype: _Dtype, raw: Any) -> Any:
    """Give a number, or a text, of numpy's as one of Python's."""
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes):
        raise StoreError("it has a number that is not made of bytes")
    if str(dtype.code).startswith("U"):
        ending = "be" if dtype.order == ">" else "le"
        return raw.decode(f"utf-32-{ending}").rstrip("\0")
    return np.frombuffer(raw, dtype.numpy_type(), count=1)[0].item()


def _from_buffer(raw: bytes, dtype: _Dtype, shape: Any, order: str) -> _Array:
    array = _Array()
    array.fill(raw, dtype, shape, order)
    return array


def _bytes(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise StoreError(f"it has bytes as {encoding!r} and not 'latin1'")
    return text.encode("latin1")


def _refuse(*_: Any) -> Any:
    raise StoreError("it builds arrays by hand, as none needs to")


STAND_INS = {
    ("collections", "defaultdict"): _StandIn(lambda *_: {}),
    ("collections", "OrderedDict"): _StandIn(dict),
    ("builtins", "list"): _StandIn(lambda *_: []),
    ("__builtin__", "list"): _StandIn(lambda *_: []),  # of protocols before 3
    ("_codecs", "encode"): _StandIn(_bytes),  # which have no bytes of their own
    ("numpy", "ndarray"): _StandIn(_refuse),  # only named, as a kind of array
    ("numpy", "dtype"): _StandIn(_Dtype),
    **{
        (f"numpy.{core}.{module}", name): _StandIn(make)
        for core in ("core", "_core")
        for module, name, make in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}


class _Reader(pickle.Unpickler):
    """Calls stand-ins, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        stand_in = STAND_INS.get((module, name))
        if stand_in is None:
            package = str(module).partition(".")[0]
            remedy = f"; {REMEDIES[package]}" if package in REMEDIES else ""
            raise StoreError(
                f"it asks for {module}.{name}, which no dict of arrays needs; nothing"
                f" of it was executed{remedy}"
            )
        return stand_in

    def persistent_load(self, pid: Any) -> Any:
        raise StoreError(f"it refers to {pid!r} outside itself")


def _kind(value: Any) -> str:
    if isinstance(value, _Array):
        return "an array"
    return "nothing" if value in ({}, None) else type(value).__name__
