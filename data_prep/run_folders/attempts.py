"""How long a stage has taken, over all attempts at it.

An attempt that is killed cannot say how long it was at work. So each notes when it
began, and the next one takes the newest file of the folder for its end: checkpoints and
journals are written at least once a minute. An attempt that ends by an error or Ctrl-C
touches the note.
"""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

ATTEMPTS = "attempts"  # in the note of what an unfinished stage is being made from


def noted_attempt(partial: Path, before: Mapping[str, Any]) -> dict[str, float]:
    """Give the note of an attempt that begins now.

    Args:
        partial: Folder of the unfinished stage.
        before: The note of the attempt before; empty: there was none.
    """
    return {"seconds": seconds_of_attempts(partial, before), "began_at": time.time()}


def end_attempt(note_file: Path) -> None:
    """Mark the end of an attempt that does not finish."""
    if note_file.exists():
        os.utime(note_file)


def seconds_of_attempts(partial: Path, note: Mapping[str, Any]) -> float:
    """Say how long the attempts were at work that the note tells of."""
    try:
        earlier_s, began_at = float(note["seconds"]), float(note["began_at"])
    except (KeyError, TypeError, ValueError):  # of an older version
        return 0.0
    ends = []
    for folder, _, names in os.walk(partial):
        for name in names:
            with suppress(FileNotFoundError):  # gone since: another process writes here
                ends.append(Path(folder, name).stat().st_mtime)
    return earlier_s + max(0.0, max(ends, default=began_at) - began_at)
