"""The plan of a run: what is current, what is to be made and why, minutes and bytes.

The work of each stage is counted from settings and tables (``Workload``) and divided by
how fast its network is here. What the run has measured itself corrects that: stages
that are there, and, while it runs, those that were just made.
"""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from data_prep.effort import NetworkSpeed, Workload, count_gpus, share_of_time
from data_prep.executor_settings import ExecutorSettings
from data_prep.executors.pool import Pool
from data_prep.outlook import Outlook
from data_prep.processes import n_cores
from data_prep.reporting.numerals import four_digits
from data_prep.run_folders.runs import Finished
from data_prep.standing import Standing

FLOAT_BYTES = 4
LEAST_S = 20.0  # a stage of less tells nothing about the speed
MOST_CORRECTED = 3.0
MINUTE_S, HOUR_S = 60.0, 3600.0

# name and side in px -> how fast a network is; None: nobody looked
Speeds = Callable[[str, int], NetworkSpeed | None]


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """What is planned of a stage.

    Attributes:
        standing: Whether it is current, and why not.
        seconds: How long it would take, as far as anybody knows; None: unknown.
        n_bytes: What it would leave; None: unknown.
        share_done: What an interrupted attempt has made of it, from 0 to 1.
        is_of_network: Whether the speed of networks decides its time.
        n_at_once: How many pieces of its work are done side by side.
        memory_bytes: What each of their processes takes.
        free_bytes: Of the memory that they share, on a GPU if there is one.
    """

    standing: Standing
    seconds: float | None = None
    n_bytes: float | None = None
    share_done: float = 0.0
    is_of_network: bool = False
    n_at_once: int = 1
    memory_bytes: float = 0.0
    free_bytes: float = math.inf


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """The stages in order, and what they took that are made.

    Attributes:
        stages: What is planned of each.
        taken_s: Seconds of those that are there or were made since.
    """

    stages: Sequence[PlannedStage]
    taken_s: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, standings: Sequence[Standing], outlook: Outlook | None, speeds: Speeds
    ) -> "StagePlan":
        """Count the work of the stages.

        Args:
            standings: Of all stages.
            outlook: The rows and settings; None: there are no tables yet.
            speeds: How fast networks are.
        """
        stages = [_planned(standing, outlook, speeds) for standing in standings]
        plan = cls(stages=stages)
        for standing in standings:
            if standing.is_current and standing.finished:
                plan.taken_s[standing.stage] = standing.finished.record["seconds"]
        return plan

    def after(self, stage: str, seconds: float) -> str:
        """Note what a stage took that has just run; say that, and what is left."""
        planned = next(p for p in self.stages if p.standing.stage == stage)
        if planned.standing.is_current:
            return _to_go(*self.left(after=stage))
        expected = self.seconds_of(planned)
        self.taken_s[stage] = seconds + planned.standing.earlier_s
        text = f"{stage} took {_minutes(seconds)}"
        if expected is not None:
            text += f" (planned: {_minutes(expected)})"
        return "; ".join(filter(None, [text, _to_go(*self.left(after=stage))]))

    def correction(self) -> float:
        """Say how much longer stages with networks take than was counted.

        It is the ratio of the sums over those that were made, and no more than tells of
        another machine: the first stages of a short run pay for what is loaded once.
        """
        measured = [
            (self.taken_s[planned.standing.stage], planned.seconds)
            for planned in self.stages
            if planned.is_of_network and planned.standing.stage in self.taken_s
            if (planned.seconds or 0) >= LEAST_S
        ]
        if not measured:
            return 1.0
        ratio = sum(taken for taken, _ in measured) / sum(s or 0 for _, s in measured)
        return min(MOST_CORRECTED, max(1 / MOST_CORRECTED, ratio))

    def seconds_of(self, planned: PlannedStage) -> float | None:
        """Say how long a stage will take, by all that is known now; None: unknown."""
        if planned.seconds is None:
            return None
        factor = self.correction() if planned.is_of_network else 1.0
        # the seconds of an attempt would not do: the machine may have been busy
        return planned.seconds * factor * (1 - planned.share_done)

    def left(self, after: str = "") -> tuple[float, bool]:
        """Say how long the stages take that are still to be made.

        Args:
            after: Only those that follow this one.

        Returns:
            Seconds, and whether more is to come of which nobody knows.
        """
        names = [planned.standing.stage for planned in self.stages]
        first = names.index(after) + 1 if after else 0
        to_make = [
            self.seconds_of(planned)
            for planned in self.stages[first:]
            if not planned.standing.is_current
        ]
        estimates = [seconds for seconds in to_make if seconds is not None]
        return sum(estimates), len(estimates) < len(to_make)

    def text(self) -> str:
        """Write it as a table for a terminal."""
        width = max(len(planned.standing.stage) for planned in self.stages)
        lines = []
        for planned in self.stages:
            lines += self._lines(planned, width)
        if any(not planned.standing.is_current for planned in self.stages):
            lines.append(f"{'in all':{width}}  {cost_of([self])}")
        return "\n".join(lines)

    def _lines(self, planned: PlannedStage, width: int) -> list[str]:
        """Write a stage, and what it replaces."""
        standing = planned.standing
        if standing.is_current:
            return [f"{standing.stage:{width}}  {'current':>20}"]
        cost = f"{_minutes(self.seconds_of(planned)):>10}{_size(planned.n_bytes):>10}"
        at_once = [f"{n} at once"] if (n := planned.n_at_once) > 1 else []
        reasons = "; ".join([*standing.reasons, *at_once])
        lines = [f"{standing.stage:{width}}  {cost}  {reasons}"]
        if standing.finished:
            replaced = describe_replaced(standing.finished)
            lines.append(f"{'':{width}}  {'':20}  it replaces {replaced}")
        return lines


def cost_of(plans: Sequence[StagePlan]) -> str:
    """Write the time and bytes of all that is to be made, of one plan or several."""
    left = [plan.left() for plan in plans]
    to_make = [p for plan in plans for p in plan.stages if not p.standing.is_current]
    n_bytes = sum(planned.n_bytes or 0 for planned in to_make)
    seconds = sum(seconds for seconds, _ in left)
    text = f"{_minutes(seconds):>10}{_size(n_bytes):>10}"
    return f"{text}  and what is unknown" if any(more for _, more in left) else text


def describe_replaced(finished: Finished) -> str:
    """Say what a finished stage took, and its score, where it has some."""
    text = f"one that took {_minutes(finished.record.get('seconds'))}"
    score = _score_of(finished.metadata)
    return f"{text} and scored {score}" if score else text


def lack_of_space(plan: StagePlan, outlook: Outlook) -> str:
    """Say that the disk has too little space for the plan; empty: it has enough."""
    folder = next(
        path
        for path in (outlook.run.folder, *outlook.run.folder.absolute().parents)
        if path.is_dir()
    )
    free = shutil.disk_usage(folder).free
    needed = sum(p.n_bytes or 0 for p in plan.stages if not p.standing.is_current)
    if needed <= free:
        return ""
    return (
        f"{folder} has {_size(free)} free, and the stages leave about {_size(needed)};"
        " free some space first, or give --run FOLDER on another disk"
    )


def lack_of_memory(plan: StagePlan) -> str:
    """Say that pieces side by side need more memory than is free; empty: not so."""
    for planned in plan.stages:
        n, needed, free = planned.n_at_once, planned.memory_bytes, planned.free_bytes
        n_sharing = -(-n // max(1, count_gpus()))
        if planned.standing.is_current or n == 1 or n_sharing * needed <= free:
            continue
        n_fit = int(free // needed) * max(1, count_gpus())
        remedy = f"give jobs = {n_fit}" if n_fit > 1 else "leave jobs out"
        return (
            f"[{planned.standing.stage}] jobs = {n}: they need about {_size(needed)} of"
            f" memory each, and {_size(free)} are free; {remedy}, or a smaller"
            " batch_size"
        )
    return ""


def _planned(
    standing: Standing, outlook: Outlook | None, speeds: Speeds
) -> PlannedStage:
    """Count the work of a stage, and say how long it would take."""
    settings: Any = outlook.settings[standing.stage] if outlook else None
    if outlook is None or not hasattr(settings, "workload"):
        return PlannedStage(standing=standing)
    work: Workload = settings.workload(outlook)
    is_of_network = bool(work.trained or work.inferred)
    speed = None
    if is_of_network and work.network:
        speed = speeds(work.network, work.side_px)
    if is_of_network and speed is None:
        return PlannedStage(standing=standing, n_bytes=work.n_bytes or None)
    if speed is None:
        return PlannedStage(
            standing=standing, seconds=work.seconds, n_bytes=work.n_bytes or None
        )
    n_at_once = _n_at_once(settings, work)
    of_each = {"n_gpus": count_gpus(), "threads": getattr(settings, "threads", 0)}
    share = share_of_time(work.pieces, n_at_once, **of_each)
    n_bytes = work.n_bytes + FLOAT_BYTES * speed.n_weights * work.weights_kept
    return PlannedStage(
        standing=standing,
        seconds=work.seconds + share * speed.seconds_of(work),
        n_bytes=n_bytes or None,
        share_done=_share_done(standing, settings, work),
        is_of_network=is_of_network,
        n_at_once=n_at_once,
        memory_bytes=speed.bytes_of(work),
        free_bytes=speed.free_bytes,
    )


def _share_done(standing: Standing, settings: Any, work: Workload) -> float:
    """Say what an attempt has made of a stage; 0 where its settings cannot tell."""
    if standing.attempt is None or not hasattr(settings, "share_done"):
        return 0.0
    share: float = settings.share_done(standing.attempt, work.pieces)
    return share


def _n_at_once(settings: Any, work: Workload) -> int:
    """Say how many pieces are done at once; the size of a cluster is unknown."""
    if not isinstance(settings, ExecutorSettings):
        return 1
    pool = Pool.of(
        settings,
        work.pieces,
        threads=getattr(settings, "threads", 0),
        usual_threads=n_cores(),
        gpus=[str(k) for k in range(count_gpus())],
    )
    return min(max(1, pool.n_at_once), work.pieces)


def _score_of(metadata: Mapping[str, Any]) -> str:
    """Write the score of a stage: of the stack, or of the first held-out task."""
    if "metric" in metadata:
        return f"{metadata['metric']} {four_digits(metadata['score'])}"
    scores: dict[str, list[float]] = {}
    for net in metadata.get("nets", ()):
        for name, value in net.get("held_out_scores", {}).items():
            scores.setdefault(name, []).append(value)
    if not scores:
        return ""
    name, values = next(iter(scores.items()))
    return f"{name} {four_digits(sum(values) / len(values))}"


def _to_go(seconds: float, is_more: bool) -> str:
    """Say what is left; empty: nothing."""
    if not seconds:
        return ""
    return f"about {_minutes(seconds)} to go{', and what is unknown' * is_more}"


def _minutes(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 2 * MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR_S:
        return f"{seconds / MINUTE_S:.0f} min"
    return f"{seconds / HOUR_S:.1f} h"


def _size(n_bytes: float | None) -> str:
    if n_bytes is None:
        return "-"
    if n_bytes < 1e6:
        return "< 1 MB"
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:.1f} GB"
