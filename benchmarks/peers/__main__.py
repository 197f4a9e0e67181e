"""Tessera and its peers on the same pictures: scores on groups that nobody saw.

    python -m benchmarks.peers --data pomological --minutes 60
    python -m benchmarks.peers tessera_ready fastai --repeat 0,1,2,3
    python -m benchmarks.peers --faults

A quarter of the groups is held out from everything, another with each ``--repeat``.
Every peer has the same CPU minutes of the same cores, in an environment of its own,
which is made below ``$TESSERA_PEERS`` (``~/.cache/tessera-peers``) where it is missing.
Peers that have finished are not run again, until their runner, their packages or ours
change. At its end it writes ``table.md`` there: the best first, with the score that
each promised; beside the last of several repeats one of all of them.
``docs/proof.md`` says more.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.peers import faults
from benchmarks.peers.collections import COLLECTIONS, Collection, write_split
from benchmarks.peers.contest import PEERS, Terms, run_peer, ways_of
from benchmarks.peers.environments import cache
from benchmarks.peers.scoring import Way, markdown, pooled, score_all, verdict
from data_prep.arrays import Floats
from data_prep.command import run_command
from data_prep.errors import UserError
from data_prep.settings import Parser, nearest

REFERENCE = "tessera_ready"


def main() -> None:
    """Run what is missing, then print the table of each repeat."""
    parser = Parser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument(
        "peers", nargs="*", help=f"some of: {', '.join(PEERS)} (default: all)"
    )
    parser.add_argument("--data", default="pomological", help=", ".join(COLLECTIONS))
    parser.add_argument("--minutes", type=float, default=30.0, help="CPU minutes (30)")
    parser.add_argument("--side", type=int, default=112, help="of the pictures (112)")
    parser.add_argument("--cores", type=int, default=1, help="of each peer (1)")
    parser.add_argument("--repeat", default="0", help="such as 0,1,2,3 (default: 0)")
    parser.add_argument(
        "--faults", action="store_true", help="a broken picture and a missing label"
    )
    flags = parser.parse(None)
    names, data = flags["peers"] or list(PEERS), flags["data"]
    for name in names:
        if name not in PEERS:
            raise UserError(f"no peer {name!r}; {nearest(name, PEERS)}")
    if data not in COLLECTIONS:
        raise UserError(f"--data {data}: {nearest(data, COLLECTIONS)}")
    repeats = flags["repeat"].split(",")
    if not all(repeat.isdigit() for repeat in repeats):
        raise UserError(f"--repeat {flags['repeat']}: give numbers from 0, such as 0,1")
    if min(flags["minutes"], flags["cores"]) <= 0 or flags["side"] < 32:
        raise UserError("give --minutes and --cores above 0, and --side of 32 or more")
    if flags["cores"] > (n_cores := len(os.sched_getaffinity(0))):
        raise UserError(f"--cores {flags['cores']}: there are {n_cores}")
    collection = Collection.prepare(data, cache() / "collections" / data)
    measured = []
    for repeat in map(int, repeats):
        terms = Terms(
            minutes=flags["minutes"],
            side=flags["side"],
            cores=flags["cores"],
            repeat=repeat,
        )
        if flags["faults"]:
            folder = cache() / "faults" / data / str(repeat)
            table = write_split(collection, repeat, folder / "pictures.csv")
            print(faults.markdown(names, table, folder), flush=True)
        else:
            measured.append(measure(names, collection, terms, data))
            print(page_of(measured[-1:], terms, data), flush=True)
    if len(measured) > 1:
        print(page_of(measured, terms, data), flush=True)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What came of one repeat.

    Attributes:
        table: All N rows, with their split and targets.
        ways: Of the peers that finished.
        failures: A sentence for each other one.
        folder: Of the repeat.
    """

    table: pd.DataFrame
    ways: list[Way]
    failures: list[str]
    folder: Path

    @property
    def held_out(self) -> pd.DataFrame:
        """The M rows that are held out."""
        return self.table[self.table["split"] == "held_out"]

    @property
    def y_train(self) -> Floats:
        """(N - M,) targets that were learned."""
        y: Floats = self.table.loc[self.table["split"] == "train", "target"].to_numpy()
        return y


def measure(
    names: Sequence[str], collection: Collection, terms: Terms, data: str
) -> Measured:
    """Run peers on one split; what fails is named, and the others go on."""
    folder = cache() / "runs" / data / terms.name
    table = write_split(collection, terms.repeat, folder / "pictures.csv")
    ids = table.loc[table["split"] == "held_out", "id"].tolist()
    ways, failures = list[Way](), list[str]()
    for name in names:
        measured = run_peer(name, folder, terms)
        print(f"{name}: {measured}", flush=True)
        try:
            if measured["code"]:
                raise UserError(measured["last_line"])
            ways += ways_of(name, folder, ids)
        except UserError as error:
            failures.append(f"{PEERS[name].title} failed: {error}")
    return Measured(table=table, ways=ways, failures=failures, folder=folder)


def page_of(repeats: Sequence[Measured], terms: Terms, data: str) -> str:
    """Write the table of a repeat, or of several together.

    Args:
        repeats: What came of them.
        terms: Of the last.
        data: Name of the collection.
    """
    held_out = pd.concat([repeat.held_out for repeat in repeats])
    y_true = held_out["target"].to_numpy(dtype=np.float64)
    means = [np.full(len(each.held_out), each.y_train.mean()) for each in repeats]
    constant = float(np.sqrt(((y_true - np.concatenate(means)) ** 2).mean()))
    y_train = np.concatenate([repeat.y_train for repeat in repeats])
    reference = f"{PEERS[REFERENCE].title}: stack"
    ways = [repeat.ways for repeat in repeats]
    rows = score_all(
        pooled(ways) if len(repeats) > 1 else ways[0],
        y_true,
        held_out["group"].to_numpy(),
        reference,
        (float(y_train.min()), float(y_train.max())),
    )
    number = (
        f"repeat {terms.repeat}" if len(repeats) == 1 else f"{len(repeats)} repeats"
    )
    page = "\n".join(
        [
            f"{data}, {number}: {len(held_out)} pictures of"
            f" {held_out['group'].nunique()} groups held out, {terms.side} px,"
            f" {terms.minutes:g} CPU minutes on {terms.cores} core each.",
            "",
            verdict(rows, reference),
            "",
            markdown(rows, reference, constant),
            *(failure for repeat in repeats for failure in repeat.failures),
        ]
    )
    folder = repeats[-1].folder
    file = folder / "table.md"
    if len(repeats) > 1:
        file = folder.with_name(f"{folder.name}.{len(repeats)}_repeats.md")
    file.write_text(page + "\n", encoding="utf-8")
    return page


if __name__ == "__main__":
    run_command(main)
