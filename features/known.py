"""What the nets of a run have said of pictures already, so that they need not again.

A picture is known by the bytes of its file, whatever its name and place. What is kept
are the single views of each fold, from which all else is made. Torch-free.

Shapes: N known pictures, V views, F outputs of the nets of a fold.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.run_folders.damage import (
    DamagedFileError,
    digest_file,
    fault_of,
    read_record,
)
from data_prep.run_folders.runs import RECORD, write_json
from features.asking import settings_in
from features.parts import Column
from features.rows import Rows, rows_of
from features.store import open_store

if TYPE_CHECKING:
    from data_prep.pictures.decoded import Decoded

NOTE = "pictures.json"  # of each picture: its file, and what became of it


@dataclass(frozen=True)
class Known:
    """Pictures that were asked about before.

    Attributes:
        folder: Of the finished features; None: there are none.
        earlier: The id that each had there, by its id now.
        decoded: What became of its file, by its id now.
    """

    folder: Path | None = None
    earlier: Mapping[str, str] = field(default_factory=dict)
    decoded: Mapping[str, "Decoded"] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.earlier)

    @classmethod
    def find(
        cls,
        folder: Path,
        extraction: str,
        pictures: Mapping[str, Path],
        digests: Mapping[str, str],
    ) -> "Known":
        """Find which of the pictures were asked about, by just these nets.

        Args:
            folder: Where the features would lie.
            extraction: Digest of what the nets gave for the run's own pictures.
            pictures: Paths by id.
            digests: SHA-256 of the files by id.
        """
        settings = settings_in(folder / RECORD)
        if settings.get("extraction") != extraction:
            return cls()
        try:
            noted = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # made before there was a note
            return cls()
        return cls._of(folder, noted, pictures, digests)

    @classmethod
    def _of(
        cls,
        folder: Path,
        noted: Mapping[str, Mapping[str, object]],
        pictures: Mapping[str, Path],
        digests: Mapping[str, str],
    ) -> "Known":
        from data_prep.pictures.decoded import Decoded

        any_views = next(iter(sorted((folder / "views").glob("*.pkl"))), None)
        with_views = set(open_store(any_views).ids) if any_views else set[str]()
        by_content: dict[tuple[str, str], tuple[str, Decoded]] = {}
        for id_, about in noted.items():
            fields = dict(about)
            suffix = Path(str(fields.pop("file"))).suffix.lower()
            try:
                decoded = Decoded(**fields)  # type: ignore[arg-type]
            except TypeError:  # noted by another version
                return cls()
            if id_ in with_views:
                by_content[decoded.sha256, suffix] = id_, decoded
        known = {
            id_: by_content[key]
            for id_, path in pictures.items()
            if (key := (digests[id_], path.suffix.lower())) in by_content
        }
        return cls(
            folder,
            {id_: earlier for id_, (earlier, _) in known.items()},
            {id_: decoded for id_, (_, decoded) in known.items()},
        )

    def views(
        self, fold: str, columns: Sequence[Column], n_views: int, *, is_test: bool
    ) -> Rows:
        """Give what the nets of a fold said, (N, V, F), in the order of ``earlier``.

        Args:
            fold: Of the nets.
            columns: Their F outputs.
            n_views: V.
            is_test: The nets learned from labels, and have a store for each fold.
        """
        shape = (len(self), n_views, len(columns))
        if self.folder is None or not len(self):
            return Rows(shape, lambda rows: np.empty((len(rows), *shape[1:]), "f4"))
        from transfer.jobs import fold_name

        ids = list(self.earlier.values())
        ending = f".test.{fold_name(fold)}" if is_test else ""
        parts = []
        for task in dict.fromkeys(column.task for column in columns):
            store = open_store(self.folder / "views" / f"{task}{ending}.pkl")
            place = {id_: row for row, id_ in enumerate(store.ids)}
            chosen = np.array([place[id_] for id_ in ids], dtype=np.int64)
            inside = [k for k, column in enumerate(columns) if column.task == task]
            parts.append((inside, rows_of(store.values).chosen(chosen)))

        dtype = np.result_type(*(part.dtype for _, part in parts))

        def read(rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
            values = np.empty((len(rows), *shape[1:]), dtype)
            for inside, part in parts:
                values[:, :, inside] = part.read(rows)
            return values

        return Rows(shape, read, dtype)


def is_whole(folder: Path) -> bool:
    """Tell whether all files of finished features are as they were written.

    Where nothing is finished, nothing is broken.
    """
    if not (folder / RECORD).exists():
        return True
    try:
        record = read_record(folder / RECORD)
        return not any(fault_of(folder, record, name) for name in record["files"])
    except (OSError, DamagedFileError):
        return False


def write_note(
    folder: Path, pictures: Mapping[str, Path], decoded: Mapping[str, "Decoded"]
) -> None:
    """Note what became of each picture's file, by id: texts and numbers alone."""
    about = {}
    for id_, path in pictures.items():
        fields = asdict(decoded[id_]).items()
        plain = {name: value for name, value in fields if isinstance(value, (str, int))}
        about[id_] = {"file": path.name, **plain}
    write_json(folder / NOTE, about)


def digest_picture(path: Path) -> str:
    """Hash the bytes of a picture; why it cannot be read, where it cannot."""
    try:
        return digest_file(path)
    except OSError as error:  # it will be left out, which is not fatal
        return str(error.strerror)
