"""What lies in the folders of pictures: pictures by id, and what cannot be one.

A file is judged by its name and kind alone; none is opened here, so that a pipe or a
device cannot stop anything.
"""

import os
import stat
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.errors import UserError
from data_prep.pictures.decode import FORMATS

NO_PICTURE = "no picture of this name"
UNFINISHED = frozenset(
    [
        "aria2",
        "crdownload",
        "download",
        "filepart",
        "opdownload",
        "part",
        "partial",
        "tmp",
        "temp",
    ]
)
MOST_SEEN = 1_000_000  # files in folders within, looked at for an explanation
OLD_ENCODINGS = ("cp1252", "cp437", "cp850")  # of names in archives from Windows


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """An id that is in no later stage.

    Attributes:
        id: The id.
        file: Name of its file; empty if there is none.
        reason: Why it is left out; details stand after ``": "`` or in brackets.
    """

    id: str
    file: str
    reason: str

    @property
    def summary(self) -> str:
        """The reason without its details, for counting."""
        return self.reason.partition(": ")[0].partition(" (")[0]


@dataclass(frozen=True, kw_only=True)
class Folders:
    """The files of the folders of pictures.

    Attributes:
        pictures: The file of each id, in id order.
        unusable: Files that are pictures by their extension and cannot be read, by
            what their id would be; as the system gives it, so it may be no UTF-8.
        other_names: Names of all other files, without folder.
        searched: The folders.
    """

    pictures: Mapping[str, Path]
    unusable: Mapping[str, LeftOut]
    other_names: Sequence[str]
    searched: Sequence[Path]


def search_folders(folders: Sequence[Path], setting: str = "[data] images") -> Folders:
    """Look at what lies directly in the folders.

    The id of a picture is the file's name without its extension. Hidden files and files
    that are no pictures by their extension are none.

    Args:
        folders: The folders to search.
        setting: What names them, for the messages.

    Raises:
        UserError: A folder is missing or cannot be listed, there is no picture, or two
            share an id.
    """
    by_id: dict[str, list[Path]] = {}
    unusable: dict[str, LeftOut] = {}
    other_names = []
    for folder in dict.fromkeys(folders):
        if not folder.is_dir():
            raise UserError(f"{shown(folder)}: there is no such folder ({setting})")
        for name in _names_in(folder, setting):
            path = folder / name
            if path.suffix[1:].lower() not in FORMATS or name[0] == ".":
                other_names.append(name)
                continue
            id_ = unicodedata.normalize("NFC", path.stem)
            reason = _fault_of(path)
            if reason:
                unusable[id_] = LeftOut(id=shown(id_), file=shown(name), reason=reason)
            elif reason is not None:
                by_id.setdefault(id_, []).append(path)
    if not by_id:
        named = ", ".join(map(shown, folders))
        first = next(iter(unusable.values()), None)
        why = f"; {first.file}: {first.reason}" if first else ""
        raise UserError(
            f"{named}: no pictures here (folders within it are not searched){why};"
            f" name the folder that holds them in {setting}"
        )
    shared = sorted(id_ for id_, paths in by_id.items() if len(paths) > 1)
    if shared:
        first_path, second = sorted(map(shown, by_id[shared[0]]))[:2]
        more = f" ({len(shared)} such ids)" if len(shared) > 1 else ""
        raise UserError(
            f"{first_path} and {second} have the same id {shared[0]!r}{more};"
            " rename one"
        )
    return Folders(
        pictures={id_: by_id[id_][0] for id_ in sorted(by_id)},
        unusable={id_: unusable[id_] for id_ in sorted(unusable)},
        other_names=sorted(other_names),
        searched=tuple(folders),
    )


def explain_missing(
    ids: Iterable[str], folders: Folders, otherwise: Mapping[str, str]
) -> list[LeftOut]:
    """Say of ids without a picture what there is instead, if there is anything.

    Args:
        ids: Those of the tables that have no picture.
        folders: What there is.
        otherwise: Reasons for ids without any file, where there is one to give.

    Returns:
        One for each distinct id, in this order.
    """
    missing = list(dict.fromkeys(ids))
    missing_set = frozenset(missing)
    explained = dict(_unusable_of(missing_set, folders))
    candidates = [
        *_by_other_names(missing_set, folders),
        *_deeper(missing_set, folders),
    ]
    for _, id_, file, reason in sorted(candidates, key=lambda candidate: candidate[0]):
        left_out = LeftOut(id=id_, file=shown(file), reason=f"{reason}: {shown(file)}")
        explained.setdefault(id_, left_out)
    return [
        explained.get(id_)
        or LeftOut(id=id_, file="", reason=otherwise.get(id_, NO_PICTURE))
        for id_ in missing
    ]


def write_left_out(path: Path, left_out: Sequence[LeftOut]) -> None:
    """Write ``id,file,reason`` of each."""
    import pandas as pd

    table = pd.DataFrame(map(vars, left_out), columns=["id", "file", "reason"])
    table.to_csv(path, index=False)


def shown(name: str | Path) -> str:
    r"""Write a name so that it can be printed and stored: ``caf\xe9`` if not in UTF-8.

    Control characters are written with a backslash as well.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(
        letter
        if unicodedata.category(letter) != "Cc"
        else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def _names_in(folder: Path, setting: str) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError as error:
        raise UserError(
            f"{shown(folder)}: the folder cannot be read: {error.strerror} ({setting})"
        ) from None


def _fault_of(path: Path) -> str | None:
    """Say why a file cannot be read whatever is in it.

    Returns:
        The reason; empty if there is none; None if it is a folder.
    """
    try:
        path.name.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not in UTF-8; rename the file"
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "it is a link to a file that is not there"
    except OSError as error:
        return f"it cannot be read, {error.strerror}"
    if stat.S_ISDIR(mode):
        return None
    if stat.S_ISREG(mode):
        return ""
    return "it is a pipe or a device and not a file"


def _unusable_of(
    missing: Collection[str], folders: Folders
) -> Iterator[tuple[str, LeftOut]]:
    """Find files of an id that cannot be used, also by a name in an old encoding."""
    for id_, left_out in folders.unusable.items():
        stems = [id_]
        if left_out.id != id_:
            raw = os.fsencode(id_)
            stems += [raw.decode(encoding, "replace") for encoding in OLD_ENCODINGS]
        for stem in stems:
            normal = unicodedata.normalize("NFC", stem)
            if normal in missing:
                yield normal, replace(left_out, id=normal)
                break


def _by_other_names(
    missing: Collection[str], folders: Folders
) -> Iterator[tuple[int, str, str, str]]:
    """Find files of an id that are no pictures by their name.

    Yields:
        Rank (the lowest explains best), id, file and reason.
    """
    for name in folders.other_names:
        if name.startswith("._"):  # what a Mac keeps beside a file
            continue
        plain = unicodedata.normalize("NFC", name.removeprefix("."))
        ending = plain.rpartition(".")[2].lower()
        if ending in UNFINISHED:
            rank, reason = 0, "its file is still being written or downloaded"
        elif ending in FORMATS:
            rank, reason = 1, "its file is hidden"
        elif "." not in plain:
            rank, reason = 3, "its file has no extension"
        else:
            rank, reason = 4, "its file has a format that is not read"
        while plain:  # with ever fewer endings: "a.jpg.part", "a.jpg", "a"
            if plain in missing:
                yield rank, plain, name, reason
                break
            plain = plain.rpartition(".")[0]


def _deeper(
    missing: Collection[str], folders: Folders
) -> Iterator[tuple[int, str, str, str]]:
    """Find pictures of an id in folders within the folders.

    Yields:
        Rank, id, path within the folder, and reason.
    """
    if not missing:
        return
    n_seen = 0
    for top in dict.fromkeys(folders.searched):
        for folder, subfolders, names in os.walk(top):
            n_seen += len(names)
            if n_seen > MOST_SEEN:
                return
            subfolders[:] = sorted(
                name for name in subfolders if not name.startswith(".")
            )
            if Path(folder) == top:
                continue
            for name in sorted(names):
                stem, _, ending = name.rpartition(".")
                id_ = unicodedata.normalize("NFC", stem)
                if id_ in missing and ending.lower() in FORMATS:
                    file = os.path.relpath(Path(folder) / name, top)
                    yield 2, id_, file, "it lies in a subfolder, which is not searched"
