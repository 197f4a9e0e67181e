"""The rows of a feature store: ids, roles and folds of all as two blocks of bytes.

As Python texts a million ids take 70 MB; as blocks they are mapped from the file, and
become texts where they are asked for.

Shapes: N rows.
"""

import hashlib
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.settings import nearest
from features.header import HELD_OUT, ROLES, check_distinct

FOLD = np.dtype("<i4")


@dataclass(frozen=True, eq=False, kw_only=True)
class Index:
    """Ids, roles and folds of N rows.

    Attributes:
        text: UTF-8 of the ids, joined by the separator.
        separator: A character that is in no id.
        role_names: Of the roles that there are.
        codes: (N,) place of each row's role among these names.
        folds: (N,) the fold that holds each row out; -1: none.
    """

    text: bytes | memoryview = field(repr=False)
    separator: str
    role_names: tuple[str, ...]
    codes: NDArray[np.uint8] = field(repr=False)
    folds: NDArray[np.int32] = field(repr=False)

    def ids(self) -> tuple[str, ...]:
        """Give the N ids.

        Raises:
            ValueError: They are not text, or not N.
        """
        n_rows = len(self.codes)
        text = bytes(self.text).decode()
        ids = tuple(text.split(self.separator)) if n_rows else ()
        if len(ids) != n_rows:
            raise ValueError(f"damaged: {len(ids)} ids of {n_rows} rows")
        return ids

    def roles(self) -> NDArray[np.str_]:
        """Give the N roles."""
        return np.array(self.role_names or [""], dtype=str)[self.codes]

    def traits(self) -> bytes:
        """Give roles and folds as bytes."""
        return self.codes.tobytes() + self.folds.astype(FOLD).tobytes()

    def header(self) -> dict[str, Any]:
        """Describe the blocks, as JSON values."""
        traits = self.traits()
        return {
            "ids_bytes": len(self.text),
            "separator": self.separator,
            "traits_bytes": len(traits),
            "role_names": list(self.role_names),
            "sha256": _digest(traits, self.text),
        }


def index_of(
    ids: Sequence[str],
    roles: Iterable[Any],
    folds: Iterable[int],
    shape: Sequence[int],
) -> Index:
    """Put ids, roles and folds of the rows of an array of that shape into blocks.

    Raises:
        ValueError: They do not fit each other or the shape.
        TypeError: A fold is no whole number.
        OverflowError: It is one that no 64 bits hold.
    """
    for id_ in ids:
        if not isinstance(id_, str):
            raise ValueError(f"id {id_!r} is {type(id_).__name__}; ids are text")
    check_distinct(ids, "ids")
    code_of: dict[str, int] = {}
    numbered = (code_of.setdefault(str(role), len(code_of)) for role in roles)
    codes = np.fromiter(numbered, np.int64)
    fold_of = np.fromiter(map(operator.index, folds), np.int64)
    for key, values in (("ids", ids), ("roles", codes), ("folds", fold_of)):
        if len(values) != shape[0]:
            raise ValueError(f"{len(values)} {key} for values of shape {tuple(shape)}")
    _check_names(code_of)
    if len(fold_of) and fold_of.max() > np.iinfo(FOLD).max:
        raise ValueError(f"fold {fold_of.max()}; the last is {np.iinfo(FOLD).max}")
    separator = _separator_for(ids)
    index = Index(
        text=_encoded(ids, separator),
        separator=separator,
        role_names=tuple(code_of),
        codes=codes.astype(np.uint8),
        folds=fold_of.astype(FOLD),
    )
    _check_folds(index)
    return index


def index_in(
    header: Mapping[str, Any],
    traits: NDArray[np.uint8],
    text: memoryview,
) -> Index:
    """Read an index out of its blocks, as they lie in a file.

    Raises:
        ValueError: They are not those that the header describes.
    """
    described, n_rows = header["index"], header["shape"][0]
    if described["sha256"] != _digest(traits.data, text):
        raise ValueError("damaged: its ids, roles and folds do not fit their checksum")
    if len(traits) != n_rows * (1 + FOLD.itemsize):
        raise ValueError(f"damaged: {len(traits)} bytes of roles for {n_rows} rows")
    index = Index(
        text=text,
        separator=described["separator"],
        role_names=tuple(described["role_names"]),
        codes=traits[:n_rows],
        folds=traits[n_rows:].view(FOLD),
    )
    _check_names(index.role_names)
    if n_rows and int(index.codes.max()) >= len(index.role_names):
        raise ValueError("damaged: its rows have roles that its header does not name")
    _check_folds(index)
    return index


def _check_names(roles: Iterable[str]) -> None:
    for role in roles:
        if role not in ROLES:
            raise ValueError(f"role {role!r}; {nearest(role, ROLES)}")


def _check_folds(index: Index) -> None:
    is_held_out = np.isin(index.role_names, HELD_OUT)[index.codes]
    is_wrong = (index.folds < -1) | ((index.folds < 0) & is_held_out)
    if is_wrong.any():
        row = int(is_wrong.argmax())
        role, fold = index.role_names[index.codes[row]], int(index.folds[row])
        raise ValueError(f"id {index.ids()[row]!r} has role {role!r} and fold {fold}")


def _encoded(ids: Sequence[str], separator: str) -> bytes:
    try:
        return separator.join(ids).encode()
    except UnicodeEncodeError as error:
        number = str(error.object)[: error.start].count(separator)
        raise ValueError(
            f"{ids[number]!r} is not valid text; give another id"
        ) from None


def _separator_for(ids: Sequence[str]) -> str:
    """Choose the end of a line, or else the first character that is in no id."""
    if not any("\n" in id_ for id_ in ids):
        return "\n"
    used = set().union(*ids)
    return next(chr(code) for code in range(0xD800) if chr(code) not in used)


def _digest(traits: bytes | memoryview, text: bytes | memoryview) -> str:
    digest = hashlib.sha256(traits)
    digest.update(text)
    return digest.hexdigest()
