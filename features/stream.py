"""The bytes of a feature store: a plain pickle that is also an array with a header.

::

    PROTO 5
    BINUNICODE <header: JSON, padded with spaces>  POP
    dict(zip([id, ...], numpy.ndarray(shape, dtype, BYTEARRAY8 <payload>)))
    STOP

The unpickler pushes the header and pops it again, so ``pickle.load`` does not see it,
while a reader finds it with two reads. The padding puts the payload on a multiple of 64
bytes, where ``numpy.memmap`` can map it. Nothing follows STOP.

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
GLOBALS = (("builtins", "dict"), ("builtins", "zip"), ("numpy", "ndarray"))
CALL3, CALL2, CALL1 = (
    args + pickle.REDUCE for args in (pickle.TUPLE3, pickle.TUPLE2, pickle.TUPLE1)
)
ENDING = CALL3 + CALL2 + CALL1 + pickle.STOP  # numpy.ndarray(...), zip(...), dict(...)
ALIGNMENT = 64
_START = len(MAGIC) + 4  # the header's length is a uint32
_SEAL = b',"header_sha256":"'
_OFFSET_DIGITS = 20


def opening(header: Mapping[str, Any], ids: Sequence[str]) -> bytes:
    """Give all that stands before the payload.

    Args:
        header: JSON values; ``shape`` and ``dtype`` describe the payload. ``offset``
            and ``header_sha256`` are added.
        ids: (N,) one per row.

    Raises:
        ValueError: The header is not JSON, or an id is not valid text.
    """
    middle = _middle(ids, header["shape"], header["dtype"])
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
    return MAGIC + struct.pack("<I", len(padded)) + padded + middle


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


def check_pickle(file: BinaryIO, header: Mapping[str, Any]) -> None:
    """Check that the pickle around the payload is the one that belongs to the header.

    It is compared byte for byte with a newly made one. A list of allowed globals would
    not do: numpy.ndarray alone makes an array of objects out of any bytes, which are
    then addresses in memory (numpy 2.4).

    Raises:
        ValueError: It is another.
    """
    file.seek(0)
    start = file.read(header["offset"])
    middle = _middle(header["ids"], header["shape"], header["dtype"])
    file.seek(-len(ENDING), os.SEEK_END)
    if start[_START + _length(start) :] != middle or file.read() != ENDING:
        raise ValueError(
            "damaged or forged: its pickle is not the one that its header tells"
        )


def _length(start: bytes) -> int:
    length: int = struct.unpack_from("<I", start, len(MAGIC))[0]
    return length


def _middle(ids: Sequence[str], shape: Sequence[int], dtype: str) -> bytes:
    """Give the opcodes between the header and the payload."""
    as_dict, as_zip, as_array = (
        _text(module) + _text(name) + pickle.STACK_GLOBAL for module, name in GLOBALS
    )
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    lengths = [pickle.BININT + struct.pack("<i", length) for length in shape]
    opcodes = [pickle.POP, as_dict, as_zip, pickle.EMPTY_LIST, pickle.MARK]
    opcodes += [*map(_text, ids), pickle.APPENDS]
    opcodes += [as_array, pickle.MARK, *lengths, pickle.TUPLE, _text(dtype)]
    opcodes += [pickle.BYTEARRAY8, struct.pack("<Q", n_bytes)]
    return b"".join(opcodes)


def _text(text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} is not valid text; give another id") from None
    if len(data) < 256:
        return pickle.SHORT_BINUNICODE + bytes([len(data)]) + data
    return pickle.BINUNICODE + struct.pack("<I", len(data)) + data


def _plain(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{value!r} is a {type(value).__name__}")
