"""What executors cost and gain: nets one after another, in processes, on a cluster.

    python -m benchmarks.executors              # needs Ray, and two idle cores
    python -m benchmarks.executors --epochs 40  # longer nets
    python -m benchmarks.executors --works 20   # the cost of a piece of work alone

Twelve small nets (four tasks, three folds) are fine-tuned one after another on two
threads and on one, two at a time in processes, and on a cluster of two nodes of one
core each on this machine, which share no folder for temporary files. Then the same is
done with pieces of work of no time, which shows what each way costs a piece.
"""

import argparse
import functools
import logging
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

from data_prep.executors.pool import Pool
from data_prep.executors.run import run
from data_prep.executors.work import Work
from tests.executors.works import shout

N_TRAIN, SIDE = 240, 64
FLAGS = (
    *("--backbone=test_resnet", "--init=scratch", "--batch-size=8"),
    "--precision=fp32",
)


def seconds_of(function: Callable[[], object]) -> float:
    """Time a call."""
    began = time.monotonic()
    function()
    return time.monotonic() - began


def time_nets(address: str, epochs: int) -> dict[str, float]:
    """Fine-tune the nets each way, in a fresh run; seconds by way."""
    from tests.prepared_runs import finetune, make_run

    ways = {
        "here, two threads": ["--threads=2"],
        "here, one thread": ["--threads=1"],
        "processes, two": ["--threads=1", "--jobs=2"],
        "ray, two nodes": [
            *("--threads=1", "--executor=ray"),
            f"--address={address}",
        ],
    }
    seconds = {}
    for way, flags in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            made = make_run(Path(folder) / "run", n_train=N_TRAIN, side=SIDE)
            call = functools.partial(
                finetune, made, *FLAGS, f"--epochs={epochs}", *flags
            )
            seconds[way] = seconds_of(call)
    return seconds


def time_works(n: int, address: str) -> dict[str, float]:
    """Do pieces of no time each way; seconds by way."""
    pools = {
        "here": Pool(executor="here", n_at_once=1, threads=1),
        "processes, two": Pool(executor="processes", n_at_once=2, threads=1),
        "ray, two nodes": Pool(executor="ray", n_at_once=0, threads=1, address=address),
    }
    seconds = {}
    for way, pool in pools.items():
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "source"
            source.write_bytes(os.urandom(1 << 20).hex().encode())
            works = [
                Work(
                    name=str(k),
                    function=functools.partial(shout, source, Path(folder) / str(k)),
                    log_file=Path(folder) / str(k) / "log",
                    reads=(source,),
                    writes=Path(folder) / str(k),
                )
                for k in range(n)
            ]
            call = functools.partial(run, works, pool, noun="work", logs=folder)
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
                seconds[way] = seconds_of(call)
    return seconds


def main() -> None:
    """Print a table of seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--works", type=int, default=0, help="pieces of no time, alone")
    parser.add_argument("--epochs", type=int, default=8, help="of each net")
    arguments = parser.parse_args()
    n_works = arguments.works
    from tests.executors.nodes import Nodes  # late: processes import this module

    logging.disable(logging.INFO)
    nodes = Nodes()
    try:
        address = nodes.cluster.address
        if not n_works:
            print_table("12 nets", time_nets(address, arguments.epochs))
        print_table(f"{n_works or 12} pieces", time_works(n_works or 12, address))
    finally:
        nodes.end()


def print_table(title: str, seconds: dict[str, float]) -> None:
    """Print seconds, and how many times as fast as the first way."""
    first = next(iter(seconds.values()))
    for way, value in seconds.items():
        print(f"{title:10}  {way:18}  {value:7.1f} s  {first / value:5.2f} x")


if __name__ == "__main__":
    main()
