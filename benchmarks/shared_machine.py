"""What a training makes of a machine that another program uses too.

    python -m benchmarks.shared_machine

A jigsaw training (ResNet18, 111 px, float32) runs in processes of its own: with the
waiting that our commands choose, as torch comes, and with threads that always sleep;
each alone and beside a neighbour that computes on one thread. They take turns, and the
ratios of each round are reported: they carry across machines, pictures/s do not.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median

ROUNDS, STEPS, BATCH, SIDE, N = 3, 24, 32, 128, 256
OURS, AS_IT_COMES, ASLEEP = "ours", "as torch comes", "always asleep"
WAYS = (OURS, AS_IT_COMES, ASLEEP)
NEIGHBOUR = "while True: pass"


@contextmanager
def neighbour() -> Iterator[None]:
    """Keep one core busy."""
    process = subprocess.Popen([sys.executable, "-c", NEIGHBOUR])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def train_once(way: str) -> float:
    """Train in a fresh process; pictures per second."""
    environment = dict(os.environ)
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS"):
        environment.pop(name, None)
    if way == ASLEEP:
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
    command = [sys.executable, "-m", "benchmarks.shared_machine", "--train"]
    command += ["--settle"] if way == OURS else []
    done = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1])


def train(*, settle: bool) -> None:
    """Train some steps in this process and print pictures per second."""
    from data_prep.waiting import settle_waiting

    if settle:
        settle_waiting()
    import numpy as np
    import torch

    from benchmarks.ceiling import jigsaw, pictures_on_disk
    from pretext.engine.training import train as train_steps
    from pretext.jigsaw import JigsawSettings, tile_side
    from pretext.networks.backbones import build_backbone

    with tempfile.TemporaryDirectory() as scratch:
        pictures = pictures_on_disk(Path(scratch), torch.device("cpu"), n=N, side=SIDE)
        side_px = 3 * tile_side(SIDE, JigsawSettings())
        learner = jigsaw(build_backbone("resnet18", side_px), pictures)
        settings = JigsawSettings(steps=STEPS, batch_size=BATCH, precision="fp32")
        rows = np.arange(N)
        ids = [str(row) for row in rows]
        folder = Path(scratch) / "training"
        outcome = train_steps(
            learner,
            pictures,
            train_idx=rows,
            ids=ids,
            settings=settings,
            folder=folder,
            label="jigsaw",
        )
    print(outcome.images_per_s)


def main() -> None:
    """Measure all ways in turn, alone and beside a neighbour."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--settle", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.train:
        train(settle=flags.settle)
        return
    for place in ("alone", "busy"):
        rates: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way in WAYS:
                with neighbour() if place == "busy" else nullcontext():
                    rates[way].append(train_once(way))
        for way in WAYS:
            ratios = [
                a / b for a, b in zip(rates[way], rates[AS_IT_COMES], strict=True)
            ]
            print(
                f"{place:<6} {way:<15} {median(rates[way]):6.1f} img/s, against as"
                f" torch comes {median(ratios):5.2f}"
                f" ({min(ratios):.2f} to {max(ratios):.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
