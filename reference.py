"""The reference: every key of an experiment file, with a line and an example.

    python -m pipeline --explain                # all of it, as in docs/reference.md
    python -m pipeline --explain batch_size     # what one key is for, wherever it is

It is made of the settings classes and registries themselves, so that it cannot say
anything else than they do.
"""

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from data_prep.errors import UserError
from data_prep.executor_settings import ExecutorSettings
from data_prep.experiment import DataSettings, settings_class, stage_names
from data_prep.ranges import range_of
from data_prep.scoring.metrics import METRICS
from data_prep.settings import TYPE_NAMES, Field, fields_of, near, shown, without_none
from data_prep.synonyms import names_for
from data_prep.task_types.base import TaskType
from data_prep.task_types.registry import TASK_TYPES
from stacking.ensemble.objective import TITLES
from stacking.ensemble.postprocessors import POSTPROCESSORS
from stacking.models.registry import STACKERS

WIDTH = 88
PLURALS = {str: "texts", int: "whole numbers", Path: "paths"}
FIT = "stacking.fit"

HEAD = """\
# Reference

Every key of an experiment file, with what it is for and an example. `python -m pipeline
--explain` prints this page, and `--explain KEY` what it says of one key, stage, kind,
metric or stacker. A key of a stage is also a flag of its command: `batch_size = 32` in
`[transfer.finetune]` is `--batch-size 32` after `python -m transfer.finetune`; lists
are written with commas there. Flags of commands that are no stage are in their
`--help`. Paths are relative to the file.
"""

NUMBER_OR_CLASS = """\
## Number or class

`[data] target` names the column to predict, and its cells say what it is:

- all of them numbers: a **number**. It is scored by RMSE, and predicted in its unit.
- texts, or true and false: **classes**. They are scored by log-loss, and predicted by
  probabilities.
- numbers that are only names of classes, such as 0 = oak, 1 = ash: say so by
  `target_kind = "classes"`. The reverse, `target_kind = "numbers"`, refuses cells that
  are none.

A number with at most 20 values, such as a grade or a count, is learned as both: nets
have a task `target` for the number and `onehot` for its values, and `metric` of
`[stacking.fit]` may be `accuracy`, `macro_f1` or `quadratic_kappa`, which score the
value that a prediction comes to. A mistake by one grade then counts less than one by
three, which it does not among classes. Of other columns than the target, `kind` of
`[tasks.NAME]` says how they are learned.

```toml
[data]
target = "price"            # 12.5, 80, ...: a number
# target = "artist"         # names: classes
# target_kind = "classes"   # 0, 1, 2 that are names
```
"""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One key or value, with what is said of it.

    Attributes:
        name: As it is written.
        tables: That it may stand in, or the key that it is a value of.
        example: A line of TOML.
        text: What it is for.
    """

    name: str
    tables: tuple[str, ...]
    example: str
    text: str

    def line(self) -> str:
        """Write it as an item of a list in Markdown."""
        return textwrap.fill(
            f"- `{self.example}`: {self.text}",
            WIDTH,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )


@dataclass(frozen=True, kw_only=True)
class Part:
    """A heading with what stands under it."""

    title: str
    text: str
    entries: tuple[Entry, ...] = ()

    def markdown(self) -> str:
        """Write the part."""
        lines = [entry.line() for entry in self.entries]
        text = textwrap.fill(self.text, WIDTH, break_on_hyphens=False)
        return "\n\n".join(filter(None, [f"## {self.title}", text, "\n".join(lines)]))


def toml_text(value: Any) -> str:
    """Write a value as TOML has it.

    >>> toml_text(["a", "b"]), toml_text(True), toml_text(1e-3)
    ('["a", "b"]', 'true', '0.001')
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_text, value))}]"
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False)
    return json.dumps(value)


def type_text(field: Field) -> str:
    """Say what a setting may be: its type, choices and range."""
    value_type = without_none(field.type)
    if get_origin(value_type) is Literal:
        return f"one of {', '.join(f'`{choice}`' for choice in get_args(value_type))}"
    if get_origin(value_type) is tuple:
        text = PLURALS[get_args(value_type)[0]]
    else:
        text = TYPE_NAMES[value_type]
    allowed = range_of(field)
    return f"{text}, {allowed}" if allowed else text


def entry_of(field: Field, tables: tuple[str, ...], example: Any = None) -> Entry:
    """Describe a setting by its own annotations."""
    value = field.example if example is None else example
    default = shown(field.default)
    return Entry(
        name=field.name,
        tables=tables,
        example=f"{field.name} = {toml_text(value)}",
        text=f"{field.help}{default} [{type_text(field)}]",
    )


def parts() -> Iterator[Part]:
    """Give all parts in their order."""
    yield _data_part()
    yield from _task_parts()
    yield from _stage_parts()
    yield from _value_parts()


def _data_part() -> Part:
    fields = fields_of(DataSettings).values()
    return Part(
        title="`[data]`",
        text=_summary(DataSettings),
        entries=tuple(entry_of(field, ("[data]",)) for field in fields),
    )


def _task_parts() -> Iterator[Part]:
    common = set(fields_of(TaskType)) - {"loss"}
    kinds = ", ".join(f"`{name}`" for name in TASK_TYPES)
    kind = Entry(
        name="kind",
        tables=("[tasks.NAME]",),
        example='kind = "regression"',
        text=f"what is learned [one of {kinds}]",
    )
    yield Part(
        title="`[tasks.NAME]`",
        text=(
            "What the nets learn, a table for each; without one there are up to four:"
            " target, onehot, date and words. These keys are those of every kind, but"
            " for column, which words and tags do not have; docs/tasks.md says more."
        ),
        entries=(
            kind,
            *(
                entry_of(field, ("[tasks.NAME]",))
                for name, field in fields_of(TaskType).items()
                if name in common
            ),
        ),
    )
    for name, task_type in TASK_TYPES.items():
        tables = (f'[tasks.NAME] with kind = "{name}"',)
        fields = fields_of(task_type)
        losses = ", ".join(f"`{loss}`" for loss in task_type.losses)
        loss = Entry(
            name="loss",
            tables=tables,
            example=f"loss = {toml_text(task_type.losses[-1])}",
            text=f"loss (default: {task_type.losses[0]}) [one of {losses}]",
        )
        further = [
            field for key, field in fields.items() if key not in {*common, "loss"}
        ]
        yield Part(
            title=f'`kind = "{name}"`',
            text=_summary(task_type),
            entries=(loss, *(entry_of(field, tables) for field in further)),
        )


def _stage_parts() -> Iterator[Part]:
    stages = Entry(
        name="stages",
        tables=("[pipeline]",),
        example='stages = ["data_prep.prepare", "pretext.jigsaw", "features.extract"]',
        text="stages to run, in order (default: from the preparation to the stack)",
    )
    shared = fields_of(ExecutorSettings).values()
    yield Part(
        title="`[pipeline]`",
        text="What `python -m pipeline` runs, and where. All but `stages` is for every"
        " stage that has such a key; the table of a stage says otherwise.",
        entries=(stages, *(entry_of(field, ("[pipeline]",)) for field in shared)),
    )
    stages_by_entry: dict[tuple[str, str, str], list[str]] = {}
    for stage in stage_names():
        for field in fields_of(settings_class(stage)).values():
            entry = entry_of(field, ())
            key = (entry.name, entry.example, entry.text)
            stages_by_entry.setdefault(key, []).append(stage)
    entries_by_stages: dict[tuple[str, ...], list[Entry]] = {}
    for (name, example, text), named_stages in stages_by_entry.items():
        tables = tuple(f"[{stage}]" for stage in named_stages)
        entry = Entry(name=name, tables=tables, example=example, text=text)
        entries_by_stages.setdefault(tuple(named_stages), []).append(entry)
    for stages_of_part, entries in entries_by_stages.items():
        summary = _summary(settings_class(stages_of_part[0]))
        yield Part(
            title=", ".join(f"`[{stage}]`" for stage in stages_of_part),
            text=summary * (len(stages_of_part) == 1),
            entries=tuple(entries),
        )


def _value_parts() -> Iterator[Part]:
    metrics = [
        Entry(
            name=name,
            tables=(f"metric of [{FIT}]",),
            example=f"metric = {toml_text(name)}",
            text=f"{TITLES[name]}: {metric.meaning}",
        )
        for name, metric in METRICS.items()
    ]
    yield Part(title="Metrics", text=f"`metric` of `[{FIT}]`.", entries=tuple(metrics))
    stackers = [
        Entry(
            name=name,
            tables=(f"stackers of [{FIT}]",),
            example=f"stackers = {toml_text([name])}",
            text=stacker.title
            + "; slow" * stacker.is_slow
            + f"; pip install {stacker.package}" * bool(stacker.package),
        )
        for name, stacker in STACKERS.items()
    ]
    weighted = Entry(
        name="weighted",
        tables=(f"stackers of [{FIT}]",),
        example='stackers = ["weighted"]',
        text="weighted mean of the sub-tasks",
    )
    yield Part(
        title="Stackers",
        text=f"`stackers` of `[{FIT}]`.",
        entries=(*stackers, weighted),
    )
    steps = [
        Entry(
            name=step.name,
            tables=(f"postprocess of [{FIT}]",),
            example=f"postprocess = {toml_text([step.name])}",
            text=f"{step.title}; needs {step.needs}",
        )
        for step in POSTPROCESSORS
    ]
    yield Part(
        title="Steps after the stack",
        text=f"`postprocess` of `[{FIT}]`.",
        entries=tuple(steps),
    )


def _summary(described: type[Any]) -> str:
    """Give the first paragraph of a docstring in a line."""
    text = (described.__doc__ or "").strip().partition("\n\n")[0]
    return " ".join(text.replace("``", "`").split())


def page() -> str:
    """Give the whole reference, in Markdown."""
    texts = [HEAD, NUMBER_OR_CLASS, *(part.markdown() for part in parts())]
    return "\n\n".join(text.strip() for text in texts) + "\n"


def explain(words: Sequence[str]) -> str:
    """Say what some keys are for; of none, all.

    Args:
        words: Keys, with their table before them or not (``data.group``), stages,
            kinds, metrics, stackers, or what other programs call a key.

    Raises:
        UserError: There is nothing of such a name.
    """
    if not words:
        return page()
    return "\n\n".join(_explained(word) for word in words) + "\n"


def _explained(word: str) -> str:
    bare = word.strip("-[] ").replace("-", "_")
    if bare in ("number", "class", "numbers", "number or class", "target_kind"):
        return NUMBER_OR_CLASS.strip()
    all_parts = list(parts())
    for name in (bare, *names_for(bare)):
        if blocks := [*_blocks(name, all_parts)]:
            heading = [] if name == bare else [f"{word} is called {name} here."]
            return "\n\n".join([*heading, *blocks])
    names = {entry.name for part in all_parts for entry in part.entries}
    names |= {*stage_names(), *TASK_TYPES}
    hint = near(word, sorted(names), is_key=True)
    raise UserError(
        f"explain = {word!r}: there is no such key;"
        f" {hint or 'python -m pipeline --explain lists all'}"
    )


def _blocks(word: str, all_parts: Sequence[Part]) -> Iterator[str]:
    """Give what is said of a key, wherever it is, or of all keys of a table."""
    table, _, key = word.rpartition(".")
    for part in all_parts:
        entries = [
            entry
            for entry in part.entries
            if entry.name == word
            or any(f"[{word}]" in name for name in entry.tables)
            or (
                entry.name == key and any(f"[{table}]" in name for name in entry.tables)
            )
        ]
        if part.title.strip("`").partition(" ")[2] == f'= "{word}"':
            entries = list(part.entries)
        if entries:
            heading = ", ".join(entries[0].tables)
            yield "\n".join([f"{heading}:", *(entry.line() for entry in entries)])
