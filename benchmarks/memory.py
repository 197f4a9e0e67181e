"""Does the memory of an extraction grow with the collection? Memory of its own, in MB.

    python -m benchmarks.memory

``features.extract`` as a user calls it, on made-up runs of 2,000, 20,000 and 200,000
pictures of 32 px with tiny nets of three folds. RssAnon counts what a process holds
itself; the mapped files of pictures and values, which the kernel may drop at any time,
are not in it. The index is what N ids take as a table and as the header of a store.
"""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import chdir
from pathlib import Path

from data_prep.command import run_command
from data_prep.settings import Parser
from tests.prepared_runs import make_run

N_TEST = 1_000
TRAIN = ("--backbone=test_resnet", "--init=scratch", "--steps=1", "--batch-size=8")


def peak_of(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command, and give the most memory of its own, MB, and its seconds."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    began, most = time.perf_counter(), 0.0
    with (folder / "log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stderr=log)
        while process.poll() is None:
            most = max(most, anonymous_of(process.pid))
            time.sleep(0.05)
    if process.returncode:
        sys.exit((folder / "log").read_text(encoding="utf-8")[-2000:])
    return most, time.perf_counter() - began


def index_alone(table_file: str) -> None:
    """Read the table of a run, and write its ids, roles and folds as a store."""
    import numpy as np
    import pandas as pd

    from features.store import write_store

    table = pd.read_parquet(table_file)
    header = {
        "columns": [{"name": "target"}],
        "roles": ["label_free"] * len(table),
        "folds": table["fold"].tolist(),
    }
    values = np.zeros((len(table), 1), np.float32)
    with tempfile.TemporaryDirectory() as scratch:
        write_store(Path(scratch) / "index.pkl", table["id"].tolist(), values, header)


def anonymous_of(pid: int) -> float:
    """Give the anonymous memory of a process now, MB."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return 0.0
    for line in status.splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return 0.0


def main() -> None:
    """Measure each size."""
    parser = Parser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument(
        "--sizes", default="2000,20000,200000", help="numbers of pictures"
    )
    first: tuple[float, float] | None = None
    parser.add_argument("--index", metavar="TABLE", help="the index of a table alone")
    flags = parser.parse(None)
    if flags["index"]:
        index_alone(flags["index"])
        return
    for size in map(int, flags["sizes"].split(",")):
        with tempfile.TemporaryDirectory() as scratch:
            run = make_run(
                Path(scratch) / "run",
                n_train=size - N_TEST,
                n_test=N_TEST,
                n_unlabelled=0,
            )
            options = [f"--run={run.folder}"]
            with chdir(scratch):
                from transfer import finetune

                finetune.main([*options, *TRAIN, "--joint"])
            command = [sys.executable, "-m", "features.extract", *options]
            most, seconds = peak_of(command, Path(scratch))
            table = str(run.folder / "data_prep.prepare" / "table.parquet")
            alone = [sys.executable, "-m", "benchmarks.memory", "--index", table]
            index, _ = peak_of(alone, Path(scratch))
            stored = sum(
                file.stat().st_size
                for file in (run.folder / "features.extract").rglob("*.pkl")
            )
        first = first or (most, index)
        grown, of_index = most - first[0], index - first[1]
        print(
            f"{size:>9,} pictures: {most:5.0f} MB of its own, {grown:+5.0f} MB against"
            f" the first, of which the index {of_index:+5.0f} MB;"
            f" {stored / 1e6:.0f} MB of stores; {seconds:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    run_command(main)
