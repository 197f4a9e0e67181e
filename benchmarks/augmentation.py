"""How fast are views made? Pictures per second of each preset, without any network.

    python -m benchmarks.augmentation --side 128 --batch-size 32 --threads 1

Batches of made-up pictures that are in memory already, on the GPU if there is one. The
presets are timed in turn, several rounds, so that other work on the machine counts
little; what is printed is the median. Set it beside the images/s of a training
(``docs/results.md``): a step makes its views and then trains on them.
"""

import argparse
import time
from statistics import median

import numpy as np
import torch
from torch import Tensor

from pretext.data.augment import AugmentParams, random_views
from pretext.data.keyed_rng import keys_of, uniforms
from pretext.data.presets import PRESETS, preset
from pretext.device import pick_device, set_threads


def seconds(images: Tensor, params: AugmentParams, epoch: int) -> float:
    """Time one batch of views, its random numbers included."""
    keys, side_px = keys_of([f"p{k}" for k in range(len(images))]), images.shape[-1]
    _wait()
    began = time.perf_counter()
    u = uniforms(keys, params.n_random, seed=0, epoch=epoch, purpose="benchmark")
    random_views(images, u, side_px, params)
    _wait()
    return time.perf_counter() - began


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> None:
    """Print pictures per second of each preset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=128, help="of the views, px")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--batches", type=int, default=20, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    given = parser.parse_args()
    set_threads(given.threads)
    device, rng = pick_device(), np.random.default_rng(0)
    shape = (given.batch_size, 3, given.side, given.side)
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    images = torch.from_numpy(pixels).to(device)
    arms = {
        name: preset(name, min_area=0.6, d4=True, colour=0.1, rand=(2, 9))
        for name in PRESETS
    }
    speeds: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(-1, given.rounds):  # the first one warms up
        for name, params in arms.items():
            epochs = range(number * given.batches, (number + 1) * given.batches)
            times = [seconds(images, params, max(0, epoch)) for epoch in epochs]
            if number >= 0:
                speeds[name].append(len(times) * given.batch_size / sum(times))
    print(f"{device.type}, batches of {given.batch_size} views of {given.side} px")
    for name, values in speeds.items():
        span = f"{min(values):,.0f} to {max(values):,.0f}"
        print(f"{name:12}{median(values):10,.0f} images/s ({span})")


if __name__ == "__main__":
    main()
