"""Fresh: the features of pictures that came after the run was made.

    python -m features.fresh --images new_leaves

Takes a run whose ``features.extract`` is finished. The pictures are decoded as
``data_prep.prepare`` decoded the run's own and go through the nets of the extraction,
in the same views and statistics; the run's own pictures are not needed. Writes
``runs/NAME/fresh/new_leaves/``, or ``--out FOLDER``:

- ``features.pkl``: pooled over the views and averaged over the fold nets, as the row of
  a test picture is,
- ``nets/foldK.pkl`` and ``views/TASK.test.foldK.pkl``: what the nets of a fold say,
- ``left_out.csv``: the pictures that are in none of these, and why,
- ``pictures.json``: the file of each picture and the digest of its bytes.

Run again on the same folder, only pictures that are new or changed go through the
nets, those that are gone drop out, and all others keep their numbers, to the bit. The
new ones go through in blocks of their own, and the last bits of an output depend on the
pictures beside it in its block; ``--overwrite`` sends all through anew.
"""

import logging
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from data_prep.command import last_run, run_command
from data_prep.dihedral import VIEW_SETS
from data_prep.errors import UserError
from data_prep.pictures.folders import LeftOut, search_folders, write_left_out
from data_prep.pictures.picture_info import summarise
from data_prep.run_folders.damage import RECORD, digest_of
from data_prep.run_folders.runs import Run
from data_prep.run_folders.witness import hash_of
from data_prep.settings import from_flags
from data_prep.waiting import settle_waiting
from features.earlier import EarlierResults, is_whole, write_sidecar
from features.extract import WORK, open_source
from features.extraction import (
    OF_ALL,
    Extraction,
    find_extraction,
    warn_of_training_pictures,
)
from features.fresh_columns import FreshColumns
from features.inference import (
    COMMAND,
    NewPictures,
    claims_of,
    default_path,
    is_of_other_folders,
    resolved,
)
from features.plan import RoleRows, plan_passes
from features.rows import joined_rows
from transfer.columns import columns_of

if TYPE_CHECKING:
    from data_prep.pictures.decoded import Decoded
    from features.assembly import Extracted
    from features.sources import NetSource

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
    folders = search_folders(settings.images, setting="--images")
    pictures = folders.pictures
    unusable = [  # of no picture's id
        file for id_, file in folders.unusable.items() if id_ not in pictures
    ]
    for file in unusable:
        log.warning("%s is left out: %s", file.file, file.reason)
    run = Run(settings.run or last_run(STAGE, "--run FOLDER"))
    extraction = find_extraction(run)
    if settings.out:
        out = settings.out.resolve()
    else:
        out = default_path(run.folder, settings.images)
    columns = read_columns_of_nets(settings.table, list(pictures), extraction)
    digests = {id_: hash_of(path) for id_, path in pictures.items()}
    cells = columns.digests() if columns else {}
    config = {
        "made_by": STAGE,
        "extraction": extraction.digest,
        "pictures": digest_of(
            [
                *([id_, path.name, digests[id_]] for id_, path in pictures.items()),
                *([file.id, file.file, file.reason] for file in unusable),
            ]
        ),
        "folders": resolved(settings.images),
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
    metadata = stage.metadata
    if metadata["kept"]:
        log.info(
            "%d pictures have features already, which are kept, %d are new",
            metadata["kept"],
            len(pictures) - metadata["kept"],
        )
    log.info(
        "%d pictures in %d views through %d nets, %d outputs each",
        *(metadata[name] for name in ("pictures", "views", "nets", "columns")),
    )
    if n_left_out := metadata["left_out"]:
        counted = "1 picture is" if n_left_out == 1 else f"{n_left_out} pictures are"
        log.warning("%s left out: %s says why", counted, out / "left_out.csv")
    log.info("-> %s", out)
    return out


def read_columns_of_nets(
    table: Path | None, ids: Sequence[str], extraction: Extraction
) -> FreshColumns | None:
    """Read what the nets are given of the user's table, if they are given anything.

    Raises:
        UserError: The table is missing, lacks something, or is not called for.
    """
    columns = columns_of(extraction.trained)
    if columns is not None:
        return FreshColumns.read(table, ids, columns, extraction.prepared)
    if table:
        raise UserError(
            f"--table {table}: the nets were not given any column of yours; leave it"
            " out"
        )
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


def infer(
    extraction: Extraction,
    pictures: Mapping[str, Path],
    folder: Path,
    *,
    threads: int,
    earlier: EarlierResults,
    unusable: Sequence[LeftOut] = (),
    columns: FreshColumns | None = None,
) -> dict[str, Any]:
    """Decode the pictures, send them through the nets, and write all files.

    Args:
        extraction: The run's finished extraction, whose nets and settings are used.
        pictures: Their paths by id.
        folder: Where to; what an earlier attempt left there is gone on with.
        threads: Of torch, and processes that decode; 0: one per core.
        earlier: Pictures that need not be sent again.
        unusable: Files that are not even looked into; they are left out too.
        columns: What the nets are given of the user's table.

    Returns:
        What is worth recording.

    Raises:
        UserError: Not one picture can be read, or has outputs that are finite.
    """
    new_paths = {id_: path for id_, path in pictures.items() if id_ not in earlier.ids}
    # which are new may change between two attempts, and with it the rows of a pass
    work = folder / WORK / digest_of([*new_paths])[:16]
    work.mkdir(parents=True, exist_ok=True)
    transform = extraction.header["transform"]
    new_decoded = decode(new_paths, work, transform, threads, is_alone=not earlier)
    decoded = {**earlier.decoded, **new_decoded}
    warn_of_training_pictures(extraction.prepared, list(decoded.values()))
    readable = [file for file in new_decoded.values() if not file.reason]
    for line in summarise([file.info for file in readable]):
        log.warning("%s", line)
    left_out = {id_: file.reason for id_, file in new_decoded.items() if file.reason}
    ids = np.array(
        [*earlier.ids, *(id_ for id_ in new_paths if id_ not in left_out)], object
    )
    n_new = len(ids) - len(earlier)

    settle_waiting(threads)
    from features.assembly import Assembly
    from features.net_passes import NetPasses
    from pretext.data.pictures import Pictures
    from pretext.device import pick_device, set_threads

    device = pick_device()
    set_threads(threads)
    if n_new:
        new_pictures = Pictures.open(
            work,
            device,
            columns.of(ids[len(earlier) :].tolist(), decoded) if columns else None,
        )
    else:
        side_px = transform["side"]
        new_pictures = Pictures(np.empty((0, side_px, side_px, 3), np.uint8), device)
    settings, header = extraction.settings, extraction.header
    command = " ".join(sys.orig_argv[1:])
    source = open_source(
        settings, extraction.prepared, extraction.trained, new_pictures
    )
    views = VIEW_SETS[settings.views]
    rows = np.arange(n_new)
    planned = [
        RoleRows(fold=fold, role=extraction.role, rows=rows) for fold in source.folds
    ]
    outputs = NetPasses(
        passes=plan_passes(planned) if n_new else [],
        source=source,
        pictures=new_pictures,
        views=views,
        bf16=header["precision"] == "bf16",
        image_rows=rows,
        title=STAGE,
    ).run(work)
    extracted = after_earlier(
        earlier, outputs.by_role(planned, ids[len(earlier) :]), source, len(views)
    )
    if not any(len(of_fold.rows) for of_fold in extracted):
        raise UserError(
            f"the outputs of all {len(ids)} pictures are not finite: the weights of"
            f" {extraction.trained.folder} are broken"
        )
    Assembly(
        folder=folder,
        ids=ids,
        fold_of=np.full(len(ids), -1),
        columns=source.columns,
        nets=source.nets,
        views=views,
        statistics=settings.statistics,
        header={name: header[name] for name in OF_ALL} | {"command": command},
        failures=left_out,
    ).write(extracted)
    for of_fold in extracted:
        left_out |= of_fold.failures
    files = [*unusable]
    for id_, reason in left_out.items():
        files.append(LeftOut(id=id_, file=pictures[id_].name, reason=reason))
    files.sort(key=lambda file: file.id)
    write_left_out(folder / "left_out.csv", files)
    write_sidecar(folder, pictures, decoded, columns.digests() if columns else {})
    return {
        "pictures": len(pictures) - len(left_out),
        "left_out": len(left_out) + len(unusable),
        "kept": len(earlier),
        "views": len(views),
        "nets": source.n_nets,
        "columns": source.width,
        "folds": source.folds,
        "device": str(device),
    }


def decode(
    pictures: Mapping[str, Path],
    work: Path,
    transform: Mapping[str, Any],
    threads: int,
    *,
    is_alone: bool,
) -> "dict[str, Decoded]":
    """Decode pictures into ``images.npy``; say by id what became of each file.

    Args:
        pictures: Their paths by id.
        work: Folder of the pixels.
        transform: How the run's own pictures were decoded.
        threads: Processes; 0: one per core.
        is_alone: There are no other pictures, so that some must be readable.

    Raises:
        UserError: None is readable, or the disk is full.
    """
    from data_prep.pictures.images import store_pictures

    if not pictures:
        return {}
    decoded = store_pictures(
        paths=list(pictures.values()),
        target=work / "images.npy",
        side=transform["side"],
        fit=transform["fit"],
        workers=threads,
        needs_one=is_alone,
    )
    return dict(zip(pictures, decoded, strict=True))


def after_earlier(
    earlier: EarlierResults,
    extracted: "Sequence[Extracted]",
    source: "NetSource",
    n_views: int,
) -> "list[Extracted]":
    """Put the pictures of earlier times before the new ones of each fold."""
    joined = []
    for new in extracted:
        views = earlier.views(
            new.fold, source.columns[new.fold], n_views, is_test=new.role == "test"
        )
        rows = np.concatenate([np.arange(len(earlier)), len(earlier) + new.rows])
        joined.append(replace(new, rows=rows, views=joined_rows([views, new.views])))
    return joined


if __name__ == "__main__":
    run_command(main)
