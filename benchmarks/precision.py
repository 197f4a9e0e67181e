"""Float32 or bfloat16? Training steps and forwards of networks in both, as ratios.

    python -m benchmarks.precision [NETWORK ...] --side 112

``precision = "auto"`` follows what this says of the sorts of network: see
``pretext.device.trains_in_bf16``. CPU time, so that a neighbour disturbs little.
"""

import time
from collections.abc import Callable

import torch

from data_prep.command import run_command
from data_prep.settings import Parser
from pretext.device import set_threads
from pretext.networks.backbones import build_backbone

NETWORKS = (
    "resnet18",
    "regnety_002",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "efficientnet_b0",
    "tf_efficientnet_lite0",
    "mobilenetv3_small_100",
)
N_PICTURES, N_TIMES = 32, 3


def images_per_s(work: Callable[[], object]) -> float:
    """Give pictures for each second of CPU time, in the quickest of some goes."""
    work()  # the first go builds what later ones use
    seconds = []
    for _ in range(N_TIMES):
        begin = time.process_time()
        work()
        seconds.append(time.process_time() - begin)
    return N_PICTURES / min(seconds)


def compare(name: str, side_px: int) -> None:
    """Print a row: pictures per second of training and of forwards, in both."""
    network = build_backbone(name, side_px)
    images = torch.randn(N_PICTURES, 3, side_px, side_px)
    images = images.to(memory_format=torch.channels_last)

    def forward() -> torch.Tensor:
        outputs: torch.Tensor = network(images)
        return outputs.float().square().mean()

    rates = []
    for is_bf16 in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            network.train()
            rates.append(images_per_s(lambda: torch.autograd.backward(forward())))
            network.eval()
            with torch.inference_mode():
                rates.append(images_per_s(forward))
    training, inference, training_bf16, inference_bf16 = rates
    print(
        f"| {name} | {training:.0f} | {training_bf16 / training:.2f} | {inference:.0f}"
        f" | {inference_bf16 / inference:.2f} |",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = Parser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("networks", nargs="*", help="names of timm (default: seven)")
    parser.add_argument("--side", type=int, default=112, help="side of the input (112)")
    parsed = parser.parse(None)
    set_threads(1)
    print("| network | training, fp32/s | bf16, as a ratio | forward, fp32/s | bf16 |")
    print("|---|---|---|---|---|")
    for name in parsed["networks"] or NETWORKS:
        compare(name, parsed["side"])


if __name__ == "__main__":
    run_command(main)
