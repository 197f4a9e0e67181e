"""Merge: join the shards of an extraction, or stores made alike, into one.

    python -m features.merge                           # all shards of the run
    python -m features.merge A.pkl B.pkl --out C.pkl   # or some files

Stores are joined only where their headers say that they were made alike: of the same
columns, views, nets, folds, pictures, precision and versions. No id may be in two, and
of shards none may be missing. The values are those that one machine would have
written, to the bit.
"""

import logging
import re
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from data_prep.command import run_command
from data_prep.errors import UserError
from data_prep.run_folders.runs import Finished, Run
from data_prep.run_places import chosen_run
from data_prep.settings import POSITIONAL, from_flags
from features.deal_means import complete_means
from features.extract import STAGE, stage_of
from features.extraction import OF_NETS
from features.origins import current_of
from features.rows import array_rows, chosen_rows, joined_rows
from features.store import OWN_KEYS, Store, open_store, verify, write_store

# What the rows of a store decide, and not how it was made.
OF_THE_ROWS = (
    "failures",
    "n_expected",
    "shard",
    "command",
    *OWN_KEYS,
)
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MergeSettings:
    """Join the shards of an extraction, or stores made alike, into one."""

    files: Annotated[
        tuple[Path, ...], "stores (.pkl); none: all shards of the run", POSITIONAL
    ] = ()
    out: Annotated[Path | None, "store to write"] = None
    run: Annotated[Path | None, "run (default: that last worked on)"] = None
    overwrite: Annotated[bool, "replace what is there already"] = False


def main(argv: Sequence[str] | None = None) -> Path:
    """Merge what the command line names, and return the file or the stage's folder."""
    settings = from_flags(MergeSettings, "features.merge", argv)
    files, out = settings.files, settings.out
    if not files:
        if out:
            raise UserError("--out needs files; the shards of a run go to its stage")
        folder = chosen_run(settings.run, STAGE)
        return merge_run(Run(folder, settings.overwrite))
    if not out:
        raise UserError("where to? give --out FILE.pkl")
    if out.exists() and not settings.overwrite:
        raise UserError(f"{out} is there already; --overwrite replaces it")
    n_rows = merge_stores(files, out)
    log.info("%d ids of %d stores -> %s", n_rows, len(files), out)
    return out


def merge_stores(paths: Sequence[Path], out: Path) -> int:
    """Join stores into one, its rows in the order of the ids.

    Returns:
        How many rows it has.

    Raises:
        UserError: A store is damaged, they were not made alike, an id is in two of
            them, or a shard is missing.
    """
    for path in paths:
        verify(path)
    stores = [open_store(path) for path in paths]
    first = stores[0]
    for store in stores:
        check_alike(first, store)
    check_distinct(stores)
    check_shards(stores)
    ids = np.array([id_ for store in stores for id_ in store.ids], dtype=object)
    order = np.argsort(ids, kind="stable")
    failures: dict[str, str] = {}
    for store in stores:
        failures |= store.header.get("failures") or {}
    values = joined_rows([array_rows(np.asarray(store.values)) for store in stores])
    write_store(
        out,
        ids[order].tolist(),
        chosen_rows(values, order),
        {
            **{k: v for k, v in first.header.items() if k not in OF_THE_ROWS},
            "roles": np.concatenate([store.roles for store in stores])[order],
            "folds": np.concatenate([store.folds for store in stores])[order],
            "failures": failures,
            "n_expected": len(ids) + len(failures),
            "command": " ".join(sys.orig_argv[1:]),
        },
    )
    return len(ids)


def check_alike(first: Store, second: Store) -> None:
    """Check that two stores were made alike.

    Raises:
        UserError: They were not; the first thing that differs is named.
    """
    for key in dict.fromkeys([*first.header, *second.header]):
        if key in OF_THE_ROWS and key != "dtype":
            continue
        expected, value = first.header.get(key), second.header.get(key)
        if value != expected:
            raise UserError(
                f"{second.path}: made otherwise than {first.path}: {key} is"
                f" {_difference(value, expected)}; only stores made alike are merged"
            )


def check_distinct(stores: Sequence[Store]) -> None:
    """Check that no id is in two stores.

    Raises:
        UserError: An id is in two stores or more.
    """
    n_ids = sum(map(len, stores))
    if len(set().union(*(store.ids for store in stores))) < n_ids:
        times_of = Counter(id_ for store in stores for id_ in store.ids)
        twice = [id_ for id_, times in times_of.items() if times > 1]
        paths = [str(store.path) for store in stores if twice[0] in store]
        raise UserError(
            f"{len(twice)} ids are in two stores or more, such as {twice[0]!r} in"
            f" {' and '.join(paths)}; give each store once"
        )


def check_shards(stores: Sequence[Store]) -> None:
    """Check that no shard is missing.

    Raises:
        UserError: One is, or they are of different extractions.
    """
    shards: list[Any] = [store.header.get("shard") for store in stores]
    if not any(shards):
        return
    if not all(shards) or len({n for _, n in shards}) > 1:
        named = ", ".join(
            f"{store.path} ({'{}/{}'.format(*shard) if shard else 'whole'})"
            for store, shard in zip(stores, shards, strict=True)
        )
        raise UserError(f"these are not shards of one extraction: {named}")
    n_shards = shards[0][1]
    if missing := sorted({*range(n_shards)} - {number for number, _ in shards}):
        listed = ", ".join(map(str, missing))
        listed = f"number {listed} is" if len(missing) == 1 else f"{listed} are"
        raise UserError(f"of {n_shards} shards {listed} missing")


def merge_folders(folders: Sequence[Path], out: Path) -> int:
    """Join each store of the first folder with those of its name in the others.

    Returns:
        How many stores there are.

    Raises:
        UserError: Two were not made alike, or a shard is missing.
    """
    files = sorted(path.relative_to(folders[0]) for path in folders[0].rglob("*.pkl"))
    for file in files:
        merge_stores([folder / file for folder in folders], out / file)
    complete_means(out)
    return len(files)


def merge_run(run: Run) -> Path:
    """Join all shards of a run into its extraction.

    Raises:
        UserError: There are no shards, or some are missing or made otherwise.
    """
    shards = find_shards(run)
    record = shards[0].record
    config = {**record["settings"], "shard": ""}
    reads = list(record["reads"])
    if done := current_of(run, STAGE, config, reads):
        return done.folder
    for shard in shards:
        settings = {**shard.record["settings"], "shard": ""}
        if settings != config:
            name = next(k for k in config if settings.get(k) != config[k])
            raise UserError(
                f"{shard.folder}: made with {name} ="
                f" {_difference(settings.get(name), config[name])}; make the"
                " shards alike"
            )
    with run.stage(STAGE, config, reads=reads) as stage:
        n_stores = merge_folders([shard.folder for shard in shards], stage.folder)
        for name in shards[0].record["files"]:
            if Path(name).suffix in OF_NETS:  # ready weights, the same in each
                shutil.copy2(shards[0].folder / name, stage.folder / name)
        metadata = [shard.metadata for shard in shards]
        n_rows: Counter[str] = Counter()
        for of_shard in metadata:
            n_rows.update(of_shard["rows"])
        stage.device = record["device"]
        stage.metadata = metadata[0] | {
            "rows": dict(n_rows),
            "seconds": max(of_shard["seconds"] for of_shard in metadata),
            "shards": len(shards),
        }
    log.info("%d shards, %d stores -> %s", len(shards), n_stores, run.folder / STAGE)
    return run.folder / STAGE


def find_shards(run: Run) -> list[Finished]:
    """Find the finished shards of a run.

    Raises:
        UserError: There is none, some are missing, or there are two sets of them.
    """
    names = " ".join(path.name for path in run.folder.glob(f"{STAGE}.shard*of*"))
    sets = sorted(map(int, {*re.findall(r"\.shard\d+of(\d+)(?!\S)", names)}))
    if not sets:
        raise UserError(
            f"{run.folder} has no shards; make them with"
            f" python -m features.extract --shard 0/2, and 1/2"
        )
    if len(sets) > 1:
        raise UserError(
            f"{run.folder} has shards of {' and of '.join(map(str, sets))};"
            " delete those that are not wanted"
        )
    return [run.finished(stage_of(number, sets[0])) for number in range(sets[0])]


def _difference(value: Any, expected: Any) -> str:
    """Say how two JSON values differ, of tables and lists only the first difference."""
    if isinstance(value, dict) and isinstance(expected, dict):
        for key in dict.fromkeys([*expected, *value]):
            if value.get(key) != expected.get(key):
                return f"{key} {_difference(value.get(key), expected.get(key))}"
    if isinstance(value, list) and isinstance(expected, list):
        if len(value) != len(expected):
            return f"a list of {len(value)} and not of {len(expected)}"
        for item, expected_item in zip(value, expected, strict=True):
            if item != expected_item:
                return _difference(item, expected_item)
    return f"{value!r} and not {expected!r}"


if __name__ == "__main__":
    run_command(main)
