"""What a million rows cost: seconds, memory, and whether either grows faster.

    python -m benchmarks.growth prepare --rows 10000,100000,1000000
    python -m benchmarks.growth folds|store|stack --rows ...

The pieces of the stages on made-up rows, each size in a process of its own:

- ``prepare``: tables of numbers, groups and names are read and matched with pictures
  whose files are made up, where one id in a thousand has none; nothing is decoded.
- ``folds``: cv groups of a third as many groups and of copies, their folds by each
  scheme, the list of copies.
- ``store``: a store of 8 columns is written in two shards, opened, asked by id, loaded
  by ``pickle.load``, and the shards are merged.
- ``stack``: ``stacking.fit`` on 104 columns, boosters of 100 rounds at the most and one
  seed, so that a size takes minutes and the memory is that of the default stackers;
  more flags of ``stacking.fit`` may follow.

Memory is RssAnon, what the process holds itself; mapped files are not in it. The last
two columns are seconds and memory per row against those of the first size: 1 is linear,
less is better.
"""

import json
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import getpid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.memory import anonymous_of
from data_prep.command import run_command
from data_prep.errors import UserError
from data_prep.settings import Parser

N_FOLDS = 5
Measured = dict[str, list[float]]  # by step: CPU seconds and MB


@contextmanager
def measured(step: str, figures: Measured) -> Iterator[None]:
    """Note the CPU seconds of a step, and the most memory that it adds, MB."""
    before = most = anonymous_of(getpid())
    is_over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not is_over.wait(0.01):
            most = max(most, anonymous_of(getpid()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.process_time()
    yield
    seconds = time.process_time() - began
    is_over.set()
    watcher.join()
    most = max(most, anonymous_of(getpid()))
    figures[step] = [seconds, most - before]


def made_up(n_rows: int) -> pd.DataFrame:
    """Give ids, a target, groups of about three rows, and pixels with 5 % copies."""
    rng = np.random.default_rng(0)
    numbers = np.arange(n_rows)
    is_copy = rng.random(n_rows) < 0.05
    pixels = np.where(is_copy, rng.integers(n_rows, size=n_rows), numbers)
    return pd.DataFrame(
        {
            "id": [f"picture_{number:07d}" for number in rng.permutation(n_rows)],
            "target": rng.gamma(2, 1, n_rows).round(3),
            "group": [f"s{group}" for group in rng.integers(n_rows // 3, size=n_rows)],
            "split": np.where(rng.random(n_rows) < 0.8, "train", "test"),
            "pixels_sha256": [f"{number:064x}" for number in pixels],
            "same_as": [f"{number:064x}" for number in pixels],
            "is_excluded": False,
        }
    )


def prepare(n_rows: int, folder: Path) -> Measured:
    """Read tables, and match them with pictures."""
    from data_prep.experiment import DataSettings
    from data_prep.matching import match_attributes, match_pictures
    from data_prep.pictures.folders import Folders
    from data_prep.tables.user_tables import read_tables

    figures: Measured = {}
    table = made_up(n_rows)
    is_train = table["split"] == "train"
    train, test, names = (folder / f"{name}.csv" for name in ("train", "test", "names"))
    table.loc[is_train, ["id", "target", "group"]].to_csv(train, index=False)
    table.loc[~is_train, ["id"]].to_csv(test, index=False)
    words = np.random.default_rng(1).choice(["oak", "ash", "elm", "fir"], n_rows)
    table[["id"]].assign(name=words).to_csv(names, index=False)
    pictures = {id_: Path(f"/p/{id_}.jpg") for id_ in sorted(table["id"][1::1000])}
    pictures |= {id_: Path(f"/p/{id_}.jpg") for id_ in sorted(table["id"])[1:]}
    pictures |= {f"extra_{k}": Path(f"/p/extra_{k}.jpg") for k in range(n_rows // 1000)}
    folders = Folders(pictures=pictures, unusable={}, other_names=())
    data = DataSettings(
        images=(Path("/p"),),
        train=train,
        test=test,
        target="target",
        group="group",
        attributes=(names,),
    )
    del table
    with measured("tables are read", figures):
        tables = read_tables(data)
    with measured("rows meet pictures", figures):
        match_pictures(tables.rows, folders, data)
        match_attributes(tables.attributes, folders, data)
    return figures


def folds(n_rows: int, _: Path) -> Measured:
    """Find copies and cv groups, and assign folds."""
    from data_prep.folds import assign_folds, fold_hash, join_cv_groups, strata
    from data_prep.pictures.copies import count_copies, repeats_of

    figures: Measured = {}
    rows = made_up(n_rows)
    pictures = {id_: Path(f"{id_}.jpg") for id_ in rows["id"]}
    with measured("copies", figures):
        count_copies(rows)
        repeats_of(rows, pictures, has_group=True)
    with measured("cv groups", figures):
        cv_groups = join_cv_groups(list(rows["group"]), list(rows["same_as"]))
    labels = strata(rows["target"])
    for scheme in ("kfold", "skfold", "gkfold", "sgkfold"):
        groups = cv_groups if "g" in scheme else None
        with measured(scheme, figures):
            fold_of = assign_folds(f"{scheme}{N_FOLDS}", labels, groups)
    with measured("hash of the folds", figures):
        fold_hash(rows["id"], fold_of)
    return figures


def store(n_rows: int, folder: Path) -> Measured:
    """Write, open, ask, load and merge."""
    from features.merge import merge_stores
    from features.store import open_store, write_store

    figures: Measured = {}
    rows = made_up(n_rows)
    ids, roles = rows["id"].tolist(), np.full(n_rows, "oof", dtype=object)
    values = np.random.default_rng(0).normal(size=(n_rows, 8)).astype(np.float32)
    header = {"columns": [{"name": f"words_{k}"} for k in range(8)], "failures": {}}
    shards = [slice(0, n_rows // 2), slice(n_rows // 2, n_rows)]
    paths = [folder / f"shard{number}.pkl" for number in range(len(shards))]
    with measured("two halves are written", figures):
        for number, (path, half) in enumerate(zip(paths, shards, strict=True)):
            of_rows = {"roles": roles[half], "folds": np.arange(n_rows)[half] % N_FOLDS}
            of_shard = {"shard": [number, len(shards)]}
            write_store(path, ids[half], values[half], header | of_rows | of_shard)
    del values
    with measured("they are merged", figures):
        merge_stores(paths, folder / "whole.pkl")
    with measured("the store is opened", figures):
        opened = open_store(folder / "whole.pkl")
    with measured("it is asked by all ids", figures):
        opened.matrix(ids)
    del opened
    with measured("pickle.load", figures), (folder / "whole.pkl").open("rb") as file:
        pickle.load(file)
    return figures


def stack(n_rows: int, folder: Path, flags: list[str]) -> Measured:
    """Fit the stack, in a process of its own: the making up is not in its memory."""
    from benchmarks.stacking import CAPPED, N_WORDS, timed
    from tests.stacking.conftest import FakeRun

    fake_run = FakeRun(n_train=n_rows, n_test=n_rows // 4, n_words=N_WORDS)
    run = fake_run.write(folder / "run")
    _, seconds, most = timed(run, *(flags or CAPPED))
    return {"stacking.fit, by the clock": [seconds, most]}


PARTS: dict[str, Callable[[int, Path], Measured]] = {
    "prepare": prepare,
    "folds": folds,
    "store": store,
}


def one_size(part: str, n_rows: int, flags: list[str]) -> None:
    """Measure a size in this process, and print its figures as JSON."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if part == "stack":
            figures = stack(n_rows, folder, flags)
        else:
            figures = PARTS[part](n_rows, folder)
    print(json.dumps(figures))


def in_process(part: str, n_rows: int, flags: list[str]) -> Measured:
    """Measure a size in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.growth", part, f"--size={n_rows}"]
    if flags:
        command += ["--", *flags]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(ended.stderr[-2000:])
    figures: Measured = json.loads(ended.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Print a line for each step and size."""
    parser = Parser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("part", help=f"{', '.join(PARTS)} or stack")
    parser.add_argument("--rows", default="10000,100000,1000000", help="sizes")
    parser.add_argument("--size", type=int, help="one size, in this process")
    parser.add_argument("flags", nargs="*", help="of stacking.fit, after --")
    arguments: dict[str, Any] = parser.parse(None)
    part, flags = arguments["part"], arguments["flags"]
    if part not in (*PARTS, "stack"):
        raise UserError(f"{part!r} is none of {', '.join(PARTS)}, stack")
    if arguments["size"]:
        one_size(part, arguments["size"], flags)
        return
    first: dict[str, list[float]] = {}
    print(f"{'step':28}{'rows':>10}{'seconds':>10}{'MB':>8}{'s/row':>8}{'MB/row':>8}")
    for n_rows in map(int, arguments["rows"].split(",")):
        for step, (seconds, most) in in_process(part, n_rows, flags).items():
            per_row = [seconds / n_rows, most / n_rows]
            base = first.setdefault(step, per_row)
            ratios = [
                f"{now / before:8.2f}" if before * n_rows > 0.01 else f"{'-':>8}"
                for now, before in zip(per_row, base, strict=True)
            ]
            line = f"{step:28}{n_rows:10,}{seconds:10.2f}{most:8.0f}"
            print(line + "".join(ratios), flush=True)


if __name__ == "__main__":
    run_command(main)
