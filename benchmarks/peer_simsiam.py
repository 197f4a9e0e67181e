"""Our SimSiam engine against lightly's own way of training it: pictures per second.

    python -m benchmarks.peer_simsiam

Both train the same timm net with lightly's heads and loss, SGD, the same batch,
precision and memory layout, on views of the same ranges (lightly's defaults) of the
same pictures. lightly reads them with its ``LightlyDataset`` and ``SimSiamTransform``
in a ``DataLoader`` with persistent workers; several numbers of workers are tried and
the best one counts. To be fair to it, its JPEG files have the side of the net already,
its loader runs through without a stop between epochs, and its loop is bare, while ours
logs, checks and keeps its bar.

What differs: lightly decodes each picture in each epoch, and Pillow makes its views one
by one, with a blur of the same deviation at every side and hue turned in HSV. We cut
uint8 batches out of memory and make the views whole, in torch, as part of the step. So
our wait is for the batch alone; lightly's is for the views too, unless workers hide it.

An epoch warms up and is not timed. All alternate in one process, and only the ratio
carries across machines. The machine must be idle.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from lightly.data import LightlyDataset
from lightly.transforms.simsiam_transform import SimSiamTransform
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

from data_prep.command import run_command
from data_prep.errors import UserError
from data_prep.settings import Parser
from pretext.data.pictures import Normalisation, Pictures
from pretext.device import pick_device, set_threads, use_bf16
from pretext.engine.training import train
from pretext.methods.siamese import SimSiamLearner
from pretext.networks.backbones import build_backbone
from pretext.simsiam import SimSiamSettings

PLAIN = Normalisation((127.5,) * 3, (63.75,) * 3)
PLAIN_OF_LIGHTLY = {"mean": [0.5] * 3, "std": [0.25] * 3}  # the same, in shares
Measured = tuple[float, float]  # pictures per second, share of the time that is waiting


def make_pictures(folder: Path, n: int, side_px: int) -> None:
    """Make up N smooth pictures, as an array for us and as JPEG files for lightly."""
    rng = np.random.default_rng(0)
    (folder / "jpeg").mkdir()
    pixels = np.empty((n, side_px, side_px, 3), np.uint8)
    for row in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((side_px, side_px), Image.Resampling.BICUBIC))
        grain = rng.normal(0, 8, smooth.shape)  # as paper has, and what JPEG must code
        pixels[row] = (smooth + grain).clip(0, 255)
        picture = Image.fromarray(pixels[row])
        picture.save(folder / "jpeg" / f"{row:06d}.jpg", quality=90)
    np.save(folder / "images.npy", pixels)


def new_learner(settings: SimSiamSettings, device: torch.device) -> SimSiamLearner:
    """Build the net and the heads that both train, from the same random weights."""
    torch.manual_seed(0)
    network = build_backbone(settings.backbone, settings.side)
    learner = SimSiamLearner(
        network,
        PLAIN,
        side_px=settings.side,
        params=settings.augment_params(settings.min_area),
        width=settings.width,
    )
    return learner.to(device)


def ours(
    settings: SimSiamSettings, pictures: Pictures, n: int, folder: Path
) -> Measured:
    """Train with our engine."""
    rows: NDArray[np.int64] = np.arange(n)
    ends: list[float] = []
    outcome = train(
        new_learner(settings, pictures.device),
        pictures,
        train_idx=rows,
        ids=[str(row) for row in rows],
        settings=settings,
        folder=folder,
        label="ours",
        publish=lambda epoch: ends.append(now()) if len(ends) < epoch else None,
    )
    timed = (settings.epochs - 1) * settings.steps_per_epoch(n) * settings.batch_size
    return timed / (ends[settings.epochs - 1] - ends[0]), outcome.data_share


def lightlys(
    settings: SimSiamSettings,
    jpegs: Path,
    n: int,
    workers: int,
    device: torch.device,
    *,
    as_it_comes: bool = False,
) -> Measured:
    """Train as lightly's example does, in a bare loop.

    Args:
        settings: Net, batch and epochs.
        jpegs: Folder of the pictures.
        n: How many there are.
        workers: Of the loader.
        device: Where to train.
        as_it_comes: In float32 and torch's usual layout, as in its examples; else in
            our precision and layout.
    """
    batches = iter(loader(settings, jpegs, n, workers, device))
    learner = new_learner(settings, device).train()
    layout = torch.contiguous_format if as_it_comes else torch.channels_last
    learner.to(memory_format=layout)
    optimizer = torch.optim.SGD(
        learner.parameters(),
        settings.peak_rate,
        momentum=0.9,
        weight_decay=settings.weight_decay,
    )
    bf16 = use_bf16(settings.precision, device) and not as_it_comes
    began = waited = 0.0
    per_epoch = settings.steps_per_epoch(n)
    for step in range(settings.epochs * per_epoch):
        if step == per_epoch:  # the first epoch warms up
            began, waited = now(), 0.0
        waiting_since = time.perf_counter()
        views = next(batches)
        waited += time.perf_counter() - waiting_since
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            views = [view.to(device, non_blocking=True) for view in views]
            views = [view.contiguous(memory_format=layout) for view in views]
            loss = loss_of(learner, views)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    seconds = now() - began
    timed = (settings.epochs - 1) * per_epoch * settings.batch_size
    return timed / seconds, waited / seconds


def loader(
    settings: SimSiamSettings, jpegs: Path, n: int, workers: int, device: torch.device
) -> Iterator[Sequence[Tensor]]:
    """Give lightly's batches of two views, without a stop between epochs."""
    transform = SimSiamTransform(
        settings.side, min_scale=settings.min_area, normalize=PLAIN_OF_LIGHTLY
    )
    dataset: Any = LightlyDataset(str(jpegs), transform=transform)
    steps = settings.epochs * settings.steps_per_epoch(n)
    batches: DataLoader[Any] = DataLoader(
        dataset,
        settings.batch_size,
        sampler=RandomSampler(dataset, num_samples=steps * settings.batch_size),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        drop_last=True,
    )
    for views, _, _ in batches:
        yield views


def loss_of(learner: SimSiamLearner, views: Sequence[Tensor]) -> Tensor:
    """Compute the loss of two views, (B, 3, S, S) each."""
    z1, z2 = (learner.projector(learner.backbone(view)) for view in views)
    p1, p2 = learner.predictor(z1), learner.predictor(z2)
    z1, z2, p1, p2 = (part.float() for part in (z1, z2, p1, p2))
    first: Tensor = learner.criterion(p1, z2.detach())
    second: Tensor = learner.criterion(p2, z1.detach())
    return 0.5 * (first + second)


def now() -> float:
    """Read the clock when the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def counts_of_workers(cores: int) -> list[int]:
    """List the numbers of workers to try."""
    return sorted({0, 1, max(1, cores // 2), cores})


def report(name: str, rounds: Sequence[Measured]) -> None:
    """Print the medians of one way."""
    rate, wait = (median(part) for part in zip(*rounds, strict=True))
    print(f"{name:<24} {rate:8.1f} img/s   data wait {wait:6.2%}")


def main() -> None:
    """Measure both, in turn."""
    parser = Parser(prog="python -m benchmarks.peer_simsiam", description=__doc__)
    parser.add_argument("--backbone", default="resnet18", help="name of a timm network")
    parser.add_argument("--n", type=int, default=640, help="pictures")
    parser.add_argument("--side", type=int, default=128, help="their side, px")
    parser.add_argument("--batch-size", type=int, default=64, help="pictures per step")
    parser.add_argument("--epochs", type=int, default=4, help="the first is not timed")
    parser.add_argument("--rounds", type=int, default=5, help="trainings of each")
    parsed = parser.parse(None)
    n, rounds = parsed.pop("n"), parsed.pop("rounds")
    if parsed["epochs"] < 2 or rounds < 1 or n < parsed["batch_size"]:
        raise UserError("give --epochs 2, --rounds 1 and --n of a batch, or more")
    # lightly's ranges; it does not clip gradients
    settings = SimSiamSettings(**parsed, colour="strong", min_area=0.2, clip=0)
    device = pick_device()
    set_threads(0)
    workers = counts_of_workers(len(os.sched_getaffinity(0)))
    mine: list[Measured] = []
    theirs: dict[int, list[Measured]] = {count: [] for count in workers}
    plain: list[Measured] = []
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        make_pictures(scratch, n, settings.side)
        pictures = Pictures.open(scratch, device)
        for number in range(rounds):
            mine.append(ours(settings, pictures, n, scratch / f"ours{number}"))
            for count in workers:
                jpegs = scratch / "jpeg"
                theirs[count].append(lightlys(settings, jpegs, n, count, device))
            plain.append(
                lightlys(settings, jpegs, n, max(workers), device, as_it_comes=True)
            )
    arithmetic = "bf16" if use_bf16(settings.precision, device) else "fp32"
    print(
        f"SimSiam, {settings.backbone}, {settings.side} px, batch"
        f" {settings.batch_size}, {arithmetic}, {device.type}"
    )
    report("ours", mine)
    for count, measured in theirs.items():
        report(f"lightly, workers {count}", measured)
    report(f"lightly, as it comes, {max(workers)}", plain)
    best = max(theirs, key=lambda count: median(rate for rate, _ in theirs[count]))
    for name, peers in (
        (f"lightly's best (workers {best}) in our precision and layout", theirs[best]),
        ("lightly's as it comes (float32)", plain),
    ):
        pairs = zip(mine, peers, strict=True)
        ratios = [ours_ / others for (ours_, _), (others, _) in pairs]
        print(
            f"ours / {name}   {median(ratios):.2f}"
            f" ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    run_command(main)
