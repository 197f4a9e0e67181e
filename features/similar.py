"""Show the pictures that are most alike to the nets: a table and a contact sheet.

    python -m features.similar                  # of some pictures, drawn evenly
    python -m features.similar --ids a17 --n 20

Reads ``features.pkl`` of ``features.extract``, or the store that ``--store`` names, and
writes ``features.similar/similar.csv`` and ``similar.png`` into the run. Alike is the
cosine of the features' means over the views, each standardised over all pictures of the
store. It is no stage, and labels have a part in it only where they had one in the
features.

Shapes: N pictures of the store, F columns, q pictures that are looked up.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge

from data_prep.arrays import Floats, Ints
from data_prep.command import run_command
from data_prep.errors import UserError
from data_prep.prepared import PREPARED, Prepared
from data_prep.ranges import Ranged
from data_prep.run_folders.drafts import drafted
from data_prep.run_folders.runs import Run
from data_prep.run_places import chosen_run
from data_prep.settings import SEVERAL, from_flags, nearest
from features.store import Store, open_store

if TYPE_CHECKING:
    import pandas as pd

SIMILAR = "features.similar"
EXTRACTED = "features.extract"
OF_NETWORK = (
    "python -m pretext.jigsaw, then: python -m features.extract --source pretext.jigsaw"
)
OF_COPY = "docs/similar.md says how, in a copy of the run"  # whose own features stay
N_DRAWN = 8  # pictures that are looked up where none is named
FEW_COLUMNS = 8  # whose cosine tells little
BLOCK = 1024  # pictures that are compared at a time
DECIMALS = 9  # of a cosine
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SimilarSettings(Ranged):
    """Show the pictures that are most alike to the nets.

    python -m features.similar --ids a17 b03 --n 12
    """

    ids: Annotated[
        tuple[str, ...], "pictures to look up; left out: some, drawn evenly", SEVERAL
    ] = ()
    n: Annotated[int, "neighbours of each", Ge(1)] = 12
    store: Annotated[
        Path | None, "feature store (default: that of features.extract)"
    ] = None
    run: Annotated[Path | None, "run (default: that last worked on)"] = None


def main(argv: Sequence[str] | None = None) -> Path:
    """Look up what the command line names, and return the sheet."""
    settings = from_flags(SimilarSettings, SIMILAR, argv)
    run = Run(chosen_run(settings.run, SIMILAR))
    store = open_store(settings.store or _store_of(run))
    prepared = Prepared.open(run.finished(PREPARED))
    rows = rows_of(settings.ids, store)
    table = with_notes(neighbours(store, rows, settings.n), prepared.table)
    folder = run.folder / SIMILAR
    sheet = draw(table, prepared)
    with drafted(folder / "similar.csv") as file:
        file.write(table.to_csv(index=False, lineterminator="\n").encode())
    with drafted(folder / "similar.png") as file:
        file.write(sheet)
    if n_copies := int(table["is_copy"].sum()):
        log.info(
            "%d neighbour%s the same picture, or nearly",
            n_copies,
            "s are" if n_copies > 1 else " is",
        )
    log.info(
        "%d picture%s, %d neighbours each -> %s, similar.csv beside it",
        len(rows),
        "s" * (len(rows) != 1),
        len(table) // len(rows),
        folder / "similar.png",
    )
    return folder / "similar.png"


def _store_of(run: Run) -> Path:
    """Find the store of the run.

    Raises:
        UserError: There is none, or one for each fold, whose layers do not compare.
    """
    if not run.has(EXTRACTED) and not run.has("transfer.finetune"):
        raise UserError(
            f"{run.folder / EXTRACTED} is not finished; first: {OF_NETWORK} (each with"
            f" --run {run.folder})"
        )
    folder = run.finished(EXTRACTED).folder
    path = folder / "features.pkl"
    if not path.exists():
        stores = sorted(folder.glob("nets/*.pkl"))
        raise UserError(
            f"{path} is not there: the inner layers of each fold are a store of their"
            f" own; give one, such as --store {stores[0] if stores else 'FILE'}"
        )
    return path


def rows_of(ids: Sequence[str], store: Store) -> Ints:
    """Give the (q,) rows of pictures by id; without any, of some drawn evenly.

    Raises:
        UserError: One is not in the store, or there is nothing to compare with.
    """
    if len(store) < 2:
        raise UserError(f"{store.path}: it holds {len(store)} pictures; two are needed")
    if not ids:
        n_drawn = min(N_DRAWN, len(store))
        return np.linspace(0, len(store) - 1, n_drawn).astype(np.int64)
    for id_ in ids:
        if id_ not in store:
            raise UserError(
                f"ids = {id_!r}: {store.path} has no such picture;"
                f" {nearest(id_, store.ids)}"
            )
    return store.rows_of(dict.fromkeys(ids))


def neighbours(store: Store, rows: Ints, n: int) -> "pd.DataFrame":
    """Give the n pictures that are most alike to each of some, the nearest first.

    Args:
        store: With N pictures.
        rows: (q,) of the store.
        n: How many of each; at most all others.

    Returns:
        Columns id, rank (from 1), neighbour and cosine; of equal ones the first by id.
    """
    import pandas as pd

    unit, ids = unit_features(store), np.array(store.ids, dtype=object)
    n = min(n, len(unit) - 1)
    parts = []
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        # rounded, so that copies tie and the last bits of a sum decide nothing
        cosines = (unit[block] @ unit.T).round(DECIMALS)
        cosines[np.arange(len(block)), block] = -np.inf
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :n]
        best = np.take_along_axis(cosines, order, axis=1)
        parts.append(
            pd.DataFrame(
                {
                    "id": np.repeat(ids[block], n),
                    "rank": np.tile(np.arange(1, n + 1), len(block)),
                    "neighbour": ids[order].ravel(),
                    "cosine": best.ravel(),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def unit_features(store: Store) -> Floats:
    """Give (N, F) standardised means over the views, each row of length 1.

    Raises:
        UserError: A single column varies, so that a cosine would be 1 or -1.
    """
    values, described = store.matrix().astype(np.float64), store.header["columns"]
    if values.ndim == 3:
        values = values.mean(axis=1)
    elif any(means := [c.get("statistic") == "mean" for c in described]):
        values = values[:, means]
    centre, scale = values.mean(axis=0), values.std(axis=0)
    varies = scale > 1e-6 * np.abs(centre) + 1e-30
    if varies.sum() < 2:
        raise UserError(
            f"{store.path}: {int(varies.sum())} of its columns differ between pictures,"
            " which is too little to tell who is alike; the features of a pretext have"
            f" more: {OF_COPY}"
        )
    if varies.sum() < FEW_COLUMNS:
        log.warning(
            "%s: %d columns tell little of a picture; those of a pretext tell more: %s",
            store.path,
            varies.sum(),
            OF_COPY,
        )
    values = (values - centre)[:, varies] / scale[varies]
    lengths: Floats = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.maximum(lengths, 1e-12), dtype=np.float64)


def with_notes(table: "pd.DataFrame", rows: "pd.DataFrame") -> "pd.DataFrame":
    """Say of each neighbour whether it is a copy, its split and its target.

    Copies are equal pixels, and what the preparation took for near copies.

    Args:
        table: As ``neighbours``.
        rows: As prepared; a picture that is not among them has no notes.
    """
    by_id = rows.set_index("id")
    notes = {name: by_id[name] for name in ("split", "target") if name in by_id}
    table = table.assign(
        **{name: table["neighbour"].map(column) for name, column in notes.items()}
    )
    is_copy = np.zeros(len(table), dtype=bool)
    for told_by in ("pixels_sha256", "same_as"):
        if told_by in by_id:
            first, second = (
                table[name].map(by_id[told_by]) for name in ("id", "neighbour")
            )
            is_copy |= (first.notna() & (first == second)).to_numpy()
    table.insert(4, "is_copy", is_copy)
    return table


def draw(table: "pd.DataFrame", prepared: Prepared) -> bytes:
    """Draw a row for each picture that was looked up: itself, and its neighbours.

    Copies have a coloured frame. Pictures that were not prepared are left out.
    """
    from data_prep.reporting.contact_sheet import Frame, contact_sheet
    from data_prep.run_folders.damage import map_array

    pixels = map_array(prepared.images_path)
    image_row = dict(
        zip(prepared.table["id"], prepared.table["image_row"], strict=True)
    )
    sheet = []
    for id_, of_id in table.groupby("id", sort=False):
        if id_ not in image_row:
            continue
        frames = [Frame(pixels=pixels[image_row[id_]], lines=[str(id_)])]
        for entry in of_id.itertuples(index=False):
            if entry.neighbour not in image_row:
                continue
            word = "copy" if entry.is_copy else f"{entry.cosine:.2f}"
            frames.append(
                Frame(
                    pixels=pixels[image_row[entry.neighbour]],
                    lines=[str(entry.neighbour), word],
                    is_marked=bool(entry.is_copy),
                )
            )
        sheet.append(frames)
    if not sheet:
        raise UserError(
            f"none of {table['id'].iloc[0]!r} and the others is among the pictures of"
            f" {prepared.folder}; give the --run that the store was made from"
        )
    return contact_sheet(sheet)


if __name__ == "__main__":
    run_command(main)
