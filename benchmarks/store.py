"""The feature store against a pickled dict of lists, the layout it replaces.

20,000 ids x 8 views x 26 outputs, float32. Every measurement is a process of its own,
best of 5; the files are in the page cache. RSS is what the step adds to the memory of a
process that has numpy and the reader loaded.
"""

import json
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from features.store import Store, open_store, write_store

N_IDS, N_VIEWS, N_OUTPUTS, N_REPEATS = 20_000, 8, 26, 5
MS = ("ms", 1e3)
UNITS = {"write": MS, "load": MS, "matrix": MS, "one id": ("us", 1e6)}


def sample() -> tuple[list[str], np.ndarray[Any, Any], dict[str, Any]]:
    """Give ids, values and a header."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(N_IDS, N_VIEWS, N_OUTPUTS)).astype(np.float32)
    ids = [rng.bytes(8).hex() for _ in range(N_IDS)]
    header = {
        "columns": [{"name": f"words_{i}"} for i in range(N_OUTPUTS)],
        "views": ["e", "h", "v", "hv", "r", "hr", "vr", "hvr"],
        "roles": ["oof"] * N_IDS,
        "folds": [row % 3 for row in range(N_IDS)],
    }
    return ids, values, header


def write_lists(path: Path) -> None:
    """Write a dict of lists of one (1, F) array per view, as one grows it in a loop."""
    ids, values, _ = sample()
    rows = defaultdict(list)
    for view in range(N_VIEWS):
        for row, id_ in enumerate(ids):
            rows[id_].append(values[row : row + 1, view].copy())
    began = time.perf_counter()
    with path.open("wb") as file:
        pickle.dump(rows, file)
    report({"write": time.perf_counter() - began})


def write_ours(path: Path) -> None:
    """Write the store."""
    ids, values, header = sample()
    began = time.perf_counter()
    write_store(path, ids, values, header)
    report({"write": time.perf_counter() - began})


def plain(path: Path) -> Any:
    """Unpickle."""
    with path.open("rb") as file:
        return pickle.load(file)


def matrix_of_lists(rows: Any) -> Any:
    """Join the lists to (N, V, F)."""
    return np.stack([np.concatenate(views) for views in rows.values()])


def matrix_of_rows(rows: Any) -> Any:
    """Join the rows to (N, V, F)."""
    return np.stack([*rows.values()])


WAYS: dict[str, tuple[str, Callable[[Path], Any], Callable[[Any], Any]]] = {
    "dict of lists": ("lists.pkl", plain, matrix_of_lists),
    "store, pickle.load": ("ours.pkl", plain, matrix_of_rows),
    "store, open_store": ("ours.pkl", open_store, Store.matrix),
}


def measure(way: str, folder: Path) -> None:
    """Load once, in this process."""
    file, load, matrix = WAYS[way]
    before = peak()
    began = time.perf_counter()
    rows = load(folder / file)
    measured = {"load": time.perf_counter() - began, "RSS of load": peak() - before}
    ids = list(rows)[::20]
    rows[ids[0]]
    began = time.perf_counter()
    for id_ in ids:
        rows[id_]
    measured["one id"] = (time.perf_counter() - began) / len(ids)
    began = time.perf_counter()
    whole = matrix(rows)
    measured["matrix"] = time.perf_counter() - began
    measured["RSS of both"] = peak() - before
    assert whole.shape == (N_IDS, N_VIEWS, N_OUTPUTS)
    report(measured)


def peak() -> float:
    """Give the largest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(measured: dict[str, float]) -> None:
    """Hand figures to the process that started this one."""
    print(json.dumps(measured))


def best(*arguments: str) -> dict[str, float]:
    """Run this script with the arguments, several times, and take the least of each."""
    runs = [
        json.loads(
            subprocess.run(
                [sys.executable, "-m", "benchmarks.store", *arguments],
                check=True,
                capture_output=True,
            ).stdout
        )
        for _ in range(N_REPEATS)
    ]
    return {name: min(run[name] for run in runs) for name in runs[0]}


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        files = {"lists.pkl": "write_lists", "ours.pkl": "write_ours"}
        written = {file: best(step, f"{folder}/{file}") for file, step in files.items()}
        sizes = {file: (Path(folder) / file).stat().st_size / 1e6 for file in files}
        measured = {
            way: {"file MB": sizes[file]} | written[file] | best(way, folder)
            for way, (file, _, _) in WAYS.items()
        }
    first = measured["dict of lists"]
    print(f"{N_IDS:,} ids x {N_VIEWS} views x {N_OUTPUTS} float32; (n x): less by n\n")
    print(f"{'':14}" + "".join(f"{way:>26}" for way in measured))
    for name in first:
        unit, scale = UNITS.get(name, ("MB", 1))
        cells = []
        for figures in measured.values():
            ratio = first[name] / figures[name]
            cells.append(f"{figures[name] * scale:.2f} {unit} ({ratio:.1f} x)")
        print(f"{name:14}" + "".join(f"{cell:>26}" for cell in cells))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write_lists", path]:
            write_lists(Path(path))
        case ["write_ours", path]:
            write_ours(Path(path))
        case [way, folder]:
            measure(way, Path(folder))
        case _:
            main()
