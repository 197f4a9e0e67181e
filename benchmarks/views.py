"""Eight folders of views against the original's way: ``mogrify`` over eight copies.

    python -m benchmarks.views FOLDER --n 200

The original copies the folder seven times and runs ImageMagick's
``mogrify -quality 100`` over each copy; we write the same eight folders as JPEG of that
quality. Times are CPU seconds of all processes, in turn, three rounds, so that other
work on the machine counts little; both work on one core.
"""

import argparse
import logging
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

MOGRIFY = (
    (),
    ("-flop",),
    ("-flip",),
    ("-flop", "-flip"),
    ("-rotate", "90"),
    ("-flop", "-rotate", "90"),
    ("-flip", "-rotate", "90"),
    ("-flop", "-flip", "-rotate", "90"),
)
COMMAND = [sys.executable, "-m", "data_prep.views"]
ONE_CORE = {**os.environ, "MAGICK_THREAD_LIMIT": "1", "OMP_NUM_THREADS": "1"}


def cpu_seconds(work: Callable[[], None]) -> float:
    """Give the CPU seconds of the processes that some work starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def by_mogrify(pictures: Path, out: Path) -> None:
    """Copy the folder eight times, and turn all but the first copy."""
    for number, flags in enumerate(MOGRIFY):
        copy = out / str(number)
        shutil.copytree(pictures, copy)
        if flags:
            files = sorted(map(str, copy.iterdir()))
            command = ["mogrify", "-quality", "100", *flags, "+repage", *files]
            subprocess.run(command, check=True, env=ONE_CORE)


def by_us(pictures: Path, out: Path, *flags: str) -> None:
    """Write the eight folders."""
    command = [*COMMAND, str(pictures), str(out), "--workers", "1", *flags]
    subprocess.run(command, check=True, env=ONE_CORE, capture_output=True)


def main() -> None:
    """Print CPU seconds of each way, and how many times as fast ours is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n", type=int, default=200, help="pictures")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    files = sorted(path for path in arguments.folder.iterdir() if path.is_file())
    ways: dict[str, Callable[[Path, Path], None]] = {
        "mogrify, eight folders": by_mogrify,
        "ours, JPEG of quality 100": lambda pictures, out: by_us(
            pictures, out, "--format", "jpeg", "--quality", "100"
        ),
        "ours, PNG": by_us,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as scratch:
        pictures = Path(scratch) / "pictures"
        pictures.mkdir()
        for path in files[: arguments.n]:
            shutil.copy(path, pictures)
        for number in range(arguments.rounds):
            for name, way in ways.items():
                out = Path(scratch) / f"{number} {name}"
                out.mkdir()
                seconds[name].append(cpu_seconds(lambda: way(pictures, out)))  # noqa: B023
                shutil.rmtree(out)
    first = next(iter(seconds.values()))
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(first, values, strict=True)]
        span = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{name:28}{median(values):8.2f} s{median(ratios):7.2f}x ({span})")


if __name__ == "__main__":
    main()
