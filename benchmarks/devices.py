"""One training on several devices against the same on one: pictures per second.

    python -m benchmarks.devices --devices 2

SimSiam on made-up pictures. Without a GPU, N processes of a thread each stand against
one process of N threads, so that both have N cores; with GPUs, N of them against one.
The batch of one device is ``--batch-size``; N of them have N times as much with GPUs,
where a small part would measure the launching, and the same without. All alternate in
one process, and only the ratio carries across machines. The machine must be idle.
"""

import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch

from data_prep.command import run_command
from data_prep.settings import Parser
from pretext.data.pictures import Normalisation, Pictures
from pretext.device import pick_device
from pretext.engine.training import train
from pretext.methods.siamese import SimSiamLearner
from pretext.networks.backbones import build_backbone
from pretext.simsiam import SimSiamSettings

PLAIN = Normalisation((127.5,) * 3, (63.75,) * 3)


def images_per_s(settings: SimSiamSettings, pictures: Pictures) -> float:
    """Train for the steps of the settings and give the speed."""
    torch.manual_seed(0)
    learner = SimSiamLearner(
        build_backbone(settings.backbone, settings.side),
        PLAIN,
        side_px=settings.side,
        params=settings.augment_params(settings.min_area),
        width=settings.width,
    )
    n = len(pictures.pixels)
    with tempfile.TemporaryDirectory() as folder:
        outcome = train(
            learner,
            pictures,
            train_idx=np.arange(n),
            ids=[f"p{row}" for row in range(n)],
            settings=settings,
            folder=Path(folder),
            label=f"{settings.devices} devices",
        )
    return outcome.images_per_s


def main() -> None:
    """Print the speeds of all rounds, and the median of their ratios."""
    parser = Parser(prog="python -m benchmarks.devices")
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse(None)
    logging.getLogger("pretext").setLevel(logging.WARNING)
    n, has_gpu = chosen["devices"], pick_device().type == "cuda"
    alone = SimSiamSettings(
        backbone=chosen["backbone"],
        side=chosen["side"],
        batch_size=chosen["batch_size"],
        steps=chosen["steps"],
        threads=0 if has_gpu else n,
    )
    size = alone.batch_size * (n if has_gpu else 1)
    shared = replace(
        alone, devices=n, batch_size=size, threads=alone.threads if has_gpu else 1
    )
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (16 * size, alone.side, alone.side, 3), np.uint8)
    pictures = Pictures(pixels, pick_device())
    ratios = []
    for _ in range(chosen["rounds"]):
        first, second = (images_per_s(s, pictures) for s in (alone, shared))
        ratios.append(second / first)
        print(f"1: {first:.1f} images/s, {n}: {second:.1f}, ratio {ratios[-1]:.2f}")
    print(f"median ratio {median(ratios):.2f}")


if __name__ == "__main__":
    run_command(main)
