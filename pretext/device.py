"""Where a training runs, on how many threads, and in which arithmetic."""

import os

import torch
from torch import Tensor, nn

from data_prep.effort import has_bf16_units
from data_prep.executor_settings import VISIBLE, ExecutorSettings
from data_prep.executors.pool import Pool
from data_prep.processes import free_memory, n_cores

USUAL_THREADS = torch.get_num_threads()  # knows OMP_NUM_THREADS and the affinity


def pick_device() -> torch.device:
    """Choose the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def visible_gpus() -> list[str]:
    """Name the GPUs, as ``CUDA_VISIBLE_DEVICES`` does."""
    n_gpus = torch.cuda.device_count()
    visible = os.environ.get(VISIBLE, "").split(",")
    names = visible if len(visible) >= n_gpus > 0 and visible[0] else range(n_gpus)
    return [str(name).strip() for name in names][:n_gpus]


def pool_of(settings: ExecutorSettings, n_works: int, threads: int) -> Pool:
    """Choose where work with torch is done; see ``Pool.of``."""
    return Pool.of(
        settings,
        n_works,
        threads=threads,
        usual_threads=USUAL_THREADS,
        gpus=visible_gpus(),
    )


def n_devices() -> int:
    """Count what a training can be shared by: the GPUs, or without one the cores."""
    return torch.cuda.device_count() if pick_device().type == "cuda" else n_cores()


def free_bytes(device: torch.device) -> float:
    """Say how much memory is free where a training would run; inf: unknown."""
    return torch.cuda.mem_get_info()[0] if device.type == "cuda" else free_memory()


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Send what is small to the device without waiting for the step before."""
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def set_threads(threads: int) -> None:
    """Give torch a number of threads; 0: as many as it takes unasked."""
    torch.set_num_threads(threads or USUAL_THREADS)


def use_bf16(precision: str, device: torch.device) -> bool:
    """Decide on bfloat16: emulated it is slower than float32, so ask the hardware."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and has_bf16_units()


def trains_in_bf16(precision: str, device: torch.device, network: nn.Module) -> bool:
    """Decide on bfloat16 for a training; its forwards alone are ``use_bf16``'s.

    The gradients of depthwise convolutions with batch norms, of which the
    EfficientNets and MobileNets are made, take up to twice as long in bfloat16 on a
    CPU, though their forwards are faster: ``python -m benchmarks.precision``.
    """
    if precision == "auto" and device.type == "cpu" and _is_of_mobile_kind(network):
        return False
    return use_bf16(precision, device)


def _is_of_mobile_kind(network: nn.Module) -> bool:
    layers = [*network.modules()]
    return any(isinstance(layer, nn.BatchNorm2d) for layer in layers) and any(
        isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels
        for layer in layers
    )
