"""How fast this machine sends pictures through a network, estimated without torch."""

import os

# Pictures forward in a second, one core of a machine of docs/results.md: network and
# the side it was measured at.
PER_CORE = {"resnet18": (112, 170.0), "test_resnet": (64, 800.0)}


def forwards_per_s(backbone: str, side_px: int) -> float:
    """Estimate the pictures that go through a network forward in a second.

    Args:
        backbone: One of ``PER_CORE``.
        side_px: Side of the pictures.
    """
    measured_px, per_core = PER_CORE[backbone]
    n_cores = len(os.sched_getaffinity(0))
    return per_core * n_cores * (measured_px / side_px) ** 2
