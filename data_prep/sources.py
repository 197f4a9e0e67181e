"""What ``data_prep.prepare`` is made from, and whether it still is that.

Tables are compared by the hash of their bytes, pictures by their names and a witness of
each file that is kept beside the result.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.experiment import DataSettings
from data_prep.file_paths import called
from data_prep.prepared import NEEDED, PREPARED, TABLE, pages_of
from data_prep.run_folders.damage import digest_file, digest_of, intact
from data_prep.run_folders.runs import Finished, Run, write_json
from data_prep.run_folders.unfinished import MADE_FROM
from data_prep.run_folders.witness import compare, read_witnesses, write_witnesses
from data_prep.settings import recorded

if TYPE_CHECKING:
    from data_prep.pictures.folders import Folders
    from data_prep.pictures.pages import PagedPictures, PictureFile

WITNESSES = Path("logs") / "pictures.json"  # in no digest: dates differ after a copy


def source_digests(
    data: DataSettings,
    folders: "Folders",
    folds: Path | None = None,
    paged: "PagedPictures | None" = None,
) -> dict[str, str]:
    """Hash the tables' bytes and the pictures' names; ``current`` sees their bytes.

    Args:
        data: Where the tables lie.
        folders: The files of pictures.
        folds: A further table; None: there is none, and the hash is as without it.
        paged: The pictures, where some are pages; None: none is.
    """
    pictures = paged.pictures if paged else folders.pictures
    names = [[id_, picture.name] for id_, picture in pictures.items()]
    unusable = [left_out.file for left_out in folders.unusable.values()]
    tables = [data.train, data.test, data.sample, data.sample_weights, *data.attributes]
    tables += [folds] if folds else []
    return {
        "tables": digest_of([path and digest_file(path) for path in tables]),
        "pictures": digest_of([*names, *unusable]),
    }


def named_data(data: DataSettings) -> dict[str, Any]:
    """Name the files and columns without folders, so that a run can be moved."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return called(value) if isinstance(value, Path) else value

    return {name: plain(getattr(data, name)) for name in recorded(data)}


def current(
    run: Run, made_from: Mapping[str, Any], pictures: "Mapping[str, PictureFile]"
) -> Finished | None:
    """Return the finished stage if it was made from just these files.

    Args:
        run: The run.
        made_from: What decides the result, but for the bytes of the pictures.
        pictures: The file of each id, or the page.
    """
    from pyarrow.parquet import read_schema

    from data_prep.pictures.pages import files_of

    if run.overwrite or not run.has(PREPARED):
        return None
    done = run.recorded(PREPARED)
    if done.record["settings"] != json.loads(json.dumps(made_from, default=str)):
        return None
    path = done.folder / WITNESSES
    before = read_witnesses(path)
    current = compare(files_of(pictures), before)
    if current is None:
        return None
    with intact(done.folder / TABLE) as table:
        if not {*NEEDED} <= {*read_schema(table).names}:  # an older version wrote it
            return None
    if current != before:
        with suppress(OSError):  # a run that cannot be written to is looked at again
            write_witnesses(path, current)
    return run.current(PREPARED, made_from)


def has_other_pictures(run: Run, folders: Sequence[Path]) -> bool:
    """Tell whether the file of a picture is another than when it was read."""
    from data_prep.pictures.folders import search_folders
    from data_prep.pictures.pages import PagedPictures, files_of, ids_of_files

    before = read_witnesses(run.folder / PREPARED / WITNESSES)
    page = pages_of(run.recorded(PREPARED).record)
    ids = ids_of_files(before) if page == "all" else set(before)
    files = search_folders(folders, ids=ids).pictures
    return compare(files_of(PagedPictures.find(files, page).pictures), before) is None


def take_up(run: Run, made_from: Mapping[str, Any]) -> Run:
    """Make an unfinished attempt fit what is to be made now, or allow to drop it.

    The decoded pixels depend on the side, the fit and the pictures alone; all else is
    made anew anyway. An attempt at other pictures cannot be gone on with.

    Args:
        run: The run.
        made_from: What decides the result now, but for the bytes of the pictures.

    Returns:
        The run, in which the stage may be overwritten if the attempt is of no use.
    """
    unfinished = run.unfinished(PREPARED)
    if run.overwrite or unfinished is None or run.is_being_written(PREPARED):
        return run
    folder, begun = unfinished
    settings = begun.get("settings", {})
    source = settings.get("source")
    pictures = source.get("pictures") if isinstance(source, dict) else None
    if pictures != made_from["source"]["pictures"]:
        return replace(run, overwrite=True)
    if all(settings.get(name) == made_from[name] for name in ("side", "fit")):
        write_json(folder / MADE_FROM, {**begun, "settings": dict(made_from)})
    return run
