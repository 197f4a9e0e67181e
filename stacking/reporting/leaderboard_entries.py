"""The runs of a leaderboard, read from their records: scores, minutes, and settings.

Only reads, whatever is at work in the runs. A stage's settings count for a score if the
score was made from that stage.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data_prep.errors import UserError
from data_prep.experiment import PACKAGES
from data_prep.renamed import NAMES, RECORDED
from data_prep.run_folders.damage import RECORD
from data_prep.run_folders.unfinished import MADE_FROM
from data_prep.scoring.metrics import METRICS

FIT, LEAKY = "stacking.fit", "stacking.fit.insample"
VERSIONS = "versions"  # of packages, beside the settings
ABSENT = "-"
DIGEST = re.compile("[0-9a-f]{64}")

Records = Mapping[str, Mapping[str, Any]]
Column = tuple[str, str]  # a stage and a setting of it; empty: whether there is one


@dataclass(frozen=True, kw_only=True)
class LeaderboardEntry:
    """One score of one run.

    Attributes:
        run: Its folder, relative to the folder of the runs.
        finished_at: When the stack was fitted.
        metric: Name of the score.
        score: Nested, of pictures held out.
        low: Lower end of its 95 % interval.
        high: Upper end.
        plain: Score of the plain net, if there is one.
        constant: Score of a constant.
        minutes: What all finished stages of the run took, with all attempts.
        settings: By stage, texts by name; the package versions likewise.
        is_leaky: Of the in-sample protocol, which is for comparison only.
        note: What a reader must know.
    """

    run: str
    finished_at: datetime
    metric: str
    score: float
    low: float
    high: float
    plain: float | None
    constant: float | None
    minutes: float
    settings: Mapping[str, Mapping[str, str]]
    is_leaky: bool = False
    note: str = ""

    @property
    def is_higher_better(self) -> bool:
        """The direction of its metric."""
        return self.metric in METRICS and METRICS[self.metric].higher_is_better

    @property
    def loss(self) -> float:
        """Its score, turned so that lower is better."""
        return -self.score if self.is_higher_better else self.score

    @property
    def remark(self) -> str:
        """What a reader must know, the leak included."""
        leak = "leaky: in-sample, for comparison only" if self.is_leaky else ""
        return "; ".join(filter(None, [leak, self.note]))

    def text_of(self, column: Column) -> str:
        """Give a setting, or without a name whether there is the stage."""
        stage, name = column
        settings = self.settings.get(stage)
        if settings is None:
            return ABSENT
        return settings.get(name, ABSENT) if name else "yes"


@dataclass(frozen=True, kw_only=True)
class MissingRun:
    """A run, or a stage of it, that cannot be listed, and why."""

    run: str
    reason: str


def read_runs(folder: Path) -> tuple[list[LeaderboardEntry], list[MissingRun]]:
    """Read all runs at and below a folder: best first by metric, leaky ones last.

    Raises:
        UserError: There is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; give the folder of runs")
    entries: list[LeaderboardEntry] = []
    missing: list[MissingRun] = []
    for run in find_runs(folder):
        path = run.relative_to(folder).as_posix()
        name = run.resolve().name if path == "." else path
        records, faults = _read_records(run)
        for stage in (FIT, LEAKY):
            if stage in records:
                try:
                    entries.append(_entry(name, stage, records))
                except (AttributeError, KeyError, TypeError, ValueError) as error:
                    fault = "lacks" if isinstance(error, KeyError) else "is broken:"
                    faults[stage] = f"{stage}/{RECORD} {fault} {error}"
        if not {FIT, LEAKY} & {*records, *faults}:
            begun = "begun, " if (run / f"{FIT}.partial").is_dir() else ""
            done = ", ".join(records) or "nothing"
            faults[FIT] = f"{FIT} is {begun}not finished; finished: {done}"
        missing += [MissingRun(run=name, reason=fault) for fault in faults.values()]
    if not entries and not missing:
        raise UserError(
            f"{folder}: there is no run in it; give the folder of runs, or make one:"
            " python -m pipeline experiments/demo.toml"
        )
    return sorted(entries, key=lambda e: (e.metric, e.is_leaky, e.loss)), missing


def find_runs(folder: Path) -> Iterator[Path]:
    """Find the runs at and below a folder, in the order of their names."""
    if _is_run(folder):
        yield folder
        return
    for subfolder in sorted(folder.iterdir()):
        if not subfolder.is_dir() or subfolder.name.startswith("."):
            continue
        # a link might lead in a circle
        if _is_run(subfolder) or not subfolder.is_symlink():
            yield from find_runs(subfolder)


def columns_of(entries: Sequence[LeaderboardEntry]) -> list[Column]:
    """List what sets the runs apart, stage by stage.

    A stage that some runs lack is a column; so is a setting that differs, or is not
    there, among the runs that have its stage.
    """

    def order(stage: str) -> tuple[int, str]:
        package = stage.partition(".")[0]
        return (PACKAGES.index(package) if package in PACKAGES else 99, stage)

    columns = []
    for stage in sorted({stage for e in entries for stage in e.settings}, key=order):
        settings = [e.settings[stage] for e in entries if stage in e.settings]
        if len(settings) < len(entries):
            columns.append((stage, ""))
        for name in dict.fromkeys(name for values in settings for name in values):
            if len({values.get(name, ABSENT) for values in settings}) > 1:
                columns.append((stage, name))
    return columns


def column_name(column: Column) -> str:
    """Write a column as ``pretext.jigsaw.epochs``."""
    return ".".join(filter(None, column))


def _is_run(folder: Path) -> bool:
    has_record = (any(folder.glob(f"*/{name}")) for name in (RECORD, MADE_FROM))
    return (folder / "run.json").is_file() or any(has_record)


def _read_records(run: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Read the records of the finished stages, and say which cannot be read."""
    records, faults = {}, {}
    for path in sorted(run.glob(f"*/{RECORD}")):
        stage = path.parent.name
        if stage.endswith((".partial", ".old")):  # on its way in or out
            continue
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["stage"] == stage:
                records[stage] = record
        except (OSError, KeyError, TypeError, ValueError):
            faults[stage] = f"{stage}/{RECORD} cannot be read"
    return records, faults


def _entry(run: str, stage: str, records: Records) -> LeaderboardEntry:
    record = records[stage]
    metadata = record["facts"]
    low, high = metadata["interval"]
    figures = {"score": metadata["score"], "low": low, "high": high}
    for name, value in figures.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}")
    when = datetime.fromisoformat(record["finished_at"])
    used_records, replaced = _made_from(stage, records)
    settings = {
        FIT if name == LEAKY else name: _named_as_today(earlier["settings"])
        for name, earlier in used_records.items()
    }
    if versions := record.get(VERSIONS):
        settings[VERSIONS] = dict(_flattened(versions))
    return LeaderboardEntry(
        run=run,
        finished_at=when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC),
        metric=str(metadata["metric"]),
        **figures,
        plain=_number(metadata.get("plain")),
        constant=_number(metadata.get("constant")),
        minutes=sum(stage.get("seconds", 0) for stage in records.values()) / 60,
        settings=settings,
        is_leaky=stage == LEAKY,
        note="; ".join(_notes(settings, replaced)),
    )


def _notes(
    settings: Mapping[str, Mapping[str, str]], replaced: Sequence[str]
) -> Iterator[str]:
    """Say what a reader must know of a run.

    Args:
        settings: Of the stages that led to its score.
        replaced: Those that are not what it was made from any more.
    """
    if settings.get("transfer.finetune", {}).get("select") == "fold":
        yield "selected: the scored rows chose the epochs of their nets"
    if replaced:
        yield f"stale: {', '.join(replaced)} replaced since"


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _made_from(stage: str, records: Records) -> tuple[Records, list[str]]:
    """Follow what a stage reads; say what is no longer what it was made from."""
    used_records: dict[str, Mapping[str, Any]] = {}
    replaced: set[str] = set()
    waiting = [stage]
    while waiting:
        name = waiting.pop()
        used_records[name] = records[name]
        for earlier, digest in records[name].get("reads", {}).items():
            if records.get(earlier, {}).get("digest") != digest:
                replaced.add(earlier)
            if earlier in records and earlier not in used_records:
                waiting.append(earlier)
    return used_records, sorted(replaced)


def _named_as_today(settings: Mapping[str, Any]) -> dict[str, str]:
    """Flatten settings; a renamed one of an older run has the name of today."""
    texts = dict(_flattened(settings))
    for old, new in RECORDED.items():
        if old in texts:
            words = texts.pop(old).split(",")
            texts[new] = ",".join(NAMES.get(word, word) for word in words)
    return texts


def _flattened(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Give nested settings as texts, their names joined by dots."""
    if not isinstance(value, Mapping):
        yield prefix, _text(value)
        return
    for name, entry in value.items():
        yield from _flattened(entry, f"{prefix}.{name}" if prefix else str(name))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(map(_text, value)) or "none"
    if isinstance(value, str) and DIGEST.fullmatch(value):
        return value[:8]
    return "none" if value in (None, "") else str(value)
