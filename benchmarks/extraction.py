"""Eight views of each picture: our extraction against other ways, and its own ceiling.

    python -m benchmarks.extraction                  # ResNet34, 128 px

All ways send the same pictures through the same network and keep every view's outputs:

- ceiling: the network alone on a batch that lies in memory, our precision and layout,
- ours: ``features.passes`` from the memory map, as ``features.extract`` does,
- ttach: its ``d4_transform`` over batches that lie in memory, float32, as it comes,
- torchvision: JPEG files in a DataLoader (the best of 0 and 2 workers), flips and turns
  by torchvision, float32,
- eight folders: a JPEG for each view on the disk, opened one by one and sent through in
  batches of 1, as the first user of this method did; written anew from its description.

And what sharing a network is worth: three joint nets (folds) in one pass against four
nets for each of the three.

Every way's outputs are compared with ours: speed without equality does not count. The
rounds alternate in one process; only ratios carry across machines, which must be idle.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional as tv
from tqdm import tqdm

from data_prep.command import run_command
from data_prep.dihedral import VIEWS, apply_view
from data_prep.errors import UserError
from data_prep.settings import Parser
from features.passes import CPU_PICTURES, run_pass
from features.plan import BLOCK
from features.sources import joined_outputs
from pretext.data.pictures import Normalisation, Pictures
from pretext.device import pick_device, set_threads, use_bf16
from pretext.networks.backbones import build_backbone
from transfer.networks.task_net import TaskNet

PLAIN = Normalisation((127.5,) * 3, (63.75,) * 3)
TASKS = {"target": 1, "onehot": 4, "date": 1, "words": 20}
AT_ONCE, ROUNDS, QUALITY = 32, 3, 95


def task(name: str) -> dict[str, Any]:
    """Describe a task of the usual four."""
    return {
        "name": name,
        "kind": "regression",
        "outputs": [str(k) for k in range(TASKS[name])],
    }


def make_net(backbone: str, side_px: int, names: list[str], seed: int) -> TaskNet:
    """Build a net with heads for tasks, in evaluation mode."""
    torch.manual_seed(seed)
    network = build_backbone(backbone, side_px)
    net = TaskNet(network, [task(name) for name in names], PLAIN, side_px)
    for parameter in net.heads.parameters():
        nn.init.normal_(parameter)  # a new head says zero
    return net.eval()


def make_pictures(folder: Path, n: int, side_px: int) -> Pictures:
    """Make up smooth pictures: an array, a JPEG each, and a JPEG for each view."""
    rng = np.random.default_rng(0)
    pixels = np.empty((n, side_px, side_px, 3), np.uint8)
    for row in range(n):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        smooth = coarse.resize((side_px, side_px), Image.Resampling.BICUBIC)
        for view in VIEWS:
            file = folder / view / f"{row:05d}.jpg"
            file.parent.mkdir(exist_ok=True)
            turned = apply_view(view, np.asarray(smooth), axes=(0, 1))
            Image.fromarray(turned).save(file, quality=QUALITY, subsampling=0)
        # what a JPEG makes of it, so that all ways see the same
        with Image.open(folder / "e" / f"{row:05d}.jpg") as image:
            pixels[row] = np.asarray(image)
    np.save(folder / "images.npy", pixels)
    return Pictures.open(folder, pick_device())


class Files(Dataset[Tensor]):
    """JPEG files as (3, S, S) float32 grey levels."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.jpg"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> Tensor:
        with Image.open(self.files[row]) as image:
            return tv.pil_to_tensor(image.convert("RGB")).float()


def by_torchvision(name: str, images: Tensor) -> Tensor:
    """Show (B, 3, S, S) pictures as one of the eight views."""
    if "h" in name:
        images = tv.horizontal_flip(images)
    if "v" in name:
        images = tv.vertical_flip(images)
    return tv.rotate(images, -90) if "r" in name else images


def plain_forward(net: TaskNet) -> Callable[[Tensor], Tensor]:
    """Ask a network as it comes: float32, in torch's usual layout of memory."""

    def forward(images: Tensor) -> Tensor:
        features = net.backbone(net.normalise(images).contiguous())
        return torch.cat([net.head(n).linear(features) for n in net.tasks], dim=1)

    return forward


@torch.inference_mode()
def torchvision_way(net: TaskNet, folder: Path, workers: int) -> NDArray[Any]:
    """Read with a DataLoader, and send view after view through: (N, 8, F)."""
    forward = plain_forward(net)
    loader = DataLoader(Files(folder / "e"), batch_size=AT_ONCE, num_workers=workers)
    parts = [
        torch.stack([forward(by_torchvision(v, batch)) for v in VIEWS], dim=1)
        for batch in loader
    ]
    return torch.cat(parts).numpy()


@torch.inference_mode()
def folders_way(net: TaskNet, folder: Path) -> NDArray[Any]:
    """Open one view of one picture at a time, and grow a dict of lists: (N, 8, F)."""
    forward = plain_forward(net)
    rows: dict[str, list[NDArray[Any]]] = defaultdict(list)
    for view in VIEWS:
        files = Files(folder / view)
        for file, image in zip(files.files, files, strict=True):  # type: ignore[call-overload]
            rows[file.stem].append(forward(image[None]).numpy())
    return np.stack([np.concatenate(views) for views in rows.values()])


@torch.inference_mode()
def ttach_way(net: TaskNet, pictures: Pictures) -> NDArray[Any] | None:
    """Send ttach's views of batches in memory through: (N, 8, F) in its own order."""
    try:
        from ttach.aliases import d4_transform
    except ImportError:
        return None
    forward, parts = plain_forward(net), []
    for start in range(0, len(pictures.pixels), AT_ONCE):
        rows = np.arange(start, min(start + AT_ONCE, len(pictures.pixels)))
        batch = pictures.take(rows).float().contiguous()
        views = [forward(turn.augment_image(batch)) for turn in d4_transform()]
        parts.append(torch.stack(views, dim=1))
    return torch.cat(parts).numpy()


def timed(step: Callable[[], Any]) -> tuple[float, Any]:
    """Give the seconds of a step, and what it gave."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    began = time.perf_counter()
    result = step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began, result


def main() -> None:
    """Measure all ways in rounds, and print the ratios."""
    parser = Parser(prog="python -m benchmarks.extraction", description=__doc__)
    parser.add_argument("--backbone", default="resnet34", help="name of a timm network")
    parser.add_argument("--side", type=int, default=128, help="of the pictures, px")
    parser.add_argument("--pictures", type=int, default=128, help="how many")
    flags = parser.parse(None)
    backbone, side_px, n = flags["backbone"], flags["side"], flags["pictures"]
    if n <= 0 or n % BLOCK:
        raise UserError(f"pictures = {n}: give a multiple of {BLOCK}")
    device = pick_device()
    set_threads(0)
    bf16 = use_bf16("auto", device)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pictures = make_pictures(folder, n, side_px)
        net = make_net(backbone, side_px, [*TASKS], seed=0).to(device)
        at_once = 8 * (CPU_PICTURES if device.type == "cpu" else BLOCK)
        fixed = torch.randn(at_once, 3, side_px, side_px, device=device)
        fixed = fixed.contiguous(memory_format=torch.channels_last)
        count = 0

        def tessera_pass(nets: list[TaskNet], bf16: bool = bf16) -> NDArray[Any]:
            nonlocal count
            count += 1
            width = sum(TASKS[name] for one in nets for name in one.tasks)
            work = folder / f"pass{count}.npy"
            with tqdm(disable=True) as bar:
                return run_pass(
                    joined_outputs(nets),
                    width=width,
                    pictures=pictures,
                    rows=np.arange(n),
                    work=work,
                    weights="",
                    bf16=bf16,
                    count=bar.update,
                )

        def ceiling() -> None:
            with (
                torch.inference_mode(),
                torch.autocast(device.type, torch.bfloat16, enabled=bf16),
            ):
                for _ in range(8 * n // at_once):
                    net(fixed)

        # the other ways come as they are: float32, and in the usual layout
        peer_net = make_net(backbone, side_px, [*TASKS], seed=0)
        peer_net.backbone.to(memory_format=torch.contiguous_format)
        ways: dict[str, Callable[[], Any]] = {
            "ceiling": ceiling,
            "ours": lambda: tessera_pass([net]),
            "ours, float32": lambda: tessera_pass([net], bf16=False),
            "ttach": lambda: ttach_way(peer_net, pictures),
            "torchvision, 0 workers": lambda: torchvision_way(peer_net, folder, 0),
            "torchvision, 2 workers": lambda: torchvision_way(peer_net, folder, 2),
            "eight folders": lambda: folders_way(peer_net, folder),
        }
        if device.type != "cpu":  # ways of the CPU, which would say nothing there
            peer_net = peer_net.to(device)
            ways = {name: ways[name] for name in [*ways][:4]}
        compare(ways, 8 * n)
        share_trunks(backbone, side_px, tessera_pass, device)


def compare(ways: dict[str, Callable[[], Any]], n_views: int) -> None:
    """Alternate all ways, and print how much longer each takes than ours."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    outputs: dict[str, Any] = {}
    ways["ceiling"](), ways["ours"]()  # the first pass of a network costs more
    for _ in range(ROUNDS):
        for name, way in ways.items():
            spent, result = timed(way)
            seconds[name].append(spent)
            outputs[name] = result
    exact = np.array(outputs["ours, float32"])
    for name, spent in seconds.items():
        if name != "ceiling" and outputs[name] is None:
            print(f"{name:<24} not installed: pip install {name}")
            continue
        ratios = [a / b for a, b in zip(spent, seconds["ours"], strict=True)]
        line = f"{name:<24} {n_views / median(spent):8.1f} views/s   ours is"
        line += (
            f" {median(ratios):.2f}x as fast ({min(ratios):.2f} to {max(ratios):.2f})"
        )
        if name not in ("ceiling", "ttach"):  # whose views have another order
            error = np.abs(np.asarray(outputs[name]) - exact).max() / exact.std()
            line += f"   largest difference {error:.4f} of the spread"
        if name == "ttach":
            means = np.asarray(outputs[name]).mean(axis=1), exact.mean(axis=1)
            error = np.abs(means[0] - means[1]).max() / exact.std()
            line += f"   of the view means {error:.4f}"
        print(line, flush=True)


def share_trunks(
    backbone: str,
    side_px: int,
    tessera_pass: Callable[[list[TaskNet]], Any],
    device: torch.device,
) -> None:
    """Compare three joint nets with four nets for each of three folds."""
    joint = [make_net(backbone, side_px, [*TASKS], k).to(device) for k in range(3)]
    apart = [
        make_net(backbone, side_px, [name], k).to(device)
        for k in range(3)
        for name in TASKS
    ]
    ratios = [
        timed(lambda: tessera_pass(joint))[0] / timed(lambda: tessera_pass(apart))[0]
        for _ in "12"
    ]
    print(f"three joint nets take {median(ratios):.2f} of the time of twelve nets")


if __name__ == "__main__":
    run_command(main)
