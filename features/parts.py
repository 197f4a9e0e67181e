"""The passes of an extraction in parts, each in a process: all pictures, more at once.

A part has every n-th block of each pass, so that no bit depends on how many there are,
and a folder of its own for its values; together they are those of one process. An
extraction that was stopped keeps its parts, however many may then go at once.
"""

import functools
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.executors.progress import Count, Report
from data_prep.executors.run import run, with_room
from data_prep.executors.work import Result, Work
from data_prep.run_folders.runs import read_state
from features.net_passes import file_of
from features.passes import seconds_of_pass
from features.plan import PassRows
from features.settings import ExtractSettings
from pretext.device import pool_of, set_threads

if TYPE_CHECKING:
    from features.net_passes import NetOutputs, NetPasses

REMEDY = "the others are kept, and the same command goes on with what is missing"
log = logging.getLogger(__name__)


def run_parts(
    net_passes: "NetPasses", work: Path, settings: ExtractSettings
) -> "NetOutputs":
    """Send all rows through their nets as the settings say where.

    Args:
        net_passes: The passes, whole.
        work: Folder for the values; an earlier attempt is gone on with.
        settings: Of the extraction.

    Raises:
        UserError: A part failed. The others are kept.
    """
    n_blocks = sum(whole.n_blocks for whole in net_passes.passes)
    pool = with_room(pool_of(settings, n_blocks, settings.threads))
    set_threads(pool.threads)
    n_begun, n_parts = parts_begun(work), max(1, min(pool.n_at_once, n_blocks))
    if n_begun not in (0, n_parts):
        log.info("it was begun in %d parts, and goes on in those", n_begun)
    passes = in_parts(net_passes.passes, n_begun or n_parts)
    whole = replace(net_passes, passes=passes)
    if pool.executor == "here":
        return whole.run(work)
    parts = list(dict.fromkeys(planned.part for planned in passes))
    missing = [
        part
        for part in parts
        if not all(is_done(p, work) for p in passes if p.part == part)
    ]
    if missing and pool.for_missing(len(missing)).executor != "here":
        works = [_work_of(part, whole, work, pool.threads) for part in missing]
        logs = _log_of("PART", work)
        run(works, pool, noun="part", logs=logs).check(works, "part", REMEDY)
    outputs = whole.run(work)
    seconds = dict.fromkeys(parts, 0.0)
    for planned in passes:
        seconds[planned.part] += seconds_of_pass(file_of(planned, work))
    return replace(outputs, seconds=max(seconds.values()))


def in_parts(passes: Sequence[PassRows], n_parts: int) -> list[PassRows]:
    """Cut each pass into parts, those of a part together."""
    if n_parts == 1:
        return list(passes)
    return [
        replace(whole.shard(number, n_parts), part=f"{number + 1}of{n_parts}")
        for number in range(n_parts)
        for whole in passes
    ]


def parts_begun(work: Path) -> int:
    """Say how many parts an earlier attempt had; 0: there was none."""
    if any(work.glob("*.json")):
        return 1
    names = " ".join(folder.name for folder in work.glob("*of*"))
    return int(match[1]) if (match := re.search(r"\d+of(\d+)(?!\S)", names)) else 0


def is_done(planned: PassRows, work: Path) -> bool:
    """Tell whether the journal of a pass counts all its blocks."""
    state = read_state(file_of(planned, work).with_suffix(".json"))
    return int(state.get("done", 0)) == planned.n_blocks


def _work_of(part: str, whole: "NetPasses", work: Path, threads: int) -> Work:
    passes = [planned for planned in whole.passes if planned.part == part]
    return Work(
        name=f"part {part.replace('of', ' of ')}",
        function=functools.partial(
            _run_part, replace(whole, passes=passes), work, threads
        ),
        log_file=_log_of(part, work),
        reads=whole.files,
        writes=work / part,
    )


def _log_of(part: str, work: Path) -> Path:
    return work.parent / "logs" / f"part_{part}.log"


def _run_part(
    net_passes: "NetPasses", work: Path, threads: int, report: Report | None
) -> Result:
    """Send the rows of a part through their nets, wherever this is."""
    set_threads(threads)
    total = sum(len(planned.rows) for planned in net_passes.passes)
    if report:
        net_passes.counted(work, Count(report, total))
    else:
        net_passes.run(work)
    return Result()
