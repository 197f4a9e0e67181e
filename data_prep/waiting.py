"""How threads wait for each other on a machine that other programs use too.

OpenMP's threads spin while they wait, which is quickest where each has a core of its
own. Where another program has one of the cores, a spinning thread keeps the one it
waits for from running: a training on two threads then makes a third of its pictures.
Sleeping threads cost a fifth on an idle machine and hardly suffer on a busy one, and
neither can be changed once OpenMP is loaded. So the load is looked at before.
"""

import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from data_prep.processes import n_cores

STAT = Path("/proc/stat")  # Linux; elsewhere nothing is chosen
LOOK_S = 0.25
SLACK = 0.3  # of a core: what a desktop does beside everything else
CHOSEN_BY_USER = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
log = logging.getLogger(__name__)


def settle_waiting(threads: int = 0) -> None:
    """Let threads sleep while they wait if there are fewer free cores than threads.

    Call it before torch is imported; later calls change nothing. If the user has set
    one of OpenMP's variables, it stands.

    Args:
        threads: How many will compute; 0: one for each core at hand.
    """
    cores = n_cores()
    n_threads = threads or _from_environment() or cores
    is_settled = "torch" in sys.modules or any(map(os.environ.get, CHOSEN_BY_USER))
    if is_settled or n_threads == 1:
        return
    busy = busy_cores()
    if n_threads + busy > _visible_cores() + SLACK:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        log.info(
            "other programs keep %.1f of the cores busy, so %d threads sleep while they"
            " wait for each other; fewer: threads = 1",
            busy,
            n_threads,
        )


def busy_cores(seconds: float = LOOK_S) -> float:
    """Measure how many of the cores at hand other processes keep busy.

    Args:
        seconds: How long to look.

    Returns:
        0 to the number of cores; 0 where the system does not tell.
    """
    before, cpu_before, began = _ticks(), time.process_time(), time.monotonic()
    time.sleep(seconds)
    after, elapsed = _ticks(), time.monotonic() - began
    busy_by_this_process = (time.process_time() - cpu_before) / elapsed
    busy_frac_of_cores = []
    for core, (busy, total) in after.items():
        busy_before, total_before = before.get(core, (busy, total))
        if total > total_before:
            busy_frac_of_cores.append((busy - busy_before) / (total - total_before))
    return max(0.0, sum(busy_frac_of_cores) - busy_by_this_process)


def _ticks() -> Mapping[int, tuple[int, int]]:
    """Read, for each core at hand, the ticks it was busy and all its ticks."""
    try:
        lines = STAT.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    at_hand = _at_hand()
    ticks = {}
    for line in lines:
        name, *fields = line.split()
        if not name.startswith("cpu") or name == "cpu":
            continue
        core = int(name.removeprefix("cpu"))
        # user nice system idle iowait irq softirq steal; guests are part of user
        by_state = [int(field) for field in fields[:8]]
        n_idle = sum(by_state[3:5])
        if at_hand is None or core in at_hand:
            ticks[core] = (sum(by_state) - n_idle, sum(by_state))
    return ticks


def _at_hand() -> set[int] | None:
    """Give the numbers of the cores this process may use; None: nobody can tell."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def _visible_cores() -> int:
    """Count the cores that the load is measured on: a quota hides none of them."""
    return len(_at_hand() or ()) or os.cpu_count() or 1


def _from_environment() -> int:
    """Give the number of threads in OMP_NUM_THREADS; 0: none is set."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(first) if first.isdigit() else 0
