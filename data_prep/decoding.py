"""The pictures of a preparation, decoded: what the finished stage has of them is taken.

What is noted for the next time lies in logs/ and in no digest: dates of files differ
after a copy, and decoders need not matter.

Shapes: S pixels per side.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from data_prep.errors import UserError
from data_prep.pictures.decoded import Decoded
from data_prep.pictures.fit import Fit
from data_prep.pictures.images import JOURNAL, store_pictures
from data_prep.pictures.pages import PictureFile
from data_prep.pictures.picture_info import PictureInfo
from data_prep.pictures.reuse import Earlier, Square, decoders
from data_prep.prepared import PREPARED, TABLE
from data_prep.run_folders.damage import PIXELS, map_array, read_frame
from data_prep.run_folders.runs import Finished, Run, read_state, write_json
from data_prep.run_folders.unfinished import MADE_FROM
from data_prep.run_folders.witness import ReadFile, read_witnesses, write_witnesses
from data_prep.sources import WITNESSES

NOTES = Path("logs") / "decoding.json"  # by which decoders, and what is odd of files
TOLD = ("sha256", "width", "height", "pixels_sha256")  # columns, of what a file became


def earlier_pictures(
    run: Run, pictures: Mapping[str, PictureFile], side: int, fit: Fit
) -> Earlier | None:
    """Give what the finished stage has decoded, if it can be of use.

    Args:
        run: The run.
        pictures: The file of each id, or the page.
        side: S.
        fit: How a picture becomes square.
    """
    if run.overwrite or not run.has(PREPARED):
        return None
    with suppress(UserError, OSError):  # what is damaged is made anew
        done = run.recorded(PREPARED)
        settings, notes = done.record["settings"], read_state(done.folder / NOTES)
        is_alike = (settings.get("side"), settings.get("fit")) == (side, fit)
        if is_alike and notes.get("decoders") == decoders():
            return _earlier_of(done, pictures, notes["infos"])
    return None


def decode_pictures(
    store: Path,
    pictures: Mapping[str, PictureFile],
    *,
    side: int,
    fit: Fit,
    workers: int,
    earlier: Earlier | None,
) -> list[Decoded]:
    """Decode pictures, and note what their files are; all else is made anew.

    Args:
        store: The npy file of the pixels, in the folder of the stage.
        pictures: The file of each id, or the page.
        side: S.
        fit: How a picture becomes square.
        workers: Processes; 0: one per core at hand.
        earlier: What need not be decoded.

    Returns:
        What became of each file.

    Raises:
        UserError: The disk is full, a process was killed, or no picture is readable.
    """
    kept_names = (store.name, store.with_suffix(JOURNAL).name, MADE_FROM)
    for path in store.parent.iterdir():
        if path.is_file() and path.name not in kept_names:
            path.unlink()
    decoded = store_pictures(
        list(pictures.values()),
        target=store,
        side=side,
        fit=fit,
        workers=workers,
        earlier=earlier,
    )
    by_id = dict(zip(pictures, decoded, strict=True))
    files = {
        id_: ReadFile(witness=file.witness, sha256=file.sha256)
        for id_, file in by_id.items()
    }
    write_witnesses(store.parent / WITNESSES, files)
    infos = {
        id_: asdict(file.info)
        for id_, file in by_id.items()
        if file.info != PictureInfo()
    }
    write_json(store.parent / NOTES, {"decoders": dict(decoders()), "infos": infos})
    return decoded


def settle_pixels(store: Path, pixels_file: Path) -> None:
    """Put the pixels in their place; last, so that a rerun before need not decode.

    Args:
        store: Their place.
        pixels_file: Where they are, if some were left out.
    """
    store.with_suffix(JOURNAL).unlink()
    if pixels_file != store:
        pixels_file.replace(store)


def _earlier_of(
    done: Finished,
    pictures: Mapping[str, PictureFile],
    infos: Mapping[str, dict[str, int]],
) -> Earlier:
    """Put together what a finished stage tells of the pictures that are there now."""
    pixels, table = map_array(done.folder / PIXELS), read_frame(done.folder / TABLE)
    witnesses = read_witnesses(done.folder / WITNESSES)
    columns = [table[name].tolist() for name in ("id", "image_row", *TOLD)]
    squares = {}
    for id_, row, *values in zip(*columns, strict=True):
        if id_ in pictures and id_ in witnesses and row < len(pixels):
            file = Decoded(
                witness=witnesses[id_].witness,
                info=PictureInfo(**infos.get(id_, {})),  # type: ignore[arg-type]
                **dict(zip(TOLD, values, strict=True)),
            )
            squares[pictures[id_]] = Square(row=row, file=file)
    return Earlier(pixels=pixels, squares=squares)
