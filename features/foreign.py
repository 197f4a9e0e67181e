"""Pickles of other programs: dicts of arrays, read without running anything of theirs.

A pickle is a program. The few things that a pickled dict of arrays must call are
replaced by stand-ins of ours that can do nothing else, so not even numpy's own are
called (``numpy.ndarray`` alone takes bytes of a file for addresses in memory). What
asks for anything else is refused by its name.

Source: the layout of numpy's pickled arrays, ``numpy.ndarray.__reduce__``.
"""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.store import StoreError

FAILURES = (  # of a broken pickle, as the documentation of pickle warns
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError),
    *(LookupError, ArithmeticError, MemoryError, ImportError, RuntimeError),
)
KINDS = "fiu"  # of numbers: float, int, unsigned
ORDERS = "<>=|"


def load_foreign(path: Path) -> dict[str, NDArray[Any]]:
    """Read a pickled dict of arrays, or of lists of arrays of the same shape.

    Returns:
        Arrays by id; of a list, (V, F): its arrays, flattened, one below the other.

    Raises:
        StoreError: It is no such pickle, or asks for something that none needs.
    """
    try:
        with path.open("rb") as file:
            content = _Reader(file).load()
    except FileNotFoundError:
        raise StoreError(f"{path}: there is no such file") from None
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from None
    except FAILURES as error:
        raise StoreError(
            f"{path}: this is not a pickled dict of arrays ({type(error).__name__}:"
            f" {error})"
        ) from None
    if not isinstance(content, Mapping) or not content:
        raise StoreError(f"{path}: this is no dict with ids, but {_kind(content)}")
    found = {}
    for id_, value in content.items():
        if not isinstance(id_, (str, int)):
            raise StoreError(f"{path}: id {id_!r} is neither text nor a number")
        parts = value if isinstance(value, list) else [value]
        if not parts or not all(isinstance(part, _Array) for part in parts):
            raise StoreError(
                f"{path}: under {id_!r} is no array or list of arrays, but"
                f" {_kind(value)}"
            )
        arrays = [part.values for part in parts]
        if len({array.size for array in arrays}) > 1:
            raise StoreError(f"{path}: the arrays under {id_!r} differ in their sizes")
        is_list = isinstance(value, list)
        found[str(id_)] = (
            np.stack([array.reshape(-1) for array in arrays]) if is_list else arrays[0]
        )
    if len(found) < len(content):
        raise StoreError(f"{path}: some ids are there as text and as numbers")
    return found


class _Array:
    """An array in the making."""

    __slots__ = ("values",)

    def __init__(self, *_: Any) -> None:
        self.values: NDArray[Any] = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, raw = state
        self.fill(raw, dtype, shape, "F" if is_fortran else "C")

    def fill(self, raw: bytes, dtype: "_Dtype", shape: Any, order: str) -> None:
        flat = np.frombuffer(raw, dtype.known())
        self.values = flat.reshape(tuple(shape), order="F" if order == "F" else "C")


class _Dtype:
    """A type of numbers in the making."""

    __slots__ = ("code", "order")

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def known(self) -> np.dtype[Any]:
        """Give the type, if it is one of numbers."""
        code, order = str(self.code).lstrip(ORDERS), str(self.order)
        if code[:1] not in KINDS or code[1:] not in ("1", "2", "4", "8"):
            raise StoreError(f"arrays of {self.code!r} are not read, but numbers only")
        if order not in ORDERS:
            raise StoreError(f"{order!r} is no order of bytes")
        return np.dtype(order.replace("|", "=") + code)


class _StandIn:
    """What a pickle may call in place of something of the same name."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *given: Any) -> Any:
        return self._make(*given)

    def __setstate__(self, state: Any) -> None:
        raise StoreError("it tries to change what it calls")


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
    ("builtins", "list"): _StandIn(lambda *_: []),
    ("__builtin__", "list"): _StandIn(lambda *_: []),  # of protocols before 3
    ("_codecs", "encode"): _StandIn(_bytes),  # which have no bytes of their own
    ("numpy", "ndarray"): _StandIn(_refuse),  # only named, as a kind of array
    ("numpy", "dtype"): _StandIn(_Dtype),
    **{
        (f"numpy.{core}.multiarray", "_reconstruct"): _StandIn(_Array)
        for core in ("core", "_core")
    },
    **{
        (f"numpy.{core}.numeric", "_frombuffer"): _StandIn(_from_buffer)
        for core in ("core", "_core")
    },
}


class _Reader(pickle.Unpickler):
    """Calls stand-ins, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        found = STAND_INS.get((module, name))
        if found is None:
            raise StoreError(
                f"it asks for {module}.{name}, which no dict of arrays needs; nothing"
                " of it was executed"
            )
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise StoreError(f"it refers to {pid!r} outside itself")


def _kind(value: Any) -> str:
    if isinstance(value, _Array):
        return "an array"
    return "nothing" if value in ({}, None) else type(value).__name__
