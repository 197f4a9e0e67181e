"""Where a stage does its pieces of work, such as nets: the keys that say so.

A stage whose settings derive from ``ExecutorSettings`` has them as keys and flags;
``[pipeline]`` sets them for all such stages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Gt

from data_prep.errors import UserError
from data_prep.ranges import Ranged
from data_prep.settings import NOT_HASHED, Example, fields_of, from_table, nearest

Executor = Literal["here", "processes"]


@dataclass(frozen=True, kw_only=True)
class ExecutorSettings(Ranged):
    """Where pieces of work are done, and how many at once. No result depends on it."""

    executor: Annotated[
        Executor | None,
        "where pieces of work, such as nets, are done: here, one after another; or"
        " processes, each in one with its share of the cores, or the GPUs in turn; left"
        " out: processes where jobs is more than 1, else here",
        NOT_HASHED,
        Example("processes"),
    ] = None
    jobs: Annotated[
        int | None,
        "pieces of work at once; left out: with processes one for each GPU or core,"
        " else 1",
        NOT_HASHED,
        Gt(0),
        Example(2),
    ] = None

    def __post_init__(self) -> None:
        """Check the ranges, and that one process does one piece at a time.

        Raises:
            UserError: They do not go together.
        """
        super().__post_init__()
        if self.executor == "here" and (self.jobs or 1) > 1:
            raise UserError(
                f"jobs = {self.jobs}, but executor = 'here' does one piece of work"
                " after another; give executor = 'processes', or take it out"
            )

    @property
    def kind(self) -> Executor:
        """The executor, chosen or by the number of jobs."""
        return self.executor or ("processes" if (self.jobs or 1) > 1 else "here")


def of_all_stages(
    table: Mapping[str, Any], location: str, settings_class: type[Any]
) -> dict[str, Any]:
    """Give the keys of ``[pipeline]`` that a stage takes, checked.

    Args:
        table: Of the pipeline.
        location: Of it, for messages.
        settings_class: Of the stage.

    Raises:
        UserError: A key is unknown, or a value does not fit.
    """
    if not issubclass(settings_class, ExecutorSettings):
        return {}
    shared = {key: value for key, value in table.items() if key != "stages"}
    declared = fields_of(ExecutorSettings)
    for key in shared:
        if key not in declared:
            hint = nearest(key, ["stages", *declared], is_key=True)
            raise UserError(f"{location}: unknown key {key!r}; {hint}")
    from_table(ExecutorSettings, shared, location, {})
    return shared
