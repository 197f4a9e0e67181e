"""The time of the processor, which other programs on the machine do not change."""

import resource
import time


def cpu_seconds() -> float:
    """Give what this process has taken, and those that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
