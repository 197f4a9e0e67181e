"""A difference of two scores with its interval, as the benchmarks write it."""

from data_prep.scoring.scores import Interval


def told(difference: Interval) -> str:
    """Write a difference with its signs and the ends of its interval."""
    return f"{difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"
