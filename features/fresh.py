"""Fresh: the features of pictures that came after the run was made.

    python -m features.fresh --images new_leaves

Takes a run whose ``features.extract`` is finished. The pictures are decoded as
``data_prep.prepare`` decoded the run's own and go through the nets that the extraction
asked, in the same views and statistics; the run's own pictures are not needed. Writes
``runs/NAME/fresh/new_leaves/``, or ``--out FOLDER``:

- ``features.pkl``: pooled over the views and averaged over the fold nets, as the row of
  a test picture is,
- ``nets/foldK.pkl`` and ``views/TASK.test.foldK.pkl``: what the nets of a fold say,
- ``left_out.csv``: the pictures that are in none of these, and why,
- ``pictures.json``: the file of each picture and the digest of its bytes.

Asked again of the same folder, only pictures that are new or changed go through the
nets, those that are gone drop out, and all others keep their numbers, to the bit. The
new ones go through in blocks of their own, and the last bits of an output depend on the
pictures beside it in its block; ``--overwrite`` asks about all anew.
"""

import csv
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.command import last_run, run_command
from data_prep.dihedral import VIEW_SETS
from data_prep.errors import UserError
from data_prep.pictures.folders import Folders, LeftOut, search_folders
from data_prep.pictures.picture_info import summarise
from data_prep.run_folders.runs import RECORD, Run, digest_of
from data_prep.settings import Parser
from data_prep.waiting import settle_waiting
from features.asking import (
    COMMAND,
    add_flags,
    is_of_others,
    place_of,
    resolved,
    settings_in,
    states_of,
)
from features.extract import WORK, Passes, open_source
from features.extraction import Extraction, find_extraction, warn_of_learned
from features.known import Known, digest_picture, is_whole, write_note
from features.parts import Part, group_rows
from features.rows import joined

if TYPE_CHECKING:
    from data_prep.pictures.decoded import Decoded
    from features.assembly import Extracted
    from features.sources import Source

STAGE = COMMAND
log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> Path:
    """Ask the nets as the command line says, and return the folder of the features."""
    parser = Parser(
        prog=f"python -m {STAGE}",
        description="Give the features of pictures that came after a run was made.",
    )
    add_flags(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where the features go (default: fresh/<name of --images> in the run)",
    )
    given = parser.parse(argv)
    threads: int = given["threads"]
    if threads < 0:
        raise UserError(f"threads = {threads}: give 0 or more")
    folders = find_images(given["images"])
    pictures = folders.pictures
    unusable = [  # of no picture's id
        file for id_, file in folders.unusable.items() if id_ not in pictures
    ]
    for file in unusable:
        log.warning("%s is left out: %s", file.file, file.reason)
    run = Run(given["run"] or last_run(STAGE, "--run FOLDER"))
    extraction = find_extraction(run)
    given_out: Path | None = given["out"]
    out = given_out.resolve() if given_out else place_of(run.folder, given["images"])
    digests = {id_: digest_picture(path) for id_, path in pictures.items()}
    key = {
        "made_by": STAGE,
        "extraction": extraction.digest,
        "pictures": digest_of(
            [
                *([id_, path.name, digests[id_]] for id_, path in pictures.items()),
                *([file.id, file.file, file.reason] for file in unusable),
            ]
        ),
        "folders": resolved(given["images"]),
    }
    check_place(out, key["folders"], overwrite=given["overwrite"])
    overwrite = given["overwrite"] or not is_whole(out)
    if done := Run(out.parent, overwrite).current(out.name, key):
        return done.folder
    known = Known()
    if overwrite and not given["overwrite"]:
        log.warning("%s is not as it was written: all is asked anew", out)
    elif not overwrite:
        known = Known.find(out, extraction.digest, pictures, digests)
    # overwrite: an unfinished attempt at other pictures may be dropped
    with Run(out.parent, overwrite=True).stage(out.name, key) as stage:
        stage.metadata = ask(
            extraction,
            pictures,
            stage.folder,
            threads=threads,
            known=known,
            unusable=unusable,
        )
        stage.device = stage.metadata["device"]
    shutil.rmtree(out / WORK, ignore_errors=True)  # until now it could be resumed
    metadata = stage.metadata
    if metadata["known"]:
        log.info(
            "%d pictures were asked about before and are kept, %d are new",
            metadata["known"],
            len(pictures) - metadata["known"],
        )
    log.info(
        "%d pictures in %d views through %d nets, %d outputs each",
        *(
            metadata["pictures"],
            metadata["views"],
            metadata["nets"],
            metadata["columns"],
        ),
    )
    if metadata["left_out"]:
        note = out / "left_out.csv"
        n = metadata["left_out"]
        counted = "1 picture is" if n == 1 else f"{n} pictures are"
        log.warning("%s left out: %s says why", counted, note)
    log.info("-> %s", out)
    return out


def find_images(folders: Sequence[Path]) -> Folders:
    """Find the pictures by id, as ``data_prep.prepare`` does.

    Raises:
        UserError: A folder is missing, there is no picture, or two share an id.
    """
    return search_folders(folders, setting="--images")


def check_place(out: Path, folders: Sequence[str], *, overwrite: bool) -> None:
    """Check that nothing would be lost that is not ours to replace.

    Args:
        out: Folder of the features.
        folders: Of the pictures.
        overwrite: The features of other folders may be replaced.

    Raises:
        UserError: Something would.
    """
    partial, old = (out.with_name(f"{out.name}.{end}") for end in ("partial", "old"))
    for place, note in states_of(out):
        if settings_in(place / note).get("made_by") != STAGE:
            raise UserError(
                f"{place} is there and was not made by {STAGE}; give another --out"
                " FOLDER"
            )
    # Where the last move was cut off, it is ours; else it may be someone's copy.
    if old.exists() and not (partial / RECORD).exists():
        raise UserError(f"{old} is in the way; move it to another place")
    if is_of_others(out, folders) and not overwrite:
        raise UserError(
            f"{out} holds the features of other pictures than are asked for now, and"
            " their folder is still there; --overwrite replaces them, --out FOLDER"
            " keeps both"
        )


def ask(
    extraction: Extraction,
    pictures: Mapping[str, Path],
    folder: Path,
    *,
    threads: int,
    known: Known,
    unusable: Sequence[LeftOut] = (),
) -> dict[str, Any]:
    """Decode the pictures, send them through the nets, and write all files.

    Args:
        extraction: How.
        pictures: Their paths by id.
        folder: Where to; what an earlier attempt left there is gone on with.
        threads: Of torch, and processes that decode; 0: one per core.
        known: Pictures that need not be sent again.
        unusable: Files that are not even looked into; they are left out with the rest.

    Returns:
        What is worth recording.

    Raises:
        UserError: Not one picture can be read, or has outputs that are finite.
    """
    new = {id_: path for id_, path in pictures.items() if id_ not in known.earlier}
    # which are new may change between two attempts, and with it the rows of a pass
    work = folder / WORK / digest_of([*new])[:16]
    work.mkdir(parents=True, exist_ok=True)
    transform = extraction.header["transform"]
    decoded = decode(new, work, transform, threads, is_alone=not known)
    warn_of_learned(extraction.prepared, [*known.decoded.values(), *decoded.values()])
    for line in summarise([file.info for file in decoded.values() if not file.reason]):
        log.warning("%s", line)
    left_out = {id_: one.reason for id_, one in decoded.items() if one.reason}
    ids = np.array([*known.earlier, *(i for i in new if i not in left_out)], object)

    settle_waiting(threads)
    from features.assembly import Assembly
    from pretext.data.pictures import Pictures
    from pretext.device import pick_device, set_threads

    device = pick_device()
    set_threads(threads)
    none = np.empty((0, transform["side"], transform["side"], 3), np.uint8)
    has_new = len(ids) > len(known)
    taken = Pictures.open(work, device) if has_new else Pictures(none, device)
    settings, header = extraction.settings, extraction.header
    source = open_source(settings, extraction.prepared, extraction.made, taken)
    views = VIEW_SETS[settings.views]
    rows = np.arange(len(ids) - len(known))
    parts = [Part(fold, extraction.role, rows) for fold in source.folds]
    passes = Passes(
        groups=group_rows(parts) if has_new else [],
        source=source,
        pictures=taken,
        views=views,
        bf16=header["precision"] == "bf16",
        image_rows=rows,
        title=STAGE,
    )
    passes.run(work)
    extracted = passes.extracted(parts, ids[len(known) :])
    extracted = with_known(extracted, known, source, len(views))
    if not any(len(one.part.rows) for one in extracted):
        raise UserError(
            f"the outputs of all {len(ids)} pictures are not finite: the weights of"
            f" {extraction.made.folder} are broken"
        )
    assembly = Assembly(
        *(folder, ids, np.full(len(ids), -1), source.columns, source.nets),
        *(passes.views, settings.statistics, extraction.header_of_more(), left_out),
    )
    assembly.write(extracted)
    for one in extracted:
        left_out = {**left_out, **one.failures}
    lost = [
        LeftOut(id=id_, file=pictures[id_].name, reason=reason)
        for id_, reason in left_out.items()
    ]
    write_left_out(folder / "left_out.csv", [*lost, *unusable])
    write_note(folder, pictures, {**known.decoded, **decoded})
    return {
        "pictures": len(pictures) - len(left_out),
        "left_out": len(left_out) + len(unusable),
        "known": len(known),
        "views": len(passes.views),
        "nets": len(source.nets),
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
    from data_prep.pictures.images import NoneReadableError, store_pictures

    if not pictures:
        return {}
    try:
        decoded = store_pictures(
            paths=list(pictures.values()),
            target=work / "images.npy",
            side=transform["side"],
            fit=transform["fit"],
            workers=threads,
        )
    except NoneReadableError as error:
        if is_alone:
            raise
        decoded = error.decoded
    except UserError as error:  # it names the flags of data_prep.prepare
        text = str(error).replace("--workers", "--threads")
        raise UserError(
            text.removesuffix(", or store smaller pictures (--side)")
        ) from None
    return dict(zip(pictures, decoded, strict=True))


def with_known(
    extracted: "Sequence[Extracted]", known: Known, source: "Source", n_views: int
) -> "list[Extracted]":
    """Put the known pictures before the new ones of each part."""
    from features.assembly import Extracted

    first = np.arange(len(known))
    found = []
    for one in extracted:
        fold, role = one.part.fold, one.part.role
        earlier = known.views(
            fold, source.columns[fold], n_views, is_test=role == "test"
        )
        part = Part(fold, role, np.concatenate([first, len(known) + one.part.rows]))
        found.append(Extracted(part, joined([earlier, one.views]), one.failures))
    return found


def write_left_out(path: Path, left_out: Sequence[LeftOut]) -> None:
    """Write ``id,file,reason`` of the pictures that have no features."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["id", "file", "reason"])
        rows.writerows(
            [picture.id, picture.file, picture.reason]
            for picture in sorted(left_out, key=lambda picture: picture.id)
        )


if __name__ == "__main__":
    run_command(main)
