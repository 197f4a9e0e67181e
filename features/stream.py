"""The bytes of a feature store: a plain pickle that is also an array with a header.

::

    PROTO 5
    BINUNICODE <header: JSON, padded with spaces>  POP
    BINBYTES8 <roles and folds of the rows>  POP
    dict(zip(str.split(BINUNICODE8 <ids>, separator),
             numpy.ndarray(shape, dtype, BYTEARRAY8 <payload>)))
    STOP

The unpickler pushes the header and the roles and pops them again, so ``pickle.load``
does not see them, while a reader finds them where the header says. The padding puts the
payload on a multiple of 64 bytes, where ``numpy.memmap`` can map it. Nothing follows
STOP. The first format had all ids, roles and folds in the header, and a list of ids in
place of the split text; it is still read.

The header ends with ``header_sha256``, the digest of its own text before that key.
These functions know bytes only; their ``ValueError`` says what is wrong, not where.
"""

import hashlib
import json
import math
import os
import pickle
import struct
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

MAGIC = pickle.PROTO + b"\x05" + pickle.BINUNICODE
CALL3, CALL2, CALL1 = (
    args + pickle.REDUCE for args in (pickle.TUPLE3, pickle.TUPLE2, pickle.TUPLE1)
)
ENDING = CALL3 + CALL2 + CALL1 + pickle.STOP  # numpy.ndarray(...), zip(...), dict(...)
ALIGNMENT = 64
_START = len(MAGIC) + 4  # the header's length is a uint32
_SEAL = b',"header_sha256":"'
_OFFSET_DIGITS = 20


def opening(header: Mapping[str, Any], traits: bytes, ids: bytes) -> bytes:
    """Give all that stands before the payload.

    Args:
        header: JSON values; ``shape``, ``dtype`` and ``index`` describe what follows.
            ``offset`` and ``header_sha256`` are added.
        traits: Roles and folds of the rows.
        ids: Of the rows, joined by the separator of ``index``.

    Raises:
        ValueError: The header is not JSON.
    """
    before, between, after = _opcodes(header)
    middle = b"".join([before, traits, between, ids, after])
    try:
        text = json.dumps(
            header, allow_nan=False, separators=(",", ":"), default=_plain
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"the header cannot be written as JSON: {error}") from None
    body = text.removesuffix("}").encode("ascii") + b',"offset":'
    seal = len(_SEAL) + 64 + len('"}')
    least = _START + len(body) + _OFFSET_DIGITS + seal + len(middle)
    offset = least + -least % ALIGNMENT
    body += str(offset).encode("ascii")
    sealed = body + _SEAL + hashlib.sha256(body).hexdigest().encode("ascii") + b'"}'
    padded = sealed.ljust(offset - _START - len(middle))
    return b"".join([MAGIC, struct.pack("<I", len(padded)), padded, middle])


def index_slices(header: Mapping[str, Any]) -> tuple[slice, slice]:
    """Say where roles and folds, and where the ids, lie in a file."""
    _, between, after = _opcodes(header)
    ids_stop = header["offset"] - len(after)
    ids_start = ids_stop - header["index"]["ids_bytes"]
    traits_stop = ids_start - len(between)
    traits_start = traits_stop - header["index"]["traits_bytes"]
    return slice(traits_start, traits_stop), slice(ids_start, ids_stop)


def read_header(file: BinaryIO, size: int) -> dict[str, Any]:
    """Read the header at the start of a file, and check its digest.

    Args:
        file: At its start; left behind the header.
        size: Bytes of the file.

    Raises:
        ValueError: It is not a feature store, is cut short or damaged.
    """
    start = file.read(_START)
    if not start.startswith(MAGIC):
        raise ValueError(
            "this is not a feature store; a pickled dict of arrays is brought in by"
            " python -m features.convert"
        )
    if len(start) < _START or (length := _length(start)) > size - _START:
        raise ValueError("cut short: it ends within its header")
    body, seal, end = file.read(length).rpartition(_SEAL)
    if not seal:
        raise ValueError("this is not a feature store: it has no header, or a damaged")
    if end.rstrip(b" ") != hashlib.sha256(body).hexdigest().encode("ascii") + b'"}':
        raise ValueError("damaged: its header does not fit the header's own checksum")
    try:
        header = json.loads(body + b"}")
    except (ValueError, RecursionError):
        raise ValueError("damaged: its header is not JSON") from None
    if not isinstance(header, dict):
        raise ValueError("damaged: its header is not a table")
    return header


def check_pickle(file: BinaryIO, header: Mapping[str, Any], ids: Sequence[str]) -> None:
    """Check that the pickle around the payload is the one that belongs to the header.

    It is compared byte for byte with a newly made one. A list of allowed globals would
    not do: numpy.ndarray alone makes an array of objects out of any bytes, which are
    then addresses in memory (numpy 2.4).

    Args:
        file: The whole store.
        header: As read.
        ids: Of the rows; needed for the first format.

    Raises:
        ValueError: It is another.
    """
    file.seek(0)
    start = file.read(header["offset"])
    opcodes_start = _START + _length(start)
    if "index" in header:
        traits, text = index_slices(header)
        before = start[opcodes_start : traits.start]
        between, after = start[traits.stop : text.start], start[text.stop :]
        is_ours = (before, between, after) == _opcodes(header)
    else:
        is_ours = start[opcodes_start:] == _first_opcodes(header, ids)
    file.seek(-len(ENDING), os.SEEK_END)
    if not is_ours or file.read() != ENDING:
        raise ValueError(
            "damaged or forged: its pickle is not the one that its header tells"
        )


def _length(start: bytes) -> int:
    length: int = struct.unpack_from("<I", start, len(MAGIC))[0]
    return length


def _opcodes(header: Mapping[str, Any]) -> tuple[bytes, bytes, bytes]:
    """Give the opcodes before roles and folds, between them and the ids, and after."""
    index = header["index"]
    before = pickle.POP + pickle.BINBYTES8 + struct.pack("<Q", index["traits_bytes"])
    names = ("builtins", "dict"), ("builtins", "zip"), ("builtins", "str.split")
    between = b"".join([pickle.POP, *(_named(*name) for name in names)])
    between += pickle.BINUNICODE8 + struct.pack("<Q", index["ids_bytes"])
    after = _text(index["separator"]) + CALL2 + _array_opcodes(header)
    return before, between, after


def _first_opcodes(header: Mapping[str, Any], ids: Sequence[str]) -> bytes:
    """Give those between header and payload in the first format."""
    opcodes = [pickle.POP, _named("builtins", "dict"), _named("builtins", "zip")]
    opcodes += [pickle.EMPTY_LIST, pickle.MARK, *map(_text, ids), pickle.APPENDS]
    return b"".join([*opcodes, _array_opcodes(header)])


def _array_opcodes(header: Mapping[str, Any]) -> bytes:
    shape, dtype = header["shape"], header["dtype"]
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    lengths = [pickle.BININT + struct.pack("<i", length) for length in shape]
    opcodes = [_named("numpy", "ndarray"), pickle.MARK, *lengths, pickle.TUPLE]
    opcodes += [_text(dtype), pickle.BYTEARRAY8, struct.pack("<Q", n_bytes)]
    return b"".join(opcodes)


def _named(module: str, name: str) -> bytes:
    return _text(module) + _text(name) + pickle.STACK_GLOBAL


def _text(text: str) -> bytes:
    data = text.encode()
    if len(data) < 256:
        return pickle.SHORT_BINUNICODE + bytes([len(data)]) + data
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{value!r} is a {type(value).__name__}")
