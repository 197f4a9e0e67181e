"""What lies in a folder: pictures by their folders, and tables; no file is opened."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from data_prep.errors import UserError
from data_prep.first_look.picture_ids import PictureIds
from data_prep.pictures.decode import FORMATS
from data_prep.pictures.folders import near_folder
from data_prep.pictures.printable import shown
from data_prep.run_folders.origin import is_run

TABLES = (".csv", ".tsv", ".parquet", ".pq", ".jsonl")
WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods")


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Pictures and tables below a folder.

    Attributes:
        root: The folder.
        names: Names of the pictures that lie directly in a folder, by that folder.
        tables: Table files, those nearer to the root first.
        workbooks: Files of a spreadsheet program, which are not read.
    """

    root: Path
    names: Mapping[Path, Sequence[str]]
    tables: Sequence[Path]
    workbooks: Sequence[Path]

    @property
    def n_pictures(self) -> int:
        """How many pictures there are."""
        return sum(map(len, self.names.values()))

    @cached_property
    def pictures(self) -> list[Path]:
        """All pictures, by folder and name."""
        return [folder / name for folder in self.names for name in self.names[folder]]

    @cached_property
    def top(self) -> Path:
        """The folder that holds all pictures, in it or in folders within."""
        return Path(os.path.commonpath(list(self.names)))

    def id_of(self, picture: Path) -> str:
        """Give the id of a picture."""
        return self.ids.meant_by(picture.relative_to(self.top).as_posix())

    @cached_property
    def ids(self) -> PictureIds:
        """The ids of the pictures."""
        return PictureIds.of(self.pictures, self.top)


def _is_ours(folder: Path, files: Sequence[str]) -> bool:
    """Tell whether a folder is a run, or experiments lie there."""
    return is_run(folder) or any(name.endswith(".toml") for name in files)


def list_folder(root: Path) -> Listing:
    """Look at the names of all files below a folder.

    What is hidden is passed over, and so are runs and folders of experiments.

    Raises:
        UserError: There is no such folder, or no picture in it.
    """
    if not root.is_dir():
        if root.exists():
            raise UserError(
                f"{shown(root)}: it is a file and no folder; name the folder of the"
                " pictures first, and tables after it"
            )
        raise UserError(f"{shown(root)}: there is no such folder{near_folder(root)}")
    names: dict[Path, list[str]] = {}
    tables: list[Path] = []
    workbooks: list[Path] = []
    n_others = 0
    seen: set[Path] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        path = Path(folder)
        subfolders[:] = sorted(name for name in subfolders if name[0] != ".")
        if (path != root and _is_ours(path, files)) or path.resolve() in seen:
            subfolders[:] = []
            continue
        seen.add(path.resolve())
        for name in sorted(name for name in files if name[0] != "."):
            stem, dot, last = name.rpartition(".")
            ending = f"{dot}{last.lower()}" if stem else ""
            if ending[1:] in FORMATS:
                names.setdefault(path, []).append(name)
            elif ending in TABLES:
                tables.append(path / name)
            elif ending in WORKBOOKS:
                workbooks.append(path / name)
            else:
                n_others += 1
    if not names:
        n_files = n_others + len(tables) + len(workbooks)
        endings = ", ".join(sorted(FORMATS)[:6])
        raise UserError(
            f"{shown(root)}: no pictures in it nor in folders within ({n_files:,} other"
            f" files); name the folder that holds them (formats: {endings} ...)"
        )
    tables.sort(key=lambda path: (len(path.parts), path))
    return Listing(
        root=root,
        names=names,
        tables=tuple(tables),
        workbooks=tuple(workbooks),
    )
