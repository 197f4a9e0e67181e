"""Which id a picture has: its file's name, or that with its folders where names repeat.

A picture ``oak/7.jpg`` in a folder of pictures is ``7``. Where tables write ``oak/7``
that is its id, and so two pictures may be called ``7.jpg``. Where no table names any,
pictures that share a name have their folders in their ids; what the ids of tables do
not tell apart is refused.
"""

import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from data_prep.errors import UserError
from data_prep.pictures.printable import shown


@dataclass(frozen=True, kw_only=True)
class PlacedFile:
    """A file in or below a folder of pictures.

    Attributes:
        path: Of the file.
        top: The folder of pictures, as the user named it.
    """

    path: Path
    top: Path

    @cached_property
    def stem(self) -> str:
        """Its name without extension."""
        return unicodedata.normalize("NFC", self.path.stem)

    @property
    def within(self) -> Path:
        """Its path within the folder of pictures."""
        return self.path.relative_to(self.top)

    @cached_property
    def names(self) -> tuple[str, str]:
        """What an id may be besides the stem: its path without extension.

        Without the folder of pictures, which is the stem again where the file lies
        directly in it; and with that folder.
        """
        text = unicodedata.normalize("NFC", self.within.with_suffix("").as_posix())
        return text, f"{self.top.absolute().name}/{text}"

    def id_among(self, ids: Collection[str]) -> str:
        """Give the id with folders that is one of those; empty: none is."""
        return next((name for name in self.names if "/" in name and name in ids), "")


def assign_ids(
    files: Iterable[PlacedFile], ids: Collection[str], *, has_tables: bool
) -> dict[str, PlacedFile]:
    """Give each picture its id.

    Args:
        files: The pictures.
        ids: Those of all tables.
        has_tables: There may be tables, whose ids may be written with folders.

    Raises:
        UserError: Two pictures would have one id, or one is named in two ways.
    """
    with_folders = frozenset(id_ for id_ in ids if "/" in id_)
    by_stem: dict[str, list[PlacedFile]] = {}
    for file in files:
        by_stem.setdefault(file.stem, []).append(file)
    assigned: dict[str, PlacedFile] = {}
    shared: list[Sequence[PlacedFile]] = []
    for stem, same in by_stem.items():
        named = [file.id_among(with_folders) for file in same] if with_folders else []
        if any(named):
            if stem in ids and all(file.names[0] != stem for file in same):
                with_folder = next(filter(None, named))
                raise UserError(
                    f"tables name pictures in two ways, {stem!r} and {with_folder!r};"
                    " write the ids of all tables with folders"
                )
            for name, file in zip(named, same, strict=True):
                id_ = name or file.names[0]
                if id_ in assigned:
                    shared.append((assigned[id_], file))
                assigned[id_] = file
        elif len(same) == 1:
            assigned[stem] = same[0]
        elif not ids and (by_path := _told_apart(same)):
            assigned |= by_path
        else:
            shared.append(same)
    if shared:
        raise UserError(_shared_text(shared, has_tables=has_tables))
    return assigned


def _told_apart(same: Sequence[PlacedFile]) -> dict[str, PlacedFile]:
    """Give files of one name by their paths; empty: those are the same, too."""
    for paths in zip(*(file.names for file in same), strict=True):
        if len(set(paths)) == len(same):
            return dict(zip(paths, same, strict=True))
    return {}


def file_named_after(id_: str, folder: Path, ending: str) -> Path | None:
    """Give the file in a folder that is named after an id; None: it would lead out.

    An id is text of a table.
    """
    path = folder / f"{id_}{ending}"
    return path if path.is_relative_to(folder) and ".." not in path.parts else None


def _shared_text(shared: Sequence[Sequence[PlacedFile]], *, has_tables: bool) -> str:
    """Say which two pictures have one id, and what to do."""
    files = min(shared, key=lambda files: files[0].stem)
    first, second = sorted(files, key=lambda file: shown(file.path))[:2]
    more = f" ({len(shared)} such ids)" if len(shared) > 1 else ""
    remedy = "rename one"
    if has_tables and first.names != second.names:
        example = first.names["/" not in first.names[0]]
        remedy += f", or write the ids of all tables with folders, as {example!r}"
    return (
        f"{shown(first.path)} and {shown(second.path)} have the same id"
        f" {first.stem!r}{more}; {remedy}"
    )
