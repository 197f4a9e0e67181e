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

from data_prep.arrays import Floats
from data_prep.command import run_command
from data_prep.settings import Parser
from data_prep.task_types.base import TaskType
from data_prep.task_types.classes import Classes
from data_prep.task_types.ordinal import Ordinal
from data_prep.task_types.regression import Regression
from data_prep.task_types.tags import Tags
from data_prep.task_types.words import Words
from data_prep.tasks import Task
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
from pretext.settings import TrainingSettings
from pretext.simsiam import SimSiamSettings
from transfer.networks.task_net import TaskNet, describe
from transfer.settings import FinetuneSettings
from transfer.training.learner import FinetuneLearner

BATCH, ROUNDS = 64, 5
PLAIN = Normalisation((128.0,) * 3, (64.0,) * 3)
OUTPUT = [{"name": "target", "kind": "regression", "outputs": [""]}]


def five_tasks(n: int) -> list[Task]:
    """Make up labels of five kinds for n pictures; a tenth of the rows has none."""
    rng = np.random.default_rng(0)

    def task(name: str, kind: TaskType, values: Floats, n_outputs: int) -> Task:
        suffixes = [str(k) for k in range(n_outputs)]
        is_number = kind.name in ("regression", "ordinal")
        return Task(
            name=name,
            task_type=kind,
            values=values,
            has_label=rng.random(n) < 0.9,
            outputs=("", *suffixes) if is_number else tuple(suffixes),
            classes=tuple(f"class {k}" for k in range(n_outputs)),
            grades=(0.0, 1.0, 2.0, 3.0) if kind.name == "ordinal" else (),
        )

    def classes(n_classes: int) -> Floats:
        return rng.integers(n_classes, size=(n, 1)).astype(float)

    tags = rng.integers(2, size=(n, 12)).astype(float)
    return [
        task("target", Regression(loss="histogram"), rng.normal(size=(n, 1)), 0),
        task("maker", Classes(), classes(40), 40),
        task("grade", Ordinal(), classes(4), 4),
        task("words", Words(), rng.normal(size=(n, 16)), 16),
        task("tags", Tags(), tags, 12),
    ]


class SideBySide(nn.Module):
    """A net of several tasks, whose outputs are one tensor."""

    def __init__(self, net: TaskNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give the (B, W) outputs of all heads for (B, 3, S, S)."""
        return torch.cat(list(self.net(images).values()), dim=1)


def pictures_on_disk(
    folder: Path, device: torch.device, *, n: int, side: int
) -> Pictures:
    """Store n made-up pictures as ``data_prep.prepare`` does, and map them."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (n, side // 8, side // 8, 3), dtype=np.uint8)
    np.save(folder / "images.npy", coarse.repeat(8, axis=1).repeat(8, axis=2))
    return Pictures.open(folder, device)


def training_ceiling(
    model: nn.Module, inputs: torch.Tensor, passes: int, steps: int
) -> float:
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

    return rate(step, len(inputs), 3, steps)


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


def network_alone(learner: Learner) -> nn.Module:
    """Give what of a learner sends pictures through layers, from pixels to outputs."""
    if isinstance(learner, FinetuneLearner):
        return SideBySide(learner.net)
    model = learner.backbone
    assert isinstance(model, nn.Module)
    if isinstance(learner, SimSiamLearner):
        return nn.Sequential(model, learner.projector, learner.predictor)
    return model


def main() -> None:
    """Measure jigsaw, SimSiam, the fine-tuning and the extraction."""
    parser = Parser(prog="python -m benchmarks.ceiling", description=__doc__)
    parser.add_argument("--backbone", default="resnet18", help="name of a timm network")
    parser.add_argument("--side", type=int, default=128, help="of the pictures, px")
    parser.add_argument("--pictures", type=int, default=640, help="more for a GPU")
    parser.add_argument(
        "--only", default="", help="jigsaw, simsiam, finetune or extraction"
    )
    parsed = parser.parse(None)
    device = pick_device()
    set_threads(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pictures = pictures_on_disk(
            folder, device, n=parsed["pictures"], side=parsed["side"]
        )
        for name in (parsed["only"],) if parsed["only"] else (*LEARNERS, "extraction"):
            if name == "extraction":
                extraction(parsed["backbone"], pictures, folder)
            else:
                training(name, parsed["backbone"], pictures, folder)


def jigsaw(network: nn.Module, pictures: Pictures) -> Learner:
    """Give the learner of the places of tiles."""
    rules = PuzzleRules(tile_px=tile_side(pictures.side_px, JigsawSettings()))
    return JigsawLearner(
        network,
        rules,
        pictures=pictures,
        val_idx=np.empty(0, np.int64),
        val_keys=np.empty(0, np.uint64),
        seed=0,
    )


def simsiam(network: nn.Module, pictures: Pictures) -> Learner:
    """Give the learner of two views."""
    params = AugmentParams()
    return SimSiamLearner(
        network, PLAIN, side_px=pictures.side_px, params=params, width=1024
    )


def finetune(network: nn.Module, pictures: Pictures) -> Learner:
    """Give the learner of five kinds in one net."""
    n, side = len(pictures.pixels), pictures.side_px
    tasks = five_tasks(n)
    net = TaskNet(network, [describe(task) for task in tasks], PLAIN, side, dropout=0.2)
    for task in tasks:
        net.head(task.name).start_at(task, np.flatnonzero(task.has_label))
    params = AugmentParams(
        min_area=0.6, d4=True, brightness=0.1, contrast=0.1, saturation=0.1
    )
    return FinetuneLearner(net, tasks, side_px=side, params=params)


LEARNERS: dict[
    str,
    tuple[Callable[[nn.Module, Pictures], Learner], type[TrainingSettings], int],
] = {  # name: the learner, its settings, and forwards of the network in a step
    "jigsaw": (jigsaw, JigsawSettings, 1),
    "simsiam": (simsiam, SimSiamSettings, 2),
    "finetune": (finetune, FinetuneSettings, 1),
}


def training(name: str, backbone: str, pictures: Pictures, scratch: Path) -> None:
    """Measure a training against its network alone."""
    build, settings_class, passes = LEARNERS[name]
    rows: NDArray[np.int64] = np.arange(len(pictures.pixels))
    measured, ceiling, wait = [], [], 0.0
    for number in range(ROUNDS):
        side_px = pictures.side_px
        if name == "jigsaw":
            side_px = 3 * tile_side(side_px, JigsawSettings())
        learner = build(build_backbone(backbone, side_px), pictures)
        outcome = train(
            learner,
            pictures,
            train_idx=rows,
            ids=[str(row) for row in rows],
            settings=settings_class(epochs=1, batch_size=BATCH),
            folder=scratch / f"{name}{number}",
            label=name,
        )
        measured.append(outcome.images_per_s)
        wait = max(wait, outcome.data_share)
        fixed = torch.randn(BATCH, 3, side_px, side_px, device=pictures.device)
        fixed = fixed.contiguous(memory_format=torch.channels_last)
        model = network_alone(learner).to(pictures.device)
        ceiling.append(training_ceiling(model, fixed, passes, len(rows) // BATCH - 3))
    report(name, measured, ceiling, wait)


def extraction(backbone: str, pictures: Pictures, scratch: Path) -> None:
    """Measure the eight views against the network alone, per view."""
    from tqdm import tqdm

    device, side = pictures.device, pictures.side_px
    net = TaskNet(build_backbone(backbone, side), OUTPUT, PLAIN, side).eval().to(device)
    bf16 = use_bf16("auto", device)
    forward = joined_outputs([net])
    at_once = 8 * CPU_PICTURES if device.type == "cpu" else 8 * BLOCK
    fixed = torch.randn(at_once, 3, side, side, device=device)
    fixed = fixed.contiguous(memory_format=torch.channels_last)
    rows = np.arange(max(256, len(pictures.pixels) // 10))

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
                count=bar.update,
            )
        measured.append(8 * len(rows) / (time.perf_counter() - began))
        ceiling.append(rate(alone, at_once, 1, max(1, 8 * len(rows) // at_once)))
    report("extraction, views", measured, ceiling)


if __name__ == "__main__":
    run_command(main)
