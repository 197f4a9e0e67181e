"""The arms of a comparison: what differs from an experiment, and how it is scored.

A file of comparisons names an experiment and lists arms in groups, each group one
question, whose first arm the others are held against::

    experiment = "../pomological_compare.toml"

    [dropout."0.2"]          # as the experiment has it
    [dropout."0"]
    dropout = 0.0            # a setting of [transfer.finetune]
    [dropout."0, four nets"]
    dropout = 0.0
    seeds = [0, 1, 2, 3]     # the predictions of four trainings, averaged
    views = "e"              # asked in the plain view alone
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep.dihedral import VIEW_SETS
from data_prep.errors import UserError
from data_prep.experiment import Experiment
from data_prep.experiment_files import read_toml
from data_prep.settings import from_table, nearest
from data_prep.up import LEARNED, is_learned
from transfer.settings import FinetuneSettings

EXPERIMENT = "experiment"


@dataclass(frozen=True, kw_only=True)
class Training:
    """A fine-tuning that differs from the experiment's in some settings."""

    settings: Mapping[str, Any]

    @property
    def slug(self) -> str:
        """Part of the name of its run; trainings of equal settings share it."""
        words = [f"{key}_{value}" for key, value in sorted(self.settings.items())]
        return re.sub(r"[^A-Za-z0-9]+", "_", "_".join(words)).strip("_") or "as_it_is"

    @property
    def flags(self) -> list[str]:
        """Its settings as arguments of ``transfer.finetune``."""
        return [_flag(key, value) for key, value in self.settings.items()]

    @property
    def views(self) -> str:
        """The set of views that its nets learn, and are asked in."""
        return LEARNED[bool(self.settings.get("turns", True))]

    @property
    def scored_task(self) -> str:
        """The task whose outputs are scored."""
        tasks = self.settings.get("tasks", ["target"])
        return str(tasks[0])


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Trainings whose predictions are averaged and scored.

    Attributes:
        name: Its row in the table.
        settings: Of ``[transfer.finetune]``, where they are not the experiment's.
        seeds: One training for each; none: one, with the experiment's seed.
        views: The set of views that is averaged; empty: all that the nets learn.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    views: str = ""

    @property
    def trainings(self) -> list[Training]:
        """What is trained for it."""
        settings = dict(self.settings)
        if not self.seeds:
            return [Training(settings=settings)]
        return [Training(settings=settings | {"seed": seed}) for seed in self.seeds]

    @property
    def view_indices(self) -> list[int]:
        """Which of the views that its nets are asked in are averaged."""
        learned = VIEW_SETS[self.trainings[0].views]
        averaged = VIEW_SETS[self.views] if self.views else learned
        return [learned.index(view) for view in averaged]


def _flag(key: str, value: Any) -> str:
    name = key.replace("_", "-")
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"--{name}={text}"


def read_arms(
    file: Path, groups: Sequence[str] = (), common: Sequence[str] = ()
) -> tuple[Path, dict[str, list[Arm]]]:
    """Read a file of comparisons.

    Args:
        file: TOML; see the head of this module.
        groups: Those to read; none: all.
        common: Settings that each arm has which does not name them, as lines of TOML
            (``turns=false``); a value may also be bare text (``init=lite0.pth``).

    Returns:
        The experiment, and the arms of each group.

    Raises:
        UserError: It is no such file, or has no such group.
    """
    tables = read_toml(file)
    experiment = tables.pop(EXPERIMENT, None)
    if not isinstance(experiment, str):
        raise UserError(
            f'{file}: {EXPERIMENT} = "FILE.toml" is missing before the first group: the'
            " experiment whose settings the arms change"
        )
    for group in groups:
        if group not in tables:
            raise UserError(
                f"{file}: no group of arms {group!r}; {nearest(group, tables)}"
            )
    usual = {key: value for line in common for key, value in _setting(line).items()}
    arms = {
        group: [
            arm_of(name, usual | table, f"{file}: [{group}.{name!r}]")
            for name, table in tables[group].items()
        ]
        for group in groups or tables
    }
    return file.parent / experiment, arms


def check_arms(
    file: Path, groups: Mapping[str, Sequence[Arm]], experiment: Experiment
) -> None:
    """Check the settings of all arms, before the first of them is trained.

    Args:
        file: Where they stand, for the messages.
        groups: Arms by group.
        experiment: Whose settings of ``[transfer.finetune]`` they change.

    Raises:
        UserError: There is no such setting, or its value does not fit the others.
    """
    usual = experiment.stages.get("transfer.finetune", {})
    for group, arms in groups.items():
        for arm in arms:
            table = {**usual, **arm.settings}
            from_table(FinetuneSettings, table, f"{file}: [{group}.{arm.name!r}]", {})


def _setting(line: str) -> dict[str, Any]:
    """Read ``KEY=VALUE``, the value as TOML has it or as bare text."""
    try:
        return tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        key, _, value = line.partition("=")
        return {key.strip(): value.strip()}


def arm_of(name: str, table: Mapping[str, Any], place: str) -> Arm:
    """Make an arm of its table.

    Args:
        name: Of the arm.
        table: Settings of ``[transfer.finetune]``, ``seeds`` and ``views``.
        place: Where it stands, for the messages.

    Raises:
        UserError: ``seeds`` are no list of numbers, or ``views`` no set of views that
            its nets learn.
    """
    settings = dict(table)
    seeds, views = settings.pop("seeds", []), settings.pop("views", "")
    if not isinstance(seeds, list) or not all(isinstance(seed, int) for seed in seeds):
        raise UserError(f"{place} seeds = {seeds!r}: a list of numbers, such as [0, 1]")
    if seeds and "seed" in settings:
        raise UserError(f"{place} has seed and seeds; take one of the two out")
    if views and views not in VIEW_SETS:
        raise UserError(f"{place} views = {views!r}: {nearest(str(views), VIEW_SETS)}")
    turns = bool(settings.get("turns", True))
    if views and not is_learned(views, turns=turns):
        raise UserError(
            f"{place} views = {views!r}: its nets learn {LEARNED[turns]!r} alone"
        )
    views = views or LEARNED[turns]
    return Arm(name=name, settings=settings, seeds=tuple(seeds), views=views)
