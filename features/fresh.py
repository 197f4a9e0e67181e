"""Fresh: the features of pictures that came after the run was made.

    python -m features.fresh --images new_leaves

Takes a run whose ``features.extract`` is finished. The pictures are decoded as
``data_prep.prepare`` decoded the run's own and go through the nets of the extraction,
in the same views and statistics; the run's own pictures are not needed. Writes
``runs/NAME/fresh/new_leaves/``, or ``--out FOLDER``:

- ``features.pkl``: pooled over the views and averaged over the fold nets, as the row of
  a test picture is,
- ``nets/foldK.pkl`` and ``views/TASK.test.foldK.pkl``: what the nets of a fold say,
- ``pixels.pkl``: what needs no net, the colours and a picture of 12 x 12 areas,
- ``left_out.csv``: the pictures that the nets say nothing of, and why,
- ``pictures.json``: the file of each picture and the digest of its bytes.

Run again on the same folder, only pictures that are new or changed go through the
nets, those that are gone drop out, and all others keep their numbers, to the bit. The
new ones go through in blocks of their own, and the last bits of an output depend on the
pictures beside it in its block; ``--overwrite`` sends all through anew.

``--net distilled`` asks the one net of ``transfer.distill`` in place of all those, and
writes into ``fresh.distilled/``; no extraction is needed.
"""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from data_prep.command import run_command
from data_prep.errors import UserError
from data_prep.pictures.folders import Folders, LeftOut
from data_prep.pictures.pages import PagedPictures, files_of
from data_prep.run_folders.damage import RECORD, digest_of
from data_prep.run_folders.runs import Run
from data_prep.run_folders.witness import hash_of
from data_prep.run_places import chosen_run
from data_prep.settings import from_flags
from features.earlier import EarlierResults, is_whole
from features.extract import WORK
from features.extraction import Extraction, find_extraction
from features.fresh_columns import FreshColumns
from features.fresh_stores import infer
from features.inference import (
    COMMAND,
    NewPictures,
    claims_of,
    default_path,
    find_pictures,
    is_of_other_folders,
    paged_pictures,
    resolved,
)
from features.pixel_columns import VERSION
from transfer.networks.columns import columns_of

STAGE = COMMAND
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FreshSettings(NewPictures):
    """Give the features of pictures that came after a run was made."""

    out: Annotated[
        Path | None,
        "where the features go (default: fresh/<name of --images> in the run)",
    ] = None


def main(argv: Sequence[str] | None = None) -> Path:
    """Infer as the command line says, and return the folder of the features."""
    settings = from_flags(FreshSettings, STAGE, argv)
    run = Run(chosen_run(settings.run, STAGE))
    folders = find_pictures(settings.images, settings.table, run)
    paged = paged_pictures(folders, run)
    pictures = paged.pictures
    unusable = _unusable(folders)
    extraction = find_extraction(run, settings.net)
    images, out = settings.images, settings.out
    out = out.resolve() if out else default_path(run.folder, images, settings.net)
    for note in paged.notes:
        log.info("%s", note)
    columns = read_columns_of_nets(settings.table, paged, folders, extraction)
    digest_of_file = {path: hash_of(path) for path in folders.pictures.values()}
    digests = {id_: digest_of_file[path] for id_, path in files_of(pictures).items()}
    cells = columns.digests() if columns else {}
    config: dict[str, Any] = {
        "made_by": STAGE,
        "extraction": extraction.digest,
        "pictures": digest_of(
            [
                *([id_, path.name, digests[id_]] for id_, path in pictures.items()),
                *([file.id, file.file, file.reason] for file in unusable),
            ]
        ),
        "folders": resolved(settings.images),
        "pixel_columns": VERSION,
        **({"columns": digest_of(cells)} if columns else {}),
    }
    check_path(out, config["folders"], overwrite=settings.overwrite)
    overwrite = settings.overwrite or not is_whole(out)
    if done := Run(out.parent, overwrite).current(out.name, config):
        return done.folder
    earlier = EarlierResults()
    if overwrite and not settings.overwrite:
        log.warning("%s is not as it was written: all is inferred anew", out)
    elif not overwrite:
        earlier = EarlierResults.find(
            out,
            extraction=extraction.digest,
            pictures=pictures,
            digests=digests,
            cells=cells,
        )
    # overwrite: an unfinished attempt at other pictures may be dropped
    with Run(out.parent, overwrite=True).stage(out.name, config) as stage:
        stage.metadata = infer(
            extraction,
            pictures,
            stage.folder,
            threads=settings.threads,
            earlier=earlier,
            unusable=unusable,
            columns=columns,
        )
        stage.device = stage.metadata["device"]
    shutil.rmtree(out / WORK, ignore_errors=True)  # until now it could be resumed
    log_result(stage.metadata, len(pictures), out)
    return out


def _unusable(folders: Folders) -> list[LeftOut]:
    """Give the files that can be no picture, none of a picture's id, and tell them."""
    unusable = [
        file for id_, file in folders.unusable.items() if id_ not in folders.pictures
    ]
    for file in unusable:
        log.warning("%s is left out: %s", file.file, file.reason)
    return unusable


def read_columns_of_nets(
    table: Path | None, paged: PagedPictures, folders: Folders, extraction: Extraction
) -> FreshColumns | None:
    """Read what the nets are given of the user's table, if they are given anything.

    Args:
        table: A row per file; None: there is none.
        paged: The pictures.
        folders: Their files.
        extraction: The run's.

    Raises:
        UserError: The table is missing or lacks something.
    """
    columns = columns_of(extraction.trained)
    if columns is not None:
        ids = list(folders.pictures)
        of_files = FreshColumns.read(table, ids, columns, extraction.prepared)
        return replace(of_files, cells=paged.repeated(of_files.cells))
    if table:
        log.info("%s: the nets were given no column of yours: its ids are used", table)
    return None


def check_path(out: Path, folders: Sequence[str], *, overwrite: bool) -> None:
    """Check that nothing would be lost that is not ours to replace.

    Args:
        out: Folder of the features.
        folders: Where the pictures lie.
        overwrite: The features of other folders may be replaced.

    Raises:
        UserError: Something would be lost.
    """
    partial, old = (out.with_name(f"{out.name}.{end}") for end in ("partial", "old"))
    for folder, claim in claims_of(out).items():
        if claim.get("made_by") != STAGE:
            raise UserError(
                f"{folder} is there and was not made by {STAGE}; give another"
                " --out FOLDER"
            )
    # Where the last move was cut off, it is ours; else it may be someone's copy.
    if old.exists() and not (partial / RECORD).exists():
        raise UserError(f"{old} is in the way; move it to another folder")
    if is_of_other_folders(out, folders) and not overwrite:
        raise UserError(
            f"{out} holds the features of other pictures than are asked for now, and"
            " their folder is still there; --overwrite replaces them, --out FOLDER"
            " keeps both"
        )


def log_result(metadata: Mapping[str, Any], n_pictures: int, out: Path) -> None:
    """Say what went through the nets, and what is not among the features.

    Args:
        metadata: As recorded.
        n_pictures: Of the folders.
        out: Folder of the features.
    """
    if n_kept := metadata["kept"]:
        log.info(
            "%d pictures have features already, which are kept, %d are new",
            n_kept,
            n_pictures - n_kept,
        )
    log.info(
        "%d pictures in %d views through %d nets, %d outputs each",
        *(metadata[name] for name in ("pictures", "views", "nets", "columns")),
    )
    if n_left_out := metadata["left_out"]:
        counted = "1 picture is" if n_left_out == 1 else f"{n_left_out} pictures are"
        log.warning("%s left out: %s says why", counted, out / "left_out.csv")
    log.info("-> %s", out)


if __name__ == "__main__":
    run_command(main)
