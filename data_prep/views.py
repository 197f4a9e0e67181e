"""Write the eight views of pictures as files, for a training elsewhere.

    python -m data_prep.views pictures/leaves views/leaves
    python -m data_prep.views pictures/leaves views/leaves --format jpeg --quality 100

Makes a folder for each view: ``e`` the pictures as they are, ``h`` mirrored left-right,
``v`` up-down, ``hv`` both, and ``r``, ``hr``, ``vr``, ``hvr`` the same turned by 90
degrees clockwise after that. Files keep their names and their subfolders. Nothing
here reads them: our own stages turn pictures while they train.

The same command goes on after an interruption, and makes anew what has changed since. A
file that this command did not make is never touched.
"""

import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le

from data_prep.command import run_command
from data_prep.dihedral import VIEW_SETS
from data_prep.errors import UnreadableError, UserError
from data_prep.pictures.decode import FORMATS
from data_prep.pictures.folders import LeftOut, fault_of, files_in, write_left_out
from data_prep.pictures.printable import shown
from data_prep.pictures.view_files import FileForm, FileFormat, encoded_views
from data_prep.processes import in_processes, n_cores
from data_prep.ranges import Ranged
from data_prep.run_folders.drafts import write_text
from data_prep.run_folders.locks import locked
from data_prep.run_folders.witness import (
    ReadFile,
    Witness,
    is_same,
    read_witnesses,
    write_witnesses,
)
from data_prep.settings import POSITIONAL, from_flags

STAGE = "data_prep.views"
FORM, MADE_OF, JOURNAL = "views.json", ".made_of.json", ".made_of.journal"
LOCK, LEFT_OUT = ".lock", "left_out.csv"
DRAFTS = ".unfinished"  # files of pictures that are being made
UNMADE = ReadFile(witness=None, sha256="")
CHUNK = 8  # pictures that a process takes at a time
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ViewsSettings(Ranged):
    """Write the eight views of pictures as files, for a training elsewhere.

    python -m data_prep.views pictures/leaves views/leaves
    """

    folder: Annotated[Path, "folder of the pictures", POSITIONAL]
    out: Annotated[Path, "folder for the folders of views", POSITIONAL]
    views: Annotated[Literal["d4", "c4", "flip"], "d4: eight, c4: turns, flip: two"] = (
        "d4"
    )
    format: Annotated[
        FileFormat, "png: exact; jpeg: turned without loss where it can be"
    ] = "png"
    quality: Annotated[int, "of a JPEG that is written anew", Ge(1), Le(100)] = 95
    workers: Annotated[int, "processes; 0: one per core", Ge(0)] = 0

    @property
    def form(self) -> FileForm:
        """In which form files are written."""
        return FileForm(format=self.format, quality=self.quality)

    def targets(self, name: str) -> list[Path]:
        """Give the file of each view of a picture.

        Args:
            name: Its path within the folder of pictures.
        """
        file = Path(name).with_suffix(self.form.ending)
        return [self.out / view / file for view in VIEW_SETS[self.views]]


def main(argv: Sequence[str] | None = None) -> Path:
    """Write what the command line asks for, and return the folder."""
    settings = from_flags(ViewsSettings, STAGE, argv)
    folder, out = settings.folder, settings.out
    _check_apart(folder, out)
    sources, left_out = _sources(folder)
    _check_names(sources, settings)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / LOCK, "views"):
        _check_form(settings)
        made_of = _read_made(out)
        _check_room(sources, made_of, settings)
        todo = [
            name
            for name, path in sources.items()
            if not is_same(path, made_of.get(name, UNMADE))
            or not all(target.exists() for target in settings.targets(name))
        ]
        made_of |= dict.fromkeys(todo, UNMADE)
        _begin(made_of, settings)
        unreadable = _make({name: sources[name] for name in todo}, settings)
        made_of |= _read_journal(out)
        _end(made_of, [*left_out, *unreadable], out)
    _tell(sources, made_of, len(todo), settings=settings)
    n_left_out = len(left_out) + len(unreadable)
    if n_left_out:
        log.warning(
            "%d picture%s left out, with reasons in %s",
            n_left_out,
            "s are" if n_left_out > 1 else " is",
            out / LEFT_OUT,
        )
    return out


def _check_apart(folder: Path, out: Path) -> None:
    """Refuse folders within each other: views would be taken for pictures."""
    first, second = folder.resolve(), out.resolve()
    if first.is_relative_to(second) or second.is_relative_to(first):
        raise UserError(
            f"{shown(out)} and {shown(folder)} lie within each other; name a folder for"
            " the views beside that of the pictures"
        )


def _sources(folder: Path) -> tuple[dict[str, Path], list[LeftOut]]:
    """List the pictures of a folder by their paths within it, and what cannot be one.

    Raises:
        UserError: There is none.
    """
    sources, left_out = {}, []
    for file in sorted(files_in([folder], "FOLDER"), key=lambda file: file.within):
        if file.path.suffix[1:].lower() not in FORMATS or file.path.name[0] == ".":
            continue
        if reason := fault_of(file.path):
            name = shown(file.within)
            left_out.append(LeftOut(id=shown(file.stem), file=name, reason=reason))
        else:
            sources[str(file.within)] = file.path
    if not sources:
        raise UserError(
            f"{shown(folder)}: no pictures here nor in folders within; name the folder"
            " that holds them"
        )
    return sources, left_out


def _check_names(sources: Mapping[str, Path], settings: ViewsSettings) -> None:
    """Refuse two pictures that differ by their extension alone.

    Raises:
        UserError: There are such.
    """
    by_target: dict[Path, str] = {}
    for name in sources:
        target = settings.targets(name)[0]
        if target in by_target:
            raise UserError(
                f"{shown(by_target[target])} and {shown(name)} in"
                f" {shown(settings.folder)} would both become {target.name}; rename one"
            )
        by_target[target] = name


def _check_form(settings: ViewsSettings) -> None:
    """Refuse a folder whose views are of another form, and note that of a new one.

    Raises:
        UserError: Some were made with other settings.
    """
    form: dict[str, str] = {"views": settings.views, "format": settings.format}
    if settings.format == "jpeg":
        form["quality"] = str(settings.quality)
    path = settings.out / FORM
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else form
    if before != form:
        flags = " ".join(f"--{key} {value}" for key, value in before.items())
        raise UserError(
            f"{shown(settings.out)} holds views made with {flags}; name another"
            " folder, or delete this one"
        )
    write_text(path, json.dumps(form))


def _check_room(
    sources: Mapping[str, Path],
    made_of: Mapping[str, ReadFile],
    settings: ViewsSettings,
) -> None:
    """Refuse to replace a file that was not made here.

    Raises:
        UserError: There is one.
    """
    for name in sources:
        if name not in made_of:
            for target in settings.targets(name):
                if target.exists():
                    raise UserError(
                        f"{shown(target)} is there and was not made by this command;"
                        " name another folder"
                    )


def _begin(made_of: Mapping[str, ReadFile], settings: ViewsSettings) -> None:
    """Note what may be made from here on, and make the folders."""
    out = settings.out
    write_witnesses(out / MADE_OF, made_of)
    (out / JOURNAL).unlink(missing_ok=True)
    shutil.rmtree(out / DRAFTS, ignore_errors=True)
    (out / DRAFTS).mkdir()
    for folder in {path.parent for name in made_of for path in settings.targets(name)}:
        folder.mkdir(parents=True, exist_ok=True)


def _make(sources: Mapping[str, Path], settings: ViewsSettings) -> list[LeftOut]:
    """Write the views of some pictures, and say which cannot be read."""
    from tqdm import tqdm

    unreadable = []
    with (settings.out / JOURNAL).open("a", encoding="utf-8") as journal:
        bar = tqdm(total=len(sources), unit="picture", leave=False, disable=None)
        with bar:
            drafts = _drafts_of(list(sources.values()), settings)
            for name, (read, reason, draft) in zip(sources, drafts, strict=True):
                if reason:
                    left_out = LeftOut(id=Path(name).stem, file=name, reason=reason)
                    unreadable.append(left_out)
                else:
                    for number, target in enumerate(settings.targets(name)):
                        draft.with_suffix(f".{number}").replace(target)
                    journal.write(f"{json.dumps([name, *read.listed()])}\n")
                    journal.flush()
                bar.update()
    return unreadable


Draft = tuple[ReadFile, str, Path]
"""A picture as it was read, why it is unreadable (or empty), and its draft's name."""


def _drafts_of(paths: Sequence[Path], settings: ViewsSettings) -> Iterator[Draft]:
    """Write drafts of the views of pictures, in order, in processes if that pays."""
    write = partial(_write_draft, settings=settings)
    n_processes = min(settings.workers or n_cores(), math.ceil(len(paths) / CHUNK))
    return in_processes(
        write,
        paths,
        range(len(paths)),
        n_processes=n_processes,
        chunk=CHUNK,
        remedy="--workers 1",
    )


def _write_draft(path: Path, number: int, settings: ViewsSettings) -> Draft:
    draft = settings.out / DRAFTS / str(number)
    try:
        with path.open("rb") as file:
            # taken before the bytes are read, so that a later change shows
            witness = Witness.of(os.fstat(file.fileno()))
            data = file.read()
    except OSError as error:
        return UNMADE, f"it cannot be read, {error.strerror or error}", draft
    read = ReadFile(witness=witness, sha256=hashlib.sha256(data).hexdigest())
    try:
        files = encoded_views(
            data, path.suffix, VIEW_SETS[settings.views], settings.form
        )
    except UnreadableError as error:
        return read, str(error), draft
    for view, bytes_ in enumerate(files):
        draft.with_suffix(f".{view}").write_bytes(bytes_)
    return read, "", draft


def _end(made_of: Mapping[str, ReadFile], left_out: list[LeftOut], out: Path) -> None:
    """Write what was made of what, and what was left out."""
    write_witnesses(out / MADE_OF, made_of)
    (out / JOURNAL).unlink()
    shutil.rmtree(out / DRAFTS, ignore_errors=True)
    write_left_out(out / LEFT_OUT, left_out)


def _read_made(out: Path) -> dict[str, ReadFile]:
    """Read what was made of what, also by an attempt that did not end."""
    return read_witnesses(out / MADE_OF) | _read_journal(out)


def _read_journal(out: Path) -> dict[str, ReadFile]:
    made_of = {}
    with suppress(OSError):
        lines = (out / JOURNAL).read_text(encoding="utf-8").split("\n")[:-1]
        for name, *listed in map(json.loads, lines):
            made_of[name] = ReadFile.of_list(listed)
    return made_of


def _tell(
    sources: Mapping[str, Path],
    made_of: Mapping[str, ReadFile],
    n_todo: int,
    *,
    settings: ViewsSettings,
) -> None:
    """Say what was made, and of which pictures that are gone views remain."""
    folders = ", ".join(VIEW_SETS[settings.views])
    log.info(
        "%d picture%s, %d made now -> %s: folders %s",
        len(sources),
        "s" * (len(sources) != 1),
        n_todo,
        settings.out,
        folders,
    )
    if gone := sorted(made_of.keys() - sources):
        log.info(
            "views remain of %d picture%s no longer in %s, such as %s",
            len(gone),
            "s" * (len(gone) != 1),
            settings.folder,
            gone[0],
        )


if __name__ == "__main__":
    run_command(main)
