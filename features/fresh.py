"""Fresh: the features of pictures that came after the run was made.

    python -m features.fresh --images new_leaves

Takes a run whose ``features.extract`` is finished. The pictures are decoded as
``data_prep.prepare`` decoded the run's own and go through the nets that the extraction
asked, in the same views and statistics; the run's own pictures are not needed. Writes
``runs/NAME/fresh/new_leaves/``, or ``--out FOLDER``:

- ``features.pkl``: pooled over the views and averaged over the fold nets, as the row of
  a test picture is,
- ``nets/foldK.pkl`` and ``views/TASK.test.foldK.pkl``: what the nets of a fold say,
- ``left_out.csv``: the pictures that are in none of these, and why.
"""

import csv
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.command import last_run, run_command
from data_prep.dihedral import VIEW_SETS
from data_prep.errors import UserError
from data_prep.notes import summarise
from data_prep.runs import KEY, RECORD, Run, digest_of
from data_prep.settings import Parser
from features.asking import add_flags, name_of
from features.extract import WORK, Passes, open_source
from features.extraction import Extraction, find_extraction, warn_of_learned
from features.parts import Part, group_rows

STAGE = "features.fresh"
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
    parser.add_argument(
        "--again", action="store_true", help="replace what is there already"
    )
    given = parser.parse(argv)
    threads: int = given["threads"]
    if threads < 0:
        raise UserError(f"threads = {threads}: give 0 or more")
    pictures = find_images(given["images"])
    run = Run(given["run"] or last_run(STAGE))
    extraction = find_extraction(run)
    name = name_of(given["images"])
    out: Path = given["out"].resolve() if given["out"] else run.folder / "fresh" / name
    key = {
        "made_by": STAGE,
        "extraction": extraction.digest,
        "pictures": digest_of(
            [[id_, path.name, _digest(path)] for id_, path in pictures.items()]
        ),
    }
    check_place(out, key["pictures"], again=given["again"])
    if done := Run(out.parent, given["again"]).current(out.name, key):
        return done.folder
    # again: an unfinished attempt at other pictures may be dropped
    with Run(out.parent, again=True).stage(out.name, key) as stage:
        stage.facts = ask(extraction, pictures, stage.folder, threads)
        stage.device = stage.facts["device"]
    shutil.rmtree(out / WORK, ignore_errors=True)  # until now it could be resumed
    facts = stage.facts
    log.info(
        "%d pictures in %d views through %d nets, %d outputs each",
        *(facts["pictures"], facts["views"], facts["nets"], facts["columns"]),
    )
    if facts["left_out"]:
        note = out / "left_out.csv"
        log.warning("%d pictures are left out: %s says why", facts["left_out"], note)
    log.info("-> %s", out)
    return out


def find_images(folders: Sequence[Path]) -> dict[str, Path]:
    """Find the pictures by id, as ``data_prep.prepare`` does.

    Raises:
        UserError: A folder is missing, there is no picture, or two share an id.
    """
    from data_prep.images import find_pictures

    try:
        return find_pictures(folders)
    except UserError as error:  # it speaks of the experiment file, which has no part
        raise UserError(str(error).replace("[data] images", "--images")) from None


def check_place(out: Path, pictures: str, *, again: bool) -> None:
    """Check that nothing would be lost that is not ours to replace.

    Args:
        out: Folder of the features.
        pictures: Digest of the pictures.
        again: The features of other pictures may be replaced.

    Raises:
        UserError: Something would.
    """
    partial, old = (out.with_name(f"{out.name}.{end}") for end in ("partial", "old"))
    for place, note in ((out, RECORD), (partial, KEY)):
        is_free = not place.exists() or (place.is_dir() and not any(place.iterdir()))
        if not is_free and _settings_in(place / note).get("made_by") != STAGE:
            raise UserError(
                f"{place} is there and was not made by {STAGE}; give another --out"
                " FOLDER"
            )
    # Where the last move was cut off, it is ours; else it may be someone's copy.
    if old.exists() and not (partial / RECORD).exists():
        raise UserError(f"{old} is in the way; move it, or give another --out FOLDER")
    held = _settings_in(out / RECORD)
    if held and held["pictures"] != pictures and not again:
        raise UserError(
            f"{out} holds the features of other pictures than are asked for now;"
            " --again replaces them, --out FOLDER keeps both"
        )


def ask(
    extraction: Extraction, pictures: Mapping[str, Path], folder: Path, threads: int
) -> dict[str, Any]:
    """Decode the pictures, send them through the nets, and write all files.

    Args:
        extraction: How.
        pictures: Their paths by id.
        folder: Where to; what an earlier attempt left there is gone on with.
        threads: Of torch, and processes that decode; 0: one per core.

    Returns:
        What is worth recording.

    Raises:
        UserError: Not one picture can be read, or has outputs that are finite.
    """
    from data_prep.images import store_pictures

    work, transform = folder / WORK, extraction.header["transform"]
    work.mkdir(exist_ok=True)
    decoded = store_pictures(
        *([*pictures.values()], work / "images.npy"),
        *(transform["side"], transform["fit"], threads),
    )
    reasons = {id_: one.reason for id_, one in zip(pictures, decoded, strict=True)}
    ids = np.array([id_ for id_, reason in reasons.items() if not reason], object)
    left_out = {id_: reason for id_, reason in reasons.items() if reason}
    warn_of_learned(extraction.prepared, decoded)
    for line in summarise([file.notes for file in decoded if not file.reason]):
        log.warning("%s", line)

    from features.assembly import Assembly
    from pretext.device import pick_device, set_threads
    from pretext.pictures import Pictures

    device = pick_device()
    set_threads(threads)
    taken = Pictures.open(work, device)
    settings, header = extraction.settings, extraction.header
    source = open_source(settings, extraction.prepared, extraction.made, taken)
    parts = [Part(f, extraction.role, np.arange(len(ids))) for f in source.folds]
    passes = Passes(
        *(group_rows(parts), source, taken, VIEW_SETS[settings.views]),
        bf16=header["precision"] == "bf16",
        title=STAGE,
    )
    passes.run(work)
    extracted = passes.extracted(parts, ids)
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
    write_left_out(folder / "left_out.csv", pictures, left_out)
    return {
        "pictures": len(pictures) - len(left_out),
        "left_out": len(left_out),
        "views": len(passes.views),
        "nets": len(source.nets),
        "columns": source.width,
        "folds": source.folds,
        "device": str(device),
    }


def write_left_out(
    path: Path, pictures: Mapping[str, Path], reasons: Mapping[str, str]
) -> None:
    """Write ``id,file,reason`` of the pictures that have no features."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["id", "file", "reason"])
        rows.writerows([i, pictures[i].name, reasons[i]] for i in sorted(reasons))


def _digest(path: Path) -> str:
    from data_prep.images import cheap_digest

    try:
        return cheap_digest(path)
    except OSError as error:  # a picture that cannot be read is left out, not fatal
        return str(error.strerror)


def _settings_in(note: Path) -> dict[str, Any]:
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
        return dict(found["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


if __name__ == "__main__":
    run_command(main)
