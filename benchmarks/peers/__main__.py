"""Tessera and its peers on the same pictures: scores on groups that nobody saw.

    python -m benchmarks.peers --data pomological --minutes 60
    python -m benchmarks.peers tessera_ready fastai --repeat 0,1,2,3
    python -m benchmarks.peers --faults

A quarter of the groups is held out from everything, another with each ``--repeat``.
Every peer has the same CPU minutes of the same cores, in an environment of its own,
which is made below ``$TESSERA_PEERS`` (``~/.cache/tessera-peers``) where it is missing.
Peers that have finished are not run again. At its end it writes ``table.md``
there: the best first, with the score that each promised. ``docs/proof.md`` says more.
"""

import numpy as np

from benchmarks.peers import faults
from benchmarks.peers.collections import COLLECTIONS, Collection, write_split
from benchmarks.peers.contest import PEERS, Terms, run_peer, ways_of
from benchmarks.peers.environments import cache
from benchmarks.peers.scoring import Way, markdown, score_all, verdict
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
    collection = Collection.prepare(data, cache() / "collections" / data)
    for repeat in map(int, repeats):
        terms = Terms(
            minutes=flags["minutes"],
            side=flags["side"],
            cores=flags["cores"],
            repeat=repeat,
        )
        if flags["faults"]:
            folder = cache() / "faults" / data
            table = write_split(collection, repeat, folder / "pictures.csv")
            print(faults.markdown(names, table, folder), flush=True)
        else:
            print(compare(names, collection, terms, data), flush=True)


def compare(names: list[str], collection: Collection, terms: Terms, data: str) -> str:
    """Run peers on one split, and write their table."""
    folder = cache() / "runs" / data / terms.name
    table = write_split(collection, terms.repeat, folder / "pictures.csv")
    is_held_out = table["split"] == "held_out"
    held_out, ways, failures = table[is_held_out], list[Way](), list[str]()
    for name in names:
        measured = run_peer(name, folder, terms)
        print(f"{name}: {measured}", flush=True)
        if measured["code"]:
            failures.append(f"{PEERS[name].title} failed: {measured['last_line']}")
        else:
            ways += ways_of(name, folder, held_out["id"].tolist())
    y_true = held_out["target"].to_numpy(dtype=np.float64)
    mean = table.loc[~is_held_out, "target"].mean()
    constant = float(np.sqrt(((y_true - mean) ** 2).mean()))
    reference = f"{PEERS[REFERENCE].title}: stack"
    rows = score_all(ways, y_true, held_out["group"].to_numpy(), reference)
    page = "\n".join(
        [
            f"{data}, repeat {terms.repeat}: {len(held_out)} pictures of"
            f" {held_out['group'].nunique()} groups held out, {terms.side} px,"
            f" {terms.minutes:g} CPU minutes on {terms.cores} core each.",
            "",
            verdict(rows, reference),
            "",
            markdown(rows, reference, constant),
            *failures,
        ]
    )
    (folder / "table.md").write_text(page + "\n", encoding="utf-8")
    return page


if __name__ == "__main__":
    run_command(main)
