"""How fast are pictures decoded and made square, beside ImageMagick and plain Pillow?

    python -m benchmarks.decoding FOLDER [--pictures 300] [--sizes 1000,10000]

The same files go through ``decode_files`` (which hashes them, looks for damage, applies
profiles and keeps the square), through the fewest lines of Pillow, and through
``mogrify -resize``, all on one thread: pictures of the folder, then made-up scans of
4,000 px. Seconds are of the processor, of a process and its children, so that a busy
machine does not count; a ratio above 1 is faster than the other. Pillow and mogrify are
told what decoding at a fraction of the size is to a JPEG, and not: plain and quick.

Then the memory of ``store_pictures`` for more and more tiny pictures: what it adds.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.cpu_time import cpu_seconds
from benchmarks.memory import peak_of
from data_prep.command import run_command
from data_prep.pictures.decoded import decode_files
from data_prep.pictures.folders import search_folders
from data_prep.pictures.images import store_pictures
from data_prep.settings import Parser

SIDE = 128
ROUNDS = 3
SCANS = {"jpg": {"quality": 90}, "png": {}, "tif": {"compression": "tiff_lzw"}}
N_SCANS = 4
SCAN_PX = (4000, 3000)


def ours(paths: Sequence[Path]) -> None:
    """Decode as ``data_prep.prepare`` does, in this process."""
    for decoded, _ in decode_files(paths, SIDE, "squash", workers=1):
        if decoded.reason:
            sys.exit(decoded.reason)


def by_pillow(paths: Sequence[Path], is_quick: bool = False) -> None:
    """Open, convert and resize."""
    for path in paths:
        with Image.open(path) as image:
            if is_quick:
                image.draft("RGB", (2 * SIDE, 2 * SIDE))
            small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            np.asarray(small)


def by_mogrify(paths: Sequence[Path], is_quick: bool = False) -> None:
    """Have ImageMagick write small PPMs, its least work."""
    hint = ["-define", f"jpeg:size={2 * SIDE}x{2 * SIDE}"] if is_quick else []
    limits = ["-limit", "thread", "1"]
    with tempfile.TemporaryDirectory() as scratch:
        out = ["-path", scratch, "-format", "ppm"]
        resize = ["-resize", f"{SIDE}x{SIDE}!", "-depth", "8"]
        files = list(map(str, paths))
        command = ["mogrify", *limits, *hint, *resize, *out, *files]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def quick_pillow(paths: Sequence[Path]) -> None:
    """Decode JPEGs at a fraction of their size."""
    by_pillow(paths, is_quick=True)


def quick_mogrify(paths: Sequence[Path]) -> None:
    """Decode JPEGs at a fraction of their size."""
    by_mogrify(paths, is_quick=True)


def compare(title: str, paths: Sequence[Path]) -> None:
    """Measure all ways in turn, several times, and keep the best of each."""
    ways: dict[str, Callable[[Sequence[Path]], None]] = {
        "ours": ours,
        "Pillow": by_pillow,
        "Pillow, quick": quick_pillow,
    }
    if shutil.which("mogrify"):
        ways |= {"mogrify": by_mogrify, "mogrify, quick": quick_mogrify}
    best = dict.fromkeys(ways, np.inf)
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = cpu_seconds()
            way(paths)
            best[name] = min(best[name], cpu_seconds() - began)
    told = ", ".join(
        f"{name} {len(paths) / seconds:,.0f}" for name, seconds in best.items()
    )
    ratios = ", ".join(
        f"{best[name] / best['ours']:.2f} x {name}" for name in ways if name != "ours"
    )
    print(f"{title}: pictures a second and core: {told}; ours is {ratios}", flush=True)


def draw_scans(folder: Path) -> dict[str, list[Path]]:
    """Write large smooth pictures with grain, as a scanner gives them."""
    rng = np.random.default_rng(0)
    scans: dict[str, list[Path]] = {name: [] for name in SCANS}
    for number in range(N_SCANS):
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3)).astype(np.uint8))
        smooth = np.asarray(small.resize(SCAN_PX, Image.Resampling.BICUBIC))
        grain = rng.integers(-4, 5, smooth.shape, dtype=np.int8)
        scan = Image.fromarray((smooth + grain.astype(int)).clip(0, 255).astype("u1"))
        for name, options in SCANS.items():
            path = folder / f"{number}.{name}"
            scan.save(path, **options)  # type: ignore[arg-type]
            scans[name].append(path)
    return scans


def store_tiny(folder: Path, size: int) -> None:
    """Store so many tiny pictures, in this process."""
    files = sorted(folder.iterdir())
    paths = [files[number % len(files)] for number in range(size)]
    store_pictures(paths, folder.parent / f"{size}.npy", 16, "pad", workers=1)


def tell_memory(sizes: Sequence[int]) -> None:
    """Measure what more pictures take."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "tiny"
        folder.mkdir()
        rng = np.random.default_rng(0)
        for number in range(100):
            tiny = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(tiny).save(folder / f"{number}.png")
        first = None
        for size in sizes:
            flags = ["--store", str(folder), "--sizes", str(size)]
            command = [sys.executable, "-m", "benchmarks.decoding", "", *flags]
            most, _ = peak_of(command, Path(scratch))
            first = most if first is None else first
            print(
                f"{size:>9,} pictures: {most:.0f} MB, {most - first:+.0f}", flush=True
            )


def main() -> None:
    """Measure all, or store tiny pictures for ``tell_memory``."""
    parser = Parser(prog="python -m benchmarks.decoding", description=__doc__)
    parser.add_argument("folder", help="pictures")
    parser.add_argument("--pictures", default=300, type=int, help="how many of them")
    parser.add_argument("--sizes", default="1000,10000", help="for the memory")
    parser.add_argument("--store", help="a folder of tiny pictures: store them alone")
    flags = parser.parse(None)
    sizes = list(map(int, flags["sizes"].split(",")))
    if flags["store"]:
        store_tiny(Path(flags["store"]), sizes[0])
        return
    paths = list(search_folders([Path(flags["folder"])]).pictures.values())
    compare(f"{flags['folder']}", paths[:: max(1, len(paths) // flags["pictures"])])
    with tempfile.TemporaryDirectory() as scratch:
        for name, scans in draw_scans(Path(scratch)).items():
            compare(f"scans of {SCAN_PX[0]} px, {name}", scans)
    tell_memory(sizes)


if __name__ == "__main__":
    run_command(main)
