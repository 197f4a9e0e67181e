"""The stores of new pictures: decoded, sent through the nets of a run, and written.

Shapes: N pictures, n of them new, V views, F outputs of the nets of a fold.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.dihedral import VIEW_SETS
from data_prep.errors import UserError
from data_prep.pictures.folders import LeftOut, write_left_out
from data_prep.pictures.pages import PictureFile
from data_prep.pictures.picture_info import summarise
from data_prep.run_folders.damage import PIXELS, digest_of, map_array
from data_prep.waiting import settle_waiting
from features.earlier import PIXEL_STORE, EarlierResults, write_sidecar
from features.extract import WORK, open_source
from features.extraction import OF_ALL, Extraction, warn_of_training_pictures
from features.fresh_columns import FreshColumns
from features.inference import COMMAND
from features.pixel_columns import pixel_column_names, pixel_columns
from features.plan import RoleRows, plan_passes
from features.rows import Rows, chosen_rows, joined_rows
from features.store import write_store

if TYPE_CHECKING:
    from data_prep.pictures.decoded import Decoded
    from features.assembly import Extracted
    from features.net_passes import NetOutputs, NetPasses
    from features.sources import NetSource
    from pretext.data.pictures import Pictures

log = logging.getLogger(__name__)


def infer(
    extraction: Extraction,
    pictures: Mapping[str, PictureFile],
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
        pictures: Their files, or pages of those, by id.
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
    new_decoded = decode(new_paths, work, extraction, earlier, threads=threads)
    decoded = {**earlier.decoded, **new_decoded}
    left_out = {id_: file.reason for id_, file in new_decoded.items() if file.reason}
    new_ids = [id_ for id_ in new_paths if id_ not in left_out]
    ids = np.array([*earlier.ids, *new_ids], object)

    settle_waiting(threads)
    from pretext.data.pictures import Pictures
    from pretext.device import pick_device, set_threads

    device = pick_device()
    set_threads(threads)
    if new_ids:
        cells = columns.of(new_ids, decoded) if columns else None
        new_pictures = Pictures.open(work, device, cells)
    else:
        side_px = extraction.header["transform"]["side"]
        new_pictures = Pictures(np.empty((0, side_px, side_px, 3), np.uint8), device)
    net_passes = passes_of(new_pictures, len(new_ids), extraction)
    source = net_passes.source
    outputs = net_passes.run(work)
    extracted = after_earlier(earlier, outputs, extraction.role, ids)
    if not any(len(of_fold.rows) for of_fold in extracted):
        raise UserError(
            f"the outputs of all {len(ids)} pictures are not finite: the weights of"
            f" {extraction.trained.folder} are broken"
        )
    write_stores(extracted, folder, extraction, net_passes, ids=ids, failures=left_out)
    write_pixel_columns(work, folder, extraction, earlier=earlier, new_ids=new_ids)
    for of_fold in extracted:
        left_out |= of_fold.failures
    files = _files_left_out(left_out, pictures)
    files = sorted([*unusable, *files], key=lambda file: file.id)
    write_left_out(folder / "left_out.csv", files)
    write_sidecar(folder, pictures, decoded, columns.digests() if columns else {})
    return {
        "pictures": len(pictures) - len(left_out),
        "left_out": len(left_out) + len(unusable),
        "kept": len(earlier),
        "views": len(net_passes.views),
        "nets": source.n_nets,
        "columns": source.width,
        "folds": source.folds,
        "device": str(device),
    }


def _files_left_out(
    reasons: Mapping[str, str], pictures: Mapping[str, PictureFile]
) -> list[LeftOut]:
    """Give the files of the pictures that are left out, by id why."""
    return [
        LeftOut(id=id_, file=pictures[id_].name, reason=reason)
        for id_, reason in reasons.items()
    ]


def write_pixel_columns(
    work: Path,
    folder: Path,
    extraction: Extraction,
    *,
    earlier: EarlierResults,
    new_ids: Sequence[str],
) -> None:
    """Write what needs no net: colours and tiny pictures, a row for each picture.

    Args:
        work: Where the pixels of the new pictures lie.
        folder: Where to.
        extraction: The run's.
        earlier: Pictures whose row is there already.
        new_ids: Of the others, in the order of their pixels.
    """
    rows = [earlier.pixel_columns()]
    if new_ids:
        pixels = map_array(work / PIXELS)
        shape = (len(new_ids), len(pixel_column_names()))
        read = partial(pixel_columns, pixels)
        rows.append(Rows(shape=shape, dtype=np.dtype(np.float32), read=read))
    ids = np.array([*earlier.ids, *new_ids], object)
    by_id = np.argsort(ids)  # as the other stores have them
    header = {
        "roles": ["label_free"] * len(ids),
        "folds": [-1] * len(ids),
        "columns": [{"name": name} for name in pixel_column_names()],
        "views": None,
        "transform": extraction.header["transform"],
        "command": " ".join(sys.orig_argv[1:]),
    }
    write_store(
        folder / PIXEL_STORE, ids[by_id], chosen_rows(joined_rows(rows), by_id), header
    )


def decode(
    pictures: Mapping[str, PictureFile],
    work: Path,
    extraction: Extraction,
    earlier: EarlierResults,
    *,
    threads: int,
) -> "dict[str, Decoded]":
    """Decode pictures as the run's own were; say by id what became of each file.

    A person is told of training pictures, also among those of earlier times, and of
    what the new files have that others do not.

    Args:
        pictures: Their files, or pages of those, by id.
        work: Folder of the pixels, ``images.npy``.
        extraction: The run's, which says how.
        earlier: Pictures that need not be decoded. Without any, some of the others
            must be readable.
        threads: Processes; 0: one per core.

    Raises:
        UserError: None is readable, or the disk is full.
    """
    from data_prep.pictures.images import store_pictures

    work.mkdir(parents=True, exist_ok=True)
    transform, decoded = extraction.header["transform"], []
    if pictures:
        decoded = store_pictures(
            pictures=list(pictures.values()),
            target=work / PIXELS,
            side=transform["side"],
            fit=transform["fit"],
            workers=threads,
            needs_one=not earlier,
        )
    warn_of_training_pictures(
        extraction.prepared, [*earlier.decoded.values(), *decoded]
    )
    for line in summarise([file.info for file in decoded if not file.reason]):
        log.warning("%s", line)
    return dict(zip(pictures, decoded, strict=True))


def passes_of(pictures: "Pictures", n_new: int, extraction: Extraction) -> "NetPasses":
    """Plan to send n new pictures through all nets of the run, as its own went.

    Args:
        pictures: Those that can be read.
        n_new: How many there are.
        extraction: The run's.
    """
    from features.net_passes import NetPasses

    settings = extraction.settings
    source = open_source(settings, extraction.prepared, extraction.trained, pictures)
    planned = planned_rows(source, extraction.role, n_new)
    return NetPasses(
        passes=plan_passes(planned) if n_new else [],
        source=source,
        pictures=pictures,
        views=VIEW_SETS[settings.views],
        bf16=extraction.header["precision"] == "bf16",
        image_rows=np.arange(n_new),
        title=COMMAND,
    )


def planned_rows(source: "NetSource", role: str, n_new: int) -> list[RoleRows]:
    """Give all n new pictures to the nets of each fold, in one role."""
    rows = np.arange(n_new)
    return [RoleRows(fold=fold, role=role, rows=rows) for fold in source.folds]


def after_earlier(
    earlier: EarlierResults, outputs: "NetOutputs", role: str, ids: NDArray[Any]
) -> "list[Extracted]":
    """Put the pictures of earlier times before the new ones of each fold.

    Args:
        earlier: Those that have features already.
        outputs: Of the nets for the n new ones.
        role: Of all.
        ids: (N,) of both.
    """
    net_passes, n_earlier = outputs.net_passes, len(earlier)
    source, n_views = net_passes.source, len(net_passes.views)
    planned = planned_rows(source, role, len(ids) - n_earlier)
    joined = []
    for new in outputs.by_role(planned, ids[n_earlier:]):
        views = earlier.views(
            new.fold, source.columns[new.fold], n_views, is_test=new.role == "test"
        )
        rows = np.concatenate([np.arange(n_earlier), n_earlier + new.rows])
        joined.append(replace(new, rows=rows, views=joined_rows([views, new.views])))
    return joined


def write_stores(
    extracted: "Sequence[Extracted]",
    folder: Path,
    extraction: Extraction,
    net_passes: "NetPasses",
    *,
    ids: NDArray[Any],
    failures: Mapping[str, str],
) -> None:
    """Write the stores, with headers as the run's own, but for the command.

    Args:
        extracted: Of the nets of each fold.
        folder: Where to.
        extraction: The run's.
        net_passes: How the new pictures went through the nets.
        ids: (N,) of all pictures, by row.
        failures: Why some are not there, by id.
    """
    from features.assembly import Assembly

    source, header = net_passes.source, extraction.header
    command = " ".join(sys.orig_argv[1:])
    Assembly(
        folder=folder,
        ids=ids,
        folds_of=[np.full(len(ids), -1)],
        columns=source.columns,
        nets=source.nets,
        views=net_passes.views,
        statistics=extraction.statistics,
        header={name: header[name] for name in OF_ALL} | {"command": command},
        failures=failures,
    ).write(extracted)
