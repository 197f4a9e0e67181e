"""How near our training and extraction come to the network alone.

    python -m benchmarks.ceiling

The ceiling is the same network, batch, precision and memory layout on one fixed batch
that already lies in memory: forward, backward and optimiser step for training, forward
for extraction. Ours is the whole engine: cutting the batch out of the memory map, views
or puzzles, logging, bar. Both alternate in one process, and only their ratio is
reported: it carries across machines, images/s do not.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from data_prep.command import run_command
from data_prep.settings import Parser
from features.passes import CPU_PICTURES, run_pass
from features.plan import BLOCK
from features.sources import joined_outputs
from pretext.data.augment import AugmentParams
from pretext.data.pictures import Normalisation, Pictures
from pretext.device import pick_device, set_threads, use_bf16
from pretext.engine.learner import Learner
from pretext.engine.training import train
from pretext.jigsaw import JigsawSettings, tile_side
from pretext.methods.classification import JigsawLearner
from pretext.methods.puzzles import PuzzleRules
from pretext.methods.siamese import SimSiamLearner
from pretext.networks.backbones import build_backbone
from pretext.simsiam import SimSiamSettings
from transfer.networks.task_net import TaskNet

SIDE, N, BATCH, ROUNDS = 128, 640, 64, 5
PLAIN = Normalisation((128.0,) * 3, (64.0,) * 3)
OUTPUT = [{"name": "target", "kind": "regression", "outputs": [""]}]


def pictures_on_disk(folder: Path, device: torch.device) -> Pictures:
    """Store N made-up pictures as ``data_prep.prepare`` does, and map them."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (N, SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
    np.save(folder / "images.npy", coarse.repeat(8, axis=1).repeat(8, axis=2))
    return Pictures.open(folder, device)


def training_ceiling(model: nn.Module, inputs: torch.Tensor, passes: int) -> float:
    """Train on one batch that is there already; pictures per second."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    bf16 = use_bf16("auto", inputs.device)
    model.train()

    def step() -> None:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=bf16):
            loss = sum(model(inputs).float().square().mean() for _ in range(passes))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()

    return rate(step, len(inputs), 3, N // BATCH - 3)


def rate(step: Callable[[], object], images: int, warm_up: int, steps: int) -> float:
    """Time some steps after some that do not count; pictures per second."""
    for _ in range(warm_up):
        step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return images * steps / (time.perf_counter() - began)


def report(
    name: str, measured: list[float], ceiling: list[float], wait: float | None = None
) -> None:
    """Print one line: both rates, and the median of the rounds' ratios."""
    ratios = [a / b for a, b in zip(measured, ceiling, strict=True)]
    print(
        f"{name:<22} ours {median(measured):7.1f} img/s"
        f"   ceiling {median(ceiling):7.1f}"
        f"   share {median(ratios):6.1%} ({min(ratios):.1%} to {max(ratios):.1%})"
        + ("" if wait is None else f"   data wait {wait:.2%}")
    )


def main() -> None:
    """Measure jigsaw, SimSiam and the extraction."""
    parser = Parser(prog="python -m benchmarks.ceiling", description=__doc__)
    parser.add_argument("--backbone", default="resnet18", help="name of a timm network")
    backbone = parser.parse(None)["backbone"]
    device = pick_device()
    set_threads(0)
    rows: NDArray[np.int64] = np.arange(N)
    ids = [str(row) for row in rows]
    with tempfile.TemporaryDirectory() as scratch:
        pictures = pictures_on_disk(Path(scratch), device)

        def jigsaw() -> tuple[Learner, int, int]:
            rules = PuzzleRules(tile_px=tile_side(SIDE, JigsawSettings()))
            network = build_backbone(backbone, rules.side_px)
            learner = JigsawLearner(
                network,
                rules,
                pictures=pictures,
                val_idx=np.empty(0, np.int64),
                val_keys=np.empty(0, np.uint64),
                seed=0,
            )
            return learner, rules.side_px, 1

        def simsiam() -> tuple[Learner, int, int]:
            network = build_backbone(backbone, SIDE)
            learner = SimSiamLearner(
                network, PLAIN, side_px=SIDE, params=AugmentParams(), width=1024
            )
            return learner, SIDE, 2

        tasks = (
            ("jigsaw", jigsaw, JigsawSettings),
            ("simsiam", simsiam, SimSiamSettings),
        )
        for name, build, settings in tasks:
            measured, ceiling, wait = [], [], 0.0
            for number in range(ROUNDS):
                learner, side_px, passes = build()
                folder = Path(scratch) / f"{name}{number}"
                chosen = settings(epochs=1, batch_size=BATCH)
                outcome = train(
                    learner,
                    pictures,
                    train_idx=rows,
                    ids=ids,
                    settings=chosen,
                    folder=folder,
                    label=name,
                )
                measured.append(outcome.images_per_s)
                wait = max(wait, outcome.data_share)
                fixed = torch.randn(BATCH, 3, side_px, side_px, device=device)
                fixed = fixed.contiguous(memory_format=torch.channels_last)
                model = learner.backbone
                assert isinstance(model, nn.Module)
                if name == "simsiam":
                    assert isinstance(learner, SimSiamLearner)
                    model = nn.Sequential(model, learner.projector, learner.predictor)
                ceiling.append(training_ceiling(model, fixed, passes))
            report(name, measured, ceiling, wait)
        extraction(backbone, pictures, Path(scratch))


def extraction(backbone: str, pictures: Pictures, scratch: Path) -> None:
    """Measure the eight views against the network alone, per view."""
    from tqdm import tqdm

    device = pictures.device
    net = TaskNet(build_backbone(backbone, SIDE), OUTPUT, PLAIN, SIDE).eval().to(device)
    bf16 = use_bf16("auto", device)
    forward = joined_outputs([net])
    at_once = 8 * CPU_PICTURES if device.type == "cpu" else 8 * BLOCK
    fixed = torch.randn(at_once, 3, SIDE, SIDE, device=device)
    fixed = fixed.contiguous(memory_format=torch.channels_last)
    rows = np.arange(256)

    def alone() -> None:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=bf16),
        ):
            net.backbone(fixed)

    measured, ceiling = [], []
    for number in range(ROUNDS):
        work = scratch / f"pass{number}.npy"
        began = time.perf_counter()
        with tqdm(disable=True) as bar:
            run_pass(
                forward,
                width=1,
                pictures=pictures,
                rows=rows,
                work=work,
                weights="",
                bf16=bf16,
                bar=bar,
            )
        measured.append(8 * len(rows) / (time.perf_counter() - began))
        ceiling.append(rate(alone, at_once, 1, 8 * 256 // at_once))
    report("extraction, views", measured, ceiling)


if __name__ == "__main__":
    run_command(main)
