"""How fast networks are on this machine, for a plan: counted, or timed.

Torch-free until a network is timed. What is timed on a busy machine is slower, and so
is the training that is planned by it: people are told of the load, and of what is timed
as soon as it takes a while.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from threading import Timer

from data_prep.effort import NetworkSpeed, estimate_speed, measure_speed
from data_prep.processes import n_cores
from data_prep.stage_plan import Speeds
from data_prep.waiting import SLACK, busy_cores, settle_waiting

QUIET_S = 1.0  # of silence, before people are told what is done
log = logging.getLogger(__name__)


def speeds_of(threads: Sequence[int], *, is_timed: bool) -> Speeds:
    """Give what tells how fast a network of some side is.

    Args:
        threads: Of the stages that are to work, 0 for all cores; none: nothing is to
            be made, and nobody looks.
        is_timed: Time all networks; else those alone that nobody has counted.
    """
    n_threads = 0 if 0 in threads else max(threads, default=0)
    gmac_per_s, load = cache(measure_speed), cache(_note_load)

    @cache
    def speed_of(network: str, side_px: int) -> NetworkSpeed | None:
        if not threads:
            return None
        if not is_timed:
            speed = estimate_speed(network, side_px, gmac_per_s=gmac_per_s(n_threads))
            if speed:
                return speed
        settle_waiting(n_threads)
        load()
        with told_after(f"timing {network} at {side_px} px ..."):
            from pretext.networks.trial import time_network

            return time_network(network, side_px, threads=n_threads)

    return speed_of


def _note_load() -> None:
    """Say that other programs slow down what is timed, if some do."""
    busy = busy_cores()
    if busy > SLACK:
        log.info(
            "other programs keep %.1f of %d cores busy: the times of the plan count"
            " that in, and are shorter on an idle machine",
            busy,
            n_cores(),
        )


@contextmanager
def told_after(text: str) -> Iterator[None]:
    """Say what is done, if it takes a while."""
    timer = Timer(QUIET_S, log.info, args=(text,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
