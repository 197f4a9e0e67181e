"""What lies in the folders of pictures: pictures by id, and what cannot be one.

A file is judged by its name and kind alone; none is opened here, so that a pipe or a
device cannot stop anything.
"""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from data_prep.errors import UserError
from data_prep.file_paths import nearest_path
from data_prep.pictures.decode import FORMATS
from data_prep.pictures.folder_ids import PlacedFile, assign_ids
from data_prep.pictures.printable import shown
from data_prep.run_folders.origin import is_run

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
IN_FILE = "[data] images"  # the setting of an experiment file that names folders
MOST_NAMED = 5  # folders in a note
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
        other_names: All other files, by their paths within the folders.
        notes: What a person should know of how the pictures lie.
    """

    pictures: Mapping[str, Path]
    unusable: Mapping[str, LeftOut]
    other_names: Sequence[str]
    notes: tuple[str, ...] = ()


def search_folders(
    folders: Sequence[Path], setting: str = IN_FILE, ids: Collection[str] = ()
) -> Folders:
    """Look at what lies in the folders, and in folders within them.

    The id of a picture is the file's name without its extension, or with its folders
    where tables name it so; see ``folder_ids``. Hidden files and folders are passed
    over, and so are runs; files that are no pictures by their extension are none.

    Args:
        folders: The folders to search.
        setting: What names them, for the messages.
        ids: Those of all tables.

    Raises:
        UserError: A folder is missing or cannot be listed, there is no picture, or two
            share an id.
    """
    usable: list[PlacedFile] = []
    unusable: dict[str, LeftOut] = {}
    other_names = []
    for file in files_in(folders, setting):
        name = file.path.name
        if file.path.suffix[1:].lower() not in FORMATS or name[0] == ".":
            other_names.append(str(file.within))
        elif reason := fault_of(file.path):
            id_ = file.id_among(ids) or file.stem
            unusable[id_] = LeftOut(
                id=shown(id_), file=shown(file.within), reason=reason
            )
        else:
            usable.append(file)
    if not usable:
        named = ", ".join(map(shown, folders))
        first = next(iter(unusable.values()), None)
        why = f"; {first.file}: {first.reason}" if first else ""
        raise UserError(
            f"{named}: no pictures here nor in folders within{why};"
            f" name the folder that holds them in {setting}"
        )
    by_id = assign_ids(usable, ids, has_tables=setting == IN_FILE or bool(ids))
    return Folders(
        pictures={id_: by_id[id_].path for id_ in sorted(by_id)},
        unusable={id_: unusable[id_] for id_ in sorted(unusable)},
        other_names=sorted(other_names),
        notes=_notes_on(usable),
    )


def near_folder(path: Path) -> str:
    """Say which folder beside a missing one was perhaps meant; empty: there is none."""
    try:
        folders = [f for f in sorted(path.parent.iterdir()) if f.is_dir()]
    except OSError:
        return f"; there is no {shown(path.parent)} either"
    hint = nearest_path(path, (f for f in folders if f.name[0] != "."))
    return f"; {shown(hint)}" if hint else ""


def files_in(folders: Sequence[Path], setting: str) -> Iterator[PlacedFile]:
    """Give all files, each once however the folders overlap or are linked.

    Hidden folders and runs are passed over.

    Args:
        folders: The folders to search.
        setting: What names them, for the messages.

    Raises:
        UserError: A folder is missing or cannot be listed.
    """

    def refuse(error: OSError) -> NoReturn:
        raise UserError(
            f"{shown(error.filename)}: the folder cannot be read: {error.strerror}"
            f" ({setting})"
        ) from None

    seen: set[tuple[int, int]] = set()
    for top in folders:
        if not top.is_dir():
            if top.exists():
                raise UserError(
                    f"{shown(top)}: it is a file and no folder ({setting}); name the"
                    " folder that holds the pictures"
                )
            raise UserError(
                f"{shown(top)}: there is no such folder ({setting}){near_folder(top)}"
            )
        for path, subfolders, names in os.walk(top, onerror=refuse, followlinks=True):
            folder = Path(path)
            status = folder.stat()
            if (status.st_dev, status.st_ino) in seen:
                subfolders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            visible = [folder / name for name in sorted(subfolders) if name[0] != "."]
            subfolders[:] = [inner.name for inner in visible if not is_run(inner)]
            yield from (PlacedFile(path=folder / name, top=top) for name in names)


def _notes_on(pictures: Sequence[PlacedFile]) -> tuple[str, ...]:
    """Tell which folders within were searched, if there are any with pictures."""
    by_folder = Counter((file.path.parent, file.top) for file in pictures)
    n_pictures: Counter[Path] = Counter()
    for (folder, top), n in by_folder.items():
        n_pictures[folder.relative_to(top)] += n
    if set(n_pictures) == {Path()}:
        return ()
    listed = ", ".join(
        f"{shown(folder) if folder.name else 'not in a subfolder'} ({n:,})"
        for folder, n in n_pictures.most_common(MOST_NAMED)
    )
    more = ", ..." * (len(n_pictures) > MOST_NAMED)
    return (f"pictures lie in {len(n_pictures):,} folders: {listed}{more}",)


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
    candidates = _by_other_names(missing_set, folders)
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


def fault_of(path: Path) -> str:
    """Say why a file cannot be read whatever is in it; empty: nothing is wrong."""
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
    return "" if stat.S_ISREG(mode) else "it is a pipe or a device and not a file"


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
    for file in folders.other_names:
        folder, _, name = file.rpartition("/")
        if name.startswith("._"):  # what a Mac keeps beside a file
            continue
        plain = unicodedata.normalize("NFC", name.removeprefix("."))
        ending = plain.rpartition(".")[2].lower()
        if ending in UNFINISHED:
            rank, reason = 0, "its file is still being written or downloaded"
        elif ending in FORMATS:
            rank, reason = 1, "its file is hidden"
        elif "." not in plain:
            rank, reason = 2, "its file has no extension"
        else:
            rank, reason = 3, "its file has a format that is not read"
        while plain:  # with ever fewer endings: "a.jpg.part", "a.jpg", "a"
            with_folder = f"{folder}/{plain}"
            if plain in missing or with_folder in missing:
                yield rank, plain if plain in missing else with_folder, file, reason
                break
            plain = plain.rpartition(".")[0]
