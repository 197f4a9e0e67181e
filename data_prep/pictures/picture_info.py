"""What a reader should know of pictures that could be read."""

from collections.abc import Sequence
from dataclasses import dataclass

LEAST_RANGE = 0.25  # of what 16 bits can hold


@dataclass(frozen=True, kw_only=True)
class PictureInfo:
    """Properties of one file that its stored square does not show.

    Attributes:
        n_pages: Pages, frames or pictures in the file; the first was taken.
        peak: The largest level of a file of 16 bits a channel, of 65,535; -1 for 8.
        is_profile_ignored: Its colour profile is broken or of other pixels.
    """

    n_pages: int = 1
    peak: int = -1
    is_profile_ignored: bool = False


def summarise(infos: Sequence[PictureInfo], remedy: str = "") -> list[str]:
    """Tell of a collection what is to be known, in a line each.

    Args:
        infos: Of the files that could be read.
        remedy: How to have all pages, where that can be had.
    """
    lines = []
    if n_pages := [info.n_pages for info in infos if info.n_pages > 1]:
        lines.append(
            f"{_files(len(n_pages))} with further pages or frames, up to"
            f" {max(n_pages):,} in all: the first of each was taken"
            + (f"; {remedy}" if remedy else "")
        )
    peaks = [info.peak for info in infos if info.peak >= 0]
    if low := [peak for peak in peaks if peak < LEAST_RANGE * 65_535]:
        lines.append(
            f"{len(low):,} of {_files(len(peaks))} of 16 bits with no level above"
            f" {max(low):,} of 65,535: {max(low) // 256 + 1} of 256 grey levels are"
            " left of them; if they were taken with fewer bits, scale them to 16"
        )
    if n_ignored := sum(info.is_profile_ignored for info in infos):
        lines.append(
            f"{_files(n_ignored)} with a colour profile that is broken or of other"
            " pixels: their colours were taken as they are"
        )
    return lines


def _files(n: int) -> str:
    return f"{n:,} file{'s' * (n != 1)}"
