"""Are planted copies found, what is joined besides, and what does the search cost?

    python -m benchmarks.near_copies FOLDER [--plants 200] [--sheet joined.png]

The pictures of a folder are stored as ``data_prep.prepare`` does, and searched for near
copies: what is joined then is shown on the sheet, for a person to judge, with the pairs
that just are not. Then copies of drawn pictures are planted, of each kind as many, and
all is searched again. A copy is found where it is joined with the picture that it was
made from. With ``--parts`` each picture is cut into that many bands, which are pictures
of their own: a larger collection, for the seconds alone.

Seconds are of the processor, of all threads together; memory is what the search adds at
the most.
"""

import io
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from benchmarks.growth import Measured, measured
from data_prep.command import run_command
from data_prep.dihedral import apply_view
from data_prep.pictures.copies import USUAL_LIKENESS
from data_prep.pictures.fit import content_box, fit_square
from data_prep.pictures.folders import search_folders
from data_prep.pictures.near_copies import clusters_of, near_pairs
from data_prep.reporting.contact_sheet import Frame, contact_sheet
from data_prep.settings import Parser

MOST_PAIRS = 60  # on the sheet
COLUMNS = 5
Rng = np.random.Generator
Change = Callable[[Image.Image, Rng], Image.Image]


def recompressed(picture: Image.Image, quality: int) -> Image.Image:
    """Write a JPEG and read it."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def resized(picture: Image.Image, x_factor: float, y_factor: float) -> Image.Image:
    """Change the size, and the shape where the factors differ."""
    width, height = picture.size
    return picture.resize((round(width * x_factor), round(height * y_factor)))


def turned(picture: Image.Image, rng: Rng) -> Image.Image:
    """Turn or mirror it in one of the seven ways."""
    ways = list(Image.Transpose)
    return picture.transpose(ways[int(rng.integers(len(ways)))])


def cropped(picture: Image.Image, shares: Sequence[float]) -> Image.Image:
    """Cut a share of the side off the left, the top, the right and the bottom."""
    width, height = picture.size
    left, top, right, bottom = (
        round(share * length)
        for share, length in zip(shares, (width, height) * 2, strict=True)
    )
    return picture.crop((left, top, width - right, height - bottom))


CHANGES: dict[str, Change] = {
    "equal": lambda picture, _: picture,
    "JPEG of quality 30": lambda picture, _: recompressed(picture, 30),
    "half the size": lambda picture, _: resized(picture, 0.5, 0.5),
    "twice the size": lambda picture, _: resized(picture, 2, 2),
    "squashed by a third": lambda picture, _: resized(picture, 1, 2 / 3),
    "turned or mirrored": turned,
    "cropped by 1 % a side": lambda picture, _: cropped(picture, [0.01] * 4),
    "cropped by 2 % a side": lambda picture, _: cropped(picture, [0.02] * 4),
    "cropped by 4 % left, top": lambda picture, _: cropped(
        picture, [0.04] * 2 + [0, 0]
    ),
    "cropped by up to 3 % each": lambda picture, rng: cropped(
        picture, rng.uniform(0, 0.03, 4).tolist()
    ),
    "grey": lambda picture, _: picture.convert("L").convert("RGB"),
    "a quarter lighter": lambda picture, _: picture.point(lambda v: round(1.25 * v)),
    "2 %, turned, half, JPEG 30": lambda picture, rng: recompressed(
        resized(turned(cropped(picture, [0.02] * 4), rng), 0.5, 0.5), 30
    ),
}


class Collection:
    """Stored squares, with what the search is told of them."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.squares: list[NDArray[np.uint8]] = []
        self.boxes: list[tuple[int, int, int, int]] = []
        self.names: list[str] = []

    def add(self, picture: Image.Image, name: str) -> None:
        """Store a picture."""
        self.squares.append(fit_square(picture, self.side, "pad"))
        self.boxes.append(content_box(picture.size, self.side, "pad"))
        self.names.append(name)

    def search(self, step: str, figures: Measured, threads: int) -> pd.DataFrame:
        """List the pairs of near copies, from a file as the stage does."""
        import hashlib

        digests = [hashlib.sha256(square.data).hexdigest() for square in self.squares]
        with tempfile.TemporaryDirectory() as scratch:
            np.save(Path(scratch) / "images.npy", np.stack(self.squares))
            images = np.load(Path(scratch) / "images.npy", mmap_mode="r")
            began = time.perf_counter()
            with measured(step, figures):
                pairs = near_pairs(images, self.boxes, digests, threads)
            figures[step].append(time.perf_counter() - began)
        _, first = np.unique(digests, return_index=True)
        first_of = dict(zip(sorted(set(digests)), first.tolist(), strict=True))
        equal = [(first_of[digest], row) for row, digest in enumerate(digests)]
        frame = pd.DataFrame(equal, columns=["first", "second"])
        frame = frame[frame["first"] < frame["second"]]
        return pd.concat([pairs, frame.assign(view="e", likeness=1.0)])


def draw(collection: Collection, pairs: pd.DataFrame, path: Path) -> None:
    """Draw what is joined with the least likeness, and what just is not."""
    near = pairs[pairs["likeness"] < 1]
    joined = near[near["likeness"] >= USUAL_LIKENESS].tail(MOST_PAIRS)
    others = near[near["likeness"] < USUAL_LIKENESS].head(MOST_PAIRS)
    frames: list[Frame] = []
    for pair in pd.concat([joined, others]).to_dict("records"):
        first, second, view = pair["first"], pair["second"], pair["view"]
        is_joined = pair["likeness"] >= USUAL_LIKENESS
        turned_second = apply_view(view, collection.squares[second], (0, 1))
        for row, pixels, text in (
            (first, collection.squares[first], f"{pair['likeness']:.3f}"),
            (second, np.ascontiguousarray(turned_second), view),
        ):
            lines = [text, collection.names[row]]
            frames.append(Frame(pixels=pixels, lines=lines, is_marked=is_joined))
    width = 2 * COLUMNS
    sheet = [frames[start : start + width] for start in range(0, len(frames), width)]
    if sheet:
        path.write_bytes(contact_sheet(sheet))


def collect(folder: Path, n_parts: int, side: int, most: int) -> Collection:
    """Store the pictures of a folder, or bands of them."""
    collection = Collection(side)
    for id_, path in search_folders([folder]).pictures.items():
        with Image.open(path) as image:
            picture = image.convert("RGB")
        width, height = picture.size
        for part in range(n_parts):
            rows = (height * part // n_parts, height * (part + 1) // n_parts)
            band = picture.crop((0, rows[0], width, rows[1]))
            collection.add(band, f"{id_}.{part}" if n_parts > 1 else id_)
            if len(collection.names) == most:
                return collection
    return collection


def plant(collection: Collection, folder: Path, n_plants: int) -> dict[str, Any]:
    """Add copies, and give the rows of originals and copies of each kind."""
    rng = np.random.default_rng(0)
    pictures = search_folders([folder]).pictures
    row_of = {name: row for row, name in enumerate(collection.names)}
    planted: dict[str, Any] = {}
    for name, change in CHANGES.items():
        rows = []
        for id_ in rng.choice(list(row_of), n_plants, replace=False):
            with Image.open(pictures[id_]) as image:
                copy = change(image.convert("RGB"), rng)
            rows.append((row_of[id_], len(collection.names)))
            collection.add(copy, f"{id_}, {name}")
        planted[name] = np.array(rows)
    return planted


def main() -> None:
    """Search the pictures alone, then with the plants, and print the figures."""
    parser = Parser(prog="python -m benchmarks.near_copies", description=__doc__)
    parser.add_argument("folder", type=Path, help="with pictures")
    parser.add_argument("--plants", type=int, default=200, help="of each kind")
    parser.add_argument("--parts", type=int, default=1, help="bands of each picture")
    parser.add_argument("--most", type=int, default=0, help="pictures; 0: all")
    parser.add_argument("--side", type=int, default=128, help="of stored squares, px")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--sheet", type=Path, help="PNG of the least alike that join")
    arguments: dict[str, Any] = parser.parse(None)
    figures: Measured = {}
    folder, threads = arguments["folder"], arguments["threads"]
    collection = collect(
        folder, arguments["parts"], arguments["side"], arguments["most"]
    )
    n = len(collection.names)
    pairs = collection.search(f"{n:,} pictures", figures, threads)
    joined = pairs[pairs["likeness"] >= USUAL_LIKENESS]
    sizes = np.bincount(clusters_of(n, joined))
    n_in_clusters, largest = int(sizes[sizes > 1].sum()), int(sizes.max())
    print(
        f"{n:,} pictures: {len(joined):,} pairs joined, {n_in_clusters:,} pictures in"
        f" {int((sizes > 1).sum()):,} clusters, the largest of {largest}"
    )
    for likeness in (0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
        print(f"  likeness {likeness}: {(pairs['likeness'] >= likeness).sum():,} pairs")
    if arguments["sheet"]:
        draw(collection, pairs, arguments["sheet"])
    if arguments["parts"] == 1 and arguments["plants"]:
        planted = plant(collection, folder, min(arguments["plants"], n))
        step = f"{len(collection.names):,} with plants"
        pairs = collection.search(step, figures, threads)
        for likeness in (USUAL_LIKENESS, 0.8):
            clusters = clusters_of(
                len(collection.names), pairs[pairs["likeness"] >= likeness]
            )
            for name, rows in planted.items():
                is_hit = clusters[rows[:, 0]] == clusters[rows[:, 1]]
                print(f"  {likeness}  {name:28} {is_hit.mean():7.1%} of {len(rows)}")
    for step, (cpu_s, most_mb, wall_s) in figures.items():
        print(
            f"{step}: {cpu_s:.1f} s of the processor, {wall_s:.1f} s by the clock on"
            f" {os.cpu_count()} cores, {most_mb:.0f} MB"
        )


if __name__ == "__main__":
    run_command(main)
