"""How fast networks are on this machine, for a plan: counted, or timed.

Torch-free until a network is timed.
"""

from collections.abc import Sequence
from functools import cache

from data_prep.effort import NetworkSpeed, estimate_speed, measure_speed
from data_prep.stage_plan import Speeds
from data_prep.waiting import settle_waiting


def speeds_of(threads: Sequence[int], *, is_timed: bool) -> Speeds:
    """Give what tells how fast a network of some side is.

    Args:
        threads: Of the stages that are to work, 0 for all cores; none: nothing is to
            be made, and nobody looks.
        is_timed: Time all networks; else those alone that nobody has counted.
    """
    n_threads = 0 if 0 in threads else max(threads, default=0)
    gmac_per_s = cache(measure_speed)

    @cache
    def speed_of(network: str, side_px: int) -> NetworkSpeed | None:
        if not threads:
            return None
        if not is_timed:
            speed = estimate_speed(network, side_px, gmac_per_s=gmac_per_s(n_threads))
            if speed:
                return speed
        settle_waiting(n_threads)
        from pretext.networks.trial import time_network

        return time_network(network, side_px, threads=n_threads)

    return speed_of
