"""What a network costs on this machine, before anything is trained and without torch.

Whoever chooses a backbone, a side and epochs for a span of time needs pictures per
second. They follow from the multiplications of the network, which grow with the area of
the picture, from the share of the machine's speed that such networks reach, and from
what every step costs besides. The speed is measured, the shares were: on one thread of
an AMD EPYC with avx2, float32, torch 2.15, 2026-11-29, twelve networks at 64 to 224 px
(most within 25 %, the smallest within 60 %). Of GPUs only an H200 was measured, in four
trainings and an extraction of docs/results.md (within 35 %): for others it is a guess.
What a run has measured itself is better.
"""

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.executor_settings import VISIBLE
from data_prep.processes import n_cores

PROBE_S = 0.15
PROBE_SIDE = 512  # of the multiplied matrices: 3 MB, in the caches of most machines
THREAD_GAIN = 0.85  # what each further thread adds to the first
FORWARDS = 3  # what a training step multiplies: forward, and backward twice
STEP_S = 0.04  # of a training step, beside what grows with the network
STEP_S_PER_MILLION = 0.013  # and with its weights: the optimiser, the layouts
PICTURE_S_PER_PIXEL = 1.5e-8  # cutting, turning and colouring a view
BF16_GAIN = 1.8  # not measured here: twice the multiplications, less what stays as is
BF16_UNITS = ("avx512_bf16", "amx_bf16")
CPU_INFO = Path("/proc/cpuinfo")
GPU_DEVICES = (Path("/dev/nvidia0"), Path("/dev/kfd"))  # of NVIDIA, of AMD
GPUS = "nvidia[0-9]*"  # in the folder of the devices
GPU_STEP_S = 0.015  # of a training step on a GPU, beside what grows with the network
GPU_GMAC_PER_S = 45_000.0  # of a training there, and of a forward alone
GPU_FORWARD_GMAC_PER_S = 41_000.0
GPU_BESIDES_S = 0.006  # of that step beside the network: views, heads, records
CORES_GAIN = 1.24  # of two processes side by side on the cores that one would have
GPU_GAIN = 1.26  # of twice the processes on a GPU: four did 1.6 times as much
PROCESS_BYTES = 0.7e9  # of a training process, beside network and batch

# Of a picture of the side, in px: 10^9 multiplications; millions of weights.
NETWORKS: dict[str, tuple[float, int, float]] = {
    "convnext_atto": (0.547, 224, 3.37),
    "convnext_femto": (0.779, 224, 4.83),
    "convnext_nano": (2.445, 224, 14.95),
    "convnext_pico": (1.367, 224, 8.53),
    "convnext_small": (8.683, 224, 49.45),
    "convnext_tiny": (4.455, 224, 27.82),
    "convnextv2_atto": (0.547, 224, 3.39),
    "deit_small_patch16_224": (4.598, 224, 21.67),
    "deit_tiny_patch16_224": (1.253, 224, 5.52),
    "densenet121": (2.833, 224, 6.95),
    "efficientnet_b0": (0.385, 224, 4.01),
    "efficientnet_b1": (0.686, 240, 6.51),
    "efficientnet_b2": (0.858, 256, 7.70),
    "efficientnet_lite0": (0.384, 224, 3.37),
    "efficientnetv2_rw_t": (1.912, 224, 12.62),
    "ghostnet_100": (0.140, 224, 3.90),
    "lcnet_050": (0.0435, 224, 0.60),
    "lcnet_100": (0.154, 224, 1.67),
    "mobilenetv2_100": (0.300, 224, 2.22),
    "mobilenetv3_large_100": (0.215, 224, 4.20),
    "mobilenetv3_small_050": (0.0232, 224, 0.57),
    "mobilenetv3_small_100": (0.0555, 224, 1.52),
    "mobilenetv4_conv_small": (0.185, 224, 2.49),
    "regnetx_004": (0.397, 224, 4.77),
    "regnety_002": (0.199, 224, 2.79),
    "regnety_004": (0.401, 224, 3.90),
    "regnety_016": (1.611, 224, 10.31),
    "resnet101": (7.799, 224, 42.50),
    "resnet10t": (0.698, 176, 4.92),
    "resnet14t": (1.066, 176, 8.03),
    "resnet18": (1.814, 224, 11.18),
    "resnet18d": (2.053, 224, 11.20),
    "resnet26": (2.340, 224, 13.95),
    "resnet34": (3.663, 224, 21.28),
    "resnet34d": (3.903, 224, 21.30),
    "resnet50": (4.087, 224, 23.51),
    "resnet50d": (4.327, 224, 23.53),
    "resnext50_32x4d": (4.228, 224, 22.98),
    "swin_tiny_patch4_window7_224": (4.490, 224, 27.52),
    "test_resnet": (0.1025, 160, 0.37),
    "test_vit": (0.0376, 160, 0.31),
    "vit_base_patch16_224": (17.56, 224, 85.80),
    "vit_small_patch16_224": (4.598, 224, 21.67),
    "vit_tiny_patch16_224": (1.253, 224, 5.52),
    "wide_resnet50_2": (11.40, 224, 66.83),
}
# Share of the speed of a product of matrices, training and forward alone, by the
# beginnings of names: convolutions of a channel at a time wait for memory.
SHARES: Sequence[tuple[tuple[str, ...], float, float]] = (
    (("efficientnet", "ghostnet", "lcnet", "mobilenet"), 0.16, 0.21),
    (("regnet",), 0.25, 0.29),
    (("convnext",), 0.38, 0.44),
    (("deit", "swin", "vit", "test_vit"), 0.58, 0.50),
    (("",), 0.56, 0.70),
)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How fast pictures go through a network.

    Attributes:
        training: Pictures per second, forward, backward and step.
        inference: Views per second, forward alone.
    """

    training: float
    inference: float

    def seconds(self, *, trained: float = 0.0, inferred: float = 0.0) -> float:
        """Say how long work takes.

        Args:
            trained: Pictures to train on, each as often as it is seen.
            inferred: Views to send through.
        """
        return trained / self.training + inferred / self.inference


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What a stage will do, as far as settings and tables tell.

    Attributes:
        network: Name of its backbone; empty: it has none, or nobody knows which.
        side_px: Side of the backbone's input.
        batch_size: Pictures per training step.
        trained: Pictures to train on, each as often as it is seen, by all nets.
        inferred: Views to send forward, through all nets.
        seconds: What it takes besides.
        weights_kept: How often the weights of a backbone are written.
        n_bytes: What is written besides.
        pieces: How many of equal size it could do side by side; 1: it cannot.
    """

    network: str = ""
    side_px: int = 0
    batch_size: int = 32
    trained: float = 0.0
    inferred: float = 0.0
    seconds: float = 0.0
    weights_kept: int = 0
    n_bytes: float = 0.0
    pieces: int = 1


@dataclass(frozen=True, kw_only=True)
class NetworkSpeed:
    """What a network costs on this machine, measured or counted.

    Attributes:
        picture_s: Of a picture in a training, forward and backward.
        step_s: Of a training step besides, such as the optimiser's.
        view_s: Of a view, forward alone.
        n_weights: How many numbers its weights are.
        kept_bytes: Of a picture in a training, until the backward pass.
        free_bytes: Of memory, on the GPU if there is one.
    """

    picture_s: float
    step_s: float
    view_s: float
    n_weights: int
    kept_bytes: float = 0.0
    free_bytes: float = math.inf

    def seconds_of(self, work: Workload) -> float:
        """Say how long the training and inference of a stage take."""
        per_picture = self.picture_s + self.step_s / work.batch_size
        return work.trained * per_picture + work.inferred * self.view_s

    def bytes_of(self, work: Workload) -> float:
        """Say what a process takes that does some of the work, about.

        Weights, their gradients and two moments are four bytes a number each.
        """
        batch = work.batch_size * self.kept_bytes if work.trained else 0.0
        return PROCESS_BYTES + 16.0 * self.n_weights + batch


def estimate_rates(
    backbone: str, side_px: int, *, gmac_per_s: float, batch_size: int = 32
) -> Rates | None:
    """Estimate how fast a network of timm is; None: it is none of those known here.

    Args:
        backbone: Its name, with or without the tag of its weights.
        side_px: Side of its input.
        gmac_per_s: Of the machine, see ``measure_speed``.
        batch_size: Pictures per training step.
    """
    speed = estimate_speed(backbone, side_px, gmac_per_s=gmac_per_s)
    if speed is None:
        return None
    training_s = speed.picture_s + speed.step_s / batch_size
    return Rates(training=1 / training_s, inference=1 / speed.view_s)


def estimate_speed(
    backbone: str, side_px: int, *, gmac_per_s: float
) -> NetworkSpeed | None:
    """Estimate what a network of timm costs; None: it is none of those known here.

    Args:
        backbone: Its name, with or without the tag of its weights.
        side_px: Side of its input.
        gmac_per_s: Of the machine, see ``measure_speed``.
    """
    name = backbone.removeprefix("timm:").partition(".")[0]
    if name not in NETWORKS:
        return None
    gmac_at, at_px, million_weights = NETWORKS[name]
    gmac = gmac_at * (side_px / at_px) ** 2
    _, training_share, forward_share = next(
        row for row in SHARES if name.startswith(row[0])
    )
    n_weights = round(1e6 * million_weights)
    if has_gpu():
        return NetworkSpeed(
            picture_s=FORWARDS * gmac / GPU_GMAC_PER_S,
            step_s=GPU_STEP_S,
            view_s=gmac / GPU_FORWARD_GMAC_PER_S,
            n_weights=n_weights,
        )
    picture_s = PICTURE_S_PER_PIXEL * side_px**2
    return NetworkSpeed(
        picture_s=FORWARDS * gmac / (training_share * gmac_per_s) + picture_s,
        step_s=STEP_S + STEP_S_PER_MILLION * million_weights,
        view_s=gmac / (forward_share * gmac_per_s) + picture_s / 8,
        n_weights=n_weights,
    )


def measure_speed(threads: int = 0, seconds: float = PROBE_S) -> float:
    """Measure how many 10^9 multiplications a second the processor makes, float32.

    One thread is measured, by the time that it computes: so other programs that take
    the cores change little, and the speed is that of an idle machine.

    Args:
        threads: How many are to compute; 0: one for each core at hand.
        seconds: How long to look.
    """
    import numpy as np
    from threadpoolctl import threadpool_limits

    matrix = np.full((PROBE_SIDE, PROBE_SIDE), 0.5, dtype=np.float32)
    quickest_s, until = float("inf"), time.perf_counter() + seconds
    with threadpool_limits(1, user_api="blas"):
        while quickest_s == float("inf") or time.perf_counter() < until:
            began = time.thread_time()
            np.matmul(matrix, matrix)
            quickest_s = min(quickest_s, time.thread_time() - began)
    n_further = (threads or n_cores()) - 1
    gain = BF16_GAIN if has_bf16_units() else 1.0
    return gain * (1 + THREAD_GAIN * n_further) * PROBE_SIDE**3 / quickest_s / 1e9


def has_gpu() -> bool:
    """Tell whether there is a GPU that torch may use, without asking torch."""
    return any(device.exists() for device in GPU_DEVICES)


def count_gpus() -> int:
    """Count the GPUs that this process may use, without asking torch."""
    if not has_gpu():
        return 0
    n_gpus = max(1, len([*GPU_DEVICES[0].parent.glob(GPUS)]))
    visible = os.environ.get(VISIBLE)
    return n_gpus if visible is None else min(n_gpus, len(visible.split(",")))


def gain_of(n_at_once: int, *, n_gpus: int = 0, threads: int = 0) -> float:
    """Say how much more processes do side by side than one in the same time.

    Two were measured on two cores, and four on one GPU (docs/results.md): each doubling
    is taken to gain as much.

    Args:
        n_at_once: Processes.
        n_gpus: That they share; 0: they compute on the cores.
        threads: Of each process, and of the one; 0: they share the cores.
    """
    if n_gpus:
        n_busy = min(n_at_once, n_gpus)
        return n_busy * math.pow(GPU_GAIN, math.log2(n_at_once / n_busy))
    if threads:  # the one leaves cores to the others
        return max(1.0, min(n_at_once, n_cores() / threads))
    return math.pow(CORES_GAIN, math.log2(n_at_once))


def share_of_time(pieces: int, n_at_once: int, **of_each: int) -> float:
    """Say which share of their time pieces take side by side; the last may be fewer.

    Args:
        pieces: How many, of equal size.
        n_at_once: How many at once.
        of_each: See ``gain_of``.
    """
    n_rounds, n_last = divmod(pieces, n_at_once)
    time = n_rounds * n_at_once / gain_of(n_at_once, **of_each)
    time += n_last / gain_of(n_last, **of_each) if n_last else 0.0
    return time / pieces


def has_bf16_units() -> bool:
    """Tell whether the processor computes in bfloat16, as trainings then do."""
    try:
        text = CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(unit in text for unit in BF16_UNITS)
